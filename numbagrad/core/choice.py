"""``torch.cond``."""

from __future__ import annotations

from .tensor import Tensor

__all__ = ["cond"]


def cond(pred, true_fn, false_fn, operands=()):
    """One of two functions, by a truth that may be that of a tensor; a compiled step follows it as it follows an ``if``."""
    if isinstance(pred, (bool, int, float)):
        return true_fn(*operands) if pred else false_fn(*operands)
    if not isinstance(pred, Tensor):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)) or not all(map(_of_tensors, operands)):
        raise RuntimeError("Expect operands to be a tuple of possibly nested dict/list/tuple that only consists of tensor "
                           f"leaves, but got {operands}.")
    return true_fn(*operands) if bool(pred) else false_fn(*operands)


def _of_tensors(value):
    if isinstance(value, dict):
        value = list(value.values())
    return all(map(_of_tensors, value)) if isinstance(value, (list, tuple)) else isinstance(value, Tensor)
