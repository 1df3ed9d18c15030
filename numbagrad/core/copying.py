"""Copies between layouts and dtypes: the pointwise kernel behind ``clone``, ``contiguous``, ``to`` and ``copy_``."""

from __future__ import annotations

from ..base import dtypes as dt
from ..kernel import emit, expr
from ..kernel.tape import TAPE
from ..kernel.threads import LIMIT
from . import storage
from .launch import launch, prepare, share
from .tensor import ARRAYS, from_array, make

COPY = emit.Pointwise("copy", ("x",), (), (expr.var("x"),))
_copy_real = emit.Pointwise("copy_real", ("x",), (), (expr.apply("real", expr.var("x")),))
FILL = emit.Pointwise("fill", (), ("value",), (expr.var("value"),))
_truth = emit.Pointwise("truth", ("x",), (), (expr.apply("ne", expr.var("x"), 0),))


_rows: dict = {}  # (kind of the source, of the target) -> entry for row-major ones on the CPU, once one was copied
_walks: dict = {}  # the same for other geometries, which belong to the key -> what ``prepare`` found


def copy_into(dst, src):
    """Write ``src``, broadcast to ``dst``'s shape and converted to its dtype, into ``dst``'s memory (same device)."""
    a, b, n, shape = src._kind, dst._kind, dst._n, dst._shape
    if TAPE:
        _copy_any(dst, src)
    elif src._strides is None and dst._strides is None and src._shape == shape:
        entry = _rows.get((a, b))
        if entry is None or src._ptr == dst._ptr:
            _copy_any(dst, src)
        elif n < LIMIT[0]:
            entry(src._ptr, dst._ptr, 0, n)
        else:
            share(entry, (src._ptr, dst._ptr), n)
    elif n >= LIMIT[0]:
        _copy_any(dst, src)
    else:
        found = _walks.get((a, b, shape, dst._strides, src._shape, src._strides))
        if found is None:
            _copy_any(dst, src)
        else:
            entry, before, after, _ = found
            entry(*before, src._ptr, dst._ptr, *after)


def kernel_of(a, b):
    """The loop that copies from one kind to another."""
    return COPY if b.dtype.is_complex or not a.dtype.is_complex else _copy_real if b.dtype.category else _truth


def _copy_any(dst, src):
    a, b, shape = src._kind, dst._kind, dst._shape
    compute = a.dtype
    kernel = kernel_of(a, b)
    launch(kernel, compute, (src,), (), (dst,), shape)
    if TAPE or not a.cpu or not dst._n:
        return
    if src._strides is None and dst._strides is None and src._shape == shape:
        _rows[a, b] = kernel.native(compute.compute, (compute.code,), (b.dtype.code,)).entry
    elif dst._n < LIMIT[0]:
        if len(_walks) >= 4096:
            _walks.clear()
        entry, before, after, _, held = prepare(kernel, compute, (src,), (dst,), shape)
        found = entry, before, after, held
        _walks[a, b, shape, dst._strides, src._shape, src._strides] = found


LARGE = 1 << 10  # elements from which on NumPy's way of filling an array is the slower one
_fills: dict = {}  # kind -> entry for row-major targets of real numbers on the CPU, once one was filled


def fill_into(dst, value):
    """Write a number, as ``dst``'s dtype holds it, into all of ``dst``'s memory."""
    kind = dst._kind
    entry = _fills.get(kind)
    if entry is not None and dst._strides is None and not TAPE:
        if dst._n < LIMIT[0]:
            entry(dst._ptr, value, 0, dst._n)
        else:
            share(entry, (dst._ptr, value), dst._n)
        return
    d = kind.dtype
    launch(FILL, d, (), (value,), (dst,), dst._shape)
    if kind.cpu and not d.is_complex and not TAPE and d is not dt.uint64:  # (of which entries take no larger numbers)
        _fills[kind] = FILL.native(d.compute, (), (d.code,)).entry


def set_all(t, value):
    """Fill the memory of a new tensor with a value of its storage type."""
    if t._kind.cpu and (t._n < LIMIT[0] or value or TAPE):
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


def of_array(array, shape, kind):
    """A tensor of a kind and shape with the values of a new row-major array: on its memory where the type is the same."""
    if kind.np is not array.dtype or not kind.direct:
        here = kind if kind.cpu else storage.kind_of(kind.dtype)
        t = make(shape, here)
        entry = _rows.get((ARRAYS[array.dtype], here))
        if entry is not None and t._n < LIMIT[0]:
            entry(storage.address(array), t._ptr, 0, t._n)
        else:
            copy_into(t, from_array(array.reshape(shape)))
        return t if here is kind else t.to(device=kind.device)
    return from_array(array if array.shape == shape else array.reshape(shape))


def transfer(dst, src):
    """Copy ``src`` into ``dst`` on another device; dtype and layout are converted where fewer bytes have to travel."""
    kind = src._kind
    if dst._n == 0 and not kind.meta or dst._kind.meta:
        return
    copy_bytes = storage.backend((dst if kind.cpu else src)._kind.device).copy_bytes
    if kind.meta:
        return copy_bytes(dst, src)
    if src._strides is not None or src._shape != dst._shape or (
            kind.dtype is not dst._kind.dtype and dst._kind.itemsize < kind.itemsize):
        if dst._kind.itemsize < kind.itemsize:
            kind = storage.kind_of(dst._kind.dtype, kind.device)
        packed = make(src._shape, kind)
        copy_into(packed, src)
        src = packed
    if dst._strides is not None or kind.dtype is not dst._kind.dtype or src._shape != dst._shape:
        arrived = make(src._shape, storage.kind_of(kind.dtype, dst._kind.device))
        copy_bytes(arrived, src)
        copy_into(dst, arrived)
    else:
        copy_bytes(dst, src)


def single(t, filled=True):
    """``t`` in float32 if it is a tensor of a half type (its values only if ``filled``); anything else as it is."""
    if getattr(getattr(t, "_kind", None), "dtype", None) not in dt.HALF:
        return t
    wide = make(t._shape, storage.kind_of(dt.float32, t._kind.device))
    if filled:
        copy_into(wide, t)
    return wide


def in_single(launch):
    """A launcher that adds in the memory of its results, launched in float32 for half types: each result is rounded once."""
    def in_float32(out, *args):
        outs = out if out.__class__ is list else (out,)
        if outs[0]._kind.itemsize != 2 or outs[0]._kind.dtype not in dt.HALF:
            return launch(out, *args)
        wide = [single(o, False) for o in outs]
        launch(wide if outs is out else wide[0], *[single(a) for a in args])
        for o, w in zip(outs, wide):
            if w is not o:
                copy_into(o, w)
        return None
    return in_float32
