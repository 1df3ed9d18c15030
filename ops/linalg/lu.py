"""LU factors: what elimination finds, its parts, and systems solved by it."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.copying import contiguous_copy
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make
from numbagrad.extend import custom, function
from numbagrad.kernel.tape import TAPE, Flag, active

from ..index.sort import result
from ..product.matmul import matmul
from ..product.product import transposed
from ..refusal import refusal
from . import kernels, lu_kernels
from .cholesky import triangular
from .common import SPACES, batch_shape, batched, columns, count, element, mh, op

Factors, Exact = result("linalg_lu_factor_ex", "LU", "pivots", "info"), result("linalg_lu_factor", "LU", "pivots")
Plu, Unpacked = result("linalg_lu", "P", "L", "U"), result("lu_unpack", "P", "L", "U")


def int32(t):
    return storage.kind_of(dt.int32, t._kind.device)


def told(exception, words):
    """``check(info, ndim)``: raises if a matrix has no factors, where the words have {0} for its place and {1} for its number;
    neither is known in replays."""
    refuse = refusal(exception, words.format("", "of it"))

    def check(info, ndim):
        if TAPE and active() is not None:
            return refuse((info != 0).any())
        values = info.array().reshape(-1)
        bad = np.flatnonzero(values)
        if len(bad):
            raise exception(words.format(element(bad[0], ndim), int(values[bad[0]])))
        return None
    return check


def _at_least_matrix(name, A):
    if len(A._shape) < 2:
        raise RuntimeError(f"{name}: Expected tensor with 2 or more dimensions. Got size: {list(A._shape)} instead")


def lu_checked(name, A, pivot):
    _at_least_matrix(name, A)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    d = A._kind.dtype
    if d.category < 2 or d.code in ("f2", "bf"):
        raise NotImplementedError(f"\"lu_cpu\" not implemented for '{dt.scalar_name(d)}'")


# --- factors ---

@custom(name="linalg_lu_factor_ex", private=True, node="LinalgLuFactorExBackward0", reference=None)
def lu_factors(A):
    """(LU, pivots, info): both triangles in one matrix, row exchanges counted from 1, and where U has its first zero."""
    *b, m, n = A._shape
    return [(A._shape, A._kind), ((*b, min(m, n)), int32(A)), (tuple(b), int32(A))]


@lu_factors.host
def _(outs, A):
    lu, pivots, info = outs
    m, n = A._shape[-2:]
    scratch = make((m * n,), A._kind)
    lu_kernels.factors[A._kind](A._ptr, lu._ptr, pivots._ptr, info._ptr, scratch._ptr, m, n, 0, count(A))


@lu_factors.gradient
def _(gs, y0, y1):
    left, right = triangles(y0)
    return matmul(permutation(y1, y0), backward_of(*parts_of(gs[0]), left, right))


def parts_of(g):
    """The strictly lower (m, k) and the upper (k, n) part of a matrix (m, n)."""
    k = min(g._shape[-2:])
    narrow = op("narrow")
    return op("tril")(narrow(g, -1, 0, k), -1), op("triu")(narrow(g, -2, 0, k))


def backward_of(gl, gu, left, right):
    """The gradient of the matrix ``left right`` with unit lower ``left`` (m, k) and upper ``right`` (k, n)."""
    m, n = left._shape[-2], right._shape[-1]
    k, tril, triu, narrow, cat = min(m, n), op("tril"), op("triu"), op("narrow"), op("cat")
    below, above = None, None
    if m > k:
        gl, below = narrow(gl, -2, 0, k), narrow(gl, -2, k, m - k)
        left, rest = narrow(left, -2, 0, k), narrow(left, -2, k, m - k)
    if n > k:
        gu, above = narrow(gu, -1, 0, k), narrow(gu, -1, k, n - k)
        right, others = narrow(right, -1, 0, k), narrow(right, -1, k, n - k)
    lower, upper = matmul(mh(left), gl), matmul(gu, mh(right))
    lower = lower if above is None else lower - matmul(above, mh(others))
    upper = upper if below is None else upper - matmul(mh(rest), below)
    g = triangular(right, tril(lower, -1) + triu(upper), True, left=False, adjoint=True)
    g = triangular(left, g if above is None else cat([g, above], -1), False, True, adjoint=True)
    return g if below is None else cat([g, triangular(right, below, True, left=False, adjoint=True)], -2)


_bad_pivots = Flag(lambda *_: _refuse_pivots(), 1)


def _refuse_pivots():
    raise RuntimeError("pivots passed to lu_unpack must be between 1 and LU.size(-2) inclusive."
                       "Did you properly pass the result of lu_factor?")


@custom(name="linalg_lu_permutation", private=True, reference=None, differentiable=False)
def permutation(pivots, LU):
    """The matrix P of row exchanges, in the dtype and for the rows of ``LU``."""
    m = LU._shape[-2]
    return (*pivots._shape[:-1], m, m), LU._kind


@permutation.host
def _(out, pivots, LU):
    bad, m, k = _bad_pivots.take(out._kind), out._shape[-1], pivots._shape[-1]
    order = make((m,), storage.kind_of(dt.int64))
    lu_kernels.permutations[out._kind](pivots._ptr, out._ptr, order._ptr, m, k, bad.address, 0, count(out))
    bad.check()


@custom(name="lu_unpack_triangles", private=True, node="LuUnpackBackward0", reference=None)
def triangles(LU, data: bool = True):
    """(L, U) of both in one matrix; empty ones unless ``data``."""
    *b, m, n = LU._shape
    k = min(m, n)
    return [((*b, m, k) if data else (0,), LU._kind), ((*b, k, n) if data else (0,), LU._kind)]


@triangles.host
def _(outs, LU, data):
    if data:
        lu_kernels.triangles[LU._kind](LU._ptr, outs[0]._ptr, outs[1]._ptr, *LU._shape[-2:], 0, count(LU))


@triangles.gradient
def _(gs, shape, data):
    gl, gu = gs
    if not data:
        return gl.new_zeros(shape)
    m, n = shape[-2:]
    k, pad = min(m, n), op("constant_pad_nd")
    return pad(op("tril")(gl, -1), (0, n - k)) + pad(op("triu")(gu), (0, 0, 0, m - k))


@custom(name="linalg_lu", private=True, node="LinalgLuBackward0", reference=None)
def exchanged(A):
    """(L, U, pivots)."""
    *b, m, n = A._shape
    k = min(m, n)
    return [((*b, m, k), A._kind), ((*b, k, n), A._kind), ((*b, k), int32(A))]


@exchanged.host
def _(outs, A):
    left, right, pivots = outs
    m, n = A._shape[-2:]
    lu, scratch, info = make(A._shape, A._kind), make((m * n,), A._kind), make(A._shape[:-2], storage.kind_of(dt.int32))
    lu_kernels.factors[A._kind](A._ptr, lu._ptr, pivots._ptr, info._ptr, scratch._ptr, m, n, 0, count(A))
    lu_kernels.triangles[A._kind](lu._ptr, left._ptr, right._ptr, m, n, 0, count(A))


@exchanged.gradient
def _(gs, y0, y1, y2):
    return matmul(permutation(y2, y0), backward_of(op("tril")(gs[0], -1), op("triu")(gs[1]), y0, y1))


@function(reference=None, **SPACES)
def lu(A, *, pivot=True, out=None):
    """(P, L, U) with ``A = P L U``: row exchanges, a lower triangle with ones on its diagonal, an upper one."""
    lu_checked("linalg.lu", A, pivot)
    left, right, pivots = exchanged(A)
    found = permutation(pivots, left), left, right
    return Plu(*(found if out is None else write_outs("linalg_lu", out, found, (A,))))


def _zero(name):
    return told(RuntimeError, name + ": {0}U[{1},{1}] is zero and using it on lu_solve would result in a division by zero. If "
                "you still want to perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, "
                "pivot)")


no_factor, no_factor_ex = _zero("torch.linalg.lu_factor"), _zero("torch.linalg.lu_factor_ex")


@function(reference=None, **SPACES)
def lu_factor_ex(A, *, pivot=True, check_errors=False, out=None):
    """(LU, pivots, info): the triangles of ``lu`` in one matrix; ``info`` is the number of U's first zero, or 0."""
    lu_checked("torch.lu_factor_ex", A, pivot)
    found = lu_factors(A)
    if check_errors:
        no_factor_ex(found[2], len(A._shape))
    return Factors(*(found if out is None else write_outs("linalg_lu_factor_ex", out, found, (A,))))


