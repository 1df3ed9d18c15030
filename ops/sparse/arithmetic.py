"""What is computed with sparse tensors: products, sums, softmax, arithmetic; each is made of ops on their values."""

from __future__ import annotations

import numpy as np

from numbagrad.base.shapes import wrap_dim
from numbagrad.base.sparse import FUNCTIONS
from numbagrad.core.creation import from_numpy, zeros
from numbagrad.extend import Tensor

from .products import sparse_times_dense
from .tensor import SparseTensor, op


def sparse(t):
    return isinstance(t, SparseTensor)


def known(fn, *names):
    """Make ``fn`` the method of sparse tensors of these names, and what ops of these names do with them."""
    for name in names or (fn.__name__,):
        setattr(SparseTensor, name, fn)
        FUNCTIONS[name] = fn
    return fn


# --- products

def matmul(input, other, *, out=None):
    """Products of which one or both sides are sparse."""
    if sparse(other) and not sparse(input):
        if input.dim() == 1:
            return matmul(transpose(other, 0, 1), input)
        return matmul(transpose(other, 0, 1), input.transpose(0, 1)).transpose(0, 1)
    if input.dim() != 2 or other.dim() not in (1, 2):
        raise RuntimeError(f"matmul: sparse tensors are multiplied as matrices, but got {input.dim()}-D and {other.dim()}-D "
                           "tensors")
    if input._shape[1] != other._shape[0]:
        if not sparse(other) and other.dim() == 2:
            raise RuntimeError(f"addmm: Argument #3 (dense): Expected dim 0 size {input._shape[1]}, got {other._shape[0]}")
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied ({}x{} and {})".format(
            *input._shape, "x".join(map(str, other._shape))))
    if input.dtype is not other.dtype:
        raise RuntimeError(f"expected mat1 and mat2 to have the same dtype, but got: {input.dtype} != {other.dtype}")
    if sparse(other):
        return _both(input, other)
    x = other.unsqueeze(1) if other.dim() == 1 else other
    y = sparse_times_dense(input._at[0], input._at[1], input._of, x, input._shape[0])
    y = y.squeeze(1) if other.dim() == 1 else y
    return y if out is None else out.copy_(y)


def _both(a, b):
    """The product of two sparse matrices: of all pairs of elements that meet."""
    a, b = a.coalesce(), b.coalesce()
    inner, begins = a._at[1].numpy(), np.searchsorted(b._at[0].numpy(), np.arange(b._shape[0] + 1))
    counts = begins[inner + 1] - begins[inner]
    left = np.repeat(np.arange(len(inner)), counts)
    right = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begins[inner], counts)
    left, right = from_numpy(left), from_numpy(right)
    at = op("stack")([a._at[0][left], b._at[1][right]])
    return SparseTensor(at, a._of[left] * b._of[right], (a._shape[0], b._shape[1])).coalesce()


known(matmul, "matmul", "mm", "mv", "__matmul__")
SparseTensor.__rmatmul__ = lambda self, other: matmul(other, self)


