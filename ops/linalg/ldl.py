"""Factors of symmetric and Hermitian matrices that need not be definite."""

from __future__ import annotations

from numbagrad.base import dtypes as dt
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make
from numbagrad.extend import custom, function
from numbagrad.kernel.lapack import BLOCK
from numbagrad.kernel.tape import Flag

from ..index.sort import result
from . import lu_kernels
from .common import SPACES, batch_shape, batched, checked, columns, count
from .lu import int32, told

FactorsEx, Factors = result("linalg_ldl_factor_ex", "LD", "pivots", "info"), result("linalg_ldl_factor", "LD", "pivots")


@custom(name="linalg_ldl_factor_ex", private=True, node="NotImplemented", reference=None)
def symmetric_factors(A, hermitian: bool):
    """(LD, pivots, info) by the lower triangle."""
    return [(A._shape, A._kind), (A._shape[:-1], int32(A)), (A._shape[:-2], int32(A))]


@symmetric_factors.host
def _(outs, A, hermitian):
    n = A._shape[-1]
    lwork = max(1, n * BLOCK)
    scratch = make((n * n + lwork,), A._kind)
    lu_kernels.symmetric_factors[A._kind](A._ptr, outs[0]._ptr, outs[1]._ptr, outs[2]._ptr, scratch._ptr, n, int(hermitian),
                                          lwork, 0, count(A))


@symmetric_factors.gradient
def _(gs):
    raise RuntimeError("derivative for aten::linalg_ldl_factor_ex is not implemented")


def _zero(name):
    return told(RuntimeError, name + ": {0}Unknown error code: {1}.")


_no_factor, _no_factor_ex = _zero("torch.linalg.ldl_factor"), _zero("torch.linalg.ldl_factor_ex")


@function(reference=None, **SPACES)
def ldl_factor_ex(A, *, hermitian=False, check_errors=False, out=None):
    """(LD, pivots, info) of symmetric matrices, or ``hermitian`` ones; ``ldl_solve`` takes the first two."""
    checked("torch.linalg.ldl_factor_ex", A)
    found = symmetric_factors(A, bool(hermitian))
    if check_errors:
        _no_factor_ex(found[2], len(A._shape))
    return FactorsEx(*(found if out is None else write_outs("linalg_ldl_factor_ex", out, found, (A,))))


@function(reference=None, **SPACES)
def ldl_factor(A, *, hermitian=False, out=None):
    """(LD, pivots) as in ``ldl_factor_ex``; RuntimeError where a block of D is singular."""
    checked("torch.linalg.ldl_factor_ex", A)
    *found, info = symmetric_factors(A, bool(hermitian))
    _no_factor(info, len(A._shape))
    return Factors(*(found if out is None else write_outs("linalg_ldl_factor", out, found, (A,))))


def _refuse_pivots(*_):
    raise RuntimeError("torch.linalg.ldl_solve: pivots must be those that ldl_factor gives: rows from 1, negative ones twice")


_no_pivots = Flag(_refuse_pivots, 1)


@custom(name="linalg_ldl_solve", private=True, node="NotImplemented", reference=None)
def symmetric_solution(LD, pivots, B, hermitian: bool):
    """``X`` with ``A X = B`` by the factors of A."""
    return (*batch_shape("linalg.ldl_solve", LD, B), *B._shape[-2:]), LD._kind


@symmetric_solution.host
def _(out, LD, pivots, B, hermitian):
    if not out._n:
        return
    (n, m), batch = out._shape[-2:], out._shape[:-2]
    (LD, step), (swaps, swaps_step), (B, b_step) = batched(LD, batch), batched(columns(pivots, LD), batch), batched(B, batch)
    bad = _no_pivots.take(out._kind)
    lu_kernels.blocks_in_range[pivots._kind](pivots._ptr, n, bad.address, 0, count(pivots, 1))
    bad.check()
    scratch = make((n * n + n * m,), out._kind)
    lu_kernels.solve_symmetric[out._kind](LD._ptr, swaps._ptr, B._ptr, out._ptr, scratch._ptr, n, m, int(hermitian), step,
                                          swaps_step, b_step, 0, count(out))


@symmetric_solution.gradient
def _(g):
    raise RuntimeError("derivative for aten::linalg_ldl_solve is not implemented")


@function(reference=None, **SPACES)
def ldl_solve(LD, pivots, B, *, hermitian=False, out=None):
    """``X`` with ``A X = B`` by the factors of ``ldl_factor``."""
    checked("torch.linalg.ldl_solve", LD)
    n = LD._shape[-1]
    if len(B._shape) < 2:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-len(B._shape)}, {len(B._shape) - 1}], but "
                         "got -2)")
    if B._shape[-2] != n:
        raise RuntimeError(f"Incompatible matrix sizes for torch.linalg.ldl_solve: each A matrix is {n} by {n} but each b "
                           f"matrix is {B._shape[-2]} by {B._shape[-1]}")
    if pivots._shape != LD._shape[:-1]:
        raise RuntimeError("torch.linalg.ldl_solve: Expected LD.shape[:-1] and pivots.shape to be the same, but got pivots "
                           f"with shape {list(pivots._shape)} instead")
    if pivots._kind.dtype.category != 1:
        raise RuntimeError("torch.linalg.ldl_solve: Expected pivots to be integers. Got "
                           f"{dt.scalar_name(pivots._kind.dtype)}")
    if LD._kind.dtype is not B._kind.dtype:
        raise RuntimeError(f"Expected b and A to have the same dtype, but found b of type {dt.scalar_name(B._kind.dtype)} and "
                           f"A of type {dt.scalar_name(LD._kind.dtype)} instead.")
    x = symmetric_solution(LD, pivots.to(dt.int32), B, bool(hermitian))
    return x if out is None else write_out("linalg_ldl_solve", out, x, (LD, B))
