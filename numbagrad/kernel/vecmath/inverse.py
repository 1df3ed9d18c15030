"""asin, acos, atan and atan2: odd polynomials, after a half-angle step for asin and acos and a reciprocal for atan."""
import math

import numpy as np

from .poly import f4, f8, poly4, poly8, poly11, poly12

F, D, I, J = np.float32, np.float64, np.int32, np.int64  # noqa: E741

NAN_F4, NAN_F8 = F(np.nan), D(np.nan)
INF_F4, INF_F8 = F(np.inf), D(np.inf)
PI_HI_F4, PI_LO_F4 = F(3.1415927410125732), F(-8.742278000372485e-08)
PI_HI_F8, PI_LO_F8 = D(3.141592653589793), D(1.2246467991473532e-16)
TAN_PI_8, TAN_3PI_8 = D(0.41421356237309503), D(2.414213562373095)

# (asin(x) / x - 1) / x^2 on |x| <= 1/2, (atan(x) / x - 1) / x^2 on |x| <= 1 (float32), tan(pi / 8) (float64), in x^2
ASIN_F4 = f4(0.16666752, 0.074953124, 0.04546863, 0.024187699, 0.04215304)
ASIN_F8 = f8(
    0.1666666666666676, 0.07499999999970904, 0.0446428571745098, 0.030381942712686575, 0.02237221485094565,
    0.017351614431079042, 0.013980792086744074, 0.011399140661766166, 0.010778997251653516, 0.003711059694561807,
    0.021696344587959535, -0.02098363853456299, 0.03261914862490452,
)
ATAN_F4 = f4(
    -0.333333, 0.19998531, -0.1426405, 0.10951154, -0.08400372, 0.05790406, -0.031123871, 0.0108853625, -0.0017870372
)
ATAN_F8 = f8(
    -0.33333333333333326, 0.19999999999997117, -0.14285714285321074, 0.11111111084125055, -0.09090908002029671,
    0.0769227961139561, -0.06666181276670954, 0.058765852913793215, -0.05215646670294862, 0.0449253110799448,
    -0.03322214046994958, 0.014942859950117652,
)


def asin_f4(x):
    """Inverse sine; NaN outside [-1, 1]."""
    a = abs(x)
    far = a > F(0.5)
    z = F(0.5) * (F(1) - a) if far else a * a
    z = z if z >= F(0) else F(0)
    s = F(math.sqrt(z)) if far else a
    p = s * z * poly4(z, ASIN_F4)
    quarter = F(0.5) * PI_HI_F4
    h = quarter - F(2) * s
    # What h lost by rounding goes with the small terms.
    y = h - ((F(2) * p - F(0.5) * PI_LO_F4) - ((quarter - h) - F(2) * s)) if far else s + p
    return F(math.copysign(y, x)) if a <= F(1) else NAN_F4


def asin_f8(x):
    """Inverse sine; NaN outside [-1, 1]."""
    a = abs(x)
    far = a > D(0.5)
    z = D(0.5) * (D(1) - a) if far else a * a
    z = z if z >= D(0) else D(0)
    s = math.sqrt(z) if far else a
    p = s * z * poly12(z, ASIN_F8)
    # s is rounded: its top half and the rest of the root carry the difference from pi / 2
    h = J(D(s).view(J) & J(-0x100000000)).view(D)
    c = (z - h * h) / (s + h) if s > D(0) else D(0)
    quarter = D(0.25) * PI_HI_F8
    y = quarter - ((D(2) * p - (D(0.5) * PI_LO_F8 - D(2) * c)) - (quarter - D(2) * h)) if far else s + p
    return D(math.copysign(y, x)) if a <= D(1) else NAN_F8


def acos_f4(x):
    """Inverse cosine; NaN outside [-1, 1]."""
    a = abs(x)
    far = a > F(0.5)
    z = F(0.5) * (F(1) - a) if far else a * a
    z = z if z >= F(0) else F(0)
    s = F(math.sqrt(z)) if far else x
    p = s * z * poly4(z, ASIN_F4)
    mid = F(0.5) * PI_HI_F4 - (s - (F(0.5) * PI_LO_F4 - p))
    end = F(2) * (s + p) if x > F(0) else PI_HI_F4 - (F(2) * (s + p) - PI_LO_F4)
    return (end if far else mid) if a <= F(1) else NAN_F4


