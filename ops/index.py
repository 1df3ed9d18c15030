"""Indexing: ``x[...]``, ``x[...] = v`` and the ops behind them."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad import dtypes as dt
from numbagrad.autograd import inplace
from numbagrad.copying import copy_into
from numbagrad.op import Sample, custom, function
from numbagrad.op import call as calls
from numbagrad.modes import is_grad_enabled
from numbagrad.op.view import place, settle
from numbagrad.tensor import Tensor, bump_version, contiguous_strides, raw, wrap_dim

from . import indexing as ix
from .region import select, selected, slice_, sliced
from .shape import alias, expanded, unsqueeze


# --- reading and writing through a plan -----------------------------------------------------------------------------------

@custom(private=True, contiguous=False, node="IndexBackward0", reference=None, dtypes="any")
def collect(input, plan: object):
    """The elements that a plan names."""
    return plan.shape, input._kind


@collect.cpu
def _(out, input, plan):
    ix.read(out, input, plan)


@collect.gradient
def _(g, shape, plan):
    return spread.call(g, plan, shape)


@custom(private=True, contiguous=False, reference=None, dtypes="any")
def spread(g, plan: object, shape: tuple):
    """Zeros with ``g`` added at the places that a plan names: the gradient of ``collect``."""
    return shape, g._kind


@spread.cpu
def _(out, g, plan, shape):
    out._buf.fill(0)
    ix.add(out, g, plan)


@spread.gradient
def _(g, plan):
    return collect.call(g, plan)


@custom(private=True, contiguous=False, node="IndexPutBackward0", reference=None, dtypes="any")
def put_at(input, values, plan: object, accumulate: bool):
    """A copy of ``input`` with ``values`` written or added at the places that a plan names."""
    check_values(values, plan)
    return input._shape, input._kind


def check_values(values, plan):
    """RuntimeError unless ``values`` broadcast to what the plan names."""
    if values._shape != plan.shape:
        lead = len(plan.shape) - len(values._shape)
        if lead < 0 or any(s != 1 and s != plan.shape[lead + i] for i, s in enumerate(values._shape)):
            raise RuntimeError(f"shape mismatch: value tensor of shape {list(values._shape)} cannot be broadcast to indexing "
                               f"result of shape {list(plan.shape)}")


@put_at.cpu
def _(out, input, values, plan, accumulate):
    copy_into(out, input)
    change_at(out, values, plan, accumulate)


def change_at(t, values, plan, accumulate):
    """Write or add values in place."""
    (ix.add if accumulate else ix.write)(t, ix.separate(values, t), plan)


@put_at.gradient
def _(g, needs, shapes, plan, accumulate):
    from numbagrad.broadcast import sum_to_size
    own = None
    if needs[0]:
        own = g if accumulate else put_at.call(g, g.new_zeros(()), plan, False)
    return own, sum_to_size(collect.call(g, plan), shapes[1]) if needs[1] else None


def putter(name, differentiable_value=None):
    """(out-of-place, in-place) forms of ``put_at`` under another node name (a second one if the value requires grad)."""
    forms = put_at.recorded_as(name), put_at.recorded_as(differentiable_value or name)

    def apart(input, values, plan, accumulate=False):
        return forms[values._rg](input, values, plan, accumulate)

    def in_place(t, values, plan, accumulate, name):
        check_values(values, plan)
        return ix.modify(put_at, t, (values,), (plan, accumulate), lambda t: change_at(t, values, plan, accumulate), name,
                         forms[values._rg].node_class)
    return apart, in_place


_index_put = putter("IndexPutBackward0")
index_put_within = _index_put[1]


# --- index expressions -----------------------------------------------------------------------------------------------------

KINDS = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices"


def to_index(item):
    """A list, array, number or tensor as an index tensor."""
    if isinstance(item, Tensor):
        return item
    if isinstance(item, np.ndarray):
        from numbagrad.creation import from_numpy
        return from_numpy(np.ascontiguousarray(item))
    if isinstance(item, (list, tuple, range)):
        from numbagrad.creation import tensor
        item = list(item)
        return tensor(item) if item else tensor(item, dtype=dt.int64)
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    raise IndexError(f"{KINDS} (got {type(item).__name__})")


def _slice_bounds(item):
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
                from numbagrad.creation import tensor
                item = tensor(item)
            d = item._kind.dtype
            if not item._shape and d.category == 1 and d is not dt.uint8 and not item._rg:
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
    if len(tensors) == 1:
        (dim, t), = tensors.items()
        if t._kind.dtype in (dt.bool_, dt.uint8):
            return ix.plan_of_mask(x._shape, t, dim)
        lin = ix.lines([(t, dim, x._shape[dim])], t._shape, ix.out_of_bounds)
        return ix.Plan(lin, None, dim, 1, x._shape, t._shape)
    indices = [None] * len(x._shape)
    for dim, t in tensors.items():
        if t._kind.dtype in (dt.bool_, dt.uint8):
            for k, numbers in enumerate(np.unravel_index(ix.true_row(t), t._shape)):
                indices[dim + k] = to_index(np.ascontiguousarray(numbers))
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
    if c is not tuple:
        index = tuple(index) if c is list and _is_tuple(index) else (index,)
    x = basic(self, index)
    if x is not None:
        return x
    x, tensors = parse(self, index)
    if tensors is None:
        return x
    return collect.call(x, plan_for(x, tensors))


def setitem(self, index, value):
    """``self[index] = value`` for a number or a tensor that broadcasts to ``self[index]``."""
    c = index.__class__
    if c is int:
        x, tensors = _at(self, index, 0), None
    elif c is slice:
        x, tensors = _from_to(self, index, 0), None
    else:
        if c is not tuple:
            index = tuple(index) if c is list and _is_tuple(index) else (index,)
        x, tensors = basic(self, index), None
        if x is None:
            x, tensors = parse(self, index)
    if tensors is None:
        assign(x, value, self)
        return
    if len(tensors) == 1 and value.__class__ in (int, float) and _fill_where(x, tensors, value):
        return
    plan = plan_for(x, tensors)
    value = as_value(value, x, self)
    if value._kind is not x._kind:
        if value._n == 1 and len(tensors) == 1 and next(iter(tensors.values()))._kind.dtype is dt.bool_:
            value = value.to(device=x.device, dtype=x.dtype)
        else:
            raise RuntimeError("Index put requires the source and destination dtypes match, got "
                               f"{dt.scalar_name(x.dtype)} for the destination and {dt.scalar_name(value.dtype)} for the "
                               "source.")
    while len(value._shape) > len(plan.shape) and value._shape[0] == 1:
        value = value.squeeze(0)
    index_put_within(x, value, plan, False, "index_put_")


def _fill_where(x, tensors, value):
    """``x[mask] = number`` without history, in one pass; False where that does not apply."""
    (dim, mask), = tensors.items()
    if mask._kind.dtype is not dt.bool_ or x._rg and is_grad_enabled() or not x._kind.cpu:
        return False
    inplace.check(x, "index_put_")
    shape = mask._shape
    rest = len(x._shape) - dim - len(shape)
    if rest:
        strides = mask._strides or contiguous_strides(shape)
        mask = raw(mask._buf, mask._ptr, mask._n, (*shape, *(1,) * rest), (*strides, *(0,) * rest), mask._kind, mask._ver)
    from .logic import where_else
    where_else.cpu_launch(x, mask, x, value)
    bump_version(x)
    return True


def as_value(value, x, whole):
    """The value of an assignment as a tensor of the target's kind (tensors as they are)."""
    if isinstance(value, Tensor):
        return value
    if calls.is_number(value):
        return ix.scalar_like(value, x)
    if isinstance(value, np.ndarray):
        from numbagrad.creation import from_numpy
        return from_numpy(np.ascontiguousarray(value)).to(device=x.device, dtype=x.dtype)
    raise TypeError(f"can't assign a {type(value).__name__} to a torch.{dt.scalar_name(whole.dtype)}Tensor")


