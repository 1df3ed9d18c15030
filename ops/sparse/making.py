"""Sparse tensors of coordinates and values, or of dense tensors."""

from __future__ import annotations

import sys

from numbagrad.base import dtypes as dt
from numbagrad.core.creation import as_tensor, empty, zeros
from numbagrad.extend import REGISTRY, Tensor

from . import arithmetic  # noqa: F401  (what is computed with them)
from .tensor import SparseTensor, op


def sparse_coo_tensor(indices=None, values=None, size=None, *, dtype=None, layout=None, device=None, pin_memory=False,
                      requires_grad=False, check_invariants=None, is_coalesced=None):
    """A sparse tensor with ``values`` at the coordinates ``indices`` (dimensions, elements); of a size alone, without any."""
    if values is None:
        shape = tuple(size if size is not None else indices)
        at, of = zeros((len(shape), 0), dtype=dt.int64), empty((0,), dtype=dtype or dt.get_default_dtype())
        return _finished(at, of, shape, requires_grad, True)
    at = as_tensor(indices).detach().to(dt.int64)
    of = as_tensor(values, dtype=dtype, device=device)
    of = of if dtype is None else of.to(dtype)
    at = at.reshape(1, -1) if at.dim() == 1 and at._n else at
    if at.dim() != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(at._shape)}")
    of = of.reshape(1) if of.dim() == 0 else of
    if at._shape[1] != of._shape[0]:
        raise RuntimeError("indices and values must have same nnz, but got nnz from indices: "
                           f"{at._shape[1]}, nnz from values: {of._shape[0]}")
    if size is None:
        shape = (*[int(row.max()) + 1 if row._n else 0 for row in at], *of._shape[1:])
    else:
        shape = tuple(size)
        if len(shape) != at._shape[0] + len(of._shape) - 1:
            raise RuntimeError(f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(shape)}, "
                               f"sparse_dim = {at._shape[0]}, dense_dim = {len(of._shape) - 1}")
    _check(at, of, shape)
    return _finished(at, of, shape, requires_grad, bool(is_coalesced))


def _check(at, of, shape):
    """RuntimeError for coordinates outside and for values of another size: kernels trust them. (PyTorch checks if asked to.)"""
    if of._shape[1:] != shape[at._shape[0]:]:
        expected = [of._shape[0], *shape[at._shape[0]:]]
        raise RuntimeError(f"values has incorrect size, expected {expected}, got {list(of._shape)}")
    found = at.cpu().numpy()
    for d in range(at._shape[0] if at._shape[1] else 0):
        low, high = found[d].min(), found[d].max()
        if low < 0:
            raise RuntimeError(f"found negative index {low} for dim {d}")
        if high >= shape[d]:
            raise RuntimeError(f"size is inconsistent with indices: for dim {d}, size is {shape[d]} but found index {high}")


def _finished(at, of, shape, requires_grad, coalesced):
    t = SparseTensor(at, of, shape, coalesced)
    return t.requires_grad_() if requires_grad else t


def to_sparse(self, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None):
    """The elements that are not zero, and their coordinates; of the first ``sparse_dim`` dimensions alone."""
    if layout not in (None, "torch.sparse_coo"):
        raise NotImplementedError(f"to_sparse(): of sparse layouts there are coordinates alone, not {layout}")
    count = len(self._shape) if sparse_dim is None else sparse_dim
    there = self.detach() != 0
    if count < len(self._shape):
        there = there.reshape((*self._shape[:count], -1)).any(-1)
    at = op("nonzero")(there).t().contiguous()
    return SparseTensor(at, self[tuple(at)], self._shape, True)


def _dense_asked(name):
    def method(self):
        raise RuntimeError(f"{name} expected sparse coordinate tensor layout but got Strided")
    method.__name__ = method.__qualname__ = name
    method.__doc__ = "Refused: of sparse tensors only."
    return method


def to_dense(self, dtype=None, *, masked_grad=None):
    """The tensor itself, which is dense."""
    return self if dtype is None else self.to(dtype)


def sparse_mask(self, mask):
    """The elements at the coordinates of a sparse tensor."""
    mask = mask.coalesce()
    return mask.with_values(self[tuple(mask._at)].to(self.dtype))


REGISTRY.attach(__name__, Tensor, {
    "to_sparse": to_sparse, "to_sparse_coo": to_sparse, "to_dense": to_dense, "sparse_mask": sparse_mask,
    **{name: _dense_asked(name) for name in ("indices", "values", "coalesce", "is_coalesced", "sparse_dim", "dense_dim")}})
REGISTRY.attach(__name__, sys.modules["numbagrad"], {"sparse_coo_tensor": sparse_coo_tensor})
