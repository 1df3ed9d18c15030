"""pow, sqrt, rsqrt and cbrt.

``x^y = 2^(y log2 x)``: float32 in float64 arithmetic, float64 with the logarithm in two words (about 2^-66), whose
exact products come from cutting factors to 26 bits.
"""
import math
from fractions import Fraction

import numpy as np

from .exponential import EXP2_F8, exp2_wide, scale_f8
from .logarithm import LOG_F8, MANTISSA_F8, SQRT_HALF_BITS_F8, log_split_f8, log_tail_wide
from .poly import f8, poly6, poly11
from .rounding import round_f4, round_f8

F, D, I, J = np.float32, np.float64, np.int32, np.int64  # noqa: E741

INF_F4, NAN_F4 = F(np.inf), F(np.nan)
INF_F8, NAN_F8 = D(np.inf), D(np.nan)
THIRD, LOG2E = D(0.3333333333333333), D(1.4426950408889634)
LOG2E_REST = D(2.0355273740931033e-17)
LOG2E_A, LOG2E_B = D(1.4426950216293335), D(1.9259629911266175e-08)  # A has 26 bits
LOG_FIRST_F8, LOG_REST_F8 = LOG_F8[0], f8(*LOG_F8[1:])
ROUND, ROUND_BITS = D(6755399441055744.0), J(0x4338000000000000)
HIGH_26 = J(-0x8000000)


def log2_wide(x):
    """log2(x) of a positive normal float64 to 2^-37; -inf at 0."""
    b = D(x).view(J) - SQRT_HALF_BITS_F8
    f = J((b & MANTISSA_F8) + SQRT_HALF_BITS_F8).view(D) - D(1)
    y = D(b >> J(52)) + (f + log_tail_wide(f)) * LOG2E
    y = y if x < INF_F8 else x
    return y if x != D(0) else -INF_F8


def pow_f4(x, y):
    """x^y, with C99's special values: NaN for a negative x and a fractional y."""
    p = D(y) * log2_wide(D(abs(x)))
    p = D(-200) if p < D(-200) else p
    p = D(200) if p > D(200) else p
    r = F(exp2_wide(p))
    whole = round_f4(y) == y
    half = F(0.5) * y
    r = F(math.copysign(r, x)) if whole & (round_f4(half) != half) else r
    r = NAN_F4 if (x < F(0)) & (x > -INF_F4) & (not whole) else r
    one = (x == F(1)) | (y == F(0)) | ((x == F(-1)) & (abs(y) == INF_F4))
    return F(1) if one else r


def cut(x):
    """x with its last 27 bits cleared: the product of two such numbers is exact."""
    return J(D(x).view(J) & HIGH_26).view(D)


def log2_pair(a):
    """(h, l): log2(a) = h + l to 2^-66, h of 26 bits, for any positive finite a."""
    k, f = log_split_f8(a)
    m = f + D(1)
    d = m + D(1)
    dh = cut(d)
    dl = (d - dh) + (m - (d - D(1)))
    # s = f / (m + 1) in two words, then log(m) = s (2 + z (2/3 + z q)) with z = s^2
    s = f / d
    sh = cut(s)
    sl = ((f - sh * dh) - sh * dl) / d
    z = sh * sh
    e = sl * (D(2) * sh + sl)
    u = (z + e) * poly6(z + e, LOG_REST_F8)
    t = LOG_FIRST_F8 + u
    th = cut(t)
    tl = (LOG_FIRST_F8 - th) + u
    zh = cut(z)
    zl = (z - zh) + e
    v = zh * th
    vl = zh * tl + zl * t
    w = D(2) + (v + vl)
    wh = cut(w)
    wl = ((D(2) - wh) + v) + vl
    g = sh * wh
    gl = sh * wl + sl * w
    h = cut(g + gl)
    l = (g - h) + gl  # noqa: E741
    p = h * LOG2E_A
    pl = h * LOG2E_B + l * LOG2E
    # |k| >= 1 > |p|, or k = 0: the larger summand comes first.
    q = k + p
    ql = ((k - q) + p) + pl
    qh = cut(q + ql)
    return qh, (q - qh) + ql


def times(a, b):
    """a * b, rounded: never part of a multiply-add."""
    return a * b


