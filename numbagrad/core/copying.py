"""Copies between layouts and dtypes: the pointwise kernel behind ``clone``, ``contiguous``, ``to`` and ``copy_``."""

from __future__ import annotations

from ..kernel import emit, expr
from . import storage
from .launch import launch
from .tensor import make

_copy = emit.Pointwise("copy", ("x",), (), (expr.var("x"),))
_copy_real = emit.Pointwise("copy_real", ("x",), (), (expr.apply("real", expr.var("x")),))
FILL = emit.Pointwise("fill", (), ("value",), (expr.var("value"),))
_truth = emit.Pointwise("truth", ("x",), (), (expr.apply("ne", expr.var("x"), 0),))


def copy_into(dst, src):
    """Write ``src``, broadcast to ``dst``'s shape and converted to its dtype, into ``dst``'s memory (same device)."""
    a, b = src._kind.dtype, dst._kind.dtype
    kernel = _copy if b.is_complex or not a.is_complex else _copy_real if b.category else _truth
    launch(kernel, a, (src,), (), (dst,), dst._shape)


def fill_into(dst, value):
    """Write a number, as ``dst``'s dtype holds it, into all of ``dst``'s memory."""
    launch(FILL, dst._kind.dtype, (), (value,), (dst,), dst._shape)


def set_all(t, value):
    """Fill the memory of a new tensor with a value of its storage type."""
    if t._kind.cpu:
        storage.fill(t._buf, t._ptr, t._kind, t._n, value)
    else:
        fill_into(t, value)


def contiguous_copy(t):
    """The values of ``t`` in new row-major memory, outside the graph."""
    out = make(t._shape, t._kind)
    copy_into(out, t)
    return out


def row_major(t):
    """``t``, or its values in new row-major memory."""
    return t if t is None or t._strides is None else contiguous_copy(t)


def transfer(dst, src):
    """Copy ``src`` into ``dst`` on another device; dtype and layout are converted where fewer bytes have to travel."""
    from ..kernel import cuda
    if dst._n == 0:
        return
    kind = src._kind
    if src._strides is not None or src._shape != dst._shape or (
            kind.dtype is not dst._kind.dtype and dst._kind.itemsize < kind.itemsize):
        if dst._kind.itemsize < kind.itemsize:
            kind = storage.kind_of(dst._kind.dtype, kind.device)
        packed = make(src._shape, kind)
        copy_into(packed, src)
        src = packed
    if dst._strides is not None or kind.dtype is not dst._kind.dtype or src._shape != dst._shape:
        arrived = make(src._shape, storage.kind_of(kind.dtype, dst._kind.device))
        cuda.copy_bytes(arrived, src)
        copy_into(dst, arrived)
    else:
        cuda.copy_bytes(dst, src)
