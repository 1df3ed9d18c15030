"""Rules of batches for functions whose ops work by plans of indices: ``rule(level, op, *args, **kwargs)``."""

from __future__ import annotations

from ..core.creation import arange
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from .batched import batched
from .levels import outside
from .tables import BATCH_FUNCTIONS, adder

rule = adder(BATCH_FUNCTIONS)


@rule("rot90")
def rot90(level, op, input, k=1, dims=(0, 1)):
    """Quarter turns."""
    rank = len(input._shape)
    return batched(level, outside(op.callable, input.value, k, [d % rank + 1 for d in dims]))


def spread_all(level, tensors):
    """Values of several tensors that have the same number of dimensions, at least one."""
    ranks = {len(t._shape) for t in tensors}
    return None if len(ranks) > 1 or 0 in ranks else [level.spread(t) for t in tensors]


@rule("gather")
def gather(level, op, input, dim, index, *, sparse_grad=False, out=None):
    """Elements picked along a dimension."""
    values = spread_all(level, (input, index))
    if values is None or out is not None:
        return NotImplemented
    return batched(level, outside(op.callable, values[0], dim % len(input._shape) + 1, values[1]))


@rule("take_along_dim")
def take_along_dim(level, op, input, indices, dim=None, *, out=None):
    """Elements picked along a dimension."""
    if dim is None:
        return op.callable(input.reshape(-1), indices.reshape(-1), 0)
    values = spread_all(level, (input, indices))
    if values is None or out is not None:
        return NotImplemented
    return batched(level, outside(op.callable, values[0], values[1], dim % len(input._shape) + 1))


@rule("scatter", "scatter_add")
def scatter(level, op, input, dim, index, src=None, **kwargs):
    """Elements put along a dimension."""
    if src is None and "value" in kwargs:
        src = kwargs.pop("value")
    tensors = [input, index] + ([src] if isinstance(src, Tensor) else [])
    values = spread_all(level, tensors)
    if values is None or kwargs:
        return NotImplemented
    return batched(level, outside(op.callable, values[0], dim % len(input._shape) + 1, values[1],
                                  values[2] if isinstance(src, Tensor) else src))


@rule("scatter_reduce")
def scatter_reduce(level, op, input, dim, index, src, reduce, *, include_self=True, out=None):
    """Elements combined along a dimension."""
    values = spread_all(level, (input, index, src))
    if values is None or out is not None:
        return NotImplemented
    return batched(level, outside(lambda a, i, s: op.callable(a, dim % len(input._shape) + 1, i, s, reduce,
                                                              include_self=include_self), *values))


@rule("index_select")
def index_select(level, op, input, dim, index, *, out=None):
    """Slices at indices."""
    if not input._shape or len(index._shape) != 1 or out is not None:
        return NotImplemented
    dim %= len(input._shape)
    if not level.own(index):
        return batched(level, outside(op.callable, input.value, dim + 1, index))
    return input[(slice(None),) * dim + (index,)]


@rule("index_add", "index_copy")
def index_add(level, op, input, dim, index, source, *, alpha=1, out=None):
    """Slices added or copied at indices: those of each element lie behind the ones before."""
    if not input._shape or len(index._shape) != 1 or out is not None or len(source._shape) != len(input._shape):
        return NotImplemented
    dim %= len(input._shape)
    x, s = level.spread(input), level.spread(source)
    more = {} if alpha == 1 else {"alpha": alpha}
    if not level.own(index):
        return batched(level, outside(op.callable, x, dim + 1, index, s, **more))
    n = input._shape[dim]
    places = (index.value + (arange(level.size) * n).unsqueeze(1)).reshape(-1)
    wide, given = (t.movedim(dim + 1, 1) for t in (x, s))
    flat = outside(op.callable, wide.reshape(level.size * n, *wide._shape[2:]), 0, places,
                   given.reshape(-1, *given._shape[2:]), **more)
    return batched(level, flat.reshape(wide._shape).movedim(1, dim + 1))


