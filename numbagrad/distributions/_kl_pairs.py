"""Divergences of Kullback and Leibler between distributions of two families."""

import math

import numbagrad as ng

from ._kl_registry import infinite, register_kl
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .continuous_bernoulli import ContinuousBernoulli
from .exponential import Exponential
from .gamma import Gamma
from .gumbel import Gumbel
from .laplace import Laplace
from .normal import Normal
from .pareto import Pareto
from .poisson import Poisson
from .uniform import Uniform
from .utils import euler_constant

infinite(Beta, (Pareto,), "concentration1")
infinite(ContinuousBernoulli, (Pareto,), "probs")
infinite(Exponential, (Beta, ContinuousBernoulli, Pareto, Uniform), "rate")
infinite(Gamma, (Beta, ContinuousBernoulli, Pareto, Uniform), "concentration")
for _family in (Gumbel, Laplace, Normal):
    infinite(_family, (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform), "loc")
infinite(Pareto, (Beta, ContinuousBernoulli, Uniform), "scale")
infinite(Poisson, (Bernoulli, Binomial), "rate")


def _x_log_x(x):
    return ng.special.xlogy(x, x)


def _gamma_normalizer(q):
    return q.concentration.lgamma() - q.concentration * q.rate.log()


def _where(result, outside):
    """``result`` with infinity where p has values outside of q's support."""
    result[outside] = math.inf
    return result


# --- of numbers between 0 and 1 ---

@register_kl(Bernoulli, Poisson)
def _(p, q):
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, ContinuousBernoulli)
@register_kl(Uniform, ContinuousBernoulli)
def _(p, q):
    result = -p.entropy() - p.mean * q.logits - ng.log1p(-q.probs) - q._cont_bern_log_norm()
    if isinstance(p, Beta):
        return result
    # As in PyTorch, where it is infinite already for the ends themselves.
    outside = (p.high >= q.support.upper_bound) | (p.low <= q.support.lower_bound)
    return ng.where(outside, ng.ones_like(result) * math.inf, result)


@register_kl(Beta, Exponential)
def _(p, q):
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Beta, Gamma)
def _(p, q):
    log_mean = p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    return -p.entropy() + _gamma_normalizer(q) - (q.concentration - 1) * log_mean + q.rate * p.mean


@register_kl(Beta, Normal)
def _(p, q):
    mean, variance = p.mean, q.scale.pow(2)
    square = mean * (1 - mean) / (p.concentration1 + p.concentration0 + 1) + mean.pow(2)
    return (-p.entropy() + 0.5 * (variance * 2 * math.pi).log()
            + (square * 0.5 - q.loc * mean + q.loc.pow(2) * 0.5) / variance)


@register_kl(Beta, Uniform)
def _(p, q):
    outside = (q.low > p.support.lower_bound) | (q.high < p.support.upper_bound)
    return _where(-p.entropy() + (q.high - q.low).log(), outside)


@register_kl(ContinuousBernoulli, Exponential)
def _(p, q):
    return -p.entropy() - ng.log(q.rate) + q.rate * p.mean


@register_kl(ContinuousBernoulli, Normal)
def _(p, q):
    normalizer = 0.5 * (math.log(2.0 * math.pi) + ng.square(q.loc / q.scale)) + ng.log(q.scale)
    square = p.variance + ng.square(p.mean) - 2.0 * q.loc * p.mean
    return -p.entropy() + normalizer + square / (2.0 * ng.square(q.scale))


@register_kl(ContinuousBernoulli, Uniform)
def _(p, q):
    result = -p.entropy() + (q.high - q.low).log()
    # As in PyTorch, where it is infinite wherever an end of q lies outside of (0, 1) too.
    outside = (q.low >= p.support.lower_bound) | (q.high <= p.support.upper_bound)
    return ng.where(outside, ng.ones_like(result) * math.inf, result)


# --- of positive numbers ---

@register_kl(Exponential, Gamma)
def _(p, q):
    ratio = q.rate / p.rate
    return (-q.concentration * ng.log(ratio) + ratio + q.concentration.lgamma() + q.concentration * euler_constant
            - (1 + euler_constant))


@register_kl(Exponential, Gumbel)
def _(p, q):
    product, loc = p.rate * q.scale, q.loc / q.scale
    return product.log() - 1 - loc + ng.exp(loc) * product / (product + 1) + product.reciprocal()


@register_kl(Exponential, Normal)
def _(p, q):
    variance, square = q.scale.pow(2), p.rate.pow(2)
    return (0.5 * ng.log(square * variance * 2 * math.pi) - 1
            + (square.reciprocal() - q.loc / p.rate + q.loc.pow(2) * 0.5) / variance)


@register_kl(Gamma, Exponential)
def _(p, q):
    return -p.entropy() - q.rate.log() + q.rate * p.concentration / p.rate


def _gamma_entropy(p):
    """(a - 1) psi(a) - log Gamma(a) - a: minus the entropy for the rate 1."""
    a = p.concentration
    return (a - 1) * a.digamma() - a.lgamma() - a


@register_kl(Gamma, Gumbel)
def _(p, q):
    product, loc = p.rate * q.scale, q.loc / q.scale
    moment = ng.exp(loc) * (1 + product.reciprocal()).pow(-p.concentration)
    return _gamma_entropy(p) + product.log() + p.concentration / product + moment - loc


