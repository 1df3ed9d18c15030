"""The Wishart distribution of positive definite matrices."""

import math
import warnings

import numbagrad as ng

from . import constraints
from .chi2 import Chi2
from .exp_family import ExponentialFamily
from .multivariate_normal import MATRICES, _factor, _log_diagonal
from .utils import _Number, lazy_property

__all__ = ["Wishart"]

_log_2 = math.log(2)


def _mvdigamma(x, p):
    """The derivative of ``mvlgamma``."""
    if not x.gt((p - 1) / 2).all():
        raise AssertionError("Wrong domain for multivariate digamma function.")
    return ng.digamma(x.unsqueeze(-1) - ng.arange(p, dtype=x.dtype, device=x.device).div(2).expand(x.shape + (-1,))).sum(-1)


class Wishart(ExponentialFamily):
    """The distribution of ``sum x x^T`` over ``df`` normal vectors of the mean 0 and a covariance, which is given as such, by
    its inverse or by its Cholesky factor."""

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    @property
    def arg_constraints(self):
        return {"covariance_matrix": constraints.positive_definite, "precision_matrix": constraints.positive_definite,
                "scale_tril": constraints.lower_cholesky, "df": constraints.greater_than(self.event_shape[-1] - 1)}

    def __init__(self, df, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        given = [(n, m) for n, m in zip(MATRICES, (covariance_matrix, precision_matrix, scale_tril)) if m is not None]
        if len(given) != 1:
            raise AssertionError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        (name, matrix), = given
        if matrix.dim() < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        batch_shape = matrix.shape[:-2]
        if isinstance(df, _Number):
            self.df = ng.tensor(df, dtype=matrix.dtype, device=matrix.device)
        else:
            batch_shape = ng.broadcast_shapes(batch_shape, df.shape)
            self.df = df.expand(batch_shape)
        event_shape = matrix.shape[-2:]
        n = event_shape[-1]
        if self.df.le(n - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        setattr(self, name, matrix.expand(batch_shape + (-1, -1)))
        if self.df.lt(n).any():
            warnings.warn("Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
                          stacklevel=2)
        super().__init__(batch_shape, event_shape, validate_args=validate_args)
        self._unbroadcasted_scale_tril = _factor(name, matrix)
        self._prepare()

    def _prepare(self):
        """What samples are drawn with: chi-squared numbers with one degree of freedom less in each row."""
        self._batch_dims = [-(x + 1) for x in range(len(self._batch_shape))]
        tril = self._unbroadcasted_scale_tril
        rows = ng.arange(self._event_shape[-1], dtype=tril.dtype, device=tril.device)
        self._dist_chi2 = Chi2(df=self.df.unsqueeze(-1) - rows.expand(self._batch_shape + (-1,)))

    def expand(self, batch_shape, _instance=None):
        new, batch_shape = self._get_checked_instance(Wishart, _instance), ng.Size(batch_shape)
        square = batch_shape + self.event_shape
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril.expand(square)
        new.df = self.df.expand(batch_shape)
        for name in MATRICES:
            if name in vars(self):
                setattr(new, name, vars(self)[name].expand(square))
        self._settled(new, batch_shape, self.event_shape)
        new._prepare()
        return new

    @lazy_property
    def scale_tril(self):
        """The lower triangular factor of the covariance."""
        return self._unbroadcasted_scale_tril.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def covariance_matrix(self):
        """The covariance of the normal vectors."""
        tril = self._unbroadcasted_scale_tril
        return (tril @ tril.transpose(-2, -1)).expand(self._batch_shape + self._event_shape)

    @lazy_property
    def precision_matrix(self):
        """The inverse of the covariance."""
        tril = self._unbroadcasted_scale_tril
        identity = ng.eye(self._event_shape[-1], device=tril.device, dtype=tril.dtype)
        return ng.cholesky_solve(identity, tril).expand(self._batch_shape + self._event_shape)

    def _over_matrices(self, x):
        return x.view(self._batch_shape + (1, 1))

    @property
    def mean(self):
        return self._over_matrices(self.df) * self.covariance_matrix

    @property
    def mode(self):
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        factor[factor <= 0] = math.nan
        return self._over_matrices(factor) * self.covariance_matrix

    @property
    def variance(self):
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self._over_matrices(self.df) * (v.pow(2) + ng.einsum("...i,...j->...ij", diagonal, diagonal))

    def _bartlett_sampling(self, sample_shape=ng.Size()):
        """Samples by Bartlett's decomposition: roots of chi-squared numbers on a diagonal, normal ones below it."""
        p = self._event_shape[-1]
        noise = self._dist_chi2.rsample(sample_shape).sqrt()
        noise = noise.clamp(min=ng.finfo(noise.dtype).eps).diag_embed(dim1=-2, dim2=-1)
        i, j = ng.tril_indices(p, p, offset=-1)
        noise[..., i, j] = ng.randn(ng.Size(sample_shape) + self._batch_shape + (p * (p - 1) // 2,), dtype=noise.dtype,
                                    device=noise.device)
        chol = self._unbroadcasted_scale_tril @ noise
        return chol @ chol.transpose(-2, -1)

    def _over_batch(self, flags):
        return flags.amax(self._batch_dims) if self._batch_shape else flags

    def rsample(self, sample_shape=ng.Size(), max_try_correction=None):
        """Samples; singular ones are drawn anew, ``max_try_correction`` times at most (10 if None).

        As in PyTorch the first look takes the samples that are positive definite for the singular ones."""
        sample_shape = ng.Size(sample_shape)
        sample = self._bartlett_sampling(sample_shape)
        singular = self._over_batch(self.support.check(sample))
        if singular.any():
            warnings.warn("Singular sample detected.", stacklevel=2)
            for _ in range(10 if max_try_correction is None else max_try_correction):
                again = self._bartlett_sampling(singular[singular].shape)
                sample[singular] = again
                singular[singular.clone()] = self._over_batch(~self.support.check(again))
                if not singular.any():
                    break
        return sample

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        nu, p, tril = self.df, self._event_shape[-1], self._unbroadcasted_scale_tril
        trace = ng.cholesky_solve(value, tril).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        return (-nu * (p * _log_2 / 2 + _log_diagonal(tril)) - ng.mvlgamma(nu / 2, p=p)
                + (nu - p - 1) / 2 * ng.linalg.slogdet(value).logabsdet - trace / 2)

    def entropy(self):
        nu, p = self.df, self._event_shape[-1]
        return ((p + 1) * (p * _log_2 / 2 + _log_diagonal(self._unbroadcasted_scale_tril)) + ng.mvlgamma(nu / 2, p=p)
                - (nu - p - 1) / 2 * _mvdigamma(nu / 2, p=p) + nu * p / 2)

    @property
    def _natural_params(self):
        return -self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2

    def _log_normalizer(self, x, y):
        p = self._event_shape[-1]
        half = y + (p + 1) / 2
        return half * (-ng.linalg.slogdet(-2 * x).logabsdet + _log_2 * p) + ng.mvlgamma(half, p=p)
