"""Exponential families: densities ``exp(<t(x), theta> - F(theta) + k(x))``."""

import numbagrad as ng

from .distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A distribution that knows its natural parameters and its log normalizer F, whose gradient gives the entropy."""

    @property
    def _natural_params(self):
        """theta, a tuple of tensors."""
        raise NotImplementedError

    def _log_normalizer(self, *natural_params):
        """F."""
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self):
        """The expected value of k(x)."""
        raise NotImplementedError

    def entropy(self):
        """F(theta) - <theta, F'(theta)> - E k(x), by automatic differentiation (Nielsen and Nock, 2010)."""
        theta = [p.detach().requires_grad_() for p in self._natural_params]
        normalizer = self._log_normalizer(*theta)
        slopes = ng.autograd.grad(normalizer.sum(), theta, create_graph=True)
        result = -self._mean_carrier_measure + normalizer
        for p, slope in zip(theta, slopes):
            result = result - (p * slope).reshape(self._batch_shape + (-1,)).sum(-1)
        return result
