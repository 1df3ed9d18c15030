"""Approximate decompositions of matrices of low rank, from products with a few random vectors (Halko and others, 2009)."""

from __future__ import annotations

import numbagrad as ng

__all__ = ["pca_lowrank", "svd_lowrank"]


def _matmul(A, B):
    return ng.sparse.mm(A, B) if A.is_sparse else A @ B


def _adjoint(A):
    return A.t() if A.is_sparse else A.mH  # (which are real)


def _floating(A):
    return A.dtype if A.dtype in (ng.float16, ng.float32, ng.float64) or A.is_complex() else ng.float32


def _without(X, M, B):
    return X if M is None else X - _matmul(M, B)


def get_approximate_basis(A, q, niter=2, M=None):
    """``q`` orthonormal columns Q for which Q Q^H (A - M) is close to A - M."""
    R = ng.randn(A.shape[-1], q, dtype=_floating(A), device=A.device)
    Q = ng.linalg.qr(_without(_matmul(A, R), M, R)).Q
    for _ in range(2 if niter is None else niter):
        Q = ng.linalg.qr(_without(_matmul(_adjoint(A), Q), None if M is None else M.mH, Q)).Q
        Q = ng.linalg.qr(_without(_matmul(A, Q), M, Q)).Q
    return Q


def svd_lowrank(A, q=6, niter=2, M=None):
    """U, S and V of the singular value decomposition of A - M, where that has about rank ``q``."""
    M = None if M is None else M.broadcast_to(A.shape)
    wide = A.shape[-2] < A.shape[-1]
    if wide:
        A, M = _adjoint(A), None if M is None else M.mH
    Q = get_approximate_basis(A, 6 if q is None else q, niter, M)
    B = _matmul(_adjoint(A), Q).mH if A.is_sparse else Q.mH @ A
    U, S, Vh = ng.linalg.svd(B if M is None else B - Q.mH @ M, full_matrices=False)
    U = Q @ U
    return (Vh.mH, S, U) if wide else (U, S, Vh.mH)


def pca_lowrank(A, q=None, center=True, niter=2):
    """The same of the rows of A less their mean: principal components are the columns of V."""
    least = min(A.shape[-2:])
    if q is None:
        q = min(6, least)
    elif not 0 <= q <= least:
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={least}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if not center:
        return svd_lowrank(A, q, niter)
    if not A.is_sparse:
        return svd_lowrank(A - A.mean(-2, keepdim=True), q, niter)
    if A.dim() != 2:
        raise ValueError("pca_lowrank input is expected to be 2-dimensional tensor")
    mean = ng.sparse.sum(A, dim=(-2,)).to_dense() / A.shape[0]
    return svd_lowrank(A, q, niter, mean.expand(A.shape))
