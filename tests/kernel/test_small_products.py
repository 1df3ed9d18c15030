"""Products of small matrices by blocks in registers: every size of a block, turned sides, what is added to."""

import ctypes

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.kernel import small_products as small

ng.exp(ng.ones(1))
CODES = [c for c in ("f4", "f8") if small.width(c)]
pytestmark = pytest.mark.skipif(not CODES, reason="this processor's BLAS has code for small matrices, or its vectors are short")
TIGHT = {"f4": 2e-6, "f8": 1e-14}  # of the sum of the terms' sizes


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("ta", [0, 1])
@pytest.mark.parametrize("tb", [0, 1])
@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5])
def test_function(code, ta, tb, beta):
    small.install(code)
    engine = small._kept[small._kept.index(code) + 1]
    f = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 11, *[ctypes.c_double] * 2)(engine.get_function_address(small.name(code)))
    w, rng = small.width(code), np.random.default_rng(1)
    for m, n, k in [(1, w, 1), (2, w, 5), (3, w, 2), (4, w, 1), (5, w, 3), (7, 2 * w, 9), (13, 3 * w, 20), (97, 2 * w, 64),
                    (200, w, 255), (193, w, small.DEEPEST), (64, 4 * w, 64)]:
        a = rng.standard_normal((k, m) if ta else (m, k)).astype(code)
        b = rng.standard_normal((n, k) if tb else (k, n)).astype(code)
        c = rng.standard_normal((m, n + 3)).astype(code)
        before = c.copy()
        if beta == 0:
            c[:, :n] = np.nan  # which is not read
        lda = a.shape[1]
        steps = (1, lda) if ta else (lda, 1)
        f(a.ctypes.data, b.ctypes.data, c.ctypes.data, m, n, k, *steps, b.shape[1], tb, n + 3, 1.5, beta)
        left, right = [x.astype("f8") for x in (a.T if ta else a, b.T if tb else b)]
        wanted, size = 1.5 * (left @ right), 1.5 * (np.abs(left) @ np.abs(right))
        if beta:
            wanted, size = wanted + beta * before[:, :n], size + np.abs(before[:, :n])
        assert (np.abs(c[:, :n] - wanted) <= TIGHT[code] * size).all(), (m, n, k)
        assert (c[:, n:] == before[:, n:]).all()


@pytest.mark.parametrize("code", CODES)
def test_rows_do_not_depend_on_their_block(code):
    dtype = ng.float32 if code == "f4" else ng.float64
    a, b = ng.rand(101, 40, dtype=dtype), ng.rand(40, 32, dtype=dtype)
    whole = a @ b
    for first in (0, 1, 5, 90):
        assert (a[first:first + 11] @ b == whole[first:first + 11]).all()
    assert (a @ b.t().contiguous().t() == whole).all() and (a.t().contiguous().t() @ b == whole).all()


@pytest.mark.parametrize("code", CODES)
def test_products_and_gradients(code):
    rng = np.random.default_rng(2)
    for m, k, n in [(5, 7, 16), (8, 64, 32), (33, 48, 64), (64, 100, 16), (4, 1, 16), (12, 256, 32), (12, 257, 32), (9, 0, 16)]:
        a, b = rng.standard_normal((3, m, k)).astype(code), rng.standard_normal((3, k, n)).astype(code)
        x, y = ng.tensor(a, requires_grad=True), ng.tensor(b, requires_grad=True)
        for z, reference in ((ng.bmm(x, y), a.astype("f8") @ b), (x[0] @ y[1], a[0].astype("f8") @ b[1]),
                             (ng.nn.functional.linear(x[0], y[1].t()), a[0].astype("f8") @ b[1]),
                             (ng.baddbmm(ng.ones(3, m, n, dtype=x.dtype), x, y, beta=2.0), 2 + a.astype("f8") @ b)):
            np.testing.assert_allclose(z.detach().numpy(), reference, rtol=0, atol=TIGHT[code] * 20 * max(1, k))
        g = rng.standard_normal((3, m, n)).astype(code)
        gx, gy = ng.autograd.grad(ng.bmm(x, y), (x, y), ng.tensor(g))
        np.testing.assert_allclose(gx.numpy(), g.astype("f8") @ b.swapaxes(1, 2), rtol=0, atol=TIGHT[code] * 20 * n)
        np.testing.assert_allclose(gy.numpy(), a.astype("f8").swapaxes(1, 2) @ g, rtol=0, atol=TIGHT[code] * 20 * m)


def test_what_is_not_numbers_counts_where_it_does_for_blas():
    a, b, c = ng.full((8, 16), float("nan")), ng.full((16, 16), float("inf")), ng.ones(8, 16)
    assert ng.addmm(c, a, b, alpha=0).tolist() == c.tolist() and ng.addmm(a[:, :16], c, b, beta=0).isinf().all()
    assert (c @ b).isinf().all() and (a @ b).isnan().all()


def test_what_is_cached_is_used(monkeypatch):
    from llvmlite import binding

    from numbagrad.kernel import cache_files
    small.install(CODES[0])
    engine = small._kept[small._kept.index(CODES[0]) + 1]
    stored, made, kept = {}, [], []
    monkeypatch.setattr(cache_files, "read_bytes", stored.get)
    monkeypatch.setattr(cache_files, "write_bytes", stored.__setitem__)
    monkeypatch.setattr(small.Writer, "product", lambda self, own=small.Writer.product: (made.append(self.code), own(self)))
    try:
        for _ in range(2):
            kept.append([])
            monkeypatch.setattr(small, "_kept", kept[-1])
            small.install(CODES[0])
    finally:
        binding.add_symbol(small.name(CODES[0]), engine.get_function_address(small.name(CODES[0])))
    assert made == [CODES[0]] and len(stored) == 1 and [k[0] for k in kept] == [CODES[0]] * 2
