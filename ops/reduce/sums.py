"""Reductions."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.tensor import make, numel
from numbagrad.dispatch.reduction import merged, no_dtype, normalize_dims
from numbagrad.dispatch.reduction_rules import expand_back
from numbagrad.extend import REDUCE, REGISTRY, Sample, T, custom, function, load, reduction, store
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where
from numbagrad.kernel.jit import STRIP, kernel, strip
from numbagrad.kernel.tape import capturing

SMALL = 32768  # elements up to which a broadcast gradient is written out, so that what follows runs on plain memory,
#                and a product's is one kernel's work, whatever its values


@kernel
def spread(g: "*T", out: "*T", count: int, inner: int, divisor: float, start: int, stop: int):
    """g (outer, inner) / divisor, repeated along the middle of out (outer, count, inner)."""
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


def _numpy(f):
    """A NumPy reduction with this module's argument names."""
    return lambda x, dim=None, keepdim=False: f(x, axis=dim, keepdims=keepdim)


_spreads: dict = {}


def _spread_plan(shape, dim, mean):
    """(kernel arguments of each stage, divisor, elements) of a reduction's gradient; outermost dimensions first."""
    dims = normalize_dims(dim, len(shape))
    groups = merged(shape, tuple([i in dims for i in range(len(shape))]))
    n, plan = numel(shape), []
    left = [size for size, f in groups if not f]
    for k, (size, f) in enumerate(groups):
        if f:
            inner = numel([t for t, g in groups[k + 1:] if not g])
            plan.append((size, inner, numel([t for t, g in groups[:k]])))
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
        if len(steps) == 1:
            count, inner, outer = steps[0]
            out = make(shape, kind)
            spread.run(kind, (g._ptr, out._ptr, count, inner, divisor), outer, n)
            return (out,)
        for count, inner, outer in steps:
            out = make((outer * count * inner,), kind)
            spread.run(kind, (g._ptr, out._ptr, count, inner, divisor), outer, out._n)
            g, divisor = out, 1.0
        out._shape = shape
        return (out,)
    return backward


@reduction(start=0.0, wide=True, result="sum", names=("SumBackward0", "SumBackward1"), reference=_numpy(np.sum),
           samples=REDUCE)
def sum(acc, x):
    """Sum over all or the given dimensions; integers are summed in int64."""
    return acc + x


@sum.gradient
def _(g, shape, dim, keepdim):
    return expand_back(g, shape, dim, keepdim)


sum.fast_gradient(_spread_gradient(False))


@reduction(start=0.0, wide=True, finish=lambda acc, n: acc / n, accepts="float",
           names=("MeanBackward0", "MeanBackward1"), reference=_numpy(np.mean), samples=REDUCE)
def mean(acc, x):
    """Arithmetic mean over all or the given dimensions."""
    return acc + x


@mean.gradient
def _(g, shape, dim, keepdim):
    n = numel([shape[i] for i in normalize_dims(dim, len(shape))])
    return expand_back(g / n, shape, dim, keepdim)


mean.fast_gradient(_spread_gradient(True))


# --- sums without NaN, counts, products, logic ------------------------------------------------------------------------

@reduction(start=0.0, wide=True, result="sum", map=lambda x: where(s.apply("eq", x, x), x, 0), accepts="real",
           names=("NansumBackward0", "NansumBackward0"), reference=_numpy(np.nansum), samples=REDUCE, whole="sum")
def nansum(acc, x):
    """Sum over all or the given dimensions, NaN counting as zero."""
    return acc + x


@nansum.gradient
def _(g, input, shape, dim, keepdim):
    return expand_back(g, shape, dim, keepdim) * (input == input).to(dtype=g.dtype)


@function(kinds={"dim": "ints"}, reference=_numpy(np.nanmean), samples=REDUCE)
def nanmean(input, dim=None, keepdim=False, *, dtype=None, out=None):
    """Arithmetic mean of what is not NaN over all or the given dimensions."""
    if input._kind.dtype.category < 2:
        raise RuntimeError("nanmean(): integral types and bool are not supported for nanmean even if result dtype is "
                           f"floating point, got {dt.scalar_name(input._kind.dtype)}")
    if dtype is not None and dtype.category < 2:
        raise no_dtype("nanmean", "Optional", dtype)
    count = (input == input).sum(dim, keepdim).detach()
    kept = input._kind.dtype if dtype is None else dtype
    wide = dt.float32 if kept in dt.HALF else dtype  # the sum or the count may be beyond a half type
    result = nansum(input, dim, keepdim, dtype=wide)
    result = (result / count.to(dtype=result.dtype)).to(dtype=kept)
    if out is None:
        return result
    from numbagrad.core.out import write_out
    return write_out("nanmean", out, result, [input], True)


@reduction(name="count_nonzero", start=0, wide=True, result="int", map=lambda x: where(s.apply("ne", x, 0), 1, 0),
           accumulate="i8", differentiable=False, reference=_numpy(np.count_nonzero),
           samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), (0, 2))))
def count_nonzero(acc, x):
    """Number of elements that are not zero, over all or the given dimensions."""
    return acc + x