@known
def addmm(input, mat1, mat2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * (mat1 @ mat2)``."""
    return input * beta + matmul(mat1, mat2) * alpha


# --- places

@known
def permute(self, *dims):
    """The dimensions in another order: sparse ones among themselves, and dense ones."""
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    order, count = [wrap_dim(d, len(self._shape)) for d in dims], self.sparse_dim()
    if sorted(order) != list(range(len(self._shape))) or any([(d < count) != (i < count) for i, d in enumerate(order)]):
        raise RuntimeError(f"permute: {count} sparse and {self.dense_dim()} dense dimensions may be exchanged among "
                           f"themselves, but got the order {list(dims)}")
    at = op("index_select")(self._at, 0, from_numpy(np.array(order[:count])))
    of = self._of.permute(0, *[d - count + 1 for d in order[count:]])
    return self.with_values(of, at, tuple([self._shape[i] for i in order]), order == sorted(order) and self._coal)


@known
def transpose(self, dim0, dim1):
    """Two sparse dimensions exchanged."""
    order, count = list(range(len(self._shape))), self.sparse_dim()
    d, e = wrap_dim(dim0, len(order)), wrap_dim(dim1, len(order))
    if max(d, e) >= count:
        raise RuntimeError(f"sparse transpose: transposed dimensions must be sparse Got sparse_dim: {count}, d0: {d}, d1: {e}")
    order[d], order[e] = e, d
    return permute(self, order)


@known
def t(self):
    """The matrix transposed."""
    return transpose(self, 0, 1) if len(self._shape) > 1 else self


@known
def adjoint(self):
    """The last two dimensions exchanged, complex values conjugated."""
    turned = transpose(self, -2, -1)
    return turned.with_values(turned._of.conj(), turned._at, turned._shape, turned._coal) if self.is_complex() else turned


def _matrix(self):
    if len(self._shape) != 2:
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {len(self._shape)}-D tensor."
                           + " For batches of matrices, consider using tensor.mH" * (len(self._shape) > 2))
    return adjoint(self)


SparseTensor.T = property(lambda self: permute(self, *range(len(self._shape))[::-1]))
SparseTensor.mT = property(lambda self: transpose(self, -2, -1))
SparseTensor.mH, SparseTensor.H = property(adjoint), property(_matrix)


@known
def index_select(self, dim, index):
    """Those at indices of one dimension."""
    dim, self = wrap_dim(dim, len(self._shape)), self.coalesce()
    shape = (*self._shape[:dim], index._n, *self._shape[dim + 1:])
    if dim >= self.sparse_dim():
        return self.with_values(op("index_select")(self._of, dim - self.sparse_dim() + 1, index), shape=shape)
    row, wanted = self._at[dim].numpy(), index.numpy()
    order = np.argsort(row, kind="stable")
    low, high = (np.searchsorted(row[order], wanted, side) for side in ("left", "right"))
    new = np.repeat(np.arange(len(wanted)), high - low)
    old = order[np.concatenate([np.arange(a, b) for a, b in zip(low, high)]).astype(np.int64)] if len(new) else new
    at = self._at.numpy()[:, old].copy()
    at[dim] = new
    return SparseTensor(from_numpy(at), self._of[from_numpy(old)], shape)


@known
def select(self, dim, index):
    """Those at one index of a dimension."""
    dim = wrap_dim(dim, len(self._shape))
    if not -self._shape[dim] <= index < self._shape[dim]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(self._shape)} at dimension {dim}")
    index, shape = index % self._shape[dim], (*self._shape[:dim], *self._shape[dim + 1:])
    if dim >= self.sparse_dim():
        return self.with_values(op("select")(self._of, dim - self.sparse_dim() + 1, index), shape=shape)
    found = from_numpy(np.flatnonzero(self._at[dim].numpy() == index))
    if self.sparse_dim() == 1:
        return self._of[found].sum(0)
    rest = from_numpy(np.array([d for d in range(self.sparse_dim()) if d != dim]))
    return SparseTensor(op("index_select")(self._at, 0, rest)[:, found], self._of[found], shape, self._coal)


def _item(self, index):
    for i in index if isinstance(index, tuple) else (index,):
        if not isinstance(i, int):
            raise NotImplementedError("sparse tensors take numbers as indices; index_select() takes several, to_dense() all")
        self = select(self, 0, i)
    return self


SparseTensor.__getitem__ = _item


@known
def unsqueeze(self, dim):
    """A sparse dimension of size one before ``dim``."""
    dim = dim + len(self._shape) + 1 if dim < 0 else dim
    at = op("cat")([self._at[:dim], zeros((1, self._nnz()), dtype=self._at.dtype), self._at[dim:]])
    return self.with_values(self._of, at, (*self._shape[:dim], 1, *self._shape[dim:]))


@known
def cat(tensors, dim=0, *, out=None, axis=None):
    """Sparse tensors behind each other."""
    dim = dim if axis is None else axis
    if not all(map(sparse, tensors)):
        raise RuntimeError("cat: all tensors have to be sparse, or none")
    dim, ats, end = wrap_dim(dim, len(tensors[0]._shape)), [], 0
    for t_ in tensors:
        if t_._shape[:dim] + t_._shape[dim + 1:] != tensors[0]._shape[:dim] + tensors[0]._shape[dim + 1:]:
            raise RuntimeError(f"cat: sizes have to be the same but for dimension {dim}, but got {list(tensors[0]._shape)} and "
                               f"{list(t_._shape)}")
        at = t_._at.numpy().copy()
        at[dim] += end
        end += t_._shape[dim]
        ats.append(from_numpy(at))
    shape = (*tensors[0]._shape[:dim], end, *tensors[0]._shape[dim + 1:])
    return SparseTensor(op("cat")(ats, 1), op("cat")([t_._of for t_ in tensors]), shape)


@known
def stack(tensors, dim=0, *, out=None, axis=None):
    """Sparse tensors behind each other, in a dimension of their own."""
    dim = dim if axis is None else axis
    dim = dim + len(tensors[0]._shape) + 1 if dim < 0 else dim
    return cat([unsqueeze(t_, dim) for t_ in tensors], dim)


# --- reductions

@known
def sum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over all or some dimensions: a dense tensor where no sparse one is left."""
    of = input._of if dtype is None else input._of.to(dtype)
    if dim is None:
        return of.sum()
    count = input.sparse_dim()
    dims = {wrap_dim(d, len(input._shape)) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))}
    inner = [d - count + 1 for d in sorted(dims) if d >= count]
    of = of.sum(inner) if inner else of
    left, shape = [d for d in range(count) if d not in dims], tuple([s for d, s in enumerate(input._shape) if d not in dims])
    if not left:
        return of.sum(0)
    at = op("index_select")(input._at, 0, from_numpy(np.array(left)))
    return SparseTensor(at, of, shape, input._coal and len(left) == count).coalesce()


