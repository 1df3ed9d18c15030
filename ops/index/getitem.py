"""Indexing: ``x[...]`` and the ops behind it."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base import overriding
from numbagrad.base.modes import STATE, transform
from numbagrad.core.tensor import contiguous_strides, from_array
from numbagrad.dispatch.view import place, settle
from numbagrad.extend import REGISTRY, Tensor
from numbagrad.kernel import tape

from ..view.dims import unsqueeze
from ..view.shape import alias
from ..view.slicing import select, selected, slice_, sliced
from . import plans as ix
from .by_plan import collect
from .chosen import by_mask, chosen
from .places import taken, taken_at_two

# --- one index tensor -------------------------------------------------------------------------------------------------

_index = taken.recorded_as("IndexBackward0")
_index_two = taken_at_two.recorded_as("IndexBackward0")
_index_true = chosen.recorded_as("IndexBackward0")
_index.node_class.holds_more = _index_true.node_class.holds_more = _index_two.node_class.holds_more = True


def of_one(shape, dim, index, kind=None, values=None):
    """``where`` of ``x[index]``, ``x[:, index]`` ... with an index tensor of integers."""
    if not shape:
        raise IndexError("too many indices for tensor of dimension 0")
    return ix.named_by(shape, dim, index)


def only_tensors(t, index):
    """What a tuple of index tensors of integers is, with full slices around one: (its dimension, that one), or (None, the
    tensors) for the first dimensions, or None for all else."""
    found, dim = None, 0
    for i, item in enumerate(index):
        c = item.__class__
        if c is Tensor:
            if item._kind is not ix.INT64 or not item._shape:
                return None
            if found is not None:
                return (None, index) if all([x.__class__ is Tensor and x._kind is ix.INT64 and x._shape for x in index]) and (
                    len(index) <= len(t._shape)) else None
            found, dim = item, i
        elif c is not slice or item.start is not None or item.stop is not None or item.step is not None:
            if item is Ellipsis and i == 0 and len(index) == 2 and index[1].__class__ is Tensor:
                last = index[1]
                return (len(t._shape) - 1, last) if last._kind is ix.INT64 and last._shape and t._shape else None
            return None
    return None if found is None or len(index) > len(t._shape) else (dim, found)


# --- index expressions ------------------------------------------------------------------------------------------------

def is_plain(item):
    """Whether an index is a list of Python's integers alone, or of its bools alone."""
    return item.__class__ is list and set(map(type, item)) in PLAIN_LISTS


PLAIN_LISTS = ({int}, {bool})


KINDS = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices"


SMALL = 1 << 16  # elements up to which masks of rows are index tensors, which have plans


def as_places(t, index):
    """A tuple whose lists are tensors, and, if it is of integers, slices and tensors, whose masks of one dimension are index
    tensors: of a small tensor on the CPU whose values are known."""
    if list in map(type, index):
        index = tuple([to_index(i) if is_plain(i) else i for i in index])
    if Tensor in map(type, index) and t._n <= SMALL and t._kind.cpu and not STATE and not tape.TAPE and len(index) <= len(
            t._shape) and ITEMS.issuperset(map(type, index)):
        index = tuple([ix.places(i) if i.__class__ is Tensor and i._kind is ix.BOOL and i._shape == t._shape[at:at + 1] else i
                       for at, i in enumerate(index)])
        if len(index) == 2 == len(t._shape):  # a number beside an index tensor is one, too
            (a, b), (m, n) = index, t._shape
            if a.__class__ is int and b.__class__ is Tensor and b._kind is ix.INT64 and b._shape and -m <= a < m:
                index = ix.one_place(a), b
            elif b.__class__ is int and a.__class__ is Tensor and a._kind is ix.INT64 and a._shape and -n <= b < n:
                index = a, ix.one_place(b)
    return index


ITEMS = {int, slice, Tensor}


def to_index(item):
    """A list, array, number or tensor as an index tensor."""
    if isinstance(item, Tensor):
        return item
    if isinstance(item, np.ndarray):
        return from_array(np.ascontiguousarray(item))
    if isinstance(item, (list, tuple, range)):
        from numbagrad.core.creation import tensor
        item = list(item)
        if is_plain(item):
            try:
                return from_array(np.array(item, np.int64 if item[0].__class__ is int else np.bool_))
            except OverflowError:
                pass
        return tensor(item) if item else tensor(item, dtype=dt.int64)
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    raise IndexError(f"{KINDS} (got {type(item).__name__})")


