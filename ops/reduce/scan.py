"""Running folds along a dimension: cumsum, cumprod, logcumsumexp; and differences. Extrema: ``running_extrema``."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.out import write_out
from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, exp, function, load, log, store
from numbagrad.kernel.jit import LANES, STRIP, acc, acc_strip, kernel, strip

from ..product.gemm import conj
from .linear_recurrence import product_gradient

TOGETHER = 4  # rows whose running folds are carried side by side: one alone waits for each of its additions
ALONG = (Sample((3, 4), 1), Sample((3, 4), 0), Sample((2, 3, 4), -2), Sample((), 0))


def split(shape, dim):
    """(outer, size, inner) around a wrapped dimension."""
    return (numel(shape[:dim]), shape[dim], numel(shape[dim + 1:])) if shape else (1, 1, 1)


@kernel(fast=())
def sum_along(x: "*T", out: "*T", n: int, inner: int, reverse: int, start: int, stop: int):
    """Running sums along the middle of x (outer, n, inner), from its end with ``reverse``, into out like x."""
    totals = acc_strip()
    rest = stop - (stop - start) % TOGETHER if inner == 1 else start
    for row in range(start, rest, TOGETHER):
        at, b = row * n, n
        c, d = 2 * n, 3 * n
        step = -1 if reverse else 1
        at += n - 1 if reverse else 0
        p, q, r, s = acc(0), acc(0), acc(0), acc(0)
        for _ in range(n):
            p, q = acc(p + acc(load(x[at]))), acc(q + acc(load(x[at + b])))
            r, s = acc(r + acc(load(x[at + c]))), acc(s + acc(load(x[at + d])))
            out[at], out[at + b] = store(T(p)), store(T(q))
            out[at + c], out[at + d] = store(T(r)), store(T(s))
            at += step
    for row in range(rest, stop):
        base = row * n * inner
        if inner == 1:
            total = acc(0)
            if reverse:
                for i in range(base + n - 1, base - 1, -1):
                    total = acc(total + acc(load(x[i])))
                    out[i] = store(T(total))
            else:
                for i in range(base, base + n):
                    total = acc(total + acc(load(x[i])))
                    out[i] = store(T(total))
            continue
        step = -inner if reverse else inner
        for first in range(0, inner, STRIP):
            wide = min(inner - first, STRIP)
            at = base + first + ((n - 1) * inner if reverse else 0)
            for k in range(wide):
                totals[k] = acc(load(x[at + k]))
                out[at + k] = x[at + k]
            for _ in range(1, n):
                at += step
                for k in range(wide):
                    totals[k] = acc(totals[k] + acc(load(x[at + k])))
                    out[at + k] = store(T(totals[k]))


@kernel(fast=())
def product_along(x: "*T", out: "*T", n: int, inner: int, start: int, stop: int):
    """Running products along the middle of x (outer, n, inner), into out like x."""
    totals = acc_strip()
    rest = stop - (stop - start) % TOGETHER if inner == 1 else start
    for row in range(start, rest, TOGETHER):
        at, b = row * n, n
        c, d = 2 * n, 3 * n
        p, q, r, s = acc(1), acc(1), acc(1), acc(1)
        for _ in range(n):
            p, q = acc(p * acc(load(x[at]))), acc(q * acc(load(x[at + b])))
            r, s = acc(r * acc(load(x[at + c]))), acc(s * acc(load(x[at + d])))
            out[at], out[at + b] = store(T(p)), store(T(q))
            out[at + c], out[at + d] = store(T(r)), store(T(s))
            at += 1
    for row in range(rest, stop):
        if inner == 1:
            total = acc(1)
            for i in range(row * n, row * n + n):
                total = acc(total * acc(load(x[i])))
                out[i] = store(T(total))
            continue
        for first in range(0, inner, STRIP):
            wide = min(inner - first, STRIP)
            at = row * n * inner + first
            for k in range(wide):
                totals[k] = acc(load(x[at + k]))
                out[at + k] = x[at + k]
            for _ in range(1, n):
                at += inner
                for k in range(wide):
                    totals[k] = acc(totals[k] * acc(load(x[at + k])))
                    out[at + k] = store(T(totals[k]))


@kernel(fast=())
def lse_along(x: "*T", out: "*T", n: int, inner: int, start: int, stop: int):
    """Running logarithms of sums of exponentials along the middle of x (outer, n, inner), into out like x."""
    # The greatest so far, and the sum of exponentials of all less it.
    high, total, tile = strip(), acc_strip(), strip()
    rest = start
    while inner == 1 and stop - rest > 1:  # rows as columns: those of 4096 bytes meet in one place of the first-level cache
        many, base = min(stop - rest, LANES), rest * n
        rest += many
        for k in range(many):
            high[k], total[k] = T(-np.inf), acc(0)
        for first in range(0, n, STRIP // LANES):
            wide = min(n - first, STRIP // LANES)
            for k in range(many):
                for i in range(wide):
                    tile[i * LANES + k] = load(x[base + k * n + first + i])
            for i in range(wide):
                for k in range(many):
                    v, m = tile[i * LANES + k], high[k]
                    small = exp(T(0) if v == m else v - m if v < m else m - v)
                    total[k] = total[k] + acc(small) if v <= m else total[k] * acc(small) + acc(1)
                    high[k] = m if v <= m else v
                    tile[i * LANES + k] = T(acc(high[k]) + acc(log(T(total[k]))))
            for k in range(many):
                for i in range(wide):
                    out[base + k * n + first + i] = store(tile[i * LANES + k])
    for row in range(rest, stop):
        for first in range(0, inner, STRIP):
            wide = min(inner - first, STRIP)
            at = row * n * inner + first
            for k in range(wide):
                high[k], total[k] = load(x[at + k]), acc(1)
                out[at + k] = x[at + k]
            for _ in range(1, n):
                at += inner
                for k in range(wide):
                    v, m = load(x[at + k]), high[k]
                    small = exp(T(0) if v == m else v - m if v < m else m - v)
                    total[k] = total[k] + acc(small) if v <= m else total[k] * acc(small) + acc(1)
                    high[k] = m if v <= m else v
                    out[at + k] = store(T(acc(high[k]) + acc(log(T(total[k])))))


def _run(kernel_, out, x, dim, *extra):
    outer, n, inner = split(x._shape, dim)
    if out._n:
        kernel_.run(out._kind, (x._ptr, out._ptr, n, inner, *extra), outer, out._n)


# --- sums -------------------------------------------------------------------------------------------------------------

@custom(private=True, node="CumsumBackward0", dtypes="any", samples=(Sample((3, 4), 1, False), Sample((3, 4), 0, True)),
        reference=lambda x, dim, reverse: (np.flip(np.cumsum(np.flip(x, dim), dim), dim) if reverse
                                           else np.cumsum(x, dim)))
def cumsum_fused(input, dim: int, reverse: bool):
    """Running sum along a dimension, from its end with ``reverse``."""
    return input._shape, input._kind


@cumsum_fused.cpu
def _(out, input, dim, reverse):
    _run(sum_along, out, input, dim, reverse)


@cumsum_fused.gradient
def _(g, dim, reverse):
    return cumsum_fused.call(g, dim, not reverse)


def _prepared(name, input, dim, dtype, out):
    """(input in the dtype that is summed, wrapped dim); without ``dtype`` that of ``out``."""
    if dtype is None and isinstance(out, Tensor):
        dtype = out._kind.dtype
    if dtype is None and input._kind.dtype.category < 2:
        dtype = dt.int64
    if dtype is dt.bool_:
        raise NotImplementedError(f"\"{name}_out_cpu\" not implemented for 'Bool'")
    if dtype is not None and dtype is not input._kind.dtype:
        input = input.to(dtype=dtype)
    return input, wrap_dim(dim, len(input._shape))


def _finish(name, out, value, input):
    return value if out is None else write_out(name, out, value, [input], True)


def _axis(f):
    return lambda x, dim: f(x, axis=dim) if x.ndim else f(x.reshape(1), axis=0).reshape(())


@function(reference=_axis(np.cumsum), samples=ALONG, dtypes="any", inplace=True)
def cumsum(input, dim, *, dtype=None, out=None):
    """Running sum along ``dim``; integers are summed in int64."""
    x, dim = _prepared("cumsum", input, dim, dtype, out)
    return _finish("cumsum", out, cumsum_fused.call(x, dim, False), input)


# --- products ---------------------------------------------------------------------------------------------------------

@custom(private=True, node="CumprodBackward0", dtypes="any", samples=(Sample((3, 4), 1),), domain=(0.3, 2.0),
        reference=lambda x, dim: np.cumprod(x, dim))
def cumprod_fused(input, dim: int):
    """Running product along a dimension."""
    return input._shape, input._kind


@cumprod_fused.cpu
def _(out, input, dim):
    _run(product_along, out, input, dim)


@cumprod_fused.gradient
def _(g, input, y, dim):
    if not input._shape:
        return g
    # d out[j] / d x[i] is the product over the others up to j: no division, so zeros are like other values.
    return product_gradient.call(g, conj(input), conj(y), dim)


@function(reference=_axis(np.cumprod), samples=ALONG, domain=(0.3, 2.0), dtypes="any", inplace=True)
def cumprod(input, dim, *, dtype=None, out=None):
    """Running product along ``dim``; integers are multiplied in int64."""
    x, dim = _prepared("cumprod", input, dim, dtype, out)
    return _finish("cumprod", out, cumprod_fused.call(x, dim), input)


# --- logcumsumexp -----------------------------------------------------------------------------------------------------

@custom(private=True, node="LogcumsumexpBackward0", samples=(Sample((3, 4), 1),),
        reference=lambda x, dim: np.log(np.cumsum(np.exp(x), dim)))
def logcumsumexp_fused(input, dim: int):
    """Running log(sum(exp(input)))."""
    return input._shape, input._kind


@logcumsumexp_fused.cpu
def _(out, input, dim):
    _run(lse_along, out, input, dim)


@logcumsumexp_fused.gradient
def _(g, input, y, dim):
    # d y[j] / d x[i] = exp(x[i] - y[j]) for j >= i; as y never falls, the sum over j is a stable recurrence.
    if not input._shape:
        return g * 1
    return (input - y).exp() * decayed_sum.call(g, y, dim, True)


@kernel(fast=())
def decay_along(g: "*T", y: "*T", out: "*T", n: int, inner: int, reverse: int, start: int, stop: int):
    """out[i] = g[i] + exp(y[i - 1] - y[i]) * out[i - 1] along the middle of g, y and out (outer, n, inner); with ``reverse``
    from its end, by exp(y[i] - y[i + 1]) * out[i + 1]."""
    for row in range(start, stop):
        base = row * n * inner
        step = -inner if reverse else inner
        at = base + (n - 1) * inner if reverse else base
        for k in range(inner):
            out[at + k] = g[at + k]
        for _ in range(1, n):
            at += step
            for k in range(inner):
                d = load(y[at + k]) - load(y[at - step + k])
                d = d if reverse else -d
                # Two equal infinities: nothing came before. NaN goes on to all that it was part of.
                a = load(y[at + k])
                b = load(y[at - step + k])
                w = exp(d) if d == d or a != a or b != b else T(0)
                # What has no weight counts as nothing, an infinity or NaN too.
                rest = w * load(out[at - step + k]) if w != T(0) else T(0)
                out[at + k] = store(load(g[at + k]) + rest)


@custom(private=True, samples=(Sample((3, 4), (3, 4), 1, True), Sample((3, 4), (3, 4), 0, False)),
        reference=lambda g, y, dim, reverse: _np_decayed(g, y, dim, reverse))
def decayed_sum(upstream, y, dim: int, reverse: bool):
    """Sum over j >= i of g[j] * exp(y[i] - y[j]); without ``reverse`` over j <= i of g[j] * exp(y[j] - y[i])."""
    return upstream._shape, upstream._kind


@decayed_sum.cpu
def _(out, upstream, y, dim, reverse):
    outer, n, inner = split(out._shape, dim)
    if out._n:
        decay_along.run(out._kind, (upstream._ptr, y._ptr, out._ptr, n, inner, reverse), outer, out._n)


@decayed_sum.gradient
def _(g, upstream, y, dim, reverse):
    other = decayed_sum.call(g, y, dim, not reverse)
    result = decayed_sum.call(upstream, y, dim, reverse)
    change = g * result - upstream * other
    return other, change if reverse else -change


def _np_decayed(g, y, dim, reverse):
    g, y = np.moveaxis(g, dim, -1), np.moveaxis(y, dim, -1)
    n = g.shape[-1]
    d = y[..., :, None] - y[..., None, :]
    keep = np.triu(np.ones((n, n))) if reverse else np.tril(np.ones((n, n)))
    out = (np.where(keep > 0, np.exp(d if reverse else -d), 0) * g[..., None, :]).sum(-1)
    return np.moveaxis(out, -1, dim)


def _complex_logcumsumexp(input, dim):
    """y[i] = log(exp(x[i]) + exp(y[i - 1])), one place after the other, each recorded."""
    if not input._n or not input._shape:
        return input * 1
    rows = [input.narrow(dim, i, 1) for i in range(input._shape[dim])]
    found = rows[:1]
    for x in rows[1:]:
        found.append(REGISTRY["logaddexp"].callable(x, found[-1]))
    return REGISTRY["cat"].callable(found, dim)


@function(reference=_axis(lambda x, axis: np.log(np.cumsum(np.exp(x), axis))), samples=ALONG)
def logcumsumexp(input, dim, *, out=None):
    """Running log(sum(exp(input))) along ``dim``, without overflow."""
    if input._kind.dtype.category < 2:
        raise NotImplementedError(f"\"logcumsumexp_out_cpu\" not implemented for "
                                  f"'{dt.scalar_name(input._kind.dtype)}'")
    if input._kind.dtype.is_complex:
        return _finish("logcumsumexp", out, _complex_logcumsumexp(input, wrap_dim(dim, len(input._shape))), input)
    return _finish("logcumsumexp", out, logcumsumexp_fused.call(input, wrap_dim(dim, len(input._shape))), input)


# --- differences ------------------------------------------------------------------------------------------------------

def _np_diff(x, n=1, dim=-1, prepend=None, append=None):
    more = {k: v for k, v in (("prepend", prepend), ("append", append)) if v is not None}
    return np.diff(x, n, dim, **more)


@function(reference=_np_diff, dtypes="any",
          samples=(Sample((3, 4)), Sample((3, 4), 1, 0), Sample((3, 4), 2, 1), Sample((3, 4), 1, 1, (3, 2), (3, 1))))
def diff(input, n=1, dim=-1, prepend=None, append=None, *, out=None):
    """The ``n``-th differences of neighbours along ``dim``, after joining ``prepend`` and ``append`` to it."""
    if not input._shape:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    at = wrap_dim(dim, len(input._shape))
    if not n:
        return _finish("diff", out, input.clone(), input)
    parts = [t for t in (prepend, input, append) if t is not None]
    if len(parts) > 1:
        from numbagrad import cat
        input = cat(parts, at)
    t = input
    for _ in range(min(n, input._shape[at])):
        size = t._shape[at] - 1
        a, b = t.narrow(at, 1, size), t.narrow(at, 0, size)
        t = a.logical_xor(b) if t._kind.dtype.category == 0 else a - b
    return _finish("diff", out, t, input)
