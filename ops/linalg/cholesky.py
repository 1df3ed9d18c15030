"""Cholesky factors and triangular systems."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.copying import copy_into, row_major
from numbagrad.core.out import write_out
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel.tape import TAPE, active

from ..product.gemm import check_tensors
from ..product.matmul import matmul
from ..refusal import refusal
from . import kernels
from .common import (
    SPACES,
    LinAlgError,
    batch_shape,
    batched,
    checked,
    count,
    diagonal,
    element,
    failures,
    mh,
    op,
    take,
)
from .solve import _solve_reference


@custom(name="linalg_cholesky", private=True, node="LinalgCholeskyExBackward0", reference=None)
def lower_factor(input, upper: bool = False):
    """Lower triangular L with ``L L^H`` the input, of which the lower (``upper``) triangle counts."""
    checked("linalg.cholesky", input)
    return input._shape, input._kind


_indefinite = failures(lambda info: ("linalg.cholesky", "The factorization could not be completed because the input is not "
                                    f"positive-definite (the leading minor of order {info} is not positive-definite)."))


@lower_factor.host
def _(out, input, upper):
    if out._n:
        input = row_major(mh(input.detach())) if upper else input
        bad = take(_indefinite, input)
        kernels.definite_factors[out._kind](input._ptr, out._ptr, input._shape[-1], bad.address, 0, count(input))
        bad.check()


@lower_factor.gradient
def _(g, y, upper):
    return factor_gradient(g, y)


def factor_gradient(g, y):
    """The gradient of Hermitian matrices by that of their lower factor ``y``."""
    # gA = L^-H Phi(L^H gL) L^-1, where Phi mirrors the lower triangle and halves all of it but the diagonal's mirror image.
    phi = op("tril")(matmul(mh(y), g))
    phi = 0.5 * (phi + mh(op("tril")(phi, -1)))
    return triangular(y, triangular(y, phi, False, adjoint=True), False, left=False)


@function(reference=None, **SPACES)
def cholesky(A, *, upper=False, out=None):
    """Lower triangular L with ``A = L L^H`` (upper: ``A = U^H U``); LinAlgError unless positive definite."""
    y = lower_factor(A, bool(upper))
    y = mh(y) if upper else y
    return y if out is None else write_out("linalg_cholesky", out, y, (A,))


@custom(name="linalg_solve_triangular", private=True, node="LinalgSolveTriangularBackward0", reference=None, domain=(0.5, 2.0),
        samples=(Sample((3, 3), (3, 2), True), Sample((3, 3), (3, 2), False, True)))
def triangular(A, B, upper: bool, unit: bool = False, left: bool = True, adjoint: bool = False):
    """``X`` with ``op(A) X = B`` (``X op(A) = B``) for triangular A; its other triangle, and its diagonal if ``unit``, is not
    read. ``adjoint`` says that op transposes and conjugates."""
    return (*batch_shape("linalg.solve_triangular", A, B), *B._shape[-2:]), A._kind


@triangular.host
def _(out, A, B, upper, unit, left, adjoint):
    if out._n:
        batch, n = out._shape[:-2], A._shape[-1]
        (A, a_step), (B, b_step) = batched(A, batch), batched(B, batch)
        m = out._shape[-1 if left else -2]
        kernels.solve_triangles.run(out._kind, (A._ptr, B._ptr, out._ptr, n, m, int(upper), int(unit), int(left), int(adjoint),
                                                a_step, b_step), count(out), out._n * n)


@triangular.gradient
def _(g, A, y, upper, unit, left, adjoint, needs, shapes):
    gb = triangular(A, g, upper, unit, left, not adjoint)
    ga = None
    if needs[0]:
        first, second = (y, gb) if adjoint else (gb, y)
        full = -(matmul(first, mh(second)) if left else matmul(mh(second), first))
        ga = op("triu" if upper else "tril")(full, (1 if upper else -1) if unit else 0)
        ga = sum_to_size(ga, shapes[0])
    return ga, sum_to_size(gb, shapes[1]) if needs[1] else None


def _triangular_reference(A, B, *, upper, left=True, unitriangular=False):
    a = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        a[..., range(a.shape[-1]), range(a.shape[-1])] = 1
    return _solve_reference(a, B, left)


@function(reference=_triangular_reference, domain=(0.5, 2.0), **SPACES,
          samples=(Sample((3, 3), (3, 2), upper=True), Sample((3, 3), (3, 2), upper=False, unitriangular=True),
                   Sample((3, 3), (2, 3), upper=True, left=False)))
def solve_triangular(A, B, *, upper, left=True, unitriangular=False, out=None):
    """``X`` with ``A X = B`` (``X A = B`` without ``left``) for triangular matrices."""
    d = A._kind.dtype
    checked("linalg.solve_triangular", A, dtype=False)
    if len(B._shape) < 2:
        raise RuntimeError("linalg.solve_triangular: The input tensor B must have at least 2 dimensions, but got "
                           f"{list(B._shape)}")
    if B._shape[-2 if left else -1] != A._shape[-1]:
        raise RuntimeError(f"linalg.solve_triangular: Incompatible shapes of A and B for the equation "
                           f"{'AX = B' if left else 'XA = B'} ({A._shape[-2]}x{A._shape[-1]} and {B._shape[-2]}x"
                           f"{B._shape[-1]})")
    if d.category < 2 or d.itemsize == 2:
        raise NotImplementedError(f"\"triangular_solve_cpu\" not implemented for '{dt.scalar_name(d)}'")
    x = triangular(A, B if B._kind is A._kind else B.to(dtype=d), bool(upper), bool(unitriangular), bool(left))
    return x if out is None else write_out("linalg_solve_triangular", out, x, (A, B))


@custom(name="cholesky_solve_alike", private=True, node="CholeskySolveBackward0", reference=None, save_for={"input": ("L",)})
def solved_by_factor(input, L, upper: bool = False):
    """``X`` with ``L L^H X = input`` (upper: ``L^H L``), of tensors of one kind."""
    return (*batch_shape("cholesky_solve", input, L), *input._shape[-2:]), input._kind


@solved_by_factor.host
def _(out, input, L, upper):
    if out._n:
        L = L.detach()
        copy_into(out, triangular(L, triangular(L, input.detach(), upper, adjoint=upper), upper, adjoint=not upper))


@solved_by_factor.gradient
def _(g, L, y, upper, needs, shapes):
    own = solved_by_factor(g, L, upper)
    factor = None
    if needs[1]:
        both = matmul(own, mh(y))
        both = both + mh(both)
        factor = sum_to_size(-(matmul(L, both) if upper else matmul(both, L)), shapes[1])  # of all elements, as in PyTorch
    return sum_to_size(own, shapes[0]) if needs[0] else None, factor


@function(reference=None)
def cholesky_solve(input, L, upper=False, *, out=None):
    """``X`` with ``A X = input`` for the matrix A whose Cholesky factor is ``L``."""
    check_tensors("cholesky_solve", input=input, L=L)
    if len(input._shape) < 2:
        raise RuntimeError(f"cholesky_solve(): b should have at least 2 dimensions, but has {len(input._shape)} dimensions "
                           "instead")
    checked("cholesky_solve", L)
    if L._kind is not input._kind:
        raise RuntimeError(f"cholesky_solve(): Expected b and A to have the same dtype, but found b of type "
                           f"{dt.scalar_name(input._kind.dtype)} and A of type {dt.scalar_name(L._kind.dtype)} instead.")
    n = L._shape[-1]
    if input._shape[-2] != n:
        raise RuntimeError(f"Incompatible matrix sizes for cholesky_solve: each A matrix is {n} by {n} but each b matrix is "
                           f"{input._shape[-2]} by {input._shape[-1]}")
    batch_shape("cholesky_solve", input, L)
    x = solved_by_factor(input, L, bool(upper))
    return x if out is None else write_out("cholesky_solve", out, x, (input, L), True)


_refuse_singular = refusal(LinAlgError, "cholesky_inverse: The inversion could not be completed because the input matrix is "
                           "singular.")


def _no_zeros(L):
    """Refuse factors with a zero on the diagonal, by their place where values can be read."""
    zero = diagonal(L.detach()) == 0
    if TAPE and active() is not None:
        return _refuse_singular(zero.any())
    places = np.argwhere(zero.array().reshape(-1, zero._shape[-1])) if zero._n else ()
    if len(places):
        raise LinAlgError(f"cholesky_inverse: {element(places[0][0], len(L._shape))}The diagonal element {places[0][1] + 1} is "
                          "zero, the inversion could not be completed because the input matrix is singular.")
    return None


@custom(name="cholesky_inverse_alone", private=True, node="CholeskyInverseBackward0", reference=None)
def inverse_by_factor(L, upper: bool = False):
    """The inverse of matrices by their factors."""
    return L._shape, L._kind


@inverse_by_factor.host
def _(out, L, upper):
    if out._n:
        L, n = row_major(L.detach()), out._shape[-1]
        kernels.inverses_by_factors.run(out._kind, (L._ptr, out._ptr, n, int(upper)), count(out), out._n * n)


@inverse_by_factor.gradient
def _(g, L, y, upper):
    both = matmul(matmul(y, g), mh(y))
    both = both + mh(both)
    return -(matmul(L, both) if upper else matmul(both, L))  # of all elements, as in PyTorch


@function(reference=None)
def cholesky_inverse(L, upper=False, *, out=None):
    """The inverse of the matrix whose Cholesky factor is ``L``."""
    checked("cholesky_inverse", L)
    _no_zeros(L)
    y = inverse_by_factor(L, bool(upper))
    return y if out is None else write_out("cholesky_inverse", out, y, (L,), True)
