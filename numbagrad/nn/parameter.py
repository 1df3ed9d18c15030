"""Tensors that a Module registers by itself: trainable parameters and buffers."""

import numbagrad as ng

from ..core.printing import PLAIN, parameter_str
from ..core.tensor import Tensor, as_class

__all__ = ["Buffer", "Parameter", "is_lazy"]

# Entries of a tensor's __dict__ that belong to the engine, not to the user.
_PRIVATE = ("_numbagrad", "_inference")


class Parameter(Tensor):
    """A leaf tensor that a Module lists among its parameters when it is assigned as an attribute.

    ``data`` (default: an empty tensor) shares its storage with the parameter. RuntimeError when gradients are asked
    for (the default) and the dtype has none.
    """

    __slots__ = ()

    def __new__(cls, data=None, requires_grad=True):
        if data is None:
            data = ng.empty(0)
        if requires_grad and not (data.is_floating_point() or data.is_complex()):
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        parameter = as_class(data.detach(), cls)
        return parameter.requires_grad_() if requires_grad else parameter

    def __init__(self, data=None, requires_grad=True):
        pass

    def __repr__(self, *, tensor_contents=None):
        text = super().__repr__(tensor_contents=tensor_contents)
        return parameter_str(text if type(self) in PLAIN else f"Parameter({text})")

    def __deepcopy__(self, memo):
        known = memo.get(id(self))
        if known is not None:
            return known
        copy = memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return copy

    def __reduce_ex__(self, protocol):
        attributes = {name: value for name, value in self.__dict__.items() if name not in _PRIVATE}
        return _rebuild_parameter, (type(self), self.data, self.requires_grad, attributes)


def _rebuild_parameter(cls, data, requires_grad, attributes):
    parameter = cls(data, requires_grad)
    parameter.__dict__.update(attributes)
    return parameter


class Buffer(Tensor):
    """A tensor without gradient that a Module lists among its buffers when it is assigned as an attribute.

    ``persistent`` says whether the buffer is part of the module's ``state_dict``.
    """

    __slots__ = ()

    def __new__(cls, data=None, *, persistent=True):
        if data is None:
            data = ng.empty(0)
        buffer = as_class(data.detach(), cls).requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        return buffer

    def __init__(self, data=None, *, persistent=True):
        pass

    def __deepcopy__(self, memo):
        known = memo.get(id(self))
        if known is not None:
            return known
        copy = memo[id(self)] = type(self)(self.data.clone(), persistent=self.persistent)
        return copy

    def __reduce_ex__(self, protocol):
        return _rebuild_buffer, (type(self), self.data, self.persistent)


def _rebuild_buffer(cls, data, persistent):
    return cls(data, persistent=persistent)


PLAIN.update((Parameter, Buffer))


def is_lazy(param):
    """Always False: parameters without a known shape do not exist here."""
    return False
