"""Copies with one part written: ``select_scatter``, ``slice_scatter``, ``diagonal_scatter``, ``as_strided_scatter``."""

from __future__ import annotations

import numpy as np

from numbagrad.core.copying import copy_into
from numbagrad.core.overlap import check_geometry_single
from numbagrad.core.tensor import contiguous_strides
from numbagrad.dispatch.op import grad_name
from numbagrad.extend import Sample, custom, function

from .shape import numbers
from .slicing import check_region, checked_select, checked_slice, diagonal_geometry, region, strided


def _scatter_reference(a, src, size, stride, offset=0):
    out = a.copy()
    np.lib.stride_tricks.as_strided(out.reshape(-1)[offset:], size, [8 * k for k in stride])[...] = src
    return out


@custom(private=True, dtypes="any", node="AsStridedScatterBackward0", reference=_scatter_reference,
        samples=(Sample((2, 3), (2, 2), [2, 2], [3, 1], 1),))
def with_region(input, src, size: tuple, stride: tuple, storage_offset: int = None):
    """A copy of ``input`` with ``src``, of its dtype, written into the region that size, stride and offset describe."""
    check_region(src, input._shape, size, stride, storage_offset or 0)
    check_geometry_single(tuple(size), tuple(stride))
    return input._shape, input._kind


@with_region.cpu
def _(out, input, src, size, stride, storage_offset):
    copy_into(out, input)
    copy_into(region(out, tuple(size), tuple(stride), storage_offset or 0), src)


@with_region.gradient
def _(g, needs, size, stride, storage_offset):
    g, at = g.contiguous(), storage_offset or 0
    own = with_region.call(g, g.new_zeros(size), size, stride, at) if needs[0] else None
    return own, strided.call(g, tuple(size), tuple(stride), at) if needs[1] else None


def _alike(src, input):
    """``src`` in the dtype of ``input``, recorded: its gradient comes back in its own."""
    return src if src._kind is input._kind else src.to(device=input.device, dtype=input.dtype)


@function(dtypes="any", reference=_scatter_reference, samples=(Sample((2, 3), (2, 2), [2, 2], [3, 1], 1),))
def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """A copy of ``input`` with ``src`` written into the region that size, stride and offset describe."""
    size, stride = numbers("as_strided_scatter", (size,)), numbers("as_strided_scatter", (stride,), "stride")
    return with_region.call(input, _alike(src, input), size, stride, storage_offset)


def _write_part(name, geometry):
    """A function that copies its input and writes ``src`` into one part of it."""
    run = with_region.recorded_as(grad_name(name))

    known = {}

    def write(input, src, *args):
        key = input._shape, args
        found = known.get(key)
        if found is None:
            if len(known) >= 1024:
                known.clear()
            found = known[key] = geometry(input._shape, contiguous_strides(input._shape), *args)
        shape, strides, offset = found
        if src._shape != shape:
            raise RuntimeError("expected src to have a size equal to the slice of self. src size = "
                               f"{list(src._shape)}, slice size = {list(shape)}")
        return run.call(input, src if src._kind is input._kind else _alike(src, input), shape, strides, offset)
    return write


def _assign(a, src, index):
    out = a.copy()
    out[index] = src
    return out


def _diagonal_assign(a, src):
    out = a.copy()
    np.fill_diagonal(out, src)
    return out


_write_select = _write_part("select_scatter", checked_select)
_write_slice = _write_part("slice_scatter", checked_slice)
_write_diagonal = _write_part("diagonal_scatter", diagonal_geometry)


@function(kinds={"index": "int"}, dtypes="any", samples=(Sample((3, 4), ("float64", (4,)), 0, 1),),
          reference=lambda a, src, dim, index: _assign(a, src, (slice(None),) * dim + (index,)))
def select_scatter(input, src, dim, index):
    """A copy of ``input`` with ``src`` at ``index`` of a dimension."""
    return _write_select(input, src, dim, index)


@function(kinds={"start": "int?", "end": "int?"}, dtypes="any", samples=(Sample((3, 4), ("float64", (2, 4)), 0, 1),),
          out="same", reference=lambda a, src, dim, start: _assign(a, src, slice(start, None)))
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """A copy of ``input`` with ``src`` in a slice of a dimension."""
    return _write_slice(input, src, dim, start, end, step)


@function(dtypes="any", samples=(Sample((3, 4), ("float64", (3,))),), reference=_diagonal_assign)
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """A copy of ``input`` with ``src`` on a diagonal."""
    return _write_diagonal(input, src, offset, dim1, dim2)
