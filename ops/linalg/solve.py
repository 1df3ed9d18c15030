"""Inverses and solutions of linear systems by elimination."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel.lapack import BLOCK

from ..product.matmul import matmul
from . import elimination_blocks as blocks
from . import kernels
from .common import (
    SPACES,
    batch_shape,
    batched,
    checked,
    column,
    columns,
    count,
    failures,
    mh,
    op,
    take,
)


@custom(name="linalg_inv", private=True, node="LinalgInvExBackward0", reference=np.linalg.inv, domain=(0.2, 2.0),
        samples=(Sample((3, 3)), Sample((2, 2, 2))))
def inverse_of(input, strict: bool = True):
    """Inverses of square matrices; of singular ones NaN unless ``strict``."""
    checked("linalg.inv", input)
    return input._shape, input._kind


_no_inverse = failures(lambda info: ("linalg.inv", f"The diagonal element {info} is zero, the inversion could not be completed "
                                     "because the input matrix is singular."))


@inverse_of.host
def _(out, input, strict):
    n = input._shape[-1]
    if not out._n:
        return
    lwork = n * BLOCK
    scratch, pivots = make((n * n + lwork,), out._kind), make((n,), storage.kind_of(dt.int32))
    bad = take(_no_inverse, input)
    kernels.invert[out._kind](input._ptr, out._ptr, scratch._ptr, pivots._ptr, n, int(strict), lwork, float("nan"), bad.address,
                              0, count(input))
    bad.check()


@inverse_of.gradient
def _(g, y):
    h = mh(y)
    return -matmul(matmul(h, g), h)


@function(reference=np.linalg.inv, samples=(Sample((3, 3)), Sample((2, 2, 2))), domain=(0.2, 2.0), **SPACES)
def inv(A, *, out=None):
    """Inverses of square matrices; LinAlgError for a singular one."""
    return inverse_of(A) if out is None else write_out("linalg_inv", out, inverse_of(A), (A,))


@function(reference=np.linalg.inv, samples=(Sample((3, 3)),), domain=(0.2, 2.0))
def inverse(input, *, out=None):
    """``linalg.inv``."""
    return inv.fn(input, out=out)


_no_solution = failures(lambda info: ("torch.linalg.solve", "The solver failed because the input matrix is singular."))


@custom(private=True, reference=None, differentiable=False)
def elimination(A):
    """(factors, by columns, swapped rows) of square matrices by elimination; LinAlgError for a singular one."""
    return [(A._shape, A._kind), (A._shape[:-1], storage.kind_of(dt.int32, A._kind.device))]


@elimination.host
def _(outs, A):
    if A._n:
        bad, n, matrices = take(_no_solution, A), A._shape[-1], count(A)
        if blocks.worth(n, matrices):
            lu, pivots, size = *[t._ptr for t in outs], n * n * A._kind.np.itemsize
            for b in range(matrices):
                blocks.eliminate(A._kind, A._ptr + b * size, lu + b * size, pivots + 4 * b * n, n, b, bad.address)
        else:
            kernels.eliminate[A._kind](A._ptr, outs[0]._ptr, outs[1]._ptr, n, 1, bad.address, 0, matrices)
        bad.check()


def vectors(A, B):
    return len(B) < len(A) and B == A[:-1]


@custom(name="linalg_solve", private=True, node="LinalgSolveExBackward0", reference=None, contiguous=False)
def solution(A, lu, pivots, B, left: bool = True, adjoint: bool = False):
    """``X`` with ``op(A) X = B`` (``X op(A) = B``) of matrices whose factors are given, or vectors B of A's batch shape;
    ``adjoint`` says that op transposes and conjugates."""
    if vectors(A._shape, B._shape):
        return B._shape, A._kind
    return (*batch_shape("linalg.solve", A, B), *B._shape[-2:]), A._kind


@solution.host
def _(out, A, lu, pivots, B, left, adjoint):
    if not out._n:
        return
    x, n = columns(out, A) if vectors(A._shape, B._shape) else out, A._shape[-1]
    batch, m = x._shape[:-2], x._shape[-1 if left else -2]
    (lu, lu_step), (swaps, swaps_step) = batched(lu, batch), batched(columns(pivots, A), batch)
    B, b_step = batched(columns(B, A) if x is not out else B, batch)
    kernels.solve_factors.run(out._kind, (lu._ptr, swaps._ptr, B._ptr, out._ptr, n, m, int(left), int(adjoint), lu_step,
                                          swaps_step, b_step), count(x), out._n * n)


@solution.gradient
def _(g, A, lu, pivots, y, left, adjoint, needs, shapes):
    gb = solution(A, lu, pivots, g, left, not adjoint)
    ga = None
    if needs[0]:
        first, second = (y, gb) if adjoint else (gb, y)
        if vectors(shapes[0], shapes[3]):
            first, second = column(first), column(second)
        ga = sum_to_size(-(matmul(first, mh(second)) if left else matmul(mh(second), first)), shapes[0])
    return ga, None, None, sum_to_size(gb, shapes[3]) if needs[3] else None


def solved(A, B, left=True):
    """``linalg.solve`` of matrices."""
    return solution(A, *elimination(A.detach()), B, left)


def _solve_reference(A, B, left=True, vector=None):
    if (B.ndim == 1 or B.shape == A.shape[:-1]) if vector is None else vector:
        return np.linalg.solve(A, B[..., None])[..., 0]
    if not left:
        return np.swapaxes(np.linalg.solve(np.swapaxes(A, -1, -2), np.swapaxes(B, -1, -2)), -1, -2)
    return np.linalg.solve(A, B)


def system(A, B, left):
    """(``B`` as matrices, whether it holds vectors), checked."""
    checked("linalg.solve", A)
    if A._kind is not B._kind:
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but found A of type "
                           f"{dt.scalar_name(A.dtype)} and B of type {dt.scalar_name(B.dtype)} instead")
    if not B._shape:
        raise RuntimeError("linalg.solve: B must have at least 1 dimension, but got a tensor of shape []")
    vector = len(B._shape) == 1 or (len(B._shape) == len(A._shape) - 1 and B._shape == A._shape[:-1])
    b = column(B) if vector else B
    if not left and vector:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False. In this "
                           "case linalg.solve is equivalent to B / A.squeeze(-1)")
    if len(b._shape) < 2 or b._shape[-2 if left else -1] != A._shape[-1]:
        raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
                           f"({A._shape[-2]}x{A._shape[-1]} and {b._shape[-2]}x{b._shape[-1]})")
    return b, vector


@function(reference=_solve_reference, domain=(0.2, 2.0), **SPACES,
          samples=(Sample((3, 3), (3, 2)), Sample((3, 3), (3,)), Sample((2, 3, 3), (2, 3, 2)),
                   Sample((3, 3), (2, 3), left=False)))
def solve(A, B, *, left=True, out=None):
    """``X`` with ``A X = B`` (``X A = B`` without ``left``); ``B`` holds matrices, or vectors of A's batch shape."""
    b, vector = system(A, B, left)
    x = solved(A, B if vector and B._shape == A._shape[:-1] else b, bool(left))
    x = op("squeeze")(x, -1) if vector and len(x._shape) > len(B._shape) else x
    return x if out is None else write_out("linalg_solve", out, x, (A, B))
