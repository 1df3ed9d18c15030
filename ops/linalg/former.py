"""PyTorch's former names of elimination at top level and as methods: those that still work, and those that say what to use."""

from __future__ import annotations

import numbagrad
from numbagrad.base import dtypes as dt
from numbagrad.base.user_code import warn_once
from numbagrad.core.node import renamed
from numbagrad.core.out import write_out, write_outs
from numbagrad.dispatch.op import add_function

from ..index.sort import result
from .common import op
from .composed import public
from .lu import lu_checked, lu_factors

WithInfo = result("_lu_with_info", "LU", "pivots", "info")
Triangular = result("triangular_solve", "solution", "cloned_coefficient")
LU = ("torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex and will be removed in a future "
      "PyTorch release.\nLU, pivots = torch.lu(A, compute_pivots)\nshould be replaced with\nLU, pivots = "
      "torch.linalg.lu_factor(A, compute_pivots)\nand\nLU, pivots, info = torch.lu(A, compute_pivots, get_infos=True)\n"
      "should be replaced with\nLU, pivots, info = torch.linalg.lu_factor_ex(A, compute_pivots)")
LU_SOLVE = ("torch.lu_solve is deprecated in favor of torch.linalg.lu_solveand will be removed in a future PyTorch release.\n"
            "Note that torch.linalg.lu_solve has its arguments reversed.\nX = torch.lu_solve(B, LU, pivots)\n"
            "should be replaced with\nX = torch.linalg.lu_solve(LU, pivots, B)")
TRIANGULAR = ("torch.triangular_solve is deprecated in favor of torch.linalg.solve_triangularand will be removed in a future "
              "PyTorch release.\ntorch.linalg.solve_triangular has its arguments reversed and does not return a copy of one "
              "of the inputs.\nX = torch.triangular_solve(B, A).solution\nshould be replaced with\n"
              "X = torch.linalg.solve_triangular(A, B).")


@public
def lu(A, pivot=True, get_infos=False, out=None):
    """(LU, pivots), with ``get_infos`` info too, see ``linalg.lu_factor_ex``."""
    warn_once(LU)
    lu_checked("torch.lu_factor", A, pivot)
    found = lu_factors(A)
    found = found if get_infos else found[:2]
    if out is not None:
        return write_outs("lu", out, found, (A,))
    return WithInfo(*found) if get_infos else found


@public
def lu_solve(b, LU_data, LU_pivots, *, out=None):
    """``X`` with ``A X = b``, see ``linalg.lu_solve``."""
    warn_once(LU_SOLVE)
    x = op("lu_solve")(LU_data, LU_pivots, b)
    return x if out is None else write_out("lu_solve", out, x, (b, LU_data))


@public
def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False, *, out=None):
    """(``X`` with ``A X = b``, a copy of ``A``), see ``linalg.solve_triangular``."""
    warn_once(TRIANGULAR)
    for name, t in (("b", b), ("A", A)):
        if len(t._shape) < 2:
            raise RuntimeError("torch.triangular_solve: Expected " + name + " to have at least 2 dimensions, but it has "
                               f"{len(t._shape)} dimensions instead")
    if A._shape[-1] != A._shape[-2]:
        raise RuntimeError(f"A must be batches of square matrices, but they are {A._shape[-2]} by {A._shape[-1]} matrices")
    if b._shape[-2] != A._shape[-1]:
        raise RuntimeError(f"Incompatible matrix sizes for triangular_solve: each A matrix is {A._shape[-1]} by {A._shape[-1]} "
                           f"but each b matrix is {b._shape[-2]} by {b._shape[-1]}")
    if A._kind.dtype is not b._kind.dtype:
        raise RuntimeError(f"Expected b and A to have the same dtype, but found b of type {dt.scalar_name(b._kind.dtype)} and "
                           f"A of type {dt.scalar_name(A._kind.dtype)} instead.")
    if A._kind.dtype.category < 2 or A._kind.dtype.code in ("f2", "bf"):
        raise NotImplementedError(f"\"triangular_solve_cpu\" not implemented for '{dt.scalar_name(A._kind.dtype)}'")
    a = A.mT if transpose else A
    x = op("solve_triangular")(a, b, upper=bool(upper) != bool(transpose), unitriangular=unitriangular)
    found = [renamed(t, "TriangularSolveBackward0") for t in (x, A.expand(*x._shape[:-2], *A._shape[-2:]).clone())]
    return Triangular(*(found if out is None else write_outs("triangular_solve", out, found, (b, A))))


