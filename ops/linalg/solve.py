"""Linear algebra by LAPACK (through NumPy): inverses, solutions, determinants, powers."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import expanded_strides
from numbagrad.core import graph, storage
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.copying import contiguous_copy
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make, raw
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function
from numbagrad.kernel.lapack import BLOCK
from numbagrad.kernel.tape import Flag

from ..index.sort import result
from ..product.gemm import conj, recording
from ..product.matmul import matmul
from . import kernels

SPACES = {"namespaces": ("linalg",), "method": False}


class LinAlgError(RuntimeError):
    """A matrix that has no inverse or factorisation."""


# --- helpers ---

def op(name):
    return REGISTRY[name].callable


def mh(t):
    """The conjugate transpose of the last two dimensions."""
    t = op("transpose")(t, -2, -1)
    return op("conj")(t) if t._kind.dtype.is_complex else t


def real(t):
    return op("real")(t) if t._kind.dtype.is_complex else t


def column(t):
    return op("unsqueeze")(t, -1)


def row(t):
    return op("unsqueeze")(t, -2)


def diagonal(t):
    return op("diagonal")(t, 0, -2, -1)


def eye_like(t, n):
    from numbagrad.core.creation import eye
    return eye(n, dtype=t.dtype, device=t.device)


def of_dtype(t, like):
    """A real tensor in the dtype of a maybe complex one."""
    return t.to(dtype=like.dtype) if t._kind is not like._kind else t


def real_kind(kind):
    return storage.kind_of(kind.dtype.to_real(), kind.device)


def checked(name, a, square=True, what="A"):
    if not isinstance(a, Tensor):
        raise arguments.wrong(a, "Tensor", name.replace(".", "_"), what, 1)
    if len(a._shape) < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    if square and a._shape[-1] != a._shape[-2]:
        raise RuntimeError(f"{name}: {what} must be batches of square matrices, but they are {a._shape[-2]} by {a._shape[-1]} "
                           "matrices")
    d = a._kind.dtype
    if d.category < 2:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {dt.scalar_name(d)}")
    if d.code in ("f2", "bf"):
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {dt.scalar_name(d)}")


def batch_shape(name, a, b):
    """The batch dimensions that two tensors of matrices broadcast to."""
    try:
        return np.broadcast_shapes(a._shape[:-2], b._shape[:-2])
    except ValueError:
        raise RuntimeError(f"{name}: the batch dimensions of tensors of shapes {list(a._shape)} and {list(b._shape)} do not "
                           "broadcast") from None


def element(index, ndim):
    return f"(Batch element {index}): " if ndim > 2 else ""


def failures(words):
    """Flags for kernels that meet a matrix without factors, one or one of several: ``words(info)`` say what is wrong."""
    def raiser(ndim):
        def fail(index, info):
            name, what = words(info)
            raise LinAlgError(f"{name}: {element(index, ndim)}{what}")
        return fail
    return [Flag(raiser(ndim), 2) for ndim in (2, 3)]


def take(flags, A):
    """Words for the kernels of one call on the matrices ``A``."""
    return flags[len(A._shape) > 2].take(A._kind)


def count(t, dims=2):
    """How many there are of what the last dimensions hold."""
    n = 1
    for s in t._shape[:-dims]:
        n *= s
    return n


def batched(t, batch):
    """(tensor, elements between two matrices): matrices for the batch dimensions ``batch``, or one for all."""
    one = count(t) == 1
    if t._strides is not None or not one and t._shape[:-2] != batch:
        shape = t._shape if one else (*batch, *t._shape[-2:])
        t = contiguous_copy(raw(t._buf, t._ptr, t._n, shape, expanded_strides(t, shape), t._kind, t._ver))
    return t, 0 if one else t._shape[-2] * t._shape[-1]


def columns(t, like):
    """Vectors ``t`` of the batch shape of the matrices ``like`` as matrices of one column, outside the graph; others as they
    are."""
    return t if len(t._shape) == len(like._shape) else raw(
        t._buf, t._ptr, t._n, (*t._shape, 1), t._strides and (*t._strides, 1), t._kind, t._ver)


def unrecorded(A):
    """Whether no gradient of ``A`` will be asked for."""
    if A._view is not None:
        graph.refresh(A)
    return not A._rg or recording() is False


# --- inverse, solution ---

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
        bad = take(_no_solution, A)
        kernels.eliminate[A._kind](A._ptr, outs[0]._ptr, outs[1]._ptr, A._shape[-1], 1, bad.address, 0, count(A))
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


@function(reference=_solve_reference, domain=(0.2, 2.0), **SPACES,
          samples=(Sample((3, 3), (3, 2)), Sample((3, 3), (3,)), Sample((2, 3, 3), (2, 3, 2)),
                   Sample((3, 3), (2, 3), left=False)))
def solve(A, B, *, left=True, out=None):
    """``X`` with ``A X = B`` (``X A = B`` without ``left``); ``B`` holds matrices, or vectors of A's batch shape."""
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
    x = solved(A, B if vector and B._shape == A._shape[:-1] else b, bool(left))
    x = op("squeeze")(x, -1) if vector and len(x._shape) > len(B._shape) else x
    return x if out is None else write_out("linalg_solve", out, x, (A, B))


