"""Divergences of Kullback and Leibler: the table, and those of two distributions of one family."""

import math

import numbagrad as ng
import numbagrad.nn.functional as F

from ._kl_registry import _KL_MEMOIZE, _KL_REGISTRY, kl_divergence, register_kl  # noqa: F401
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .lowrank_multivariate_normal import LowRankMultivariateNormal, _batch_lowrank_logdet, _batch_lowrank_mahalanobis
from .multivariate_normal import MultivariateNormal, _batch_mahalanobis, _log_diagonal
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import _sum_rightmost, euler_constant

from . import _kl_pairs  # noqa: F401 isort: skip

__all__ = ["kl_divergence", "register_kl"]


@register_kl(Bernoulli, Bernoulli)
def _(p, q):
    ones = p.probs * (F.softplus(-q.logits) - F.softplus(-p.logits))
    ones[q.probs == 0] = math.inf
    ones[p.probs == 0] = 0
    zeros = (1 - p.probs) * (F.softplus(q.logits) - F.softplus(p.logits))
    zeros[q.probs == 1] = math.inf
    zeros[p.probs == 1] = 0
    return ones + zeros


@register_kl(Beta, Beta)
def _(p, q):
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    normalizers = c.lgamma() + d.lgamma() + (a + b).lgamma() - (a.lgamma() + b.lgamma() + (c + d).lgamma())
    return (normalizers + (a - c) * ng.digamma(a) + (b - d) * ng.digamma(b)
            + ((c + d) - (a + b)) * ng.digamma(a + b))


@register_kl(Binomial, Binomial)
def _(p, q):
    # Of fewer trials the divergence from more of them has no closed form.
    if (p.total_count < q.total_count).any():
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    kl = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    kl[p.total_count > q.total_count] = math.inf
    return kl


