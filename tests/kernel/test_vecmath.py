"""vecmath against the C library in higher precision: rounding errors, special values, SIMD code, fingerprints."""
import functools
import importlib.util
import itertools
import math
import pathlib
import platform
import re
import subprocess
import sys

import numpy as np
import paths
import pytest
import scipy.special

from numbagrad.kernel import vecmath

_path = paths.ROOT / "asv_benchmarks" / "vecmath_accuracy.py"
_spec = importlib.util.spec_from_file_location("vecmath_accuracy", _path)
accuracy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(accuracy)

DTYPE = {"f4": np.float32, "f8": np.float64}
UNARY = [name for name in vecmath.FUNCTIONS if name not in accuracy.BINARY]

# Largest error in ulp where it is not 2; digamma is a difference of a logarithm and up to ten reciprocals.
BOUND = {
    ("erfc", "f8"): 3.0,
    ("lgamma", "f8"): 2.5,
    ("digamma", "f8"): 8.0,
    ("trigamma", "f8"): 8.0,
    ("i0e", "f8"): 12.0,  # sums of series, times an exponential
    ("i1e", "f8"): 12.0,
}
SCIPY = {"erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "digamma": "digamma", "i0e": "i0e", "i1e": "i1e"}
# Python's lgamma is not the C library's; it raises where that overflows.
PYTHON = {"trigamma": lambda x: scipy.special.polygamma(1, x.astype(np.float64)),
          "lgamma": np.vectorize(lambda x: math.inf if 1e300 < x else math.lgamma(x), otypes=[np.float64])}


@functools.cache
def loop(name, suffix):
    return accuracy.loop(name, suffix, 2 if name in accuracy.BINARY else 1)


def evaluate(name, suffix, *args):
    for a in args:
        a.setflags(write=False)
    out = np.empty_like(args[0])
    loop(name, suffix)(*args, out)
    return out


def reference(name, *args):
    """The function in the precision of `args`, by NumPy or SciPy."""
    if name == "remainder":
        r = np.fmod(*args)
        return np.where((r != 0) & ((r < 0) != (args[1] < 0)), r + args[1], r)
    if name == "sigmoid":
        e = np.exp(-np.abs(args[0]))
        return np.where(args[0] >= 0, 1, e) / (1 + e)
    if name in PYTHON:
        return PYTHON[name](args[0])
    if name in SCIPY:
        return getattr(scipy.special, SCIPY[name])(*(a.astype(np.float64) for a in args))
    return accuracy.LONG_DOUBLE.get(name, getattr(np, name, None))(*args)


def special(dtype):
    info = np.finfo(dtype)
    positive = [0, info.smallest_subnormal, info.tiny, 1e-5, 0.5, 1, 1.5, 2, 3, 60, 88.72284, 710, 2.0**24, info.max]
    return np.array([sign * v for v in [*positive, np.inf] for sign in (1, -1)] + [np.nan], dtype)


def float32_sample(stride):
    return (np.arange(0, 2**32, stride, dtype=np.uint64)).astype(np.uint32).view(np.float32)


def worst_float64(got, want):
    """As `accuracy.worst_of`, for float64 results and a longer reference."""
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float64)
        error = np.abs(got.astype(want.dtype) - want) / np.spacing(np.abs(rounded))
    finite = np.isfinite(got) & np.isfinite(rounded)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error = np.where(finite, error, np.where(same, 0, np.inf)).astype(np.float64)
    error[(got == 0) & (rounded == 0) & (np.signbit(got) != np.signbit(rounded))] = np.inf
    i = int(np.argmax(error))
    return error[i], i


@pytest.mark.parametrize("name", UNARY)
def test_float32(name):
    x = np.concatenate([float32_sample(49999), special(np.float32)])
    if name in ("digamma", "lgamma", "trigamma"):  # two have zeros between the poles, where digits are lost
        x = x[(x > 0) | np.isnan(x)]
    if name == "lgamma":
        x = x[~((x > 0.75) & (x < 2.25))]
    with np.errstate(all="ignore"):
        error, i = accuracy.worst_of(evaluate(name, "f4", x), reference(name, x.astype(np.float64)))
    assert error <= BOUND.get((name, "f4"), 2.0), x[i]