GONE = "This function was deprecated since version 1.9 and is now removed."
REMOVED = {
    "symeig": " The default behavior has changed from using the upper triangular portion of the matrix by default to using "
              "the lower triangular portion.\n\nL, _ = torch.symeig(A, upper=upper) should be replaced with:\n"
              "L = torch.linalg.eigvalsh(A, UPLO='U' if upper else 'L')\n\nand\n\n"
              "L, V = torch.symeig(A, eigenvectors=True) should be replaced with:\n"
              "L, V = torch.linalg.eigh(A, UPLO='U' if upper else 'L')",
    "eig": " `torch.linalg.eig` returns complex tensors of dtype `cfloat` or `cdouble` rather than real tensors mimicking "
           "complex tensors.\n\nL, _ = torch.eig(A) should be replaced with:\nL_complex = torch.linalg.eigvals(A)\n\nand\n\n"
           "L, V = torch.eig(A, eigenvectors=True) should be replaced with:\nL_complex, V_complex = torch.linalg.eig(A)",
    "solve": " `torch.solve` is deprecated in favor of `torch.linalg.solve`. `torch.linalg.solve` has its arguments reversed "
             "and does not return the LU factorization.\n\nTo get the LU factorization see `torch.lu`, which can be used with "
             "`torch.lu_solve` or `torch.lu_unpack`.\nX = torch.solve(B, A).solution should be replaced with:\n"
             "X = torch.linalg.solve(A, B)",
    "lstsq": " `torch.lstsq` is deprecated in favor of `torch.linalg.lstsq`.\n`torch.linalg.lstsq` has reversed arguments and "
             "does not return the QR decomposition in the returned tuple (although it returns other information about the "
             "problem).\n\nTo get the QR decomposition consider using `torch.linalg.qr`.\n\nThe returned solution in "
             "`torch.lstsq` stored the residuals of the solution in the last m - n columns of the returned value whenever "
             "m > n. In torch.linalg.lstsq, the residuals are in the field 'residuals' of the returned named tuple.\n\n"
             "The unpacking of the solution, as in\nX, _ = torch.lstsq(B, A).solution[:A.size(1)]\nshould be replaced "
             "with:\nX = torch.linalg.lstsq(A, B).solution",
    "matrix_rank": "\nPlease use the `torch.linalg.matrix_rank` function instead. The parameter 'symmetric' was renamed in "
                   "`torch.linalg.matrix_rank()` to 'hermitian'."}


@public
def symeig(input, eigenvectors=False, upper=True, *, out=None):
    """Removed from PyTorch, whose error says what to use: ``linalg.eigh``."""
    raise RuntimeError(GONE + REMOVED["symeig"])


@public
def eig(input, eigenvectors=False, *, e=None, v=None):
    """Removed from PyTorch, whose error says what to use: ``linalg.eig``."""
    raise RuntimeError(GONE + REMOVED["eig"])


@public
def solve(input, A, *, out=None):
    """Removed from PyTorch, whose error says what to use: ``linalg.solve``."""
    raise RuntimeError(GONE + REMOVED["solve"])


@public
def lstsq(input, A, *, out=None):
    """Removed from PyTorch, whose error says what to use: ``linalg.lstsq``."""
    raise RuntimeError(GONE + REMOVED["lstsq"])


def matrix_rank(input, tol=None, symmetric=False, *, out=None):
    """Removed from PyTorch, whose error says what to use: ``linalg.matrix_rank``."""
    raise RuntimeError(GONE + REMOVED["matrix_rank"])


add_function(numbagrad, matrix_rank)
