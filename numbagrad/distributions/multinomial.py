"""The multinomial distribution."""

import math

import numbagrad as ng

from . import constraints
from ._odds import Chosen
from .binomial import Binomial
from .categorical import Categorical
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["Multinomial"]


class Multinomial(Chosen, Distribution):
    """How often each category comes in ``total_count`` draws."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        self._binomial = Binomial(total_count=total_count, probs=self.probs)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        new = self._expanded(Multinomial, batch_shape, _instance, parts=("_categorical",))
        new.total_count = self.total_count
        return new

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):
        return constraints.multinomial(self.total_count)

    @property
    def mean(self):
        return self.probs * self.total_count

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=ng.Size()):
        sample_shape = ng.Size(sample_shape)
        drawn = self._categorical.sample(ng.Size((self.total_count,)) + sample_shape)
        drawn = drawn.permute(*range(1, drawn.dim()), 0)
        counts = ng.zeros(self._extended_shape(sample_shape), dtype=drawn.dtype, device=drawn.device)
        return counts.scatter_add_(-1, drawn, ng.ones_like(drawn)).type_as(self.probs)

    def entropy(self):
        n = ng.tensor(self.total_count)
        counts = self._binomial.enumerate_support(expand=False)[1:]
        likely = ng.exp(self._binomial.log_prob(counts))
        return (n * self._categorical.entropy() - ng.lgamma(n + 1)
                + (likely * ng.lgamma(counts + 1)).sum([0, -1]))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        logits = logits.clone(memory_format=ng.contiguous_format)
        logits[(value == 0) & (logits == -math.inf)] = 0  # 0 * -inf would be nan
        return ng.lgamma(value.sum(-1) + 1) - ng.lgamma(value + 1).sum(-1) + (logits * value).sum(-1)