@function(reference=None, **SPACES)
def lu_factor(A, *, pivot=True, out=None):
    """(LU, pivots) as in ``lu_factor_ex``; RuntimeError for a singular matrix."""
    lu_checked("torch.lu_factor", A, pivot)
    *found, info = lu_factors(A)
    no_factor(info, len(A._shape))
    return Exact(*(found if out is None else write_outs("linalg_lu_factor", out, found, (A,))))


@function(reference=None, namespaces=("torch",), method=False)
def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True, *, out=None):
    """(P, L, U) of what ``lu_factor`` gives; what is not to be unpacked is empty."""
    _at_least_matrix("torch.lu_unpack", LU_data)
    if unpack_pivots and LU_pivots._kind.dtype is not dt.int32:
        raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\nNote: this "
                           "function is intended to be used with the output produced by torch.linalg.lu_factor")
    *b, m, n = LU_data._shape
    if unpack_pivots and LU_pivots._shape != (*b, min(m, n)):
        raise RuntimeError(f"torch.lu_unpack: Expected LU_pivots of shape {[*b, min(m, n)]} for LU_data of shape {[*b, m, n]}, "
                           f"but got {list(LU_pivots._shape)}")
    swaps = permutation(LU_pivots, LU_data.detach()) if unpack_pivots else LU_data.detach().new_empty((0,))
    found = swaps, *triangles(LU_data, bool(unpack_data))
    return Unpacked(*(found if out is None else write_outs("lu_unpack", out, found, (LU_data,))))


