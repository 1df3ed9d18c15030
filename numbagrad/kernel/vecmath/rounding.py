"""abs, ceil, copysign, floor, floor_divide, fmod, remainder, round and trunc.

Rounding goes by adding and taking away 2^23 or 2^52, which works alike on every device; processors that have it take one
instruction instead (``vecmath.ROUNDING``).
"""
import math

import numpy as np

F, D, J = np.float32, np.float64, np.int64

HIGH_26 = J(-0x8000000)  # without its last 27 bits a float64 has an exact product with one of 27 bits
WHOLE_F4, WHOLE_F8 = F(2.0**23), D(2.0**52)  # from here on every number is whole


def two_sum(a, b):
    """(s, e): s = a + b rounded, e its exact error."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def abs_f4(x):
    """|x|."""
    return abs(x)


def copysign_f4(x, y):
    """|x| with the sign of y."""
    return F(math.copysign(x, y))


def round_f4(x):
    """The nearest integer, the even one of two."""
    a = abs(x)
    r = F(math.copysign((a + WHOLE_F4) - WHOLE_F4, x))
    return r if a < WHOLE_F4 else x


def floor_f4(x):
    """The largest integer not above x."""
    r = round_f4(x)
    return r - F(1) if r > x else r


def ceil_f4(x):
    """The smallest integer not below x."""
    return -floor_f4(-x)


def trunc_f4(x):
    """x without its fraction."""
    return F(math.copysign(floor_f4(abs(x)), x))


def fmod_f4(x, y):
    """x - y trunc(x / y), exact; the sign of x. NaN for y = 0 or infinite x."""
    bad = (y == F(0)) | (abs(x) == F(np.inf))
    r = F(math.copysign(abs(F(1) if bad else x) % abs(F(1) if bad else y), x))
    r = x if (abs(y) == F(np.inf)) & (not bad) else r
    return F(np.nan) if bad else r


def remainder_f4(x, y):
    """fmod brought to the sign of y."""
    r = fmod_f4(x, y)
    return r + y if (r != F(0)) & ((r < F(0)) != (y < F(0))) else r


def abs_f8(x):
    """|x|."""
    return abs(x)


def copysign_f8(x, y):
    """|x| with the sign of y."""
    return D(math.copysign(x, y))


def round_f8(x):
    """The nearest integer, the even one of two."""
    a = abs(x)
    r = D(math.copysign((a + WHOLE_F8) - WHOLE_F8, x))
    return r if a < WHOLE_F8 else x


def floor_f8(x):
    """The largest integer not above x."""
    r = round_f8(x)
    return r - D(1) if r > x else r


def ceil_f8(x):
    """The smallest integer not below x."""
    return -floor_f8(-x)


def trunc_f8(x):
    """x without its fraction."""
    return D(math.copysign(floor_f8(abs(x)), x))


def fmod_f8(x, y):
    """x - y trunc(x / y), exact; the sign of x. NaN for y = 0 or infinite x."""
    bad = (y == D(0)) | (abs(x) == D(np.inf))
    r = D(math.copysign(abs(D(1) if bad else x) % abs(D(1) if bad else y), x))
    r = x if (abs(y) == D(np.inf)) & (not bad) else r
    return D(np.nan) if bad else r


def remainder_f8(x, y):
    """fmod brought to the sign of y."""
    r = fmod_f8(x, y)
    return r + y if (r != D(0)) & ((r < D(0)) != (y < D(0))) else r

def floor_divide_f4(x, y):
    """x / y rounded towards minus infinity, as Python does."""
    return F(x // y)


def fmod_near_f4(x, y):
    """fmod for 0 <= |x / y| <= 2^22, without a loop: the quotient is off by one at most, all else is exact."""
    a, b = D(abs(x)), D(abs(y))
    q = D(floor_f4(abs(x) / abs(y)))
    r = a - q * b
    r = r + b if r < D(0) else r
    r = r - b if r >= b else r
    return F(math.copysign(a if b == D(np.inf) else r, x))


def remainder_near_f4(x, y):
    """fmod_near brought to the sign of y."""
    r = fmod_near_f4(x, y)
    return r + y if (r != F(0)) & ((r < F(0)) != (y < F(0))) else r


def floor_divide_near_f4(x, y):
    """floor_divide for 0 <= |x / y| <= 2^22."""
    r = fmod_near_f4(x, y)
    q = (x - r) / y
    q = q - F(1) if (r != F(0)) & ((r < F(0)) != (y < F(0))) else q
    n = floor_f4(q)
    n = n + F(1) if q - n > F(0.5) else n
    return F(math.copysign(F(0), x / y)) if q == F(0) else n


def floor_divide_f8(x, y):
    """x / y rounded towards minus infinity, as Python does."""
    return D(x // y)


def fmod_near_f8(x, y):
    """fmod for 0 <= |x / y| <= 2^24, without a loop: the quotient is off by one at most, all else is exact."""
    a, b = D(abs(x)), D(abs(y))
    q = D(floor_f8(abs(x) / abs(y)))
    h = J(D(b).view(J) & HIGH_26).view(D)
    s, d = two_sum(a, -(q * h))
    s, e = two_sum(s, -(q * (b - h)))
    r = s + (d + e)
    r = r + b if r < D(0) else r
    r = r - b if r >= b else r
    return D(math.copysign(a if b == D(np.inf) else r, x))


def remainder_near_f8(x, y):
    """fmod_near brought to the sign of y."""
    r = fmod_near_f8(x, y)
    return r + y if (r != D(0)) & ((r < D(0)) != (y < D(0))) else r


def floor_divide_near_f8(x, y):
    """floor_divide for 0 <= |x / y| <= 2^24."""
    r = fmod_near_f8(x, y)
    q = (x - r) / y
    q = q - D(1) if (r != D(0)) & ((r < D(0)) != (y < D(0))) else q
    n = floor_f8(q)
    n = n + D(1) if q - n > D(0.5) else n
    return D(math.copysign(D(0), x / y)) if q == D(0) else n
