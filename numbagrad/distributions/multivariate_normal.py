"""The normal distribution of vectors."""

import math

import numbagrad as ng

from . import constraints
from ._centred import Centred
from .distribution import Distribution
from .utils import _standard_normal, lazy_property

__all__ = ["MultivariateNormal"]


def _batch_mv(bmat, bvec):
    """Products of matrices and vectors, batches brought to one shape."""
    return ng.matmul(bmat, bvec.unsqueeze(-1)).squeeze(-1)


def _batch_mahalanobis(bL, bx):
    """``x^T (L L^T)^-1 x`` for a batch of vectors whose shape is a multiple of that of the factors.

    Vectors of one factor become columns of one triangular system, so that no factor is copied."""
    n, batch = bx.size(-1), bx.shape[:-1]
    outer = len(batch) - (bL.dim() - 2)
    # Each dimension of the factors' batch is split in (how often the factor comes, its number).
    split = bx.shape[:outer]
    for own, whole in zip(bL.shape[:-2], batch[outer:]):
        split += (whole // own, own)
    repeats, factors = range(outer, len(split), 2), range(outer + 1, len(split), 2)
    bx = bx.reshape(split + (n,)).permute([*range(outer), *repeats, *factors, len(split)])
    flat_L = bL.reshape(-1, n, n)
    columns = bx.reshape(-1, flat_L.size(0), n).permute(1, 2, 0)
    solved = ng.linalg.solve_triangular(flat_L, columns, upper=False).pow(2).sum(-2)
    pairs = [d for i in range(len(factors)) for d in (outer + i, outer + len(factors) + i)]
    return solved.t().reshape(bx.shape[:-1]).permute([*range(outer), *pairs]).reshape(batch)


def _precision_to_scale_tril(P):
    """The Cholesky factor of the inverse, from that of the matrix seen from its last corner."""
    factor = ng.linalg.cholesky(ng.flip(P, (-2, -1)))
    inverse = ng.transpose(ng.flip(factor, (-2, -1)), -2, -1)
    return ng.linalg.solve_triangular(inverse, ng.eye(P.shape[-1], dtype=P.dtype, device=P.device), upper=False)


def _log_diagonal(tril):
    """Half the logarithm of the determinant of L L^T."""
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


def _factor(name, matrix):
    """The Cholesky factor of the covariance from the matrix that is given."""
    if name == "scale_tril":
        return matrix
    return ng.linalg.cholesky(matrix) if name == "covariance_matrix" else _precision_to_scale_tril(matrix)


class MultivariateNormal(Centred, Distribution):
    """Normal distribution of vectors with the mean ``loc`` and one of three matrices: the covariance, its inverse, or its
    Cholesky factor."""

    arg_constraints = {"loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
                       "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = [(n, m) for n, m in zip(MATRICES, (covariance_matrix, precision_matrix, scale_tril)) if m is not None]
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        (name, matrix), = given
        if matrix.dim() < 2:
            what = "scale_tril matrix" if name == "scale_tril" else name
            raise ValueError(f"{what} must be at least two-dimensional, with optional leading batch dimensions")
        batch_shape = ng.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        setattr(self, name, matrix.expand(batch_shape + (-1, -1)))
        self.loc = loc.expand(batch_shape + (-1,))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = _factor(name, matrix)

    def expand(self, batch_shape, _instance=None):
        new = self._expanded(MultivariateNormal, batch_shape, _instance, ("loc",))
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        for name in MATRICES:
            if name in vars(self):
                setattr(new, name, vars(self)[name].expand(new._square()))
        return new

    def _square(self):
        return self._batch_shape + self._event_shape + self._event_shape

    @lazy_property
    def scale_tril(self):
        """The lower triangular factor of the covariance."""
        return self._unbroadcasted_scale_tril.expand(self._square())

    @lazy_property
    def covariance_matrix(self):
        """The covariance."""
        return ng.matmul(self._unbroadcasted_scale_tril, self._unbroadcasted_scale_tril.mT).expand(self._square())

    @lazy_property
    def precision_matrix(self):
        """The inverse of the covariance."""
        return ng.cholesky_inverse(self._unbroadcasted_scale_tril).expand(self._square())

    @property
    def variance(self):
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape=ng.Size()):
        eps = _standard_normal(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_scale_tril, eps)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        m = _batch_mahalanobis(self._unbroadcasted_scale_tril, value - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + m) - _log_diagonal(self._unbroadcasted_scale_tril)

    def entropy(self):
        h = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + _log_diagonal(self._unbroadcasted_scale_tril)
        return h.expand(self._batch_shape) if self._batch_shape else h
