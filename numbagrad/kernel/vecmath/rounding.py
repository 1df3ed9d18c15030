"""abs, ceil, copysign, floor, fmod, remainder, round and trunc.

Rounding goes by adding and taking away 2^23 or 2^52, which works alike on every device.
"""
import math

import numpy as np

F, D = np.float32, np.float64

WHOLE_F4, WHOLE_F8 = F(2.0**23), D(2.0**52)  # from here on every number is whole


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
