"""One index along a dimension, several index tensors, flat indices: index_select, index_copy, index_put, take, put."""

from __future__ import annotations

import inspect

import numpy as np

import numbagrad
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.core.overlap import check_apart
from numbagrad.core.tensor import numel
from numbagrad.dispatch.op import add_method
from numbagrad.extend import REGISTRY, Sample, Tensor, function

from ..view.shape import tensor_list
from . import plans as ix
from .by_plan import putter
from .getitem import of_one, parse, plan_for, width_of
from .places import check_values, number_at, taken
from .setitem import FORMS, put_at_one

# --- one index along one dimension ------------------------------------------------------------------------------------

_index_select = taken.recorded_as("IndexSelectBackward0")


def _vector(name, index):
    if len(index._shape) > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if index._kind.dtype not in (dt.int64, dt.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")


def outside(index, dim, size):
    """The error of an index out of range along the first dimension."""
    raise IndexError("index out of range in self")


def _outside_later(index, dim, size):
    raise RuntimeError(f"INDICES element is out of DATA bounds, id={index} axis_dim={size}")


@function(dtypes="any", samples=(Sample((4, 3), 0, ("int64", (5,), 0, 4)), Sample((2, 3, 4), 1, ("int64", (2,), 0, 3))),
          out="index_select(): self and result must have the same scalar type",
          reference=lambda a, dim, index: np.take(a, index, dim))
def index_select(input, dim, index):
    """The slices of ``input`` along ``dim`` that a 1-D ``index`` names."""
    return _index_select.call(input, index, _selected, dim)


def _selected(shape, dim, index, kind=None, values=None):
    """``where`` of ``index_select``."""
    at = wrap_dim(dim, len(shape))
    _vector("index_select", index)
    return ix.named_along(shape, at, index, _outside_later if at else outside, False)


_index_copy, _index_fill = putter("IndexCopyBackward0"), putter("IndexFillBackward0", "IndexFillBackward1")
_index_select.node_class.holds_more = True
_take, _put = taken.recorded_as("TakeBackward0"), putter("PutBackward0")


def both(name, prepare, forms, doc, samples, reference, kinds=None, quick=None, out=None):
    """Register ``name`` and set ``Tensor.name_``; ``prepare`` checks the call and gives (values, plan, accumulate).

    ``quick`` takes usual calls of ``name``, checks included, and returns None for others."""
    kinds = {"accumulate": "bool", **(kinds or {})}

    quiet = ix.is_quiet if name == "index_fill" else ix.unrecorded  # (others are written in place while they are written down)

    def apart(input, *args, **kwargs):
        out = quick and quick(input, *args, **kwargs)
        if out is not None:
            return out
        values, plan, accumulate = prepare(input, *args, **kwargs)
        return forms[0](input, values, plan, accumulate)

    def within(self, *args, **kwargs):
        if ix.is_few(self, (*args, *kwargs.values()), quiet):
            return ix.take_values(self, public(self, *args, **kwargs))
        values, plan, accumulate = prepare(self, *args, **kwargs)
        check_apart(self, ix.tensors_in(args[:2] if name == "index_fill" else (*args, *kwargs.values())))
        return forms[1](self, values, plan, accumulate, name + "_")
    apart.__name__ = apart.__qualname__ = name
    within.__name__ = within.__qualname__ = name + "_"
    apart.__module__ = within.__module__ = prepare.__module__
    apart.__doc__, within.__doc__ = doc, f"In-place form of ``{name}``."
    apart.__signature__ = within.__signature__ = inspect.signature(prepare)
    method = add_method(within, **kinds)
    if name == "index_put":
        REGISTRY.attach(__name__, numbagrad, {"index_put_": method})
    public = function(apart, dtypes="any", samples=samples, reference=reference, kinds=kinds, out=out)
    return public


def same_kind(name, kind, values):
    if values._kind.dtype is not kind.dtype:
        raise RuntimeError(f"{name}(): self and source expected to have the same dtype, but got (self) "
                           f"{dt.scalar_name(kind.dtype)} and (source) {dt.scalar_name(values.dtype)}")


def _prepare_copy(input, dim, index, source):
    return source, ix.Plan(*_copied(input._shape, dim, index, input._kind, source)), False


def _copied(shape, dim, index, kind=None, values=None):
    """``where`` of ``index_copy``."""
    at = wrap_dim(dim, len(shape))
    _vector("index_copy_", index)
    if values is not None:
        _check_copy(shape, at, index, kind, values)
    return ix.named_along(shape, at, index, _outside_copy, False)


def _check_copy(shape, at, index, kind, source):
    same_kind("index_copy_", kind, source)
    if shape and source._shape and len(shape) != len(source._shape):
        raise IndexError("index_copy_(): When source and destination are not scalars, their dimensionality must match. Source "
                         f"dimensionality ({len(source._shape)}), destination dimensionality ({len(shape)})")
    target, given = shape[:at] + shape[at + 1:], source._shape[:at] + source._shape[at + 1:]
    if target != given:
        raise RuntimeError("index_copy_(): Source/destination tensor must have same slice shapes. Destination slice shape: "
                           f"{' '.join(map(str, target))} at dimension {at} and source slice shape: "
                           f"{' '.join(map(str, given))} at dimension 0.")
    if source._shape and index._n != source._shape[at]:
        raise IndexError(f"index_copy_(): Number of indices ({index._n}) should be equal to source.size(dim) "
                         f"({source._shape[at]})")


def _outside_copy(index, dim, size):
    raise IndexError(f"index_copy_(): index {index} is out of bounds for dimension {dim} with size {size}")


def _set(a, dim, index, values):
    out = a.copy()
    out[(slice(None),) * dim + (index,)] = values
    return out


index_copy = both("index_copy", _prepare_copy, _index_copy,
                  "A copy of ``input`` whose slices along ``dim`` named by ``index`` come from ``source``.",
                  (Sample((4, 3), 0, ("int64", (1,), 1, 3), ("float64", (1, 3))),), _set,
                  quick=lambda input, dim, index, source: _index_copy[2].call(input, source, index, _copied, dim, False),
                  out="same")


def _prepare_fill(input, dim, index, value):
    at = wrap_dim(dim, len(input._shape))
    _vector("index_fill_", index)
    if not input._kind.dtype.is_complex and (value._kind.dtype.is_complex if isinstance(value, Tensor)
                                             else isinstance(value, complex)):
        raise RuntimeError("index_fill_(): Converting complex Scalar to non-complex type is not supported")
    if isinstance(value, Tensor):
        if value._shape:
            raise RuntimeError("index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                               f"{len(value._shape)} dimension(s).")
        if value._rg:  # each place takes from its gradient once
            index = REGISTRY["unique"].callable(index)
        value = ix.value_like(value, input)
    else:
        value = ix.scalar_like(value, input)
    return value, ix.plan_along(input._shape, at, index), False


def _filled(shape, dim, index, kind=None, values=None):
    """``where`` of ``index_fill``."""
    at = wrap_dim(dim, len(shape))
    _vector("index_fill_", index)
    return ix.named_along(shape, at, index)


def _fill_of(input, dim, index, value):
    if value.__class__ is float and input._kind.dtype.category > 1 or value.__class__ is int and input._kind.dtype.category:
        return _number_at.call(input, index, _filled, dim, dt.fit(value, input._kind.dtype))
    return None


_number_at = number_at.recorded_as("IndexFillBackward0")
index_fill = both("index_fill", _prepare_fill, _index_fill,
                  "A copy of ``input`` whose slices along ``dim`` named by ``index`` are ``value``.",
                  (Sample((4, 3), 0, ("int64", (2,), 1, 3), 2.5),), _set, {"value": "any"}, quick=_fill_of)


# --- several index tensors, flat indices ------------------------------------------------------------------------------

def _prepare_put(input, indices, values, accumulate=False):
    indices = tensor_list("index_put", (indices,), 1)
    if not indices:
        raise RuntimeError("index_put(): expected at least one index tensor")
    if len(indices) > len(input._shape):
        raise IndexError(f"too many indices for tensor of dimension {len(input._shape)} (got {len(indices)})")
    parse(input, tuple(indices))  # which checks them
    if values._kind is not input._kind:
        raise RuntimeError("Index put requires the source and destination dtypes match, got "
                           f"{dt.scalar_name(input.dtype)} for the destination and {dt.scalar_name(values.dtype)} for the "
                           "source.")
    # A 0-d index tensor selects; as a plan it is a vector of one.
    given = {}
    at = 0
    for i in indices:
        given[at] = i
        at += width_of(i)
    try:
        plan = plan_for(input, given)
    except IndexError:
        shape = input._shape
        wide = broadcast_shapes("index_put", list(given.values()))
        dims = sorted(given)
        if all(t._kind.dtype.category == 1 for t in given.values()) and dims[-1] - dims[0] == len(dims) - 1:
            fits = (*shape[:dims[0]], *wide, *shape[dims[-1] + 1:])
            check_values(values, fits)  # PyTorch looks at the shapes before it looks at the indices
        raise
    return values, plan, accumulate


def _put_reference(a, indices, values, accumulate=False):
    out = a.copy()
    indices = tuple(np.asarray(i) for i in indices)
    if accumulate:
        np.add.at(out, indices, values)
    else:
        out[indices] = values
    return out


def _put_of(input, indices, values, accumulate=False):
    if indices.__class__ in (tuple, list) and len(indices) == 1 and values._kind is input._kind and input._shape:
        index = indices[0]
        if index.__class__ is Tensor and index._kind.dtype is dt.int64 and index._shape:
            return put_at_one.call(input, values, index, of_one, 0, accumulate)
    return None


index_put = both("index_put", _prepare_put, FORMS,
                 "A copy of ``input`` with ``values`` at the places that a tuple of index tensors names; with ``accumulate`` "
                 "they are added.", (Sample((4, 3), [("int64", (1,), 0, 4)], ("float64", (3,))),
                                     Sample((4, 3), [("int64", (5,), 0, 4), ("int64", (5,), 0, 3)], ("float64", (5,)), True)),
                 _put_reference, {"indices": "any"}, quick=_put_of)


def _flat_index(name, index):
    if index._kind.dtype is not dt.int64:
        raise RuntimeError(f"{name}(): Expected a long tensor for index, but got {dt.scalar_name(index.dtype)}")


def _flat(shape, dim, index, kind=None, values=None):
    """``where`` of ``take`` and ``put``."""
    total = numel(shape)
    if total == 0 and index._n:
        raise IndexError("take(): tried to take from an empty tensor")
    return ix.named_flat(total, index, _outside_row)


def _outside_row(index, dim, size):
    raise IndexError(f"out of range: tried to access index {index} on a tensor of {size} elements.")


@function(out="wider", dtypes="any", samples=(Sample((3, 4), ("int64", (2, 3), 0, 12)),), reference=np.take)
def take(input, index):
    """The elements of ``input``, seen as one row, at the positions ``index``; the shape is the index's."""
    _flat_index("take", index)
    return _take.call(input, index, _flat, 0)


def _prepare_flat_put(input, index, source, accumulate=False):
    return _put_values(input, index, source), ix.Plan(*_flat(input._shape, 0, index)), accumulate


def _put_values(input, index, source):
    """The source in the shape of the index."""
    _flat_index("put_", index)
    same_kind("put_", input._kind, source)
    if index._n != source._n:
        raise IndexError("put_(): Expected source and index to have the same number of elements, but got source.numel() = "
                         f"{source._n}, index.numel() = {index._n}")
    return source if source._shape == index._shape else source.reshape(index._shape)


def _flat_put_of(input, index, source, accumulate=False):
    return _put[2].call(input, _put_values(input, index, source), index, _flat, 0, accumulate)


def _flat_put_reference(a, index, source, accumulate=False):
    out = a.copy()
    np.put(out, index, source)
    return out


put = both("put", _prepare_flat_put, _put,
           "A copy of ``input``, seen as one row, with ``source`` at the positions ``index``; with ``accumulate`` added.",
           (Sample((3, 4), ("int64", (1,), 0, 12), ("float64", (1,))),), _flat_put_reference, quick=_flat_put_of)
