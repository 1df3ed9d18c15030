"""The continuous Bernoulli distribution."""

import math

import numbagrad as ng
import numbagrad.nn.functional as F

from . import constraints
from ._odds import Odds
from .exp_family import ExponentialFamily
from .utils import broadcast_all, clamp_probs, lazy_property, logits_to_probs

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Odds, ExponentialFamily):
    """Numbers x between 0 and 1 of a density proportional to ``probs^x (1 - probs)^(1 - x)``.

    Formulas divide by ``1 - 2 probs``; between ``lims`` Taylor series stand for them (Loaiza-Ganem, Cunningham, 2019)."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    _mean_carrier_measure = 0
    has_rsample = True

    def __init__(self, probs=None, logits=None, lims=(0.499, 0.501), validate_args=None):
        batch_shape = self._take_odds(probs, logits)
        if probs is not None:
            if validate_args is not None and not self.arg_constraints["probs"].check(self.probs).all():
                raise ValueError("The parameter probs has invalid values")
            self._param = self.probs = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(batch_shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        new = self._expanded_odds(ContinuousBernoulli, batch_shape, _instance)
        new._lims = self._lims
        return new

    @lazy_property
    def probs(self):
        """The parameter, kept from 0 and 1."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _outside_unstable_region(self):
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut_probs(self):
        """The parameter, with another value where formulas are unstable."""
        return ng.where(self._outside_unstable_region(), self.probs, self._lims[0] * ng.ones_like(self.probs))

    def _stable(self, formula, taylor):
        return ng.where(self._outside_unstable_region(), formula, taylor)

    def _cont_bern_log_norm(self):
        """The logarithm of what makes the density integrate to 1."""
        p = self._cut_probs()
        low = ng.where(p <= 0.5, p, ng.zeros_like(p))
        high = ng.where(p >= 0.5, p, ng.ones_like(p))
        log_norm = ng.log(ng.abs(ng.log1p(-p) - ng.log(p))) - ng.where(p <= 0.5, ng.log1p(-2.0 * low), ng.log(2.0 * high - 1.0))
        x = ng.pow(self.probs - 0.5, 2)
        return self._stable(log_norm, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self):
        p = self._cut_probs()
        x = self.probs - 0.5
        return self._stable(p / (2.0 * p - 1.0) + 1.0 / (ng.log1p(-p) - ng.log(p)),
                            0.5 + (1.0 / 3.0 + 16.0 / 45.0 * ng.pow(x, 2)) * x)

    @property
    def stddev(self):
        return ng.sqrt(self.variance)

    @property
    def variance(self):
        p = self._cut_probs()
        x = ng.pow(self.probs - 0.5, 2)
        return self._stable(p * (p - 1.0) / ng.pow(1.0 - 2.0 * p, 2) + 1.0 / ng.pow(ng.log1p(-p) - ng.log(p), 2),
                            1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    def sample(self, sample_shape=ng.Size()):
        with ng.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=ng.Size()):
        return self.icdf(ng.rand(self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none") + self._cont_bern_log_norm()

    def cdf(self, value):
        if self._validate_args:
            self._validate_sample(value)
        p = self._cut_probs()
        cdf = (ng.pow(p, value) * ng.pow(1.0 - p, 1.0 - value) + p - 1.0) / (2.0 * p - 1.0)
        inside = self._stable(cdf, value)
        return ng.where(value <= 0.0, ng.zeros_like(value), ng.where(value >= 1.0, ng.ones_like(value), inside))

    def icdf(self, value):
        p = self._cut_probs()
        return self._stable((ng.log1p(-p + value * (2.0 * p - 1.0)) - ng.log1p(-p)) / (ng.log(p) - ng.log1p(-p)), value)

    def entropy(self):
        low, high = ng.log1p(-self.probs), ng.log(self.probs)
        return self.mean * (low - high) - self._cont_bern_log_norm() - low

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, x):
        outside = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        cut = ng.where(outside, x, (self._lims[0] - 0.5) * ng.ones_like(x))
        log_norm = ng.log(ng.abs(ng.special.expm1(cut))) - ng.log(ng.abs(cut))
        return ng.where(outside, log_norm, 0.5 * x + ng.pow(x, 2) / 24.0 - ng.pow(x, 4) / 2880.0)
