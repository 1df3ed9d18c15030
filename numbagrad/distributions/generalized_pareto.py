"""The generalized Pareto distribution."""

import math
from numbers import Real

import numbagrad as ng

from . import constraints
from .distribution import Distribution

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """How far numbers exceed ``loc``, in units of ``scale``; ``concentration`` says how heavy the tail is."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True

    def __init__(self, loc, scale, concentration, validate_args=None):
        super().__init__(self._take(loc=loc, scale=scale, concentration=concentration), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return self._expanded(GeneralizedPareto, batch_shape, _instance, ("loc", "scale", "concentration"))

    def _curved(self):
        """(whether the concentration is 0, the concentration, or 1 there)."""
        flat = ng.isclose(self.concentration, ng.zeros_like(self.concentration))
        return flat, ng.where(flat, ng.ones_like(self.concentration), self.concentration)

    def rsample(self, sample_shape=ng.Size()):
        return self.icdf(ng.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        z, (flat, c) = self._z(value), self._curved()
        y = 1 / c + ng.ones_like(z)
        curved = ng.where(y == 0, y, y * ng.log1p(c * z))
        log_scale = math.log(self.scale) if isinstance(self.scale, Real) else self.scale.log()
        return -log_scale - ng.where(flat, z, curved)

    def log_survival_function(self, value):
        """The logarithm of the probability of values above ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        z, (flat, c) = self._z(value), self._curved()
        return ng.where(flat, -z, -ng.log1p(c * z) / c)

    def log_cdf(self, value):
        """The logarithm of ``cdf``."""
        return ng.log1p(-ng.exp(self.log_survival_function(value)))

    def cdf(self, value):
        return ng.exp(self.log_cdf(value))

    def icdf(self, value):
        flat, c = self._curved()
        log_above = ng.log1p(-value)
        return ng.where(flat, self.loc - self.scale * log_above, self.loc + self.scale / c * ng.expm1(-c * log_above))

    def _z(self, x):
        return (x - self.loc) / self.scale

    @property
    def mean(self):
        valid = self.concentration < 1
        c = ng.where(valid, self.concentration, 0.5)
        return ng.where(valid, self.loc + self.scale / (1 - c), math.nan)

    @property
    def variance(self):
        valid = self.concentration < 0.5
        c = ng.where(valid, self.concentration, 0.25)
        return ng.where(valid, self.scale ** 2 / ((1 - c) ** 2 * (1 - 2 * c)), math.nan)

    def entropy(self):
        return ng.broadcast_to(ng.log(self.scale) + self.concentration + 1, self._batch_shape)

    @property
    def mode(self):
        return self.loc

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        upper = ng.where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf)
        return constraints.interval(self.loc, upper)
