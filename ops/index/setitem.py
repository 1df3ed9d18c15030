"""Writing through an index: ``x[...] = v``."""

from __future__ import annotations

import numpy as np

from numbagrad.autograd import inplace
from numbagrad.base import dtypes as dt
from numbagrad.base.arguments import name_of
from numbagrad.base.modes import STATE, is_grad_enabled, recording, transform
from numbagrad.core import replay
from numbagrad.core.copying import LARGE
from numbagrad.core.copying import _fills as fills
from numbagrad.core.copying import _rows as rows
from numbagrad.core.creation import HOLDS, NEAR
from numbagrad.core.overlap import check_apart, is_several
from numbagrad.core.replay import Place
from numbagrad.core.tensor import bump_version, contiguous_strides, make, raw
from numbagrad.dispatch import writes
from numbagrad.dispatch.barebones_check import check_barebones
from numbagrad.dispatch.op import unlisted
from numbagrad.dispatch.plan import Table, due
from numbagrad.dispatch.replays import key_of
from numbagrad.extend import REGISTRY, Tensor
from numbagrad.kernel import tape
from numbagrad.kernel.threads import LIMIT

from ..view.shape import expanded
from . import plans as ix
from .by_plan import putter
from .getitem import SIMPLE, as_places, at, basic, from_to, is_plain, is_tuple, of_one, only_tensors, parse, plan_for, to_index
from .kernels import put_row
from .places import placed_at_two

FORMS = putter("IndexPutBackward0")
put_apart, put_within, put_at_one = FORMS


def setitem(self, index, value):
    """``self[index] = value`` for a number or a tensor that broadcasts to ``self[index]``."""
    if self._kind.dtype.barebones:
        return _setitem(self, index, value)
    if is_plain(index):
        index = to_index(index)
    c, record = index.__class__, True if not STATE else recording()
    if c is int and record is not None and value.__class__ is Tensor and (shape := self._shape) and (
            -shape[0] <= index < shape[0]) and PUT(record, value, self, index if index >= 0 else index + shape[0]) is not None:
        bump_version(self)
        return
    if c is Tensor and index._shape:  # these may be programs
        if index._kind is ix.BOOL and value.__class__ is Tensor and value._shape and value._kind is self._kind:
            index, = as_places(self, (index,))
        if (value.__class__ is float or value.__class__ is int) and not tape.TAPE:
            value = number_like(value, self)
        if value.__class__ is Tensor:
            _set_tensor(self, index, value)
            return
    elif c is tuple and SIMPLE.issuperset(map(type, index)):
        number = value.__class__ is float or value.__class__ is int
        v = held(value, self) if number else value
        if record is not None and v.__class__ is Tensor and (number or v._shape) and (x := basic(self, index)) is not None and (
                x._n <= ix.FEW if number else x._shape == v._shape):
            if COPIED(record, v, x) is not None:
                bump_version(self)
                return
            if number and inplace.unrecorded(x):
                inplace.copy_(x, v)  # (which makes the plan)
                return
    elif c is tuple:
        named = as_places(self, index) if value.__class__ is not Tensor or value._kind is self._kind else index
        if named[0].__class__ is int and 1 < len(named) <= len(self._shape) and not STATE and all([
                i.__class__ is int or i.__class__ is slice or i.__class__ is Tensor and i._kind is ix.INT64 for i in named]):
            part = at(self, named[0], 0)
            return setitem(part, named[1] if len(named) == 2 else named[1:], value)
        found = only_tensors(self, named)
        if found is not None and (found[0] is not None or len(named) == 2):
            if (value.__class__ is float or value.__class__ is int) and not tape.TAPE:
                value = number_like(value, self)
            if value.__class__ is Tensor:
                if found[0] is None:
                    _set_at_two(self, *named, value)
                else:
                    _set_along(self, found[1], value, found[0])
                return
    return _setitem(self, index, value)


PUT = replay.Calls(2, (True,))  # becomes the native function of ``x[i] = row``
COPIED = inplace.copies.calls  # the same of ``copy_``
_puts = Table()
_puts.calls = PUT


def _setitem(self, index, value):
    c = index.__class__
    if c is int:
        if self._strides is None and (_set_row if value.__class__ is Tensor else _fill_row)(self, index, value):
            return
        x, tensors = at(self, index, 0), None
    elif c is slice:
        x, tensors = from_to(self, index, 0), None
    else:
        if c is Tensor and index._kind is ix.INT64 and _set_few(self, (0, index), value):
            return
        if c is not tuple:
            if index is False:  # nothing is written, and no version counted
                as_value(value, self, self)
                return
            index = tuple(index) if c is list and is_tuple(index) else (index,)
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
        ix.take_values(x, put_apart(x, value, plan))
        return
    put_within(x, value, plan, False, "index_put_")


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
    ix.take_values(x, put_at_one.call(x, value, *given, of_one, dim, False) if dim is not None else
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


def held(value, x):
    """A number that the dtype of ``x`` surely holds as a tensor of its kind, which nobody may change; else None."""
    if STATE or tape.TAPE:
        return None
    key = kind, c, _ = x._kind, value.__class__, value
    if not value and str(value) == "-0.0":  # (which equals 0.0)
        return None
    out = _numbers.get(key)
    if out is None and (c, kind.dtype) in HOLDS and -NEAR < value < NEAR and kind.cpu:
        out = make((), kind)
        out._buf[0] = value
        if len(_numbers) >= NUMBERS:
            _numbers.clear()
        _numbers[key] = out
    return out


def number_like(value, x):
    """A number that is assigned as a tensor of the target's kind."""
    out = held(value, x)
    return as_value(value, x, x) if out is None else out


_numbers: dict = {}  # (kind, class, number) -> tensor
NUMBERS = 64


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


REGISTRY.attach(__name__, Tensor, {"__setitem__": replay.attach(setitem)})
