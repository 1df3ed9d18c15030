"""The half-Cauchy distribution."""

import math

import numbagrad as ng

from . import constraints
from .cauchy import Cauchy
from .half_normal import _Half
from .transforms import AbsTransform

__all__ = ["HalfCauchy"]


class HalfCauchy(_Half):
    """The absolute value of a Cauchy number around 0 of the half width ``scale``."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale, validate_args=None):
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return super().expand(batch_shape, self._get_checked_instance(HalfCauchy, _instance))

    @property
    def mean(self):
        return ng.full(self._extended_shape(), math.inf, dtype=self.scale.dtype, device=self.scale.device)

    @property
    def variance(self):
        return self.base_dist.variance

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        value = ng.as_tensor(value, dtype=self.scale.dtype, device=self.scale.device)
        return ng.where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)
