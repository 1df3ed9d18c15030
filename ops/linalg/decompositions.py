"""Factorisations by LAPACK: QR, singular values, eigenvalues; and what is defined by them."""

from __future__ import annotations

import numpy as np

from numbagrad import linalg as space
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.creation import zeros
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make
from numbagrad.extend import REGISTRY, Sample, custom, function
from numbagrad.kernel.lapack import BLOCK

from ..index.sort import result
from ..product.gemm import conj
from ..product.matmul import matmul
from ..reduce.norms import vector_norm_of
from ..refusal import refusal
from . import kernels
from .cholesky import triangular
from .solve import (
    SPACES,
    LinAlgError,
    checked,
    column,
    count,
    diagonal,
    eye_like,
    failures,
    mh,
    of_dtype,
    op,
    real,
    real_kind,
    row,
    solved,
    svd_space,
    take,
    unrecorded,
)

REGISTRY.attach(__name__, space, {"LinAlgError": LinAlgError})
Qr, Eigh, Svd = result("linalg_qr", "Q", "R"), result("linalg_eigh", "eigenvalues", "eigenvectors"), result(
    "linalg_svd", "U", "S", "Vh")
Eig = result("linalg_eig", "eigenvalues", "eigenvectors")


# --- QR ---

@custom(name="linalg_qr", private=True, node="LinalgQrBackward0", reference=None, samples=(Sample((4, 3), "reduced"),))
def qr_factors(A, mode: str):
    """(Q, R) with orthonormal columns and an upper triangle."""
    checked("linalg.qr", A, False)
    *b, m, n = A._shape
    k = min(m, n)
    q = {"reduced": (*b, m, k), "complete": (*b, m, m), "r": (0,)}[mode]
    return [(q, A._kind), ((*b, m if mode == "complete" else k, n), A._kind)]


@qr_factors.host
def _(outs, A, mode):
    q, r = outs
    if not r._n and not q._n:
        return
    m, n = A._shape[-2:]
    if not n:  # Q of no columns is complete with any
        q.array()[...] = np.eye(m, dtype=q._kind.np)
        return
    width, tall = q._shape[-1] if mode != "r" else 0, r._shape[-2]
    lwork = BLOCK * max(n, width)
    scratch = make((m * max(n, width) + min(m, n) + lwork,), A._kind)
    kernels.orthogonal_factors[A._kind](A._ptr, q._ptr, r._ptr, scratch._ptr, m, n, width, tall, lwork, 0, count(A))


@qr_factors.gradient
def _(gs, y0, y1, shape, mode):
    m, n = shape[-2:]
    if mode == "r":
        raise RuntimeError("The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
                           "linalg.qr(A, mode='reduced') if you are going to require gradients through linalg.qr.")
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    gq, gr = gs
    q, r = y0, y1
    if m < n:
        # Only the square part of R takes part in Q.
        left, right = op("narrow")(r, -1, 0, m), op("narrow")(r, -1, m, n - m)
        gl, gright = op("narrow")(gr, -1, 0, m), op("narrow")(gr, -1, m, n - m)
        # The rest of A is an input of its own: R2 = Q^H A2, so Q receives A2 gR2^H, with A2 = Q R2.
        gq = gq + matmul(matmul(q, right), mh(gright))
        return op("cat")((_square_qr(gq, gl, q, left), matmul(q, gright)), -1)
    return _square_qr(gq, gr, q, r)


def _square_qr(gq, gr, q, r):
    """Gradient of A = Q R for a square R: (gQ + Q copyltu(R gR^H - gQ^H Q)) R^-H."""
    m = matmul(r, mh(gr)) - matmul(mh(gq), q)
    low = op("tril")(m, -1)
    sym = low + mh(low) + op("diag_embed")(of_dtype(real(diagonal(m)), m))
    return triangular(r, gq + matmul(q, sym), True, left=False, adjoint=True)


def _written(name, kind, results, out, A):
    """The named tuple ``kind`` of results, or of the tensors of ``out`` with the results in them."""
    return kind(*(results if out is None else write_outs(name, out, results, (A,))))


