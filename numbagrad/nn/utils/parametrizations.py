"""Parametrizations of weights: orthogonal matrices, length and direction apart, largest singular value 1."""

from enum import Enum, auto

import numbagrad as ng

from ...core.tensor import Tensor
from .. import functional as F
from ..modules.conv_transpose import _ConvTransposeNd
from ..modules.module import Module
from . import parametrize

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _is_orthogonal(q):
    n, k = q.size(-2), q.size(-1)
    one = ng.eye(k, dtype=q.dtype, device=q.device)
    return ng.allclose(q.mH @ q, one, atol=10.0 * n * ng.finfo(q.dtype).eps)


def _make_orthogonal(a):
    """The nearest thing to ``a`` with orthonormal columns: Q of its QR decomposition with a positive diagonal in R."""
    x, tau = ng.geqrf(a)
    q = ng.linalg.householder_product(x, tau)
    q *= x.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)
    return q


class _OrthMaps(Enum):
    matrix_exp = auto()
    cayley = auto()
    householder = auto()


class _Orthogonal(Module):
    """Orthogonal (unitary) matrices of free ones; with ``use_trivialization`` around the matrix ``base``."""

    def __init__(self, weight, orthogonal_map, *, use_trivialization=True):
        super().__init__()
        if weight.is_complex() and orthogonal_map == _OrthMaps.householder:
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X):
        transposed = X.size(-2) < X.size(-1)
        if transposed:
            X = X.mT
        q = self._reflections(X) if self.orthogonal_map == _OrthMaps.householder else self._of_skew(X)
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if transposed else q

    def _of_skew(self, X):
        n, k = X.size(-2), X.size(-1)
        X = X.tril()
        if n != k:
            X = ng.cat([X, X.new_zeros(n, n - k).expand(*X.shape[:-2], -1, -1)], dim=-1)
        skew = X - X.mH
        if self.orthogonal_map == _OrthMaps.matrix_exp:
            q = ng.matrix_exp(skew)
        else:
            one = ng.eye(n, dtype=skew.dtype, device=skew.device)
            q = ng.linalg.solve(ng.add(one, skew, alpha=-0.5), ng.add(one, skew, alpha=0.5))
        return q[..., :k] if n != k else q

    def _reflections(self, X):
        vectors = X.tril(diagonal=-1)
        tau = 2.0 / (1.0 + (vectors * vectors).sum(dim=-2))
        q = ng.linalg.householder_product(vectors, tau)
        # The diagonal holds signs, through which nothing is differentiated.
        return q * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)

    @ng.no_grad()
    def right_inverse(self, Q):
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        transposed = Q.size(-2) < Q.size(-1)
        tall = Q.mT if transposed else Q
        if hasattr(self, "base"):
            return self._trivialize(Q, tall)
        if self.orthogonal_map != _OrthMaps.householder:
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                "use_trivialization=False."
            )
        a, tau = ng.geqrf(tall)
        a.diagonal(dim1=-2, dim2=-1).sign_()
        # LAPACK gives exactly 0 where it leaves a reflection out.
        a.diagonal(dim1=-2, dim2=-1)[tau == 0.0] *= -1
        return a.mT if transposed else a

    def _trivialize(self, Q, tall):
        """Make ``tall``, completed to a square orthogonal matrix, the base; the free matrix begins at -1."""
        n, k = tall.size(-2), tall.size(-1)
        if n == k:
            base = tall.clone() if _is_orthogonal(tall) else _make_orthogonal(tall)
        else:
            more = ng.randn(*tall.size()[:-2], n, n - k, dtype=tall.dtype, device=tall.device)
            base = _make_orthogonal(ng.cat([tall, more], dim=-1))
        self.base = base
        start = ng.zeros_like(Q)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Keep a weight of at least two dimensions orthogonal: its columns, or rows where it is wide, are orthonormal.

    ``orthogonal_map``: "matrix_exp" (the default for square or complex ones), "cayley" or "householder".
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1)
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    chosen = getattr(_OrthMaps, orthogonal_map, None)
    if chosen is None:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, chosen, use_trivialization=use_trivialization)
    parametrize.register_parametrization(module, name, made, unsafe=True)
    return module


class _WeightNorm(Module):
    def __init__(self, dim=0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return ng._weight_norm(weight_v, weight_g, self.dim)

    def right_inverse(self, weight):
        return ng.norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module, name="weight", dim=0):
    """Make a weight ``g * v / |v|``: lengths ``original0`` along ``dim`` (None: one length), directions ``original1``."""
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def take_former_names(state_dict, prefix, *rest):
        former = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in former):
            values = [state_dict.pop(key) for key in former]
            for i, value in enumerate(values):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = value

    module._register_load_state_dict_pre_hook(take_former_names)
    return module


class _SpectralNorm(Module):
    """The weight over an estimate of its largest singular value, by power iterations on the buffers ``_u`` and ``_v``."""

    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but "
                f"got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim if dim >= 0 else dim + ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._reshape_weight_to_matrix(weight)
            u, v = (matrix.new_empty(n).normal_(0, 1) for n in matrix.size())
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._power_method(matrix, 15)

    def _reshape_weight_to_matrix(self, weight):
        if self.dim != 0:
            weight = weight.permute(self.dim, *(d for d in range(weight.dim()) if d != self.dim))
        return weight.flatten(1)

    @ng.no_grad()
    def _power_method(self, matrix, n_power_iterations):
        # In place, so that all modules on these buffers go on from one state.
        for _ in range(n_power_iterations):
            self._u = F.normalize(ng.mv(matrix, self._v), dim=0, eps=self.eps, out=self._u)
            self._v = F.normalize(ng.mv(matrix.mH, self._u), dim=0, eps=self.eps, out=self._v)

    def forward(self, weight):
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._reshape_weight_to_matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # Copies, so that a backward of this call may come after the next call.
        u, v = self._u.clone(), self._v.clone()
        return weight / ng.vdot(u, ng.mv(matrix, v))

    def right_inverse(self, value):
        return value


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide a weight by its largest singular value, as a matrix of rows along ``dim`` (1 for transposed convolutions)."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if isinstance(module, _ConvTransposeNd) else 0
    parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
    return module
