"""BLAS kernels against NumPy: transposes, strides, edge sizes, batches, threads; and how BLAS is loaded."""

import ctypes
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from numbagrad.kernel import blas, threads

ROOT = str(Path(blas.__file__).resolve().parents[2])
CODES = ["f4", "f8", "c8", "c16"]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def count():
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


def draw(rng, code, *shape):
    out = rng.standard_normal(shape)
    if code[0] == "c":
        out = out + 1j * rng.standard_normal(shape)
    return out.astype(code)


def stored(rng, code, rows, columns, trans, padding):
    """(storage with NaN padding, ld, the matrix op(storage) it stands for)."""
    matrix = draw(rng, code, rows, columns)
    kept = {0: matrix, 1: matrix.T, 2: matrix.conj().T}[trans]
    whole = np.full((kept.shape[0], kept.shape[1] + padding), np.nan, code)
    whole[:, : kept.shape[1]] = kept
    whole.flags.writeable = False
    return whole, max(whole.shape[1], 1), matrix


def bound(code, k):
    # Rounding of a sum of k products of order one, in either order of summation.
    return 4 * (k + 2) * np.finfo(code).eps


def at(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize(
    "code, ta, tb",
    [(c, ta, tb) for c in CODES for ta in range(3) for tb in range(3) if c[0] == "c" or 2 not in (ta, tb)],
)
def test_gemm(rng, code, ta, tb):
    sizes = [(0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (1, 5, 4), (5, 1, 4), (1, 1, 6), (4, 4, 1), (7, 5, 3)]
    sizes.append((33, 17, 29))
    for (m, n, k), padding, (alpha, beta) in itertools.product(sizes, [0, 3], [(1.0, 0.0), (-0.5, 2.0), (1.0, 1.0)]):
        a, lda, left = stored(rng, code, m, k, ta, padding)
        b, ldb, right = stored(rng, code, k, n, tb, padding)
        c = np.full((m, n + padding), 7, code)
        # What beta = 0 multiplies is not read.
        c[:, :n] = np.nan if beta == 0 else draw(rng, code, m, n)
        want = alpha * (left.astype("c16") @ right) + (beta * c[:, :n] if beta else 0)
        getattr(blas, f"gemm_{code}")(
            at(a), at(b), at(c), m, n, k, lda, ldb, max(c.shape[1], 1), ta, tb, alpha, beta
        )
        np.testing.assert_allclose(c[:, :n], want, rtol=0, atol=4 * bound(code, k))
        np.testing.assert_array_equal(c[:, n:], 7)


@pytest.mark.parametrize("code", CODES)
def test_gemm_batched_with_shared_operand(rng, code):
    for batch in (0, 1, 3):
        a, b = draw(rng, code, batch, 4, 5), draw(rng, code, 5, 6)
        c = np.full((batch, 4, 6), np.nan, code)
        getattr(blas, f"gemm_batched_{code}")(
            at(a), at(b), at(c), 4, 6, 5, 5, 6, 6, 0, 0, 1.0, 0.0, batch, 20, 0, 24
        )
        np.testing.assert_allclose(c, a @ b, rtol=0, atol=2 * bound(code, 5))


@pytest.mark.parametrize("code", ["f4", "c16"])
@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_policy_cuts_large_products_exactly(rng, code, number, count, monkeypatch):
    count(number)
    monkeypatch.setitem(threads.SERIAL_BELOW, "gemm", 64)
    sizes = [(1, 70, 33, 9), (1, 3, 200, 9), (1, 1, 300, 9), (1, 300, 1, 9), (5, 20, 30, 9), (2, 7, 100, 0)]
    for batch, m, n, k in sizes:
        for ta, tb in itertools.product([0, 1], [0, 1]):
            a, b = draw(rng, code, batch, m, k), draw(rng, code, batch, k, n)
            c = np.full((batch, m, n), np.nan, code)
            sa = np.ascontiguousarray(a.swapaxes(1, 2)) if ta else a
            sb = np.ascontiguousarray(b.swapaxes(1, 2)) if tb else b
            sizes = (m, n, k, max(sa.shape[2], 1), max(sb.shape[2], 1), n)
            blas.gemm(code, at(sa), at(sb), at(c), *sizes, ta, tb, 1.0, 0.0, batch, m * k, k * n, m * n)
            np.testing.assert_allclose(c, a @ b, rtol=0, atol=2 * bound(code, k))


def test_grid_uses_every_part_and_short_edges():
    assert blas._grid(1000, 1000, 4) == (2, 2)
    assert blas._grid(10, 1000, 4) == (1, 4)
    assert blas._grid(1000, 10, 6) == (6, 1)
    assert all(r * c == p for p in range(1, 13) for r, c in [blas._grid(64, 256, p)])


@pytest.mark.parametrize("code", ["f4", "f8"])
def test_vectors(rng, code):
    for m, n, incx, incy in [(0, 3, 1, 1), (3, 0, 1, 1), (1, 1, 1, 1), (5, 4, 2, 3), (17, 33, 1, 2)]:
        a = draw(rng, code, m, n + 2)
        for trans in (0, 1):
            op = a[:, :n].T if trans else a[:, :n]
            x, y = draw(rng, code, op.shape[1], incx), draw(rng, code, op.shape[0], incy)
            for alpha, beta in [(1.0, 0.0), (2.0, -1.0)]:
                out = y.copy()
                if beta == 0:
                    out[:, 0] = np.nan
                getattr(blas, f"gemv_{code}")(
                    at(a), at(x), at(out), m, n, n + 2, incx, incy, trans, alpha, beta
                )
                want = alpha * (op @ x[:, 0]) + (beta * y[:, 0] if beta else 0)
                np.testing.assert_allclose(out[:, 0], want, rtol=0, atol=4 * bound(code, op.shape[1]))
                np.testing.assert_array_equal(out[:, 1:], y[:, 1:])
        x, y, out = draw(rng, code, m, incx), draw(rng, code, n, incy), a.copy()
        getattr(blas, f"ger_{code}")(at(out), at(x), at(y), m, n, n + 2, incx, incy, 0.5)
        np.testing.assert_allclose(out[:, :n], a[:, :n] + 0.5 * np.outer(x[:, 0], y[:, 0]), rtol=0, atol=bound(code, 2))
        np.testing.assert_array_equal(out[:, n:], a[:, n:])
        y = draw(rng, code, m, incy)
        value = getattr(blas, f"dot_{code}")(at(x), at(y), m, incx, incy)
        np.testing.assert_allclose(value, x[:, 0] @ y[:, 0], rtol=0, atol=4 * bound(code, m))


def test_c_address(rng):
    a, b, c = draw(rng, "f8", 3, 4), draw(rng, "f8", 4, 2), np.zeros((3, 2))
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 11, ctypes.c_double, ctypes.c_double)
    kind(blas.address("gemm_f8"))(at(a), at(b), at(c), 3, 2, 4, 4, 2, 2, 0, 0, 1.0, 0.0)
    np.testing.assert_allclose(c, a @ b, rtol=0, atol=bound("f8", 4))
    with pytest.raises(AttributeError, match="no attribute 'gemm_i4'"):
        blas.gemm_i4  # noqa: B018


def test_two_python_threads_at_once(rng, count):
    count(2)
    a = draw(rng, "f4", 256, 256)
    want = a.astype("f8") @ a

    def work():
        for _ in range(10):
            c = np.empty((256, 256), "f4")
            blas.gemm("f4", at(a), at(a), at(c), 256, 256, 256, 256, 256, 256, 0, 0, 1.0, 0.0)
            np.testing.assert_allclose(c, want, rtol=0, atol=4 * bound("f4", 256))

    with ThreadPoolExecutor(2) as pool:
        for result in [pool.submit(work) for _ in range(2)]:
            result.result()


# ----------------------------------------------------------------------------------------------------- matmul_args


def views():
    base = np.arange(6.0 * 7).reshape(6, 7)
    yield from (base, base.T, base[:, 1:4], base[1:4, 2:].T, base[::2], base[::2].T, base[:1], base[:, :1], base[:1].T)
    yield from (base[2:3, ::3], base[::2, 3:4], base[:0], base[:, :0], base[:1, :1], base[:0, :0])
    # These have no leading dimension.
    yield from (base[:, ::2], base[::-1], base[:, ::-1], np.broadcast_to(base[0], (6, 7)), base[::2, ::3])
    yield from (np.broadcast_to(base[:, :1], (6, 7)), np.broadcast_to(base[:1, :1], (6, 1)))


@pytest.mark.parametrize("view", list(views()), ids=lambda v: f"{v.shape}{v.strides}")
def test_matmul_args_reads_the_view(view, rng):
    args = blas.matmul_args(view.shape, [s // 8 for s in view.strides])
    rows, columns = view.shape
    if args is None:
        assert view.size > 1 and 1 not in (s // 8 for s, d in zip(view.strides, view.shape, strict=True) if d > 1) or (
            min(view.strides) <= 0
        )
        return
    trans, ld = args
    right = draw(rng, "f8", columns, 3)
    out = np.full((rows, 3), np.nan)
    blas.gemm_f8(at(view), at(right), at(out), rows, 3, columns, ld, 3, 3, trans, 0, 1.0, 0.0)
    np.testing.assert_allclose(out, view @ right, rtol=1e-13, atol=1e-12)


def test_matmul_args_values():
    assert blas.matmul_args((3, 4), (4, 1)) == (0, 4)
    assert blas.matmul_args((4, 3), (1, 4)) == (1, 4)
    assert blas.matmul_args((3, 4), (10, 1)) == (0, 10)
    assert blas.matmul_args((3, 4), (0, 1)) is None
    assert blas.matmul_args((3, 4), (2, 1)) is None
    assert blas.matmul_args((3, 4), (8, 2)) is None
    assert blas.matmul_args((1, 4), (99, 2)) == (1, 2)
    with pytest.raises(OverflowError, match="BLAS counts up to 2147483647"):
        blas.matmul_args((2, 4), (2**31, 1))


# --------------------------------------------------------------------------------------------------------- loading


def run(script, **env):
    env = {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "error", **env}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout.split()


LOAD = """
import os, sys
from numbagrad.kernel import blas
before = [m for m in ("numba", "scipy") if m in sys.modules]
first = os.environ.get("OPENBLAS_CORETYPE")
core = blas.core_type()
assert os.environ.get("OPENBLAS_CORETYPE") == first
lean = "scipy.linalg" not in sys.modules
import scipy.linalg
from scipy.linalg import cython_blas
assert cython_blas is scipy.linalg.cython_blas is blas._load()
assert abs(scipy.linalg.inv([[2.0]])[0, 0] - 0.5) < 1e-15
print(before, lean, core)
"""


def test_loading_is_late_lean_and_leaves_scipy_whole():
    out = run(LOAD)
    assert out[:2] == ["[]", "True"]
    if blas._better_core() == "SKYLAKEX":
        assert out[2] == "SkylakeX"


def test_core_type_of_the_user_is_kept():
    if blas.core_type() is None:
        pytest.skip("SciPy's BLAS is not OpenBLAS")
    machine = os.uname().machine if hasattr(os, "uname") else ""
    if machine != "x86_64":
        pytest.skip("Haswell code needs an x86-64 CPU")
    assert run(LOAD, OPENBLAS_CORETYPE="Haswell")[2] == "Haswell"


def test_better_core(monkeypatch):
    from llvmlite import binding

    has = dict.fromkeys(["avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"], True)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(blas, "_control", lambda *a, **k: b"Haswell")
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: has)
    assert blas._better_core() == "SKYLAKEX"
    monkeypatch.setattr(blas, "_control", lambda *a, **k: b"SapphireRapids")
    assert blas._better_core() is None
    monkeypatch.setattr(blas, "_control", lambda *a, **k: None)
    assert blas._better_core() == "SKYLAKEX"
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: {**has, "avx512vl": False})
    assert blas._better_core() is None
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: has)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    assert blas._better_core() is None
