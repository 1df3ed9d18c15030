"""Reductions."""

from __future__ import annotations

import numpy as np

from numbagrad import storage
from numbagrad.kernel.jit import T, kernel, load, store
from numbagrad.op import Sample, reduction
from numbagrad.op.reduction import normalize_dims, stages
from numbagrad.tensor import make, numel

REDUCE = (Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), (0, 2), True), Sample((2, 3, 4), 1), Sample(()))
SMALL = 32768  # elements up to which a broadcast gradient is written out, so that what follows runs on plain memory


@kernel
def spread(g: "*T", out: "*T", count: int, inner: int, divisor: float, start: int, stop: int):
    d = T(divisor)
    if inner == 1:
        for row in range(start, stop):
            v = store(load(g[row]) / d)
            base = row * count
            for i in range(base, base + count):
                out[i] = v
    else:
        for row in range(start, stop):
            base = row * count * inner
            for _ in range(count):
                for j in range(inner):
                    out[base + j] = store(load(g[row * inner + j]) / d)
                base += inner


def expand_back(g, shape, dim, keepdim):
    """A reduced gradient, broadcast to the shape before the reduction."""
    from .shape import expand, view
    if not keepdim and shape:
        dims = normalize_dims(dim, len(shape))
        g = view(g, tuple(1 if i in dims else s for i, s in enumerate(shape)))
    return expand(g, shape)


_spreads: dict = {}


def _spread_plan(shape, dim, mean):
    """(count, inner, outer, divisor, elements) of a one-stage reduction's gradient, None for others."""
    dims = normalize_dims(dim, len(shape))
    steps = stages(shape, tuple([i in dims for i in range(len(shape))]))
    n = numel(shape)
    plan = None
    if len(steps) == 1 and n:
        _, count, inner, _, results = steps[0]
        plan = (count, inner, results // inner, float(n // results if mean else 1), n)
    _spreads[shape, dim, mean] = plan
    return plan


def _spread_gradient(mean):
    """First-order backward of ``sum`` or ``mean``: one kernel where the result is small or a leaf will keep it."""
    cache, empty, address = _spreads, np.empty, storage.address

    def backward(node, g):
        (dim, keepdim), shapes, _, _, _ = node.ctx
        shape = shapes[0]
        plan = cache.get((shape, dim, mean))
        if plan is None:
            plan = _spread_plan(shape, dim, mean)
        kind = g._kind
        if plan is None or not kind.cpu or g._strides is not None or kind.dtype.category == 3 or (
                plan[4] > SMALL and not node.next[0].is_leaf_edge):
            return (node.op.rule(g=g, shape=shape, dim=dim, keepdim=keepdim),)
        count, inner, outer, divisor, n = plan
        out = make(shape, kind)
        spread[kind.dtype](g._ptr, out._ptr, count, inner, divisor, 0, outer)
        return (out,)
    del empty, address
    return backward


@reduction(start=0.0, wide=True, result="sum", names=("SumBackward0", "SumBackward1"), reference=np.sum, samples=REDUCE)
def sum(acc, x):
    """Sum over all or the given dimensions; integers are summed in int64."""
    return acc + x


@sum.gradient
def _(g, shape, dim, keepdim):
    return expand_back(g, shape, dim, keepdim)


sum.fast_gradient(_spread_gradient(False))


@reduction(start=0.0, wide=True, finish=lambda acc, n: acc / n, accepts="float",
           names=("MeanBackward0", "MeanBackward1"), reference=np.mean, samples=REDUCE)
def mean(acc, x):
    """Arithmetic mean over all or the given dimensions."""
    return acc + x


@mean.gradient
def _(g, shape, dim, keepdim):
    n = numel([shape[i] for i in normalize_dims(dim, len(shape))])
    return expand_back(g / n, shape, dim, keepdim)


mean.fast_gradient(_spread_gradient(True))
