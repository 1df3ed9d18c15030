"""What activation functions are made of: the normal distribution function, the slope of gelu, softplus.

In float32 the first two are one polynomial in x^2 each, of x (or x and its density) over a range beyond which they are 0
or 1: half the cost of an error function and an exponential. Their error is absolute, 1.7e-7 and 3e-7: next to the 1 that
they saturate at, a relative error below would not be seen in the sum of a layer.
"""
import math

import numpy as np

from .exponential import exp_f4, exp_f8
from .logarithm import log1p_f8
from .poly import f4, poly9
from .special import erfc_f8

F, D = np.float32, np.float64

# (Phi(x) - 1/2) / x for |x| <= 5.25, in x^2 * 2 / 5.25^2 - 1
CDF_END, CDF_SCALE = F(5.25), F(2 / 5.25**2)
CDF_F4 = f4(
    0.13465936, -0.067126654, 0.049643762, -0.03976838, 0.032066256, -0.024997897, 0.018315509, -0.01294051,
    0.009094836, -0.0051501743, 0.0018435701, -0.0012958192, 0.0014667374, -0.0005725332,
)
# (Phi(x) - 1/2) / x + phi(x) for |x| <= 6, in x^2 * 2 / 6^2 - 1
SLOPE_END, SLOPE_SCALE = F(6), F(2 / 6**2)
SLOPE_F4 = f4(
    0.11789778, -0.059342667, 0.04605532, -0.042373, 0.044623177, -0.050822508, 0.057962254, -0.06508362, 0.07081929,
    -0.06299569, 0.04249497, -0.041893143, 0.052555725, -0.026629087, -0.0057309056, -0.0021891017, 0.013931228,
    -0.005946684,
)
# log(1 + e) / e for 0 <= e <= 1
LOG1P_F4 = f4(
    1, -0.49999902, 0.33329964, -0.24954134, 0.19675939, -0.1530559, 0.106036514, -0.05695950, 0.019851444, -0.003244021,
)
SQRT_HALF, DENSITY = D(math.sqrt(0.5)), D(1 / math.sqrt(2 * math.pi))


def poly13(x, c):
    # Four sums in x^4 beside one another: one chain of so many steps takes longer than the steps themselves.
    x2 = x * x
    x4 = x2 * x2
    p, q = (c[13] * x + c[12]) * x4 + (c[9] * x + c[8]), (c[11] * x + c[10]) * x4 + (c[7] * x + c[6])
    p, q = p * x4 + (c[5] * x + c[4]), q * x4 + (c[3] * x + c[2])
    return (p * x4 + (c[1] * x + c[0])) + q * x2


def poly17(x, c):
    x2 = x * x
    x4 = x2 * x2
    p, q = (c[17] * x + c[16]) * x4 + (c[13] * x + c[12]), (c[15] * x + c[14]) * x4 + (c[11] * x + c[10])
    p, q = p * x4 + (c[9] * x + c[8]), q * x4 + (c[7] * x + c[6])
    p, q = p * x4 + (c[5] * x + c[4]), q * x4 + (c[3] * x + c[2])
    return (p * x4 + (c[1] * x + c[0])) + q * x2


def normal_cdf_f4(x):
    """Normal distribution function, with an absolute error."""
    y = F(0.5) + x * poly13(x * x * CDF_SCALE - F(1), CDF_F4)
    y = F(1) if x >= CDF_END else y
    return F(0) if x <= -CDF_END else y


def normal_cdf_f8(x):
    """Normal distribution function; far below 0 its error is that of rounding x / sqrt(2), some x^2 ulps."""
    return D(0.5) * erfc_f8(x * -SQRT_HALF)


def gelu_slope_f4(x):
    """Derivative of x Phi(x)."""
    y = F(0.5) + x * poly17(x * x * SLOPE_SCALE - F(1), SLOPE_F4)
    y = F(1) if x >= SLOPE_END else y
    return F(0) if x <= -SLOPE_END else y


def gelu_slope_f8(x):
    """Derivative of x Phi(x)."""
    return normal_cdf_f8(x) + x * (exp_f8(D(-0.5) * x * x) * DENSITY)


def log1pexp_f4(x):
    """log(1 + e^x), by e^-|x|: the logarithm of a number from 1 to 2 needs no exponent."""
    e = exp_f4(-abs(x))
    return (x if x > F(0) else F(0)) + e * poly9(e, LOG1P_F4)


def log1pexp_f8(x):
    """log(1 + e^x), by e^-|x|."""
    return (x if x > D(0) else D(0)) + log1p_f8(exp_f8(-abs(x)))
