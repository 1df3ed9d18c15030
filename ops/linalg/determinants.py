"""Determinants, their logarithms, and their derivatives of every order."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, custom, function

from ..index.sort import result
from ..product.gemm import conj
from ..product.matmul import matmul
from . import kernels
from .common import SPACES, checked, column, count, failures, mh, of_dtype, op, real_kind, svd_space, take
from .solve import inverse_of


@custom(name="linalg_det", private=True, node="LinalgDetBackward0", reference=np.linalg.det,
        samples=(Sample((3, 3)), Sample((2, 2, 2))))
def determinant(input):
    """Determinants of square matrices."""
    checked("linalg.det", input)
    return input._shape[:-2], input._kind


@determinant.host
def _(out, input):
    n = input._shape[-1]
    if out._n:
        scratch, pivots = make((n * n,), out._kind), make((n,), storage.kind_of(dt.int32))
        kernels.determinants[out._kind](input._ptr, out._ptr, scratch._ptr, pivots._ptr, n, 0, out._n)


@determinant.gradient
def _(g, input):
    return column(column(g)) * cofactors(input)


def _cofactors(a):
    """conj(det A) A^-H, by singular values: singular matrices are no exception."""
    u, s, vh, sign = _signed_svd(a)
    return sign * ((u * _without_one(s)[..., None, :]) @ vh)


def _signed_svd(a):
    """(U, S, V^H, conj(det(U) det(V^H)))."""
    u, s, vh = np.linalg.svd(a)
    return u, s, vh, np.conj(np.linalg.det(u) * np.linalg.det(vh))[..., None, None]


def _without_one(s):
    """Products of all elements but one: of those before it and those after it."""
    s = np.concatenate([np.ones_like(s[..., :1]), s, np.ones_like(s[..., :1])], -1)
    return np.cumprod(s[..., :-2], -1) * np.cumprod(s[..., :1:-1], -1)[..., ::-1]


def _without_pairs(s):
    """Products of all elements but the i-th and the j-th, 0 where these are one."""
    one = np.eye(s.shape[-1], dtype=bool)
    return np.where(one, 0, _without_one(np.where(one, 1, s[..., None, :]))).astype(s.dtype)


@custom(private=True, node="LinalgDetBackwardBackward0", reference=_cofactors, samples=(Sample((3, 3)), Sample((2, 2, 2))))
def cofactors(input):
    """Conjugated cofactor matrices: the derivative of the determinant."""
    return input._shape, input._kind


_no_cofactors = failures(lambda info: ("linalg.det", "The singular values of the input matrix did not converge."))


@cofactors.host
def _(out, input):
    if not out._n:
        return
    n, kind = out._shape[-1], out._kind
    double = storage.kind_of(dt.float64)
    wide = storage.kind_of(dt.complex128) if kind.dtype.is_complex else double
    lwork, lrwork = svd_space(n, n, wide)
    scratch, values = make((4 * n * n + lwork + lrwork + 8 * n,), wide), make((2 * n,), double)
    pivots, bad = make((n,), storage.kind_of(dt.int32)), take(_no_cofactors, input)
    kernels.cofactors[wide, kind, double](input._ptr, out._ptr, scratch._ptr, values._ptr, pivots._ptr,
                                          1e3 if wide is kind else 1e8, n, lwork, lrwork, float("nan"), bad.address, 0,
                                          count(input))
    bad.check()


@cofactors.gradient
def _(g, input):
    if not (g._rg or input._rg):
        return cofactors_gradient(g, input)
    # d (conj(det) A^-H), written with the inverse: singular matrices have no third derivative here.
    h = mh(inverse_of(input))
    det = column(column(conj(determinant(input))))
    inner = op("sum")(conj(g) * h, (-2, -1), True)
    return det * (inner * h - matmul(matmul(h, mh(g)), h))


def _cofactors_gradient(g, a):
    """With H = conj(sign) U^H g V: U Y V^H, where Y_ji = -conj(H_ij) p_ij and Y_jj is the sum of conj(H_ii) p_ij."""
    finite = np.isfinite(a).all((-2, -1))[..., None, None]
    if not finite.all():
        return np.where(finite, _cofactors_gradient(g, np.where(finite, a, 0)), np.nan).astype(a.dtype)
    u, s, vh, sign = _signed_svd(a)
    turned = sign * (vh @ np.conj(np.swapaxes(g, -1, -2)) @ u)  # H^H
    products = _without_pairs(s)
    y = -products * turned
    diagonal = np.einsum("...ii->...i", y)
    diagonal[...] = (products @ np.einsum("...ii->...i", turned)[..., None])[..., 0]
    return u @ y @ vh


@custom(private=True, differentiable=False, reference=_cofactors_gradient,
        samples=(Sample((3, 3), (3, 3)), Sample((2, 2, 2), (2, 2, 2))))
def cofactors_gradient(g, input):
    """The derivative of the cofactors along ``g``; singular matrices are no exception."""
    return input._shape, input._kind


@cofactors_gradient.host
def _(out, g, input):
    out.array()[...] = _cofactors_gradient(g.array(), input.array())


@function(reference=np.linalg.det, samples=(Sample((3, 3)), Sample((2, 2, 2))), **SPACES)
def det(A, *, out=None):
    """Determinants of square matrices."""
    return determinant(A) if out is None else write_out("linalg_det", out, determinant(A), (A,))


Slogdet = result("linalg_slogdet", "sign", "logabsdet")


@custom(name="linalg_slogdet", private=True, node="LinalgSlogdetBackward0", reference=None, samples=(Sample((3, 3)),))
def log_determinant(A):
    """Sign and logarithm of the absolute determinant."""
    checked("linalg.slogdet", A)
    return [(A._shape[:-2], A._kind), (A._shape[:-2], real_kind(A._kind))]


@log_determinant.host
def _(outs, A):
    n, kind = A._shape[-1], A._kind
    if outs[0]._n:  # as in PyTorch, NaN has no sign
        scratch, pivots = make((n * n,), kind), make((n,), storage.kind_of(dt.int32))
        kernels.log_determinants[kind, outs[1]._kind](A._ptr, outs[0]._ptr, outs[1]._ptr, scratch._ptr, pivots._ptr, n,
                                                      int(not kind.dtype.is_complex), 0, outs[0]._n)


@log_determinant.gradient
def _(gs, A, y0):
    g = gs[1]
    h = mh(inverse_of(A, False))  # logabsdet of a singular matrix is -inf, its slope not finite
    if A._kind.dtype.is_complex:
        turn = op("imag")(conj(gs[0]) * y0)
        g = of_dtype(g, A) - of_dtype(turn, A) * 1j
    return column(column(g)) * h


@function(reference=lambda a: np.linalg.slogdet(a), samples=(Sample((3, 3)), Sample((2, 2, 2))), **SPACES)
def slogdet(A, *, out=None):
    """(sign, logabsdet): sign (or phase) and logarithm of the absolute value of determinants."""
    found = log_determinant(A)
    return Slogdet(*(found if out is None else write_outs("linalg_slogdet", out, found, (A,))))


@function(reference=lambda a: np.log(np.linalg.det(a)), samples=(Sample(np.array([[2.0, 0.5], [0.3, 1.5]])),))
def logdet(input):
    """Logarithm of determinants; NaN where negative."""
    sign, log = log_determinant(input)
    if input._kind.dtype.is_complex:
        return of_dtype(log, input) + op("log")(sign)
    return op("where")(op("eq")(sign, -1.0), float("nan"), log)
