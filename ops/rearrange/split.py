"""Views in several parts: unbind, split, chunk and their kin.

The parts of ``unbind``, ``split`` and ``chunk`` share one node; in-place changes of them are refused while gradients flow.
"""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.tensor import contiguous_strides
from numbagrad.dispatch.op import add_method
from numbagrad.dispatch.view import place_each, remember, settle
from numbagrad.extend import Sample, Tensor, function
from numbagrad.extend import view as view_op

from ..view.slicing import slice_
from .join import cat, stack

MOST_PARTS = 1 << 24  # views of which memory holds no more than so many


def _countable(name, n):
    """``n``, a number of results, if it is one that memory holds."""
    if n > MOST_PARTS:
        raise RuntimeError(f"{name}(): {n} results are more than memory holds")
    return n


@view_op(several=True, reference=lambda a, dim=0: [np.take(a, i, dim) for i in range(a.shape[dim])],
         samples=(Sample((2, 3)), Sample((2, 3), 1)))
def unbind(input, dim=0):
    """The slices along a dimension, as a tuple of views without it."""
    shape = input._shape
    if not shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, len(shape))
    strides = input._strides or contiguous_strides(shape)
    sizes, steps, k = shape[:dim] + shape[dim + 1:], strides[:dim] + strides[dim + 1:], strides[dim]
    return [(sizes, steps, i * k) for i in range(_countable("unbind", shape[dim]))]


@unbind.gradient
def _(gs, dim):
    return stack.fn(gs, dim)


def _parts(shape, strides, dim, sizes):
    out, at = [], 0
    for n in sizes:
        out.append(((*shape[:dim], n, *shape[dim + 1:]), strides, at * strides[dim]))
        at += n
    return out


def _split_op(name, node, sizes_of, samples):
    @view_op(name=name, private=True, several=True, node=node, samples=samples,
             reference=lambda a, how, dim: np.split(a, np.cumsum(sizes_of(a.shape, how, dim)[0])[:-1], dim))
    def op(input, how, dim):
        """Consecutive parts along a dimension."""
        shape = input._shape
        sizes, dim = sizes_of(shape, how, dim)
        return _parts(shape, input._strides or contiguous_strides(shape), dim, sizes)

    @op.gradient
    def _(gs, dim):
        return cat.fn(gs, dim)
    return op


def _even_sizes(shape, size, dim):
    """(sizes of the parts, the dimension) of ``split`` into parts of one size, the last of which may be smaller."""
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = wrap_dim(dim, len(shape))
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0:
        if shape[dim]:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {shape[dim]}")
        return (0,), dim
    full, rest = divmod(shape[dim], size)
    _countable("split", full)
    return (size,) * full + ((rest,) if rest else ()) or (0,), dim


def _given_sizes(shape, sizes, dim):
    """The same of ``split_with_sizes``."""
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = wrap_dim(dim, len(shape))
    if any(s < 0 for s in sizes):
        raise RuntimeError(f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes="
                           f"{list(sizes)}")
    if sum(sizes) != shape[dim]:
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {shape[dim]} (input tensor's size at "
                           f"dimension {dim}), but got split_sizes={list(sizes)}")
    return sizes, dim


