"""The geometric distribution."""

import numbagrad as ng
import numbagrad.nn.functional as F

from . import constraints
from ._odds import Odds
from .distribution import Distribution, _shown
from .utils import broadcast_all

__all__ = ["Geometric"]


class Geometric(Odds, Distribution):
    """How many Bernoulli trials fail before the first that succeeds."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs=None, logits=None, validate_args=None):
        super().__init__(self._take_odds(probs, logits), validate_args=validate_args)
        if self._validate_args and probs is not None:
            positive = self.probs > 0
            if not positive.all():
                raise ValueError(f"Expected parameter probs {_shown(self.probs)} of distribution {self!r} to be positive but "
                                 f"found invalid values:\n{self.probs.data[~positive]}")

    def expand(self, batch_shape, _instance=None):
        return self._expanded_odds(Geometric, batch_shape, _instance)

    @property
    def mean(self):
        return 1.0 / self.probs - 1.0

    @property
    def mode(self):
        return ng.zeros_like(self.probs)

    @property
    def variance(self):
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape=ng.Size()):
        with ng.no_grad():
            u = ng.empty(self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device)
            u.uniform_(ng.finfo(u.dtype).tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        probs = probs.clone(memory_format=ng.contiguous_format)
        probs[(probs == 1) & (value == 0)] = 0  # 0 * log(0) would be nan
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self):
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs
