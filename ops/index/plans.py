"""What all indexing ops share: index plans and the kernels that read and write the places a plan names.

A plan describes one use of index tensors on a tensor of a given shape: which dimensions are indexed, and, for every
position of the broadcast index, the row-major number of the element within those dimensions. The tensor is seen as
(outer, indexed, inner); kernels move blocks of ``inner`` elements. Building a plan checks every index, so nothing is
written before all are known to be in range.
"""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.autograd import inplace
from numbagrad.base import dtypes as dt
from numbagrad.base.modes import STATE, is_grad_enabled
from numbagrad.base.shapes import expanded_strides
from numbagrad.core import graph, makers, storage
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.core.overlap import SEVERAL, is_expanded, unrecorded
from numbagrad.core.saved import modified
from numbagrad.core.tensor import INFERENCE_VERSION, Tensor, bump_version, make, numel, raw
from numbagrad.dispatch.custom import _record
from numbagrad.dispatch.plan import Recipe
from numbagrad.kernel.tape import TAPE, active, capturing

from .kernels import (
    count_true,
    find_coordinates,
    find_true,
    index_flag,
    list_true,
    resolve,
    row,
)

# --- plans ------------------------------------------------------------------------------------------------------------

class Plan(Recipe):
    """Where an index expression points; see the module text. ``order`` is None where dimensions keep their order.

    ``numbers`` is the pair (memory of the element numbers, its address), or (a function, its arguments): ``function(tensors,
    *arguments)`` is called when the numbers are first asked for."""

    def __init__(self, numbers, order, before, indexed, in_shape, index_shape, tensors=()):
        self.numbers, self.tensors, self.index_shape = numbers, tensors, index_shape
        self.order, self.before, self.indexed, self.in_shape = order, before, indexed, in_shape
        self.versions = ()
        if tensors:
            self.recipe = numbers
            if len(tensors) == 1:
                t = tensors[0]
                self.versions = (None if t._ver is INFERENCE_VERSION else t._ver[0],)
                self.key = numbers, t._kind, t._shape, t._strides, in_shape, before
            else:
                self.versions = [None if t._ver is INFERENCE_VERSION else t._ver[0] for t in tensors]
                self.key = numbers, tuple([(t._kind, t._shape, t._strides) for t in tensors]), in_shape, before
            if TAPE and capturing():
                self.settle()

    def __getattr__(self, name):
        """What follows from the shapes is found out when it is first asked for: a planned call never does."""
        if name not in ("n", "outer", "total", "inner", "shape"):
            raise AttributeError(name)
        in_shape, index_shape, order = self.in_shape, self.index_shape, self.order
        found = _layouts.get((order, self.before, self.indexed, in_shape, index_shape))
        if found is None:
            sizes = in_shape if order is None else tuple([in_shape[d] for d in order])
            before, end = self.before, self.before + self.indexed
            found = (numel(index_shape), numel(sizes[:before]), numel(sizes[before:end]), numel(sizes[end:]),
                     (*sizes[:before], *index_shape, *sizes[end:]))
            if len(_layouts) >= 4096:
                _layouts.clear()
            _layouts[order, before, self.indexed, in_shape, index_shape] = found
        self.n, self.outer, self.total, self.inner, self.shape = found
        return self.__dict__[name]

    def settle(self):
        """The memory of the element numbers and its address: every index has been checked."""
        numbers = self.numbers  # (read once: another thread may settle them meanwhile)
        if callable(numbers[0]):
            make, arguments = numbers
            numbers = self.numbers = make(self.current(), *arguments)
        return numbers

    @property
    def address(self):
        return self.settle()[1]

    def current(self, node=None):
        for t, version in zip(self.tensors, self.versions):
            if version is not None and t._ver[0] != version:
                modified(node, t._shape, t._kind, t._ver, version, "index", False)
        return self.tensors

    def on(self, tensors):
        """The same plan for other index tensors."""
        return Plan(self.recipe, self.order, self.before, self.indexed, self.in_shape, self.index_shape, tensors)

    def __repr__(self):
        return f"<plan for {list(self.in_shape)} -> {list(self.shape)}>"


