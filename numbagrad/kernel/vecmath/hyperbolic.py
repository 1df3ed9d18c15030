"""tanh, sinh, cosh and their inverses: odd polynomials near 0, exp and log1p elsewhere."""
import math

import numpy as np

from .exponential import exp_normal_f4, exp_normal_f8, exp_scaled_f4, exp_scaled_f8
from .logarithm import log1p_f8, log1p_wide
from .poly import f4, f8, poly3, poly4, poly7, poly12

F, D, I, J = np.float32, np.float64, np.int32, np.int64  # noqa: E741

INF_F4, INF_F8 = F(np.inf), D(np.inf)
LN2 = D(0.6931471805599453)

# (tanh(x) / x - 1) / x^2 on |x| <= 0.625 and (sinh(x) / x - 1) / x^2 on |x| <= 1, in x^2
TANH_F4 = f4(-0.3333328, 0.1333141, -0.05373726, 0.02063167, -0.005697252)
TANH_F8 = f8(
    -0.3333333333333333, 0.13333333333332992, -0.05396825396803179, 0.021869488528802043, -0.008863235384954801,
    0.0035921261834409735, -0.0014558182345242173, 0.0005899286452093342, -0.00023869917066839287,
    9.558263548747362e-05, -3.63700139220715e-05, 1.156880244090465e-05, -2.1834753157422785e-06,
)
SINH_F4 = f4(0.16666667, 0.0083333105, 0.00019842894, 2.7822293e-06)
SINH_F8 = f8(
    0.16666666666666666, 0.008333333333333573, 0.0001984126984106109, 2.755731931017313e-06, 2.5052089378933675e-08,
    1.6061345521369773e-10, 7.502707853246085e-13, 6.493860834824085e-15,
)


def tanh_f4(x):
    """Hyperbolic tangent."""
    a = abs(x)
    z = a * a
    near = a + a * z * poly4(z, TANH_F4)
    far = F(1) - F(2) / (exp_normal_f4(F(20) if a > F(10) else F(2) * a) + F(1))
    return F(math.copysign(near if a < F(0.625) else far, x))


def tanh_f8(x):
    """Hyperbolic tangent."""
    a = abs(x)
    z = a * a
    near = a + a * z * poly12(z, TANH_F8)
    far = D(1) - D(2) / (exp_normal_f8(D(40) if a > D(20) else D(2) * a) + D(1))
    return D(math.copysign(near if a < D(0.625) else far, x))


def sinh_f4(x):
    """Hyperbolic sine."""
    a = abs(x)
    z = a * a
    near = a + a * z * poly3(z, SINH_F4)
    h = exp_scaled_f4(a, I(-1))
    far = h - F(0.25) / h
    return F(math.copysign(near if a < F(1) else far, x))


def sinh_f8(x):
    """Hyperbolic sine."""
    a = abs(x)
    z = a * a
    near = a + a * z * poly7(z, SINH_F8)
    h = exp_scaled_f8(a, J(-1))
    far = h - D(0.25) / h
    return D(math.copysign(near if a < D(1) else far, x))


def cosh_f4(x):
    """Hyperbolic cosine."""
    h = exp_scaled_f4(abs(x), I(-1))
    return h + F(0.25) / h


def cosh_f8(x):
    """Hyperbolic cosine."""
    h = exp_scaled_f8(abs(x), J(-1))
    return h + D(0.25) / h


def asinh_f4(x):
    """Inverse hyperbolic sine."""
    a = D(abs(x))
    y = F(log1p_wide(a + a * a / (D(1) + math.sqrt(a * a + D(1)))))
    return F(math.copysign(y if abs(x) < INF_F4 else x, x))


def asinh_f8(x):
    """Inverse hyperbolic sine."""
    a = abs(x)
    big = a > D(2.0**28)
    b = D(1) if big else a
    y = log1p_f8(a - D(1) if big else b + b * b / (D(1) + math.sqrt(b * b + D(1)))) + (LN2 if big else D(0))
    return D(math.copysign(y, x))


def acosh_f4(x):
    """Inverse hyperbolic cosine; NaN below 1."""
    t = D(x) - D(1)
    t = t if t > D(0) else D(0)
    y = F(log1p_wide(t + math.sqrt(t * (t + D(2)))))
    y = y if x < INF_F4 else x
    return y if x >= F(1) else F(np.nan)


def acosh_f8(x):
    """Inverse hyperbolic cosine; NaN below 1."""
    t = x - D(1)
    big = t > D(2.0**28)
    b = t if (t > D(0)) & (t < D(2.0**29)) else D(0)
    y = log1p_f8(t if big else b + math.sqrt(b * (b + D(2)))) + (LN2 if big else D(0))
    return y if x >= D(1) else D(np.nan)


def atanh_f4(x):
    """Inverse hyperbolic tangent; infinite at 1 and -1, NaN beyond."""
    a = D(abs(x))
    b = a if a < D(1) else D(0)
    y = F(D(0.5) * log1p_wide(D(2) * b / (D(1) - b)))
    y = y if a < D(1) else (INF_F4 if a == D(1) else F(np.nan))
    return F(math.copysign(y, x))


def atanh_f8(x):
    """Inverse hyperbolic tangent; infinite at 1 and -1, NaN beyond."""
    a = abs(x)
    b = a if a < D(1) else D(0)
    y = D(0.5) * log1p_f8((D(2) * b) / (D(1) - b) if b >= D(0.5) else D(2) * b + D(2) * b * b / (D(1) - b))
    y = y if a < D(1) else (INF_F8 if a == D(1) else D(np.nan))
    return D(math.copysign(y, x))
