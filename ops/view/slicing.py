"""Views of a part of the elements: select, slice, diagonal, as_strided, real and imaginary parts."""

from __future__ import annotations

import numpy as np

import numbagrad
from numbagrad.base import arguments
from numbagrad.base.shapes import distinct, wrap_dim
from numbagrad.core.copying import copy_into, set_all
from numbagrad.core.storage import storage_address, table
from numbagrad.core.tensor import contiguous_strides, is_contiguous, numel, raw
from numbagrad.dispatch.op import add_function
from numbagrad.extend import Sample, Tensor, custom, function, load, store
from numbagrad.extend import view as view_op
from numbagrad.kernel.jit import kernel

from .dims import change_geometry
from .shape import numbers


def region(t, shape, strides, offset):
    """A part of a tensor's memory as a tensor outside the graph."""
    return raw(t._buf, t._ptr + offset * t._kind.itemsize, numel(shape), shape,
               None if strides is None or is_contiguous(shape, strides) else strides, t._kind, t._ver)


def check_region(part, size, shape, strides, offset):
    """RuntimeError unless ``part`` has the region's shape and the region lies within a row-major tensor of ``size``."""
    check_geometry(shape, contiguous_strides(shape) if strides is None else strides)
    if part._shape != tuple(shape):
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(part._shape)}, slice "
                           f"size = {list(shape)}")
    check_bounds(shape, strides, offset, numel(size), part._kind.itemsize)


def check_geometry(size, stride):
    """RuntimeError unless sizes and strides fit together and say something that memory can hold."""
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(k < 0 for k in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    if any(s < 0 for s in size) or numel(size) >= 1 << 63 or any((s - 1) * k >= 1 << 63 for s, k in zip(size, stride)):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(size)} and strides={list(stride)}")


def check_bounds(size, stride, offset, available, item):
    """RuntimeError unless a geometry at ``offset`` lies within ``available`` elements of ``item`` bytes."""
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    stride = contiguous_strides(size) if stride is None else stride
    need = 0 if 0 in size else offset + 1 + sum((s - 1) * k for s, k in zip(size, stride))
    if need > available:
        raise RuntimeError(f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
                           f"{item} requiring a storage size of {need * item} are out of bounds for storage of size "
                           f"{available * item}")


@custom(contiguous=False, private=True, dtypes="any", samples=(Sample((3,), [2, 3], [3], [1], 3),),
        reference=lambda g, size, shape, strides, offset: _reference_embed(g, size, shape, strides, offset))
def embed(g, size: tuple, shape: tuple, strides: tuple, offset: int):
    """Zeros of ``size`` with ``g`` in the region that shape, strides and offset describe: the gradient of a view."""
    check_region(g, size, shape, strides, offset)
    return tuple(size), g._kind


def _reference_embed(g, size, shape, strides, offset):
    out = np.zeros(size)
    view = np.lib.stride_tricks.as_strided(out.reshape(-1)[offset:], shape, [8 * k for k in strides])
    view[...] = g
    return out


@embed.cpu
def _(out, g, size, shape, strides, offset):
    set_all(out, 0)
    copy_into(region(out, tuple(shape), None if strides is None else tuple(strides), offset), g)


@embed.gradient
def _(g_, shape, strides, offset):
    return strided.call(g_.contiguous(), tuple(shape), contiguous_strides(shape) if strides is None else tuple(strides),
                        offset)


# --- select and slice -------------------------------------------------------------------------------------------------

def selected(shape, strides, dim, index):
    """Geometry without dimension ``dim``, at ``index``; the index was checked."""
    if index < 0:
        index += shape[dim]
    return shape[:dim] + shape[dim + 1:], strides[:dim] + strides[dim + 1:], index * strides[dim]