def norm(self, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    """The norm of all elements."""
    return op("norm")(self.coalesce()._of, 2 if p == "fro" else p)


known(norm)


def softmax(input, dim, *, dtype=None, log=False):
    """Softmax along a dimension over the elements that are given: the others count as minus infinity."""
    input = input.coalesce()
    of, dim = input._of if dtype is None else input._of.to(dtype), wrap_dim(dim, len(input._shape))
    if dim >= input.sparse_dim():
        along = op("log_softmax" if log else "softmax")
        return input.with_values(along(of, dim - input.sparse_dim() + 1))
    rest = [d for d in range(input.sparse_dim()) if d != dim]
    flat = np.zeros(input._nnz(), np.int64)
    for d in rest:
        flat = flat * input._shape[d] + input._at[d].numpy()
    groups, number = np.unique(flat, return_inverse=True)
    number = number.reshape(-1)
    values = of.detach().numpy()
    greatest = np.full((len(groups), *values.shape[1:]), -np.inf, values.dtype)
    np.maximum.at(greatest, number, values)
    number = from_numpy(number.astype(np.int64))
    above = of - from_numpy(greatest)[number]
    sums = op("index_add")(zeros(greatest.shape, dtype=of.dtype), 0, number, above.exp())[number]
    return input.with_values(above - sums.log() if log else above.exp() / sums)


# --- arithmetic

def _same_shape(a, b, name):
    if a._shape != b._shape:
        raise RuntimeError(f"{name}: expected sizes of 'self' and 'other' to match, but {list(a._shape)} != {list(b._shape)}")


def add(input, other, *, alpha=1, out=None):
    """The sum: dense where one of the two is."""
    if not sparse(input):
        return op("add")(input, other.to_dense(), alpha=alpha)
    if not sparse(other):
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    _same_shape(input, other, "add")
    of = other._of if alpha == 1 else other._of * alpha
    if np.array_equal(input._at.numpy(), other._at.numpy()) and input._of._shape == of._shape:
        return input.with_values(input._of + of)
    if input.sparse_dim() != other.sparse_dim():
        raise RuntimeError("add: expected sparse tensors of as many sparse dimensions as each other")
    both = SparseTensor(op("cat")([input._at, other._at], 1), op("cat")([input._of, of]), input._shape)
    return both.coalesce() if input._coal and other._coal else both


def sub(input, other, *, alpha=1, out=None):
    """The difference: dense where one of the two is."""
    return add(input, other, alpha=-alpha)


def mul(input, other, *, out=None):
    """The product with a number, with the elements of a dense tensor, or of two sparse ones."""
    if not sparse(input):
        input, other = other, input
    if not isinstance(other, Tensor) or other.dim() == 0 and not sparse(other):
        return input.with_values(input._of * other)
    _same_shape(input, other, "mul")
    if not sparse(other):
        return input.with_values(input._of * other[tuple(input._at)])
    a, b = input.coalesce(), other.coalesce()
    _, i, j = np.intersect1d(a._flat().numpy(), b._flat().numpy(), assume_unique=True, return_indices=True)
    i, j = from_numpy(i), from_numpy(j)
    return SparseTensor(a._at[:, i], a._of[i] * b._of[j], a._shape, True)


def div(input, other, *, rounding_mode=None, out=None):
    """The quotient with a number."""
    if not sparse(input) or isinstance(other, Tensor) and (sparse(other) or other.dim()):
        raise RuntimeError("Sparse division requires a scalar or zero-dim dense tensor divisor")
    if rounding_mode is not None:
        input = input.coalesce()
    return input.with_values(op("div")(input._of, other, rounding_mode=rounding_mode))


def _pow(input, exponent, *, out=None):
    input = input.coalesce()
    return input.with_values(input._of ** exponent)


known(add, "add", "__add__")
known(sub, "sub", "__sub__")
known(mul, "mul", "__mul__", "__rmul__")
known(div, "div", "true_divide", "__truediv__")
known(_pow, "pow", "__pow__")
SparseTensor.__radd__ = lambda self, other: add(other, self)
SparseTensor.__rsub__ = lambda self, other: sub(other, self)
known(lambda input, **_: input.with_values(-input._of), "neg", "negative", "__neg__")
known(lambda self, other: self._shape == other._shape, "is_same_size")

ZERO_STAYS = """abs asin asinh atan atanh ceil deg2rad erf expm1 floor log1p rad2deg relu round sgn sign sin sinh sqrt square
tan tanh trunc""".split()  # functions of elements of which zero is one


def _of_elements(name):
    def fn(input, *args, **kwargs):
        input = input.coalesce()
        return input.with_values(op(name)(input._of, *args, **kwargs))
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"``{name}`` of the elements."
    return fn


for _name in ZERO_STAYS:
    known(_of_elements(_name))
SparseTensor.__abs__ = SparseTensor.abs


def _changed(name, fn):
    def in_place(self, *args, **kwargs):
        other = fn(self, *args, **kwargs)
        if self._leaf and self._of.requires_grad:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        self._at, self._of, self._coal = other._at, other._of, other._coal
        self._ver[0] += 1
        return self
    in_place.__name__ = in_place.__qualname__ = name
    in_place.__doc__ = f"``{name[:-1]}`` in place."
    setattr(SparseTensor, name, in_place)


for _name, _fn in (("add_", add), ("sub_", sub), ("mul_", mul), ("div_", div), ("neg_", SparseTensor.neg)):
    _changed(_name, _fn)
SparseTensor.__iadd__, SparseTensor.__isub__, SparseTensor.__imul__, SparseTensor.__itruediv__ = (
    SparseTensor.add_, SparseTensor.sub_, SparseTensor.mul_, SparseTensor.div_)


def add_to_dense(dense, other, alpha=1):
    """Add a sparse tensor to a dense one in place: rows of it, where the coordinates are of rows."""
    if other.sparse_dim() == 1:
        return dense.index_add_(0, other._at[0], other._of, alpha=alpha)
    return dense.add_(other.to_dense(), alpha=alpha)
