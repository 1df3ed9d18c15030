"""exp, exp2, expm1 and the logistic function.

``x = k ln 2 + r`` with ``|r| <= ln 2 / 2``; ``exp(r)`` is a polynomial, ``2^k`` is put together from its bits, in two
factors where the result may be subnormal or overflow.
"""
import numpy as np

from .poly import f4, f8, poly5, poly6, poly7, poly10, poly11

F, D, I, J = np.float32, np.float64, np.int32, np.int64  # noqa: E741

LOG2E_F4 = F(1.44269504)
LN2_HI_F4, LN2_LO_F4 = F(0.693359375), F(-2.12194440e-4)  # hi has 10 bits: k * hi is exact
LOG2E_F8 = D(1.4426950408889634)
LN2_HI_F8, LN2_LO_F8 = D(0.6931471803691238), D(1.9082149292705877e-10)  # hi has 32 bits

# Adding this rounds to an integer, which then stands in the low bits.
ROUND_F4, ROUND_BITS_F4 = F(12582912.0), I(0x4B400000)
ROUND_F8, ROUND_BITS_F8 = D(6755399441055744.0), J(0x4338000000000000)
HALF_BITS_F4, HALF_BITS_F8 = I(0x3F000000), J(0x3FE0000000000000)  # of 1/2

# exp(r) (EXP_F4) or (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2, (2^r - 1) / r on |r| <= 1/2
EXP_F4 = f4(1, 1, 0.5, 0.16666533, 0.04166722, 0.008367588, 0.0013865574)
EXPM1_F4 = f4(0.5, 0.16666666, 0.041666493, 0.008333544, 0.0013932335, 0.00019763336)
EXP_F8 = f8(
    0.5, 0.16666666666666677, 0.041666666666666644, 0.008333333333321487, 0.0013888888888903728,
    0.00019841269886413304, 2.4801587276672054e-05, 2.7557243956308462e-06, 2.755732068888109e-07,
    2.5109119737486002e-08, 2.0899038706510487e-09,
)
EXP_WIDE = f8(
    0.5000000044921465, 0.16666666409781825, 0.04166635855736782, 0.008333380226835746, 0.0013940790490127996,
    0.00019850930981300336,
)
EXP2_F4 = f4(0.6931472, 0.24022648, 0.055503596, 0.009618502, 0.0013390996, 0.00015328193)
EXP2_F8 = f8(
    0.6931471805599453, 0.2402265069591007, 0.05550410866482349, 0.009618129107629865, 0.0013333558145985395,
    0.00015403530390343208, 1.52527342288474e-05, 1.3215489536625667e-06, 1.0177901497375662e-07,
    7.053817097062427e-09, 4.4785210094557627e-10, 2.728855224360585e-11,
)
EXP2_WIDE = f8(
    0.693147180548105, 0.24022650698122544, 0.05550410935712325, 0.009618128614382765, 0.0013333454424360725,
    0.0001540382587406496, 1.530927380907801e-05, 1.3179011577266202e-06,
)

def pow2_f4(k):
    """2^k for an int32 k in [-126, 127]."""
    return I((k + I(127)) << I(23)).view(F)


def pow2_f8(k):
    """2^k for an int64 k in [-1022, 1023]."""
    return J((k + J(1023)) << J(52)).view(D)


def scale_f4(y, k):
    """y * 2^k for y near 1, rounded once, for any k a float32 can meet."""
    half = I(k >> I(1))
    return (y * pow2_f4(half)) * pow2_f4(I(k - half))


def scale_f8(y, k):
    """y * 2^k for y near 1, rounded once, for any k a float64 can meet."""
    half = k >> J(1)
    return (y * pow2_f8(half)) * pow2_f8(k - half)


