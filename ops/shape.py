"""Views that keep every element: other shapes, other orders of dimensions, dimensions of size one."""

from __future__ import annotations

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import storage
from numbagrad.autograd import graph
from numbagrad.autograd.inplace import check
from numbagrad.op import REGISTRY, Sample, function
from numbagrad.op import call as calls
from numbagrad.op import view as view_op
from numbagrad.tensor import Tensor, bump_version, contiguous_strides, is_contiguous, numel, raw, wrap_dim


def numbers(name, size, argument="size"):
    """A tuple of ints from ``f(2, 3)`` or ``f((2, 3))``."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    for i, s in enumerate(size):
        if s.__class__ is not int:
            try:
                return tuple([s.__index__() for s in size])
            except (AttributeError, TypeError):
                raise TypeError(f"{name}(): argument '{argument}' (position 1) must be tuple of ints, but found element of "
                                f"type {type(s).__name__} at pos {i}") from None
    return tuple(size)


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
def _(g, shape):
    return reshaped(g, shape)


@view_op(private=True, node="UnsafeViewBackward0", reference=np.reshape, samples=(Sample((3, 4), [2, 6]),))
def unsafe_view(input, shape):
    """A view of a fresh copy: the copy has no other user, so the result counts as no view."""
    return shape, None, 0


@unsafe_view.gradient
def _(g, shape):
    return reshaped(g, shape)


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
    return view_shape.call(input, shape)


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
            if shape[-1] % r or any(k % r for k in strides[:-1]) or input.storage_offset() % r:
                raise RuntimeError(f"self.size(-1) must be divisible by {r} to view {dt.scalar_name(kind.dtype)} as "
                                   f"{dt.scalar_name(dtype)} (different element sizes), but got {shape[-1]}")
            shape, strides = (*shape[:-1], shape[-1] // r), (*[k // r for k in strides[:-1]], 1)
    out = raw(input._buf, input._ptr, numel(shape), shape, None if is_contiguous(shape, strides) else strides,
              storage.kind_of(dtype, kind.device), input._ver)
    calls.modes.STATE and calls.mark_inference(out)
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


@function(namespaces=(), dtypes="any", reference=lambda a, b: np.reshape(a, b.shape),
          samples=(Sample((3, 4), ("float64", (2, 6))),))
def reshape_as(input, other):
    """``input`` in the shape of ``other``."""
    return reshaped(input, other._shape)


@function(namespaces=(), dtypes="any", reference=lambda a, b: np.reshape(a, b.shape),
          samples=(Sample((3, 4), ("float64", (2, 6))),))
def view_as(input, other):
    """``input`` viewed in the shape of ``other``."""
    return view_shape.call(input, other._shape)


@function(dtypes="any", reference=lambda a, start_dim=0, end_dim=-1: a.reshape(
    *a.shape[:start_dim], -1, *a.shape[a.ndim + end_dim + 1:]), samples=(Sample((2, 3, 4)), Sample((2, 3, 4), 1), Sample(())))
def flatten(input, start_dim: int = 0, end_dim: int = -1):
    """Dimensions ``start_dim`` to ``end_dim`` merged into one."""
    shape = input._shape
    first, last = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshaped(input, (1,))
    if first == last:
        return input
    return reshaped(input, (*shape[:first], numel(shape[first:last + 1]), *shape[last + 1:]))


@function(dtypes="any", reference=lambda a, dim, sizes: a.reshape(*a.shape[:dim], *sizes, *a.shape[dim + 1:]),
          samples=(Sample((2, 6), 1, [2, 3]), Sample((2, 6), 1, [-1, 3])))
def unflatten(input, dim, sizes):
    """Dimension ``dim`` divided into several sizes."""
    shape, sizes = input._shape, tuple(sizes)
    at = wrap_dim(dim, len(shape))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        sizes = infer(sizes, shape[at])
    except RuntimeError:
        raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
                           f"({shape[at]}) in the input tensor") from None
    return view_shape.call(input, (*shape[:at], *sizes, *shape[at + 1:]))


@function(dtypes="any", reference=np.ravel, samples=(Sample((2, 3, 4)), Sample(())))
def ravel(input):
    """All elements in one dimension."""
    return input.contiguous().view(-1) if input._strides is not None else view_shape.call(input, (input._n,))


# --- broadcasting ----------------------------------------------------------------------------------------------------------

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
            raise RuntimeError(f"The expanded size of the tensor ({s}) must match the existing size ({a}) at non-singleton "
                               f"dimension {i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(old)}")
    return tuple(sizes), tuple(out), 0


@expanded.gradient
def _(g, shape):
    from numbagrad.broadcast import sum_to_size
    return sum_to_size(g, shape)


@function(namespaces=(), dtypes="any", reference=lambda a, s: np.broadcast_to(a, [
    n if k < 0 else k for k, n in zip(s, (0,) * (len(s) - a.ndim) + a.shape)]),
    samples=(Sample((1, 3), [4, 3]), Sample((1, 3), [4, -1]), Sample((), [2, 2]), Sample((3,), [0, 3])))
def expand(input, *size, implicit=False):
    """Dimensions of size one repeated to ``size`` without a copy; -1 keeps a size, new dimensions come in front."""
    return expanded.call(input, numbers("expand", size))


@function(namespaces=(), dtypes="any", reference=lambda a, b: np.broadcast_to(a, b.shape),
          samples=(Sample((1, 3), ("float64", (4, 3))),))
def expand_as(input, other):
    """``input`` expanded to the shape of ``other``."""
    return expanded.call(input, other._shape)


@function(dtypes="any", reference=lambda a, s: np.broadcast_to(a, s), samples=(Sample((1, 3), [4, 3]),))
def broadcast_to(input, *size):
    """``input`` expanded to ``size``."""
    return expanded.call(input, numbers("broadcast_to", size))


def tensor_list(name, tensors, argument="tensors"):
    """The tensors of ``f(a, b)`` or ``f([a, b])``, checked."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    return tuple(tensors)


