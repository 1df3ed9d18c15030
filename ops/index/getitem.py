"""Indexing: ``x[...]``, ``x[...] = v`` and the ops behind them."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.autograd import inplace
from numbagrad.base import dtypes as dt
from numbagrad.base import overriding
from numbagrad.base.arguments import name_of
from numbagrad.base.modes import STATE, is_grad_enabled, recording, transform
from numbagrad.core import replay
from numbagrad.core.copying import LARGE
from numbagrad.core.copying import _fills as fills
from numbagrad.core.copying import _rows as rows
from numbagrad.core.creation import HOLDS, NEAR
from numbagrad.core.overlap import check_apart, is_several
from numbagrad.core.replay import Place
from numbagrad.core.tensor import bump_version, contiguous_strides, from_array, make, raw
from numbagrad.dispatch import writes
from numbagrad.dispatch.barebones_check import check_barebones
from numbagrad.dispatch.op import unlisted
from numbagrad.dispatch.plan import Table, due
from numbagrad.dispatch.replays import key_of
from numbagrad.dispatch.view import place, settle
from numbagrad.extend import REGISTRY, Tensor
from numbagrad.kernel import tape
from numbagrad.kernel.threads import LIMIT

from ..view.dims import unsqueeze
from ..view.shape import alias, expanded
from ..view.slicing import select, selected, slice_, sliced
from . import plans as ix
from .by_plan import collect, putter
from .chosen import by_mask, chosen
from .kernels import put_row
from .places import placed_at_two, taken, taken_at_two

# --- one index tensor -------------------------------------------------------------------------------------------------

_index_put = putter("IndexPutBackward0")
index_put_within = _index_put[1]
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

def is_integers(item):
    """Whether an index is a list of Python's integers."""
    return item.__class__ is list and set(map(type, item)) == {int}


KINDS = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices"


def to_index(item):
    """A list, array, number or tensor as an index tensor."""
    if isinstance(item, Tensor):
        return item
    if isinstance(item, np.ndarray):
        return from_array(np.ascontiguousarray(item))
    if isinstance(item, (list, tuple, range)):
        from numbagrad.core.creation import tensor
        item = list(item)
        if is_integers(item):
            try:
                return from_array(np.array(item, np.int64))
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


def _width(item):
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


def _at(x, i, dim):
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


def _from_to(x, item, dim):
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
            x = _at(x, item, dim)
        elif c is slice:
            if item.start is not None or item.stop is not None or item.step is not None or len(index) == 1:
                x = _from_to(x, item, dim)
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
        width += _width(item)
    ndim = len(x._shape)
    if width > ndim:
        if ndim == 0 and not any(isinstance(i, Tensor) for i in items):
            return _at(x, 0, 0), None
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    dim, tensors = 0, None
    start = x
    for item in items:
        c = item.__class__
        if c is int:
            x = _at(x, item, dim)
        elif c is slice:
            if item.start is not None or item.stop is not None or item.step is not None or len(items) == 1:
                x = _from_to(x, item, dim)
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
                x = _at(x, int(item.item()), dim)
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


def _is_tuple(index):
    """Lists that hold slices, None or Ellipsis mean a tuple."""
    return any(i is None or i is Ellipsis or isinstance(i, slice) for i in index)


def getitem(self, index):
    """``self[index]``: integers, slices, None, Ellipsis give views; index tensors, lists and masks copies."""
    c = index.__class__
    if c is int:
        return _at(self, index, 0)
    if c is slice:
        return _from_to(self, index, 0)
    if c is Tensor and index._shape:
        if index._kind.dtype is dt.int64:
            if index._kind.device is self._kind.device:
                return _index.call(self, index, of_one, 0)
        elif index._kind.dtype is dt.bool_:
            out = by_mask(self, index, _index_true)
            if out is not None:
                return out
    if c is not tuple:
        if is_integers(index):
            return getitem(self, to_index(index))
        index = tuple(index) if c is list and _is_tuple(index) else (index,)
    x = basic(self, index)
    if x is not None:
        return x
    if STATE and (stack := transform()) is not None and (found := stack.getitem(self, index)) is not NotImplemented:
        return found
    if list in map(type, index):
        index = tuple([to_index(i) if is_integers(i) else i for i in index])
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


