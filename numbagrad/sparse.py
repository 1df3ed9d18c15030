"""``numbagrad.sparse``: products, sums and softmax of sparse tensors in coordinates."""

from __future__ import annotations

import functools as _functools

from .base import dtypes as _dt
from .base.user_code import warn_once as _warn_once
from .core.registry import REGISTRY as _REGISTRY

_making = _REGISTRY.load("numbagrad.ops.sparse.making")
_ops = _REGISTRY.load("numbagrad.ops.sparse.arithmetic")

__all__ = ["addmm", "mm", "sum", "softmax", "log_softmax", "spmm", "check_sparse_tensor_invariants"]


def mm(sparse, dense):
    """The product of two matrices, of which one or both are sparse."""
    return _ops.matmul(sparse, dense)


def spmm(mat1, mat2):
    """``torch.spmm``: the product of two matrices, sparse or dense."""
    return _REGISTRY["mm"].callable(mat1, mat2)


def addmm(mat, mat1, mat2, *, beta=1.0, alpha=1.0):
    """``beta * mat + alpha * (mat1 @ mat2)``, ``mat1`` sparse."""
    return _ops.addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sum(input, dim=None, dtype=None):
    """The sum of a sparse tensor over all or some dimensions."""
    return _ops.sum(input, dim, dtype=dtype)


def softmax(input, dim, *, dtype=None):
    """Softmax along a dimension over the elements that are given."""
    return _ops.softmax(input, dim, dtype=dtype)


def log_softmax(input, dim, *, dtype=None):
    """Logarithms of softmax along a dimension over the elements that are given."""
    return _ops.softmax(input, dim, dtype=dtype, log=True)


class check_sparse_tensor_invariants:
    """Accepted, as a call, a context and a decorator: what is invariant of sparse tensors is always checked here."""

    _enabled = False

    def __init__(self, enable=True):
        self.state, self.saved_state = enable, None

    @staticmethod
    def is_enabled():
        """Whether it was asked for."""
        return check_sparse_tensor_invariants._enabled

    @staticmethod
    def enable():
        """Ask for it."""
        check_sparse_tensor_invariants._enabled = True

    @staticmethod
    def disable():
        """Ask for it no more."""
        check_sparse_tensor_invariants._enabled = False

    def __enter__(self):
        if self.saved_state is not None:
            raise RuntimeError("This context manager instance is already activated. Use a different context manager instance "
                               "for context nesting.")
        self.saved_state = self.is_enabled()
        check_sparse_tensor_invariants._enabled = self.state

    def __exit__(self, *exc):
        check_sparse_tensor_invariants._enabled, self.saved_state = self.saved_state, None

    def __call__(self, mth):
        @_functools.wraps(mth)
        def checked(*args, **kwargs):
            with type(self)(self.state):
                return mth(*args, **kwargs)
        return checked


def _deprecated(given, instead):
    _warn_once(f"torch.sparse.SparseTensor({given}) is deprecated.  Please use torch.sparse_coo_tensor({instead}).")


def _legacy(name, dtype):
    def make(*args, device=None):
        if not args:
            _deprecated("", "(0,), dtype=")
            return _making.sparse_coo_tensor((0,), dtype=dtype)
        if isinstance(args[0], (int, tuple)):
            _deprecated("shape, *, device=", "shape, dtype=, device=")
            return _making.sparse_coo_tensor(args if isinstance(args[0], int) else args[0], dtype=dtype)
        names = ", ".join(("indices", "values", "shape")[:len(args)])
        _deprecated(f"{names}, *, device=", f"{names}, dtype=, device=")
        indices, values, *size = args
        return _making.sparse_coo_tensor(indices, values, *size, dtype=dtype)
    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"A sparse tensor of {dtype}: ``sparse_coo_tensor`` by its older name."
    return make


for _name, _dtype in (("FloatTensor", _dt.float32), ("DoubleTensor", _dt.float64), ("HalfTensor", _dt.float16),
                      ("BFloat16Tensor", _dt.bfloat16), ("IntTensor", _dt.int32), ("LongTensor", _dt.int64),
                      ("ShortTensor", _dt.int16)):
    globals()[_name] = _legacy(_name, _dtype)
