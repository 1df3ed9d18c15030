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


GRADED = RNG.standard_normal((3, 4, 4)) * np.array([1.0, 1e-2, 1e-5, 1e-9])
TOLERANCES = [
    {}, {"rtol": 1e-3}, {"atol": 1e-3}, {"atol": 1e-3, "rtol": 0.1}, {"rtol": True}, {"atol": float("nan")},
    {"rtol": (np.float32, [1e-6])}, {"atol": (np.float64, [[1e-3], [1e-7]])}, {"atol": (np.int64, 0)}, {"hermitian": True},
    {"hermitian": True, "atol": 1e-3}, {"rtol": (np.complex64, 1)}, {"rtol": "x"}, {"atol": [1.0]}]


def outcome(lib, name, a, options):
    """What a decomposition with tolerances gives (its gradient too), or the kind of its error."""
    x = lib.tensor(a, requires_grad=name == "pinv")
    given = {k: lib.tensor(np.array(v[1], v[0])) if isinstance(v, tuple) else v for k, v in options.items()}
    try:
        y = getattr(lib.linalg, name)(x, **given)
    except (TypeError, RuntimeError) as e:
        return type(e).__name__
    if name == "pinv" and np.isfinite(y.detach().numpy()).all():
        (y * y).sum().backward()
        return y.detach().numpy(), x.grad.numpy()
    return (y.detach().numpy(),)


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
@pytest.mark.parametrize("name", ["pinv", "matrix_rank"])
@pytest.mark.parametrize("options", TOLERANCES, ids=str)
def test_tolerances(name, options, torch):
    for a in (GRADED, GRADED[:, :, :3], GRADED.astype(np.float32)[0], np.zeros((2, 0, 3))):
        ours, theirs = outcome(ng, name, a, options), outcome(torch, name, a, options)
        if isinstance(theirs, str):
            assert ours == theirs
            continue
        for x, y in zip(ours, theirs, strict=True):
            assert x.shape == y.shape
            rtol = 1e-2 if a.dtype == np.float32 else 1e-5
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * np.abs(y).max(initial=0, where=np.isfinite(y)))


@pytest.mark.parametrize("call", [
    lambda x, lib: lib.linalg.pinv(x.to(dtype=lib.float16)), lambda x, lib: lib.linalg.pinv(x.to(dtype=lib.bfloat16)),
    lambda x, lib: lib.linalg.pinv(x, 0.1, rtol=0.1), lambda x, lib: lib.linalg.matrix_rank(x, 0.1, atol=0.1),
    lambda x, lib: lib.linalg.pinv(x, atol=lib.tensor(0.1, requires_grad=True)),
    lambda x, lib: lib.linalg.lstsq(x, x, driver="best"), lambda x, lib: lib.linalg.lstsq(x, x.double()),
    lambda x, lib: lib.linalg.svd(x, driver="gesvd"), lambda x, lib: lib.linalg.svdvals(x, driver="gesvd")])
def test_refused(call, torch):
    with pytest.raises((TypeError, RuntimeError)) as theirs:
        call(torch.eye(3), torch)
    with pytest.raises(theirs.type):
        call(ng.eye(3), ng)


def test_least_squares_gives_singular_values_where_the_driver_finds_them(torch):
    b = RNG.standard_normal((5, 2))
    for driver in ("gels", "gelsd", "gelss"):
        x, y = (lib.linalg.lstsq(lib.tensor(TALL), lib.tensor(b), driver=driver) for lib in (ng, torch))
        np.testing.assert_allclose(x.singular_values.numpy(), y.singular_values.numpy(), rtol=1e-12)
        np.testing.assert_allclose(x.residuals.numpy(), y.residuals.numpy(), rtol=1e-10)


def test_power_zero_has_a_gradient_of_zeros():
    for values in (A, np.full((2, 2, 2), np.inf)):
        x = t(values, True)
        y = ng.linalg.matrix_power(x, 0)
        assert y.tolist() == np.broadcast_to(np.eye(values.shape[-1]), values.shape).tolist()
        y.sum().backward()
        assert x.grad.tolist() == np.zeros_like(values).tolist()


@pytest.mark.parametrize("name", ["logdet", "slogdet"])
def test_a_singular_matrix_leaves_the_gradients_of_others(torch, name):
    a = np.array([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0], [0.5, 3.0]]])
    found = []
    for lib in (ng, torch):
        x = lib.tensor(a, requires_grad=True)
        y = lib.logdet(x) if name == "logdet" else lib.linalg.slogdet(x)[1]
        assert y[0].item() == -np.inf
        y.sum().backward()
        assert not x.grad[0].isfinite().any()
        found.append(x.grad[1].numpy())
    np.testing.assert_allclose(*found, rtol=1e-12)


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


COMPLEX = RNG.standard_normal((2, 3, 3)) @ np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1j]]) + RNG.standard_normal((2, 3, 3)) * 1j
PHASES = {"eig": lambda lib, x: lib.linalg.eig(x)[1],
          "eigh": lambda lib, x: lib.linalg.eigh(x + x.mH)[1], "left": lambda lib, x: lib.linalg.svd(x)[0],
          "right": lambda lib, x: lib.linalg.svd(x)[2]}


@pytest.mark.parametrize("name", PHASES)
def test_a_loss_that_depends_on_the_phase_of_vectors_is_refused(name, torch):
    for lib in (torch, ng):
        x = lib.tensor(COMPLEX, requires_grad=True)
        vectors = PHASES[name](lib, x)
        weights = lib.arange(1.0, 10.0).reshape(3, 3)
        with pytest.raises(RuntimeError, match="specified up to multiplication by"):
            (vectors * weights).sum().real.backward(retain_graph=True)
    found = []
    for lib in (torch, ng):  # what does not depend on it has a gradient
        x = lib.tensor(COMPLEX, requires_grad=True)
        (PHASES[name](lib, x).abs()**3 * lib.arange(9.0).reshape(3, 3)).sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_allclose(*found[::-1], rtol=1e-6, atol=1e-8)