@reduction(kinds={"dim": "int"},
           start=1.0, wide=True, result="sum", names=("ProdBackward0", "ProdBackward1"), domain=(0.3, 2.0),
           reference=_numpy(np.prod),
           samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), 1, True), Sample(())))
def prod(acc, x):
    """Product over all dimensions or the given one; integers are multiplied in int64."""
    return acc * x


@kernel
def product_slopes(g: "*T", x: "*T", y: "*T", out: "*T", size: int, n: int, inner: int, start: int,
                   stop: int):
    """g and y (outer, inner), the products of x (outer, n, inner), into out: g times the product of the others.

    If there is a zero among the ``size`` elements of x, it comes from both sides where y cannot be divided."""
    zeros = 0
    for i in range(size):
        zeros += 1 if load(x[i]) == T(0) else 0
    for row in range(start, stop):
        first, own = row * n * inner, row * inner
        for j in range(n):
            for i in range(inner):
                k = first + j * inner + i
                out[k] = store(load(g[own + i]) * load(y[own + i]) / load(x[k]))
        for i in range(inner):
            if zeros > 0 and not (T(0) < abs(load(y[own + i])) < T(math.inf)):
                others = T(1)
                for j in range(n):
                    k = first + j * inner + i
                    out[k] = store(others)
                    others *= load(x[k])
                others = load(g[own + i])
                for j in range(n - 1, -1, -1):
                    k = first + j * inner + i
                    out[k] = store(load(out[k]) * others)
                    others *= load(x[k])


@custom(private=True, joins=True, reference=None, differentiable=False)
def product_slope(g, input, y, *, dim: int):
    """The gradient of products ``y`` along ``dim`` that ``g`` arrived at."""
    return input._shape, input._kind


@product_slope.cpu
def _(out, g, input, y, dim):
    n, inner = out._shape[dim], numel(out._shape[dim + 1:])
    if out._n:
        product_slopes.run(out._kind, (g._ptr, input._ptr, y._ptr, out._ptr, out._n, n, inner), out._n // (n * inner), out._n)


@prod.gradient
def _(g, input, y, shape, dim, keepdim):
    if not shape:
        return g * 1
    if input._n <= SMALL and not input._kind.dtype.is_complex and not (g._rg or input._rg):
        if dim is None:
            return product_slope.call(g, input.reshape((input._n,)), y, dim=0).reshape(shape)
        return product_slope.call(g, input, y, dim=dim % len(shape))
    wide = expand_back(g, shape, dim, keepdim)
    # What a captured step computes may not depend on values, and the meta device has none.
    if not capturing() and not input._kind.meta and not bool((input.detach() == 0).any()):
        if input._kind.dtype.is_complex:
            return wide * REGISTRY["conj"].callable(expand_back(y, shape, dim, keepdim) / input)
        return wide * expand_back(y, shape, dim, keepdim) / input
    # With zeros the product of the others comes from both sides.
    flat = dim is None
    rows = input.reshape((1, input._n)) if flat else input.transpose(dim, -1)
    others = product_of_others(rows).reshape(shape) if flat else product_of_others(rows).transpose(dim, -1)
    return wide * REGISTRY["conj"].callable(others)


def product_of_others(x):
    """For each element the product of the others in its row (the last dimension)."""
    from numbagrad import cat, ones_like
    if not x.shape[-1]:
        return ones_like(x)
    one = ones_like(x.narrow(-1, 0, 1))
    n = x.shape[-1] - 1
    left = cat([one, x.narrow(-1, 0, n)], -1).cumprod(-1)
    right = cat([one, x.narrow(-1, 1, n).flip(-1)], -1).cumprod(-1).flip(-1)
    return left * right


def _truth(name, start, combine, symbol, reference):
    def fn(acc, x):
        return combine(acc, x)
    fn.__name__, fn.__module__ = name, __name__
    fn.__doc__ = f"Whether {symbol} not zero, over all or the given dimensions."
    op = reduction(fn, start=start, result="bool", map=lambda x: where(s.apply("ne", x, 0), 1, 0), accumulate="u1",
                   differentiable=False, reference=_numpy(reference), samples=REDUCE)
    op.result_dtype = lambda d: dt.uint8 if d is dt.uint8 else dt.bool_
    return op


any = _truth("any", 0, s.maximum, "any element is", np.any)
all = _truth("all", 1, s.minimum, "all elements are", np.all)


# --- extrema ----------------------------------------------------------------------------------------------------------

def lowest(d):
    """What every value of the dtype is at least."""
    if d.category >= 2:
        return float("-inf")
    return 0 if d.category == 0 else int(np.iinfo(d.np).min)


def highest(d):
    """What every value of the dtype is at most."""
    if d.category >= 2:
        return float("inf")
    return 1 if d.category == 0 else int(np.iinfo(d.np).max)


def _extremum(name, combine, start, word, reference, node, private=False, nan=False):
    def fn(acc, x):
        return combine(x, acc)
    fn.__name__, fn.__module__ = name, __name__
    fn.__doc__ = f"The {word} over all or the given dimensions; NaN if there is one. Equal ones share the gradient."
    op = reduction(fn, start=start, accepts="real", empty=False, names=(node, node), private=private,
                   order="max" if start is lowest else "min",
                   reference=_numpy(reference),
                   samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), (0, 2), True), Sample((2, 3, 4), 1)))

    @op.gradient
    def rule(g, input, y, dim, keepdim):
        return shared_gradient(g, input, y, dim, keepdim, nan)
    return op


