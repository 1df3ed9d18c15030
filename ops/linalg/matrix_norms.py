"""Norms of matrices and condition numbers."""

from __future__ import annotations

import numpy as np

from numbagrad import linalg as space
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.creation import zeros
from numbagrad.core.out import write_out
from numbagrad.extend import REGISTRY, Sample, custom, function
from numbagrad.kernel.jit import kernel

from ..reduce.norms import in_dtype, vector_norm_of
from .common import SPACES, LinAlgError, checked, column, op
from .decompositions import singular_values


def _norm_reference(a, ord="fro", dim=(-2, -1), keepdim=False):
    return np.linalg.norm(a, ord, tuple(dim), keepdim)


def extreme(ord, t, dim):
    """The name of the reduction for the largest or smallest of the values; of none the largest is 0."""
    return "amin" if ord < 0 else "amax" if t._shape[dim] else "sum"


@function(kinds={"dim": "ints"}, reference=_norm_reference, **SPACES, domain=(0.2, 2.0), samples=(
    Sample((3, 4)), Sample((2, 3, 4), 1), Sample((2, 3, 4), float("inf")), Sample((3, 4), "nuc"), Sample((3, 4), 2),
    Sample((3, 4), -2), Sample((3, 4), -1)))
def matrix_norm(A, ord: object = "fro", dim: object = (-2, -1), keepdim: bool = False, *, dtype=None, out=None):
    """Norm of matrices: "fro", "nuc" (sum of singular values), 2 and -2 (largest, smallest), 1, -1, inf, -inf (sums)."""
    if dtype is not None:
        A = in_dtype("matrix_norm", A, dtype)
    if len(A._shape) < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    dim = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dim) != 2:
        raise RuntimeError("linalg.matrix_norm: dim must be a 2-tuple. Got " + " ".join(map(str, dim)))
    first, second = (wrap_dim(d, len(A._shape)) for d in dim)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        y = (vector_norm_of if A._kind.dtype.category > 1 else space.vector_norm)(A, 2, dim, keepdim)
    elif ord in ("nuc", 2, -2):
        moved = op("movedim")(A, (first, second), (-2, -1))
        s = singular_values(moved)
        y = op("sum" if ord == "nuc" else extreme(ord, s, -1))(s, -1)
        if keepdim:
            for d in sorted((first, second)):
                y = op("unsqueeze")(y, d)
    elif ord in (1, -1, float("inf"), float("-inf")):
        if abs(ord) == 1:
            first, second = second, first
        sums = space.vector_norm(A, 1, second, keepdim)
        at = first if keepdim or first < second else first - 1
        y = op(extreme(ord, sums, at))(sums, at, keepdim)
    elif isinstance(ord, str):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return y if out is None else write_out("linalg_matrix_norm", out, y, (A,))


@function(kinds={"dim": "ints"}, name="linalg_norm", namespaces=(), method=False, domain=(0.2, 2.0), torch_name="linalg.norm",
          reference=lambda a, ord=None, dim=None, keepdim=False: np.linalg.norm(a, ord, dim, keepdim),
          samples=(Sample((3, 4)), Sample((3, 4), "nuc"), Sample((3,), 3), Sample((3, 4), 2, 1)))
def linalg_norm(A, ord: object = None, dim: object = None, keepdim: bool = False, *, out=None, dtype=None):
    """Norm of vectors or matrices: a matrix norm where ``ord`` is given for two dimensions, else the vector norm."""
    if ord is not None and (isinstance(dim, (tuple, list)) and len(dim) == 2 or dim is None and len(A._shape) == 2
                            or isinstance(ord, str)):
        if dim is None and len(A._shape) != 2:
            raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                               f"{len(A._shape)}D.")
        return matrix_norm.fn(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    if ord is not None and dim is None and len(A._shape) != 1:
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                           f"{len(A._shape)}D.")
    return space.vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype, out=out)


REGISTRY.attach(__name__, space, {"norm": linalg_norm.fn})


@kernel
def divide_ends(x: "*T", out: "*T", n: int, last: int, start: int, stop: int):
    """The first element of each row of x (., n) divided by the last, or the ``last`` by the first, into out (.,)."""
    for r in range(start, stop):
        first, end = x[r * n], x[(r + 1) * n - 1]
        out[r] = end / first if last != 0 else first / end


def _ends(s, last):
    return s[..., -1] / s[..., 0] if last else s[..., 0] / s[..., -1]


@custom(private=True, node="SqueezeBackward1", reference=_ends, domain=(0.5, 2.0),
        samples=(Sample((2, 4), False), Sample((3,), True), Sample((2, 1), False)))
def quotient_of_ends(s, last: bool):
    """The first elements of the last dimension divided by the last ones, or the ``last`` by the first."""
    return s._shape[:-1], s._kind


@quotient_of_ends.cpu
def _(out, s, last):
    divide_ends.run(out._kind, (s._ptr, out._ptr, s._shape[-1], int(last)), out._n, out._n)


@quotient_of_ends.gradient
def _(g, s, last):
    n = s._shape[-1]
    if n == 1:
        return column(g) * (s - s)
    first, end = op("narrow")(s, -1, 0, 1), op("narrow")(s, -1, n - 1, 1)
    over, under = (end, first) if last else (first, end)
    slope = column(g) / under
    parts = slope, -(slope * (over / under))
    rest = [] if n == 2 else [s.new_zeros((*s._shape[:-1], n - 2))]
    return op("cat")((parts[last], *rest, parts[not last]), -1)


@function(kinds={"p": "any"},
          reference=lambda a, p=None: np.linalg.cond(a, p), samples=(Sample((3, 3)), Sample((2, 3, 3), -2)), domain=(0.2, 2.0),
          **SPACES)
def cond(A, p: object = None, *, out=None):
    """Condition number: the norm of a matrix times that of its inverse; for 2 the ratio of extreme singular values."""
    checked("linalg.cond", A, p not in (None, 2, -2))
    if not A._n:
        y = zeros(A._shape[:-2], dtype=A._kind.dtype.to_real())
    elif p in (None, 2, -2):
        y = quotient_of_ends(singular_values(A), p == -2)
    else:
        try:
            y = matrix_norm.fn(A, p) * matrix_norm.fn(op("linalg_inv")(A), p)
        except LinAlgError:
            if len(A._shape) > 2:
                raise
            y = matrix_norm.fn(A, p) * float("inf")
        y = op("nan_to_num")(y, float("inf"), float("inf"), float("-inf"))
    return y if out is None else write_out("linalg_cond", out, y, (A,), True)