def bounds(size, start, stop, step):
    """Python's slice rules: (start, length)."""
    start = 0 if start is None else max(start + size, 0) if start < 0 else min(start, size)
    stop = size if stop is None else max(stop + size, 0) if stop < 0 else min(stop, size)
    return start, max(0, -((start - stop) // step))


def sliced(shape, strides, dim, start, stop, step):
    """Geometry with dimension ``dim`` reduced to a slice."""
    start, length = bounds(shape[dim], start, stop, step)
    k = strides[dim]
    return ((*shape[:dim], length, *shape[dim + 1:]), (*strides[:dim], k * step, *strides[dim + 1:]),
            start * k if length else 0)


@view_op(kinds={"index": "int"},
         reference=lambda a, dim, index: np.take(a, index, dim), samples=(Sample((2, 3, 4), 1, 2), Sample((3,), 0, -1)))
def select(input, dim, index):
    """The slice at ``index`` along ``dim``, without that dimension."""
    shape = input._shape
    return checked_select(shape, input._strides or contiguous_strides(shape), dim, index.__index__())


def checked_select(shape, strides, dim, index):
    """``selected`` after its checks."""
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, len(shape))
    if not -shape[dim] <= index < shape[dim]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {dim}")
    return selected(shape, strides, dim, index)


@select.gradient
def _(g, shape, dim, index):
    dim %= len(shape)
    return embed.call(g, shape, *selected(shape, contiguous_strides(shape), dim, index))


@view_op(name="slice", kinds={"start": "int?", "end": "int?"},
         namespaces=(), method=False, node="SliceBackward0", samples=(Sample((5, 4), 0, 1, 4, 2),),
         reference=lambda a, dim, start, stop, step: a[(slice(None),) * dim + (slice(start, stop, step),)])
def slice_(input, dim=0, start=None, end=None, step=1):
    """Elements ``start`` to ``end`` (not included) of a dimension in steps of ``step``."""
    shape = input._shape
    return checked_slice(shape, input._strides or contiguous_strides(shape), dim, start, end, step)


def checked_slice(shape, strides, dim=0, start=None, end=None, step=1):
    """``sliced`` after its checks."""
    if not shape:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, len(shape))
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    return sliced(shape, strides, dim, start, end, step)


@slice_.gradient
def _(g, shape, dim, start, end, step):
    dim %= len(shape)
    return embed.call(g, shape, *sliced(shape, contiguous_strides(shape), dim, start, end, step))


@function(dtypes="any", samples=(Sample((5, 4), 0, 1, 3), Sample((5, 4), 1, -2, 2)), reference=lambda a, dim, start, length:
          np.take(a, np.arange(start, start + length), dim))
def narrow(input, dim, start, length):
    """``length`` elements of a dimension from ``start`` on."""
    shape = input._shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    at = wrap_dim(dim, len(shape))
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if start.__class__ is not int:
        if isinstance(start, Tensor) and (start._shape or start._kind.dtype.category != 1):
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        start = arguments.check_int(start, "narrow", "start", 3)
    if not -shape[at] <= start <= shape[at]:
        raise IndexError(f"start out of range (expected to be in range of [{-shape[at]}, {shape[at]}], but got {start})")
    start = start + shape[at] if start < 0 else start
    if start + length > shape[at]:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({shape[at]}).")
    return slice_.call(input, at, start, start + length, 1)


# --- diagonal ---------------------------------------------------------------------------------------------------------

def diagonal_geometry(shape, strides, offset, dim1, dim2):
    """Geometry of a diagonal, which becomes the last dimension."""
    i, j = wrap_dim(dim1, len(shape)), wrap_dim(dim2, len(shape))
    if i == j:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if offset >= 0:
        n, at = max(min(shape[i], shape[j] - offset), 0), offset * strides[j]
    else:
        n, at = max(min(shape[i] + offset, shape[j]), 0), -offset * strides[i]
    keep = [d for d in range(len(shape)) if d not in (i, j)]
    return (*[shape[d] for d in keep], n), (*[strides[d] for d in keep], strides[i] + strides[j]), at if n else 0


