"""sin, cos and tan for every finite argument.

The argument is multiplied by 2/pi modulo 4 (of the whole quarter turns only the last two bits count), with those digits
of 2/pi that its exponent asks for, chosen without a branch.
"""
import numpy as np

from .poly import f4, f8, poly2, poly3, poly5, poly6, poly7
from .rounding import HIGH_26, round_f8, two_sum

F, D, I, J = np.float32, np.float64, np.int32, np.int64  # noqa: E741
U = np.uint64

INF_F8, NAN_F8 = D(np.inf), D(np.nan)
PI_2, PI_2_LO = D(1.5707963267948966), D(6.123233995736766e-17)
PI_2_A, PI_2_B = D(1.5707963109016418), D(1.5893254712295857e-08)  # PI_2 in two parts of at most 27 bits
ROUND = D(6755399441055744.0)  # adding it rounds to an integer, which then stands in the low bits
# For small arguments: pi/2 in parts of 11 or 33 bits, whose products with a count of quarter turns are exact.
TWO_OVER_PI_F4, TWO_OVER_PI_F8 = F(0.63661975), D(0.6366197723675814)
ROUND_F4 = F(12582912.0)
PI_2_F4 = f4(1.5703125, 0.0004837512969970703, 7.549533620476723e-08, 2.563344e-12)
PI_2_F8 = f8(1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)

# (sin(x) / x - 1) / x^2, (cos(x) - 1 + x^2 / 2) / x^4, (tan(x) / x - 1) / x^2 on |x| <= pi / 4, in x^2
SIN_F4 = f4(-0.16666667, 0.008333379, -0.00019853072, 2.8327174e-06)
COS_F4 = f4(0.041666646, -0.0013887311, 2.4432566e-05)
TAN_WIDE = f8(
    0.3333333185281549, 0.1333341014799341, 0.05395470440025071, 0.02198411352086997, 0.008333578431559902,
    0.004988107981079675, -0.000590840012387108, 0.002038990700067873,
)
SIN_F8 = f8(
    -0.16666666666666666, 0.008333333333333042, -0.00019841269840962259, 2.755731907370912e-06,
    -2.5052070802649368e-08, 1.6054289730652024e-10, -7.38805654724096e-13,
)
COS_F8 = f8(
    0.041666666666666595, -0.0013888888888873344, 2.4801587289003817e-05, -2.7557314217535243e-07,
    2.087570545577022e-09, -1.1358751785106452e-11,
)
TAN_LOW_F8 = f8(
    0.33333333333333376, 0.13333333333326106, 0.053968253972517755, 0.021869488409375453, 0.008863237764861226,
    0.0035921024884041555, 0.0014560343221420849,
)
TAN_HIGH_F8 = f8(
    0.0005889198289125389, 0.000243556472070823, 8.405177576109456e-05, 6.633177527233122e-05,
    -2.4515442710843592e-05, 4.77074497482793e-05, -2.381611584648449e-05, 9.697547850453068e-06,
)


