"""Linear algebra by LAPACK (through NumPy): inverses, solutions, determinants, powers."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.out import write_out, write_outs
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function

from ..index.sort import result
from ..product.gemm import conj
from ..product.matmul import matmul

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


def singular(a):
    """(flat batch index, number of the first zero pivot) of the first singular matrix, or None."""
    flat = a.reshape(-1, *a.shape[-2:])
    for i, m in enumerate(flat):
        u = np.array(m)
        n = len(u)
        for k in range(n):  # elimination with partial pivoting, as LAPACK does it
            p = k + int(np.argmax(np.abs(u[k:, k])))
            if u[p, k] == 0:
                return i, k + 1
            u[[k, p]] = u[[p, k]]
            u[k + 1:, k:] -= np.outer(u[k + 1:, k] / u[k, k], u[k, k:])
    return None


# --- inverse, solution ---

def inverse_or_nan(a):
    """Inverses one by one, with NaN for singular matrices."""
    out = np.full_like(a, np.nan)
    for i in np.ndindex(a.shape[:-2]):
        try:
            out[i] = np.linalg.inv(a[i])
        except np.linalg.LinAlgError:
            pass
    return out


@custom(name="linalg_inv", private=True, node="LinalgInvExBackward0", reference=np.linalg.inv, domain=(0.2, 2.0),
        samples=(Sample((3, 3)), Sample((2, 2, 2))))
def inverse_of(input, strict: bool = True):
    """Inverses of square matrices; of singular ones NaN unless ``strict``."""
    checked("linalg.inv", input)
    return input._shape, input._kind


@inverse_of.host
def _(out, input, strict):
    try:
        out.array()[...] = np.linalg.inv(input.array())
    except np.linalg.LinAlgError:
        if not strict:
            out.array()[...] = inverse_or_nan(input.array())
            return
        i, k = singular(input.array()) or (0, input._shape[-1])
        raise LinAlgError(f"linalg.inv: {element(i, len(input._shape))}The diagonal element {k} is zero, the inversion could "
                          "not be completed because the input matrix is singular.") from None


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


@custom(name="linalg_solve", private=True, node="LinalgSolveExBackward0", domain=(0.2, 2.0),
        reference=lambda *a: _solve_reference(*a), samples=(Sample((3, 3), (3, 2)), Sample((2, 3, 3), (3, 2))))
def solution(A, B, left: bool = True):
    """``X`` with ``A X = B`` (``X A = B``) for matrices in the last two dimensions, or vectors B of A's batch shape."""
    if len(B._shape) < len(A._shape) and B._shape == A._shape[:-1]:
        return B._shape, A._kind
    return (*batch_shape("linalg.solve", A, B), *B._shape[-2:]), A._kind


@solution.host
def _(out, A, B, left):
    a, b = A.array(), B.array()
    vector = b.ndim < a.ndim and b.shape == a.shape[:-1]
    try:
        out.array()[...] = _solve_reference(a, b, left, vector)
    except np.linalg.LinAlgError:
        i, _ = singular(a) or (0, 0)
        raise LinAlgError(f"torch.linalg.solve: {element(i, a.ndim)}The solver failed because the input matrix is "
                          "singular.") from None


@solution.gradient
def _(g, A, y, left, needs, shapes):
    gb = solution(mh(A), g, left)
    ga = None
    if needs[0]:
        if len(shapes[1]) < len(shapes[0]) and shapes[1] == shapes[0][:-1]:
            ga = -matmul(column(gb), mh(column(y)))
        else:
            ga = -(matmul(gb, mh(y)) if left else matmul(mh(y), gb))
        ga = sum_to_size(ga, shapes[0])
    return ga, sum_to_size(gb, shapes[1]) if needs[1] else None


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
    x = solution(A, B if vector and B._shape == A._shape[:-1] else b, bool(left))
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
    out.array()[...] = np.linalg.det(input.array())


@determinant.gradient
def _(g, input):
    return column(column(g)) * cofactors(input)


def _cofactors(a):
    """conj(det A) A^-H; by singular values where inverses lose digits, so that singular matrices are no exception."""
    finite = np.isfinite(a).all((-2, -1))[..., None, None]
    if not finite.all():  # LAPACK does not return from infinities
        return np.where(finite, _cofactors(np.where(finite, a, 0)), np.nan).astype(a.dtype)
    by_inverse = _cofactors_by_inverse(a)
    if by_inverse is not None:
        return by_inverse
    u, s, vh, sign = _signed_svd(a)
    return sign * ((u * _without_one(s)[..., None, :]) @ vh)


def _cofactors_by_inverse(a):
    """``_cofactors`` in double precision, or None where a condition number says that its digits would not do."""
    wide = a.astype(np.result_type(a, np.float64))
    try:
        inverse = np.linalg.inv(wide)
    except np.linalg.LinAlgError:
        return None
    condition = np.linalg.norm(wide, axis=(-2, -1)) * np.linalg.norm(inverse, axis=(-2, -1))
    if not (condition < (1e3 if wide.dtype == a.dtype else 1e8)).all():
        return None
    det = np.linalg.det(wide)[..., None, None]
    with np.errstate(over="ignore"):
        return (np.conj(det) * np.conj(np.swapaxes(inverse, -1, -2))).astype(a.dtype)


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


@cofactors.host
def _(out, input):
    out.array()[...] = _cofactors(input.array())


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
    sign, log = np.linalg.slogdet(A.array())
    if not A._kind.dtype.is_complex:
        sign = np.where(np.isnan(log), 0, sign)  # as in PyTorch, where NaN has no sign
    outs[0].array()[...], outs[1].array()[...] = sign, log


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