def assign(x, value, whole):
    """Write a number or tensor into a view."""
    if value.__class__ in (int, float, bool):
        inplace.fill_(x, value)
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


Tensor.__getitem__, Tensor.__setitem__ = getitem, setitem


# --- one index along one dimension --------------------------------------------------------------------------------------------

_index_select = collect.recorded_as("IndexSelectBackward0")


def _vector(name, index):
    if len(index._shape) > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if index._kind.dtype not in (dt.int64, dt.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")


def _outside(index, dim, size):
    raise IndexError("index out of range in self")


@function(dtypes="any", samples=(Sample((4, 3), 0, ("int64", (5,), 0, 4)), Sample((2, 3, 4), 1, ("int64", (2,), 0, 3))),
          reference=lambda a, dim, index: np.take(a, index, dim))
def index_select(input, dim, index):
    """The slices of ``input`` along ``dim`` that a 1-D ``index`` names."""
    dim = wrap_dim(dim, len(input._shape))
    _vector("index_select", index)
    plan = ix.plan_along(input._shape, dim, index, _outside, False)
    return _index_select(input, plan)


_index_copy, _index_fill = putter("IndexCopyBackward0"), putter("IndexFillBackward0", "IndexFillBackward1")
_take, _put = collect.recorded_as("TakeBackward0"), putter("PutBackward0")


def both(name, prepare, forms, doc, samples, reference):
    """Register ``name`` and set ``Tensor.name_``; ``prepare`` checks the call and gives (values, plan, accumulate)."""
    def apart(input, *args, **kwargs):
        values, plan, accumulate = prepare(input, *args, **kwargs)
        return forms[0](input, values, plan, accumulate)

    def within(self, *args, **kwargs):
        values, plan, accumulate = prepare(self, *args, **kwargs)
        return forms[1](self, values, plan, accumulate, name + "_")
    apart.__name__ = apart.__qualname__ = name
    within.__name__ = within.__qualname__ = name + "_"
    apart.__module__ = within.__module__ = __name__
    apart.__doc__, within.__doc__ = doc, f"In-place form of ``{name}``."
    setattr(Tensor, name + "_", within)
    return function(apart, dtypes="any", samples=samples, reference=reference)


def same_kind(name, input, values):
    if values._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"{name}(): self and source expected to have the same dtype, but got (self) "
                           f"{dt.scalar_name(input.dtype)} and (source) {dt.scalar_name(values.dtype)}")