# --- determinants ---

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


def svd_space(m, n, kind):
    """(elements, real elements) of memory that LAPACK takes for singular vectors."""
    k = min(m, n)
    return 4 * k * k + 16 * k + BLOCK * (max(m, n) + 3 * k), (
        max(5 * k * k + 7 * k, 2 * max(m, n) * k + 2 * k * k + k) if kind.dtype.is_complex else 0)


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


# --- powers ---

@function(reference=np.linalg.matrix_power, domain=(0.2, 1.5), namespaces=("torch", "linalg"), dtypes="any",
          samples=(Sample((3, 3), 3), Sample((2, 2, 2), 2), Sample((2, 2), -2)))
def matrix_power(A, n, *, out=None):
    """``A`` multiplied with itself ``n`` times; powers of the inverse for negative ``n``."""
    if len(A._shape) < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if A._shape[-1] != A._shape[-2]:
        raise RuntimeError(f"linalg.matrix_power: A must be batches of square matrices, but they are {A._shape[-2]} by "
                           f"{A._shape[-1]} matrices")
    if n == 0:
        zero = op("masked_fill")(A, A.new_ones((), dtype=dt.bool_), 0)  # which hangs on A, as in PyTorch
        y = zero + eye_like(A, A._shape[-1])
    else:
        base, count = inverse_of(A) if n < 0 else A, abs(n)
        y = base.clone() if n == 1 else None
        while count and n != 1:
            if count % 2:
                y = base if y is None else matmul(y, base)
            count //= 2
            base = matmul(base, base) if count else base
    return y if out is None else write_out("matrix_power", out, y, (A,), True)


def _block_exponential(a, g):
    """d exp at a along g: the upper right block of exp [[a, g], [0, a]]."""
    n = a._shape[-1]
    zero = a * 0
    top, bottom = op("cat")((a, g), -1), op("cat")((zero, a), -1)
    whole = matrix_exp(op("cat")((top, bottom), -2))
    return op("narrow")(op("narrow")(whole, -2, 0, n), -1, n, n)


def _expm(a):
    from scipy.linalg import expm
    return expm(a)


@custom(reference=_expm, namespaces=("torch", "linalg"), node="LinalgMatrixExpBackward0",
        samples=(Sample((3, 3)), Sample((2, 2, 2))))
def matrix_exp(input):
    """Matrix exponential."""
    checked("linalg.matrix_exp", input)
    return input._shape, input._kind


@matrix_exp.host
def _(out, input):
    if out._n:
        out.array()[...] = _expm(input.array())


@matrix_exp.gradient
def _(g, input):
    return _block_exponential(mh(input), g)
