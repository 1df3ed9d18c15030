"""Views that keep every element: other shapes, other orders of dimensions, dimensions of size one."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base import modes
from numbagrad.base.arguments import sizes as numbers
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.broadcast import broadcast_shapes as common_shape
from numbagrad.core.tensor import contiguous_strides, is_contiguous, mark_inference, numel, raw
from numbagrad.extend import REGISTRY, Sample, Tensor, function
from numbagrad.extend import view as view_op


def infer(shape, n, name="view"):
    """A shape with its -1 filled in for ``n`` elements."""
    count, hole = 1, None
    for i, s in enumerate(shape):
        if s >= 0:
            count *= s
        elif s != -1:
            raise RuntimeError(f"invalid shape dimension {s} at index {i} of shape {list(shape)}")
        elif hole is not None:
            raise RuntimeError("only one dimension can be inferred")
        else:
            hole = i
    if hole is None:
        if count != n:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
        return shape
    if count == 0:
        if n == 0:
            raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
                               "dimension size -1 can be any value and is ambiguous")
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    if n % count:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    return (*shape[:hole], n // count, *shape[hole + 1:])


def view_strides(old, strides, shape):
    """Strides of a view of another shape, or None where the elements are not regularly spaced in it."""
    blocks = []  # (size, stride of the last element) of runs of dimensions that are contiguous among themselves
    for s, k in zip(old, strides):
        if s == 1:
            continue
        if blocks and blocks[-1][1] == s * k:
            blocks[-1] = (blocks[-1][0] * s, k)
        else:
            blocks.append((s, k))
    out, left, step = [], 1, 1
    for s in reversed(shape):
        if left == 1 and s != 1:
            if not blocks:
                return None
            left, step = blocks.pop()
        out.append(step)
        if s != 1:
            if left % s:
                return None
            left //= s
            step *= s
    return tuple(reversed(out))


SPLIT = ("view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
         "contiguous subspaces). Use .reshape(...) instead.")


@view_op(private=True, node="ViewBackward0", reference=np.reshape, samples=(Sample((3, 4), [2, 6]), Sample((), [1, 1])))
def view_shape(input, shape):
    """The same elements in another shape (-1 stands for what is left)."""
    shape = infer(shape if shape.__class__ is tuple else tuple(shape), input._n)
    strides = input._strides
    if strides is not None and input._n:
        strides = view_strides(input._shape, strides, shape)
        if strides is None:
            raise RuntimeError(SPLIT)
    else:
        strides = None
    return shape, strides, 0


@view_shape.gradient
def _(g, shape_):
    return reshaped(g, shape_)


@view_op(private=True, node="ReshapeAliasBackward0", reference=np.reshape, samples=(Sample((3, 4), [2, 6]),))
def reshape_alias(input, shape):
    """``view_shape`` of a tensor that is not row-major, under the name that ``reshape`` gives it."""
    return view_shape.fn(input, shape)


@reshape_alias.gradient
def _(g, shape_):
    return reshaped(g, shape_)


@view_op(private=True, node="UnsafeViewBackward0", reference=np.reshape, samples=(Sample((3, 4), [2, 6]),))
def unsafe_view(input, shape):
    """A view of a fresh copy: the copy has no other user, so the result counts as no view."""
    return tuple(shape), None, 0


@unsafe_view.gradient
def _(g, shape_):
    return reshaped(g, shape_)


def reshaped(input, shape):
    """``input`` in another shape: a view where the memory allows it, else a copy."""
    strides = input._strides
    if strides is None:
        return view_shape.call(input, shape)
    shape = infer(shape, input._n)
    if input._n and view_strides(input._shape, strides, shape) is None:
        out = unsafe_view.call(REGISTRY["clone"].callable(input), shape)
        out._view = None
        return out
    return reshape_alias.call(input, shape)


@function(namespaces=(), dtypes="any", reference=lambda a, s: np.reshape(a, s),
          samples=(Sample((3, 4), [2, 6]), Sample((3, 4), [-1]), Sample((0, 3), [3, 0]), Sample((), [1, 1])))
def view(input, *size):
    """The same memory in another shape, or as another dtype: ``view(2, 6)``, ``view((2, -1))``, ``view(dtype)``.

    RuntimeError where the strides allow no such view (see ``reshape``)."""
    if len(size) == 1:
        shape = size[0]
        if shape.__class__ is dt.dtype:
            return view_dtype(input, shape)
        if not isinstance(shape, (tuple, list)):
            if shape.__class__ is type and shape in dt.PYTHON_TYPES:
                return view_dtype(input, dt.PYTHON_TYPES[shape])
            shape = size
    else:
        shape = size
    for s in shape:
        if s.__class__ is not int:
            shape = numbers("view", size)
            break
    return view_shape.call(input, shape if shape.__class__ is tuple else tuple(shape))


def view_dtype(input, dtype):
    """The memory read as another dtype of the same or another width; not recorded."""
    kind = input._kind
    if dtype is kind.dtype:
        return alias.call(input)
    a, b = kind.itemsize, dtype.itemsize
    shape, strides = input._shape, input._strides or contiguous_strides(input._shape)
    if a != b:
        if not shape:
            raise RuntimeError(f"self.dim() cannot be 0 to view {dt.scalar_name(kind.dtype)} as "
                               f"{dt.scalar_name(dtype)} (different element sizes)")
        if strides[-1] != 1:
            raise RuntimeError("self.stride(-1) must be 1 to view "
                               f"{dt.scalar_name(kind.dtype)} as {dt.scalar_name(dtype)} (different element sizes), but "
                               f"got {strides[-1]}")
        if a > b:
            r = a // b
            shape, strides = (*shape[:-1], shape[-1] * r), (*[k * r for k in strides[:-1]], 1)
        else:
            r = b // a
            offset = input.storage_offset()
            for what, bad in (("self.size(-1)", shape[-1] if shape[-1] % r else None),
                              ("self.storage_offset()", offset if offset % r else None),
                              *((f"self.stride({i})", k if k % r else None) for i, k in enumerate(strides[:-1]))):
                if bad is not None:
                    raise RuntimeError(f"{what} must be divisible by {r} to view {dt.scalar_name(kind.dtype)} as "
                                       f"{dt.scalar_name(dtype)} (different element sizes), but got {bad}")
            shape, strides = (*shape[:-1], shape[-1] // r), (*[k // r for k in strides[:-1]], 1)
    out = raw(input._buf, input._ptr, numel(shape), shape, None if is_contiguous(shape, strides) else strides,
              storage.kind_of(dtype, kind.device), input._ver)
    modes.STATE and mark_inference(out)
    return out


@view_op(private=True, reference=np.array, samples=(Sample((3, 4)),))
def alias(input):
    """The whole tensor as a view of itself."""
    return input._shape, input._strides, 0


@alias.gradient
def _(g):
    return g


@function(dtypes="any", reference=lambda a, s: np.reshape(a, s),
          samples=(Sample((3, 4), [2, 6]), Sample((2, 3, 4), [-1, 8]), Sample((), [1])))
def reshape(input, *shape):
    """The same elements in another shape: a view where the memory allows it, else a copy."""
    return reshaped(input, numbers("reshape", shape, "shape"))


@function(kinds={"other": "tensor"}, namespaces=(), dtypes="any", reference=lambda a, b: np.reshape(a, b.shape),
          samples=(Sample((3, 4), ("float64", (2, 6))),))
def reshape_as(input, other):
    """``input`` in the shape of ``other``."""
    return reshaped(input, other._shape)


@function(kinds={"other": "tensor"}, namespaces=(), dtypes="any", reference=lambda a, b: np.reshape(a, b.shape),
          samples=(Sample((3, 4), ("float64", (2, 6))),))
def view_as(input, other):
    """``input`` viewed in the shape of ``other``."""
    return view_shape.call(input, other._shape)


@function(dtypes="any", reference=lambda a, start_dim=0, end_dim=-1: a.reshape(
    *a.shape[:start_dim], -1, *a.shape[a.ndim + end_dim + 1:]), samples=(Sample((2, 3, 4)), Sample((2, 3, 4), 1), Sample(())))
def flatten(input, start_dim: int = 0, end_dim: int = -1):
    """Dimensions ``start_dim`` to ``end_dim`` merged into one."""
    shape = input._shape
    if start_dim == 0 and end_dim == -1 and input._strides is None and len(shape) > 1:
        return view_shape.call(input, (input._n,))
    first, last = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshaped(input, (1,))
    if first == last:
        return input
    return reshaped(input, (*shape[:first], numel(shape[first:last + 1]), *shape[last + 1:]))


@view_op(kinds={"sizes": "list of ints", "dim": "int"}, node="ViewBackward0",
         reference=lambda a, dim, sizes: a.reshape(*a.shape[:dim], *sizes, *a.shape[dim + 1:]),
         samples=(Sample((2, 6), 1, [2, 3]), Sample((2, 6), 1, [-1, 3])))
def unflatten(input, dim, sizes):
    """Dimension ``dim`` divided into several sizes."""
    shape = input._shape
    at = wrap_dim(dim, len(shape))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        sizes = infer(sizes, shape[at])
    except RuntimeError:
        raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
                           f"({shape[at]}) in the input tensor") from None
    return view_shape.fn(input, (*shape[:at], *sizes, *shape[at + 1:]))


@unflatten.gradient
def _(g, shape_):
    return reshaped(g, shape_)


@function(dtypes="any", reference=np.ravel, samples=(Sample((2, 3, 4)), Sample(())))
def ravel(input):
    """All elements in one dimension."""
    return input.contiguous().view(-1) if input._strides is not None else view_shape.call(input, (input._n,))


# --- broadcasting -----------------------------------------------------------------------------------------------------

@view_op(private=True, node="ExpandBackward0", reference=np.broadcast_to,
         samples=(Sample((1, 3), [4, 3]), Sample((), [2, 2])))
def expanded(input, shape):
    """Dimensions of size one repeated without a copy."""
    old = input._shape
    lead = len(shape) - len(old)
    if shape.__class__ is not tuple:
        shape = tuple(shape)
    if lead < 0:
        raise RuntimeError(f"expand(torch.{dt.scalar_name(input._kind.dtype)}Tensor{{{list(old)}}}, size={list(shape)}): "
                           f"the number of sizes provided ({len(shape)}) must be greater or equal to the number of "
                           f"dimensions in the tensor ({len(old)})")
    strides = input._strides or contiguous_strides(old)
    sizes, out = [], []
    for i, s in enumerate(shape):
        if i < lead:
            if s < 0:
                raise RuntimeError(f"The expanded size of the tensor ({s}) isn't allowed in a leading, non-existing "
                                   f"dimension {i}")
            sizes.append(s)
            out.append(0)
            continue
        a = old[i - lead]
        if s == -1 or s == a:
            sizes.append(a)
            out.append(strides[i - lead])
        elif a == 1 and s >= 0:
            sizes.append(s)
            out.append(0)
        else:
            i = max(j for j, (a, s) in enumerate(zip(old, shape[lead:]), lead) if s != a and s != -1 and (a != 1 or s < 0))
            raise RuntimeError(f"The expanded size of the tensor ({shape[i]}) must match the existing size ({old[i - lead]}) "
                               f"at non-singleton dimension {i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(old)}")
    return tuple(sizes), tuple(out), 0


@expanded.gradient
def _(g, shape_):
    from numbagrad.core.broadcast import sum_to_size
    return sum_to_size(g, shape_)


@function(namespaces=(), dtypes="any", reference=lambda a, s: np.broadcast_to(a, [
    n if k < 0 else k for k, n in zip(s, (0,) * (len(s) - a.ndim) + a.shape)]),
    samples=(Sample((1, 3), [4, 3]), Sample((1, 3), [4, -1]), Sample((), [2, 2]), Sample((3,), [0, 3])))
def expand(input, *size, implicit=False):
    """Dimensions of size one repeated to ``size`` without a copy; -1 keeps a size, new dimensions come in front."""
    return expanded.call(input, numbers("expand", size))


@function(kinds={"other": "tensor"}, namespaces=(), dtypes="any", reference=lambda a, b: np.broadcast_to(a, b.shape),
          samples=(Sample((1, 3), ("float64", (4, 3))),))
def expand_as(input, other):
    """``input`` expanded to the shape of ``other``."""
    return expanded.call(input, other._shape)


@function(dtypes="any", reference=lambda a, s: np.broadcast_to(a, s), samples=(Sample((1, 3), [4, 3]),))
def broadcast_to(input, *size):
    """``input`` expanded to ``size``."""
    return expanded.call(input, numbers("broadcast_to", size))


def tensor_list(name, tensors, argument=0):
    """The tensors of ``f(a, b)`` or ``f([a, b])``, checked."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): expected Tensor as element {i} in argument {argument}, but got {type(t).__name__}")
    return tuple(tensors)


