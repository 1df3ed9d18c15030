"""Factorisations on inputs that random samples cannot give: symmetric positive definite, full rank."""

from __future__ import annotations

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.autograd import gradcheck

RNG = np.random.default_rng(0)
A = RNG.standard_normal((4, 4))
SPD = A @ A.T + 4 * np.eye(4)
TALL = RNG.standard_normal((5, 3))
B = RNG.standard_normal((4, 2))


def t(a, grad=False):
    return ng.tensor(a).requires_grad_(grad)


def spd(x):
    """A symmetric positive definite function of any square matrix."""
    return x @ x.mT + 4 * ng.eye(4, dtype=ng.float64)


def test_cholesky():
    low = ng.linalg.cholesky(t(SPD))
    np.testing.assert_allclose(low.numpy(), np.linalg.cholesky(SPD), rtol=1e-12, atol=1e-12)
    assert gradcheck(lambda x: ng.linalg.cholesky(spd(x)), t(A, True))
    x = ng.cholesky_solve(t(B), low)
    np.testing.assert_allclose(x.numpy(), np.linalg.solve(SPD, B), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ng.cholesky_inverse(low).numpy(), np.linalg.inv(SPD), rtol=1e-10, atol=1e-12)
    assert gradcheck(lambda b, x: ng.cholesky_solve(b, ng.linalg.cholesky(spd(x))), (t(B, True), t(A, True)))


def test_qr():
    q, r = ng.linalg.qr(t(TALL))
    np.testing.assert_allclose((q @ r).numpy(), TALL, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose((q.mT @ q).numpy(), np.eye(3), atol=1e-12)
    assert np.array_equal(np.tril(r.numpy(), -1), np.zeros((3, 3)))
    assert gradcheck(lambda x: tuple(ng.linalg.qr(x)), t(TALL, True))


def test_svd():
    u, s, vh = ng.linalg.svd(t(TALL), full_matrices=False)
    np.testing.assert_allclose(s.numpy(), np.linalg.svd(TALL, compute_uv=False), rtol=1e-12)
    np.testing.assert_allclose((u * s @ vh).numpy(), TALL, rtol=1e-12, atol=1e-12)

    def parts(x):
        u, s, vh = ng.linalg.svd(x, full_matrices=False)
        return s, u * u, vh * vh  # the signs of the vectors are free
    assert gradcheck(parts, t(TALL, True))


def test_symmetric_eigenvalues():
    values, vectors = ng.linalg.eigh(t(SPD))
    np.testing.assert_allclose(values.numpy(), np.linalg.eigvalsh(SPD), rtol=1e-12)
    np.testing.assert_allclose((vectors * values @ vectors.mT).numpy(), SPD, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ng.linalg.eigvalsh(t(SPD)).numpy(), np.linalg.eigvalsh(SPD), rtol=1e-12)
    assert gradcheck(lambda x: ng.linalg.eigvalsh(spd(x)), t(A, True))


def test_general_eigenvalues():
    values, vectors = ng.linalg.eig(t(A))
    v, w = values.numpy(), vectors.numpy()
    np.testing.assert_allclose(A @ w, w * v, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.sort_complex(ng.linalg.eigvals(t(A)).numpy()), np.sort_complex(np.linalg.eigvals(A)),
                               rtol=1e-10)


def test_least_squares():
    b = RNG.standard_normal((5, 2))
    np.testing.assert_allclose(ng.linalg.lstsq(t(TALL), t(b)).solution.numpy(), np.linalg.lstsq(TALL, b, rcond=None)[0],
                               rtol=1e-10, atol=1e-12)


def test_not_positive_definite():
    with pytest.raises(ng.linalg.LinAlgError, match="positive"):
        ng.linalg.cholesky(t(-SPD))


@pytest.mark.parametrize("a", [[[1.0, 2.0], [2.0, 4.0]], np.ones((3, 3)), np.zeros((3, 3)), np.arange(9.0).reshape(3, 3),
                               np.outer([1, 1j, 2], [1, -1j, 0.5]), np.zeros((0, 0))], ids=range(6))
def test_determinants_of_singular_matrices_differentiate_twice(a):
    """Determinants are polynomials of the elements: their derivatives exist everywhere."""
    x = ng.tensor(np.array(a)).requires_grad_()
    assert ng.autograd.gradcheck(ng.linalg.det, x) and ng.autograd.gradgradcheck(ng.linalg.det, x)
