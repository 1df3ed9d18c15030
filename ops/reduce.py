"""Reductions."""

from __future__ import annotations

import numpy as np

from numbagrad.op import Sample, reduction
from numbagrad.op.reduction import normalize_dims
from numbagrad.tensor import numel

REDUCE = (Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), (0, 2), True), Sample((2, 3, 4), 1), Sample(()))


def expand_back(g, shape, dim, keepdim):
    """A reduced gradient, broadcast to the shape before the reduction."""
    from .shape import expand, view
    if not keepdim and shape:
        dims = normalize_dims(dim, len(shape))
        g = view(g, tuple(1 if i in dims else s for i, s in enumerate(shape)))
    return expand(g, shape)


@reduction(start=0.0, wide=True, result="sum", names=("SumBackward0", "SumBackward1"), reference=np.sum, samples=REDUCE)
def sum(acc, x):
    """Sum over all or the given dimensions; integers are summed in int64."""
    return acc + x


@sum.gradient
def _(g, shape, dim, keepdim):
    return expand_back(g, shape, dim, keepdim)


@reduction(start=0.0, wide=True, finish=lambda acc, n: acc / n, accepts="float",
           names=("MeanBackward0", "MeanBackward1"), reference=np.mean, samples=REDUCE)
def mean(acc, x):
    """Arithmetic mean over all or the given dimensions."""
    return acc + x


@mean.gradient
def _(g, shape, dim, keepdim):
    n = numel([shape[i] for i in normalize_dims(dim, len(shape))])
    return expand_back(g, shape, dim, keepdim) / n