_layouts: dict = {}


def out_of_bounds(index, dim, size):
    """The usual error of an index out of range."""
    raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")


def as_index(t):
    """An index tensor as contiguous int64 memory."""
    if t._kind.dtype is not dt.int64:
        t = t.detach().to(dtype=dt.int64)
    return t if t._strides is None else contiguous_copy(t)


def lines(entries, index_shape, fail, negative=True):
    """Row-major element numbers for [(index tensor, dim, size)] over the broadcast index shape: (array, address)."""
    n, kind = numel(index_shape), entries[0][0]._kind
    later = not kind.cpu or bool(TAPE) and active() is not None  # (not TAPE itself: other threads fill it)
    lin, where = row(n, kind) if later else checked_row(n)
    if n == 0:
        return lin, where
    run = resolve[storage.kind_of(dt.int64, kind.device)] if later else _resolve or _start()
    stride, found = 1, where + 8 * n
    for _, _, size in entries:
        stride *= size
    for k, (t, dim, size) in enumerate(entries):
        stride //= size or 1
        if t._kind.dtype is not dt.int64 or t._strides is not None:
            t = as_index(t)
        if t._shape != index_shape:
            t = contiguous_copy(raw(t._buf, t._ptr, n, index_shape, expanded_strides(t, index_shape), t._kind, t._ver))
        if later:
            words = range_flag(fail, dim, size, t)
            found = words.address
        run(t._ptr, where, found, size, stride, 1 if k else 0, 1 if negative else 0, 0, n)
        if later:
            words.check()
        elif lin[n]:
            fail(int(lin[n + 1]), dim, size)
    return lin, where


_resolve = None


def _start():
    global _resolve
    _resolve = resolve[dt.int64]
    return _resolve


def checked_row(n):
    """Memory for n numbers and, behind them, a mark for an index out of range: (array, its address)."""
    lin = np.empty(n + 2, np.int64)
    lin[n] = 0
    return lin, storage.address(lin)


def range_flag(fail, dim, size, index):
    """Two words in which a kernel leaves (1, an index out of range), for ``fail`` to be raised later: in replays of a captured
    step, or when values are read on a device."""
    if TAPE and active() is not None:
        active().buffer(index)
    return index_flag(fail, dim, size).take(index._kind)


def named_along(shape, dim, index, fail=out_of_bounds, negative=True):
    """What ``Plan`` is made of for one 1-D (or 0-d) index along one dimension of a tensor of ``shape``."""
    numbers = _along, (shape, dim, fail, negative)
    return numbers, None, dim, 1 if shape else 0, shape, (index._n,) if shape else (), (index,)


def plan_along(*args):
    """The plan of ``named_along``."""
    return Plan(*named_along(*args))


def _along(tensors, shape, dim, fail, negative):
    index, = tensors
    return lines([(index, dim, shape[dim] if shape else 1)], (index._n,), fail, negative)


def plan_of(shape, indices):
    """Plan of a list of index tensors, one per dimension or None where a dimension is not indexed."""
    used = [(t, d, shape[d]) for d, t in enumerate(indices) if t is not None]
    index_shape = used[0][0]._shape
    if len(used) > 1:
        try:
            index_shape = broadcast_shapes("index", [t for t, _, _ in used])
        except RuntimeError:
            raise IndexError("shape mismatch: indexing tensors could not be broadcast together with shapes "
                             f"{', '.join(str(list(t._shape)) for t, _, _ in used)}") from None
    dims = [d for _, d, _ in used]
    tensors = tuple([t for t, _, _ in used])
    numbers = several, (tuple([u[1:] for u in used]), index_shape, out_of_bounds)
    if dims[-1] - dims[0] == len(dims) - 1:
        return Plan(numbers, None, dims[0], len(dims), shape, index_shape, tensors)
    order = tuple(dims + [d for d in range(len(shape)) if d not in dims])
    return Plan(numbers, order, 0, len(dims), shape, index_shape, tensors)


