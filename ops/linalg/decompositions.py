"""Factorisations by LAPACK: QR, eigenvalues of Hermitian matrices, singular values."""

from __future__ import annotations

import numpy as np

from numbagrad import linalg as space
from numbagrad.base import dtypes as dt
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make
from numbagrad.extend import REGISTRY, Sample, custom, function
from numbagrad.kernel.lapack import BLOCK

from ..index.sort import result
from ..product.gemm import conj
from ..product.matmul import matmul
from ..refusal import refusal
from . import kernels
from .cholesky import triangular
from .common import (
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
    svd_space,
    take,
    unrecorded,
)

REGISTRY.attach(__name__, space, {"LinAlgError": LinAlgError})
Qr, Eigh, Svd = result("linalg_qr", "Q", "R"), result("linalg_eigh", "eigenvalues", "eigenvectors"), result(
    "linalg_svd", "U", "S", "Vh")


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


def written(name, kind, results, out, A):
    """The named tuple ``kind`` of results, or of the tensors of ``out`` with the results in them."""
    return kind(*(results if out is None else write_outs(name, out, results, (A,))))


@function(reference=None, **SPACES)
def qr(A, mode="reduced", *, out=None):
    """(Q, R) with ``A = Q R``: ``mode`` "reduced", "complete", or "r" (an empty Q)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or "
                           "'complete'")
    return written("linalg_qr", Qr, qr_factors(A, mode), out, A)


# --- eigenvalues of Hermitian matrices ---

@custom(name="linalg_eigh", private=True, node="LinalgEighBackward0", reference=None)
def hermitian_eigen(A, upper: bool = False):
    """(eigenvalues ascending, eigenvectors) of Hermitian matrices, of which one triangle is read."""
    checked("linalg.eigh", A)
    return [(A._shape[:-1], real_kind(A._kind)), (A._shape, A._kind)]


def not_found(name, what):
    """Flags for values and vectors that LAPACK does not find (info above 0) or is not asked for."""
    return failures(lambda info: (name, "The algorithm failed to converge because the input matrix " + (
        f"is ill-conditioned or has too many repeated {what}." if info else "contained non-finite values.")))


_no_eigenvalues = not_found("linalg.eigh", "eigenvalues")


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


def free(what):
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


_free_eigh, _free_svd = map(free, (("linalg_eigh", "eigenvectors", "quantity, so it is ill-defined"),
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
    return written("linalg_eigh", Eigh, hermitian_eigen(A, str(UPLO).upper() == "U"), out, A)


@function(reference=None, **SPACES)
def eigvalsh(A, UPLO="L", *, out=None):
    """Eigenvalues of Hermitian matrices, ascending."""
    checked("linalg.eigh", A)
    upper = str(UPLO).upper() == "U"
    y = hermitian_values(A, upper) if unrecorded(A) else hermitian_eigen(A, upper)[0]
    return y if out is None else write_out("linalg_eigvalsh", out, y, (A,))


# --- singular values ---

_no_singular_values = not_found("linalg.svd", "singular values")


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
    return written("linalg_svd", Svd, singular_factors(A, bool(full_matrices)), out, A)


@function(reference=lambda a: np.linalg.svd(a, compute_uv=False), samples=(Sample((3, 4)), Sample((2, 3, 3))), **SPACES)
def svdvals(A, *, driver=None, out=None):
    """Singular values, descending."""
    _no_driver("svd", driver)
    y = singular_values(A)
    return y if out is None else write_out("linalg_svdvals", out, y, (A,))
