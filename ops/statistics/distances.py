"""Distances of points, and rows brought to a greatest norm."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.copying import copy_into
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, T, accumulate, custom, function, kernel, load, sqrt, store
from numbagrad.kernel import blas

from ..linalg.common import op
from ..reduce.norms import check_inexact, vector_norm_of

MANY = 25  # rows from which on the squares of distances come from a product
MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


@function(kinds={"other": "tensor", "p": "number"}, reference=lambda a, b, p=2: np.linalg.norm((a - b).ravel(), p),
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (4,), 1), Sample((5,), (5,), 3)))
def dist(input, other, p=2):
    """The ``p``-norm of ``input - other`` taken as one vector."""
    d = dt.promote_types(input._kind.dtype, other._kind.dtype)
    if d.category < 2:
        raise RuntimeError("norm(): input dtype should be either floating point or complex. Got "
                           f"{dt.scalar_name(d)} instead.")
    return vector_norm_of((input - other).flatten(), p, None, False)


def _np_cdist(a, b, p=2.0, compute_mode=None):
    d = np.abs(a[..., :, None, :] - b[..., None, :, :])
    if p == math.inf:
        return d.max(-1)
    return (d != 0).sum(-1) * 1.0 if p == 0 else (d**p).sum(-1) ** (1 / p)


@kernel
def pair_distances(x: "*T", y: "*T", out: "*T", batch: int, n: int, m: int, k: int, start: int, stop: int):
    """Euclidean distances of the rows of x (batch, n, k) from those of y (batch, m, k), into out (batch, n, m)."""
    for row in range(start, stop):
        b = row // n
        for j in range(m):
            total = T(0)
            for i in range(k):
                d = load(x[row * k + i]) - load(y[(b * m + j) * k + i])
                total = accumulate(total, d * d)
            out[row * m + j] = store(sqrt(total))


@kernel
def beside_norms(x: "*T", out: "*T", k: int, factor: float, ahead: int, start: int, stop: int):
    """Rows of x (rows, k) times factor, their squares' sum and 1 behind them, or, not ``ahead``, 1 and that sum, into out
    (rows, k + 2)."""
    for row in range(start, stop):
        at, total = row * (k + 2), T(0)
        for i in range(k):
            v = x[row * k + i]
            total = accumulate(total, v * v)
            out[at + i] = T(factor) * v
        out[at + k] = total if ahead != 0 else T(1)
        out[at + k + 1] = T(1) if ahead != 0 else total


@kernel
def roots(x: "*T", start: int, stop: int):
    """Square roots of x (n,), in their place, of 0 where rounding left less."""
    for i in range(start, stop):
        v = x[i]
        x[i] = sqrt(T(0) if v < T(0) else v)


def _product_into(out, a, b):
    """``_by_product`` without memory for its steps, where BLAS has the dtype."""
    kind, (n, k), m, batch = out._kind, a._shape[-2:], b._shape[-2], math.prod(a._shape[:-2])
    left, right = make((batch * n, k + 2), kind), make((batch * m, k + 2), kind)
    beside_norms.run(kind, (a._ptr, left._ptr, k, -2.0, 1), batch * n, a._n)
    beside_norms.run(kind, (b._ptr, right._ptr, k, 1.0, 0), batch * m, b._n)
    k += 2
    blas.gemm(kind.np.str[1:], left._ptr, right._ptr, out._ptr, n, m, k, k, k, m, 0, 1, 1.0, 0.0, batch, n * k, m * k, n * m)
    roots.run(kind, (out._ptr,), out._n, out._n)


def _by_product(a, b):
    """Euclidean distances by the squares of norms and one product of matrices."""
    one, two = a.pow(2).sum(-1, keepdim=True), b.pow(2).sum(-1, keepdim=True)
    left = op("cat")([a * -2, one, one.new_ones(one._shape)], -1)
    right = op("cat")([b, two.new_ones(two._shape), two], -1)
    return op("matmul")(left, right.transpose(-2, -1)).clamp(min=0).sqrt()


@custom(private=True, node="CdistBackward0", reference=lambda a, b, by_product=False: _np_cdist(a, b),
        samples=(Sample((3, 4), (2, 4)), Sample((2, 3, 4), (2, 5, 4)), Sample((3, 4), (2, 4), by_product=True)))
def euclidean(x1, x2, *, by_product: bool = False):
    """Euclidean distances of all rows of two batches; ``by_product``: by one product of matrices, with its rounding."""
    return (*x1._shape[:-1], x2._shape[-2]), x1._kind


@euclidean.cpu
def _(out, x1, x2, by_product):
    if by_product and out._kind.cpu and out._n and out._kind.dtype.itemsize > 2:
        return _product_into(out, x1, x2)
    if by_product:
        return copy_into(out, _by_product(x1.detach(), x2.detach()))
    n, k = x1._shape[-2:]
    m = x2._shape[-2]
    return pair_distances.launch(x1, x2, out, math.prod(x1._shape[:-2]), n, m, k, rows=math.prod(x1._shape[:-1]))


@euclidean.gradient
def _(g, x1, x2, y, needs):
    # Of the distance of a point from itself the derivative is taken to be zero.
    zero = (y.detach() == 0).to(dtype=y.dtype)
    w = g * (1 - zero) / (y + zero)
    return (x1 * w.sum(-1, keepdim=True) - op("matmul")(w, x2) if needs[0] else None,
            x2 * w.sum(-2).unsqueeze(-1) - op("matmul")(w.transpose(-2, -1), x1) if needs[1] else None)


@function(method=False, kinds={"p": "float", "compute_mode": "any"}, reference=_np_cdist,
          samples=(Sample((3, 4), (2, 4)), Sample((2, 3, 4), (2, 5, 4), 1.0), Sample((3, 4), (2, 4), 3.0),
                   Sample((3, 4), (2, 4), math.inf), Sample((30, 3), (2, 3)), Sample((2, 1, 3, 4), (3, 2, 4))))
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """The ``p``-norms of the differences of all rows of ``x1`` (..., P, M) and ``x2`` (..., R, M), as (..., P, R)."""
    for name, x in (("X1", x1), ("X2", x2)):
        if x._kind.dtype.category != 2:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {dt.scalar_name(x._kind.dtype)}")
        if len(x._shape) < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {len(x._shape)}D")
    if x1._shape[-1] != x2._shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1._shape[-1]} X2: {x2._shape[-1]}")
    if not p >= 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if compute_mode not in (None, *MODES):
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    if x1._kind.dtype is not x2._kind.dtype:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(x1._kind.dtype)} but found {dt.scalar_name(x2._kind.dtype)}")
    (n, k), m = x1._shape[-2:], x2._shape[-2]
    batch = x1._shape[:-2]
    if batch != x2._shape[:-2]:
        batch = np.broadcast_shapes(batch, x2._shape[:-2])
    if not n or not m or not k:
        return (x1.sum(-1, keepdim=True) + x2.sum(-1).unsqueeze(-2)) * 0
    if p == 2:
        a, b = (x if x._shape[:-2] == batch else x.expand(*batch, *x._shape[-2:]) for x in (x1, x2))
        way = MODES.index(compute_mode) if compute_mode else 0
        return euclidean(a, b, by_product=way == 1 or way == 0 and (n > MANY or m > MANY))
    d = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    counts = vector_norm_of(d, p, -1, False)
    if p or not d._rg:
        return counts
    total = d.sum(-1)  # derivatives of zero, not none
    return op("where")(total.new_zeros(total._shape, dtype=dt.bool_), total, counts)


def _np_renorm(x, p, dim, maxnorm):
    axes = tuple(i for i in range(x.ndim) if i != dim % x.ndim)
    norms = (np.abs(x)**p).sum(axes, keepdims=True) ** (1 / p)
    return x * np.where(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)


@function(out="same", inplace=True, kinds={"p": "number", "maxnorm": "number"}, reference=_np_renorm,
          samples=(Sample((3, 4), 2, 0, 1.0), Sample((3, 4), 1, 1, 2.0)))
def renorm(input, p, dim, maxnorm):
    """``input`` with each part along ``dim`` scaled down to a ``p``-norm of ``maxnorm`` at most."""
    if not p > 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if len(input._shape) < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {len(input._shape)} dimensions")
    if not maxnorm >= 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    at = wrap_dim(dim, len(input._shape))
    check_inexact(input)
    wide = input.to(dtype=dt.float32) if input._kind.dtype in dt.HALF else input
    norms = vector_norm_of(wide, p, [i for i in range(len(input._shape)) if i != at], True)
    return input * op("where")(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0).to(dtype=input.dtype)


@function(namespaces=("linalg",), method=False, kinds={"y": "tensor"}, reference=lambda x, y, dim=-1: (x * y).sum(dim),
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (4,)), Sample((3, 4), (3, 4), dim=0)))
def vecdot(x, y, *, dim=-1, out=None):
    """The dot products ``sum(conj(x) y)`` of vectors along ``dim``."""
    if x._kind.dtype is not y._kind.dtype:
        raise RuntimeError("linalg.vecdot: Expected x and y to have the same dtype, but found x of type "
                           f"{dt.scalar_name(x._kind.dtype)} and y of type {dt.scalar_name(y._kind.dtype)} instead")
    if x._kind.dtype.is_complex:
        x = op("conj")(x)
    value = (x * y).sum(dim)
    return value if out is None else write_out("linalg_vecdot", out, value, (x, y))