def scale_once_f4(y, t, small):
    """y * 2^k for y near 1 and the k in the low bits of t, of at most 128, rounded once; ``small`` says whether k is so low
    that the result may be subnormal."""
    k = I(F(t).view(I)) + (I(64) if small else I(0))
    return y * I(I(k << I(23)) + HALF_BITS_F4).view(F) * (F(2.0**-63) if small else F(2))


def scale_once_f8(y, t, small):
    """The same of float64, for a k of at most 1024."""
    k = D(t).view(J) + (J(128) if small else J(0))
    return y * J((k << J(52)) + HALF_BITS_F8).view(D) * (D(2.0**-127) if small else D(2))


def exp_scaled_f4(x, shift):
    """exp(x) * 2^shift."""
    x = F(-105) if x < F(-105) else x
    x = F(91) if x > F(91) else x
    t = x * LOG2E_F4 + ROUND_F4
    k = t - ROUND_F4
    r = (x - k * LN2_HI_F4) - k * LN2_LO_F4
    return scale_f4(poly6(r, EXP_F4), I(I(F(t).view(I)) - ROUND_BITS_F4 + shift))


def exp_scaled_f8(x, shift):
    """exp(x) * 2^shift."""
    x = D(-750) if x < D(-750) else x
    x = D(712) if x > D(712) else x
    t = x * LOG2E_F8 + ROUND_F8
    k = t - ROUND_F8
    r = (x - k * LN2_HI_F8) - k * LN2_LO_F8
    y = D(1) + (r + r * r * poly10(r, EXP_F8))
    return scale_f8(y, D(t).view(J) - ROUND_BITS_F8 + shift)


def exp_normal_f4(x):
    """exp(x) for |x| <= 87 or NaN."""
    t = x * LOG2E_F4 + ROUND_F4
    k = t - ROUND_F4
    r = (x - k * LN2_HI_F4) - k * LN2_LO_F4
    return poly6(r, EXP_F4) * pow2_f4(I(I(F(t).view(I)) - ROUND_BITS_F4))


def exp_normal_f8(x):
    """exp(x) for |x| <= 708 or NaN."""
    t = x * LOG2E_F8 + ROUND_F8
    k = t - ROUND_F8
    r = (x - k * LN2_HI_F8) - k * LN2_LO_F8
    y = D(1) + (r + r * r * poly10(r, EXP_F8))
    return y * pow2_f8(D(t).view(J) - ROUND_BITS_F8)


def exp_wide(x):
    """exp(x) of a float64 with |x| <= 708 to 2^-31: enough for a result that is rounded to float32."""
    t = x * LOG2E_F8 + ROUND_F8
    r = x - (t - ROUND_F8) * D(0.6931471805599453)
    y = D(1) + (r + r * r * poly5(r, EXP_WIDE))
    return y * pow2_f8(D(t).view(J) - ROUND_BITS_F8)


def exp2_wide(x):
    """2^x of a float64 with |x| <= 1022 to 2^-40: enough for a result that is rounded to float32."""
    t = x + ROUND_F8
    r = x - (t - ROUND_F8)
    return (D(1) + r * poly7(r, EXP2_WIDE)) * pow2_f8(D(t).view(J) - ROUND_BITS_F8)


def exp_f4(x):
    """e^x."""
    x = F(-105) if x < F(-105) else x
    x = F(88.8) if x > F(88.8) else x
    t = x * LOG2E_F4 + ROUND_F4
    k = t - ROUND_F4
    r = (x - k * LN2_HI_F4) - k * LN2_LO_F4
    return scale_once_f4(poly6(r, EXP_F4), t, x < F(-86))


def exp_f8(x):
    """e^x."""
    x = D(-750) if x < D(-750) else x
    x = D(710) if x > D(710) else x
    t = x * LOG2E_F8 + ROUND_F8
    k = t - ROUND_F8
    r = (x - k * LN2_HI_F8) - k * LN2_LO_F8
    return scale_once_f8(D(1) + (r + r * r * poly10(r, EXP_F8)), t, x < D(-707))