@function(method=False, dtypes="any", reference=lambda ts: np.broadcast_arrays(*ts), samples=(Sample([(1, 3), (2, 1)]),))
def broadcast_tensors(*tensors):
    """Each of the tensors expanded to their common shape."""
    tensors = tensor_list("broadcast_tensors", tensors)
    if not tensors:
        return ()
    shape = calls.broadcast_shapes("broadcast_tensors", tensors)
    return tuple([expanded.call(t, shape) for t in tensors])


@function(method=False, differentiable=False, dtypes="any", reference=np.broadcast_shapes)
def broadcast_shapes(*shapes):
    """The shape that the given shapes (or sizes) broadcast to."""
    from numbagrad.tensor import Size
    shapes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    out = [1] * max(map(len, shapes), default=0)
    for s in shapes:
        for i in range(-1, -len(s) - 1, -1):
            if s[i] < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({s[i]}): ({s[i]})")
            if s[i] != 1 and out[i] != 1 and s[i] != out[i]:
                raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape: "
                                   f"{' and '.join(map(str, shapes))}")
            out[i] = out[i] if s[i] == 1 else s[i]
    return Size(out)


# --- order of dimensions ----------------------------------------------------------------------------------------------------

@view_op(aliases=("swapaxes", "swapdims"), reference=lambda a, i, j: np.swapaxes(a, i, j),
         samples=(Sample((2, 3, 4), 0, 2), Sample((2, 3, 4), -1, 1)))
def transpose(input, dim0, dim1):
    """The tensor with two dimensions swapped."""
    shape = input._shape
    i, j = wrap_dim(dim0, len(shape)), wrap_dim(dim1, len(shape))
    if i == j:
        return shape, input._strides, 0
    sizes, strides = list(shape), list(input._strides or contiguous_strides(shape))
    sizes[i], sizes[j], strides[i], strides[j] = sizes[j], sizes[i], strides[j], strides[i]
    return tuple(sizes), tuple(strides), 0


@transpose.gradient
def _(g, dim0, dim1):
    return transpose.call(g, dim0, dim1)


@view_op(reference=np.transpose, samples=(Sample((3, 4)), Sample((3,)), Sample(())))
def t(input):
    """The transpose of a matrix; tensors with fewer dimensions as they are."""
    shape = input._shape
    if len(shape) == 2:
        rows, columns = shape
        strides = input._strides
        return (columns, rows), ((1, columns) if strides is None else (strides[1], strides[0])), 0
    if len(shape) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {len(shape)}D")
    return shape, input._strides, 0


@t.gradient
def _(g):
    return t.call(g)


@view_op(private=True, node="PermuteBackward0", reference=np.transpose, samples=(Sample((2, 3, 4), [2, 0, 1]),))
def permuted(input, dims):
    """The tensor with its dimensions in another order."""
    shape = input._shape
    if len(dims) != len(shape):
        raise RuntimeError("permute(sparse_coo): number of dimensions in the tensor input does not match the length of the "
                           f"desired ordering of dimensions i.e. input.dim() = {len(shape)} is not equal to len(dims) = "
                           f"{len(dims)}")
    order = [wrap_dim(d, len(shape)) for d in dims]
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    strides = input._strides or contiguous_strides(shape)
    return tuple([shape[d] for d in order]), tuple([strides[d] for d in order]), 0