def acos_f8(x):
    """Inverse cosine; NaN outside [-1, 1]."""
    a = abs(x)
    far = a > D(0.5)
    z = D(0.5) * (D(1) - a) if far else a * a
    z = z if z >= D(0) else D(0)
    s = math.sqrt(z) if far else x
    p = s * z * poly12(z, ASIN_F8)
    h = J(D(s).view(J) & J(-0x100000000)).view(D)
    c = (z - h * h) / (s + h) if (s > D(0)) & far else D(0)
    mid = D(0.5) * PI_HI_F8 - (s - (D(0.5) * PI_LO_F8 - p))
    end = D(2) * (h + (c + p)) if x > D(0) else PI_HI_F8 - (D(2) * (s + p) - PI_LO_F8)
    return (end if far else mid) if a <= D(1) else NAN_F8


def atan_f4(x):
    """Inverse tangent."""
    a = abs(x)
    far = a > F(1)
    t = F(1) / a if far else a
    z = t * t
    p = t * z * poly8(z, ATAN_F4)
    y = F(0.5) * PI_HI_F4 - ((t - F(0.5) * PI_LO_F4) + p) if far else t + p
    return F(math.copysign(y, x))


def atan_f8(x):
    """Inverse tangent."""
    a = abs(x)
    far = a > TAN_3PI_8
    mid = a > TAN_PI_8
    n = D(-1) if far else (a - D(1) if mid else a)
    d = a if far else (a + D(1) if mid else D(1))
    t = n / d if a < INF_F8 else (D(0) if a == INF_F8 else a)
    z = t * t
    p = t * z * poly11(z, ATAN_F8)
    c = D(0.5) if far else (D(0.25) if mid else D(0))
    y = c * PI_HI_F8 + (t + (p + c * PI_LO_F8))
    return D(math.copysign(y, x))


def atan2_f4(y, x):
    """Angle of the point (x, y), in [-pi, pi]."""
    a, b = abs(x), abs(y)
    steep = b > a
    n, d = (a, b) if steep else (b, a)
    # Both 0 or both infinite: the angle of (1, 0) or (1, 1).
    t = n / d if (n != d) | (n == F(0)) else F(1)
    t = F(0) if d == F(0) else t
    z = t * t
    p = t * z * poly8(z, ATAN_F4)
    r = F(0.5) * PI_HI_F4 - ((t - F(0.5) * PI_LO_F4) + p) if steep else t + p
    r = PI_HI_F4 - (r - PI_LO_F4) if math.copysign(F(1), x) < F(0) else r
    r = F(math.copysign(r, y))
    return r if (x == x) & (y == y) else NAN_F4


def atan2_f8(y, x):
    """Angle of the point (x, y), in [-pi, pi]."""
    a, b = abs(x), abs(y)
    # Both infinite: the angle of (1, 1).
    both = (a == INF_F8) & (b == INF_F8)
    a, b = (D(1) if both else a), (D(1) if both else b)
    steep = b > a
    n, d = (a, b) if steep else (b, a)
    scale = D(0.5) if d > D(2.0**1000) else D(1)
    n, d = scale * n, scale * d
    mid = n > TAN_PI_8 * d
    u = (n - d if mid else n) / (n + d if mid else d)
    u = D(0) if d == D(0) else u
    z = u * u
    p = u * z * poly11(z, ATAN_F8)
    c = D(0.25) if mid else D(0)
    # The octant's angle c pi + u + p, mirrored at pi / 4 and pi / 2: signs first, one rounded sum at the end.
    sign = D(-1) if steep else D(1)
    c = D(0.5) - c if steep else c
    left = math.copysign(D(1), x) < D(0)
    sign = -sign if left else sign
    c = D(1) - c if left else c
    r = c * PI_HI_F8 + (sign * u + (sign * p + c * PI_LO_F8))
    r = D(math.copysign(r, y))
    return r if (x == x) & (y == y) else NAN_F8
