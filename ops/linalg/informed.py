"""Inverses, solutions and Cholesky factors that tell of matrices without them by a number instead of an error."""

from __future__ import annotations

from numbagrad.core.copying import row_major
from numbagrad.core.node import renamed
from numbagrad.core.out import write_outs
from numbagrad.extend import custom, function

from ..index.sort import result
from . import lu_kernels
from .cholesky import factor_gradient
from .common import SPACES, LinAlgError, checked, count, eye_like, mh, op
from .lu import int32, lu_factors, told
from .solve import solution, system

InvEx, SolveEx = result("linalg_inv_ex", "inverse", "info"), result("linalg_solve_ex", "result", "info")
CholeskyEx = result("linalg_cholesky_ex", "L", "info")

_no_inverse = told(LinAlgError, "linalg.inv_ex: {0}The diagonal element {1} is zero, the inversion could not be completed "
                   "because the input matrix is singular.")
_no_solution = told(LinAlgError, "torch.linalg.solve_ex: {0}The solver failed because the input matrix is singular.")
_indefinite = told(LinAlgError, "linalg.cholesky_ex: {0}The factorization could not be completed because the input is not "
                   "positive-definite (the leading minor of order {1} is not positive-definite).")


def _solved(A, B, left=True):
    """(``X`` with ``A X = B``, info)."""
    lu, pivots, info = lu_factors(A.detach())
    return solution(A, op("transpose")(lu, -2, -1).contiguous(), pivots, B, left), info


@function(reference=None, **SPACES)
def inv_ex(A, *, check_errors=False, out=None):
    """(inverse, info): info is the number of the first zero that elimination meets, or 0."""
    checked("linalg.inv", A)
    x, info = _solved(A, eye_like(A, A._shape[-1]).expand(A._shape))
    found = renamed(x, "LinalgInvExBackward0"), info
    if check_errors:
        _no_inverse(info, len(A._shape))
    return InvEx(*(found if out is None else write_outs("linalg_inv_ex", out, found, (A,))))


@function(reference=None, **SPACES)
def solve_ex(A, B, *, left=True, check_errors=False, out=None):
    """(result, info): as ``solve``; info is the number of the first zero that elimination meets, or 0."""
    b, vector = system(A, B, left)
    x, info = _solved(A, B if vector and B._shape == A._shape[:-1] else b, bool(left))
    x = op("squeeze")(x, -1) if vector and len(x._shape) > len(B._shape) else x
    if check_errors:
        _no_solution(info, len(A._shape))
    found = x, info
    return SolveEx(*(found if out is None else write_outs("linalg_solve_ex", out, found, (A, B))))


@custom(name="linalg_cholesky_ex", private=True, node="LinalgCholeskyExBackward0", reference=None)
def lower_factors(A, upper: bool = False):
    """(L, info) by the lower (``upper``) triangle."""
    return [(A._shape, A._kind), (A._shape[:-2], int32(A))]


@lower_factors.host
def _(outs, A, upper):
    A = row_major(mh(A.detach())) if upper else A
    lu_kernels.definite_factors[A._kind](A._ptr, outs[0]._ptr, outs[1]._ptr, A._shape[-1], 0, count(A))


@lower_factors.gradient
def _(gs, y0, upper):
    return factor_gradient(gs[0], y0)


@function(reference=None, **SPACES)
def cholesky_ex(A, *, upper=False, check_errors=False, out=None):
    """(L, info): as ``cholesky``; info is the order of the first minor that is not positive, or 0."""
    checked("linalg.cholesky", A)
    factor, info = lower_factors(A, bool(upper))
    if check_errors:
        _indefinite(info, len(A._shape))
    found = mh(factor) if upper else factor, info
    return CholeskyEx(*(found if out is None else write_outs("linalg_cholesky_ex", out, found, (A,))))