@view_op(reference=lambda a, offset=0, dim1=0, dim2=1: np.diagonal(a, offset, dim1, dim2),
         samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), -1, 1, 2)))
def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of two dimensions as a view; it becomes the last dimension."""
    shape = input._shape
    return diagonal_geometry(shape, input._strides or contiguous_strides(shape), offset, dim1, dim2)


@diagonal.gradient
def _(g, shape, offset, dim1, dim2):
    return embed.call(g, shape, *diagonal_geometry(shape, contiguous_strides(shape), offset, dim1, dim2))


# --- arbitrary strides ------------------------------------------------------------------------------------------------

@kernel
def add_region(g: "*T", out: "*T", meta: "*i8", nd: int, start: int, stop: int):
    """out[geometry] += g, row by row of the last dimension; int64 meta (2 nd,) holds sizes, then strides of out, g is
    row-major."""
    inner, step = meta[nd - 1], meta[2 * nd - 1]
    for row in range(start, stop):
        left = row
        base = 0
        for d in range(nd - 2, -1, -1):
            up = left // meta[d]
            base += (left - up * meta[d]) * meta[nd + d]
            left = up
        for i in range(inner):
            out[base + i * step] = store(load(out[base + i * step]) + load(g[row * inner + i]))


@custom(private=True, joins=True, dtypes="any", samples=(Sample((3, 3), [6], [3, 3], [1, 1], 1),),
        reference=lambda g, size, shape, strides, offset: _reference_pile(g, size, shape, strides, offset))
def pile(g, size: tuple, shape: tuple, strides: tuple, offset: int):
    """Zeros of ``size`` with ``g`` added in a region whose elements may overlap: the gradient of such a view."""
    check_region(g, size, shape, strides, offset)
    return tuple(size), g._kind


def _reference_pile(g, size, shape, strides, offset):
    out = np.zeros(size)
    for where in np.ndindex(*shape):
        out.reshape(-1)[offset + sum(i * k for i, k in zip(where, strides))] += g[where]
    return out


@pile.cpu
def _(out, g, size, shape, strides, offset):
    set_all(out, 0)
    if not g._n:
        return
    key = (*(shape or (1,)), *(strides or (1,)))
    meta = _metas.get(key)
    if meta is None:
        if len(_metas) >= 1024:
            _metas.clear()
        array = np.array(key, np.int64)
        meta = _metas[key] = array, table(array)
    add_region[g._kind](g._ptr, out._ptr + offset * g._kind.itemsize, meta[1], max(len(shape), 1), 0,
                              g._n // (shape[-1] if shape else 1))


_metas: dict = {}


@pile.gradient
def _(g_, shape, strides, offset):
    return strided.call(g_.contiguous(), tuple(shape), tuple(strides), offset)


@view_op(beyond=True, private=True, node="AsStridedBackward0",
         samples=(Sample((2, 3), [2, 2], [3, 1], 1), Sample((6,), [3, 3], [1, 1], 0)),
         reference=lambda a, size, stride, offset: np.lib.stride_tricks.as_strided(
             a.reshape(-1)[offset:], size, [8 * k for k in stride]))
def strided(input, size, stride, offset):
    """A view of any geometry; ``offset`` counts from the input's first element."""
    return tuple(size), tuple(stride), offset


@strided.gradient
def _(g, shape, size, stride, offset):
    size, stride = tuple(size), tuple(stride)
    if numel(size) == 0:
        return g.new_zeros(shape)
    if distinct(size, stride):
        return embed.call(g, shape, size, stride, offset)
    return pile.call(g, shape, size, stride, offset)


@view_op(beyond=True, private=True, node="AsStridedBackward0", reference=None)
def strided_from(input, size, stride, offset, own):
    """``strided`` of an input that is not a row-major piece of memory, with strides ``own``."""
    return tuple(size), tuple(stride), offset


