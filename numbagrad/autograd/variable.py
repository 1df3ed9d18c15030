"""The old name of a tensor with gradient."""

import warnings

from ..core.tensor import Tensor


class _VariableMeta(type):
    def __instancecheck__(cls, other):
        return isinstance(other, Tensor)

    def __subclasscheck__(cls, other):
        return issubclass(other, Tensor) or type.__subclasscheck__(cls, other)


class Variable(metaclass=_VariableMeta):
    """``Variable(tensor, requires_grad=False)``: the same memory as a new leaf tensor."""

    def __new__(cls, data=None, requires_grad=False, volatile=None):
        if volatile is not None:
            warnings.warn("volatile was removed and now has no effect. Use `with torch.no_grad():` "
                          "instead.", UserWarning,
                          stacklevel=2)
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        out = data.detach()
        return out.requires_grad_() if requires_grad else out
