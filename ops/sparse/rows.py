"""Products of a sparse and a dense matrix that stay sparse: of the rows that the sparse one has; and sparse tensors' sizes."""

from __future__ import annotations

import sys

from numbagrad.core.creation import arange, empty, zeros
from numbagrad.extend import REGISTRY, Tensor

from .arithmetic import matmul, sparse
from .tensor import SparseTensor, op

INSTEAD = """
You could try the following options:
1. If you need an empty sparse tensor of this size, call `x = torch.sparse_coo_tensor(size)`.
2. If you need to resize this tensor, you have the following options:
    1. For both sparse and dense dimensions, keep the number of them constant and the size of them non-shrinking, and then try \
the same call again.
    2. Or, create a new sparse tensor with the correct indices and values from this sparse tensor."""


def _rows(name, mat1, mat2):
    """(the rows that ``mat1`` has, those of the product)."""
    if sparse(mat2):
        raise RuntimeError(f"{name}: expected 'mat2' to have strided layout, got 'mat2' with layout Sparse")
    if mat1._shape[1] != mat2._shape[0]:
        raise RuntimeError(f"{name}: Argument #3: Expected dim 0 size {mat1._shape[1]}, got {mat2._shape[0]}")
    rows = op("unique")(mat1._at[0])
    return rows, matmul(mat1, mat2)[rows]


def hspmm(mat1, mat2, *, out=None):
    """The product of a sparse matrix and a dense one: its rows that are not empty, as values of one sparse dimension."""
    if not sparse(mat1):
        raise NotImplementedError("Could not run 'aten::hspmm' with arguments from the 'CPU' backend.")
    rows, values = _rows("hspmm", mat1, mat2)
    found = SparseTensor(rows.unsqueeze(0), values, (mat1._shape[0], mat2._shape[1]))
    return found if out is None else _into(out, found)


def sspaddmm(input, mat1, mat2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * (mat1 @ mat2)``, ``mat2`` dense: the elements of both, one after the other."""
    for t in (mat1, input):
        if not sparse(t):
            raise RuntimeError("tensor.sspaddmm(...) can only be called on sparse tensors")
    rows, values = _rows("sspaddmm", mat1, mat2)
    columns = mat2._shape[1]
    if input._shape != (mat1._shape[0], columns):
        at = 0 if input._shape[0] != mat1._shape[0] else 1
        raise RuntimeError(f"sspaddmm: Argument #1: Expected dim {at} size {(mat1._shape[0], columns)[at]}, got "
                           f"{input._shape[at]}")
    at = op("stack")([rows.repeat_interleave(columns), arange(columns).repeat(rows._n)])
    at = op("cat")([input._at, at], 1)
    found = SparseTensor(at, op("cat")([input._of * beta, values.flatten() * alpha]), input._shape)
    return found if out is None else _into(out, found)


def smm(input, mat2):
    """The product of a sparse matrix and a dense one, as a sparse matrix."""
    if not sparse(input):
        raise RuntimeError("tensor.sspaddmm(...) can only be called on sparse tensors")
    none = SparseTensor(empty((2, 0), dtype=input._at.dtype), input._of[:0], (input._shape[0], mat2._shape[1]))
    return sspaddmm(none, input, mat2)


def _into(out, found):
    out.__dict__.update(_at=found._at, _of=found._of, _coal=found._coal)
    out._shape, out._n = found._shape, found._n
    return out


def _sizes(size, sparse_dim, dense_dim):
    size = tuple(size)
    if len(size) != sparse_dim + dense_dim:
        raise RuntimeError(f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, sparse_dim = "
                           f"{sparse_dim}, dense_dim = {dense_dim}")
    if sparse_dim < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {sparse_dim}: [{sparse_dim}, 0]")
    return size


def _changed(what, old, new):
    if len(old) != len(new):
        raise RuntimeError(f"changing the number of {what} dimensions (from {len(old)} to {len(new)}) on a non-empty sparse "
                           f"tensor is not supported.{INSTEAD}")
    if any(a > b for a, b in zip(old, new)):
        raise RuntimeError(f"shrinking the size of {what} dimensions (from {list(old)} to {list(new)}) on a non-empty sparse "
                           f"tensor is not supported.{INSTEAD}")


def _asked(t, name):
    if not sparse(t):
        raise NotImplementedError(f"Could not run 'aten::{name}' with arguments from the 'CPU' backend.")


def sparse_resize_(self, size, sparse_dim, dense_dim):
    """Another size, not smaller where there are elements; new places of their values are zero."""
    _asked(self, "sparse_resize_")
    size = _sizes(size, sparse_dim, dense_dim)
    if not self._nnz():
        return sparse_resize_and_clear_(self, size, sparse_dim, dense_dim)
    split = self.sparse_dim()
    old = self._shape
    for what, a, b in (("sparse", old[:split], size[:sparse_dim]), ("dense", old[split:], size[sparse_dim:])):
        if len(a) != len(b):
            _changed(what, a, b)
    _changed("sparse", old[:split], size[:split])
    _changed("dense", old[split:], size[split:])
    of = self._of
    if of._shape[1:] != size[split:]:
        of = zeros((self._nnz(), *size[split:]), dtype=self.dtype, device=self.device)
        of[tuple(slice(n) for n in self._of._shape)] = self._of
    return _into(self, SparseTensor(self._at, of, size, self._coal))


def sparse_resize_and_clear_(self, size, sparse_dim, dense_dim):
    """Another size, without elements."""
    _asked(self, "sparse_resize_and_clear_")
    size = _sizes(size, sparse_dim, dense_dim)
    at = empty((sparse_dim, 0), dtype=self._at.dtype, device=self.device)
    return _into(self, SparseTensor(at, empty((0, *size[sparse_dim:]), dtype=self.dtype, device=self.device), size, True))


REGISTRY.attach(__name__, Tensor, {"smm": smm, "sspaddmm": sspaddmm, "sparse_resize_": sparse_resize_,
                                   "sparse_resize_and_clear_": sparse_resize_and_clear_})
REGISTRY.attach(__name__, sys.modules["numbagrad"], {
    "hspmm": hspmm, "hsmm": hspmm, "smm": smm, "sspaddmm": sspaddmm, "dsmm": matmul})
