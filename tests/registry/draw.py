"""Arguments for an op, drawn from its samples."""

from __future__ import annotations

from numbagrad.base import dtypes as dt
from numbagrad.dispatch.sampling import Case, flat, is_shape, is_typed
from numbagrad.extend import REGISTRY

__all__ = ["ONLY", "REGISTRY", "Case", "cases", "flat", "floats", "ids", "is_shape", "is_typed", "ops", "registered",
           "to_numpy"]


def floats(result):
    return [t for t in flat(result) if t.dtype.is_floating_point]


def cases(op):
    return [Case(op, i) for i in range(len(op.samples))]


ONLY = []  # the name of one op, where ``pytest -k`` asks for that alone: 15,000 cases are not made to be left out


def registered():
    """All ops, or the one that was asked for."""
    return [op for op in REGISTRY.values() if not ONLY or op.name in ONLY]


def ops(**wanted):
    """Ops with samples, by attribute values; random ones are tested elsewhere."""
    return [op for op in registered() if op.samples and not op.random
            and all(getattr(op, k) == v for k, v in wanted.items())]


def ids(op):
    return op.name


def to_numpy(t):
    t = t.detach()
    return t.float().numpy() if t.dtype in (dt.float16, dt.bfloat16) else t.numpy()