@function(method=False, dtypes="any", reference=lambda ts: np.broadcast_arrays(*ts), samples=(Sample([(1, 3), (2, 1)]),))
def broadcast_tensors(*tensors):
    """Each of the tensors expanded to their common shape."""
    tensors = tensor_list("broadcast_tensors", tensors)
    if not tensors:
        return ()
    shape = common_shape("broadcast_tensors", tensors)
    return tuple([t if t._shape == shape else expanded.call(t, shape) for t in tensors])


@function(method=False, differentiable=False, dtypes="any", reference=np.broadcast_shapes)
def broadcast_shapes(*shapes):
    """The shape that the given shapes (or sizes) broadcast to."""
    from numbagrad.core.tensor import Size
    shapes = [(s,) if isinstance(s, int) else s for s in shapes]
    out = [1] * max(map(len, shapes), default=0)
    for number, s in enumerate(shapes):
        for i in range(-1, -len(s) - 1, -1):
            if s[i] != 1 and out[i] != 1 and s[i] != out[i]:
                raise RuntimeError(f"Attempting to broadcast a dimension of length {s[i]} at {i}! Mismatching argument at "
                                   f"index {number} had {s}; but expected shape should be broadcastable to {out}")
            if s[i] < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({s[i]}): ({s[i]})")
            out[i] = out[i] if s[i] == 1 else s[i]
    return Size(out)