@pytest.mark.parametrize("name", [name for name in UNARY if name not in (*SCIPY, *PYTHON)])
def test_float64(name):
    x = np.concatenate([*accuracy.samples(name, np.float64, 20_000), special(np.float64)])
    with np.errstate(all="ignore"):
        error, i = worst_float64(evaluate(name, "f8", x), reference(name, x.astype(np.longdouble)))
    assert error <= BOUND.get((name, "f8"), 2.0), x[i]


@pytest.mark.parametrize("name", [*SCIPY, *PYTHON])
def test_float64_special_functions(name):
    mpmath = pytest.importorskip("mpmath", reason="the reference for functions that long double lacks")
    x = accuracy.samples(name, np.float64, 2000)[0]
    if name in ("digamma", "lgamma"):
        x = x[abs(x - 1.5) > 0.75]  # apart from their zeros
    with mpmath.workdps(25):
        named = {"lgamma": mpmath.loggamma, "trigamma": lambda v: mpmath.psi(1, v),
                 "i0e": lambda v: mpmath.exp(-abs(v)) * mpmath.besseli(0, v),
                 "i1e": lambda v: mpmath.exp(-abs(v)) * mpmath.besseli(1, v)}
        f = named.get(name) or getattr(mpmath, name)
        want = np.array([np.longdouble(mpmath.nstr(f(mpmath.mpf(v)), 22)) for v in x.tolist()])
    error, i = worst_float64(evaluate(name, "f8", x), want)
    assert error <= BOUND.get((name, "f8"), 2.5), x[i]
    x = special(np.float64)
    x = x[(x > 0) | np.isnan(x)] if name in ("digamma", "lgamma", "trigamma") else x
    with np.errstate(all="ignore"):
        got, want = evaluate(name, "f8", x), reference(name, x)
    # SciPy's own errors are a few ulp, and one of the smallest number; signs, infinities and NaN are exact.
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=np.finfo(np.float64).smallest_subnormal)
    assert np.array_equal(np.signbit(got[got == 0]), np.signbit(want[got == 0]))


@pytest.mark.parametrize("suffix", vecmath.SUFFIXES)
@pytest.mark.parametrize("name", accuracy.BINARY)
def test_two_arguments(name, suffix):
    dtype = DTYPE[suffix]
    pairs = np.array(list(itertools.product(special(dtype), repeat=2)), dtype).T
    sample = accuracy.samples(name, dtype, 20_000)
    args = [np.concatenate([p, s]) for p, s in zip(pairs, sample, strict=True)]
    got = evaluate(name, suffix, *args)
    wider = np.float64 if suffix == "f4" else np.longdouble
    exact = name in ("fmod", "copysign", "remainder", "floor_divide")  # by the same steps in the same precision
    with np.errstate(all="ignore"):
        want = reference(name, *(a.astype(dtype if exact else wider) for a in args))
    error, i = accuracy.worst_of(got, want.astype(np.float64)) if suffix == "f4" else worst_float64(got, want)
    assert error <= (0.0 if exact else 2.0), [a[i] for a in args]


def test_pow_table():
    """The special values of C99's annex F, spelled out."""
    inf, nan = math.inf, math.nan
    table = [
        (0.0, -3, inf), (-0.0, -3, -inf), (0.0, -2, inf), (-0.0, -2, inf), (-0.0, -2.5, inf), (0.0, -inf, inf),
        (-0.0, 3, -0.0), (-0.0, 2, 0.0), (-0.0, 2.5, 0.0), (-1, inf, 1), (-1, -inf, 1), (1, nan, 1), (1, inf, 1),
        (nan, 0.0, 1), (nan, -0.0, 1), (inf, 0.0, 1), (-2, 0.5, nan), (-inf, 0.5, inf), (0.5, -inf, inf),
        (2, -inf, 0.0), (0.5, inf, 0.0), (-2, inf, inf), (-inf, -3, -0.0), (-inf, -2, 0.0), (-inf, 3, -inf),
        (-inf, 2, inf), (inf, -1, 0.0), (inf, 1, inf), (-2, 3, -8), (-2, 2, 4), (nan, 1, nan), (2, nan, nan),
    ]  # fmt: skip
    for suffix in vecmath.SUFFIXES:
        x, y, want = (np.array(column, DTYPE[suffix]) for column in zip(*table, strict=True))
        got = evaluate("pow", suffix, x, y)
        assert [repr(v) for v in got.tolist()] == [repr(v) for v in want.tolist()]


