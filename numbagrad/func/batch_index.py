"""Indices, and what is written, in batches."""

from __future__ import annotations

from numbagrad.ops.index.getitem import parse

from ..base import dtypes as dt
from ..core.broadcast import broadcast_shapes
from ..core.creation import arange
from ..core.tensor import Tensor
from .batched import BatchLevel, batched
from .levels import keeps, outside

MASKS = (dt.bool_, dt.uint8)


def parts(level, x, index):
    """(the view that the basic parts of an index give, {dimension: index tensor of integers})."""
    if index.__class__ is not tuple:
        whole = index.__class__ is list and any([i is None or i is Ellipsis or isinstance(i, slice) for i in index])
        index = tuple(index) if whole else (index,)
    # A number in a tensor of the batch would be read: one dimension more, which is taken away at the end.
    alone = [i for i in index if isinstance(i, Tensor) and not i._shape and i._kind.dtype.category == 1]
    kept = tuple([i.unsqueeze(0) if any([i is a for a in alone]) else i for i in index])
    view, tensors = parse(x, kept)
    found = {}
    for d, t in (tensors or {}).items():
        if t._kind.dtype not in MASKS:
            found[d] = t
            continue
        if level.own(t):
            raise RuntimeError("vmap: We do not support batching operators that can support dynamic shape. Attempting to "
                               "batch over "
                               "indexing with a boolean mask.")
        for k, places in enumerate(t.nonzero().unbind(1)):
            found[d + k] = places
    return view, found, bool(alone) and all([len(t._shape) == 1 and t._shape[0] == 1 for t in found.values()])


def arrangement(level, view, tensors):
    """(dimensions with indices, those without, place of the result's dimensions of indices, their shape, the indices)."""
    dims = sorted(tensors)
    rest = [d for d in range(len(view._shape)) if d not in tensors]
    at = dims[0] if dims[-1] - dims[0] + 1 == len(dims) else 0
    shape = broadcast_shapes("index", [tensors[d] for d in dims])
    own = any([level.own(tensors[d]) for d in dims])
    indices = [level.lined_up(tensors[d], len(shape)) for d in dims]
    if own:
        rows = arange(level.size).reshape(level.size, *(1,) * len(shape))
        indices = [rows, *indices]
    return dims, rest, at, shape, own, indices


def getitem(level, x, index):
    """``x[index]`` where something is of the batch."""
    view, tensors, alone = parts(level, x, index)
    if not tensors:
        return view
    if not level.own(view) and not any([level.own(t) for t in tensors.values()]):
        return NotImplemented
    dims, rest, at, shape, own, indices = arrangement(level, view, tensors)
    value = level.value(view)
    if level.own(view):
        value = value.permute(0, *[d + 1 for d in dims], *[d + 1 for d in rest])
        value = outside(_at, value, tuple(indices) if own else (slice(None), *indices))
    else:
        value = outside(_at, value.permute(*dims, *rest), tuple(indices[1:]))
    n = len(shape)
    if at and n:
        value = value.movedim(list(range(1, n + 1)), list(range(1 + at, 1 + at + n)))
    out = batched(level, value)
    return out.squeeze(at) if alone else out


def _at(value, index):
    return value[index]


def setitem(level, x, index, value):
    """``x[index] = value`` where something is of the batch."""
    view, tensors, alone = parts(level, x, index)
    if not level.own(view):
        raise refused("index_put")
    if not tensors:
        view.copy_(value) if isinstance(value, Tensor) else view.fill_(value)
        return None
    dims, rest, at, shape, own, indices = arrangement(level, view, tensors)
    place = level.value(view).permute(0, *[d + 1 for d in dims], *[d + 1 for d in rest])
    if isinstance(value, Tensor):
        sizes = [view._shape[d] for d in rest]
        wanted = (*sizes[:at], *shape, *sizes[at:])
        while len(value._shape) > len(wanted) - alone and value._shape[:1] == (1,):
            value = value.squeeze(0)
        if alone and len(value._shape) > at:
            value = value.unsqueeze(len(value._shape) - (len(sizes) - at))
        value = value.expand(wanted)
        n = len(shape)
        if at and n:
            value = value.movedim(list(range(at, at + n)), list(range(n)))
        value = level.spread(value)
    outside(_put, place, tuple(indices) if own else (slice(None), *indices), value)
    return None


def _put(place, index, value):
    place[index] = value


def refused(name):
    """PyTorch's error of a write that would need a batch where there is none."""
    shown = f"{name}_" if name in ("fill", "index_put") else "inplace arithmetic"
    return RuntimeError(f"vmap: {shown}(self, *extra_args) is not possible because there exists a Tensor `other` in "
                        "extra_args that "
                        "has more elements than `self`. This happened due to `other` being vmapped over but `self` not being "
                        "vmapped over in a vmap. Please try to use out-of-place operators instead of "
                        f"{shown}. If said operator is being called inside the PyTorch framework, please file a bug report "
                        "instead.")


def inplace(level, op, t, args, kwargs):
    """An in-place op where something is of the batch: ``op`` by its result, or "copy" and "fill"."""
    name = op if isinstance(op, str) else op.name
    if not level.own(t):
        if name == "add":
            raise RuntimeError(f"output with shape {list(t._shape)} doesn't match the broadcast shape "
                               f"{[level.size, *(args[0] if level.own(args[0]) else t)._shape]}")
        raise refused(name)
    value = t.value
    if name == "fill":
        new = args[0]
        if level.own(new):
            outside(Tensor.copy_, value, level.lined_up(new, len(t._shape)))
        else:
            outside(Tensor.fill_, value, new)
        return t
    # What backward needs of the value that is written over is saved of a copy.
    old = t.clone() if name != "copy" and keeps((t, *args)) else t
    new = args[0] if name == "copy" else op.callable(old, *args, **kwargs)
    if name != "copy":
        if not dt.can_cast(new._kind.dtype, t._kind.dtype):
            raise RuntimeError(f"result type {dt.scalar_name(new._kind.dtype)} can't be cast to the desired output type "
                               f"{dt.scalar_name(t._kind.dtype)}")
        if new._shape != t._shape:
            raise RuntimeError(f"output with shape {list(t._shape)} doesn't match the broadcast shape {list(new._shape)}")
    outside(Tensor.copy_, value, level.lined_up(new, len(t._shape)))
    return t


BatchLevel.getitem, BatchLevel.setitem, BatchLevel.inplace = getitem, setitem, inplace
