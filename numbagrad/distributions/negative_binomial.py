"""The negative binomial distribution."""

import numbagrad as ng
import numbagrad.nn.functional as F

from . import constraints
from ._odds import Odds
from .distribution import Distribution
from .gamma import Gamma
from .utils import lazy_property

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Odds, Distribution):
    """How many Bernoulli trials succeed before ``total_count`` have failed."""

    arg_constraints = {"total_count": constraints.greater_than_eq(0), "probs": constraints.half_open_interval(0.0, 1.0),
                       "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        self._take_odds(probs, logits, total_count=total_count)
        self.total_count = self.total_count.type_as(self._param)
        super().__init__(self._param.size(), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return self._expanded_odds(NegativeBinomial, batch_shape, _instance, ("total_count",))

    @property
    def mean(self):
        return self.total_count * ng.exp(self.logits)

    @property
    def mode(self):
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self):
        return self.mean / ng.sigmoid(-self.logits)

    @lazy_property
    def _gamma(self):
        """The distribution of the rate of Poisson numbers."""
        return Gamma(concentration=self.total_count, rate=ng.exp(-self.logits), validate_args=False)

    def sample(self, sample_shape=ng.Size()):
        with ng.no_grad():
            return ng.poisson(self._gamma.sample(sample_shape=sample_shape))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        weight = n * F.logsigmoid(-self.logits) + value * F.logsigmoid(self.logits)
        normalizer = -ng.lgamma(n + value) + ng.lgamma(1.0 + value) + ng.lgamma(n)
        return weight - normalizer.masked_fill(n + value == 0.0, 0.0)
