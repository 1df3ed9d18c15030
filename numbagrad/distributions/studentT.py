"""Student's t distribution."""

import math

import numbagrad as ng

from . import constraints
from .chi2 import Chi2
from .distribution import Distribution
from .utils import _standard_normal, broadcast_all

__all__ = ["StudentT"]


class StudentT(Distribution):
    """Student's t distribution with ``df`` degrees of freedom, moved by ``loc`` and stretched by ``scale``."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return self._expanded(StudentT, batch_shape, _instance, ("df", "loc", "scale"), ("_chi2",))

    @property
    def mean(self):
        m = self.loc.clone(memory_format=ng.contiguous_format)
        m[self.df <= 1] = math.nan
        return m

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        m, finite = self.df.clone(memory_format=ng.contiguous_format), self.df > 2
        m[finite] = self.scale[finite].pow(2) * self.df[finite] / (self.df[finite] - 2)
        m[(self.df <= 2) & (self.df > 1)] = math.inf
        m[self.df <= 1] = math.nan
        return m

    def rsample(self, sample_shape=ng.Size()):
        x = _standard_normal(self._extended_shape(sample_shape), dtype=self.df.dtype, device=self.df.device)
        z = self._chi2.rsample(sample_shape)
        return self.loc + self.scale * (x * ng.rsqrt(z / self.df))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        normalizer = (self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + ng.lgamma(0.5 * self.df)
                      - ng.lgamma(0.5 * (self.df + 1.0)))
        return -0.5 * (self.df + 1.0) * ng.log1p(y ** 2.0 / self.df) - normalizer

    def entropy(self):
        low, high = 0.5 * self.df, 0.5 * (self.df + 1)
        lbeta = ng.lgamma(low) + math.lgamma(0.5) - ng.lgamma(high)
        return self.scale.log() + high * (ng.digamma(high) - ng.digamma(low)) + 0.5 * self.df.log() + lbeta