@permuted.gradient
def _(g, dims):
    order = [d % len(dims) for d in dims]
    back = [0] * len(order)
    for i, d in enumerate(order):
        back[d] = i
    return permuted.call(g, tuple(back))


@function(dtypes="any", reference=np.transpose, samples=(Sample((2, 3, 4), [2, 0, 1]), Sample((2, 3), [-1, 0])))
def permute(input, *dims):
    """The tensor with its dimensions in the order ``dims``."""
    return permuted.call(input, numbers("permute", dims, "dims"))


@function(dtypes="any", aliases=("moveaxis",), reference=np.moveaxis,
          samples=(Sample((2, 3, 4), 0, 2), Sample((2, 3, 4), [0, 1], [-1, 0])))
def movedim(input, source, destination):
    """Dimensions ``source`` moved to the places ``destination``, the others in their order."""
    a = (source,) if isinstance(source, int) else tuple(source)
    b = (destination,) if isinstance(destination, int) else tuple(destination)
    n = len(input._shape)
    if len(a) != len(b):
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({list(a)} dims) should contain the same "
                           f"number of dims as destination ({list(b)} dims)")
    src, dst = [wrap_dim(d, n) for d in a], [wrap_dim(d, n) for d in b]
    if len(set(src)) != len(src):
        raise RuntimeError(f"movedim: repeated dim in `source` ({list(a)})")
    if len(set(dst)) != len(dst):
        raise RuntimeError(f"movedim: repeated dim in `destination` ({list(b)})")
    order = [None] * n
    for s, d in zip(src, dst):
        order[d] = s
    rest = iter([d for d in range(n) if d not in src])
    return permuted.call(input, tuple([next(rest) if d is None else d for d in order]))


@function(dtypes="any", reference=lambda a: np.swapaxes(a, -1, -2).conj(), samples=(Sample((2, 3, 4)),))
def adjoint(input):
    """The last two dimensions swapped, and conjugated where complex."""
    out = transpose.call(input, -2, -1)
    return REGISTRY["conj"].callable(out) if out._kind.dtype.is_complex else out


def _reversed(input):
    return permuted.call(input, tuple(range(len(input._shape) - 1, -1, -1)))


def _matrix(name, run):
    def get(self):
        n = len(self._shape)
        if n < 2 and not (name == "H" and n == 0):
            if name == "H":
                raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {n}-D tensor.")
            raise RuntimeError(f"tensor.{name} is only supported on matrices or batches of matrices. Got {n}-D tensor.")
        if name == "H" and n > 2:
            raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {n}-D tensor. For batches of "
                               "matrices, consider using tensor.mH")
        return run(self) if n else self
    return get


Tensor.T = property(_reversed, doc="The tensor with its dimensions in reverse order.")
Tensor.mT = property(_matrix("mT", lambda x: transpose.call(x, -2, -1)), doc="The last two dimensions swapped.")
Tensor.H = property(_matrix("H", lambda x: adjoint(x)), doc="The conjugate transpose of a matrix.")
Tensor.mH = property(_matrix("mH", lambda x: adjoint(x)), doc="The conjugate transpose of the last two dimensions.")


# --- dimensions of size one -------------------------------------------------------------------------------------------------

def _squeeze(name, node):
    @view_op(name=name, private=True, node=node, reference=lambda a, dims: a.reshape(
        [s for i, s in enumerate(a.shape) if s != 1 or i not in dims]), samples=(Sample((2, 1, 3), [1]),))
    def squeezed(input, dims):
        """Some dimensions removed where their size is one."""
        shape = input._shape
        keep = [i for i, s in enumerate(shape) if s != 1 or i not in dims]
        strides = input._strides
        return (tuple([shape[i] for i in keep]), None if strides is None else tuple([strides[i] for i in keep]), 0)

    @squeezed.gradient
    def _(g, shape):
        return view_shape.call(g if g._strides is None else g.contiguous(), shape)
    return squeezed


_squeeze_all, _squeeze_one = _squeeze("squeeze_all", "SqueezeBackward0"), _squeeze("squeeze_one", "SqueezeBackward1")
_squeeze_some = _squeeze("squeeze_some", "SqueezeBackward2")