def setitem(self, index, value):
    """``self[index] = value`` for a number or a tensor that broadcasts to ``self[index]``."""
    if is_integers(index):
        index = to_index(index)
    c, record = index.__class__, True if not STATE else recording()
    if c is int and record is not None and value.__class__ is Tensor and (shape := self._shape) and (
            -shape[0] <= index < shape[0]) and PUT(record, value, self, index if index >= 0 else index + shape[0]) is not None:
        bump_version(self)
        return
    if c is Tensor and index._shape:  # these may be programs
        if value.__class__ is float or value.__class__ is int:
            value = number_like(value, self)
        if value.__class__ is Tensor:
            _set_tensor(self, index, value)
            return
    elif c is tuple and not SIMPLE.issuperset(map(type, index)):
        if list in map(type, index):
            index = tuple([to_index(i) if is_integers(i) else i for i in index])
        found = only_tensors(self, index)
        if found is not None and (found[0] is not None or len(index) == 2):
            if value.__class__ is float or value.__class__ is int:
                value = number_like(value, self)
            if value.__class__ is Tensor:
                if found[0] is None:
                    _set_at_two(self, *index, value)
                else:
                    _set_along(self, found[1], value, found[0])
                return
    return _setitem(self, index, value)


PUT = replay.Calls(2, (True,))  # becomes the native function of ``x[i] = row``
_puts = Table()
_puts.calls = PUT


def _setitem(self, index, value):
    c = index.__class__
    if c is int:
        if self._strides is None and (_set_row if value.__class__ is Tensor else _fill_row)(self, index, value):
            return
        x, tensors = _at(self, index, 0), None
    elif c is slice:
        x, tensors = _from_to(self, index, 0), None
    else:
        if c is Tensor and index._kind is ix.INT64 and _set_few(self, (0, index), value):
            return
        if c is not tuple:
            if index is False:  # nothing is written, and no version counted
                as_value(value, self, self)
                return
            index = tuple(index) if c is list and _is_tuple(index) else (index,)
        x, tensors = basic(self, index), None
        if x is None:
            if STATE and (stack := transform()) is not None and (
                    found := stack.setitem(self, index, value)) is not NotImplemented:
                return found
            found = only_tensors(self, index)
            if found is not None and _set_few(self, found, value):
                return
            x, tensors = parse(self, index)
            if len(tensors or ()) == 1 and x is not self and _set_few(x, *tensors.items(), value):
                return
    if tensors is None:
        assign(x, value, self)
        return
    if x._kind.dtype.barebones:
        check_barebones("setitem", x._kind.dtype, tensors, value)
    if len(tensors) == 1 and (value.__class__ in (int, float) or getattr(value, "_n", 0) == 1 and (
            tape.TAPE and tape.active() is not None or not value._shape and value._kind is x._kind and not value._rg)) and (
            _fill_where(x, tensors, value)):
        return
    plan = plan_for(x, tensors)
    value = as_value(value, x, self)
    check_apart(x, (value, *tensors.values()))
    if value._kind is not x._kind:
        if value._n == 1 and len(tensors) == 1 and next(iter(tensors.values()))._kind.dtype is dt.bool_:
            value = ix.value_like(value, x)
        else:
            raise RuntimeError("Index put requires the source and destination dtypes match, got "
                               f"{dt.scalar_name(x.dtype)} for the destination and {dt.scalar_name(value.dtype)} for the "
                               "source.")
    while len(value._shape) > len(plan.shape) and value._shape[0] == 1:
        value = value.squeeze(0)
    if ix.is_few(x, (value, *tensors.values())) and value._shape == plan.shape:
        ix.take_values(x, _index_put[0](x, value, plan))
        return
    index_put_within(x, value, plan, False, "index_put_")


def _set_few(x, found, value):
    """``x[...] = value`` of a number or a tensor, as ``only_tensors`` describes it, where ``x`` has few elements and nothing of
    it is recorded: a planned call that makes a copy, whose values are taken; whether that was done."""
    dim, given = found
    given = given if dim is None else (given,)
    if len(given) > 2 or not x._kind.cpu or any([t._kind is not ix.INT64 or not t._shape for t in given]):
        return False
    if value.__class__ is not Tensor:
        value = number_like(value, x)
    most = len(x._shape) - len(given) + max([len(t._shape) for t in given])
    if value._kind is not x._kind or len(value._shape) > most or not (
            ix.is_few(x, (value, *given), ix.is_quiet)):
        return False
    ix.take_values(x, _index_put[2].call(x, value, *given, of_one, dim, False) if dim is not None else
                   placed_at_two.call(x, value, *given))
    return True


def set_tensor_(self, index, values):
    """``self[index] = values`` of an index tensor."""
    _setitem(self, index, values)
    return self


def set_along_(self, index, values, dim: int):
    """``self[:, ..., index] = values`` of an index tensor for a dimension."""
    _setitem(self, (*[slice(None)] * dim, index), values)
    return self


def set_at_two_(self, first, second, values):
    """``self[first, second] = values`` of index tensors."""
    _setitem(self, (first, second), values)
    return self


