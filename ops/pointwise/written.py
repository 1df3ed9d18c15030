"""In-place methods beside the ops: comparisons, diagonals, Python functions of each element; and PyTorch's oldest names."""

from __future__ import annotations

import numbagrad
from numbagrad.autograd.inplace import check, check_mode
from numbagrad.core.creation import tensor
from numbagrad.core.tensor import bump_version
from numbagrad.dispatch.op import add_function, add_method
from numbagrad.extend import REGISTRY, Tensor

COMPARISONS = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": None, "ne": "not_equal"}


def _comparison(name, alias):
    op = REGISTRY[name].callable

    def compare(self, other):
        check_mode(self)
        value = op(self.detach(), other.detach() if isinstance(other, Tensor) else other)
        if value._shape != self._shape:
            raise RuntimeError(f"output with shape {list(self._shape)} doesn't match the broadcast shape {list(value._shape)}")
        return self.copy_(value)
    compare.__name__ = name + "_"
    compare.__doc__ = f"In-place form of ``{name}``: ones and zeros of the tensor's own dtype."
    add_method(compare, aliases=(alias + "_",) if alias else (), other="any")


for _name, _alias in COMPARISONS.items():
    _comparison(_name, _alias)


def fill_diagonal_(self, fill_value, wrap=False):
    """Fill the main diagonal (all elements whose indices are equal); with ``wrap`` it begins anew below a tall matrix' end."""
    if len(self._shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(self._shape) > 2 and len(set(self._shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    check(self, "fill_diagonal_")
    strides, n = self.stride(), min(self._shape)
    step = sum(strides)
    self.as_strided((n,), (step,), self.storage_offset()).fill_(fill_value)
    rows, columns = self._shape[:2]
    if wrap and len(self._shape) == 2 and rows > columns + 1:
        # The next diagonals begin after one row that stays as it is.
        for first in range(columns + 1, rows, columns + 1):
            k = min(columns, rows - first)
            self.as_strided((k,), (step,), self.storage_offset() + first * strides[0]).fill_(fill_value)
    return self


def _elements(name, self, tensors, fn):
    if self._kind.device.type != "cpu":
        raise TypeError(f"{name} is only implemented on CPU tensors")
    check(self, name, tensors)
    values = [fn(*each) for each in zip(*[t.detach().flatten().tolist() for t in (self, *tensors)])]
    if values:
        self.detach().copy_(tensor(values, dtype=self.dtype).reshape(self._shape))
        bump_version(self)
    return self


def apply_(self, callable):
    """Replace each element by ``callable(element)``, a Python function of a number; slow."""
    if self._rg:
        raise RuntimeError("Can't call apply_() on Variable that requires grad. Use var.detach().apply_() instead.")
    return _elements("apply_", self, (), callable)


def map_(self, tensor, callable):
    """Replace each element by ``callable(element, element of tensor)``; slow."""
    if self._rg or tensor._rg:
        raise RuntimeError("Can't call map_() on Variable that requires grad. Use var.detach().map_() instead.")
    return _elements("map_", self, (_like("map_", self, tensor),), callable)


def map2_(self, x, y, callable):
    """Replace each element by ``callable(element, element of x, element of y)``; slow."""
    if self._rg or x._rg or y._rg:
        raise RuntimeError("Can't call map2_() on Variable that requires grad. Use var.detach().map2_() instead.")
    return _elements("map2_", self, (_like("map2_", self, x), _like("map2_", self, y)), callable)


def _like(name, self, other):
    """Another operand in the shape of ``self``."""
    if other._kind.dtype is not self._kind.dtype:
        raise TypeError(f"{name}: expected a tensor of {self.dtype}, got {other.dtype}")
    return other.expand(self._shape)


def is_nonzero(input):
    """Whether the one element of a tensor is not zero."""
    if input._n != 1:
        raise RuntimeError("Boolean value of Tensor with " + ("no values" if not input._n else "more than one value") +
                           " is ambiguous")
    return bool(input)


def new(self, *args, device=None):
    """A tensor of this one's dtype and device: of a shape, with undefined elements, or of a list; or a tensor itself."""
    place = {"dtype": self.dtype, "device": self.device if device is None else device}
    if len(args) == 1 and not isinstance(args[0], (int, numbagrad.Size)):
        if isinstance(args[0], Tensor):
            if args[0]._kind.dtype is not self._kind.dtype:
                raise TypeError(f"expected {self.type()} (got {args[0].type()})")
            return args[0].detach()
        return tensor(list(args[0]) if not hasattr(args[0], "dtype") else args[0], **place)
    shape = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
    return numbagrad.empty(tuple(shape) if args else (0,), **place)


add_method(fill_diagonal_, fill_value="number", wrap="bool")
for _fn in (apply_, map_, map2_, new):
    add_method(_fn)
add_function(numbagrad, is_nonzero, method=True)