@function(reference=None, **SPACES)
def qr(A, mode="reduced", *, out=None):
    """(Q, R) with ``A = Q R``: ``mode`` "reduced", "complete", or "r" (an empty Q)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or "
                           "'complete'")
    return _written("linalg_qr", Qr, qr_factors(A, mode), out, A)


# --- eigenvalues of Hermitian matrices ---

@custom(name="linalg_eigh", private=True, node="LinalgEighBackward0", reference=None)
def hermitian_eigen(A, upper: bool = False):
    """(eigenvalues ascending, eigenvectors) of Hermitian matrices, of which one triangle is read."""
    checked("linalg.eigh", A)
    return [(A._shape[:-1], real_kind(A._kind)), (A._shape, A._kind)]


def _not_found(name, what):
    """Flags for values and vectors that LAPACK does not find (info above 0) or is not asked for."""
    return failures(lambda info: (name, "The algorithm failed to converge because the input matrix " + (
        f"is ill-conditioned or has too many repeated {what}." if info else "contained non-finite values.")))


_no_eigenvalues = _not_found("linalg.eigh", "eigenvalues")


def find_eigenvalues(A, upper, values, vectors=None):
    """Eigenvalues, and vectors, of Hermitian matrices into given tensors."""
    n, kind, several = A._shape[-1], A._kind, vectors is not None
    if A._n:
        lwork, lrwork = 1 + (6 + BLOCK) * n + 2 * n * n, (1 + 5 * n + 2 * n * n) if kind.dtype.is_complex else 0
        scratch, bad = make((lwork + lrwork + 5 * n + 3,), kind), take(_no_eigenvalues, A)
        vectors = vectors if several else make((n, n), kind)
        kernels.hermitian_factors[kind, values._kind](A._ptr, values._ptr, vectors._ptr, scratch._ptr, n, int(upper),
                                                      n * n if several else 0, lwork, lrwork, bad.address, 0, count(A))
        bad.check()


@hermitian_eigen.host
def _(outs, A, upper):
    find_eigenvalues(A, upper, *outs)


@custom(private=True, reference=None, differentiable=False)
def hermitian_values(A, upper: bool = False):
    """Eigenvalues of Hermitian matrices, ascending, where no gradient will be asked for."""
    checked("linalg.eigh", A)
    return A._shape[:-1], real_kind(A._kind)


@hermitian_values.host
def _(out, A, upper):
    find_eigenvalues(A, upper, out)


def _free(what):
    """Refuses a loss that depends on the phase of complex vectors, which no factorisation fixes (as PyTorch says it)."""
    name, vectors, why = what
    refuse = refusal(RuntimeError, f"{name}_backward: The {vectors} in the complex case are specified up to multiplication "
                     f"by e^{{i phi}}. The specified loss function depends on this {why}.")

    def check(inner):
        """``inner``: how the loss changes with the vectors, seen from themselves."""
        if inner._kind.dtype.is_complex:
            turn = op("imag")(diagonal(inner.detach()))
            refuse(op("gt")(op("abs")(turn), 1e-2).any())
    return check


_free_eigh, _free_eig, _free_svd = map(_free, (
    ("linalg_eigh", "eigenvectors", "quantity, so it is ill-defined"),
    ("linalg_eig", "eigenvectors", "quantity, so it is ill-defined"),
    ("svd", "singular vectors", "phase term, making it ill-defined")))


@hermitian_eigen.gradient
def _(given, y0, y1):
    values, v = y0, y1
    g, gv = given
    if gv is None:  # the values alone: no gaps, so that repeated ones have a finite gradient
        return matmul(v * row(of_dtype(g, v)), mh(v))
    turned = matmul(mh(v), gv)
    _free_eigh(turned)
    # Eigenvectors move by skew-Hermitian matrices.
    inner = (turned - mh(turned)) / of_dtype(2 * _gaps(values), v)
    if g is not None:
        inner = inner + op("diag_embed")(of_dtype(g, v))
    return matmul(matmul(v, inner), mh(v))


def _gaps(values):
    """E_ij = L_j - L_i, infinite on the diagonal."""
    return (row(values) - column(values)).masked_fill(eye_like(values, values._shape[-1]).to(dtype=dt.bool_), float("inf"))


@function(reference=None, **SPACES)
def eigh(A, UPLO="L", *, out=None):
    """(eigenvalues, eigenvectors) of Hermitian matrices, ascending; ``UPLO`` is the triangle that is read."""
    if str(UPLO).upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return _written("linalg_eigh", Eigh, hermitian_eigen(A, str(UPLO).upper() == "U"), out, A)


@function(reference=None, **SPACES)
def eigvalsh(A, UPLO="L", *, out=None):
    """Eigenvalues of Hermitian matrices, ascending."""
    checked("linalg.eigh", A)
    upper = str(UPLO).upper() == "U"
    y = hermitian_values(A, upper) if unrecorded(A) else hermitian_eigen(A, upper)[0]
    return y if out is None else write_out("linalg_eigvalsh", out, y, (A,))


# --- singular values ---

_no_singular_values = _not_found("linalg.svd", "singular values")


def find_singular_values(A, s, u=None, vh=None):
    """Singular values, and vectors, into given tensors."""
    m, n = A._shape[-2:]
    k, kind = min(m, n), A._kind
    wide, tall = (0, 0) if u is None else (u._shape[-1], vh._shape[-2])
    if not k:  # vectors of no values are complete with any
        for t in (u, vh):
            if t is not None and t._n:
                t.array()[...] = np.eye(t._shape[-1], dtype=kind.np)
    elif A._n:
        lwork, lrwork = svd_space(m, n, kind)
        scratch = make((m * n + m * wide + tall * n + lwork + lrwork + 8 * k,), kind)
        bad = take(_no_singular_values, A)
        kernels.singular_factors[kind, s._kind](
            A._ptr, 0 if u is None else u._ptr, s._ptr, 0 if vh is None else vh._ptr, scratch._ptr, m, n, wide, tall, lwork,
            lrwork, float("nan"), bad.address, 0, count(A))
        bad.check()


@custom(name="linalg_svd", private=True, node="LinalgSvdBackward0", reference=None)
def singular_factors(A, full: bool = False):
    """(U, S, V^H)."""
    checked("linalg.svd", A, False)
    *b, m, n = A._shape
    k = min(m, n)
    return [((*b, m, m if full else k), A._kind), ((*b, k), real_kind(A._kind)), ((*b, n if full else k, n), A._kind)]


@singular_factors.host
def _(outs, A, full):
    u, s, vh = outs
    find_singular_values(A, s, u, vh)


@custom(private=True, reference=None, differentiable=False)
def singular_values_alone(A):
    """Singular values where no gradient will be asked for."""
    checked("linalg.svd", A, False)
    return (*A._shape[:-2], min(A._shape[-2:])), real_kind(A._kind)


@singular_values_alone.host
def _(out, A):
    find_singular_values(A, out)


def singular_values(A):
    """Singular values, descending."""
    checked("linalg.svd", A, False)
    return singular_values_alone(A) if unrecorded(A) else singular_factors(A)[1]


@singular_factors.gradient
def _(given, y0, y1, y2, shape, full):
    m, n = shape[-2:]
    k = min(m, n)
    u, s, vh = y0, y1, y2
    gu, g, gvh = given
    if full and m != n:
        u, vh = op("narrow")(u, -1, 0, k), op("narrow")(vh, -2, 0, k)
        gu = None if gu is None else op("narrow")(gu, -1, 0, k)
        gvh = None if gvh is None else op("narrow")(gvh, -2, 0, k)
    if gu is None and gvh is None:  # the values alone: no gaps, so that repeated ones have a finite gradient
        return matmul(u * row(of_dtype(g, u)), vh)
    gu = u.new_zeros(u._shape) if gu is None else gu
    gvh = vh.new_zeros(vh._shape) if gvh is None else gvh
    complex_ = u._kind.dtype.is_complex
    s2 = s * s
    e = of_dtype(_gaps(s2), u)
    sc = of_dtype(s, u)
    uu, vv = matmul(mh(u), gu), matmul(vh, mh(gvh))
    _free_svd(uu + vv)
    # Skew parts, divided by the gaps of the squared singular values.
    inner = ((uu - mh(uu)) / e) * row(sc) + column(sc) * ((vv - mh(vv)) / e)
    if complex_:
        turn = diagonal(uu)
        inner = inner + op("diag_embed")((turn - conj(turn)) / (2 * sc))
    if g is not None:
        inner = inner + op("diag_embed")(of_dtype(g, u))
    ga = matmul(u, matmul(inner, vh))
    if m > k:
        rest = gu / row(sc)
        ga = ga + matmul(rest - matmul(u, matmul(mh(u), rest)), vh)
    if n > k:
        rest = gvh / column(sc)
        ga = ga + matmul(u, rest - matmul(matmul(rest, mh(vh)), vh))
    return ga


def _no_driver(name, driver):
    if driver is not None:
        raise RuntimeError(f"torch.linalg.{name}: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER "
                           "backend.")


@function(kinds={"full_matrices": "bool"}, reference=None, **SPACES)
def svd(A, full_matrices=True, *, driver=None, out=None):
    """(U, S, Vh) with ``A = U diag(S) Vh``, singular values descending."""
    _no_driver("svd", driver)
    return _written("linalg_svd", Svd, singular_factors(A, bool(full_matrices)), out, A)


@function(reference=lambda a: np.linalg.svd(a, compute_uv=False), samples=(Sample((3, 4)), Sample((2, 3, 3))), **SPACES)
def svdvals(A, *, driver=None, out=None):
    """Singular values, descending."""
    _no_driver("svd", driver)
    y = singular_values(A)
    return y if out is None else write_out("linalg_svdvals", out, y, (A,))


# --- eigenvalues of general matrices ---

@custom(name="linalg_eig", private=True, node="LinalgEigBackward0", reference=None)
def eigen(A):
    """(eigenvalues, eigenvectors) of square matrices, complex."""
    checked("linalg.eig", A)
    kind = A._kind if A._kind.dtype.is_complex else storage.kind_of(A._kind.dtype.to_complex(), A._kind.device)
    return [(A._shape[:-1], kind), (A._shape, kind)]


@eigen.host
def _(outs, A):
    a = A.array()
    if not np.isfinite(a).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    outs[0].array()[...], outs[1].array()[...] = np.linalg.eig(a)


@eigen.gradient
def _(given, A, y0, y1):
    values, v = y0, y1
    g, gv = given
    if gv is None:  # the values alone: no gaps, so that repeated ones have a finite gradient
        ga = solved(mh(v), column(g) * mh(v))
        return ga if A._kind.dtype.is_complex else op("real")(ga)
    inner = matmul(mh(v), gv)
    _free_eig(inner)
    # Eigenvectors have norm one: what would change their length does not count.
    lengths = op("diag_embed")(of_dtype(real(diagonal(inner)), v))
    inner = inner - matmul(matmul(mh(v), v), lengths)
    gaps = conj(row(values) - column(values))
    n = values._shape[-1]
    gaps = gaps + eye_like(gaps, n)
    off = inner / gaps
    off = off - op("diag_embed")(diagonal(off))
    if g is not None:
        off = off + op("diag_embed")(g)
    ga = solved(mh(v), matmul(off, mh(v)))
    return ga if A._kind.dtype.is_complex else op("real")(ga)


@function(reference=None, **SPACES)
def eig(A, *, out=None):
    """(eigenvalues, eigenvectors) of square matrices, as complex tensors; eigenvectors have norm one."""
    return _written("linalg_eig", Eig, eigen(A), out, A)


@function(reference=None, **SPACES)
def eigvals(A, *, out=None):
    """Eigenvalues of square matrices, as a complex tensor."""
    y = eigen(A)[0]
    return y if out is None else write_out("linalg_eigvals", out, y, (A,), True)


# --- norms of matrices ---

def _norm_reference(a, ord="fro", dim=(-2, -1), keepdim=False):
    return np.linalg.norm(a, ord, tuple(dim), keepdim)


@function(kinds={"dim": "ints"}, reference=_norm_reference, **SPACES, domain=(0.2, 2.0), samples=(
    Sample((3, 4)), Sample((2, 3, 4), 1), Sample((2, 3, 4), float("inf")), Sample((3, 4), "nuc"), Sample((3, 4), 2),
    Sample((3, 4), -2), Sample((3, 4), -1)))
def matrix_norm(A, ord: object = "fro", dim: object = (-2, -1), keepdim: bool = False, *, dtype=None, out=None):
    """Norm of matrices: "fro", "nuc" (sum of singular values), 2 and -2 (largest, smallest), 1, -1, inf, -inf (sums)."""
    if dtype is not None:
        A = A.to(dtype=dtype)
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
        y = op("sum")(s, -1) if ord == "nuc" else op("amax" if ord == 2 else "amin")(s, -1)
        if keepdim:
            for d in sorted((first, second)):
                y = op("unsqueeze")(y, d)
    elif ord in (1, -1, float("inf"), float("-inf")):
        if abs(ord) == 1:
            first, second = second, first
        sums = space.vector_norm(A, 1, second, keepdim)
        at = first if keepdim or first < second else first - 1
        y = op("amax" if ord > 0 else "amin")(sums, at, keepdim)
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


@function(kinds={"p": "any"},
          reference=lambda a, p=None: np.linalg.cond(a, p), samples=(Sample((3, 3)), Sample((2, 3, 3), -2)), domain=(0.2, 2.0),
          **SPACES)
def cond(A, p: object = None, *, out=None):
    """Condition number: the norm of a matrix times that of its inverse; for 2 the ratio of extreme singular values."""
    checked("linalg.cond", A, p not in (None, 2, -2))
    if not A._n:
        y = zeros(A._shape[:-2], dtype=A._kind.dtype.to_real())
    elif p in (None, 2, -2):
        s = singular_values(A)
        high, low = op("narrow")(s, -1, 0, 1), op("narrow")(s, -1, s._shape[-1] - 1, 1)
        y = op("squeeze")(low / high if p == -2 else high / low, -1)
    else:
        try:
            y = matrix_norm.fn(A, p) * matrix_norm.fn(op("linalg_inv")(A), p)
        except LinAlgError:
            if len(A._shape) > 2:
                raise
            y = matrix_norm.fn(A, p) * float("inf")
        y = op("nan_to_num")(y, float("inf"), float("inf"), float("-inf"))
    return y if out is None else write_out("linalg_cond", out, y, (A,), True)