@rule("index_fill")
def index_fill(level, op, input, dim, index, value):
    """Slices set at indices."""
    if not input._shape or level.own(index) or isinstance(value, Tensor):
        return NotImplemented
    return batched(level, outside(op.callable, input.value, dim % len(input._shape) + 1, index, value))


@rule("index_put")
def index_put(level, op, input, indices, values, accumulate=False):
    """Elements set at places; what is added may meet."""
    if accumulate:
        return NotImplemented
    out = input.clone() if level.own(input) else batched(level, level.spread(input).clone())
    out[tuple(indices)] = values
    return out


@rule("nonzero", "argwhere", "unique", "unique_consecutive")
def dynamic(level, op, *args, **kwargs):
    """Results whose size depends on values."""
    name = {"unique": "_unique2"}.get(op.name, op.name)
    raise RuntimeError("vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over "
                       f"aten::{name}. Please file an issue at https://github.com/pytorch/pytorch/issues if you need this "
                       "feature.")


@rule("masked_select")
def masked_select(level, op, *args, **kwargs):
    """Elements where a mask holds."""
    raise RuntimeError("vmap: Attempted to vmap over `mask` in torch.masked_select(self, mask) We cannot support this "
                       "because for "
                       "each batch this would return a differently shaped Tensor. Please file an issue at "
                       "https://github.com/pytorch/pytorch/issues if you need this feature.")


@rule("median", "nanmedian")
def median(level, op, input, *args, **kwargs):
    """The middle element."""
    if args or kwargs or op.name == "nanmedian" or not input._shape:
        if not input._shape or kwargs.get("out") is not None:
            return NotImplemented
        given = dict(zip(("dim", "keepdim"), args)) | kwargs
        if given.get("dim") is None:
            return median_of_all(level, op, input)
        return level.wrap(outside(op.callable, input.value, given["dim"] % len(input._shape) + 1, given.get("keepdim", False)))
    return median_of_all(level, op, input)


def median_of_all(level, op, input):
    """Of all elements: a row for each element of the batch."""
    return batched(level, outside(op.callable, input.value.reshape(level.size, input._n), 1)[0])


@rule("mode", "kthvalue", "sort", "argsort", "topk", "msort")
def ordered(level, op, input, *args, **kwargs):
    """Elements in order along a dimension, by the names of the arguments."""
    if not input._shape:
        return NotImplemented
    if op.name == "msort":
        return ops("sort")(input, 0)[0]
    names = [n for n in op.signature.parameters if n != "input"]
    given = dict(zip(names, args)) | kwargs
    rank = len(input._shape)
    given["dim"] = given.get("dim", -1) % rank + 1
    return level.wrap(outside(op.callable, input.value, **given))


def ops(name):
    return REGISTRY[name].callable


@rule("searchsorted")
def searchsorted(level, op, sorted_sequence, input, *args, **kwargs):
    """Places in sorted rows: in one for all, or in those of each element."""
    if not isinstance(input, Tensor) or any([kwargs.get(n) is not None for n in ("sorter", "out")]):
        return NotImplemented
    rank = len(sorted_sequence._shape)
    if rank == 1 and not level.own(sorted_sequence):
        return batched(level, outside(op.callable, sorted_sequence, input.value, *args, **kwargs))
    if rank != 1 and rank != len(input._shape):
        return NotImplemented
    x = level.spread(input)
    row = x.reshape(level.size, input._n) if rank == 1 else x
    return batched(level, outside(op.callable, level.spread(sorted_sequence), row, *args, **kwargs).reshape(x._shape))


@rule("bucketize")
def bucketize(level, op, input, boundaries, *args, **kwargs):
    """Places among boundaries."""
    if kwargs.get("out") is not None:
        return NotImplemented
    if level.own(boundaries):
        return searchsorted(level, REGISTRY["searchsorted"], boundaries, input, *args, **kwargs)
    return batched(level, outside(op.callable, input.value, boundaries, *args, **kwargs))