def test_digamma_at_its_poles():
    for suffix in vecmath.SUFFIXES:
        x = np.array([0.0, -0.0, -1, -7, -math.inf, math.inf], DTYPE[suffix])
        got = evaluate("digamma", suffix, x)
        assert got[:2].tolist() == [-math.inf, math.inf]
        assert np.isnan(got[2:5]).all() and got[5] == math.inf


@pytest.mark.parametrize("suffix", vecmath.SUFFIXES)
@pytest.mark.parametrize("name", ["fmod", "remainder", "floor_divide"])
def test_near_quotients(name, suffix):
    """Bit for bit what the function itself gives, up to the limit and at multiples of the divisor and beside them."""
    import numba

    f, limit = vecmath.near_function(name, suffix)

    @numba.njit(error_model="numpy", fastmath={"contract"})
    def kernel(x, y, out):
        for i in range(out.size):
            out[i] = f(x[i], y[i])

    dtype, rng = DTYPE[suffix], np.random.default_rng(1)
    y = (rng.uniform(-3, 3, 60_000) * 10.0 ** rng.integers(-30, 30, 60_000)).astype(dtype)
    y[::1000] = np.inf
    factor = np.concatenate([rng.uniform(-limit, limit, 20_000), np.round(rng.uniform(-limit, limit, 20_000)),
                             np.round(rng.uniform(-99, 99, 20_000))])
    x = np.where(np.isinf(y), factor, factor * np.where(np.isinf(y), 1, y)).astype(dtype)
    beside = np.nextafter(x, np.array([-np.inf, np.inf], dtype)[rng.integers(0, 2, x.size)])
    x = np.where(rng.random(x.size) < 0.5, x, beside)
    with np.errstate(all="ignore"):
        near = np.abs(x / y) <= limit
    x, y = x[near], y[near]
    assert near.sum() > 50_000
    out = np.empty_like(x)
    kernel(x, y, out)
    want = evaluate(name, suffix, x, y)
    assert (out == want).all() and (np.signbit(out) == np.signbit(want)).all()


@pytest.mark.parametrize("suffix", vecmath.SUFFIXES)
@pytest.mark.parametrize("name", vecmath.NAMES[vecmath.trigonometric])
def test_near(name, suffix):
    import numba

    f, limit = vecmath.near_function(name, suffix)

    @numba.njit
    def kernel(x, out):
        for i in range(out.size):
            out[i] = f(x[i])

    rng = np.random.default_rng(1)
    turns = np.arange(1, int(limit * 2 / np.pi), 7) * (np.pi / 2)  # where the results lose their leading digits
    x = np.concatenate([rng.uniform(-limit, limit, 20_000), rng.uniform(-9, 9, 20_000), turns, [0.0, -0.0, limit]])
    x = x.astype(DTYPE[suffix])
    out = np.empty_like(x)
    kernel(x, out)
    want = reference(name, x.astype(np.longdouble))
    error, i = accuracy.worst_of(out, want.astype(np.float64)) if suffix == "f4" else worst_float64(out, want)
    assert error <= 2.0, x[i]


def test_hardest_argument():
    """The float64 nearest to a multiple of pi/2: all but 61 bits cancel. The digits are mpmath's."""
    x = np.array([6381956970095103 * 2.0**797])
    assert evaluate("cos", "f8", x)[0] == pytest.approx(-4.687165924254627611122582801963e-19, rel=2.0**-51)


def test_planted_error_is_seen():
    """The comparison itself: one float32 step is one ulp, a lost sign of 0 or a missing NaN is infinite."""
    want = np.array([1.5, 0.0, np.nan, np.inf])
    assert accuracy.worst_of(want.astype(np.float32), want)[0] == 0
    off = want.astype(np.float32)
    off[0] = np.nextafter(off[0], np.float32(2))
    assert accuracy.worst_of(off, want) == (1.0, 0)
    assert accuracy.worst_of(np.array([1.5, -0.0, np.nan, np.inf], np.float32), want) == (math.inf, 1)
    assert accuracy.worst_of(np.array([1.5, 0, 2, np.inf], np.float32), want) == (math.inf, 2)
    assert worst_float64(np.array([1.5, -0.0]), want[:2])[0] == math.inf


