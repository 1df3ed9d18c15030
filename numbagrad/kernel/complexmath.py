"""Scalar functions of complex numbers for generated kernels, with the values of C99's Annex G that PyTorch gives.

``c_NAME`` is the function of the primitive ``NAME``; ``T`` in it is the compute type of the kernel. Numba's own forms are not
used: its division raises inside a kernel, and its functions lose the sign of zero on branch cuts. Functions work in float64
whatever ``T`` is, a division in the width of ``T``. They are compiled without fast-math.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import types as pytypes

import numpy as np

from . import inlined

WIDTHS = {"c8": np.complex64, "c16": np.complex128}
T = np.complex128  # in each function that of its width
LN2, LN10, HALF_PI = math.log(2.0), math.log(10.0), math.pi / 2
LARGE, TINY = 1e153, 1e-140  # beyond, squares leave float64
UP, DOWN = 2.0**600, 2.0**-600  # whole powers of two, exact to scale by; and their square roots
ROOT_UP, ROOT_DOWN = 2.0**300, 2.0**-300


def c_div(a, b):
    # Smith's division as c10::complex has it: both parts over the larger one, a zero divides each part.
    x, y = T(a), T(b)
    c, d = y.real, y.imag
    first = abs(c) >= abs(d)
    large, small = (c, d) if first else (d, c)
    p, q = (x.real, x.imag) if first else (x.imag, x.real)
    ratio = small / large
    size = large + small * ratio
    re, im = (p + q * ratio) / size, (q - p * ratio if first else p * ratio - q) / size
    if c == 0 and d == 0:
        return T(complex(x.real / abs(c), x.imag / abs(d)))
    return T(complex(re, im))


def c_reciprocal(z):
    return c_div(T(1), z)


def c_abs(z):
    return math.hypot(z.real, z.imag)


def c_sgn(z):
    size = math.hypot(z.real, z.imag)
    return T(0) if size == 0 else T(complex(z.real / size, z.imag / size))


def c_sqrt(z):
    w = np.complex128(z)
    a, b = w.real, w.imag
    if a == 0 and b == 0:
        return T(complex(0.0, b))
    if math.isinf(b):
        return T(complex(math.inf, b))
    if math.isinf(a):
        if a > 0:
            return T(complex(a, b - b if b != b else math.copysign(0.0, b)))
        return T(complex(abs(b - b), math.copysign(math.inf, b)))
    scale, back = 1.0, 1.0
    size = max(abs(a), abs(b))
    if size > LARGE:
        scale, back = DOWN, ROOT_UP
    elif size < TINY:
        scale, back = UP, ROOT_DOWN
    a, b = a * scale, b * scale
    t = math.sqrt(0.5 * (abs(a) + math.hypot(a, b)))
    if a >= 0:
        return T(complex(t * back, b / (2.0 * t) * back))
    return T(complex(abs(b) / (2.0 * t) * back, math.copysign(t * back, b)))


def c_rsqrt(z):
    return c_div(T(1), c_sqrt(z))


def c_exp(z):
    w = np.complex128(z)
    a, b = w.real, w.imag
    if b == 0:
        return T(complex(math.exp(a), b))
    if math.isinf(a) and not math.isfinite(b):
        return T(complex(0.0, 0.0)) if a < 0 else T(complex(math.inf, math.nan))
    if a > 700.0:
        # In two factors, as exp alone may overflow where exp times a small cosine does not.
        half = math.exp(0.5 * a)
        return T(complex(half * math.cos(b) * half, half * math.sin(b) * half))
    e = math.exp(a)
    return T(complex(e * math.cos(b), e * math.sin(b)))


def c_exp2(z):
    return c_exp(np.complex128(complex(np.complex128(z).real * LN2, np.complex128(z).imag * LN2)))


def c_expm1(z):
    # (e^a - 1) cos b - 2 sin(b / 2)^2 + i e^a sin b
    w = np.complex128(z)
    a, b = w.real, w.imag
    s = math.sin(0.5 * b)
    return T(complex(math.expm1(a) * math.cos(b) - 2.0 * s * s, math.exp(a) * math.sin(b)))


def c_lognorm(a, b):
    # log |a + ib|, without overflow and exact near the unit circle.
    m, n = max(abs(a), abs(b)), min(abs(a), abs(b))
    if math.isinf(a) or math.isinf(b):
        return math.inf
    if a != a or b != b:
        return math.nan
    if m > LARGE:
        return math.log(math.hypot(0.25 * m, 0.25 * n)) + 2.0 * LN2
    if m < TINY:
        return math.log(math.hypot(UP * m, UP * n)) - 600.0 * LN2 if m > 0 else -math.inf
    if 0.5 < m < 2.0 and n < 2.0:
        return 0.5 * math.log1p((m - 1.0) * (m + 1.0) + n * n)
    return math.log(math.hypot(m, n))


def c_log(z):
    w = np.complex128(z)
    return T(complex(c_lognorm(w.real, w.imag), math.atan2(w.imag, w.real)))


def c_log2(z):
    w = np.complex128(z)
    return T(complex(c_lognorm(w.real, w.imag) / LN2, math.atan2(w.imag, w.real) / LN2))


def c_log10(z):
    w = np.complex128(z)
    return T(complex(c_lognorm(w.real, w.imag) / LN10, math.atan2(w.imag, w.real) / LN10))


def c_log1p(z):
    w = np.complex128(z)
    a, b = w.real, w.imag
    if abs(a) < 0.5 and abs(b) < 0.5:
        return T(complex(0.5 * math.log1p(a * (a + 2.0) + b * b), math.atan2(b, a + 1.0)))
    return T(complex(c_lognorm(a + 1.0, b), math.atan2(b, a + 1.0)))


def c_sinh_of(a, b):
    # sinh a cos b + i cosh a sin b
    if b == 0:
        return complex(math.sinh(a), b)
    if a == 0:
        return complex(a * math.copysign(1.0, math.cos(b)), math.sin(b))
    if math.isinf(a) and not math.isfinite(b):
        return complex(math.inf, math.nan)
    if abs(a) > 700.0:
        half = math.exp(0.5 * abs(a))
        return complex(math.copysign(0.5 * half, a) * math.cos(b) * half, 0.5 * half * math.sin(b) * half)
    return complex(math.sinh(a) * math.cos(b), math.cosh(a) * math.sin(b))


def c_cosh_of(a, b):
    # cosh a cos b + i sinh a sin b
    if b == 0:
        return complex(math.cosh(a), b * math.copysign(1.0, a))
    if a == 0:
        return complex(math.cos(b), a * math.copysign(1.0, math.sin(b)))
    if math.isinf(a) and not math.isfinite(b):
        return complex(math.inf, math.nan)
    if abs(a) > 700.0:
        half = math.exp(0.5 * abs(a))
        return complex(0.5 * half * math.cos(b) * half, math.copysign(0.5 * half, a) * math.sin(b) * half)
    return complex(math.cosh(a) * math.cos(b), math.sinh(a) * math.sin(b))


def c_tanh_of(a, b):
    # Kahan's form: with t = tan b and s = sinh a, (sqrt(1 + s^2) s (1 + t^2) + i t) / (1 + s^2 (1 + t^2)).
    if b == 0:
        return complex(math.tanh(a), b)
    if a == 0:
        return complex(a, math.tan(b))
    if abs(a) > 22.0 and (math.isfinite(b) or math.isinf(a)):
        turn = math.copysign(0.0, b) if not math.isfinite(b) else 4.0 * math.sin(b) * math.cos(b) * math.exp(-2.0 * abs(a))
        return complex(math.copysign(1.0, a), turn)
    t, s = math.tan(b), math.sinh(a)
    beta = 1.0 + t * t
    size = 1.0 + beta * s * s
    return complex(beta * math.sqrt(1.0 + s * s) * s / size, t / size)


def c_sinh(z):
    w = np.complex128(z)
    return T(c_sinh_of(w.real, w.imag))


def c_cosh(z):
    w = np.complex128(z)
    return T(c_cosh_of(w.real, w.imag))


def c_tanh(z):
    w = np.complex128(z)
    return T(c_tanh_of(w.real, w.imag))


def c_sin(z):
    # -i sinh(iz)
    w = np.complex128(z)
    r = c_sinh_of(-w.imag, w.real)
    return T(complex(r.imag, -r.real))


def c_cos(z):
    w = np.complex128(z)
    return T(c_cosh_of(-w.imag, w.real))


def c_tan(z):
    w = np.complex128(z)
    r = c_tanh_of(-w.imag, w.real)
    return T(complex(r.imag, -r.real))


def c_root(a, b):
    # sqrt(a + ib) of finite numbers of moderate size, the zero of b with its sign.
    if a == 0 and b == 0:
        return complex(0.0, b)
    t = math.sqrt(0.5 * (abs(a) + math.hypot(a, b)))
    if a >= 0:
        return complex(t, b / (2.0 * t))
    return complex(abs(b) / (2.0 * t), math.copysign(t, b))


def c_asin_of(a, b):
    # Kahan: atan2(a, Re(r s)) + i asinh(Im(conj(r) s)), r = sqrt(1 - z), s = sqrt(1 + z); Annex G where z is not finite.
    if not (math.isfinite(a) and math.isfinite(b)):
        if math.isinf(b):
            return complex(a if a != a else math.copysign(HALF_PI * 0.5, a) if math.isinf(a) else math.copysign(0.0, a), b)
        if math.isinf(a):
            return complex(math.nan if b != b else math.copysign(HALF_PI, a),
                           math.inf if b != b else math.copysign(math.inf, b))
        return complex(a if a == 0 else math.nan, math.nan if a != 0 or b != b else b)
    if abs(a) > 1e15 or abs(b) > 1e15:
        return complex(math.atan2(a, abs(b)), math.copysign(c_lognorm(a, b) + LN2, b))
    r, s = c_root(1.0 - a, -b), c_root(1.0 + a, b)
    return complex(math.atan2(a, r.real * s.real - r.imag * s.imag), math.asinh(r.real * s.imag - r.imag * s.real))


def c_acos_of(a, b):
    # Kahan: 2 atan2(Re r, Re s) + i asinh(Im(conj(s) r)).
    if not (math.isfinite(a) and math.isfinite(b)):
        if math.isinf(b):
            angle = math.nan if a != a else HALF_PI if math.isfinite(a) else 0.5 * HALF_PI if a > 0 else 1.5 * HALF_PI
            return complex(angle, -b)
        if math.isinf(a):
            return complex(math.nan if b != b else 0.0 if a > 0 else 2.0 * HALF_PI,
                           math.inf if b != b else -math.copysign(math.inf, b))
        return complex(HALF_PI if a == 0 else math.nan, math.nan)
    if abs(a) > 1e15 or abs(b) > 1e15:
        return complex(math.atan2(abs(b), a), -math.copysign(c_lognorm(a, b) + LN2, b))
    r, s = c_root(1.0 - a, -b), c_root(1.0 + a, b)
    return complex(2.0 * math.atan2(r.real, s.real), math.asinh(s.real * r.imag - s.imag * r.real))


def c_atanh_of(a, b):
    # log1p(4a / ((1 - a)^2 + b^2)) / 4 + i atan2(2b, (1 - a)(1 + a) - b^2) / 2 with a = |a|; Annex G beyond.
    p, q = abs(a), abs(b)
    if math.isinf(a) or math.isinf(b) or (p > 1e15 or q > 1e15) and a == a and b == b:
        re = 0.0
        if math.isfinite(a) and math.isfinite(b):
            # Re(1 / z) without a square that overflows.
            re = p / (p * p + q * q) if p < LARGE and q < LARGE else 1.0 / p / (1.0 + (q / p) * (q / p)) if p > 0 else 0.0
        im = HALF_PI if b == b else b
        return complex(math.copysign(re, a), math.copysign(im, b))
    if a != a or b != b:
        return complex(a if a == 0 else math.nan, math.nan)
    if q == 0 and p == 1.0:
        return complex(math.copysign(math.inf, a), b)
    if p == 1.0 and q < 1e-150:
        return complex(math.copysign(0.5 * (LN2 - math.log(q)), a), math.copysign(0.5 * HALF_PI, b))
    re = 0.25 * math.log1p(4.0 * p / ((1.0 - p) * (1.0 - p) + q * q))
    im = 0.5 * math.atan2(2.0 * q, (1.0 - p) * (1.0 + p) - q * q)
    return complex(math.copysign(re, a), math.copysign(im, b))


def c_asin(z):
    w = np.complex128(z)
    return T(c_asin_of(w.real, w.imag))


def c_acos(z):
    w = np.complex128(z)
    r = c_acos_of(w.real, w.imag)
    return T(complex(r.real, r.imag + 0.0))  # as pi / 2 - asin z: a zero imaginary part has a plus sign


def c_atanh(z):
    w = np.complex128(z)
    return T(c_atanh_of(w.real, w.imag))


def c_asinh(z):
    # -i asin(iz)
    w = np.complex128(z)
    r = c_asin_of(-w.imag, w.real)
    return T(complex(r.imag, -r.real))


def c_acosh(z):
    # acos turned by a right angle, to the half plane of positive real parts.
    w = np.complex128(z)
    r = c_acos_of(w.real, w.imag)
    return T(complex(abs(r.imag), math.copysign(r.real, w.imag)))


def c_atan(z):
    # -i atanh(iz)
    w = np.complex128(z)
    r = c_atanh_of(-w.imag, w.real)
    return T(complex(r.imag, -r.real))


def c_sigmoid(z):
    return c_div(T(1), T(T(1) + c_exp(-np.complex128(z))))


def c_pow(x, y):
    # exp(y log x), as cpow; whole powers of a number that are cheap are products in the expression.
    w, v = np.complex128(x), np.complex128(y)
    if v == 0:
        return T(1) if w == w and w != 0 else T(complex(math.nan, math.nan))
    return c_exp(v * complex(c_lognorm(w.real, w.imag), math.atan2(w.imag, w.real)))


NAMES = ("div", "reciprocal", "abs", "sgn", "sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin",
         "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "sigmoid", "pow")
_made: dict = {}


@functools.cache
def key():
    """Text that pins what the functions mean, for the kernel cache."""
    return hashlib.sha256(inspect.getsource(inspect.getmodule(key)).encode()).hexdigest()


def device_function(name, code):
    """The function of a primitive for kernels with a complex compute type, or None where complex numbers have none."""
    return _specialise("c_" + name, code) if name in NAMES else None


def quotient(a, b):
    """Stands for ``a / b`` of any numbers in hand-written kernels."""
    return a / b


@functools.cache
def divide():
    """``quotient`` for kernels: the division above where one of the numbers is complex, the plain one elsewhere."""
    from numba import types
    from numba.extending import overload

    @overload(quotient, inline="never", jit_options={"forceinline": True, "error_model": "numpy", "fastmath": False})
    def of_types(a, b):
        if isinstance(a, types.Complex) or isinstance(b, types.Complex):
            narrow = {types.complex64, types.float32}
            return _specialise("c_div", "c8" if {a, b} <= narrow else "c16").py_func
        return lambda a, b: a / b
    return quotient


def _specialise(name, code):
    """The function compiled for kernels, with what it calls, for one width of ``T``."""
    found = _made.get((name, code))
    if found is None:
        fn = globals()[name]
        namespace = {**globals(), "T": WIDTHS[code]}
        for other in fn.__code__.co_names:
            if other.startswith("c_"):
                namespace[other] = _specialise(other, code)
        copy = pytypes.FunctionType(fn.__code__, namespace, name)
        found = _made[name, code] = inlined.njit((), forceinline=True, error_model="numpy")(copy)
    return found