def rest(a, b, p):
    """a * b - p, rounded once: in kernels an instruction."""
    return D(float(Fraction(float(a)) * Fraction(float(b)) - Fraction(float(p))))


def log2_pair_fused(a):
    """``log2_pair`` for processors with multiply-adds, in half the time: what a product lost is one instruction."""
    k, f = log_split_f8(a)
    d = f + D(2)
    r = D(1) / d
    s = f * r
    # s = f / (2 + f) in two words, then log(1 + f) = s (2 + z (2/3 + z q)) with z = s^2
    sl = -(rest(s, d, f) + s * (f - (d - D(2)))) * r
    z = times(s, s)
    zl = rest(s, s, z) + D(2) * s * sl
    z2 = z * z
    c = LOG_REST_F8
    q = ((c[0] + c[1] * z) + z2 * (c[2] + c[3] * z)) + (z2 * z2) * ((c[4] + c[5] * z) + z2 * c[6])
    u = times(z, q)
    t = LOG_FIRST_F8 + u
    v = times(z, t)
    vl = rest(z, t, v) + (z * ((LOG_FIRST_F8 - t) + u) + zl * t)
    w = D(2) + v
    wl = ((D(2) - w) + v) + vl
    g = times(s, w)
    gl = rest(s, w, g) + (s * wl + sl * w)
    p = times(g, LOG2E)
    pl = rest(g, LOG2E, p) + (g * LOG2E_REST + gl * LOG2E)
    # |k| >= 1 > |p|, or k = 0: the larger summand comes first.
    q = k + p
    ql = ((k - q) + p) + pl
    qh = cut(q + ql)
    return qh, (q - qh) + ql


def pow_f8(x, y):
    """x^y, with C99's special values: NaN for a negative x and a fractional y."""
    a = abs(x)
    finite = (a > D(0)) & (a < INF_F8)
    h, l = log2_pair(a if finite else D(1))  # noqa: E741
    b = y if y > D(-(2.0**70)) else D(-(2.0**70))
    b = b if b < D(2.0**70) else D(2.0**70)
    bh = cut(b)
    p = bh * h
    pl = (b - bh) * h + b * l
    up = (y > D(0)) == (a > D(1))
    p = p if finite else (D(1100) if up else D(-1100))
    inside = abs(p) <= D(1100)
    pl = pl if inside & finite else D(0)
    p = p if inside else (D(1100) if p > D(0) else D(-1100))
    t = (p + pl) + ROUND
    r = (p - (t - ROUND)) + pl
    r = scale_f8(D(1) + r * poly11(r, EXP2_F8), D(t).view(J) - ROUND_BITS)
    whole = round_f8(y) == y
    half = D(0.5) * y
    r = D(math.copysign(r, x)) if whole & (round_f8(half) != half) else r
    r = NAN_F8 if (x < D(0)) & (x > -INF_F8) & (not whole) else r
    r = r if (x == x) & (y == y) else NAN_F8
    return D(1) if (x == D(1)) | (y == D(0)) else r


def sqrt_f4(x):
    """Square root; NaN below 0."""
    return F(math.sqrt(x if x >= F(0) else NAN_F4))


def sqrt_f8(x):
    """Square root; NaN below 0."""
    return D(math.sqrt(x if x >= D(0) else NAN_F8))


def rsqrt_f4(x):
    """1 / sqrt(x); an infinity of x's sign at 0, NaN below."""
    return F(1) / sqrt_f4(x)


def rsqrt_f8(x):
    """1 / sqrt(x); an infinity of x's sign at 0, NaN below."""
    return D(1) / sqrt_f8(x)


def cbrt_f4(x):
    """Cube root, of x's sign."""
    a = abs(x)
    y = F(exp2_wide(THIRD * log2_wide(D(a if (a > F(0)) & (a < INF_F4) else F(1)))))
    return F(math.copysign(y, x)) if (a > F(0)) & (a < INF_F4) else x


def cbrt_f8(x):
    """Cube root, of x's sign."""
    a = abs(x)
    inside = (a > D(0)) & (a < INF_F8)
    b = a if inside else D(1)
    k, f = log_split_f8(b)
    t = exp2_wide(THIRD * (k + (f + log_tail_wide(f)) * LOG2E))
    t = t - (t - b / (t * t)) * THIRD  # Newton
    return D(math.copysign(t, x)) if inside else x