@register_kl(Gamma, Normal)
def _(p, q):
    variance, square, a = q.scale.pow(2), p.rate.pow(2), p.concentration
    moments = 0.5 * (a.pow(2) + a) / square - q.loc * a / p.rate + 0.5 * q.loc.pow(2)
    return 0.5 * ng.log(square * variance * 2 * math.pi) + _gamma_entropy(p) + moments / variance


@register_kl(Pareto, Exponential)
def _(p, q):
    product = p.scale * q.rate
    result = (p.alpha / product).log() - p.alpha.reciprocal() + p.alpha * product / (p.alpha - 1) - 1
    return _where(result, p.alpha <= 1)


@register_kl(Pareto, Gamma)
def _(p, q):
    log_mean = p.scale.log() + p.alpha.reciprocal()
    result = (p.alpha.log() - log_mean + _gamma_normalizer(q) + (1 - q.concentration) * log_mean
              + q.rate * p.alpha * p.scale / (p.alpha - 1) - 1)
    return _where(result, p.alpha <= 1)


@register_kl(Pareto, Normal)
def _(p, q):
    step = p.scale / (p.alpha - 1)
    square = p.alpha * step.pow(2) / (p.alpha - 2) + (p.alpha * step - q.loc).pow(2)
    result = ((math.sqrt(2 * math.pi) * q.scale * p.alpha / p.scale).log() - p.alpha.reciprocal()
              + square / (2 * q.scale.pow(2)) - 1)
    return _where(result, p.alpha <= 2)


# --- of real numbers ---

@register_kl(Gumbel, Normal)
def _(p, q):
    ratio = p.scale / q.scale
    distance = (p.loc + p.scale * euler_constant - q.loc) / q.scale
    return (-(ratio / math.sqrt(2 * math.pi)).log() + (math.pi * ratio * 0.5).pow(2) / 3 + distance.pow(2) * 0.5
            - (euler_constant + 1))


@register_kl(Laplace, Normal)
def _(p, q):
    variance = q.scale.pow(2)
    ratio = p.scale.pow(2) / variance
    square = 0.5 * p.loc.pow(2) - p.loc * q.loc + 0.5 * q.loc.pow(2)
    return -0.5 * ng.log(2 * ratio / math.pi) + ratio + square / variance - 1


@register_kl(Normal, Gumbel)
def _(p, q):
    own, other, ratio = p.loc / q.scale, q.loc / q.scale, (p.scale / q.scale).pow(2)
    return -ratio.log() * 0.5 + own - other + ng.exp(-own + 0.5 * ratio + other) - 0.5 * (1 + math.log(2 * math.pi))


@register_kl(Normal, Laplace)
def _(p, q):
    distance = p.loc - q.loc
    units = distance / p.scale
    absolute = (math.sqrt(2 / math.pi) * p.scale * ng.exp(-0.5 * units.pow(2))
                + distance * ng.erf(math.sqrt(0.5) * units))
    return -ng.log(p.scale / q.scale) + absolute / q.scale - 0.5 * (1 + math.log(0.5 * math.pi))


# --- of numbers between two bounds ---

@register_kl(Uniform, Beta)
def _(p, q):
    a, b, width = q.concentration1, q.concentration0, p.high - p.low
    log_x = (_x_log_x(p.high) - _x_log_x(p.low) - width) / width
    log_rest = (_x_log_x(1 - p.high) - _x_log_x(1 - p.low) + width) / width
    result = (b - 1) * log_rest + (a.lgamma() + b.lgamma() - (a + b).lgamma()) - ng.log(width) - (a - 1) * log_x
    return _where(result, (p.high > q.support.upper_bound) | (p.low < q.support.lower_bound))


@register_kl(Uniform, Exponential)
def _(p, q):
    result = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return _where(result, p.low < q.support.lower_bound)


@register_kl(Uniform, Gamma)
def _(p, q):
    width = p.high - p.low
    log_x = (_x_log_x(p.high) - _x_log_x(p.low) - width) / width
    result = -width.log() + _gamma_normalizer(q) + (1 - q.concentration) * log_x + q.rate * (p.high + p.low) / 2
    return _where(result, p.low < q.support.lower_bound)


@register_kl(Uniform, Gumbel)
def _(p, q):
    ratio, high, low = q.scale / (p.high - p.low), (p.high - q.loc) / q.scale, (p.low - q.loc) / q.scale
    return ratio.log() + 0.5 * (high + low) - ratio * (ng.exp(-high) - ng.exp(-low))


@register_kl(Uniform, Normal)
def _(p, q):
    width = p.high - p.low
    square = width.pow(2) / 12 + ((p.high + p.low - 2 * q.loc) / 2).pow(2)
    return (math.sqrt(math.pi * 2) * q.scale / width).log() + 0.5 * square / q.scale.pow(2)


@register_kl(Uniform, Pareto)
def _(p, q):
    width = p.high - p.low
    log_x = (_x_log_x(p.high) - _x_log_x(p.low) - width) / width
    result = log_x * (q.alpha + 1) - (q.alpha * q.scale.pow(q.alpha) * width).log()
    return _where(result, p.low < q.support.lower_bound)
