"""log, log2, log10 and log1p.

``x = 2^k m`` with ``m`` in [sqrt(1/2), sqrt(2)), by the bits; ``f = m - 1``; ``log(1 + f)`` is a polynomial in float32,
``2 atanh(s)`` with ``s = f / (2 + f)`` in float64.
"""
import math

import numpy as np

from .exponential import pow2_f8
from .poly import f4, f8, poly7, poly11

F, D, I, J = np.float32, np.float64, np.int32, np.int64  # noqa: E741

INF_F4, NAN_F4 = F(np.inf), F(np.nan)
INF_F8, NAN_F8 = D(np.inf), D(np.nan)
TINY_F4, TINY_F8 = F(2.0**-126), D(2.0**-1022)
SQRT_HALF_BITS_F4 = I(0x3F3504F3)
SQRT_HALF_BITS_F8 = J(0x3FE6A09E667F3BCD)
ONE_BITS_F4, EXPONENT_F4 = I(0x3F800000), I(-0x800000)
MANTISSA_F4, MANTISSA_F8 = I(0x7FFFFF), J(0xFFFFFFFFFFFFF)
LOW_HALF = J(-0x100000000)
HEAD_F4 = I(-0x1000)
LN2_HI_F4, LN2_LO_F4 = F(0.693359375), F(-2.12194440e-4)
LN2_HI_F8, LN2_LO_F8 = D(0.6931471803691238), D(1.9082149292705877e-10)
LN2, LOG10E = D(0.6931471805599453), D(0.4342944819032518)
LOG2E = D(1.4426950408889634)
# hi parts with 12, 12 and 14 bits: their product with a 12-bit number and with an exponent is exact
LOG2E_HI_F4, LOG2E_LO_F4 = F(1.4423828125), F(0.000312228388963387)
LOG10E_HI_F4, LOG10E_LO_F4 = F(0.4342041015625), F(9.038034075181667e-05)
LOG10_2_HI_F4, LOG10_2_LO_F4 = F(0.301025390625), F(4.6050389811980175e-06)
# hi parts with 21 and 33 bits: their product with a 21-bit number and with an exponent is exact
LOG2E_HI, LOG2E_LO = D(1.4426946640014648), D(3.768874985636099e-07)
LOG10E_HI, LOG10E_LO = D(0.4342944622039795), D(1.9699272335463627e-08)
LOG10_2_HI, LOG10_2_LO = D(0.30102999566383914), D(1.42050232272661e-13)

# (log(1 + f) - f + f^2 / 2) / f^3
LOG_F4 = f4(0.3333333, -0.25000823, 0.20001246, -0.16623324, 0.14201446, -0.13160223, 0.1276322, -0.07636055)
LOG_WIDE = f8(
    0.33333333399311427, -0.25000001125465693, 0.19999989240825167, -0.16666532483446653, 0.1428618007342613,
    -0.1250571316212699, 0.1110545085242483, -0.0988937810157781, 0.09040397784548397, -0.09287136632322653,
    0.09115015278495024, -0.04821543611292404,
)
# (2 atanh(s) / s - 2) / s^2 in s^2
LOG_F8 = f8(
    0.6666666666666666, 0.4000000000000492, 0.28571428569411983, 0.22222222606908631, 0.18181778354152597,
    0.15386989149842387, 0.13252136449573834, 0.13234922190022466,
)


def log_tail_f4(f):
    """log(1 + f) - f."""
    return f * f * (f * poly7(f, LOG_F4) - F(0.5))


def log_tail_wide(f):
    """log(1 + f) - f to 2^-38 of log(1 + f)."""
    return f * f * (f * poly11(f, LOG_WIDE) - D(0.5))


def log_split_f4(x):
    """(k, f) with log(x) = k ln 2 + log(1 + f), for any positive finite x."""
    tiny = x < TINY_F4
    y = x * F(8388608) if tiny else x
    b = I(I(F(y).view(I)) - SQRT_HALF_BITS_F4)
    f = I(I(b & MANTISSA_F4) + SQRT_HALF_BITS_F4).view(F) - F(1)
    return F(I(b >> I(23))) - (F(23) if tiny else F(0)), f


def log_f4(x):
    """Natural logarithm; -inf at 0, NaN below."""
    k, f = log_split_f4(x)
    y = k * LN2_HI_F4 + (f + (log_tail_f4(f) + k * LN2_LO_F4))
    y = y if x < INF_F4 else x
    return y if x > F(0) else (-INF_F4 if x == F(0) else NAN_F4)


def log1p_f4(x):
    """log(1 + x) without cancellation near 0."""
    u = F(1) + x
    b = I(I(F(u).view(I)) - SQRT_HALF_BITS_F4)
    k = I(b >> I(23))
    f = I(I(b & MANTISSA_F4) + SQRT_HALF_BITS_F4).view(F) - F(1)
    # What 1 + x lost by rounding, times 2^-k (0 where k is large).
    s = I(ONE_BITS_F4 - I(b & EXPONENT_F4))
    f = f + (x - (u - F(1))) * I(s if s > I(0) else I(0)).view(F)
    e = F(k)
    y = e * LN2_HI_F4 + (f + (log_tail_f4(f) + e * LN2_LO_F4))
    y = y if x < INF_F4 else x
    y = y if x > F(-1) else (-INF_F4 if x == F(-1) else NAN_F4)
    return F(math.copysign(y, x))


