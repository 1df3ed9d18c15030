"""Eigenvalues of matrices that are not Hermitian."""

from __future__ import annotations

from numbagrad.core import storage
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make
from numbagrad.extend import custom, function
from numbagrad.kernel.lapack import BLOCK
from numbagrad.kernel.tape import Flag

from ..index.sort import result
from ..product.gemm import conj
from ..product.matmul import matmul
from . import kernels
from .common import (
    SPACES,
    LinAlgError,
    checked,
    column,
    count,
    diagonal,
    eye_like,
    mh,
    of_dtype,
    op,
    real,
    row,
    unrecorded,
)
from .decompositions import free, written
from .solve import solved

Eig = result("linalg_eig", "eigenvalues", "eigenvectors")


_free = free(("linalg_eig", "eigenvectors", "quantity, so it is ill-defined"))


def _failed(index, info):
    if not info:
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    raise LinAlgError("linalg.eig: The algorithm failed to converge because the input matrix is ill-conditioned or has too "
                      "many repeated eigenvalues.")


_bad = Flag(_failed, 2)


def complex_kind(A):
    return A._kind if A._kind.dtype.is_complex else storage.kind_of(A._kind.dtype.to_complex(), A._kind.device)


def find(A, values, vectors=None):
    """Eigenvalues, and vectors, into given tensors."""
    n, kind = A._shape[-1], A._kind
    if A._n:
        lwork = 4 * n + (2 * BLOCK + 1) * n
        scratch, bad = make((2 * n * n + 4 * n + lwork,), kind), _bad.take(kind)
        kernels.general_factors[kind, values._kind](
            A._ptr, values._ptr, 0 if vectors is None else vectors._ptr, scratch._ptr, n, int(vectors is not None),
            int(not kind.dtype.is_complex), lwork, bad.address, 0, count(A))
        bad.check()


@custom(name="linalg_eig", private=True, node="LinalgEigBackward0", reference=None)
def eigen(A):
    """(eigenvalues, eigenvectors) of square matrices, complex."""
    checked("linalg.eig", A)
    kind = complex_kind(A)
    return [(A._shape[:-1], kind), (A._shape, kind)]


@eigen.host
def _(outs, A):
    find(A, *outs)


@custom(private=True, reference=None, differentiable=False)
def general_values(A):
    """Eigenvalues of square matrices where no gradient will be asked for."""
    checked("linalg.eig", A)
    return A._shape[:-1], complex_kind(A)


@general_values.host
def _(out, A):
    find(A, out)


@eigen.gradient
def _(given, A, y0, y1):
    values, v = y0, y1
    g, gv = given
    if gv is None:  # the values alone: no gaps, so that repeated ones have a finite gradient
        ga = solved(mh(v), column(g) * mh(v))
        return ga if A._kind.dtype.is_complex else op("real")(ga)
    inner = matmul(mh(v), gv)
    _free(inner)
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
    return written("linalg_eig", Eig, eigen(A), out, A)


@function(reference=None, **SPACES)
def eigvals(A, *, out=None):
    """Eigenvalues of square matrices, as a complex tensor."""
    checked("linalg.eig", A)
    y = general_values(A) if unrecorded(A) else eigen(A)[0]
    return y if out is None else write_out("linalg_eigvals", out, y, (A,), True)
