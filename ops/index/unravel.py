"""Numbers of elements as coordinates, those of nonzero elements in a fixed number of rows, and small methods of tensors."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.broadcast import sum_to_size as summed
from numbagrad.core.out import write_out
from numbagrad.dispatch.op import add_method
from numbagrad.extend import REGISTRY, Sample, function


@function(reference=lambda i, shape: np.unravel_index(i, shape), method=False, dtypes="int64", differentiable=False,
          kinds={"shape": "any"}, samples=(Sample(("int64", (3, 4), 0, 24), (2, 3, 4)), Sample(("int64", (), 0, 6), 6)))
def unravel_index(indices, shape: object):
    """Coordinates, a tensor per dimension, of elements of a tensor of this shape that are given by their numbers."""
    if indices._kind.dtype.category > 1 or indices._kind.dtype.category == 0:
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    if isinstance(shape, int):
        shape = (shape,)
    elif not hasattr(shape, "__iter__"):
        raise TypeError(f"expected 'shape' to be int or sequence of ints, but got {type(shape)}")
    indices = indices.to(dtype=dt.promote_types(indices._kind.dtype, dt.int64))  # (what meets no int64 has no coordinates)
    shape = tuple(shape)
    for s in shape:
        if not isinstance(s, int):
            raise TypeError(f"expected 'shape' sequence to only contain ints, but got {type(s)}")
    if any([s < 0 for s in shape]):
        raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    whole, rest = REGISTRY["floor_divide"].callable, REGISTRY["remainder"].callable
    steps = [math.prod(shape[i + 1:]) for i in range(len(shape))]
    return tuple([rest(whole(indices, step) if step != 1 else indices, s) for step, s in zip(steps, shape)])


@function(reference=lambda a, size, fill_value=-1: _rows(np.argwhere(a), size, fill_value), dtypes="any", differentiable=False,
          samples=(Sample((3, 4), size=5), Sample((3,), size=4, fill_value=7)))
def nonzero_static(input, *, size, fill_value=-1, out=None):
    """Coordinates of the first ``size`` nonzero elements; rows of ``fill_value`` where there are fewer."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    if (not size or not input._shape) and input._kind.dtype.barebones:  # (which ``nonzero`` refuses)
        input = input.bool()
    found = REGISTRY["nonzero"].fn(input)[:size]  # (a batch of this function is no batch of that)
    missing = size - found._shape[0]
    if missing:
        found = REGISTRY["cat"].callable([found, found.new_full((missing, found._shape[1]), fill_value)])
    return found if out is None else write_out("nonzero_static", out, found, (input,))


def _rows(found, size, fill_value):
    full = np.full((size, found.shape[1]), fill_value)
    full[:len(found)] = found[:size]
    return full


def sum_to_size(self, *size):
    """The sum over the dimensions along which ``size`` would be broadcast to this tensor's shape."""
    size = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    lead = len(self._shape) - len(size)
    if lead < 0 or any([a != b and a != 1 for a, b in zip(size, self._shape[lead:])]):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(self._shape)}}}.")
    return summed(self, size) if size else REGISTRY["sum"].callable(self)


def dim_order(self, *, ambiguity_check=False):
    """Dimensions in the order in which they lie in memory, outermost first."""
    strides = self.stride()
    if ambiguity_check and any([n == 1 for n in self._shape]):
        raise RuntimeError("The tensor does not have unique dim order, or cannot map to exact one of the given memory formats.")
    return tuple(sorted(range(len(strides)), key=lambda d: -strides[d]))


def new_empty_strided(self, size, stride, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """``empty_strided`` with this tensor's dtype and device."""
    from numbagrad.core.factories import empty_strided
    return empty_strided(size, stride, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def pin_memory(self, device=None):
    """Pages are pinned by transfers themselves where that pays; without a device PyTorch's error."""
    from numbagrad.kernel import cuda
    if not cuda.available():
        raise RuntimeError("Cannot access accelerator device when none is available.")
    return self


for _fn in (sum_to_size, new_empty_strided, pin_memory, dim_order):
    add_method(_fn, size="any", stride="any", dtype="any", layout="any", device="any", pin_memory="any", requires_grad="any",
               masked_grad="any", ambiguity_check="any")