def shared_gradient(g, input, y, dim, keepdim, nan):
    """The gradient of the extremum ``y``, which depends on ``input`` in a choice only: connected to ``g`` alone."""
    return extremum_gradient.call(g, input.detach(), y.detach(), dim=dim, keepdim=keepdim, nan=nan)


@kernel
def share_equal(g: "*T", x: "*T", y: "*T", out: "*T", count: int, inner: int, nan: int, start: int, stop: int):
    """g (outer, inner) in equal parts where x (outer, count, inner) is its extremum y (outer, inner), zeros elsewhere, into
    out like x; with ``nan`` NaN equals NaN."""
    hits = strip()
    if inner == 1:
        for row in range(start, stop):
            base = row * count
            top = load(y[row])
            n = T(0)
            if nan != 0 and top != top:
                for i in range(base, base + count):
                    v = load(x[i])
                    n += T(1) if v != v else T(0)
                share = load(g[row]) / n
                for i in range(base, base + count):
                    v = load(x[i])
                    out[i] = store(share if v != v else T(0))
                continue
            for i in range(base, base + count):
                n += T(1) if load(x[i]) == top else T(0)
            share = load(g[row]) / n
            for i in range(base, base + count):
                out[i] = store(share * (T(1) if load(x[i]) == top else T(0)))
        return
    tiles = (inner + STRIP - 1) // STRIP
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * STRIP
        width = min(STRIP, inner - left)
        small = row * inner + left
        for k in range(width):
            hits[k] = T(0)
        for i in range(count):
            base = (row * count + i) * inner + left
            for k in range(width):
                hits[k] = hits[k] + (T(1) if load(x[base + k]) == load(y[small + k]) else T(0))
        for k in range(width):
            hits[k] = load(g[small + k]) / hits[k]
        for i in range(count):
            base = (row * count + i) * inner + left
            for k in range(width):
                out[base + k] = store(hits[k] * (T(1) if load(x[base + k]) == load(y[small + k]) else T(0)))


def equal_to(input, top, nan):
    """Where ``input`` is the extremum ``top``; with ``nan`` NaN equals NaN."""
    found = input.detach() == top
    return found | ((top != top) & (input.detach() != input.detach())) if nan else found


@custom(private=True, contiguous=False, reference=None, node="EvenlyDistributeBackward0", second_order=False)
def extremum_gradient(upstream, input, y, *, dim: object, keepdim: bool, nan: bool = False):
    """The gradient of an extremum: shared by the elements that equal it.

    Of NaN among all elements PyTorch gives it to the NaN (``nan``), along dimensions everything becomes NaN."""
    return input._shape, input._kind


@extremum_gradient.cpu
def _(out, upstream, input, y, dim, keepdim, nan):
    from numbagrad.core.copying import copy_into
    shape = input._shape
    dims = normalize_dims(dim, len(shape))
    groups = merged(shape, tuple([i in dims for i in range(len(shape))]))
    at = [i for i, (_, f) in enumerate(groups) if f]
    if not input._n:
        return
    if len(at) > 1 or nan and at and at[0] != len(groups) - 1:
        g, top = (expand_back(t.detach(), shape, dim, keepdim) for t in (upstream, y))
        mask = equal_to(input, top, nan).to(dtype=g.dtype)
        copy_into(out, g * mask / mask.sum(dim, True))
        return
    count = groups[at[0]][0] if at else 1
    inner = numel([s_ for s_, _ in groups[at[0] + 1:]]) if at else 1
    outer = input._n // (count * inner)
    x, g, top = (t if t._strides is None else t.detach().contiguous() for t in (input, upstream, y))
    share_equal.run(input._kind, (g._ptr, x._ptr, top._ptr, out._ptr, count, inner, nan),
                    outer if inner == 1 else outer * -(-inner // STRIP), input._n)


@extremum_gradient.gradient
def _(g, upstream, input, y, dim, keepdim, nan):
    shape = input._shape
    mask = equal_to(input, expand_back(y.detach(), shape, dim, True if keepdim else False), nan).to(dtype=g.dtype)
    share = mask / mask.sum(dim, True)
    return (g * share).sum(dim, keepdim), None, None


amax = _extremum("amax", s.maximum, lowest, "largest element", np.amax, "AmaxBackward0")
amin = _extremum("amin", s.minimum, highest, "smallest element", np.amin, "AminBackward0")
max_all = _extremum("max_all", s.maximum, lowest, "largest element", np.amax, "MaxBackward1", private=True, nan=True)
min_all = _extremum("min_all", s.minimum, highest, "smallest element", np.amin, "MinBackward1", private=True, nan=True)
