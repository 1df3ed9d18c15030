"""What distributions share: broadcasting of parameters, logits and probabilities, properties computed once."""

import functools
import numbers

import numbagrad as ng
import numbagrad.nn.functional as F

__all__ = ["broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits", "tril_matrix_to_vec",
           "vec_to_tril_matrix"]

euler_constant = 0.57721566490153286060  # of Euler and Mascheroni
_Number = numbers.Number


def broadcast_all(*values):
    """Tensors of one shape; numbers become tensors of the first tensor's dtype and device, or of the default dtype."""
    if not all(isinstance(v, (ng.Tensor, numbers.Number)) for v in values):
        raise ValueError("Input arguments must all be instances of Number, torch.Tensor or objects implementing "
                         "__torch_function__.")
    first = next((v for v in values if isinstance(v, ng.Tensor)), None)
    options = {"dtype": ng.get_default_dtype()} if first is None else {"dtype": first.dtype, "device": first.device}
    return ng.broadcast_tensors(*[v if isinstance(v, ng.Tensor) else ng.tensor(v, **options) for v in values])


def _standard_normal(shape, dtype, device):
    """Fresh normal numbers."""
    return ng.empty(shape, dtype=dtype, device=device).normal_()


def _sum_rightmost(value, dim):
    """Sums over the last ``dim`` dimensions."""
    return value if dim == 0 else value.reshape(value.shape[:-dim] + (-1,)).sum(-1)


def logits_to_probs(logits, is_binary=False):
    """Probabilities of log odds (``is_binary``) or of unnormalized log probabilities along the last dimension."""
    return ng.sigmoid(logits) if is_binary else F.softmax(logits, dim=-1)


def clamp_probs(probs):
    """Probabilities kept an epsilon of their dtype away from 0 and 1."""
    eps = ng.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs, is_binary=False):
    """Log odds (``is_binary``) or logarithms of probabilities."""
    probs = clamp_probs(probs)
    return ng.log(probs) - ng.log1p(-probs) if is_binary else ng.log(probs)


class lazy_property:
    """A property that is computed when it is first read, with gradients, and lies in the instance's dict from then on."""

    def __init__(self, wrapped):
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)

    def __get__(self, instance, obj_type=None):
        if instance is None:
            return _lazy_property_and_property(self.wrapped)
        with ng.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


class _lazy_property_and_property(lazy_property, property):
    """What a class shows of a lazy property: documentation tools look for properties."""

    def __init__(self, wrapped):
        property.__init__(self, wrapped)


def _lower(n, diag, device):
    """Where an n by n matrix is below the diagonal number ``diag``, or on it."""
    columns = ng.arange(n, device=device)
    return columns < columns.view(-1, 1) + (diag + 1)


def tril_matrix_to_vec(mat, diag=0):
    """The elements of matrices below the diagonal number ``diag``, or on it, in a row."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    return mat[..., _lower(n, diag, mat.device)]


def vec_to_tril_matrix(vec, diag=0):
    """Matrices with such elements there and zeros elsewhere."""
    # n + diag + 1 rows and columns of a triangle hold (n + diag)(n + diag + 1) / 2 elements, less where diag cuts.
    n = (-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if round(n) - n > ng.finfo(vec.dtype).eps:
        raise ValueError(f"The size of last dimension is {vec.shape[-1]} which cannot be expressed as the lower triangular "
                         "part of a square D x D matrix.")
    n = round(n)
    mat = vec.new_zeros(vec.shape[:-1] + (n, n))
    mat[..., _lower(n, diag, vec.device)] = vec
    return mat