_set_tensor, _set_along, _set_at_two = unlisted(set_tensor_), unlisted(set_along_), unlisted(set_at_two_)


def _set_row(t, i, value):
    """``t[i] = value`` of a row-major tensor outside the graph, if ``value`` is such a row: without a view of the place."""
    shape = t._shape
    if not shape or value._shape != shape[1:] or value._strides is not None or value._kind is not t._kind or (
            value._buf is t._buf or not -shape[0] <= i < shape[0] or not value._n < LIMIT[0]):
        return False
    if not inplace.unrecorded(t) or not inplace.unrecorded(value):
        return False
    entry = rows.get((t._kind, t._kind))
    if entry is None:
        return False
    n = value._n
    entry(value._ptr, t._ptr + (i if i >= 0 else i + shape[0]) * n * t._kind.itemsize, 0, n)
    bump_version(t)
    if due(_puts, key_of((value, t), ())):
        writes.write_place(_puts.calls, put_row[t._kind], [Place(0), Place(1), n], (value, t), 1, n, i)
    return True


def _fill_row(t, i, value):
    """The same of a number."""
    shape, kind, buf = t._shape, t._kind, t._buf
    if value.__class__ not in inplace.NUMBERS or not shape or not -shape[0] <= i < shape[0] or not (
            inplace.unrecorded(t) and kind.direct):
        return False
    n, entry, i = t._n // shape[0], fills.get(kind), i if i >= 0 else i + shape[0]
    if n < LARGE and buf.size == t._n and buf.dtype is kind.np:
        buf[i * n:i * n + n] = dt.fit(value, kind.dtype, False, dt.check_signed)
    elif entry is not None and n < LIMIT[0]:
        entry(t._ptr + i * n * kind.itemsize, dt.fit(value, kind.dtype, False, dt.check_signed), 0, n)
    else:
        return False
    bump_version(t)
    return True


def _fill_where(x, tensors, value):
    """``x[mask] = number`` without history, in one pass; False where that does not apply."""
    (dim, mask), = tensors.items()
    captured = bool(tape.TAPE) and tape.active() is not None  # a capture cannot list the places that a mask names
    if mask._kind.dtype is not dt.bool_ or x._rg and is_grad_enabled() and not captured or not x._kind.cpu or (
            is_several(x)):
        return False
    if not captured:
        value = dt.fit(value.item() if isinstance(value, Tensor) else value, x._kind.dtype, True, dt.check_signed)
    ix.allow_write(x, "index_put_")
    check_apart(x, (mask,))
    shape = mask._shape
    rest = len(x._shape) - dim - len(shape)
    if rest:
        strides = mask._strides or contiguous_strides(shape)
        mask = raw(mask._buf, mask._ptr, mask._n, (*shape, *(1,) * rest), (*strides, *(0,) * rest), mask._kind, mask._ver)
    if captured:
        x.masked_fill_(mask, value.reshape(()) if isinstance(value, Tensor) else value)
        return True
    from ..pointwise.logic import where_else
    where_else.cpu_launch(x, mask, x, value)
    bump_version(x)
    return True


def number_like(value, x):
    """A number that is assigned as a tensor of the target's kind."""
    kind = x._kind
    if (value.__class__, kind.dtype) in HOLDS and -NEAR < value < NEAR and kind.cpu and not tape.TAPE:
        out = make((), kind)
        out._buf[0] = value
        return out
    return as_value(value, x, x)


def as_value(value, x, whole):
    """The value of an assignment as a tensor of the target's kind (tensors as they are)."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (int, float, complex, np.integer)):
        return ix.scalar_like(dt.fit(value, x._kind.dtype, True, dt.check_signed), x)
    raise TypeError(f"can't assign a {name_of(value)} to a torch.{dt.scalar_name(whole.dtype)}Tensor")


def assign(x, value, whole):
    """Write a number or tensor into a view."""
    if value.__class__ in (int, float, bool):
        if value.__class__ is int:
            dt.check_signed(value)
        inplace.fill_(x, value if x._kind.direct else dt.fit(value, x._kind.dtype, True))
        return
    if value.__class__ is Tensor and value._shape == x._shape and value._shape:
        inplace.copy_(x, value)
        return
    value = as_value(value, x, whole)
    while len(value._shape) > len(x._shape) and value._shape[0] == 1:
        value = value.squeeze(0)
    if value._shape != x._shape:
        expanded.fn(value, x._shape)
    if not value._shape and value._kind is x._kind and not value._rg:
        inplace.fill_(x, value)
    else:
        inplace.copy_(x, value)


REGISTRY.attach(__name__, Tensor, {"__getitem__": getitem, "__setitem__": replay.attach(setitem)})
