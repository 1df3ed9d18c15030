"""Reductions."""

from __future__ import annotations

import numpy as np

from numbagrad.kernel.jit import T, kernel, load, store
from numbagrad.op import Sample, reduction
from numbagrad.op.reduction import merged, normalize_dims
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
        block = inner * min(count, max(1, 2048 // inner))
        for row in range(start, stop):
            base = row * count * inner
            end = base + count * inner
            for j in range(inner):
                out[base + j] = store(load(g[row * inner + j]) / d)
            # The first block by doubling, the others as copies of it: long loops however narrow the columns are.
            done = base + inner
            while done < end:
                size = min(min(done - base, block), end - done)
                for j in range(size):
                    out[done + j] = out[base + j]
                done += size


def expand_back(g, shape, dim, keepdim):
    """A reduced gradient, broadcast to the shape before the reduction."""
    from .shape import expand, view
    if not keepdim and shape:
        dims = normalize_dims(dim, len(shape))
        g = view(g, tuple(1 if i in dims else s for i, s in enumerate(shape)))
    return expand(g, shape)


_spreads: dict = {}


def _spread_plan(shape, dim, mean):
    """(kernel arguments of each stage, divisor, elements) of a reduction's gradient; outermost dimensions first."""
    dims = normalize_dims(dim, len(shape))
    groups = merged(shape, tuple([i in dims for i in range(len(shape))]))
    n, plan = numel(shape), []
    left = [s for s, f in groups if not f]
    for k, (s, f) in enumerate(groups):
        if f:
            inner = numel([t for t, g in groups[k + 1:] if not g])
            plan.append((s, inner, numel([t for t, g in groups[:k]])))
    results = numel(left)
    if not plan:
        plan = [(1, 1, results)]
    found = _spreads[shape, dim, mean] = (plan, float(n // results if mean and n else 1), n)
    return found


def _spread_gradient(mean):
    """First-order backward of ``sum`` or ``mean``: plain memory where the result is small or a leaf will keep it."""
    cache = _spreads

    def backward(node, g):
        (dim, keepdim), shapes, _, _, _ = node.ctx
        shape = shapes[0]
        plan = cache.get((shape, dim, mean)) or _spread_plan(shape, dim, mean)
        kind = g._kind
        steps, divisor, n = plan
        if not kind.cpu or g._strides is not None or kind.dtype.category == 3 or not n or (
                n > SMALL and not node.next[0].is_leaf_edge):
            return (node.op.rule(g=g, shape=shape, dim=dim, keepdim=keepdim),)
        run = spread[kind.dtype]
        if len(steps) == 1:
            count, inner, outer = steps[0]
            out = make(shape, kind)
            run(g._ptr, out._ptr, count, inner, divisor, 0, outer)
            return (out,)
        for count, inner, outer in steps:
            out = make((outer * count * inner,), kind)
            run(g._ptr, out._ptr, count, inner, divisor, 0, outer)
            g, divisor = out, 1.0
        out._shape = shape
        return (out,)
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
