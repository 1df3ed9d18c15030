"""Sparse tensors: coordinates of elements and their values, which are tensors in memory and have the history.

Such a tensor has no memory of its own; what asks for it gets a ``SparseArgument``, and ops that know sparse tensors go on from
there (``base/sparse.py``). Dense tensors are not asked anything.
"""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.overriding import _disabled_torch_function_impl
from numbagrad.base.sparse import SparseArgument
from numbagrad.core.creation import from_numpy, zeros
from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY, Tensor

MEMORY = ("_kind", "_ptr", "_buf")
NO_MEMORY = "a sparse tensor has no memory as a whole: to_dense() makes a dense one"


def op(name):
    return REGISTRY[name].callable


class NoStrides(tuple):
    """Strides of a tensor without memory: not None, as of rows without gaps, and nothing to compute with."""

    __slots__ = ()

    def __getitem__(self, index):
        raise SparseArgument(NO_MEMORY)

    def __iter__(self):
        raise SparseArgument(NO_MEMORY)


class SparseTensor(Tensor):
    """A tensor of coordinates ``_at`` (sparse dimensions, elements) and ``_of``, their values (elements, ...)."""

    __slots__ = ()
    layout, is_sparse = dt.sparse_coo, True
    __torch_function__ = _disabled_torch_function_impl

    def __new__(cls, at, of, shape, coalesced=False, leaf=False):
        self = object.__new__(cls)
        self.__dict__.update(_at=at, _of=of, _coal=coalesced or at._shape[1] < 2, _leaf=leaf)
        self._shape, self._n, self._strides, self._ver = tuple(shape), numel(shape), NoStrides(), [0]
        self._rg, self._node, self._grad, self._view = False, None, None, None
        return self

    def __getattr__(self, name):
        if name in MEMORY:
            raise SparseArgument(NO_MEMORY)
        raise AttributeError(f"'Tensor' object has no attribute '{name}'")

    # --- what it is

    dtype = property(lambda self: self._of.dtype)
    device = property(lambda self: self._of.device)
    itemsize = property(lambda self: self._of.itemsize)
    is_cuda = property(lambda self: self._of.is_cuda)
    is_cpu = property(lambda self: self._of.is_cpu)
    grad_fn = property(lambda self: None if self._leaf else self._of.grad_fn)
    is_leaf = property(lambda self: self._leaf or not self._of.requires_grad)

    def is_floating_point(self):
        """Whether the dtype is a floating-point one."""
        return self.dtype.is_floating_point

    def is_complex(self):
        """Whether the dtype is complex."""
        return self.dtype.is_complex

    @property
    def requires_grad(self):
        """Whether operations on the values are recorded."""
        return self._of.requires_grad

    data = property(lambda self: self.detach())

    def requires_grad_(self, requires_grad=True):
        """Make this a leaf whose gradient is kept, or none."""
        self._of = self._of.detach()
        self._of.requires_grad_(requires_grad)
        self._leaf = requires_grad
        return self

    @property
    def grad(self):
        """The gradient of a leaf: its values, at the coordinates of this tensor."""
        if not self._leaf or self._of._grad is None:
            return None
        first, at, _ = _unique(self)
        return SparseTensor(at, self._of._grad[first], self._shape, True)

    @grad.setter
    def grad(self, value):
        if value is not None:
            raise RuntimeError("the gradient of a sparse leaf can be set to None only")
        self._of._grad = None

    def _nnz(self):
        """Elements that are given."""
        return self._at._shape[1]

    def sparse_dim(self):
        """Dimensions that have coordinates."""
        return self._at._shape[0]

    def dense_dim(self):
        """Dimensions of each value."""
        return len(self._of._shape) - 1

    def is_coalesced(self):
        """Whether coordinates are in order and each is there once."""
        return self._coal

    def _indices(self):
        """The coordinates, whether in order or not."""
        return self._at.detach()

    def _values(self):
        """The values of ``_indices``."""
        return self._of.detach()

    def _known(self, name):
        if not self._coal:
            raise RuntimeError(f"Cannot get {name} on an uncoalesced tensor, please call .coalesce() first")

    def indices(self):
        """The coordinates of a coalesced tensor."""
        self._known("indices")
        return self._at

    def values(self):
        """The values of a coalesced tensor."""
        self._known("values")
        return self._of

    def coalesce(self):
        """The same tensor with coordinates in order, and values of equal ones added up."""
        if self._coal:
            return self
        _, at, number = _unique(self)
        sums = zeros((at._shape[1], *self._of._shape[1:]), dtype=self.dtype, device=self.device)
        return SparseTensor(at, op("index_add")(sums, 0, number, self._of), self._shape, True)

    def _coalesced_(self, coalesced):
        """Say whether this is coalesced."""
        self._coal = coalesced
        return self

    # --- other forms

    def to_dense(self, dtype=None, *, masked_grad=None):
        """The dense tensor."""
        width = self._of._shape[1:]
        rows = numel(self._shape[:self.sparse_dim()])
        flat = op("index_add")(zeros((rows, *width), dtype=self.dtype, device=self.device), 0, self._flat(), self._of)
        return flat.reshape(self._shape).to(dtype or self.dtype)

    def to_sparse(self, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None):
        """This tensor."""
        return self.to_dense().to_sparse(sparse_dim) if sparse_dim not in (None, self.sparse_dim()) else self

    def _flat(self):
        """The coordinates as numbers in row-major order."""
        flat = zeros((self._nnz(),), dtype=dt.int64)
        for row, size in zip(self._at, self._shape):
            flat = flat * size + row
        return flat

    def with_values(self, of, at=None, shape=None, coalesced=None):
        """A tensor of the same coordinates."""
        return SparseTensor(self._at if at is None else at, of, self._shape if shape is None else shape,
                            self._coal if coalesced is None else coalesced)

    def detach(self):
        """The same elements without history."""
        return self.with_values(self._of.detach())

    def detach_(self):
        """Drop the history."""
        self._of, self._leaf = self._of.detach(), False
        return self

    def clone(self, memory_format=None):
        """A copy."""
        return self.with_values(self._of.clone(), self._at.clone())

    def to(self, *args, **kwargs):
        """The tensor in another dtype or on another device."""
        of = self._of.to(*args, **kwargs)
        return self if of is self._of else self.with_values(of, self._at.to(of.device))

    def cpu(self):
        """The tensor in the host's memory."""
        return self.to("cpu")

    def cuda(self, device=None, non_blocking=False):
        """The tensor on a CUDA device."""
        return self.to("cuda" if device is None else device)

    def type(self, dtype=None, non_blocking=False):
        """The name of the type, or the tensor in another one."""
        return self._of.type().replace("torch.", "torch.sparse.") if dtype is None else self.to(dtype)

    def zero_(self):
        """Drop all elements."""
        self._at, self._of, self._coal = self._at[:, :0], self._of.detach()[:0], True
        return self

    def numpy(self, *, force=False):
        """Refused."""
        raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")

    def tolist(self):
        """Refused."""
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def item(self):
        """The number of a tensor of one element."""
        if self._n != 1:
            raise RuntimeError(f"a Tensor with {self._n} elements cannot be converted to Scalar")
        return self.to_dense().item()

    def contiguous(self, memory_format=None):
        """Refused."""
        raise RuntimeError("unsupported memory format option Contiguous")

    def __reduce_ex__(self, protocol):
        return _rebuild, (self._at, self._of.detach(), self._shape, self._coal, self._leaf)

    def __len__(self):
        return self._shape[0]

    __hash__ = object.__hash__

    def __repr__(self, *, tensor_contents=None):
        def part(name, t):
            text = repr(t.detach())
            if t.dtype is not dt.int64 and ", dtype=" in text:  # which is said of the whole
                text = text[:text.rindex(", dtype=")] + ")"
            if not t._n:
                text = f"tensor([], size={tuple(t._shape)})"
            pad = " " * (len("tensor(") + len(name) + 1)
            return "\n".join([pad * (i > 0 and line != "") + line for i, line in enumerate(f"{name}={text}".split("\n"))])
        parts = [part("indices", self._at), part("values", self._of), f"size={tuple(self._shape)}, nnz={self._nnz()}"]
        usual = dt.get_default_dtype(), dt.int64, dt.bool_
        if self.dtype not in usual:
            parts[-1] += f", dtype={self.dtype}"
        parts[-1] += ", layout=torch.sparse_coo"
        if self._leaf:
            parts[-1] += ", requires_grad=True"
        elif self.requires_grad:
            made = "SparseCooTensorWithDimsAndTensorsBackward0" if self.grad_fn is None else self.grad_fn.name()
            parts.append(f"grad_fn=<{made}>")
        return "tensor(" + ",\n       ".join(parts) + ")"

    __str__ = __repr__

    def __format__(self, spec):
        return format(repr(self), spec)


def _rebuild(at, of, shape, coalesced, leaf):
    t = SparseTensor(at, of, shape, coalesced)
    return t.requires_grad_() if leaf else t


def _unique(t):
    """(first element of each coordinate, the coordinates in order, number of each element's coordinate)."""
    flat, first, number = np.unique(t._flat().numpy(), return_index=True, return_inverse=True)
    at = np.array(np.unravel_index(flat, t._shape[:t.sparse_dim()]), np.int64).reshape(t.sparse_dim(), -1)
    return from_numpy(first), from_numpy(at), from_numpy(number.reshape(-1).astype(np.int64))


for _name, _target in (("float", dt.float32), ("double", dt.float64), ("half", dt.float16), ("bfloat16", dt.bfloat16),
                       ("int", dt.int32), ("long", dt.int64), ("short", dt.int16), ("bool", dt.bool_)):
    setattr(SparseTensor, _name, lambda self, target=_target: self.to(target))
