"""Derivatives of gamma and Dirichlet draws by their parameters: minus those of the distribution function, over the density.

M. Jankowiak, F. Obermeyer, "Pathwise derivatives beyond the reparameterization trick" (2018): Taylor series near the ends,
Rice's saddle point expansion where parameters are large, and rational functions fitted by the authors between; PyTorch's
branches and coefficients, in double precision for every dtype."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.core.underived import underived
from numbagrad.extend import Sample, T, custom, function, inline, kernel, load, store

# Coefficients by powers of u = log(x / a), then of v = log(a): four of the numerator, four of the denominator.
GAMMA = ((0.16009398, -0.094634809, 0.025146376, -0.0030648343, 1.0, 0.32668115, 0.10406089, 0.0014179084),
         (0.53487893, 0.1298071, 0.065735949, -0.0015649758, 0.16639465, 0.020070113, -0.0035938915, -0.00058392623),
         (0.040121004, -0.0065914022, -0.0026286047, -0.0013441777, 0.017050642, -0.0021309326, 0.00085092367,
          -1.5247877e-07))
# Numerator, then denominator; rows by powers of u = log(x) and of a = log(alpha) - u, columns by those of log(total) - a.
BETA = (
    ((1.003668233, -0.01061107488, -0.0657888334, 0.01201642863), (0.6336835991, -0.3557432599, 0.05486251648, -0.001465281033),
     (-0.03276231906, 0.004474107445, 0.002429354597, -0.0001557569013),
     (0.221950385, -0.3187676331, 0.01799915743, 0.01074823814), (-0.2951249643, 0.06219954479, 0.01535556598, 0.001550077057),
     (0.02155310298, 0.004170831599, 0.001292462449, 6.976601077e-05),
     (-0.05980841433, 0.008441916499, 0.01085618172, 0.002319392565),
     (0.02911413504, 0.01400243777, -0.002721828457, 0.000751041181),
     (0.005900514878, -0.001936558688, -9.495446725e-06, 5.385558597e-05)),
    ((1.0, -0.02924021934, -0.04438342661, 0.007285809825), (0.6357567472, -0.3473456711, 0.05454656494, -0.002407477521),
     (-0.03301322327, 0.004845219414, 0.00231480583, -0.0002307248149),
     (0.5925320577, -0.1757678135, 0.01505928619, 0.000564515273),
     (0.1014815858, -0.06589186703, 0.01272886114, -0.0007316646956),
     (-0.007258481865, 0.001096195486, 0.0003934994223, -4.12701925e-05),
     (0.06469649321, -0.0236701437, 0.002902096474, -5.896963079e-05),
     (0.001925008108, -0.002869809258, 0.0008000589141, -6.063713228e-05),
     (-0.0003477407336, 6.959756487e-05, 1.097287507e-05, -1.650964693e-06)))


INVERSE = (0.0, *[1.0 / i for i in range(1, 11)])


@inline(fast=())
def tail(x):
    """The digamma function of a number from 10 on, without its logarithm, by its asymptotic series."""
    z = 1.0 / (x * x)
    rest = 1.0 / 240 - z * (1.0 / 132 - z * (691.0 / 32760 - z / 12))
    return -0.5 / x - z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * rest)))


@inline(fast=())
def psi(x):
    """The digamma function of a positive number, by recurrence up to 10."""
    low = 0.0
    while x < 10.0:
        low -= 1.0 / x
        x += 1.0
    return low + math.log(x) + tail(x)


@inline(fast=())
def apart(x, y, factor, exact):
    """The digamma function of ``x`` less that of ``y`` and the logarithm of ``factor``; ``exact``: with PyTorch's roundings,
    else by one logarithm, and one division for each recurrence."""
    if exact:
        return psi(x) - psi(y) - math.log(factor)
    above, below, over, under = 0.0, 1.0, 0.0, 1.0
    while x < 10.0:
        above = above * x + below
        below *= x
        x += 1.0
    while y < 10.0:
        over = over * y + under
        under *= y
        y += 1.0
    return over / under - above / below + math.log(x / (y * factor)) + (tail(x) - tail(y))


@inline(fast=())
def gamma_small(a, x):
    """The derivative for x below 0.8, by the Taylor series of the distribution function."""
    term, below = 1.0, a
    first, second = 1.0 / a, 1.0 / (a * a)
    for i in range(1, 6):
        term *= -x / i
        below += 1.0
        first += term / below
        second += term / (below * below)
    power = math.pow(x, a)
    slope = (math.log(x) - psi(a)) * (power * first) - power * second
    found = -slope / (math.pow(x, a - 1.0) * math.exp(-x))
    return found if found == found else 0.0


@inline(fast=())
def gamma_large(a, x):
    """The derivative for shapes above 8, by Rice's expansion; by a series of its own where x is about a."""
    if 0.9 * a <= x and x <= 1.1 * a:
        first = 1.0 + 24.0 * a * (1.0 + 12.0 * a)
        second = 1440.0 * (a * a) + 6.0 * x * (53.0 - 120.0 * x) - 65.0 * x * x / a + a * (107.0 + 3600.0 * x)
        return first * second / (1244160.0 * (a * a) * (a * a))
    root, ratio = math.sqrt(8.0 * a), math.log(x / a)
    pole, tail = root / (a - x), math.pow(x - a - a * ratio, -1.5)
    both = pole - tail if x < a else pole + tail
    inner = ratio * both - math.sqrt(2.0 / a) * (a + x) / ((a - x) * (a - x))
    stirling = 1.0 + 1.0 / (12.0 * a) * (1.0 + 1.0 / (24.0 * a))
    return -stirling * (x * inner) / root