def several(tensors, used, index_shape, fail):
    """The numbers of ``plan_of`` and ``named_flat``."""
    return lines([(t, *u) for t, u in zip(tensors, used)], index_shape, fail)


def named_by(shape, dim, index, fail=out_of_bounds):
    """What ``Plan`` is made of for one index of any shape along one dimension of a tensor of ``shape``."""
    return (several, (((dim, shape[dim]),), index._shape, fail)), None, dim, 1, shape, index._shape, (index,)


def named_flat(total, index, fail):
    """What ``Plan`` is made of for one index of any shape into ``total`` elements."""
    return (several, (((0, total),), index._shape, fail)), None, 0, 1, (total,), index._shape, (index,)


def flat_plan(lin, total, index_shape=None):
    """Plan of element numbers into a tensor of ``total`` elements, all its dimensions taken as one."""
    if index_shape is None:
        index_shape = lin.shape
    return Plan((lin, storage.address(lin)), None, 0, 1, (total,), index_shape)


def count(t):
    """How many elements of a row-major tensor are not 0."""
    if not t._n:
        return 0
    kind = t._kind
    if not kind.cpu:
        found = np.empty(1, np.int64)
        count_true[kind](t._ptr, kind.host(found), 0, t._n)
        return found.item()
    room = _room()
    count_true[kind](t._ptr, room[1], 0, t._n)
    n = room[0].item(0)
    _rooms.append(room)
    return n


def true_numbers(mask):
    """Row-major numbers of the nonzero elements of a tensor: (int64 array, one longer, address, count)."""
    t = mask if mask._strides is None else contiguous_copy(mask)
    n, kind = count(t), t._kind
    lin, where = row(n + 1, kind)
    if n:
        find_true[kind](t._ptr, where, 0, t._n)
    return lin, where, n


def places(mask):
    """Where a mask of one dimension is true, as an index tensor."""
    found = coordinates(mask)
    return raw(found._buf, found._ptr, found._n, (found._n,), None, found._kind, found._ver)


_ones: dict = {}


def one_place(i):
    """A number as an index tensor of one element, which nobody else has."""
    found = _ones.get(i)
    if found is None:
        if len(_ones) >= 256:
            _ones.clear()
        found = _ones[i] = make((1,), INT64)
        found._buf[0] = i
    return found


