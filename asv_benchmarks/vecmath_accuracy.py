"""Largest errors of `numbagrad.kernel.vecmath`, in units in the last place (ulp).

float32 functions of one argument are compared with the float64 C library on every ``--stride``-th of the 2^32 bit
patterns (all of them by default, one to four minutes a function); functions of two arguments and float64 functions on
random samples, float64 against 80-bit long double or mpmath.

    python asv_benchmarks/vecmath_accuracy.py exp sin --stride 97
"""
import argparse
import math
import time

import numba
import numpy as np

from numbagrad.kernel import vecmath

BINARY = ("atan2", "pow", "fmod", "remainder", "floor_divide", "copysign")
WITHOUT_LIBM = ("erfinv", "digamma", "trigamma", "i0e", "i1e")
BLOCK = 1 << 15


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _rsqrt(x):
    return (1 if math.copysign(1, x) > 0 or x != 0 else -1) / math.sqrt(abs(x)) if x >= 0 else math.nan


def _sqrt(x):
    return math.sqrt(x) if x >= 0 else math.nan


def _log(x):
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def _log2(x):
    return math.log2(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def _log10(x):
    return math.log10(x) if x > 0 else (-math.inf if x == 0 else math.nan)


REFERENCE = {
    "abs": lambda x: abs(x), "sigmoid": _sigmoid, "rsqrt": _rsqrt, "sqrt": _sqrt, "log": _log, "log2": _log2,
    "log10": _log10, "exp2": lambda x: np.exp2(x), "cbrt": lambda x: np.cbrt(x), "round": lambda x: np.rint(x),
    "floor": lambda x: np.floor(x), "ceil": lambda x: np.ceil(x), "trunc": lambda x: np.trunc(x),
}  # fmt: skip
LONG_DOUBLE = {
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "atan2": np.arctan2, "pow": np.power, "round": np.rint,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip

# Ranges for float64 samples: (low, high, logarithmic)
RANGES = {
    "exp": (-745, 709.7), "exp2": (-1074, 1023.9), "expm1": (-40, 709.7), "sinh": (-710, 710), "cosh": (-710, 710),
    "asin": (-1, 1), "acos": (-1, 1), "atanh": (-1, 1), "erf": (-6, 6), "erfc": (-6, 26.5), "erfinv": (-1, 1),
    "tanh": (-20, 20), "sigmoid": (-700, 40), "digamma": (0.01, 60), "trigamma": (0.01, 60),
    "lgamma": (0.01, 60), "atan": (-20, 20),
}  # fmt: skip
POSITIVE = ("log", "log2", "log10", "sqrt", "rsqrt")


def reference_function(name):
    """The float64 reference of a function of one argument as a plain function that Numba compiles."""
    if name in REFERENCE:
        return REFERENCE[name]
    libm = getattr(math, name)
    return lambda x: libm(x)


def scanner(name):
    """A compiled ``scan(start, stride, count) -> (error, bits)``: the worst float32 error and where it is."""
    fast = vecmath.device_function(name, "f4")
    slow = numba.njit(error_model="numpy")(reference_function(name))

    @numba.njit(error_model="numpy", nogil=True)
    def scan(start, stride, count):
        x = np.empty(BLOCK, np.float32)
        y = np.empty(BLOCK, np.float32)
        worst, where, done = -1.0, 0, 0
        while done < count:
            n = min(BLOCK, count - done)
            for i in range(n):
                x[i] = np.uint32(start + (done + i) * stride).view(np.float32)
            for i in range(n):
                y[i] = fast(x[i])
            for i in range(n):
                error = ulp_error(y[i], slow(np.float64(x[i])))
                if not error <= worst:
                    worst, where = error, start + (done + i) * stride
            done += n
        return worst, where

    return scan


@numba.njit
def ulp_error(got, want):
    """|got - want| in float32 units in the last place of want; infinite where one is NaN or the sign of 0 differs."""
    if math.isnan(want) or math.isnan(got):
        return 0.0 if math.isnan(want) and math.isnan(got) else math.inf
    if got == np.float32(want):
        wrong_zero = got == 0 and math.copysign(1.0, got) != math.copysign(1.0, want)
        return math.inf if wrong_zero else (0.0 if math.isinf(got) else abs(got - want) / spacing(want))
    if math.isinf(got) or math.isinf(want):
        # An overflow one step early is an error of steps, not of infinity.
        limit = 2.0**128
        got = min(max(np.float64(got), -limit), limit)
        want = min(max(want, -limit), limit)
    return abs(got - want) / spacing(want)


@numba.njit
def spacing(x):
    """The unit in the last place of x as a float32, in float64."""
    exponent = (np.float32(x).view(np.int32) >> 23) & 255
    return np.int64(min(max(exponent, 1), 254) - 150 + 1023 << 52).view(np.float64)


def scan_float32(name, stride, show=print):
    """Worst error of the float32 function over every `stride`-th bit pattern, and the argument."""
    total = (2**32 + stride - 1) // stride
    if name in WITHOUT_LIBM:
        import scipy.special

        kernel = loop(name, "f4", 1)
        worst, where = -1.0, 0
        for first in range(0, total, BLOCK * 16):
            bits = (np.arange(first, min(total, first + BLOCK * 16), dtype=np.uint64) * stride).astype(np.uint32)
            x = bits.view(np.float32)
            y = np.empty_like(x)
            kernel(x, y)
            error, i = worst_of(y, getattr(scipy.special, name)(x.astype(np.float64)))
            if not error <= worst:
                worst, where = error, bits[i]
        return worst, np.uint32(where).view(np.float32)
    worst, where = scanner(name)(0, stride, total)
    return worst, np.uint32(where).view(np.float32)


@numba.njit
def worst_of(got, want):
    worst, where = -1.0, 0
    for i in range(got.size):
        error = ulp_error(got[i], want[i])
        if not error <= worst:
            worst, where = error, i
    return worst, where


def loop(name, suffix, arguments):
    """A compiled loop ``kernel(*inputs, out)`` over contiguous arrays."""
    f = vecmath.device_function(name, suffix)
    if arguments == 1:
        @numba.njit(error_model="numpy")
        def kernel(x, out):
            for i in range(out.size):
                out[i] = f(x[i])
    else:
        @numba.njit(error_model="numpy")
        def kernel(x, y, out):
            for i in range(out.size):
                out[i] = f(x[i], y[i])
    return kernel


def samples(name, dtype, count, seed=0):
    """Argument arrays for the random comparisons: the interesting range, and all magnitudes."""
    rng = np.random.default_rng(seed)
    half = count // 2
    top = 38 if dtype == np.float32 else 300
    if name == "pow":
        x = np.exp(rng.uniform(-6, 6, count) * rng.uniform(0, 1, count) ** 4)
        limit = (88 if dtype == np.float32 else 709) / np.maximum(np.abs(np.log(x)), 1e-30)
        return [x.astype(dtype), (rng.uniform(-1, 1, count) * np.minimum(limit, 1e6)).astype(dtype)]
    wide = np.concatenate([10 ** rng.uniform(-top, top, count - half), rng.uniform(-10, 10, half)])
    wide[: (count - half) // 2] *= -1
    if name in BINARY:
        return [wide.astype(dtype), np.roll(wide, 17)[rng.permutation(count)].astype(dtype)]
    low, high = RANGES.get(name, (-100, 100))
    tiny = 10.0 ** rng.uniform(-top, 0, count - half)
    x = np.concatenate([rng.uniform(low, high, half), tiny])
    if name in POSITIVE:
        x = np.concatenate([rng.uniform(0, 4, half), 10 ** rng.uniform(-top, top, count - half)])
    elif name == "acosh":
        x = np.concatenate([1 + rng.uniform(0, 4, half), 1 + 10 ** rng.uniform(-10, top, count - half)])
    elif name in ("sin", "cos", "tan", "asinh"):
        x[half:] = 10 ** rng.uniform(-top, top, count - half)
    elif name == "log1p":
        x = np.concatenate([rng.uniform(-1, 4, half), 10 ** rng.uniform(-top, top, count - half)])
    return [x.astype(dtype)]


def scan_float64(name, count, seed=0):
    """Worst error of a float64 function (or a float32 one of two arguments) on random arguments, and the arguments."""
    args = samples(name, np.float64, count, seed)
    out = np.empty_like(args[0])
    loop(name, "f8", len(args))(*args, out)
    if hasattr(np, name) or name in LONG_DOUBLE:
        want = LONG_DOUBLE.get(name, getattr(np, name, None))(*(a.astype(np.longdouble) for a in args))
    else:
        import mpmath

        mpmath.mp.dps = 30
        f = {"lgamma": lambda x: mpmath.log(abs(mpmath.gamma(x)))}.get(name) or getattr(mpmath, name)
        want = np.array([np.longdouble(mpmath.nstr(f(mpmath.mpf(float(a))), 25)) for a in args[0]])
    with np.errstate(all="ignore"):
        unit = np.spacing(np.abs(want.astype(np.float64))).astype(np.longdouble)
        error = np.abs(out.astype(np.longdouble) - want) / unit
    same = (out == want) | (np.isnan(out) & np.isnan(want))
    error = np.where(same, 0, np.where(np.isnan(error), np.inf, error)).astype(np.float64)
    i = int(np.argmax(error))
    return error[i], tuple(a[i] for a in args)


def scan_float32_binary(name, count, seed=0):
    args = samples(name, np.float32, count, seed)
    out = np.empty_like(args[0])
    loop(name, "f4", 2)(*args, out)
    reference = {"atan2": np.arctan2, "pow": np.power}.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        error, i = worst_of(out, reference(*(a.astype(np.float64) for a in args)))
    return error, tuple(a[i] for a in args)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="functions (default: all)")
    parser.add_argument("--stride", type=int, default=1, help="check every STRIDE-th float32 bit pattern")
    parser.add_argument("--samples", type=int, default=1_000_000, help="random arguments for the other comparisons")
    parser.add_argument("--dtype", choices=("f4", "f8", "both"), default="both")
    options = parser.parse_args()
    print(f"{'function':<10} {'dtype':<5} {'max ulp':>9}  at")
    for name in options.names or vecmath.FUNCTIONS:
        for suffix in vecmath.SUFFIXES:
            if options.dtype not in (suffix, "both"):
                continue
            start = time.perf_counter()
            if suffix == "f4" and name not in BINARY:
                error, where = scan_float32(name, options.stride)
            elif suffix == "f4":
                error, where = scan_float32_binary(name, options.samples)
            else:
                slow = not (hasattr(np, name) or name in LONG_DOUBLE)
                error, where = scan_float64(name, min(options.samples, 20_000) if slow else options.samples)
            seconds = time.perf_counter() - start
            print(f"{name:<10} {suffix:<5} {error:>9.3f}  {where!r}  ({seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