def _prepare_copy(input, dim, index, source):
    at = wrap_dim(dim, len(input._shape))
    _vector("index_copy_", index)
    same_kind("index_copy_", input, source)
    if source._shape and index._n != source._shape[at]:
        raise IndexError(f"index_copy_(): Number of indices ({index._n}) should be equal to source.size(dim) "
                         f"({source._shape[at]})")

    def fail(i, d, size):
        raise IndexError(f"index_copy_(): index {i} is out of bounds for dimension {d} with size {size}")
    plan = ix.plan_along(input._shape, at, index, fail, False)
    if source._shape != plan.shape:
        raise RuntimeError("index_copy_(): Source/destination tensor must have same slice shapes. Destination slice shape: "
                           f"{list(input._shape)} at dimension {at} and source slice shape: {list(source._shape)} at "
                           "dimension 0.")
    return source, plan, False


def _set(a, dim, index, values):
    out = a.copy()
    out[(slice(None),) * dim + (index,)] = values
    return out


index_copy = both("index_copy", _prepare_copy, _index_copy,
                  "A copy of ``input`` whose slices along ``dim`` named by ``index`` come from ``source``.",
                  (Sample((4, 3), 0, ("int64", (1,), 1, 3), ("float64", (1, 3))),), _set)


def _prepare_fill(input, dim, index, value):
    at = wrap_dim(dim, len(input._shape))
    _vector("index_fill_", index)
    if isinstance(value, Tensor):
        if value._shape:
            raise RuntimeError("index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                               f"{len(value._shape)} dimension(s).")
        value = value if value._kind is input._kind else value.to(device=input.device, dtype=input.dtype)
    else:
        value = ix.scalar_like(value, input)
    return value, ix.plan_along(input._shape, at, index), False


index_fill = both("index_fill", _prepare_fill, _index_fill,
                  "A copy of ``input`` whose slices along ``dim`` named by ``index`` are ``value``.",
                  (Sample((4, 3), 0, ("int64", (2,), 1, 3), 2.5),), _set)


# --- several index tensors, flat indices ------------------------------------------------------------------------------------

def _prepare_put(input, indices, values, accumulate=False):
    if len(indices) > len(input._shape):
        raise IndexError(f"too many indices for tensor of dimension {len(input._shape)} (got {len(indices)})")
    x, tensors = parse(input, tuple([slice(None) if i is None else i for i in indices]))
    if values._kind is not input._kind:
        raise RuntimeError("Index put requires the source and destination dtypes match, got "
                           f"{dt.scalar_name(input.dtype)} for the destination and {dt.scalar_name(values.dtype)} for the "
                           "source.")
    # A 0-d index tensor selects; as a plan it is a vector of one.
    given = {}
    at = 0
    for i in indices:
        if i is not None:
            given[at] = i
        at += 1 if i is None else _width(i)
    return values, plan_for(input, given), accumulate


def _put_reference(a, indices, values, accumulate=False):
    out = a.copy()
    indices = tuple(np.asarray(i) for i in indices)
    if accumulate:
        np.add.at(out, indices, values)
    else:
        out[indices] = values
    return out


index_put = both("index_put", _prepare_put, _index_put,
                 "A copy of ``input`` with ``values`` at the places named by a tuple of index tensors; with ``accumulate`` they "
                 "are added.", (), _put_reference)


def _flat_index(name, index):
    if index._kind.dtype is not dt.int64:
        raise RuntimeError(f"{name}(): Expected a long tensor for index, but got {dt.scalar_name(index.dtype)}")


def _flat(input, index):
    total = input._n

    def fail(i, dim, size):
        raise IndexError(f"out of range: tried to access index {i} on a tensor of {total} elements.")
    if total == 0 and index._n:
        raise IndexError("take(): tried to take from an empty tensor")
    return ix.Plan(ix.lines([(index, 0, total)], index._shape, fail), None, 0, 1, (total,), index._shape)


@function(dtypes="any", samples=(Sample((3, 4), ("int64", (2, 3), 0, 12)),), reference=np.take)
def take(input, index):
    """The elements of ``input``, seen as one row, at the positions ``index``; the shape is the index's."""
    _flat_index("take", index)
    return _take(input, _flat(input, index))


def _prepare_flat_put(input, index, source, accumulate=False):
    _flat_index("put_", index)
    same_kind("put_", input, source)
    if index._n != source._n:
        raise IndexError("put_(): Expected source and index to have the same number of elements, but got source.numel() = "
                         f"{source._n}, index.numel() = {index._n}")
    return source.reshape(index._shape), _flat(input, index), accumulate


def _flat_put_reference(a, index, source, accumulate=False):
    out = a.copy()
    np.put(out, index, source)
    return out


put = both("put", _prepare_flat_put, _put,
           "A copy of ``input``, seen as one row, with ``source`` at the positions ``index``; with ``accumulate`` added.",
           (Sample((3, 4), ("int64", (1,), 0, 12), ("float64", (1,))),), _flat_put_reference)