def coordinates(input):
    """Coordinates of the nonzero elements as an int64 tensor (count, dimensions)."""
    t = input if input._strides is None else contiguous_copy(input)
    kind, shape = t._kind, t._shape
    sizes, nd = _sizes.get(shape) or _sizes_of(shape), len(shape)
    if t._n * nd < ROOM and kind.cpu and not TAPE:
        room = _room()
        list_true[kind](t._ptr, room[1], sizes[1], nd, t._n, 0, 1)
        n = room[0].item(0)
        size = n * nd
        out = make((n, nd), INT64) if STATE or not size else makers.tensor(size, INT64.np, (n, nd), INT64)
        out._buf[...] = room[0][1:1 + size]
        _rooms.append(room)
        return out
    n = count(t)
    out = make((n, nd), storage.kind_of(dt.int64, kind.device))
    if out._n and nd == 1:
        find_true[kind](t._ptr, out._ptr, 0, t._n)
    elif out._n:
        find_coordinates[kind](t._ptr, out._ptr, kind.host(sizes[0]), nd, 0, t._n // shape[-1])
    return out


ROOM = 2048  # numbers that are listed before it is known how many they are, in memory that goes from call to call
_rooms: list = []


def _room():
    """(memory for ``ROOM`` numbers, its address), which no other call uses."""
    try:
        return _rooms.pop()
    except IndexError:
        array = np.empty(ROOM, np.int64)
        return array, storage.address(array)


INT64, BOOL = storage.kind_of(dt.int64), storage.kind_of(dt.bool_)
_sizes: dict = {}


def _sizes_of(shape):
    """A shape as an array and its address, remembered."""
    if len(_sizes) >= 1024:
        _sizes.clear()
    array = np.array(shape or (1,), np.int64)
    found = _sizes[shape] = array, storage.address(array)
    return found


def plan_of_mask(shape, mask, at):
    """Plan of one mask over the dimensions from ``at`` on."""
    lin, where, n = true_numbers(mask)
    return Plan((lin, where), None, at, len(mask._shape), shape, (n,))


def flat_plan_of_mask(mask):
    """Plan of a mask over a tensor of its shape, all dimensions taken as one."""
    lin, where, n = true_numbers(mask)
    return Plan((lin, where), None, 0, 1, (mask._n,), (n,))


# --- in place ---------------------------------------------------------------------------------------------------------

def separate(values, t):
    """``values``, copied if they share memory with ``t``."""
    return contiguous_copy(values) if values._buf is t._buf else values


def scalar_like(value, t):
    """A number as a 0-d tensor of the kind of ``t``, outside the graph."""
    kind = t._kind
    value = dt.fit(value, kind.dtype)
    if kind.cpu and kind.dtype.category > 1 and kind.itemsize > 2 and value.__class__ in (int, float):
        buf = np.array((value,), kind.np)
        return raw(buf, storage.address(buf), 1, (), None, kind, [0])
    out = make((), kind)
    inplace._fill(out, value)
    return out


def value_like(value, t):
    """A tensor of one element in the dtype and on the device of ``t``; RuntimeError where that holds no such number."""
    if value._kind is t._kind:
        return value
    if not TAPE or active() is None:
        dt.fit(value.detach().item(), t._kind.dtype)
    return value.to(device=t.device, dtype=t.dtype)


# PyTorch writes expanded targets of these with a warning where all other in-place operations refuse.
_LENIENT = {"index_put_": "tensor[indices] = tensor", "masked_fill_": "tensor[mask] = scalar",
            "index_fill_": "tensor[mask] = scalar"}


def allow_write(t, name):
    """``inplace.check`` of an indexed write; windows that overlap may be written, as places in memory are."""
    inplace.check_mode(t)
    if not is_expanded(t):
        return
    if name not in _LENIENT:
        raise RuntimeError(SEVERAL)
    warnings.warn(f"Use of {name} on expanded tensors is deprecated. Please clone() the tensor before performing this "
                  f"operation. This also applies to advanced indexing e.g. {_LENIENT[name]}", UserWarning, stacklevel=4)


def modify(op, t, tensors, params, change, name=None, node_class=None):
    """In-place form of a custom op whose rule needs neither its old value nor its result: check, record, change."""
    allow_write(t, name or op.name + "_")
    node = None
    if is_grad_enabled() and t._kind.dtype.category >= 2 and (t._rg or any([x is not None and x._rg for x in tensors])):
        old = raw(t._buf, t._ptr, t._n, t._shape, t._strides, t._kind, t._ver)
        if t._rg:
            e = graph.edge(t)
            old._node, old._rg = (None, False) if e is t else (e, True)
        dummy = raw(t._buf, t._ptr, t._n, t._shape, t._strides, t._kind, t._ver)
        _record(op, [dummy], (old, *tensors), [old, *tensors], params, node_class)
        node = dummy._node
    change(t)
    bump_version(t)
    if node is not None:
        inplace.rebase(t, node)
    return t


# --- few elements ---------------------------------------------------------------------------------------------------------

FEW = 1024  # elements that are copied in less time than an index is looked through anew


def is_few(t, args, quiet=unrecorded):
    """Whether changing few elements of ``t``, of which nothing is recorded, by these arguments is a planned call and a copy."""
    return t._n <= FEW and t._strides is None and quiet(t) and all([
        quiet(x) and x._buf is not t._buf for x in tensors_in(args)])


def is_quiet(t):
    """``unrecorded``, also while a call is written down for the native function, which looks at histories itself."""
    return unrecorded(t) if not TAPE else not t._rg and active() is not None and not active().compiles


def take_values(t, result):
    """``t`` with the values of ``result``, its like."""
    copy_into(t, result)
    bump_version(t)
    return t


def tensors_in(args):
    """The tensors among arguments and in their tuples."""
    for a in args:
        if isinstance(a, Tensor):
            yield a
        elif isinstance(a, (tuple, list)):
            yield from tensors_in(a)
