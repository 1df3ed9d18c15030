"""Scalar functions with loops, for generated kernels where no straight-line form exists: slower, but right everywhere.

Their source is what kernels get; ``T`` in it is the compute type of the kernel. They work in float64 whatever ``T`` is.
"""

from __future__ import annotations

import math

import numpy as np

from .placeholders import T


def gcd(a, b):
    a, b = np.uint64(abs(a)), np.uint64(abs(b))  # without signs a remainder is one instruction
    while b != 0:
        a, b = b, np.uint64(a % b)
    return T(a)


def lcm(a, b):
    a, b = np.uint64(abs(a)), np.uint64(abs(b))
    c, d = a, b
    while d != 0:
        c, d = d, np.uint64(c % d)
    return T(abs(T(np.uint64(a // c) * b))) if c != 0 else T(0)


def polygamma(n, x):
    # (-1)^(n+1) n! zeta(n + 1, x): terms up to a large argument, then Euler and Maclaurin; n = 1 reflects below 1/2.
    k, y, sign, add = np.float64(n), np.float64(x), 1.0, 0.0
    s = k + 1.0
    if k == 1.0 and y == -np.inf:
        return T(np.nan)
    if y <= 0.0 and y == math.floor(y):
        return T(np.inf if k % 2.0 == 1.0 else -np.inf)
    if k == 1.0 and y < 0.5:
        add = (math.pi / math.sin(math.pi * (y - np.rint(y)))) ** 2
        y, sign = 1.0 - y, -1.0
    if not y > -1e5:
        return T(np.nan)
    if y > 1e300:
        return T(0.0) if k % 2.0 == 1.0 else T(-0.0)
    total, limit = 0.0, 15.0 + s
    # n! overflows at 171: terms are then relative to the first one, and multiplied by n! as logarithms.
    unit, factor = 1.0, math.gamma(s)
    if s > 170.0 and y > 0.0:
        unit, factor = y, math.exp(math.lgamma(s) - s * math.log(y))
    while y < limit:
        term = (y / unit) ** -s
        total += term
        y += 1.0
        if y > 2.0 and not term > abs(total) * 1e-19:  # high orders: what follows does not count, nor after NaN
            value = sign * total * factor + add
            return T(value if k % 2.0 == 1.0 else -value)
    p, r = (y / unit) ** -s, 1.0 / (y * y)
    total += p * y / k + 0.5 * p
    # B_2j / (2j)! times s (s + 1) ... (s + 2j - 2) y^(-s - 2j + 1)
    c = s * p / y
    total += c / 12.0
    c *= (s + 1.0) * (s + 2.0) * r
    total -= c / 720.0
    c *= (s + 3.0) * (s + 4.0) * r
    total += c / 30240.0
    c *= (s + 5.0) * (s + 6.0) * r
    total -= c / 1209600.0
    c *= (s + 7.0) * (s + 8.0) * r
    total += c / 47900160.0
    c *= (s + 9.0) * (s + 10.0) * r
    total -= c * 5.284190138687491e-10
    c *= (s + 11.0) * (s + 12.0) * r
    total += c * 1.3382536530684685e-11
    value = sign * total * factor + add
    return T(value if k % 2.0 == 1.0 else -value)


FUNCTIONS = {f.__name__: f for f in (gcd, lcm, polygamma)}
