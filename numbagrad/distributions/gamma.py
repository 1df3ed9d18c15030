"""The gamma distribution."""

import numbagrad as ng

from . import constraints
from .exp_family import ExponentialFamily

__all__ = ["Gamma"]


class Gamma(ExponentialFamily):
    """Gamma distribution of the shape ``concentration`` and the rate ``rate``."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration, rate, validate_args=None):
        super().__init__(self._take(concentration=concentration, rate=rate), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return self._expanded(Gamma, batch_shape, _instance, ("concentration", "rate"))

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape=ng.Size()):
        shape = self._extended_shape(sample_shape)
        value = ng._standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        value.data.clamp_(min=ng.finfo(value.dtype).tiny)  # without a gradient
        return value

    def log_prob(self, value):
        value = ng.as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        if self._validate_args:
            self._validate_sample(value)
        return (ng.xlogy(self.concentration, self.rate) + ng.xlogy(self.concentration - 1, value) - self.rate * value
                - ng.lgamma(self.concentration))

    def cdf(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return ng.special.gammainc(self.concentration, self.rate * value)

    def entropy(self):
        a = self.concentration
        return a - ng.log(self.rate) + ng.lgamma(a) + (1.0 - a) * ng.digamma(a)

    @property
    def _natural_params(self):
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x, y):
        return ng.lgamma(x + 1) + (x + 1) * ng.log(-y.reciprocal())
