"""Kernels that call LAPACK against NumPy: every dtype, sizes around the tiles that are turned, batches, what has no factors."""

from __future__ import annotations

import numpy as np
import pytest

import numbagrad as ng

DTYPES = ["float32", "float64", "complex64", "complex128"]
SHAPES = [(1, 1), (3, 3), (2, 5, 5), (17, 17), (33, 33)]
OBLONG = [*SHAPES, (5, 3), (3, 5), (2, 2, 40, 17), (2, 16, 35), (1, 4), (4, 1)]
TIMES = 10  # the last of them by a plan


def draw(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape)
    return (a + 1j * rng.standard_normal(shape) if dtype.startswith("c") else a).astype(dtype)


def often(function, *arrays):
    """What a function of tensors gives, many times the same."""
    tensors = [ng.tensor(a) for a in arrays]
    found = []
    for _ in range(TIMES):
        y = function(*tensors)
        found.append([t.numpy() for t in (y if isinstance(y, tuple) else (y,))])
    for others in found[1:]:
        for x, y in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(x, y)
    return found[0] if len(found[0]) > 1 else found[0][0]


def close(x, y):
    eps = np.finfo(np.asarray(x).dtype).eps
    assert np.shape(x) == np.shape(y)
    np.testing.assert_allclose(x, y, rtol=200 * eps, atol=2000 * eps * max(1, np.abs(y).max(initial=0)))


def adjoint(a):
    return np.conj(np.swapaxes(a, -1, -2))