@inline(fast=())
def gamma_between(a, x):
    """The derivative elsewhere, by a rational function of two logarithms."""
    u, v = math.log(x / a), math.log(a)
    above = below = 0.0
    for k in range(3, -1, -1):
        above = above * v + (GAMMA[0][k] + u * (GAMMA[1][k] + u * GAMMA[2][k]))
        below = below * v + (GAMMA[0][4 + k] + u * (GAMMA[1][4 + k] + u * GAMMA[2][4 + k]))
    return math.exp(above / below)


@kernel(fast=())
def gamma_slopes(alpha: "*T", x: "*T", out: "*T", start: int, stop: int):
    """Derivatives of gamma draws x (n,) by their shapes alpha (n,), into out (n,)."""
    for i in range(start, stop):
        a, v = np.float64(load(alpha[i])), np.float64(load(x[i]))
        if v < 0.8:
            out[i] = store(T(gamma_small(a, v)))
        elif a > 8.0:
            out[i] = store(T(gamma_large(a, v)))
        else:
            out[i] = store(T(gamma_between(a, v)))


@inline(fast=())
def beta_low(x, a, b, exact):
    """The derivative by a for x near 0, by a Taylor series, over 1 - x."""
    factor = apart(a, a + b, x, exact)
    term = 1.0
    series = 1.0 / a * (factor + 1.0 / a)
    for i in range(1, 11):
        term *= (i - b) * x * INVERSE[i]
        one = 1.0 / (a + i)
        series += term * one * (factor + one)
    found = x * (math.pow(1.0 - x, -b) if exact else math.exp(-b * math.log1p(-x))) * series
    return found if found == found else 0.0


@inline(fast=())
def beta_high(x, a, b, exact):
    """The derivative by b for x near 0, by a Taylor series, over x."""
    factor = apart(a + b, b, 1.0, exact)
    term, products, slopes = 1.0, 1.0, 0.0
    series = factor / a
    for i in range(1, 9):
        term *= -x * INVERSE[i]
        slopes = slopes * (b - i) + products
        products *= b - i
        series += term / (a + i) * (slopes + factor * products)
    found = -(math.pow(1.0 - x, 1.0 - b) if exact else math.exp((1.0 - b) * math.log1p(-x))) * series
    return found if found == found else 0.0


@inline(fast=())
def beta_large(x, a, b):
    """The derivative by a over 1 - x for a and b above 6, by Rice's expansion; a polynomial where x is about the mean."""
    total = a + b
    mean = a / total
    std = math.sqrt(a * b / (total + 1.0)) / total
    if mean - 0.1 * std <= x and x <= mean + 0.1 * std:
        poly = 47.0 * x * (b * b) * (b * b) + a * (
            (43.0 + 20.0 * (16.0 + 27.0 * b) * x) * (b * b) * b + a * (
                3.0 * (59.0 + 180.0 * b - 90.0 * x) * (b * b) + a * (
                    (453.0 + 1620.0 * b * (1.0 - x) - 455.0 * x) * b + a * (8.0 * (1.0 - x) * (135.0 * b - 11.0)))))
        scale = (1.0 + 12.0 * a) * (1.0 + 12.0 * b) / (total * total)
        return scale / (1.0 - x) * poly / (12960.0 * a * a * a * b * b * (1.0 + 12.0 * total))
    stirling = ((1.0 + 1.0 / (12.0 * a) + 1.0 / (288.0 * a * a)) * (1.0 + 1.0 / (12.0 * b) + 1.0 / (288.0 * b * b))
                / (1.0 + 1.0 / (12.0 * total) + 1.0 / (288.0 * total * total)))
    off = a * (x - 1.0) + b * x
    first = (2.0 * (a * a) * (x - 1.0) + a * b * (x - 1.0) - x * (b * b)) / (
        math.sqrt(2.0 * a / b) * math.pow(total, 1.5) * off * off)
    tail = math.pow(b * math.log(b / (total * (1.0 - x))) + a * math.log(a / (total * x)), -1.5)
    both = math.sqrt(8.0 * a * b / total) / off + (tail if x < mean else -tail)
    return stirling * (-x / math.sqrt(2.0 * a * b / total)) * (first + 0.5 * math.log(a / (total * x)) * both)


