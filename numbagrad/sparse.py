"""``numbagrad.sparse``: products, sums and softmax of sparse tensors in coordinates."""

from __future__ import annotations

from .base import dtypes as _dt
from .base.user_code import warn_once as _warn_once
from .core.registry import REGISTRY as _REGISTRY

_making = _REGISTRY.load("numbagrad.ops.sparse.making")
_ops = _REGISTRY.load("numbagrad.ops.sparse.arithmetic")

__all__ = ["addmm", "mm", "sum", "softmax", "log_softmax", "spmm"]


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
