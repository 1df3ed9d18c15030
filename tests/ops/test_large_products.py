"""Products of more multiply-adds than run at once: dense ones go straight to BLAS, cut over the threads."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.kernel import threads

RNG = np.random.default_rng(8)
SIZES = [(128, 96, 112), (1200, 33, 40), (33, 1200, 40), (40, 33, 1200), (2000, 1100, 1), (1, 2000, 1100), (1100, 1, 2000)]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def several(request):
    before = ng.get_num_threads()
    ng.set_num_threads(request.param)
    yield
    ng.set_num_threads(before)


def tensor(*shape, turned=False):
    """(float64 leaf, the same numbers); ``turned``: its last two dimensions are stored the other way round."""
    a = RNG.standard_normal((*shape[:-2], *shape[:-3:-1]) if turned else shape)
    t = ng.tensor(a)
    t, a = (t.transpose(-1, -2), np.swapaxes(a, -1, -2)) if turned else (t, a)
    return t.detach().requires_grad_(), a


def check(y, inputs, expected, gradients):
    """``y`` and the gradients of sum(w y), to second order those of a linear map."""
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    w = RNG.standard_normal(y.shape)
    g = ng.tensor(w, requires_grad=True)
    first = ng.autograd.grad(y, inputs, g, create_graph=True)
    for got, want in zip(first, gradients(w)):
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-12, atol=1e-12 * np.abs(want).max())
    # <first_i, u_i> differentiated by g is the product's derivative along u.
    us = [RNG.standard_normal(t.shape) for t in first]
    (second,) = ng.autograd.grad([(f * ng.tensor(u)).sum() for f, u in zip(first, us)], [g])
    assert second.shape == y.shape
    plain = ng.autograd.grad(y, inputs, ng.tensor(w))
    for got, want in zip(plain, first):
        np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-11)
    return us, second.detach().numpy()


@pytest.mark.parametrize("m, k, n", SIZES)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_two_matrices(m, k, n, turned, several):
    (a, x), (b, y) = tensor(m, k, turned=turned[0]), tensor(k, n, turned=turned[1])
    assert m * n * k > threads.SERIAL_BELOW["gemm"] // 2
    for product in (a @ b, ng.mm(a, b)):
        (u, v), second = check(product, (a, b), x @ y, lambda w: (w @ y.T, x.T @ w))
        np.testing.assert_allclose(second, u @ y + x @ v, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_batches(turned, several):
    (a, x), (b, y) = tensor(6, 70, 90, turned=turned[0]), tensor(6, 90, 64, turned=turned[1])
    for product in (a @ b, ng.bmm(a, b)):
        (u, v), second = check(product, (a, b), x @ y, lambda w: (w @ y.swapaxes(1, 2), x.swapaxes(1, 2) @ w))
        np.testing.assert_allclose(second, u @ y + x @ v, rtol=1e-11, atol=1e-10)
    c, z = tensor(90, 64, turned=turned[1])
    rows = x.reshape(-1, 90)
    check(a @ c, (a, c), x @ z, lambda w: (w @ z.T, rows.T @ w.reshape(-1, 64)))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "none"])
@pytest.mark.parametrize("shape", [(1100, 64), (20, 60, 64), (2000, 700), (1, 1 << 12)], ids=str)
def test_layers(shape, bias, several):
    n = 300
    (a, x), (w, y), (b, z) = tensor(*shape), tensor(n, shape[-1]), tensor(n)
    inputs = (a, w, b) if bias else (a, w)
    rows = x.reshape(-1, shape[-1])

    def gradients(g):
        flat = g.reshape(-1, n)
        return g @ y, flat.T @ rows, flat.sum(0)
    out = ng.nn.functional.linear(a, w, b if bias else None)
    check(out, inputs, x @ y.T + (z if bias else 0), gradients)


def test_a_step_without_some_gradients(several):
    (a, x), (b, y) = tensor(128, 128), tensor(128, 128)
    w = RNG.standard_normal((128, 128))
    for inputs, expected in (((a,), w @ y.T), ((b,), x.T @ w)):
        (got,) = ng.autograd.grad(a @ b, inputs, ng.tensor(w))
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-11)
    frozen = a.detach()
    (got,) = ng.autograd.grad(ng.nn.functional.linear(frozen, b), (b,), ng.tensor(w))
    np.testing.assert_allclose(got.numpy(), w.T @ x, rtol=1e-12, atol=1e-11)