def _chunk_sizes(shape, chunks, dim):
    """The same of ``chunk``."""
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = wrap_dim(dim, len(shape))
    n = shape[dim]
    return _even_sizes(shape, -(-n // chunks), dim) if n else ((0,) * _countable("chunk", chunks), dim)


_even = _split_op("split_even", "SplitBackward0", _even_sizes, (Sample((5, 2), 2, 0),))
_sized = _split_op("split_sized", "SplitWithSizesBackward0", _given_sizes, (Sample((5, 2), (2, 3), 0),))
_chunked = _split_op("split_chunked", "SplitBackward0", _chunk_sizes, (Sample((5, 2), 2, 0),))


@function(dtypes="any", reference=lambda a, size, dim=0: np.split(a, np.cumsum(size)[:-1] if isinstance(size, list) else range(
    size, a.shape[dim], size), dim), method=False, samples=(Sample((5, 2), 2), Sample((5, 2), [1, 4]), Sample((2, 4), 4, 1)))
def split(tensor, split_size_or_sections, dim=0):
    """Consecutive parts of a dimension: of one size (the last may be smaller), or of a list of sizes."""
    if split_size_or_sections.__class__ is int:
        return _even.call(tensor, split_size_or_sections, dim)
    return _sized.call(tensor, tuple(split_size_or_sections), dim)


def _split_method(self, split_size, dim=0):
    """``split``, whose parameter has another name as a method."""
    if split_size.__class__ is int:
        return _even.call(self, split_size, dim)
    return _sized.call(self, tuple(split_size), dim)


_split_method.__name__ = _split_method.__qualname__ = "split"
add_method(_split_method, split_size="ints")


@function(dtypes="any", reference=lambda a, sizes, dim=0: np.split(a, np.cumsum(sizes)[:-1], dim),
          samples=(Sample((5, 2), [1, 4]), Sample((2, 4), [1, 0, 3], 1)))
def split_with_sizes(input, split_sizes, dim=0):
    """Consecutive parts of a dimension of the given sizes."""
    return _sized.call(input, split_sizes if split_sizes.__class__ is tuple else tuple(split_sizes), dim)


@function(dtypes="any", samples=(Sample((5, 2), 2), Sample((5, 2), 4), Sample((2, 6), 3, -1)), reference=lambda a, n, dim=0:
          np.split(a, range(-(-a.shape[dim] // n), a.shape[dim], -(-a.shape[dim] // n)), dim))
def chunk(input, chunks, dim=0):
    """At most ``chunks`` consecutive parts of equal size; the last may be smaller."""
    return _chunked.call(input, chunks, dim)


def _cuts(name, cuts, argument="indices_or_sections"):
    """A number of parts or a tuple of places, which may come as a tensor."""
    if isinstance(cuts, Tensor):
        cuts = cuts.tolist()
    return arguments.check_ints(cuts, name, argument, 2)


def _slices(input, dim, cuts):
    """Slices of a dimension: so many nearly equal ones, or between the places of a tuple."""
    key = input._shape, input._strides, dim, cuts
    found = _known.get(key)
    if found is None:
        n = input._shape[dim]
        ends = _ends(n, cuts) if cuts.__class__ is int else (0, *cuts, n)
        found = [(settle(slice_.fn(input, dim, a, b, 1)), (dim, a, b, 1)) for a, b in zip(ends, ends[1:])]
        remember(_known, key, found)
    return place_each(slice_, input, found)


_known: dict = {}


@function(kinds={"indices": "any"}, dtypes="any", reference=lambda a, n, dim=0: np.array_split(a, n, dim),
          samples=(Sample((5, 2), 2), Sample((5, 2), [1, 3]), Sample((2, 5), 3, 1)))
def tensor_split(input, indices_or_sections=None, dim=0, *, indices=None, sections=None):
    """Parts of a dimension: a number of nearly equal ones, or cut at the given places."""
    cuts = indices_or_sections
    if cuts is None:
        cuts = indices if indices is not None else sections
    shape = input._shape
    if not shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = wrap_dim(dim, len(shape))
    if cuts.__class__ is not int:
        cuts = _cuts("tensor_split", cuts)
    if cuts.__class__ is not int:
        return _slices(input, dim, cuts)
    if cuts <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
    return _slices(input, dim, cuts)


def _ends(n, parts):
    """The places between a number of nearly equal parts."""
    _countable("tensor_split", parts)
    small, extra = divmod(n, parts)
    return tuple([i * small + min(i, extra) for i in range(parts + 1)])


def _split_along(name, axis, least, doc, samples, reference):
    def fn(input, indices_or_sections):
        n = len(input._shape)
        if n < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {n} "
                               "dimensions!")
        dim, cuts = 0 if name == "hsplit" and n == 1 else axis, indices_or_sections
        size = input._shape[dim]
        if cuts.__class__ is not int:
            cuts = arguments.check_ints(cuts, name, "indices_or_sections", 2)
        if cuts.__class__ is not int:
            return _slices(input, dim, cuts)
        if cuts == 0 or size % cuts:
            raise RuntimeError(f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
                               f"{size} is not divisible by the split_size {cuts}!")
        return _slices(input, dim, cuts) if cuts > 0 else tensor_split.fn(input, cuts, dim)
    fn.__name__ = fn.__qualname__ = name
    fn.__module__, fn.__doc__ = __name__, doc
    return function(fn, dtypes="any", samples=samples, reference=reference)


hsplit = _split_along("hsplit", 1, 1, "Parts of the second dimension (of the first for 1-D tensors).",
                      (Sample((2, 4), 2), Sample((4,), [1])), np.hsplit)
vsplit = _split_along("vsplit", 0, 2, "Parts of the first dimension.", (Sample((4, 2), 2),), np.vsplit)
dsplit = _split_along("dsplit", 2, 3, "Parts of the third dimension.", (Sample((1, 2, 4), 2),), np.dsplit)
