"""Exponentially scaled modified Bessel functions: i0e and i1e.

In float32 by polynomials: up to 8 in x / 4 - 1, from there on, times the square root of x, in 16 / x - 1.
"""
import math

import numpy as np

from .poly import f8, poly7, poly11

F, D = np.float32, np.float64

I0_NEAR_LOW = f8(
    0.20700192113010857, -0.11300432653445609, 0.09451564719798702, -0.08904346700054298, 0.08734280515487007,
    -0.08496283115339737, 0.0792829727721399, -0.0695465912494123, 0.05672728830188167, -0.042956915743848974,
    0.030360637139794717, -0.019776206071507256,
)
I0_NEAR_HIGH = f8(
    0.01155406559808401, -0.006604619497155474, 0.004169273658126491, -0.002047345079767122, 0.00041265146039947195,
    -0.00020575934590192718, 0.0003486284152415698, -0.00013604737781950743,
)
I0_FAR = f8(
    0.4021765094192122, 0.003360552241721043, 0.00013621716424322397, 1.113981565861345e-05, 1.4761157343412484e-06,
    3.0733229173158885e-07, 1.0867942482266837e-07, 3.161985528463981e-08,
)
I1_NEAR_LOW = f8(
    0.044687709864187575, -0.0611243392551985, 0.06805760218087063, -0.06848253319811619, 0.06376732927373735,
    -0.055281312761999025, 0.044675517297251575, -0.033661282866740416, 0.02367994377156157, -0.015614300990375514,
    0.009606306452167214, -0.005427421324892723,
)
I1_NEAR_HIGH = f8(
    0.0029560039669504078, -0.0016985943146705425, 0.0008124034742045471, -0.0002026265888141342,
    9.356820085807386e-05, -0.00012368279972890735, 4.752133693835991e-05, 0.0,
)
I1_FAR = f8(
    0.3893984590596593, -0.009749577457556757, -0.00021923712538189863, -1.5035268029521159e-05,
    -1.8256907317698838e-06, -3.584298887257214e-07, -1.2273217235085558e-07, -3.5774358158058136e-08,
)


def poly19(x, low, high):
    x3 = x * x * x
    x6 = x3 * x3
    return poly11(x, low) + x6 * x6 * poly7(x, high)


def i0e_f4(x):
    """exp(-|x|) I0(x)."""
    a = D(abs(x))
    b = a if a > D(8) else D(8)
    near = poly19(D(0.25) * a - D(1), I0_NEAR_LOW, I0_NEAR_HIGH)
    far = poly7(D(16) / b - D(1), I0_FAR) / math.sqrt(b)
    return F(near if a <= D(8) else far) if a == a else x


def i1e_f4(x):
    """exp(-|x|) I1(x)."""
    a = D(abs(x))
    b = a if a > D(8) else D(8)
    near = a * poly19(D(0.25) * a - D(1), I1_NEAR_LOW, I1_NEAR_HIGH)
    far = poly7(D(16) / b - D(1), I1_FAR) / math.sqrt(b)
    return F(math.copysign(near if a <= D(8) else far, D(x))) if a == a else x


def i0e_f8(x):
    """exp(-|x|) I0(x)."""
    a = abs(D(x))
    if a == np.inf:
        return D(0.0)
    term, total, k = 1.0, 1.0, 1.0
    if a > 30.0:
        while k < 25.0:
            term *= (2.0 * k - 1.0) ** 2 / (8.0 * a * k)
            total += term
            k += 1.0
        return D(total / (math.sqrt(2.0 * math.pi) * math.sqrt(a)))
    q = 0.25 * a * a
    while term > 1e-17 * total:
        term *= q / (k * k)
        total += term
        k += 1.0
    return D(total * math.exp(-a))


def i1e_f8(x):
    """exp(-|x|) I1(x)."""
    a = abs(D(x))
    if a == np.inf:
        return D(math.copysign(0.0, x))
    term, total, k = 1.0, 1.0, 1.0
    if a > 30.0:
        while k < 25.0:
            term *= ((2.0 * k - 1.0) ** 2 - 4.0) / (8.0 * a * k)
            total += term
            k += 1.0
        y = total / (math.sqrt(2.0 * math.pi) * math.sqrt(a))
        return D(y if x > 0 else -y)
    q = 0.25 * a * a
    while term > 1e-17 * total:
        term *= q / (k * (k + 1.0))
        total += term
        k += 1.0
    return D(total * 0.5 * D(x) * math.exp(-a))
