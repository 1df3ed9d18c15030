"""Compiled loops that draw gamma, Poisson and binomial numbers from the stream of ``mt19937_kernels``.

The algorithms are those that PyTorch names: G. Marsaglia, W. W. Tsang, "A simple method for generating gamma variables"
(2000); W. Hoermann, "The transformed rejection method for generating Poisson random variables" (1993) and "The generation of
binomial random variates" (1993). How many draws a number takes depends on the draws, so they are made one by one. Where
PyTorch computes in the tensor's dtype, ``single`` says that this is float32: numbers are rounded there as there.
"""

from __future__ import annotations

import math

import numpy as np

from .mt19937_kernels import (
    _EPS53,
    _LEFT,
    _MASK53,
    _NEXT,
    _S7,
    _S11,
    _S15,
    _S18,
    _SHIFT32,
    _TEMPER_B,
    _TEMPER_C,
    _TWO_PI,
    _U32,
    CHUNK,
    N,
    _inline,
    _twist,
    kernel,
)

_F = np.float32
_THIRD, _SQUEEZE = float(_F(1) / _F(3)), float(_F(0.0331))  # constants that PyTorch writes in float32
_TAIL = (0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
         0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287)
# How many draws a number takes is not known before, so some are tempered ahead, as SIMD code: they lie at the beginning of
# ``words``, at whose end stand the place of the next one and how many there are.
_AHEAD, _AT, _END = 64, CHUNK - 2, CHUNK - 1
_MOST32, _MOST64, _LEAST = float(np.nextafter(_F(1), _F(0))), float(np.nextafter(1.0, 0.0)), float(np.finfo("f8").tiny)


@_inline
def _begin(words):
    """Nothing is drawn ahead."""
    words[_AT] = words[_END] = _U32(0)


@_inline
def _end(mt, words):
    """Put back what was drawn ahead, none of which is from before the last twist."""
    rest = _U32(words[_END] - words[_AT])
    mt[_LEFT], mt[_NEXT] = _U32(mt[_LEFT] + rest), _U32(mt[_NEXT] - rest)


@_inline
def _more(mt, words, at):
    """At least two draws ahead; the state is twisted only when one of them is from the next round."""
    held = np.int64(words[_END]) - at  # none or one
    words[0] = words[at]
    while held < 2:
        left, start = np.int64(mt[_LEFT]), np.int64(mt[_NEXT])
        if left == 1:
            _twist(mt)
            left, start = N + 1, 0
        count = min(left - 1, _AHEAD)
        for j in range(count):
            y = mt[start + j]
            y = _U32(y ^ _U32(y >> _S11))
            y = _U32(y ^ _U32(_U32(y << _S7) & _TEMPER_B))
            y = _U32(y ^ _U32(_U32(y << _S15) & _TEMPER_C))
            words[held + j] = _U32(y ^ _U32(y >> _S18))
        mt[_LEFT], mt[_NEXT] = _U32(left - count), _U32(start + count)
        held += count
    words[_END] = _U32(held)


@_inline
def _next(mt, words):
    """The next uniform number on [0, 1) in double precision."""
    at = np.int64(words[_AT])
    if at + 2 > np.int64(words[_END]):
        _more(mt, words, at)
        at = 0
    words[_AT] = _U32(at + 2)
    high = np.uint64(words[at]) << _SHIFT32
    return float(np.int64((high | np.uint64(words[at + 1])) & _MASK53)) * _EPS53


@_inline
def _normal(mt, words, kept):
    """The next normal number: two are made of two uniform ones, and the second is kept."""
    if kept[0] != 0.0:
        kept[0] = 0.0
        return kept[1]
    theta = _TWO_PI * _next(mt, words)
    radius = math.sqrt(-2.0 * math.log1p(-_next(mt, words)))
    kept[0], kept[1] = 1.0, radius * math.sin(theta)
    return radius * math.cos(theta)


@_inline
def _rounded(x, single):
    """``x`` as the tensor's dtype holds it."""
    return float(_F(x)) if single else x


@_inline
def _gamma(mt, words, kept, alpha, single):
    """One gamma number; a shape below 1 is raised by 1 and the number made smaller by a power of a uniform one."""
    scale = 1.0
    if alpha < 1.0:
        if alpha == 0.0:
            return 0.0
        scale = math.pow(1.0 - _next(mt, words), _rounded(1.0 / alpha, single))
        alpha = _rounded(alpha + 1.0, single)
    d = _rounded(alpha - _THIRD, single)
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = _normal(mt, words, kept)
        y = 1.0 + c * x
        while y <= 0.0:
            x = _normal(mt, words, kept)
            y = 1.0 + c * x
        v = y * y * y
        u = 1.0 - _next(mt, words)
        xx = x * x
        if u < 1.0 - _SQUEEZE * xx * xx:
            return scale * d * v
        if math.log(u) < 0.5 * xx + d * (1.0 - v + math.log(v)):
            return scale * d * v


@kernel
def gamma(mt: "*u4", words: "*u4", kept: "*f8", alpha: "*T", out: "*T", n: int, single: int, least: float):
    """Gamma numbers of shapes alpha (n,) and rate 1, none below least, into out (n,), from the state mt (626,) by words
    (CHUNK,), both uint32, and float64 kept (2,)."""
    _begin(words)
    for i in range(n):
        v = _gamma(mt, words, kept, np.float64(alpha[i]), single)
        out[i] = v if v > least else least  # what is no number becomes the least too, as in PyTorch
    _end(mt, words)


