"""Quantiles of all elements or along a dimension."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.copying import copy_into, row_major, set_all
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make, raw, raw_view
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function
from numbagrad.kernel.jit import kernel

from ..index.sort import positions, rows_of

WAYS = ("linear", "lower", "higher", "midpoint", "nearest")


# --- one op: a number, or quantiles without a gradient of their own ---

@kernel(fast=())
def quantile_rows(x: "*T", order: "*i8", q: "*T", out: "*T", places: "*i8", weights: "*T", n: int, rows: int, count: int,
                  at: float, alone: int, way: int, skip: int, start: int, stop: int):
    """Quantiles q (count,), or ``at`` if ``alone``, of rows of x (rows, n) in the order of int64 order (rows, n), into out
    (count, rows): between the places (2, count, rows) with the weights (count, rows) of the second. ``way`` counts in WAYS."""
    for row in range(start, stop):
        missing = 0
        for i in range(row * n, row * n + n):
            missing += 1 if x[i] != x[i] else 0
        for k in range(count):
            v = T(at) if alone else q[k]
            rank = v * T(n - 1)
            if skip:
                rank = max(v * T(n - 1 - missing), T(0))
            elif missing > 0:  # at the end of the order
                rank = T(n - 1)
            low = int(math.floor(rank))
            rest = rank - T(low)
            if way == 2 and rest > T(0) or way == 4 and (rest > T(0.5) or rest == T(0.5) and low % 2 == 1):
                low += 1
            w = rest if way == 0 or way == 3 else T(0)
            high = low + (1 if w > T(0) else 0)
            w = T(0.5) if way == 3 else w
            first, second = row * n + order[row * n + low], row * n + order[row * n + high]
            a, b, to = x[first], x[second], k * rows + row
            if way == 0 or way == 3:
                out[to] = a + w * (b - a) if w < T(0.5) else b - (b - a) * (T(1) - w)
            else:
                out[to] = a
            places[to], places[count * rows + to], weights[to] = first, second, w


@kernel
def add_weighted(g: "*T", places: "*i8", weights: "*T", out: "*T", n: int, start: int, stop: int):
    """Add g (n,) to out at the places (2, n), int64, with the weights (n,) of the second."""
    for i in range(start, stop):
        out[places[i]] += g[i] * (T(1) - weights[i])
        out[places[n + i]] += g[i] * weights[i]


@kernel
def take_weighted(x: "*T", places: "*i8", weights: "*T", out: "*T", n: int, start: int, stop: int):
    """The sums of elements of x at the places (2, n), int64, with the weights (n,) of the second, into out (n,)."""
    for i in range(start, stop):
        out[i] = x[places[i]] * (T(1) - weights[i]) + x[places[n + i]] * weights[i]


def _rows(t, dim):
    """(``t`` with ``dim`` last, or all in a row, as row-major memory; the order of its dimensions or None)."""
    return (row_major(t), None) if dim is None else rows_of(t, dim)


def _matrix(t, n):
    return raw(t._buf, t._ptr, t._n, (t._n // n, n), None, t._kind, t._ver)


@custom(private=True, contiguous=False, reference=None, node="SqueezeBackward0")
def quantiles(input, q, at: float, dim: int, keepdim: bool, way: int, skip: bool):
    """Quantiles (q, or the one at ``at``) along ``dim`` (-1: of all elements); what they were made of: places, weights."""
    shape, ones = input._shape, (1,) if keepdim else ()
    rest = ones * len(shape) if dim < 0 else (*shape[:dim], *ones, *shape[dim + 1:]) if shape else ()
    shape = rest if q is None else (*q._shape, *rest)
    return [(shape, input._kind), ((2, *shape), storage.kind_of(dt.int64, input._kind.device)), (shape, input._kind)]


@quantiles.host
def _(outs, input, q, at, dim, keepdim, way, skip):
    out, places, weights = outs
    if not out._n:
        return
    n = input._n if dim < 0 else input._shape[dim] if input._shape else 1
    x = _matrix(_rows(input, None if dim < 0 else dim)[0], n)
    order = make(x._shape, places._kind)
    positions.cpu_launch(order, x, 1, n, False, True, False, True, True)
    q, rows = q if q is None else row_major(q), x._shape[0]
    quantile_rows[x._kind](x._ptr, order._ptr, 0 if q is None else q._ptr, out._ptr, places._ptr, weights._ptr, n, rows,
                           1 if q is None else q._n, at, q is None, way, skip, 0, rows)


@quantiles.gradient
def _(g, y1, y2, shape, dim):
    return quantile_gradient.call(g, y1, y2.detach(), shape, dim), None  # (weights are the same nearby)


@custom(private=True, reference=None)
def quantile_gradient(g, places, weights, shape: tuple, dim: int):
    """The gradient of ``quantiles`` for a tensor of ``shape``."""
    return shape, g._kind


@quantile_gradient.cpu
def _(out, g, places, weights, shape, dim):
    rows, order = out, None if dim < 0 or not shape else [*range(dim), *range(dim + 1, len(shape)), dim]
    if order is not None and dim < len(shape) - 1:
        rows = make(tuple([shape[d] for d in order]), out._kind)
    set_all(rows, 0)
    add_weighted[out._kind](g._ptr, places._ptr, weights._ptr, rows._ptr, g._n, 0, g._n)
    if rows is not out:
        copy_into(raw_view(out, order), rows)


@quantile_gradient.gradient
def _(g_, places, weights, dim, needs):
    return quantile_parts.call(g_, places, weights, dim), None, None


@custom(private=True, contiguous=False, reference=None)
def quantile_parts(input, places, weights, dim: int):
    """What quantiles are made of elsewhere, of another tensor: the gradient of ``quantile_gradient``."""
    return weights._shape, input._kind


@quantile_parts.cpu
def _(out, input, places, weights, dim):
    x, places, weights = _rows(input, None if dim < 0 else dim)[0], row_major(places), row_major(weights)
    take_weighted[out._kind](x._ptr, places._ptr, weights._ptr, out._ptr, out._n, 0, out._n)


@quantile_parts.gradient
def _(g_, places, weights, shape, dim):
    return quantile_gradient.call(g_, places, weights, shape, dim), None, None


# --- in ordinary ops ---


def _check(name, input, q, interpolation):
    """Refuse what cannot be."""
    if not input._n:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if input._kind.dtype not in (dt.float32, dt.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if len(q._shape) > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q._kind.dtype is not input._kind.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        if q._kind is not input._kind:
            raise RuntimeError(f"{name}() q tensor must be on the same device as the input tensor")
    if interpolation not in WAYS:
        raise RuntimeError(f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
                           f"{interpolation}")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        return
    if q.device.type == "cpu" and not bool(((q >= 0) & (q <= 1)).all()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")


def _quantile(name, input, q, dim, keepdim, interpolation, out, skip_nan):
    _check(name, input, q, interpolation)
    given = isinstance(q, Tensor)
    if given and q._rg:
        values = _composed(input, q, dim, keepdim, interpolation, skip_nan)
    else:
        at = -1 if dim is None else wrap_dim(dim, len(input._shape))
        values = quantiles.call(input, q if given else None, 0.0 if given else float(q), at, bool(keepdim),
                                WAYS.index(interpolation), skip_nan)[0]
    return values if out is None else write_out(name, out, values, (input, q) if given else (input,))


def _composed(input, q, dim, keepdim, interpolation, skip_nan):
    """Quantiles that have a gradient."""
    shape = list(input._shape)
    if dim is None:
        rows, shape = input.flatten().unsqueeze(0), [1] * len(shape) if keepdim else []
    else:
        at = wrap_dim(dim, len(shape))
        if shape:
            rows = input.movedim(at, -1)
            shape[at:at + 1] = [1] if keepdim else []
        else:
            rows = input.unsqueeze(0)
    ordered = REGISTRY["sort"].callable(rows)[0]
    last, missing = ordered._shape[-1] - 1, ordered.isnan()
    if skip_nan:
        ranks = (q * (missing.logical_not().sum(-1, keepdim=True) - 1)).clamp(min=0)
    else:  # a row with a NaN has it at its end
        ranks = (q * last).expand(*ordered._shape[:-1], q._n).masked_fill(missing.any(-1, keepdim=True), last)
    ranks = {"lower": ranks.floor, "higher": ranks.ceil, "nearest": ranks.round}.get(interpolation, lambda: ranks)()
    below = ranks.long()
    values = ordered.gather(-1, below)
    if interpolation in ("linear", "midpoint"):
        weight = ranks - below if interpolation == "linear" else 0.5
        values = values.lerp(ordered.gather(-1, ranks.ceil().long()), weight)
    # (The quantiles come first.)
    return values.movedim(-1, 0).reshape(([q._n] if q._shape else []) + shape)


def _reference(x, q, dim=None, keepdim=False, *, interpolation="linear"):
    return np.quantile(x, q, axis=dim, keepdims=keepdim, method=interpolation)


SAMPLES = (Sample((3, 4), 0.3), Sample((3, 4), 0.6, 1), Sample((2, 5), 0.25, 0, True), Sample((7,), 0.4, interpolation="lower"),
           Sample((3, 5), 0.7, 1, interpolation="higher"), Sample((3, 5), 0.7, 1, interpolation="midpoint"),
           Sample((6,), 0.33, interpolation="nearest"))


@function(kinds={"q": "any", "interpolation": "str"}, samples=SAMPLES, reference=_reference)
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear", out=None):
    """The ``q``-th quantiles (one, or a vector of them, which comes first) of all elements or along ``dim``.

    Between two elements by ``interpolation``; NaN where a NaN is."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, out, False)


@function(kinds={"q": "any", "interpolation": "str"}, samples=SAMPLES, reference=_reference)
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear", out=None):
    """``quantile`` of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, out, True)