def log_wide(x):
    """log(x) of a positive normal float64 to 2^-38: enough for a result that is rounded to float32."""
    b = D(x).view(J) - SQRT_HALF_BITS_F8
    f = J((b & MANTISSA_F8) + SQRT_HALF_BITS_F8).view(D) - D(1)
    return D(b >> J(52)) * LN2 + (f + log_tail_wide(f))


def log1p_wide(x):
    """log(1 + x) of a float64 in (-1, 2^1000) to 2^-37: enough for a result that is rounded to float32."""
    u = D(1) + x
    b = D(u).view(J) - SQRT_HALF_BITS_F8
    k = b >> J(52)
    s = pow2_f8(-k)
    f = x * s + (s - D(1))
    return D(k) * LN2 + (f + log_tail_wide(f))


def log_parts_f4(x):
    """(k, h, l) with log(x) = k ln 2 + h + l, h of 12 bits, for any positive finite x."""
    k, f = log_split_f4(x)
    q = F(0.5) * f * f
    h = I(F(f - q).view(I) & HEAD_F4).view(F)
    return k, h, ((f - h) - q) + f * f * f * poly7(f, LOG_F4)


def log2_f4(x):
    """Base-2 logarithm; -inf at 0, NaN below."""
    k, h, l = log_parts_f4(x)  # noqa: E741
    a = h * LOG2E_HI_F4  # exact
    w = k + a
    y = w + (((k - w) + a) + ((l + h) * LOG2E_LO_F4 + l * LOG2E_HI_F4))
    y = y if x < INF_F4 else x
    return y if x > F(0) else (-INF_F4 if x == F(0) else NAN_F4)


def log10_f4(x):
    """Base-10 logarithm; -inf at 0, NaN below."""
    k, h, l = log_parts_f4(x)  # noqa: E741
    a = h * LOG10E_HI_F4  # exact
    b = k * LOG10_2_HI_F4  # exact
    w = b + a
    y = w + (((b - w) + a) + (k * LOG10_2_LO_F4 + ((l + h) * LOG10E_LO_F4 + l * LOG10E_HI_F4)))
    y = y if x < INF_F4 else x
    return y if x > F(0) else (-INF_F4 if x == F(0) else NAN_F4)


def log_split_f8(x):
    """(k, f, t) with log(x) = k ln 2 + f - t, for any positive finite x."""
    tiny = x < TINY_F8
    y = x * D(2.0**54) if tiny else x
    b = D(y).view(J) - SQRT_HALF_BITS_F8
    f = J((b & MANTISSA_F8) + SQRT_HALF_BITS_F8).view(D) - D(1)
    k = D(b >> J(52)) - (D(54) if tiny else D(0))
    return k, f


def log_rest_f8(f):
    """(h, r) with log(1 + f) = f - (h - r), h = f^2 / 2."""
    s = f / (D(2) + f)
    z = s * s
    h = D(0.5) * f * f
    return h, s * (h + z * poly7(z, LOG_F8))


def log_f8(x):
    """Natural logarithm; -inf at 0, NaN below."""
    k, f = log_split_f8(x)
    h, r = log_rest_f8(f)
    y = k * LN2_HI_F8 - ((h - (r + k * LN2_LO_F8)) - f)
    y = y if x < INF_F8 else x
    return y if x > D(0) else (-INF_F8 if x == D(0) else NAN_F8)


def log1p_f8(x):
    """log(1 + x) without cancellation near 0."""
    u = D(1) + x
    b = D(u).view(J) - SQRT_HALF_BITS_F8
    k = b >> J(52)
    s = pow2_f8(-k if k < J(3) else J(-3))
    m = J((b & MANTISSA_F8) + SQRT_HALF_BITS_F8).view(D)
    f = x * s + (s - D(1)) if k < J(3) else m - D(1)
    h, r = log_rest_f8(f)
    e = D(k)
    y = e * LN2_HI_F8 - ((h - (r + e * LN2_LO_F8)) - f)
    y = y if x < INF_F8 else x
    y = y if x > D(-1) else (-INF_F8 if x == D(-1) else NAN_F8)
    return x if abs(x) < D(1e-18) else y


def log2_f8(x):
    """Base-2 logarithm; -inf at 0, NaN below."""
    k, f = log_split_f8(x)
    h, r = log_rest_f8(f)
    hi = J(D(f - h).view(J) & LOW_HALF).view(D)
    lo = ((f - hi) - h) + r
    a = hi * LOG2E_HI
    w = k + a
    y = w + ((k - w) + a + ((lo + hi) * LOG2E_LO + lo * LOG2E_HI))
    y = y if x < INF_F8 else x
    return y if x > D(0) else (-INF_F8 if x == D(0) else NAN_F8)


def log10_f8(x):
    """Base-10 logarithm; -inf at 0, NaN below."""
    k, f = log_split_f8(x)
    h, r = log_rest_f8(f)
    hi = J(D(f - h).view(J) & LOW_HALF).view(D)
    lo = ((f - hi) - h) + r
    a = hi * LOG10E_HI
    b = k * LOG10_2_HI
    w = b + a
    y = w + ((b - w) + a + (k * LOG10_2_LO + (lo + hi) * LOG10E_LO + lo * LOG10E_HI))
    y = y if x < INF_F8 else x
    return y if x > D(0) else (-INF_F8 if x == D(0) else NAN_F8)
