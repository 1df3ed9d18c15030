"""What happens where memory is asked of a tensor that has none as a whole: a sparse one."""

from __future__ import annotations


class SparseArgument(AttributeError, NotImplementedError):
    """A sparse tensor where an op needs memory in rows: fast ways leave it to general ones, and these to ``FUNCTIONS``."""


FUNCTIONS: dict = {}  # name of an op: what does it with sparse tensors


def instead(op, error):
    """What does an op with sparse tensors; NotImplementedError if there is nothing."""
    found = FUNCTIONS.get(op.name)
    if found is None:
        raise NotImplementedError(
            f"Could not run 'aten::{op.name}' with arguments from the 'SparseCPU' backend: it takes no sparse tensors; "
            "to_dense() makes a dense one.") from None
    return found
