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


@pytest.mark.parametrize("call", [
    lambda lib, t: lib.cholesky_solve(t, t), lambda lib, t: lib.cholesky_inverse(t), lambda lib, t: lib.linalg.pinv(t),
    lambda lib, t: lib.linalg.matrix_rank(t), lambda lib, t: lib.linalg.solve_triangular(t, t, upper=True),
    lambda lib, t: lib.linalg.inv(t), lambda lib, t: lib.linalg.lstsq(t, t), lambda lib, t: lib.logdet(t)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64", "bool"])
def test_decompositions_of_other_dtypes_are_refused(torch, call, dtype):
    for lib in (ng, torch):
        with pytest.raises(RuntimeError):
            call(lib, lib.eye(3).to(getattr(lib, dtype)))


SYSTEMS = (lambda lib, b, a: lib.cholesky_solve(b, a), lambda lib, b, a: lib.linalg.solve_triangular(a, b, upper=True),
           lambda lib, b, a: lib.linalg.solve(a, b))


@pytest.mark.parametrize("b, a", [((4, 1), (3, 3)), ((3, 3), (3, 2)), ((2, 3, 1), (4, 3, 3))])
def test_shapes_that_no_system_has(torch, b, a):
    for solve in SYSTEMS:
        for lib in (ng, torch):
            with pytest.raises(RuntimeError):
                solve(lib, lib.ones(b), lib.ones(a))
    for left in (ng.ones(3), ng.ones(3, 3).double()):
        with pytest.raises(RuntimeError, match="at least 2 dimensions|same dtype"):
            ng.cholesky_solve(left, ng.ones(3, 3))
