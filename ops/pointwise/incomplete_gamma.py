"""The regularized incomplete gamma functions, in double precision for every dtype.

P(a, x) by its power series up to x = a + 1, Q = 1 - P by Legendre's continued fraction above: they converge fast away from
x = a and in about sqrt(a) terms there. What both are multiplied by is computed from log(x / a) for large a, where the terms
of a log(x) - x - log(a!) are large and cancel."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.core.out import write_out
from numbagrad.core.promotion import common_dtype
from numbagrad.extend import Sample, T, custom, function, inline, kernel, load, store

from .special import _scipy, lgamma

EXACT, CLOSE = 1e-17, 1e-9  # how small what is left out is, in double precision and below
FAR = 2.0 ** 52


@inline(fast=())
def scale(a, x, eps):
    """x^a e^-x / Gamma(a + 1)."""
    if a < 10.0 and eps == EXACT:
        return math.exp(a * math.log(x) - x - math.lgamma(a + 1.0))
    if a < 10.0:
        y, below = a + 1.0, 1.0  # Gamma by its recurrence and Stirling's series from 8 on
        while y < 8.0:
            below *= y
            y += 1.0
        s = 1.0 / (y * y)
        rest = (1.0 / 12 - s * (1.0 / 360 - s * (1.0 / 1260 - s * (1.0 / 1680 - s * (
            1.0 / 1188 - s * (691.0 / 360360 - s * (1.0 / 156))))))) / y
        return math.exp(a * math.log(x) - x - (y - 0.5) * math.log(y) + y - rest) * below / math.sqrt(2.0 * math.pi)
    off, s = (x - a) / a, 1.0 / (a * a)
    turned = off - math.log1p(off) if abs(off) < 0.5 else off - math.log(x / a)
    stirling = (1.0 / 12 - s * (1.0 / 360 - s * (1.0 / 1260 - s * (1.0 / 1680 - s * (1.0 / 1188))))) / a
    return math.exp(-a * turned - stirling) / math.sqrt(2.0 * math.pi * a)


@inline(fast=())
def series(a, x, eps):
    """P(a, x) over its scale: 1 + x / (a + 1) + x^2 / ((a + 1)(a + 2)) + ..."""
    term, total, k = 1.0, 1.0, a
    while term > eps * total:
        k += 1.0
        term *= x / k
        total += term
    return total


@inline(fast=())
def fraction(a, x, eps):
    """Q(a, x) over its scale, by the continued fraction a / (x + 1 - a - (1 - a) / (x + 3 - a - ...)): numerators and
    denominators, brought back to numbers where they are large. A look at them takes as long as a step, and comes after four."""
    k, b = 0.0, x + 1.0 - a
    above, below, p, q = 0.0, 1.0, 1.0, b  # before these
    while k < 1e7:
        for _ in range(4):
            k += 1.0
            n = k * (a - k)
            b += 2.0
            above, below, p, q = p, q, b * p + n * above, b * q + n * below
        if abs(p * below - above * q) <= eps * abs(p * below):
            break
        if abs(p) > FAR or abs(q) > FAR:
            s = 1.0 / max(abs(p), abs(q))
            above, below, p, q = above * s, below * s, p * s, q * s
    return a * p / q


@inline(fast=())
def incomplete(a, x, upper, eps):
    """P(a, x), or Q(a, x) for ``upper``."""
    if a != a or x != x or a < 0.0 or x < 0.0 or a == 0.0 and x == 0.0 or a == math.inf and x == math.inf:
        return math.nan
    if a == 0.0 or x == math.inf:
        return 0.0 if upper else 1.0
    if x == 0.0 or a == math.inf:
        return 1.0 if upper else 0.0
    # In lower precision what the series loses in Q where that is not too small does not count; it is quicker for small x.
    if x <= a + 1.0 or eps == CLOSE and x < 3.0 and a > 0.25:
        p = scale(a, x, eps) * series(a, x, eps)
        return 1.0 - p if upper else p
    q = scale(a, x, eps)
    if q > 0.0:
        q *= fraction(a, x, eps)
    return q if upper else 1.0 - q


@kernel(fast=())
def incomplete_gammas(a: "*T", x: "*T", out: "*T", upper: int, eps: float, start: int, stop: int):
    """P(a, x), or Q(a, x) where upper is not 0, of a (n,) and x (n,), into out (n,); eps is the precision."""
    for i in range(start, stop):
        out[i] = store(T(incomplete(np.float64(load(a[i])), np.float64(load(x[i])), upper, eps)))


def _op(name, upper, node):
    """The op on tensors of one shape and dtype, whose derivative by ``other`` is the density of gamma numbers."""
    def shape(input, other):
        return input._shape, input._kind
    shape.__name__, shape.__module__, shape.__doc__ = name, __name__, "The function of tensors of one shape and dtype."
    op = custom(shape, private=True, node=node, reference=None)

    @op.cpu
    def _(out, input, other):
        eps = EXACT if out._kind.itemsize == 8 else CLOSE
        incomplete_gammas.launch(input, other, out, upper, eps, rows=out._n, work=64 * out._n)

    @op.gradient
    def _(g, input, other, needs):
        if needs[0]:
            raise NotImplementedError(f"the derivative for '{'igammac' if upper else 'igamma'}: input' is not implemented.")
        density = ((input - 1) * other.log() - other - lgamma(input)).exp()
        return None, -(g * density) if upper else g * density
    return op


lower_part, upper_part = _op("igamma_lower", 0, "IgammaBackward0"), _op("igamma_upper", 1, "IgammacBackward0")


def _computed(name, op, input, other, out):
    """Bring the operands to one shape and dtype, and compute."""
    dtype = common_dtype([input, other], [])
    if dtype.category != 2:
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{dt.scalar_name(dtype)}'")
    shape = broadcast_shapes(name, (input, other))
    y = op(*[(t if t._kind.dtype is dtype else t.to(dtype=dtype)).expand(shape) for t in (input, other)])
    return y if out is None else write_out(name, out, y, (input, other), True)


PAIRS = {"domain": (0.3, 4.0), "samples": (Sample((3, 4), (3, 4)), Sample((3, 4), (4,))), "kinds": {"other": "tensor"},
         "differentiable": False}


@function(inplace=True, reference=_scipy("gammainc"), **PAIRS)
def igamma(input, other, *, out=None):
    """The regularized lower incomplete gamma function P(input, other)."""
    return _computed("igamma", lower_part, input, other, out)


@function(inplace=True, reference=_scipy("gammaincc"), **PAIRS)
def igammac(input, other, *, out=None):
    """The regularized upper incomplete gamma function Q(input, other)."""
    return _computed("igammac", upper_part, input, other, out)


igamma.underived = igammac.underived = True  # by ``input``


@function(namespaces=("special",), method=False, reference=_scipy("gammainc"), **PAIRS)
def gammainc(input, other, *, out=None):
    """Another name of ``igamma``."""
    return _computed("special_gammainc", lower_part, input, other, out)


@function(namespaces=("special",), method=False, reference=_scipy("gammaincc"), **PAIRS)
def gammaincc(input, other, *, out=None):
    """Another name of ``igammac``."""
    return _computed("special_gammaincc", upper_part, input, other, out)