def identity(a):
    return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), (*a.shape[:-2], a.shape[-1], a.shape[-1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", OBLONG, ids=str)
def test_orthogonal_and_singular_factors(shape, dtype):
    a = draw(shape, dtype)
    for mode in ("reduced", "complete"):
        q, r = often(lambda x, mode=mode: ng.linalg.qr(x, mode), a)
        close(q @ r, a)
        close(adjoint(q) @ q, identity(q))
        np.testing.assert_array_equal(np.tril(r, -1), 0)
        for ours, theirs in zip((q, r), np.linalg.qr(a, mode), strict=True):  # signs are LAPACK's
            close(ours, theirs)
    close(often(lambda x: ng.linalg.qr(x, "r")[1], a), np.linalg.qr(a, "r"))
    for full in (False, True):
        u, s, vh = often(lambda x, full=full: ng.linalg.svd(x, full), a)
        k = s.shape[-1]
        close((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], a)
        close(adjoint(u) @ u, identity(u))
        close(vh @ adjoint(vh), identity(vh @ adjoint(vh)))
    close(s, np.linalg.svd(a, compute_uv=False))
    close(often(ng.linalg.svdvals, a), s)
    close(often(ng.linalg.pinv, a), np.linalg.pinv(a, rcond=1e-6 if dtype in ("float32", "complex64") else 1e-14))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_eigenvalues_and_definite_factors(shape, dtype):
    a = draw(shape, dtype)
    h = a @ adjoint(a) + identity(a)
    for triangle in "LU":
        half = np.tril(h) if triangle == "L" else np.triu(h)
        values, vectors = often(lambda x, t=triangle: ng.linalg.eigh(x, t), half)  # the other triangle is not read
        close(values, np.linalg.eigvalsh(h))
        close((vectors * values[..., None, :]) @ adjoint(vectors), h)
        close(often(lambda x, t=triangle: ng.linalg.eigvalsh(x, t), half), values)
    close(often(ng.linalg.cholesky, np.tril(h)), np.linalg.cholesky(h))
    close(often(lambda x: ng.linalg.pinv(x, hermitian=True), h) @ h, identity(h))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_general_eigenvalues(shape, dtype):
    a = draw(shape, dtype)
    values, vectors = often(ng.linalg.eig, a)
    assert values.dtype == vectors.dtype == np.result_type(dtype, np.complex64)
    close(a @ vectors, vectors * values[..., None, :])
    close(np.linalg.norm(vectors, axis=-2), np.ones(values.shape, values.real.dtype))
    close(often(ng.linalg.eigvals, a).sum(-1), np.trace(a, axis1=-2, axis2=-1).astype(values.dtype))
    turned = np.array([[0, -2.0], [2.0, 0]]).astype(dtype)
    np.testing.assert_allclose(sorted(often(ng.linalg.eigvals, turned).imag), [-2, 2], rtol=1e-6)
    with pytest.raises(RuntimeError, match="should not contain infs or NaNs"):
        ng.linalg.eig(ng.tensor(np.where(np.eye(shape[-1]), np.inf, a).astype(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elimination(shape, dtype):
    a = draw(shape, dtype) + 3 * np.eye(shape[-1], dtype=dtype)
    close(often(ng.linalg.inv, a) @ a, identity(a))
    det, (sign, log) = often(ng.linalg.det, a), often(ng.linalg.slogdet, a)
    wide = a.astype("complex128" if dtype.startswith("c") else "float64")
    expected = np.linalg.slogdet(wide)
    for x, y in ((sign, expected[0]), (log, expected[1]), (det, expected[0] * np.exp(expected[1]))):
        np.testing.assert_allclose(x, y, rtol=200 * np.finfo(dtype).eps)
    for left in (True, False):
        b = draw((*shape[:-2], shape[-1], 2) if left else (*shape[:-2], 2, shape[-1]), dtype, 1)
        for of in (lambda x: x, lambda x: x.mH):
            m = of(ng.tensor(a)).numpy()
            x = often(lambda p, q, left=left, of=of: ng.linalg.solve(of(p), q, left=left), a, b)
            close(m @ x if left else x @ m, b)
        for upper in (True, False):
            for unit in (True, False):
                # Well-conditioned triangles: a unit diagonal needs small numbers beside it.
                t = (np.triu(a, 1) if upper else np.tril(a, -1)) / 10
                t = t + (np.eye(shape[-1]) if unit else 2 * np.eye(shape[-1])).astype(dtype)
                given = t + (np.tril(a, -1) if upper else np.triu(a, 1)) + (5 * identity(a) if unit else 0)
                x = often(lambda p, q, k=(upper, left, unit): ng.linalg.solve_triangular(p, q, upper=k[0], left=k[1],
                                                                                       unitriangular=k[2]), given, b)
                close(t @ x if left else x @ t, b)


def test_batches_of_systems_broadcast():
    a, b = draw((2, 1, 3, 3), "float64") + 3 * np.eye(3), draw((4, 3, 2), "float64", 1)
    close(often(ng.linalg.solve, a, b), np.linalg.solve(a, np.broadcast_to(b, (2, 4, 3, 2))))
    t = np.triu(a)
    x = often(lambda p, q: ng.linalg.solve_triangular(p, q, upper=True), t, b)
    close(t @ x, np.broadcast_to(b, (2, 4, 3, 2)))
    turned = np.swapaxes(draw((3, 2, 4), "float64"), 0, 1)
    close(often(lambda p, q: ng.linalg.solve(p, q.transpose(0, 1)), a[0], np.swapaxes(turned, 0, 1)),
          np.linalg.solve(a[0], turned))


BAD = np.array([[np.inf, 1.0], [1.0, np.nan]])
WITHOUT = {
    "inv": (lambda x: ng.linalg.inv(x), np.ones((2, 2)), "The diagonal element 2 is zero, the inversion could not be"),
    "solve": (lambda x: ng.linalg.solve(x, x), np.zeros((2, 2)), "The solver failed because the input matrix is singular"),
    "cholesky": (lambda x: ng.linalg.cholesky(x), np.diag([1.0, -1.0]), r".*\(the leading minor of order 2 is not positive"),
    "nan": (lambda x: ng.linalg.cholesky(x), np.diag([1.0, np.nan]), r".*\(the leading minor of order 2 is not positive"),
    "eigh": (lambda x: ng.linalg.eigh(x), BAD, r"The algorithm failed .* contained non-finite values"),
    "eigvalsh": (lambda x: ng.linalg.eigvalsh(x), BAD, r"The algorithm failed .* contained non-finite values"),
    "svd": (lambda x: ng.linalg.svd(x), BAD, r"The algorithm failed .* contained non-finite values"),
    "pinv": (lambda x: ng.linalg.pinv(x), BAD, r"The algorithm failed .* contained non-finite values"),
    "matrix_rank": (lambda x: ng.linalg.matrix_rank(x), BAD, r"The algorithm failed .* contained non-finite values")}


@pytest.mark.parametrize("name", WITHOUT)
def test_matrices_without_factors(name):
    """They are told by their place in a batch, in plans and compiled steps alike; later calls are as before."""
    call, bad, words = WITHOUT[name]
    good = np.stack([np.diag([1.0, 2.0])] * 3)
    worse = np.stack([good[0], good[1], bad])
    step = ng.compile(lambda x: call(x))
    for run in (call, step):
        for _ in range(TIMES):
            run(ng.tensor(good))
        for _ in range(2):
            with pytest.raises(ng.linalg.LinAlgError, match=r"\(Batch element 2\): " + words):
                run(ng.tensor(worse))
        run(ng.tensor(good))
        with pytest.raises(ng.linalg.LinAlgError, match=r"^(torch\.)?linalg\.\w+: " + words):
            call(ng.tensor(bad))


def test_infinities_have_no_singular_values():
    a = np.stack([np.eye(2), np.array([[np.inf, 0], [0, 1]])])
    for part in often(lambda x: tuple(ng.linalg.svd(x)), a):
        assert np.isfinite(part[0]).all() and np.isnan(part[1]).all()
    assert np.isnan(often(ng.linalg.svdvals, a)[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_cofactors_where_inverses_lose_digits(dtype):
    a = draw((3, 6, 6), dtype)
    a[1, 5] = a[1, 0]  # singular
    a[2, 5] = a[2, 0] * (1 + 1e-12)
    x = ng.tensor(a).requires_grad_()
    for _ in range(TIMES):
        x.grad = None
        y = ng.linalg.det(x)
        y.backward(ng.ones_like(y))
    minors = np.empty_like(a)
    for i in range(6):
        for j in range(6):
            minor = np.delete(np.delete(a, i, -2), j, -1).astype("complex128" if dtype.startswith("c") else "float64")
            minors[:, i, j] = (-1) ** (i + j) * np.conj(np.linalg.det(minor))
    np.testing.assert_allclose(x.grad.numpy(), minors, rtol=1e-3, atol=1e-5 if dtype in ("float32", "complex64") else 1e-12)
