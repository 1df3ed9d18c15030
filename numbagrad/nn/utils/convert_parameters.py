"""Parameters as one vector, and back."""

import numbagrad as ng

from ...core.tensor import Tensor
from ..modules.module import _typename

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _on_one_device(parameters):
    parameters = list(parameters)
    if len({str(p.device) for p in parameters}) > 1:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
    return parameters


def parameters_to_vector(parameters):
    """All parameters, flattened and joined into one 1-D tensor."""
    return ng.cat([p.view(-1) for p in _on_one_device(parameters)])


def vector_to_parameters(vec, parameters):
    """Make consecutive slices of ``vec`` the data of ``parameters``; they share its storage."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {_typename(vec)}")
    start = 0
    for p in _on_one_device(parameters):
        p.data = vec[start : start + p.numel()].view_as(p).data
        start += p.numel()
