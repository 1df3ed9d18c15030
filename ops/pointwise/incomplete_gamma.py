"""The regularized incomplete gamma functions, in double precision for every dtype.

P(a, x) by its power series up to x = a + 1, Q = 1 - P by Legendre's continued fraction above: they converge fast away from
x = a and in about sqrt(a) terms there: for large a Temme's expansion takes their place near x = a (DLMF 8.12). What both are
multiplied by is computed from log(x / a) for large a, where the terms of a log(x) - x - log(a!) are large and cancel."""

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
LARGE, NEAR = 1e4, 0.1  # a from which, and |x / a - 1| up to which the expansion is exact


@inline(fast=())
def shortfall(u):
    """u - log(1 + u), by its series where they nearly cancel."""
    if abs(u) < 0.02:
        return u * u * (1.0 / 2 - u * (1.0 / 3 - u * (1.0 / 4 - u * (1.0 / 5 - u * (1.0 / 6 - u * (1.0 / 7 - u * (
            1.0 / 8 - u * (1.0 / 9 - u * (1.0 / 10 - u * (1.0 / 11))))))))))
    return u - math.log1p(u)


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
    turned = shortfall(off) if abs(off) < 0.5 else off - math.log(x / a)
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
def near_middle(a, x, upper):
    """P(a, x) or Q(a, x) for large a and x near it: half of erfc(eta sqrt(a / 2)), where eta^2 / 2 = u - log(1 + u) of
    u = x / a - 1, and a small rest by powers of 1 / a, whose coefficients are power series in eta."""
    u = (x - a) / a
    half = a * shortfall(u)
    eta = math.copysign(math.sqrt(2.0 * half / a), u)
    zeroth = (((((((((8.296711340953087e-07 * eta - 1.85406221071516e-06) * eta - 2.185448510679992e-06) * eta
                    + 3.919263178522438e-05) * eta - 1.787551440329218e-04) * eta + 3.527336860670194e-04) * eta
                 + 1.1574074074074073e-03) * eta - 0.014814814814814815) * eta + 0.08333333333333333) * eta
              - 0.3333333333333333)
    first = ((((((-1.8098550334489977e-05 * eta - 4.018775720164609e-07) * eta + 2.0576131687242798e-04) * eta
                - 9.902263374485596e-04) * eta + 2.6455026455026454e-03) * eta - 3.472222222222222e-03) * eta
             - 1.851851851851852e-03)
    second = (7.716049382716049e-04 * eta - 2.6813271604938273e-03) * eta + 4.133597883597883e-03
    rest = math.exp(-half) / math.sqrt(2.0 * math.pi * a) * (zeroth + (first + second / a) / a)
    way = math.copysign(math.sqrt(half), u)
    return 0.5 * math.erfc(way) + rest if upper else 0.5 * math.erfc(-way) - rest


@inline(fast=())
def incomplete(a, x, upper, eps):
    """P(a, x), or Q(a, x) for ``upper``."""
    if a != a or x != x or a < 0.0 or x < 0.0 or a == 0.0 and x == 0.0 or a == math.inf and x == math.inf:
        return math.nan
    if a == 0.0 or x == math.inf:
        return 0.0 if upper else 1.0
    if x == 0.0 or a == math.inf:
        return 1.0 if upper else 0.0
    if a > LARGE and abs(x - a) < NEAR * a:
        return near_middle(a, x, upper)
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