@pytest.mark.parametrize("suffix", vecmath.SUFFIXES)
@pytest.mark.parametrize("name", vecmath.FUNCTIONS)
def test_runs_as_plain_python(name, suffix):
    """The same function without Numba, on NumPy scalars: equal but for fused multiply-adds."""
    dtype = DTYPE[suffix]
    values = [0.3, 0.9, 0.0, -0.0] if name == "acosh" else [0.3, -0.7, 2.5, 0.0, -0.0, 700.0]
    columns = [np.array(values, dtype)] if name in UNARY else [np.array(v, dtype) for v in ([2.5, 0.3], [-1.5, 3.0])]
    if name in ("lgamma", "digamma"):
        columns = [np.array([0.3, 2.5, 9.0], dtype)]  # math.lgamma raises at a pole
    got = evaluate(name, suffix, *columns)
    with np.errstate(all="ignore"):
        plain = [vecmath.FUNCTIONS[name][suffix](*row) for row in zip(*columns, strict=True)]
    assert all(isinstance(v, dtype) for v in plain)
    # A fused step moves a result of at most 2 ulp error by at most 4; Python's lgamma is not the C library's.
    np.testing.assert_array_max_ulp(np.array(plain), got, 16 if name == "lgamma" else 4, dtype)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "sin", "tanh", "erf", "sigmoid", "atan", "pow"])
def test_loops_are_vectorised(name):
    x = np.ones(4, np.float32)
    evaluate(name, "f4", *([x] if name in UNARY else [x, x]))
    text = "\n".join(loop(name, "f4").inspect_asm().values())
    assert re.search(r"\bv?(mulps|fmadd\d+ps|mulpd|fmadd\d+pd)\b.*%[xyz]mm", text)
    # No call of the C library is left: what is called, is called through a register (reference counts, errors).
    assert not re.search(r"\bcall\w*\s+\*?\$?_*(exp|log|sin|cos|tan|erf|pow|atan|rint)f?\b", text)


def test_sources_follow_helpers_and_constants(monkeypatch):
    text = vecmath.sources("exp", "f4")
    assert "def exp_f4(" in text and "def scale_once_f4(" in text and "0.041667" in text
    assert "exp_f8" not in text
    assert text != vecmath.sources("exp", "f8")
    monkeypatch.setattr(vecmath.exponential, "LOG2E_F4", np.float32(1.5))
    assert vecmath.sources.__wrapped__("exp", "f4") != text
    assert "def sin_near_f8(" in vecmath.sources("sin", "f8")


def test_every_function_has_both_forms_and_a_docstring():
    for name, forms in vecmath.FUNCTIONS.items():
        for suffix in vecmath.SUFFIXES:
            assert forms[suffix].__doc__, f"{name}_{suffix}"
            assert vecmath.device_function(name, suffix) is vecmath.device_function(name, suffix)


def test_import_leaves_numba_out():
    code = (
        "import sys, types\n"
        "for name, path in (('numbagrad', {0!r}), ('numbagrad.kernel', {1!r})):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "    sys.modules[name].__path__ = [path]\n"
        "import numbagrad.kernel.vecmath\n"
        "assert 'numba' not in sys.modules\n"
    )
    kernel = pathlib.Path(vecmath.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code.format(str(kernel.parent), str(kernel))], check=True)


def test_the_logarithm_by_multiply_adds_is_the_other():
    from numbagrad.kernel.vecmath import power
    for x in (1e-300, 0.3, 0.7072, 0.9999, 1.0, 1.0001, 1.4141, 1.7, 3.0, 1e9, 1.7e308, 5e-324):
        (h, l), (p, q) = power.log2_pair(np.float64(x)), power.log2_pair_fused(np.float64(x))  # noqa: E741
        assert abs(float(h - p) + float(l - q)) <= 2.0**-63 * max(1.0, abs(float(h))), x