def _slice_bounds(item):
    if not all([i is None or hasattr(i, "__index__") for i in (item.start, item.stop, item.step)]):
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    step = 1 if item.step is None else item.step.__index__()
    if step < 1:
        raise ValueError("slice step cannot be zero" if step == 0 else "step must be greater than zero")
    return (None if item.start is None else item.start.__index__(), None if item.stop is None else item.stop.__index__(),
            step)


def width_of(item):
    """How many dimensions an index item takes up."""
    if item is None or item is True or item is False or item is Ellipsis:
        return 0
    if isinstance(item, Tensor) and item._kind.dtype in (dt.bool_, dt.uint8):
        return len(item._shape)
    return 1


_memo: dict = {}


def _known(key, geometry):
    """The settled geometry under a key, computed once."""
    found = _memo.get(key)
    if found is None:
        if len(_memo) >= 4096:
            _memo.clear()
        found = _memo[key] = settle(geometry(*key))
    return found


def at(x, i, dim):
    """The view without dimension ``dim`` at index i."""
    shape = x._shape
    if not shape:
        raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
                         "convert a 0-dim tensor to a number")
    n = shape[dim]
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of bounds for dimension {dim} with size {n}")
    if x._strides is None and dim == 0:
        part = x._n // n
        return place(select, x, (shape[1:], None, (i if i >= 0 else i + n) * part, part), (0, i))
    key = (shape, x._strides, dim, i)
    return place(select, x, _memo.get(key) or _known(key, _at_geometry), (dim, i))


def _at_geometry(shape, strides, dim, i):
    return selected(shape, strides or contiguous_strides(shape), dim, i)


def from_to(x, item, dim):
    shape = x._shape
    if not shape:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    start, stop, step = item.start, item.stop, item.step
    if step is not None or start.__class__ not in PLAIN or stop.__class__ not in PLAIN:
        start, stop, step = _slice_bounds(item)
    else:
        step = 1
    key = (shape, x._strides, dim, start, stop, step)
    return place(slice_, x, _memo.get(key) or _known(key, _from_to_geometry), (dim, start, stop, step))


PLAIN = (int, type(None))


def _from_to_geometry(shape, strides, dim, start, stop, step):
    return sliced(shape, strides or contiguous_strides(shape), dim, start, stop, step)


SIMPLE = {int, slice, type(None), type(Ellipsis)}


def basic(x, index):
    """The view of a tuple of integers, slices, None and Ellipsis; None where there is something else in it."""
    width = 0
    for item in index:
        c = item.__class__
        if c is int or c is slice:
            width += 1
        elif c not in SIMPLE:
            return None
    if width > len(x._shape):
        return None
    dim, start, rest = 0, x, len(x._shape) - width
    for item in index:
        c = item.__class__
        if c is int:
            x = at(x, item, dim)
        elif c is slice:
            if item.start is not None or item.stop is not None or item.step is not None or len(index) == 1:
                x = from_to(x, item, dim)
            dim += 1
        elif item is None:
            x = unsqueeze.call(x, dim)
            dim += 1
        else:
            dim += rest
    return alias.call(x) if x is start else x


def _alone(item, items):
    """Whether a capture may take a number in a tensor as an index tensor: its value is known in each run only."""
    return tape.active() is not None and not any([isinstance(i, Tensor) for i in items if i is not item])


