"""The binomial distribution."""

import numbagrad as ng

from . import constraints
from ._odds import Odds, integers_to
from .distribution import Distribution

__all__ = ["Binomial"]


def _clamp_by_zero(x):
    """``max(x, 0)``, whose derivative at 0 is a half."""
    return (x.clamp(min=0) + x - x.clamp(max=0)) / 2


class Binomial(Odds, Distribution):
    """How many of ``total_count`` Bernoulli trials succeed."""

    arg_constraints = {"total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval,
                       "logits": constraints.real}
    has_enumerate_support = True

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        self._take_odds(probs, logits, total_count=total_count)
        self.total_count = self.total_count.type_as(self._param)
        super().__init__(self._param.size(), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return self._expanded_odds(Binomial, batch_shape, _instance, ("total_count",))

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self):
        return self.total_count * self.probs

    @property
    def mode(self):
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=ng.Size()):
        shape = self._extended_shape(sample_shape)
        with ng.no_grad():
            return ng.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        n, logits = self.total_count, self.logits
        # n log(1 + exp(logits)), without overflow
        normalizer = n * _clamp_by_zero(logits) + n * ng.log1p(ng.exp(-ng.abs(logits))) - ng.lgamma(n + 1)
        return value * logits - ng.lgamma(value + 1) - ng.lgamma(n - value + 1) - normalizer

    def _one_count(self, what):
        """The number of trials where it is the same in the whole batch."""
        count = int(self.total_count.max())
        if not self.total_count.min() == count:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{what}`.")
        return count

    def entropy(self):
        self._one_count("entropy")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(ng.exp(log_prob) * log_prob).sum(0)

    def enumerate_support(self, expand=True):
        return integers_to(1 + self._one_count("enumerate_support"), self._param, self._batch_shape, expand)