# --- systems ---

def _refuse_range(_, which):
    where = "greater or equal to 1" if which == 1 else "smaller or equal to LU.size(-2)"
    raise RuntimeError(f"Pivots given to lu_solve must all be {where}. "
                       "Did you properly pass the result of lu_factor?")


_out_of_range = Flag(_refuse_range, 2)


@custom(name="linalg_lu_solve", private=True, node="LinalgLuSolveBackward0", reference=None)
def factored_solution(LU, pivots, B, left: bool = True, adjoint: bool = False):
    """``X`` with ``op(A) X = B`` (``X op(A) = B``) for the matrix A whose factors are given; ``adjoint`` conjugates and
    transposes."""
    return (*batch_shape("linalg.lu_solve", LU, B), *B._shape[-2:]), LU._kind


@factored_solution.host
def _(out, LU, pivots, B, left, adjoint):
    if not out._n:
        return
    n, batch, m = LU._shape[-1], out._shape[:-2], out._shape[-1 if left else -2]
    bad = _out_of_range.take(out._kind)
    lu_kernels.exchanges_in_range[pivots._kind](pivots._ptr, n, bad.address, 0, count(pivots, 1))
    bad.check()
    (turned, step), (swaps, swaps_step) = batched(contiguous_copy(transposed(LU)), batch), batched(columns(pivots, LU), batch)
    B, b_step = batched(B, batch)
    kernels.solve_factors.run(out._kind, (turned._ptr, swaps._ptr, B._ptr, out._ptr, n, m, int(left), int(adjoint), step,
                                          swaps_step, b_step), count(out), out._n * n)


@factored_solution.gradient
def _(g, LU, pivots, y, left, adjoint, needs, shapes):
    gb = factored_solution(LU, pivots, g, left, not adjoint)
    ga = None
    if needs[0]:
        first, second = (y, gb) if adjoint else (gb, y)
        ga = -(matmul(first, mh(second)) if left else matmul(mh(second), first))
        lower, upper = triangles(LU)
        ga = matmul(mh(permutation(pivots, LU)), ga)
        ga = op("tril")(matmul(ga, mh(upper)), -1) + op("triu")(matmul(mh(lower), ga))
        ga = sum_to_size(ga, shapes[0])
    return ga, None, sum_to_size(gb, shapes[2]) if needs[2] else None


def same_kind(name, what, A, B):
    if A._kind.dtype is not B._kind.dtype:
        raise RuntimeError(f"{name}: Expected {what} and B to have the same dtype, but found {what} of type "
                           f"{dt.scalar_name(A._kind.dtype)} and B of type {dt.scalar_name(B._kind.dtype)} instead")


@function(reference=None, **SPACES)
def lu_solve(LU, pivots, B, *, left=True, adjoint=False, out=None):
    """``X`` with ``A X = B`` (``X A = B`` without ``left``) by the factors of ``lu_factor``; ``adjoint``: with ``A^H``."""
    _check_factors(LU, pivots, B, left)
    x = factored_solution(LU, pivots, B, bool(left), bool(adjoint))
    return x if out is None else write_out("linalg_lu_solve", out, x, (LU, B))


def _check_factors(LU, pivots, B, left):
    d = LU._kind.dtype
    if d.category < 2 or d.code in ("f2", "bf"):
        raise RuntimeError("torch.linalg.lu_solve: " + (
            f"Low precision dtypes not supported. Got {dt.scalar_name(d)}" if d.category > 1 else
            f"Expected a floating point or complex tensor as input. Got {dt.scalar_name(d)}"))
    same_kind("linalg.lu_solve", "LU", LU, B)
    if pivots._kind.dtype is not dt.int32:
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    if len(LU._shape) < 2:
        raise RuntimeError("torch.linalg.lu_solve: The input tensor A must have at least 2 dimensions.")
    if LU._shape[-1] != LU._shape[-2]:
        raise RuntimeError(f"torch.linalg.lu_solve: A must be batches of square matrices, but they are {LU._shape[-2]} by "
                           f"{LU._shape[-1]} matrices")
    if len(B._shape) < 2:
        raise RuntimeError("linalg.lu_solve: The input tensor B must have at least 2 dimensions.")
    if B._shape[-2 if left else -1] != LU._shape[-1]:
        raise RuntimeError(f"linalg.lu_solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
                           f"({LU._shape[-2]}x{LU._shape[-1]} and {B._shape[-2]}x{B._shape[-1]})")
    if pivots._shape[-1:] != LU._shape[-1:]:
        raise RuntimeError("linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix")
    if pivots._shape != LU._shape[:-1]:
        raise RuntimeError("linalg.lu_solve: Expected LU.shape[:-1] and pivots.shape to be the same, but got pivots with shape "
                           f"{list(pivots._shape)} instead")
