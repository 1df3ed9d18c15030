"""logsumexp: the logarithm of a sum of exponentials."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.copying import set_all
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make
from numbagrad.dispatch.reduction_rules import expand_back
from numbagrad.extend import REGISTRY, Sample, T, accumulate, custom, exp, function, load, log, store
from numbagrad.kernel.jit import STRIP, kernel, strip

from .row_folds import largest_of
from .variance import Fold, reduced_shape


@kernel
def lse(x: "*T", out: "*T", count: int, inner: int, start: int, stop: int):
    """Logarithms of the sums of exponentials over the middle of x (outer, count, inner), into out (outer, inner)."""
    tiles = (inner + STRIP - 1) // STRIP
    top, total = strip(), strip()
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * STRIP
        width = min(STRIP, inner - left)
        first = row * count * inner + left
        if inner == 1:
            high = largest_of(x, first, first + count)
            # Nothing is subtracted from infinities, whose difference would be NaN.
            high = high if high - high == T(0) else T(0)
            t = T(0)
            for i in range(first, first + count):
                t = accumulate(t, exp(load(x[i]) - high))
            out[row] = store(log(t) + high)
            continue
        for k in range(width):
            top[k] = load(x[first + k])
            total[k] = T(0)
        for i in range(1, count):
            base = first + i * inner
            for k in range(width):
                v = load(x[base + k])
                top[k] = v if v > top[k] else top[k]
        for k in range(width):
            top[k] = top[k] if top[k] - top[k] == T(0) else T(0)
        for i in range(count):
            base = first + i * inner
            for k in range(width):
                total[k] = total[k] + exp(load(x[base + k]) - top[k])
        for k in range(width):
            out[row * inner + left + k] = store(log(total[k]) + top[k])


@kernel
def spread_lse(g: "*T", x: "*T", y: "*T", out: "*T", count: int, inner: int, start: int, stop: int):
    """Gradient of ``lse``: g times exp(x - y), with g and y (outer, inner), x (outer, count, inner), into out like x."""
    if inner == 1:
        for row in range(start, stop):
            scale = load(g[row])
            shift = load(y[row])
            for i in range(row * count, (row + 1) * count):
                out[i] = store(scale * exp(load(x[i]) - shift))
        return
    shift = strip()
    tiles = (inner + STRIP - 1) // STRIP
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * STRIP
        width = min(STRIP, inner - left)
        small = row * inner + left
        for k in range(width):
            shift[k] = load(y[small + k])
        base = row * count * inner + left
        for _ in range(count):
            for k in range(width):
                out[base + k] = store(load(g[small + k]) * exp(load(x[base + k]) - shift[k]))
            base += inner


def _np_logsumexp(x, dim, keepdim=False):
    top = x.max(axis=dim, keepdims=True)
    out = np.log(np.exp(x - top).sum(axis=dim, keepdims=True)) + top
    return out if keepdim else out.squeeze(dim)


@custom(private=True, contiguous=False, reference=None, node="LogsumexpBackward0")
def logsumexp_fused(input, *, dim: object, keepdim: bool):
    """Logarithm of the sum of exponentials."""
    return reduced_shape(input._shape, dim, keepdim), input._kind


@logsumexp_fused.cpu
def _(out, input, dim, keepdim):
    if not out._n:
        return
    f = Fold(input, dim)
    if not input._n:
        set_all(out, -np.inf)
        return
    lse.run(input._kind, (f.t._ptr, out._ptr, f.count, f.inner), f.items, input._n)


@logsumexp_fused.gradient
def _(g, input, y, shape, dim, keepdim):
    if not input._kind.cpu or g._rg or input._rg or not input._n:
        return expand_back(g, shape, dim, keepdim) * (input - expand_back(y, shape, dim, keepdim)).exp()
    out = make(shape, input._kind)
    f = Fold(input, dim)
    target = f.output(out)
    g = g.contiguous()
    spread_lse.run(input._kind, (g._ptr, f.t._ptr, y._ptr, target._ptr, f.count, f.inner), f.items, input._n)
    f.finish(target, out)
    return out


def _complex_logsumexp(input, dim, keepdim):
    """The sum shifted by the largest real part, which no gradient flows through."""
    if not input._n:
        return input.exp().sum(dim, keepdim).log()
    top = REGISTRY["amax"].callable(input.detach().real, dim, True)
    top = top.masked_fill(top.abs() == np.inf, 0)
    result = (input - top).exp().sum(dim, True).log() + top
    return result if keepdim else result.reshape(reduced_shape(input._shape, dim, False))


@function(kinds={"dim": "ints"}, namespaces=("torch", "special"), reference=_np_logsumexp,
          samples=(Sample((3, 4), 1), Sample((2, 3, 4), (0, 2), True), Sample((2, 3, 4), 1)))
def logsumexp(input, dim, keepdim=False, *, out=None):
    """log(sum(exp(input))) over dimensions, without overflow."""
    if input._kind.dtype.category < 2:
        input = input.to(dtype=dt.get_default_dtype())
    dim = tuple(dim) if isinstance(dim, list) else dim
    if input._kind.dtype.is_complex:
        result = _complex_logsumexp(input, dim, bool(keepdim))
        return result if out is None else write_out("logsumexp", out, result, [input], True)
    result = logsumexp_fused.call(input, dim=dim, keepdim=bool(keepdim))
    return result if out is None else write_out("logsumexp", out, result, [input], True)
