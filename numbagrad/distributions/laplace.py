"""The Laplace distribution."""

import numbagrad as ng

from . import constraints
from ._centred import Centred
from .distribution import Distribution

__all__ = ["Laplace"]


class Laplace(Centred, Distribution):
    """Laplace distribution around ``loc``; distances from it are exponential of the mean ``scale``."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        super().__init__(self._take(loc=loc, scale=scale), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return self._expanded(Laplace, batch_shape, _instance, ("loc", "scale"))

    @property
    def variance(self):
        return 2 * self.scale.pow(2)

    @property
    def stddev(self):
        return 2 ** 0.5 * self.scale

    def rsample(self, sample_shape=ng.Size()):
        u = ng.empty(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        u.uniform_(ng.finfo(u.dtype).eps - 1, 1)
        return self.loc - self.scale * u.sign() * ng.log1p(-u.abs())

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return -ng.log(2 * self.scale) - ng.abs(value - self.loc) / self.scale

    def cdf(self, value):
        if self._validate_args:
            self._validate_sample(value)
        off = value - self.loc
        return 0.5 - 0.5 * off.sign() * ng.expm1(-off.abs() / self.scale)

    def icdf(self, value):
        term = value - 0.5
        return self.loc - self.scale * term.sign() * ng.log1p(-2 * term.abs())

    def entropy(self):
        return 1 + ng.log(2 * self.scale)