@inline(fast=())
def beta_between(x, a, total, exact):
    """The derivative elsewhere: an analytic approximation times a rational function of three logarithms."""
    u = math.log(x)
    v = math.log(a) - u
    w = math.log(total) - v
    above, below, left = 0.0, 0.0, 1.0
    for i in range(3):
        right = left
        for j in range(3):
            p, q = BETA[0][3 * i + j], BETA[1][3 * i + j]
            above += right * (p[0] + w * (p[1] + w * (p[2] + w * p[3])))
            below += right * (q[0] + w * (q[1] + w * (q[2] + w * q[3])))
            right *= v
        left *= u
    return above / below * (x * apart(total, a, 1.0, exact) / (total - a))


@kernel(fast=())
def beta_slopes(x: "*T", alpha: "*T", total: "*T", out: "*T", exact: int, start: int, stop: int):
    """Derivatives of beta draws x (n,) by alpha (n,), over 1 - x, into out (n,), where alpha and beta add up to total (n,);
    exact as in ``apart``."""
    for i in range(start, stop):
        v, a, t = np.float64(load(x[i])), np.float64(load(alpha[i])), np.float64(load(total[i]))
        b, edge = t - a, t * v * (1.0 - v)
        if v <= 0.5 and edge < 2.5:
            out[i] = store(T(beta_low(v, a, b, exact)))
        elif v >= 0.5 and edge < 0.75:
            out[i] = store(T(-beta_high(1.0 - v, b, a, exact)))
        elif a > 6.0 and b > 6.0:
            out[i] = store(T(beta_large(v, a, b)))
        else:
            out[i] = store(T(beta_between(v, a, t, exact)))


def same_dtype(first, *others):
    """Refuse operands of several dtypes as PyTorch's iterator does."""
    for t in others:
        if t._kind.dtype is not first._kind.dtype:
            raise RuntimeError(f"Found dtype {dt.scalar_name(t._kind.dtype)} but expected {dt.scalar_name(first._kind.dtype)}")


def no_second(name):
    """A gradient rule that says what PyTorch says of a missing derivative."""
    def rule(g):
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")
    return rule


@custom(private=True, node="StandardGammaGradBackward0", reference=None)
def gamma_slope(input, output):
    """The derivative of gamma draws ``output`` by their shapes ``input``."""
    return input._shape, input._kind


@gamma_slope.cpu
def _(out, input, output):
    gamma_slopes.launch(input, output, out, rows=out._n, work=32 * out._n)


gamma_slope.gradient(no_second("_standard_gamma_grad"))


@custom(private=True, node="DirichletGradBackward0", reference=None)
def beta_slope(x, alpha, total):
    """The derivative of beta draws ``x`` by ``alpha``, over 1 - x, where both parameters add up to ``total``."""
    return x._shape, x._kind


@beta_slope.cpu
def _(out, x, alpha, total):
    beta_slopes.launch(x, alpha, total, out, int(out._kind.itemsize == 8), rows=out._n, work=64 * out._n)


beta_slope.gradient(no_second("_dirichlet_grad"))

SLOPES = {"method": False, "reference": None, "differentiable": False, "domain": (0.3, 0.7)}


@function(name="_standard_gamma_grad", kinds={"output": "tensor"}, samples=(Sample((3, 4), (3, 4)),), **SLOPES)
def standard_gamma_grad(input, output):
    """The derivative of gamma draws ``output`` by their shapes ``input``."""
    return gamma_slope(*operands(input, output))


@function(name="_dirichlet_grad", kinds={"x": "tensor", "alpha": "tensor", "total": "tensor"},
          samples=(Sample((3, 4), (3, 4), (3, 4)),), **SLOPES)
def dirichlet_grad(x, alpha, total):
    """The derivative of beta draws ``x`` by ``alpha``, over 1 - x, where both parameters add up to ``total``."""
    return underived(beta_slope(*operands(*[t.detach() for t in (x, alpha, total)])), (x, alpha, total), "_dirichlet_grad")


def operands(*tensors):
    """Tensors of one dtype, float32 or float64, brought to one shape."""
    same_dtype(*tensors)
    first = tensors[0]._kind.dtype
    if first is not dt.float32 and first is not dt.float64:
        raise NotImplementedError(f"\"_standard_gamma_grad_cpu\" not implemented for '{dt.scalar_name(first)}'")
    shape = broadcast_shapes("_standard_gamma_grad", tensors)
    return [t if t._shape == shape else t.expand(shape) for t in tensors]