def _two_over_pi(bits):
    """floor(2^bits * 2 / pi), by Machin's formula in integers."""
    one = 1 << (bits + 32)

    def arccot(n):
        term = one // n
        total, sign, k = term, -1, 3
        while term:
            term //= n * n
            total += sign * (term // k)
            sign, k = -sign, k + 2
        return total

    pi = 4 * (4 * arccot(5) - arccot(239))
    return (one << (bits + 1)) // pi


def _words_f4():
    """Three words (a, b, c) of 2/pi, of 29, 29 and 53 bits, for |x| below 2^51, 2^77, 2^103 and 2^128.

    A float32 from 2^51 on is a multiple of 2^28, so the bits of 2/pi from 2^-26 up make whole turns; and so forth. The
    products x * a and x * b are exact.
    """
    digits, words = _two_over_pi(300), []
    for start in (0, 26, 52, 78):
        rest = digits & ((1 << 300 - start) - 1)
        high, low = rest >> 271 - start << 271 - start, rest >> 242 - start << 242 - start
        words += [high * 2.0**-300, (low - high) * 2.0**-300, (rest - low) * 2.0**-300]
    return f8(*words)


def _digits_f8():
    """The 24-bit digits of 2/pi, the j-th worth d_j 2^(-24 (j + 1)), all times 2^600 to stay in range."""
    count = 49
    digits = _two_over_pi(24 * count)
    return np.array([(digits >> 24 * (count - 1 - j) & 0xFFFFFF) * 2.0 ** (600 - 24 * (j + 1)) for j in range(count)])


A0, B0, C0, A1, B1, C1, A2, B2, C2, A3, B3, C3 = _words_f4()
DIGITS_F8 = _digits_f8()


def quarter_turns_f4(x):
    """(q, r): x = q pi/2 + r with |r| <= pi/4; q modulo 2^31."""
    m = abs(x)
    a = A0 if m < F(2.0**51) else (A1 if m < F(2.0**77) else (A2 if m < F(2.0**103) else A3))
    b = B0 if m < F(2.0**51) else (B1 if m < F(2.0**77) else (B2 if m < F(2.0**103) else B3))
    c = C0 if m < F(2.0**51) else (C1 if m < F(2.0**77) else (C2 if m < F(2.0**103) else C3))
    y = D(x)
    a, b = y * a, y * b
    # Two roundings: a + b may have more than 53 bits.
    t = a + ROUND
    a = (a - (t - ROUND)) + b
    u = a + ROUND
    f = (a - (u - ROUND)) + y * c
    return I(D(t).view(J) + D(u).view(J)), f * PI_2


def sin_turned_f4(r, q):
    """sin(r + q pi/2)."""
    z = r * r
    s = r + r * z * poly3(z, SIN_F4)
    c = (F(1) - F(0.5) * z) + z * z * poly2(z, COS_F4)
    y = c if (q & I(1)) != I(0) else s
    return -y if (q & I(2)) != I(0) else y


def sin_f4(x):
    """Sine; NaN at infinity."""
    q, r = quarter_turns_f4(x)
    y = sin_turned_f4(F(r), q)
    return x if abs(x) < F(2.0**-12) else y


def cos_f4(x):
    """Cosine; NaN at infinity."""
    q, r = quarter_turns_f4(x)
    return sin_turned_f4(F(r), I(q + I(1)))


def tan_f4(x):
    """Tangent; NaN at infinity."""
    q, r = quarter_turns_f4(x)
    return x if abs(x) < F(2.0**-12) else tan_turned_f4(r, q)


def modulo_4(x):
    return x - D(4) * round_f8(D(0.25) * x)


def quarter_turns_f8(x):
    """(q, r, l): x = q pi/2 + r + l with |r| <= pi/4 and l below r's last place; |x| >= 2^-200."""
    e = ((D(x).view(J) >> J(52)) & J(2047)) - J(1077)
    # The digits before j are worth whole turns: multiples of 4 quarter turns for a multiple of x's last place.
    j = U(((e if e > J(0) else J(0)) * J(2731)) >> J(16))
    y = x * D(2.0**-600)
    h = J(D(y).view(J) & HIGH_26).view(D)
    g = y - h
    d0, d1, d2, d3 = DIGITS_F8[j], DIGITS_F8[j + U(1)], DIGITS_F8[j + U(2)], DIGITS_F8[j + U(3)]
    d4, d5, d6, d7 = DIGITS_F8[j + U(4)], DIGITS_F8[j + U(5)], DIGITS_F8[j + U(6)], DIGITS_F8[j + U(7)]
    # Products of 26 or 27 bits with 24 are exact, and so is their remainder modulo 4.
    a0, a1, a2 = modulo_4(h * d0), modulo_4(g * d0), modulo_4(h * d1)
    b1, b2 = modulo_4(g * d1), modulo_4(h * d2)
    c1, c2 = g * d2, h * d3
    t = (((a0 + a2) + a1) + ((b1 + b2) + (c1 + c2))) + ROUND
    s, e0 = two_sum(a0 - (t - ROUND), a2)
    s, e1 = two_sum(s, a1)
    s, e2 = two_sum(s, b2)
    s, e3 = two_sum(s, b1)
    s, e4 = two_sum(s, c2)
    s, e5 = two_sum(s, c1)
    s, e6 = two_sum(s, h * d4)
    s, e7 = two_sum(s, g * d3)
    e = ((e0 + e1) + (e2 + e3)) + ((e4 + e5) + (e6 + e7))
    f, e5 = two_sum(s, e + (h * d5 + (g * d4 + (g * d5 + y * d6 + y * d7))))
    r = f * PI_2
    fh = J(D(f).view(J) & HIGH_26).view(D)
    fl = f - fh
    l = (((fh * PI_2_A - r) + fh * PI_2_B) + fl * PI_2_A) + fl * PI_2_B  # noqa: E741
    return D(t).view(J), r, l + (f * PI_2_LO + e5 * PI_2)


def sin_turned_f8(r, l, q):  # noqa: E741
    """sin(r + l + q pi/2)."""
    z = r * r
    s = r + (r * z * poly6(z, SIN_F8) + l * (D(1) - D(0.5) * z))
    h = D(0.5) * z
    w = D(1) - h
    c = w + (((D(1) - w) - h) + (z * z * poly5(z, COS_F8) - r * l))
    y = c if (q & J(1)) != J(0) else s
    return -y if (q & J(2)) != J(0) else y


def sin_f8(x):
    """Sine; NaN at infinity."""
    q, r, l = quarter_turns_f8(x)  # noqa: E741
    y = sin_turned_f8(r, l, q)
    y = x if abs(x) < D(2.0**-27) else y
    return y if abs(x) < INF_F8 else NAN_F8


def cos_f8(x):
    """Cosine; NaN at infinity."""
    q, r, l = quarter_turns_f8(x)  # noqa: E741
    y = sin_turned_f8(r, l, q + J(1))
    y = D(1) if abs(x) < D(2.0**-27) else y
    return y if abs(x) < INF_F8 else NAN_F8


def tan_turned_f8(r, l, q):  # noqa: E741
    """tan(r + l + q pi/2)."""
    z = r * r
    w = z * z
    w = w * w
    p = poly6(z, TAN_LOW_F8) + w * (z * z * z) * poly7(z, TAN_HIGH_F8)
    c = r * z * p + l * (D(1) + z)
    t = r + c
    y = D(-1) / t
    # One Newton step with the part of r + c that t lost.
    th = J(D(t).view(J) & HIGH_26).view(D)
    yh = J(D(y).view(J) & HIGH_26).view(D)
    tl = c - (th - r)
    return yh + y * (D(1) + yh * th + yh * tl) if (q & J(1)) != J(0) else t


def tan_turned_f4(r, q):
    """tan(r + q pi/2) of a float64 r."""
    z = r * r
    t = F(r + r * z * poly7(z, TAN_WIDE))
    odd = (q & I(1)) != I(0)
    return (F(-1) if odd else t) / (t if odd else F(1))


def tan_f8(x):
    """Tangent; NaN at infinity."""
    q, r, l = quarter_turns_f8(x)  # noqa: E741
    y = tan_turned_f8(r, l, q)
    y = x if abs(x) < D(2.0**-27) else y
    return y if abs(x) < INF_F8 else NAN_F8


def near_turn_f4(x):
    """(q, r) as `quarter_turns_f4`, for |x| <= 2^13, in float32 alone."""
    t = x * TWO_OVER_PI_F4 + ROUND_F4
    k = t - ROUND_F4
    # The first three products are exact without a fused multiply-add, the first two differences too.
    y = (x - k * PI_2_F4[0]) - k * PI_2_F4[1]
    r = y - k * PI_2_F4[2]
    return I(F(t).view(I)), r + (((y - r) - k * PI_2_F4[2]) - k * PI_2_F4[3])


def near_turn_f8(x):
    """(q, r, l) as `quarter_turns_f8`, for |x| <= 2^20."""
    t = x * TWO_OVER_PI_F8 + ROUND
    k = t - ROUND
    s, d = two_sum(x - k * PI_2_F8[0], -(k * PI_2_F8[1]))
    s, e = two_sum(s, -(k * PI_2_F8[2]))
    e = (d + e) - k * PI_2_F8[3]
    r = s + e
    return D(t).view(J), r, (s - r) + e


def sin_near_f4(x):
    """Sine for |x| <= 2^13."""
    q, r = near_turn_f4(x)
    y = sin_turned_f4(r, q)
    return x if abs(x) < F(2.0**-12) else y


def cos_near_f4(x):
    """Cosine for |x| <= 2^13."""
    q, r = near_turn_f4(x)
    return sin_turned_f4(r, I(q + I(1)))


def sin_near_f8(x):
    """Sine for |x| <= 2^20."""
    q, r, l = near_turn_f8(x)  # noqa: E741
    y = sin_turned_f8(r, l, q)
    return x if abs(x) < D(2.0**-27) else y


def cos_near_f8(x):
    """Cosine for |x| <= 2^20."""
    q, r, l = near_turn_f8(x)  # noqa: E741
    return sin_turned_f8(r, l, q + J(1))


def tan_near_f4(x):
    """Tangent for |x| <= 2^13."""
    y = D(x)
    t = y * TWO_OVER_PI_F8 + ROUND
    k = t - ROUND
    r = (y - k * PI_2_F8[0]) - k * PI_2_F8[1]
    return x if abs(x) < F(2.0**-12) else tan_turned_f4(r, I(D(t).view(J)))


def tan_near_f8(x):
    """Tangent for |x| <= 2^20."""
    q, r, l = near_turn_f8(x)  # noqa: E741
    return x if abs(x) < D(2.0**-27) else tan_turned_f8(r, l, q)