@_inline
def _sum(x, first, n):
    """The sum of x[first:first + n], of four shares."""
    a = b = c = d = 0.0
    for i in range(first, first + n - 3, 4):
        a, b, c, d = a + x[i], b + x[i + 1], c + x[i + 2], d + x[i + 3]
    for i in range(first + n // 4 * 4, first + n):
        a += x[i]
    return (a + b) + (c + d)


@kernel
def dirichlet(mt: "*u4", words: "*u4", kept: "*f8", alpha: "*T", drawn: "*f8", out: "*T", n: int, k: int, single: int,
              least: float):
    """Points of simplices of concentrations alpha (n, k) into out (n, k), with float64 drawn (n, k) to work in, from the state
    mt (626,) by words (CHUNK,), both uint32, and float64 kept (2,)."""
    _begin(words)
    for i in range(n * k):
        v = _gamma(mt, words, kept, np.float64(alpha[i]), 0)
        drawn[i] = v if v > _LEAST else _LEAST
    _end(mt, words)
    most = _MOST32 if single else _MOST64
    for row in range(n):
        total = _sum(drawn, row * k, k)
        for i in range(row * k, row * k + k):
            share = _rounded(drawn[i] / total, single)
            out[i] = least if share < least else most if share > most else share


@_inline
def _poisson(mt, words, rate):
    """One Poisson number: products of uniform numbers below a rate of 10, rejection of a transformed one from there on."""
    if rate == 0.0:
        return 0.0
    if not rate >= 10.0:
        limit, product, k = math.exp(-rate), 1.0, 0.0
        while True:
            product *= _next(mt, words)
            if not product > limit:
                return k
            k += 1.0
    root, log_rate = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    bound = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u = _next(mt, words) - 0.5
        v = _next(mt, words)
        us = 0.5 - abs(u)
        k = np.floor((2.0 * a / us + b) * u + rate + 0.43)
        if not abs(k) < 9.2e18:
            k = -(2.0 ** 63)  # what x86 makes of a number that int64 cannot hold
        if us >= 0.07 and v <= bound:
            return k
        if k < 0.0 or us < 0.013 and v > us:
            continue
        squeezed = math.log(v) + math.log(inverse) - math.log(a / (us * us) + b)
        if squeezed <= -rate + k * log_rate - math.lgamma(k + 1.0):
            return k


@kernel
def poisson(mt: "*u4", words: "*u4", rate: "*T", out: "*T", n: int, bad: "*i8"):
    """Poisson numbers of the rates rate (n,) into out (n,), from the state mt (626,) by words (CHUNK,), both uint32; where a
    rate is no number from 0 on nothing is drawn, and int64 bad (1,) becomes 0."""
    for i in range(n):
        if not rate[i] >= 0.0:
            bad[0] = 0
            return
    _begin(words)
    for i in range(n):
        out[i] = _poisson(mt, words, np.float64(rate[i]))
    _end(mt, words)


@_inline
def _stirling(k):
    """What Stirling's formula leaves of log k!."""
    if k < 10.0:
        return _TAIL[int(k)]
    square = (k + 1.0) * (k + 1.0)
    return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / square) / square) / (k + 1.0)


@_inline
def _transformed(mt, words, count, p, single):
    """A binomial number by transformed rejection, for count * p of 10 and more."""
    q, mean = _rounded(1.0 - p, single), _rounded(count * p, single)
    root = _rounded(math.sqrt(_rounded(mean * q, single)), single)
    b = 1.15 + 2.53 * root
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = mean + 0.5
    bound, ratio = 0.92 - 4.2 / b, _rounded(p / q, single)
    alpha = (2.83 + 5.1 / b) * root
    m = np.floor(_rounded((count + 1.0) * p, single))
    while True:
        u = _next(mt, words) - 0.5
        v = _next(mt, words)
        us = 0.5 - abs(u)
        k = _rounded(np.floor((2.0 * a / us + b) * u + c), single)
        if k < 0.0 or k > count:
            continue
        if us >= 0.07 and v <= bound:
            return k
        v = math.log(v * alpha / (a / (us * us) + b))
        most = ((m + 0.5) * math.log((m + 1.0) / (ratio * (count - m + 1.0)))
                + (count + 1.0) * math.log((count - m + 1.0) / (count - k + 1.0))
                + (k + 0.5) * math.log(ratio * (count - k + 1.0) / (k + 1.0))
                + _stirling(m) + _stirling(count - m) - _stirling(k) - _stirling(count - k))
        if v <= most:
            return k


@_inline
def _inversion(mt, words, count, p, single):
    """A binomial number as how many geometric ones fit into the count."""
    log_q, total, k = _rounded(math.log1p(-p), single), 0.0, 0.0
    while True:
        total += np.ceil(math.log(_next(mt, words)) / log_q)
        if total > count:
            return k
        k += 1.0


@_inline
def _binomial(mt, words, count, p, single):
    """One binomial number: how often of ``count`` times something of probability ``p`` happens."""
    if count <= 0.0 or p <= 0.0:
        return 0.0
    if p >= 1.0:
        return count
    if p != p or count != count:
        return math.nan
    less = p if p <= 0.5 else _rounded(1.0 - p, single)
    if _rounded(count * less, single) >= 10.0:
        k = _transformed(mt, words, count, less, single)
    else:
        k = _inversion(mt, words, count, less, single)
    return k if p <= 0.5 else count - k


@kernel
def binomial(mt: "*u4", words: "*u4", count: "*T", p: "*T", out: "*T", n: int, single: int):
    """Binomial numbers of count (n,) tries of probability p (n,) into out (n,), from the state mt (626,) by words (CHUNK,),
    both uint32."""
    _begin(words)
    for i in range(n):
        out[i] = _binomial(mt, words, np.float64(count[i]), np.float64(p[i]), single)
    _end(mt, words)
