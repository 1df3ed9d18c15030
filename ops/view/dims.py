"""Other orders of dimensions, dimensions of size one, and their in-place forms."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.autograd.inplace import check_mode
from numbagrad.base import modes
from numbagrad.base.shapes import wrap_dim
from numbagrad.base.user_code import caller_level
from numbagrad.core import graph
from numbagrad.core.graph import new_node
from numbagrad.core.tensor import bump_version, contiguous_strides, is_contiguous, numel
from numbagrad.dispatch.op import add_method
from numbagrad.extend import REGISTRY, Sample, Tensor, function
from numbagrad.extend import view as view_op

from .shape import numbers, reshaped, tensor_list, view_shape

# --- order of dimensions ----------------------------------------------------------------------------------------------

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


@view_op(kinds={"source": "ints", "destination": "ints"}, node="PermuteBackward0", aliases=("moveaxis",),
         reference=np.moveaxis, samples=(Sample((2, 3, 4), 0, 2), Sample((2, 3, 4), [0, 1], [-1, 0])))
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
    return permuted.fn(input, tuple([next(rest) if d is None else d for d in order]))


@movedim.gradient
def _(g, source, destination):
    return movedim.call(g, destination, source)


@function(dtypes="any", reference=lambda a: np.swapaxes(a, -1, -2).conj(), samples=(Sample((2, 3, 4)),))
def adjoint(input):
    """The last two dimensions swapped, and conjugated where complex."""
    if len(input._shape) < 2:
        if input._shape:
            raise RuntimeError("tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor.")
        warnings.warn("adjoint() is deprecated on 0-D tensors. Consider using x.conj().", UserWarning,
                      stacklevel=caller_level())
        return REGISTRY["conj"].callable(input)
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


REGISTRY.attach(__name__, Tensor, {
    "T": property(_reversed, doc="The tensor with its dimensions in reverse order."),
    "mT": property(_matrix("mT", lambda x: transpose.call(x, -2, -1)), doc="The last two dimensions swapped."),
    "H": property(_matrix("H", lambda x: adjoint(x)), doc="The conjugate transpose of a matrix."),
    "mH": property(_matrix("mH", lambda x: adjoint(x)), doc="The conjugate transpose of the last two dimensions.")})


# --- dimensions of size one -------------------------------------------------------------------------------------------

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


def _distinct(dims, n):
    """The dimensions of a list, each named once."""
    out = tuple([wrap_dim(d, n) for d in dims])
    for i, d in enumerate(out):
        if d in out[:i]:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return out


@function(kinds={"dim": "ints"},
          dtypes="any", reference=lambda a, dim=None: np.squeeze(a, dim if dim is None or isinstance(dim, int) else tuple(
    d for d in dim if a.shape[d] == 1)), samples=(Sample((2, 1, 3, 1)), Sample((2, 1, 3), 1), Sample((1, 2, 1), [0, 1, 2])))
def squeeze(input, dim=None):
    """Without the dimensions of size one: all of them, or those among ``dim``."""
    n = len(input._shape)
    if dim is None:
        return _squeeze_all.call(input, tuple(range(n)))
    if isinstance(dim, int):
        return _squeeze_one.call(input, (wrap_dim(dim, n),))
    return _squeeze_some.call(input, _distinct(dim, n))


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


# --- in-place changes of the geometry ---------------------------------------------------------------------------------

def change_geometry(self, op, node_name, *args):
    """Give ``self`` the geometry that view ``op`` computes and put its node on top of the history."""
    shape, strides, offset = op.fn(self, *args)
    check_mode(self)
    old, recording = self._shape, self._rg and modes.is_grad_enabled()
    if recording:
        cls = _nodes.get((op.name, node_name))
        if cls is None:
            cls = _nodes[op.name, node_name] = type(node_name, op.node_class.__mro__[1:2], {
                "__slots__": (), "op": op, "__module__": "numbagrad"})
        node = new_node(cls, (graph.edge(self),))
        node.ctx = (old, args)
    self._shape, self._strides = shape, None if strides is None or is_contiguous(shape, strides) else strides
    self._n, self._ptr = numel(shape), self._ptr + offset * self._kind.itemsize
    bump_version(self)
    if recording:
        self._node = node
    if self._view is not None:
        self._view.version = self._ver[0]
    return self


_nodes: dict = {}


def transpose_(self, dim0, dim1):
    """Swap two dimensions of this tensor in place."""
    return change_geometry(self, transpose, "TransposeBackward1", dim0, dim1)


def t_(self):
    """Transpose this matrix in place."""
    return change_geometry(self, t, "TBackward1")


def unsqueeze_(self, dim):
    """Insert a dimension of size one in place."""
    return change_geometry(self, unsqueeze, "UnsqueezeBackward1", dim)


def squeeze_(self, dim=None):
    """Remove dimensions of size one in place."""
    n = len(self._shape)
    if dim is None:
        return change_geometry(self, _squeeze_all, "SqueezeBackward3", tuple(range(n)))
    if isinstance(dim, int):
        return change_geometry(self, _squeeze_one, "SqueezeBackward4", (wrap_dim(dim, n),))
    return change_geometry(self, _squeeze_some, "SqueezeBackward5", _distinct(dim, n))


for _f in (transpose_, t_, unsqueeze_, squeeze_):
    _names = ("swapdims_", "swapaxes_") if _f is transpose_ else ()
    add_method(_f, aliases=_names, dim0="int", dim1="int", dim="ints?" if _f is squeeze_ else "int")