def parse(x, index):
    """Apply the basic part of a tuple index: (view, index tensors per dimension of the view or None)."""
    items = []
    width = 0
    for item in index:
        if not (item is None or item is Ellipsis or item.__class__ in (int, bool, slice) or isinstance(item, Tensor)):
            if isinstance(item, (bool, np.bool_)):
                item = bool(item)
            elif hasattr(item, "__index__") and not isinstance(item, np.ndarray):
                item = item.__index__()
            else:
                item = to_index(item)
        items.append(item)
        width += width_of(item)
    ndim = len(x._shape)
    if width > ndim:
        if ndim == 0 and not any(isinstance(i, Tensor) for i in items):
            return at(x, 0, 0), None
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    dim, tensors = 0, None
    start = x
    for item in items:
        c = item.__class__
        if c is int:
            x = at(x, item, dim)
        elif c is slice:
            if item.start is not None or item.stop is not None or item.step is not None or len(items) == 1:
                x = from_to(x, item, dim)
            dim += 1
        elif item is Ellipsis:
            dim += ndim - width
        elif item is None:
            x = unsqueeze.call(x, dim)
            dim += 1
        else:
            if c is bool:
                from numbagrad.core.creation import tensor
                item = tensor(item)
            d = item._kind.dtype
            if not item._shape and d.category == 1 and d is not dt.uint8 and not item._rg and not (
                    tape.TAPE and _alone(item, items)):
                x = at(x, int(item.item()), dim)
                continue
            if d not in (dt.int64, dt.int32, dt.bool_, dt.uint8):
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            if tensors is None:
                tensors = {}
            if d is dt.uint8:
                warnings.warn("indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
                              UserWarning, stacklevel=3)
            if d in (dt.bool_, dt.uint8):
                if not item._shape:
                    x = unsqueeze.call(x, dim)
                    item = item.view(1)
                for i, s in enumerate(item._shape):
                    if s != x._shape[dim + i]:
                        raise IndexError(f"The shape of the mask {list(item._shape)} at index {i} does not match the shape of "
                                         f"the indexed tensor {list(x._shape)} at index {dim + i}")
                tensors[dim] = item
                dim += len(item._shape)
            else:
                tensors[dim] = item
                dim += 1
    if x is start and tensors is None:
        x = alias.call(x)
    return x, tensors


def plan_for(x, tensors):
    """The plan of {dimension: index tensor or mask} on a tensor."""
    if not x._kind.cpu:
        tensors = {d: t.to(device=x.device) for d, t in tensors.items()}
    if len(tensors) == 1:
        (dim, t), = tensors.items()
        if t._kind.dtype in (dt.bool_, dt.uint8):
            return ix.plan_of_mask(x._shape, t, dim)
        return ix.Plan(*ix.named_by(x._shape, dim, t))
    indices = [None] * len(x._shape)
    for dim, t in tensors.items():
        if t._kind.dtype in (dt.bool_, dt.uint8):
            rows = ix.coordinates(t)
            for k in range(len(t._shape)):
                indices[dim + k] = rows[:, k].contiguous()
        else:
            indices[dim] = t
    return ix.plan_of(x._shape, indices)


def is_tuple(index):
    """Lists that hold slices, None or Ellipsis mean a tuple."""
    return any(i is None or i is Ellipsis or isinstance(i, slice) for i in index)


def getitem(self, index):
    """``self[index]``: integers, slices, None, Ellipsis give views; index tensors, lists and masks copies."""
    c = index.__class__
    if c is int:
        return at(self, index, 0)
    if c is slice:
        return from_to(self, index, 0)
    if c is Tensor and index._shape:
        if index._kind.dtype is dt.int64:
            if index._kind.device is self._kind.device:
                return _index.call(self, index, of_one, 0)
        elif index._kind.dtype is dt.bool_:
            out = by_mask(self, index, _index_true)
            if out is not None:
                return out
    if c is not tuple:
        if is_plain(index):
            return getitem(self, to_index(index))
        index = tuple(index) if c is list and is_tuple(index) else (index,)
    x = basic(self, index)
    if x is not None:
        return x
    if STATE and (stack := transform()) is not None and (found := stack.getitem(self, index)) is not NotImplemented:
        return found
    index = as_places(self, index)
    found = only_tensors(self, index) if self._kind.cpu else None
    if found is not None:
        dim, t = found
        if dim is not None:
            return _index.call(self, t, of_one, dim)
        return _index_two.call(self, *t) if len(t) == 2 else collect.call(self, ix.plan_of(self._shape, t))
    try:
        x, tensors = parse(self, index)
    except IndexError:
        ask = overriding.method("__getitem__", index)
        if ask is not None:
            return ask(self, index if len(index) > 1 else index[0])
        raise
    if tensors is None:
        return x
    if len(tensors) == 1 and x._kind.cpu:
        (dim, t), = tensors.items()
        if t._kind is ix.INT64 and t._shape:
            return _index.call(x, t, of_one, dim)
    return collect.call(x, plan_for(x, tensors))


REGISTRY.attach(__name__, Tensor, {"__getitem__": getitem})