def exp2_f4(x):
    """2^x."""
    x = F(-151) if x < F(-151) else x
    x = F(128) if x > F(128) else x
    t = x + ROUND_F4
    r = x - (t - ROUND_F4)
    return scale_once_f4(F(1) + r * poly5(r, EXP2_F4), t, x < F(-125))


def exp2_f8(x):
    """2^x."""
    x = D(-1076) if x < D(-1076) else x
    x = D(1024) if x > D(1024) else x
    t = x + ROUND_F8
    r = x - (t - ROUND_F8)
    return scale_once_f8(D(1) + r * poly11(r, EXP2_F8), t, x < D(-1021))


def expm1_f4(x):
    """e^x - 1 without cancellation near 0."""
    a = F(-18) if x < F(-18) else x
    a = F(89) if a > F(89) else a
    t = a * LOG2E_F4 + ROUND_F4
    k = t - ROUND_F4
    r = (a - k * LN2_HI_F4) - k * LN2_LO_F4
    p = r + r * r * poly5(r, EXPM1_F4)
    # Half of 2^k, since 2^128 is out of range.
    s = pow2_f4(I(I(F(t).view(I)) - ROUND_BITS_F4 - I(1)))
    y = F(2) * (s * p + (s - F(0.5)))
    return x if abs(x) < F(1e-9) else y


def expm1_f8(x):
    """e^x - 1 without cancellation near 0."""
    a = D(-40) if x < D(-40) else x
    a = D(710) if a > D(710) else a
    t = a * LOG2E_F8 + ROUND_F8
    k = t - ROUND_F8
    h = a - k * LN2_HI_F8
    l = k * LN2_LO_F8  # noqa: E741
    r = h - l
    p = r + (r * r * poly10(r, EXP_F8) + ((h - r) - l))
    s = pow2_f8(D(t).view(J) - ROUND_BITS_F8 - J(1))
    y = D(2) * (s * p + (s - D(0.5)))
    return x if abs(x) < D(1e-18) else y


def sigmoid_f4(x):
    """1 / (1 + e^-x), by e^-|x|, so that neither tail overflows or loses its digits.

    With w = e / (1 + e) it is 1 - w or e - e w: two roundings of a small term, where e / (1 + e) rounds three times."""
    a = -abs(x)
    a = F(-105) if a < F(-105) else a
    t = a * LOG2E_F4 + ROUND_F4
    k = t - ROUND_F4
    r = (a - k * LN2_HI_F4) - k * LN2_LO_F4
    # Pairs of terms, since the chain of dependent steps is what takes the time here.
    r2 = r * r
    q = r2 * ((EXP_F4[2] + EXP_F4[3] * r) + r2 * ((EXP_F4[4] + EXP_F4[5] * r) + r2 * EXP_F4[6])) + r
    # 2^24 e^-|x| is normal; the last scaling rounds a subnormal result.
    s = pow2_f4(I(I(F(t).view(I)) - ROUND_BITS_F4 + I(24)))
    e = q * s + s
    w = e / (e + F(16777216))
    c = F(1) if x >= F(0) else e * F(2.0**-24)
    return c - c * w


def sigmoid_f8(x):
    """1 / (1 + e^-x), by e^-|x|, so that neither tail overflows or loses its digits."""
    a = -abs(x)
    a = D(-750) if a < D(-750) else a
    t = a * LOG2E_F8 + ROUND_F8
    k = t - ROUND_F8
    r = (a - k * LN2_HI_F8) - k * LN2_LO_F8
    q = r + r * r * poly10(r, EXP_F8)
    # 2^64 e^-|x| is normal; the last scaling rounds a subnormal result.
    s = pow2_f8(D(t).view(J) - ROUND_BITS_F8 + J(64))
    e = q * s + s
    w = e / (e + D(2.0**64))
    c = D(1) if x >= D(0) else e * D(2.0**-64)
    return c - c * w
