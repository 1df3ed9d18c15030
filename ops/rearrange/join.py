"""Joining and repeating: cat, stack, repeat, flip, roll and their kin."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.base.user_code import caller_level
from numbagrad.core import storage
from numbagrad.core.copying import copy_into, set_all
from numbagrad.core.creation import zeros
from numbagrad.core.out import write_out
from numbagrad.core.promotion import common_device, common_dtype
from numbagrad.core.tensor import contiguous_strides, numel
from numbagrad.dispatch.custom import into
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.threads import LIMIT

from ..index.kernels import moved
from ..view.dims import atleast_1d, atleast_2d, atleast_3d
from ..view.shape import expanded, reshaped
from ..view.slicing import region, slice_

MOST_BYTES = 1 << 36  # of a result whose elements Python lists first


@kernel
def copy_block(x: "*T", out: "*T", width: int, step: int, start: int, stop: int):
    """Rows of x (rows, width) into rows of out that are ``step`` elements apart."""
    for row in range(start, stop):
        a = row * width
        b = row * step
        for i in range(width):
            out[b + i] = x[a + i]


def _sequence(name, tensors):
    if tensors.__class__ is not list and tensors.__class__ is not tuple and not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}")
    return tensors


class Mixed(Exception):
    """Tensors of several kinds: they are converted first, so that gradients are converted back."""


def _one_kind(tensors):
    kind = tensors[0]._kind
    for t in tensors:
        if t._kind is not kind:
            raise Mixed
    return kind


def _not_a_tensor(tensors):
    """The error of a list in which something else is."""
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")


def common_kind(name, tensors):
    """The promoted kind of several tensors, which must be on one device."""
    kind = tensors[0]._kind
    for t in tensors:
        if t._kind is not kind:
            device = common_device(name, tensors)
            return storage.kind_of(common_dtype(tensors, ()), device)
    return kind


def _skips(t):
    """Legacy: an empty 1-D tensor joins anything."""
    return len(t._shape) == 1 and t._n == 0


@custom(private=True, contiguous=False, node="CatBackward0", dtypes="any", reference=np.concatenate,
        samples=(Sample([(2, 3), (4, 3)], 0), Sample([(2, 3), (2, 1), (2, 3)], 1)))
def joined(tensors: list, dim: int):
    """Tensors joined along an existing dimension."""
    for i, t in enumerate(tensors):
        if not t._shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    first = next((t for t in tensors if not _skips(t)), tensors[0])
    shape = first._shape
    n, size, dim = len(shape), 0, wrap_dim(dim, len(shape))
    kind = _one_kind(tensors)
    for i, t in enumerate(tensors):
        other = t._shape
        if other != shape:
            if _skips(t):
                continue
            if len(other) != n:
                raise RuntimeError(f"Tensors must have same number of dimensions: got {n} and {len(other)}")
            for d in range(n):
                if d != dim and other[d] != shape[d]:
                    raise RuntimeError(f"Sizes of tensors must match except in dimension {dim}. Expected size {shape[d]} but "
                                       f"got size {other[d]} for tensor number {i} in the list.")
        size += other[dim]
    return (*shape[:dim], size, *shape[dim + 1:]), kind


@joined.cpu
def _(out, tensors, dim):
    shape = out._shape
    if out._n == 0:
        return
    dim %= len(shape)
    inner = numel(shape[dim + 1:])
    outer, step, at = numel(shape[:dim]), shape[dim] * inner, 0
    kind, size = out._kind, out._kind.itemsize
    run = copy_block[moved(kind)]
    for t in tensors:
        if t._n == 0:
            continue
        if t._kind is kind and t._strides is None and t._n < LIMIT[0]:
            run(t._ptr, out._ptr + at * size, t._shape[dim] * inner, step, 0, outer)
        else:
            copy_into(region(out, t._shape, contiguous_strides(shape), at), t)
        at += t._shape[dim] * inner


@joined.gradient
def _(g, shapes, needs, dim):
    grads, at, dim = [], 0, dim % len(g._shape)
    for shape, need in zip(shapes, needs):
        n = shape[dim] if len(shape) == len(g._shape) else 0
        if not need:
            grads.append(None)
        elif len(shape) != len(g._shape):
            grads.append(g.new_zeros(shape))
        else:
            grads.append(slice_.call(g, dim, at, at + n, 1))
        at += n
    return grads


@function(method=False, aliases=("concat", "concatenate"), dtypes="any", reference=np.concatenate,
          samples=(Sample([(2, 3), (4, 3)]), Sample([(2, 3), (2, 1), (2, 3)], 1), Sample([(2, 3), (2, 0)], -1)))
def cat(tensors, dim=0, *, out=None, axis=None):
    """Tensors joined along an existing dimension; dtypes are promoted."""
    if not _sequence("cat", tensors):
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    dim = dim if axis is None else axis
    for t in tensors:
        if t.__class__ is not Tensor:
            _not_a_tensor(tensors)
    try:
        if out is not None and into(joined, out, (tensors,), (dim,)):
            return out
        result = joined.call(tensors, dim)
    except Mixed:
        result = joined.call(_promoted("cat", tensors), dim)
    return result if out is None else write_out("cat", out, result, tensors, True)


def _promoted(name, tensors):
    """The tensors in their common dtype where one of them requires grad (so that gradients are converted back)."""
    kind = tensors[0]._kind
    if all([t._kind is kind for t in tensors]):
        return tensors
    kind = common_kind(name, tensors)
    return [t if t._kind is kind else t.to(device=kind.device, dtype=kind.dtype) for t in tensors]


@custom(private=True, contiguous=False, node="StackBackward0", dtypes="any", reference=np.stack,
        samples=(Sample([(2, 3), (2, 3)], 1),))
def stacked(tensors: list, dim: int):
    """Tensors of one shape joined along a new dimension."""
    shape = tensors[0]._shape
    dim, kind = wrap_dim(dim, len(shape) + 1), _one_kind(tensors)
    for i, t in enumerate(tensors):
        if t._shape != shape:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                               f"{list(t._shape)} at entry {i}")
    return (*shape[:dim], len(tensors), *shape[dim:]), kind


@stacked.cpu
def _(out, tensors, dim):
    shape, dim = tensors[0]._shape, dim % len(out._shape)
    inner = numel(shape[dim:])
    outer, kind, size = numel(shape[:dim]), out._kind, out._kind.itemsize
    if out._n == 0:
        return
    run = copy_block[moved(kind)]
    strides = contiguous_strides(out._shape)
    strides = strides[:dim] + strides[dim + 1:]
    for k, t in enumerate(tensors):
        if t._kind is kind and t._strides is None and t._n < LIMIT[0]:
            run(t._ptr, out._ptr + k * inner * size, inner, len(tensors) * inner, 0, outer)
        else:
            copy_into(region(out, shape, strides, k * inner), t)


@stacked.gradient
def _(g, dim):
    return REGISTRY["unbind"].call(g, dim)


@function(method=False, dtypes="any", reference=np.stack,
          samples=(Sample([(2, 3), (2, 3)]), Sample([(2, 3), (2, 3), (2, 3)], -1), Sample([(), ()])))
def stack(tensors, dim=0, *, out=None):
    """Tensors of one shape joined along a new dimension."""
    if not _sequence("stack", tensors):
        raise RuntimeError("stack expects a non-empty TensorList")
    for t in tensors:
        if t.__class__ is not Tensor:
            _not_a_tensor(tensors)
    try:
        if out is not None and into(stacked, out, (tensors,), (dim,)):
            return out
        result = stacked.call(tensors, dim)
    except Mixed:
        result = stacked.call(_promoted("stack", tensors), dim)
    return result if out is None else write_out("stack", out, result, tensors, True)


def _stacker(name, least, prepare, axis, doc, reference, samples):
    def fn(tensors, *, out=None):
        if not _sequence(name, tensors):
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        for t in tensors:
            if t.__class__ is not Tensor or len(t._shape) < least:
                tensors = prepare(tensors)
                break
        if out is not None:
            return cat.fn(tensors, axis(tensors), out=out)
        try:
            return joined.call(tensors, axis(tensors))
        except Mixed:
            return joined.call(_promoted("cat", tensors), axis(tensors))
    fn.__name__ = fn.__qualname__ = name
    fn.__module__, fn.__doc__ = __name__, doc
    return function(fn, method=False, dtypes="any", reference=reference, samples=samples,
                    aliases=("row_stack",) if name == "vstack" else ())


hstack = _stacker("hstack", 1, lambda ts: atleast_1d.fn(list(ts)), lambda ts: 0 if len(ts[0]._shape) == 1 else 1,
                  "Tensors joined along the second dimension, 1-D ones along the first.", np.hstack,
                  (Sample([(2, 3), (2, 4)]), Sample([(2,), (3,)])))
vstack = _stacker("vstack", 2, lambda ts: atleast_2d.fn(list(ts)), lambda ts: 0,
                  "Tensors joined along the first dimension; 1-D ones become rows.", np.vstack,
                  (Sample([(2, 3), (1, 3)]), Sample([(3,), (3,)])))
dstack = _stacker("dstack", 3, lambda ts: atleast_3d.fn(list(ts)), lambda ts: 2,
                  "Tensors joined along the third dimension.", np.dstack, (Sample([(2, 3), (2, 3)]), Sample([(3,), (3,)])))
column_stack = _stacker("column_stack", 2, lambda ts: [reshaped(t, (t._n, 1)) if len(t._shape) < 2 else t for t in ts],
                        lambda ts: 1, "Tensors joined along the second dimension; 1-D ones become columns.",
                        np.column_stack, (Sample([(3,), (3, 2)]),))


# --- grids and products -----------------------------------------------------------------------------------------------

@function(kinds={"indexing": "str"},
          method=False, dtypes="any", reference=lambda ts, indexing="ij": np.meshgrid(*ts, indexing=indexing),
          samples=(Sample([(2,), (3,)], indexing="ij"), Sample([(2,), (3,)], indexing="xy")))
def meshgrid(*tensors, indexing=None):
    """Coordinates of a grid: each 1-D tensor expanded along the dimensions of the others."""
    from ..view.shape import tensor_list
    tensors = tensor_list("meshgrid", tensors)
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing is None:
        import warnings
        warnings.warn("torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.",
                      UserWarning, stacklevel=caller_level())
        indexing = "ij"
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for t in tensors:
        if t._kind is not tensors[0]._kind:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype and device, but got "
                               f"{t._kind.dtype} on {t._kind.device} beside {tensors[0]._kind.dtype} on "
                               f"{tensors[0]._kind.device}")
        if len(t._shape) > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(t._shape)}")
    swap = indexing == "xy" and len(tensors) >= 2
    if swap:
        tensors = (tensors[1], tensors[0], *tensors[2:])
    shape = tuple([t._n for t in tensors])
    grids = [expanded.call(reshaped(t, (1,) * i + (t._n,) + (1,) * (len(shape) - i - 1)), shape)
             for i, t in enumerate(tensors)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@function(method=False, dtypes="any", samples=(Sample([(2,), (3,)]),),
          reference=lambda ts: np.stack([g.ravel() for g in np.meshgrid(*ts, indexing="ij")], 1))
def cartesian_prod(*tensors):
    """All combinations of one element of each 1-D tensor, as rows."""
    from ..view.shape import tensor_list
    tensors = tensor_list("cartesian_prod", tensors)
    for t in tensors:
        if len(t._shape) != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t._shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack.fn([reshaped(g, (g._n,)) for g in meshgrid.fn(*tensors, indexing="ij")], 1)


@function(method=True, dtypes="any", samples=(Sample((4,)), Sample((4,), 3), Sample((3,), 2, True)),
          reference=lambda a, r=2, with_replacement=False: _choices_reference(a, r, with_replacement))
def combinations(input, r=2, with_replacement=False):
    """All choices of ``r`` elements of a 1-D tensor in their order, as rows."""
    from numbagrad.core.creation import from_numpy

    from ..index.select_put import index_select
    if len(input._shape) != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty((0,))
    # The elements are known before any is made: a number of terms that memory cannot hold would be counted for years.
    count = _choice_count(input._n, r, with_replacement)
    if count * r * 8 > MOST_BYTES:
        raise RuntimeError(f"combinations(): {count} choices of {r} elements take {count * r * 8} bytes, more "
                           f"than {MOST_BYTES}")
    if not count:
        return index_select.fn(input, 0, input.new_empty((0,), dtype=dt.int64)).reshape((0, r))
    places = _choices(input._n, r, with_replacement)
    return stack.fn([index_select.fn(input, 0, from_numpy(np.ascontiguousarray(p)).to(device=input.device)) for p in places], 1)


def _choice_count(n, r, with_replacement):
    """How many choices there are, or a number above any memory."""
    if with_replacement:
        n = n + r - 1 if n else 0
    if r > n:
        return 0
    count = 1
    for i in range(min(r, n - r)):
        count = count * (n - i) // (i + 1)
        if count > MOST_BYTES:
            break
    return count


def _choices_reference(a, r, with_replacement):
    import itertools
    return np.array(list((itertools.combinations_with_replacement if with_replacement else itertools.combinations)(a, r)))


def _choices(n, r, with_replacement):
    """The places of ``r`` of ``n`` elements in every choice, an array for each: a choice goes on with all that may follow."""
    step = 0 if with_replacement else 1
    places = [np.arange(n)]
    for _ in range(1, r):
        first = places[-1] + step
        many = n - first
        ends = np.cumsum(many)
        places = [np.repeat(p, many) for p in places]
        places.append(np.arange(len(places[0])) + np.repeat(first - ends + many, many))
    return places


def _block_reference(ts):
    from scipy.linalg import block_diag as scipy_block_diag
    return scipy_block_diag(*ts)


@custom(private=True, contiguous=False, node="BlockDiagBackward0", dtypes="any", reference=_block_reference,
        samples=(Sample([(2, 3), (1, 2)]),))
def blocks(tensors: list):
    """Matrices along the diagonal of one."""
    return (sum([t._shape[0] for t in tensors]), sum([t._shape[1] for t in tensors])), common_kind("block_diag", tensors)


@blocks.cpu
def _(out, tensors):
    set_all(out, 0)
    row = column = 0
    strides = contiguous_strides(out._shape)
    for t in tensors:
        if t._n:
            copy_into(region(out, t._shape, strides, row * strides[0] + column), t)
        row, column = row + t._shape[0], column + t._shape[1]


@blocks.gradient
def _(g, shapes):
    grads, row, column = [], 0, 0
    for r, c in shapes:
        grads.append(slice_.call(slice_.call(g, 0, row, row + r, 1), 1, column, column + c, 1))
        row, column = row + r, column + c
    return grads


@function(method=False, dtypes="any", reference=_block_reference, samples=(Sample([(2, 3), (1, 2)]),))
def block_diag(*tensors):
    """Matrices (vectors as rows, numbers as 1 x 1) along the diagonal of a matrix of zeros."""
    from ..view.shape import tensor_list
    tensors = tensor_list("block_diag", tensors)
    if not tensors:
        return zeros(1, 0)
    for i, t in enumerate(tensors):
        if len(t._shape) > 2:
            raise RuntimeError(f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                               f"{len(t._shape)} dimensions")
    return blocks.call(_promoted("block_diag", [atleast_2d.fn(t) for t in tensors]))