@strided_from.gradient
def _(g, shape, size, stride, offset, own):
    # Through a row of the memory that input and view lie in, as PyTorch does it.
    if numel(size) == 0 or numel(shape) == 0:
        return g.new_zeros(shape)
    start = max(-offset, 0)
    span = max(_extent(shape, own) + start, _extent(size, stride) + offset + start)
    row = strided.rule(g, (span,), tuple(size), tuple(stride), offset + start)
    if not distinct(shape, own):  # elements of the input that are one share the gradient
        count = g.new_ones(shape, dtype=g.dtype.to_real())
        row = row / pile.call(count, (span,), shape, own, start).clamp(min=1)
    return strided.call(row, shape, own, start).contiguous()


def _extent(shape, strides):
    return 1 + sum([(s - 1) * k for s, k in zip(shape, strides)])


def _strided_geometry(input, size, stride, storage_offset):
    """(size, stride, first element in the storage, the input's own first element) of a checked call."""
    size, stride = numbers("as_strided", (size,)), numbers("as_strided", (stride,), "stride")
    check_geometry(size, stride)
    item = input._kind.itemsize
    own = (input._ptr - storage_address(input)) // item
    first = own if storage_offset is None else storage_offset
    check_bounds(size, stride, first, input._buf.nbytes // item, item)
    return size, stride, first, own


def _extent_of(size, stride):
    """How many elements lie from a geometry's first to its last, after its checks."""
    check_geometry(size, stride)
    if len(_extents) >= 4096:
        _extents.clear()
    found = _extents[size, stride] = 0 if 0 in size else _extent(size, stride)
    return found


_extents: dict = {}


def _ints(values, name, place):
    """A tuple of ints of a list or tuple."""
    if values.__class__ is not tuple and values.__class__ is not list:
        return arguments.check_list_of_ints(values, "as_strided", name, place)
    for v in values:
        if v.__class__ is not int:
            return arguments.check_list_of_ints(values, "as_strided", name, place)
    return tuple(values)


@function(kinds={"size": "any", "stride": "any"},
          dtypes="any", samples=(Sample((2, 3), [2, 2], [3, 1]), Sample((6,), [3, 3], [1, 1])),
          reference=lambda a, size, stride: np.lib.stride_tricks.as_strided(a, size, [8 * k for k in stride]))
def as_strided(input, size, stride, storage_offset=None):
    """A view of the storage with any sizes, strides and offset (in elements from the start of the storage).

    In the gradient, elements that appear several times add up. RuntimeError if the view would
    reach outside the storage."""
    size, stride = _ints(size, "size", 2), _ints(stride, "stride", 3)
    if storage_offset is None and input._strides is None:
        extent = _extents.get((size, stride))
        if extent is None:
            extent = _extent_of(size, stride)
        if extent <= input._n and (not input._rg or input._n * input._kind.itemsize == input._buf.nbytes):
            return strided.call(input, size, stride, 0)
    size, stride, first, own = _strided_geometry(input, size, stride, storage_offset)
    if input._rg and (input._strides is not None or own or input._n * input._kind.itemsize != input._buf.nbytes):
        # Gradients flow to where the elements lie in the row-major base, not in this view of it.
        view = input._view
        if view is not None and view.base._rg and view.base._strides is None:
            start = (view.base._ptr - storage_address(input)) // input._kind.itemsize
            return strided.call(view.base, size, stride, first - start)
        return strided_from.call(input, size, stride, first - own, input._strides or contiguous_strides(input._shape))
    return strided.call(input, size, stride, first - own)


def as_strided_(self, size, stride, storage_offset=None):
    """In-place form of ``as_strided``."""
    size, stride, first, own = _strided_geometry(self, size, stride, storage_offset)
    if self._rg and (self._strides is not None or own):
        strides = self._strides or contiguous_strides(self._shape)
        return change_geometry(self, strided_from, "AsStridedBackward1", size, stride, first - own, strides)
    return change_geometry(self, strided, "AsStridedBackward1", size, stride, first - own)


add_function(numbagrad, as_strided_, method=True, size="list of ints", stride="list of ints")