@register_kl(Categorical, Categorical)
def _kl_categorical(p, q):
    t = p.probs * (p.logits - q.logits)
    t[(q.probs == 0).expand_as(t)] = math.inf
    t[(p.probs == 0).expand_as(t)] = 0
    return t.sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p, q):
    return _kl_categorical(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _(p, q):
    return (p.mean * (p.logits - q.logits) + p._cont_bern_log_norm() + ng.log1p(-p.probs) - q._cont_bern_log_norm()
            - ng.log1p(-q.probs))


@register_kl(Dirichlet, Dirichlet)
def _(p, q):
    a, b = p.concentration, q.concentration
    normalizers = a.sum(-1).lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return normalizers + ((a - b) * (a.digamma() - a.sum(-1).digamma().unsqueeze(-1))).sum(-1)


@register_kl(Exponential, Exponential)
def _(p, q):
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(ExponentialFamily, ExponentialFamily)
def _(p, q):
    """The Bregman divergence of the log normalizer."""
    if type(p) is not type(q):
        raise NotImplementedError("The cross KL-divergence between different exponential families cannot "
                                  "                            be computed using Bregman divergences")
    theta = [t.detach().requires_grad_() for t in p._natural_params]
    normalizer = p._log_normalizer(*theta)
    slopes = ng.autograd.grad(normalizer.sum(), theta, create_graph=True)
    result = q._log_normalizer(*q._natural_params) - normalizer
    for own, other, slope in zip(theta, q._natural_params, slopes):
        result = result - _sum_rightmost((other - own) * slope, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _(p, q):
    a, b = p.concentration, q.concentration
    return (b * (p.rate / q.rate).log() + (ng.lgamma(b) - ng.lgamma(a)) + (a - b) * ng.digamma(a)
            + (q.rate - p.rate) * (a / p.rate))


@register_kl(Gumbel, Gumbel)
def _(p, q):
    ratio, own, other = p.scale / q.scale, p.loc / q.scale, q.loc / q.scale
    return (-ratio.log() - other + own + ratio * euler_constant + ng.exp(other + (1 + ratio).lgamma() - own)
            - (1 + euler_constant))


@register_kl(Geometric, Geometric)
def _(p, q):
    return -p.entropy() - ng.log1p(-q.probs) / p.probs - q.logits


@register_kl(Normal, Normal)
def _kl_normal(p, q):
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _(p, q):
    return _kl_normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _(p, q):
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * ng.exp(-distance / p.scale) - 1


@register_kl(Pareto, Pareto)
def _(p, q):
    ratio = q.alpha / p.alpha
    result = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    result[p.support.lower_bound < q.support.lower_bound] = math.inf
    return result


@register_kl(Poisson, Poisson)
def _(p, q):
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _(p, q):
    result = ((q.high - q.low) / (p.high - p.low)).log()
    result[(q.low > p.low) | (q.high < p.high)] = math.inf
    return result


@register_kl(Cauchy, Cauchy)
def _(p, q):
    return ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log() - (4 * p.scale * q.scale).log()


@register_kl(Independent, Independent)
def _(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _(p, q):
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


# --- normal distributions of vectors ----------------------------------------------------------------------------------

def _trace(m):
    """The trace of m m^T."""
    return m.reshape(-1, m.size(-1) * m.size(-2)).pow(2).sum(-1).reshape(m.shape[:-2])


def _events(p, q, what):
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL-divergence between two {what} with                          different event shapes cannot be "
                         "computed")


def _parts(q):
    return q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag


def _lowrank(q):
    """What the divergence from a distribution of low rank needs: the log-determinant, W, D, and A with
    (W W^T + D)^-1 = D^-1 - A^T A."""
    W, D = _parts(q)
    A = ng.linalg.solve_triangular(q._capacitance_tril, W.mT / D.unsqueeze(-2), upper=False)
    return _batch_lowrank_logdet(W, D, q._capacitance_tril), W, D, A


def _solved(tril, *matrices):
    """``L^-1 m`` for matrices in a batch of their own."""
    n = tril.size(-1)
    for m in matrices:
        batch = ng.broadcast_shapes(tril.shape[:-2], m.shape[:-2])
        yield ng.linalg.solve_triangular(tril.expand(batch + (n, n)), m.expand(batch + m.shape[-2:]), upper=False)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _(p, q):
    _events(p, q, "Low Rank Multivariate Normals")
    logdet, W, D, A = _lowrank(q)
    own_W, own_D = _parts(p)
    dets = logdet - _batch_lowrank_logdet(own_W, own_D, p._capacitance_tril)
    distance = _batch_lowrank_mahalanobis(W, D, q.loc - p.loc, q._capacitance_tril)
    trace = ((own_D / D).sum(-1) + _trace(own_W * D.rsqrt().unsqueeze(-1)) - _trace(A * own_D.sqrt().unsqueeze(-2))
             - _trace(A.matmul(own_W)))
    return 0.5 * (dets + trace + distance - p.event_shape[0])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _(p, q):
    _events(p, q, "(Low Rank) Multivariate Normals")
    logdet, W, D, A = _lowrank(q)
    tril = p._unbroadcasted_scale_tril
    distance = _batch_lowrank_mahalanobis(W, D, q.loc - p.loc, q._capacitance_tril)
    trace = _trace(tril * D.rsqrt().unsqueeze(-1)) - _trace(A.matmul(tril))
    return 0.5 * (logdet - 2 * _log_diagonal(tril) + trace + distance - p.event_shape[0])


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _(p, q):
    _events(p, q, "(Low Rank) Multivariate Normals")
    W, D = _parts(p)
    tril = q._unbroadcasted_scale_tril
    dets = 2 * _log_diagonal(tril) - _batch_lowrank_logdet(W, D, p._capacitance_tril)
    trace = sum(_trace(m) for m in _solved(tril, W, ng.diag_embed(D.sqrt())))
    return 0.5 * (dets + trace + _batch_mahalanobis(tril, q.loc - p.loc) - p.event_shape[0])


@register_kl(MultivariateNormal, MultivariateNormal)
def _(p, q):
    _events(p, q, "Multivariate Normals")
    tril = q._unbroadcasted_scale_tril
    half = _log_diagonal(tril) - _log_diagonal(p._unbroadcasted_scale_tril)
    solved, = _solved(tril, p._unbroadcasted_scale_tril)
    return half + 0.5 * (_trace(solved) + _batch_mahalanobis(tril, q.loc - p.loc) - p.event_shape[0])