@function(dtypes="any", reference=lambda a, dim=None: np.squeeze(a, dim if dim is None or isinstance(dim, int) else tuple(
    d for d in dim if a.shape[d] == 1)), samples=(Sample((2, 1, 3, 1)), Sample((2, 1, 3), 1), Sample((1, 2, 1), [0, 1, 2])))
def squeeze(input, dim=None):
    """Without the dimensions of size one: all of them, or those among ``dim``."""
    n = len(input._shape)
    if dim is None:
        return _squeeze_all.call(input, tuple(range(n)))
    if isinstance(dim, int):
        return _squeeze_one.call(input, (wrap_dim(dim, n),))
    return _squeeze_some.call(input, tuple([wrap_dim(d, n) for d in dim]))


@view_op(reference=np.expand_dims, samples=(Sample((2, 3), 0), Sample((2, 3), -1), Sample((), 0)))
def unsqueeze(input, dim):
    """A dimension of size one inserted at ``dim``."""
    shape = input._shape
    i = wrap_dim(dim, len(shape) + 1)
    strides = input._strides
    if strides is not None:
        strides = (*strides[:i], shape[i] * strides[i] if i < len(shape) else 1, *strides[i:])
    return (*shape[:i], 1, *shape[i:]), strides, 0


@unsqueeze.gradient
def _(g, shape):
    return view_shape.call(g if g._strides is None else g.contiguous(), shape)


def _atleast(n, grow):
    name = f"atleast_{n}d"

    def fn(*tensors):
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return grow(tensors[0])
        return tuple([grow(x) for x in tensor_list(name, tensors)])
    fn.__name__ = fn.__qualname__ = name
    fn.__module__ = __name__
    fn.__doc__ = f"The tensor, or each of them, with at least {n} dimension{'s' if n > 1 else ''}."
    numpy = getattr(np, name)
    return function(fn, method=False, dtypes="any", samples=(Sample((3,)), Sample(()), Sample((2, 3, 4))), reference=numpy)


atleast_1d = _atleast(1, lambda x: x if x._shape else view_shape.call(x, (1,)))
atleast_2d = _atleast(2, lambda x: x if len(x._shape) > 1 else unsqueeze.call(x, 0) if x._shape else reshaped(x, (1, 1)))
atleast_3d = _atleast(3, lambda x: x if len(x._shape) > 2 else unsqueeze.call(x, -1) if len(x._shape) == 2 else
                      unsqueeze.call(unsqueeze.call(x, 0), -1) if x._shape else reshaped(x, (1, 1, 1)))


# --- in-place changes of the geometry ----------------------------------------------------------------------------------------

def _change(self, op, name, node_name, *args):
    """Give ``self`` the geometry that view ``op`` computes and put its node on top of the history."""
    shape, strides, _ = op.fn(self, *args)
    check(self, name)
    old, recording = self._shape, self._rg and calls.modes.is_grad_enabled()
    if recording:
        cls = _nodes.get(node_name)
        if cls is None:
            cls = _nodes[node_name] = type(node_name, op.node_class.__mro__[1:2], {
                "__slots__": (), "op": op, "__module__": "numbagrad"})
        node = calls.new_node(cls, (graph.edge(self),))
        node.ctx = (old, args)
    self._shape, self._strides = shape, None if strides is None or is_contiguous(shape, strides) else strides
    bump_version(self)
    if recording:
        self._node = node
    if self._view is not None:
        self._view.version = self._ver[0]
    return self


_nodes: dict = {}


def transpose_(self, dim0, dim1):
    """Swap two dimensions of this tensor in place."""
    return _change(self, transpose, "transpose_", "TransposeBackward1", dim0, dim1)


def t_(self):
    """Transpose this matrix in place."""
    return _change(self, t, "t_", "TBackward1")


def unsqueeze_(self, dim):
    """Insert a dimension of size one in place."""
    return _change(self, unsqueeze, "unsqueeze_", "UnsqueezeBackward1", dim)


def squeeze_(self, dim=None):
    """Remove dimensions of size one in place."""
    n = len(self._shape)
    if dim is None:
        return _change(self, _squeeze_all, "squeeze_", "SqueezeBackward3", tuple(range(n)))
    if isinstance(dim, int):
        return _change(self, _squeeze_one, "squeeze_", "SqueezeBackward4", (wrap_dim(dim, n),))
    return _change(self, _squeeze_some, "squeeze_", "SqueezeBackward5", tuple([wrap_dim(d, n) for d in dim]))


for _f in (transpose_, t_, unsqueeze_, squeeze_):
    setattr(Tensor, _f.__name__, _f)
Tensor.swapdims_ = Tensor.swapaxes_ = transpose_
