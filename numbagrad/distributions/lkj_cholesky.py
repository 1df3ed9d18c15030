"""The LKJ distribution of Cholesky factors of correlation matrices."""

import math

import numbagrad as ng

from . import constraints
from .beta import Beta
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Factors of correlation matrices whose density is the determinant's power ``concentration - 1``.

    Samples by the onion method (Lewandowski, Kurowicka, Joe, 2009): a row's direction is uniform on a sphere, the square of its
    length below the diagonal a beta number."""

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim, concentration=1.0, validate_args=None):
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        self.concentration, = broadcast_all(concentration)
        rows = ng.arange(dim - 1, dtype=self.concentration.dtype, device=self.concentration.device)
        rows = ng.cat([rows.new_zeros((1,)), rows])
        marginal = self.concentration + 0.5 * (dim - 2)
        self._beta = Beta(rows + 0.5, marginal.unsqueeze(-1) - 0.5 * rows)
        super().__init__(self.concentration.size(), ng.Size((dim, dim)), validate_args)

    def expand(self, batch_shape, _instance=None):
        new, batch_shape = self._get_checked_instance(LKJCholesky, _instance), ng.Size(batch_shape)
        new.dim, new.concentration = self.dim, self.concentration.expand(batch_shape)
        new._beta = self._beta.expand(batch_shape + (self.dim,))
        return self._settled(new, batch_shape, self.event_shape)

    def sample(self, sample_shape=ng.Size()):
        y = self._beta.sample(sample_shape).unsqueeze(-1)
        normal = ng.randn(self._extended_shape(sample_shape), dtype=y.dtype, device=y.device).tril(-1)
        direction = normal / normal.norm(dim=-1, keepdim=True)
        direction[..., 0, :].fill_(0.0)  # the first row has nothing below the diagonal
        w = ng.sqrt(y) * direction
        diagonal = ng.clamp(1 - ng.sum(w ** 2, dim=-1), min=ng.finfo(w.dtype).tiny).sqrt()
        w += ng.diag_embed(diagonal)
        return w

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = ng.arange(2, self.dim + 1, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        n = self.dim - 1
        alpha = self.concentration + 0.5 * n
        normalizer = 0.5 * n * math.log(math.pi) + ng.mvlgamma(alpha - 0.5, n) - ng.lgamma(alpha) * n
        return ng.sum(order * diagonal.log(), dim=-1) - normalizer
