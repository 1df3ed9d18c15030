"""Tensors from Python data, from NumPy, and filled ones."""

from __future__ import annotations

import math
import sys

import numpy as np

from ..base import arguments
from ..base import dtypes as dt
from ..base.device import resolve_device
from ..kernel.tape import constant
from . import storage
from .from_data import checked_array, from_data
from .tensor import Size, Tensor, check_empty, from_array, make, too_large


def shape_of(name, size):
    """A shape from ``f(2, 3)`` or ``f((2, 3))``; TypeError for anything but integers, RuntimeError for negatives."""
    out = arguments.sizes(name, size)
    for s in out:
        if not 0 <= s <= arguments.MOST:
            arguments.check_list_of_ints(out, name, "size", 1)
            raise RuntimeError(f"Trying to create tensor with negative dimension {s}: {list(out)}")
    return out


def _finish(t, requires_grad):
    if requires_grad is False:
        return t
    if arguments.check_bool(requires_grad, sys._getframe(1).f_code.co_name, "requires_grad", 0):
        if t._kind.dtype.category < 2:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        t._rg = True
    return t


def _into(name, out, t):
    from .out import write_new
    return write_new(name, out, t)


def _dtype_for(name, out, dtype):
    """The dtype of what is made for an ``out=`` tensor: its own."""
    if not isinstance(out, Tensor):
        raise arguments.wrong(out, "Tensor", name, "out", None)
    if dtype is not None and out._kind.dtype is not dtype:
        raise RuntimeError(f"dtype {dt.scalar_name(dtype)} does not match dtype of out parameter "
                           f"({dt.scalar_name(out._kind.dtype)})")
    return out._kind.dtype


def _kind(dtype, device, like=None):
    if dtype is not None and dtype.__class__ is not dt.dtype:
        dtype = arguments.check_dtype(dtype, sys._getframe(1).f_code.co_name, "dtype", 0)
    if like is not None:
        if not isinstance(like, Tensor):
            raise arguments.wrong(like, "Tensor", sys._getframe(1).f_code.co_name, "input", 1)
        return storage.kind_of(dtype or like._kind.dtype,
                               like._kind.device if device is None else resolve_device(device))
    return storage.kind_of(dtype or dt.get_default_dtype(), resolve_device(device))


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new leaf tensor with a copy of ``data`` (numbers, nested sequences, arrays, tensors)."""
    if dtype is not None and dtype.__class__ is not dt.dtype:
        raise TypeError(f"tensor(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
    if isinstance(data, Tensor):
        import warnings
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
                      UserWarning, stacklevel=2)
        out = data.detach().clone()
        return _finish(out.to(device=device or out.device, dtype=dtype or out.dtype), requires_grad)
    if hasattr(data, "symbolic"):  # a number that a compiled step is given in each call
        return _finish(full((), data, dtype=dtype, device=device), requires_grad)
    return _finish(from_data(data, dtype, device, True), requires_grad)


def as_tensor(data, dtype=None, device=None):
    """``data`` as a tensor, without a copy where it is a tensor or array of the right dtype and device."""
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    return from_data(data, dtype, device, False)


def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=False):
    """``obj`` as a tensor; ``copy=True`` always copies."""
    t = as_tensor(obj, dtype=dtype, device=device)
    return _finish(t.clone() if copy else t, requires_grad)


@constant
def from_numpy(ndarray):
    """A tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        name = type(ndarray).__name__
        raise TypeError(f"expected np.ndarray (got {'numpy.' * isinstance(ndarray, np.generic)}{name})")
    return from_array(checked_array(ndarray))


def scalar_tensor(value, dtype=None, *, device=None, requires_grad=False):
    """A 0-d tensor of a number."""
    d = dtype or dt.get_default_dtype()
    value = value if isinstance(value, Tensor) else dt.fit(value, d, True)
    return full((), value, dtype=d, device=device, requires_grad=requires_grad)


def empty(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
          memory_format=None):
    """An uninitialised tensor."""
    return _finish(make(shape_of("empty", size), _kind(dtype, device)), requires_grad)


def _filled(name, shape, kind, value, requires_grad):
    if not isinstance(value, Tensor):
        value = dt.fit(value, kind.dtype)
    if value == 0:
        n = make_zeros(shape, kind)
    elif kind.cpu and kind.dtype.np.kind != "u" and not isinstance(value, complex):
        n = make(shape, kind)
        storage.fill(n._buf, n._ptr, kind, n._n, value)
    else:
        n = make_zeros(shape, kind)
        n.fill_(value)
        n._ver = [0]
    return _finish(n, requires_grad)


def make_zeros(shape, kind):
    t = make((0,), kind)
    count = 1
    for s in shape:
        count *= s
    if not count:
        check_empty(shape)
    try:
        t._buf, t._ptr = kind.zeros(count)
    except (ValueError, MemoryError) as e:
        raise too_large(e, shape, count * kind.itemsize) from None
    t._n, t._shape = count, shape
    return t


def zeros(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of zeros."""
    dtype = dtype if out is None else _dtype_for("zeros", out, dtype)
    t = _filled("zeros", shape_of("zeros", size), _kind(dtype, device), 0, requires_grad)
    return t if out is None else _into("zeros", out, t)


def ones(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of ones."""
    dtype = dtype if out is None else _dtype_for("ones", out, dtype)
    t = _filled("ones", shape_of("ones", size), _kind(dtype, device), 1, requires_grad)
    return t if out is None else _into("ones", out, t)


def full(size, fill_value, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of one value; the dtype follows the value."""
    dtype = dtype if out is None else _dtype_for("full", out, dtype)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    if dtype is None:
        dtype = dt.of_number(fill_value)
    size = (size,) if isinstance(size, int) else tuple(size)
    t = _filled("full", shape_of("full", (size,)), _kind(dtype, device), fill_value, requires_grad)
    return t if out is None else _into("full", out, t)


def empty_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """An uninitialised tensor with the shape of ``input``."""
    kind = _kind(dtype, device, input)
    return _finish(make(input._shape, kind), requires_grad)


def zeros_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Zeros with the shape of ``input``."""
    kind = _kind(dtype, device, input)
    return _filled("zeros_like", input._shape, kind, 0, requires_grad)


def ones_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Ones with the shape of ``input``."""
    kind = _kind(dtype, device, input)
    return _filled("ones_like", input._shape, kind, 1, requires_grad)


def full_like(input, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """One value with the shape of ``input``."""
    kind = _kind(dtype, device, input)
    return _filled("full_like", input._shape, kind, fill_value, requires_grad)


def new_zeros(self, *size, dtype=None, device=None, requires_grad=False):
    """Zeros of the given size with this tensor's dtype and device."""
    return _filled("new_zeros", shape_of("new_zeros", size), _kind(dtype, device, self), 0, requires_grad)


def new_ones(self, *size, dtype=None, device=None, requires_grad=False):
    """Ones of the given size with this tensor's dtype and device."""
    return _filled("new_ones", shape_of("new_ones", size), _kind(dtype, device, self), 1, requires_grad)


def new_empty(self, *size, dtype=None, device=None, requires_grad=False):
    """An uninitialised tensor of the given size with this tensor's dtype and device."""
    return _finish(make(shape_of("new_empty", size), _kind(dtype, device, self)), requires_grad)


def new_full(self, size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One value of the given size with this tensor's dtype and device."""
    return _filled("new_full", shape_of("new_full", (size,)), _kind(dtype, device, self), fill_value, requires_grad)


def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
    """A copy of ``data`` with this tensor's dtype and device."""
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def counted(n, dtype):
    """0, 1, ... n - 1 as an array; PyTorch's error where memory does not hold them."""
    try:
        return np.arange(n, dtype=dtype)
    except (ValueError, MemoryError) as e:
        raise too_large(e, (n,), n * np.dtype(dtype).itemsize) from None


@constant
def arange(start, end=None, step=1, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """Values from ``start`` (0 when only one bound is given) in steps up to, not including, ``end``."""
    dtype = dtype if out is None else _dtype_for("arange", out, dtype)
    if end is None:
        start, end = 0, start
    start, end, step = (x if x.__class__ is int else arguments.check_number(x, "arange", n, i + 1)
                        for i, (x, n) in enumerate(zip((start, end, step), ("start", "end", "step"))))
    if isinstance(start, complex) or isinstance(end, complex) or isinstance(step, complex):
        raise RuntimeError("value cannot be converted to type double without overflow")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        dtype = dt.int64 if all(isinstance(x, int) for x in (start, end, step)) else dt.get_default_dtype()
    dtype = arguments.check_dtype(dtype, "arange", "dtype", 0)
    if dtype.category in (0, 3):
        raise NotImplementedError(f"\"arange_cpu\" not implemented for '{dt.scalar_name(dtype)}'")
    if not all(math.isfinite(x) for x in (start, end, step)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    for x in (start, end, step):
        dt.parameter(x, dt.int64 if dtype.category == 1 else dt.float32 if dtype.itemsize == 2 else dt.float64)
    n = math.ceil((end - start) / step)
    a = start + counted(n, np.int64 if dtype.category < 2 and isinstance(step, int) and isinstance(start, int)
                        else np.float64) * step
    t = from_array(np.ascontiguousarray(a)).to(device=resolve_device(device), dtype=dtype)
    return _finish(t, requires_grad) if out is None else _into("arange", out, t)


@constant
def linspace(start, end, steps, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """``steps`` evenly spaced values from ``start`` to ``end``, both included."""
    start, end = (arguments.check_number(x, "linspace", n, i) for x, n, i in ((start, "start", 1), (end, "end", 2)))
    steps = arguments.check_int(steps, "linspace", "steps", 3)
    if dtype is not None:
        dtype = arguments.check_dtype(dtype, "linspace", "dtype", 0)
    dtype = dtype if out is None else _dtype_for("linspace", out, dtype)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = dtype or (dt.default_complex() if isinstance(start, complex) or isinstance(end, complex)
                  else dt.get_default_dtype())
    start, end = dt.fit(start, d), dt.fit(end, d)
    wide = np.complex128 if d.is_complex else np.float64
    if steps == 1:
        a = np.array([start], wide)
    else:
        # Symmetric as in PyTorch: the upper half counts down from ``end``. In float32 the step itself is float32.
        work = np.float32 if d.code == "f4" else wide
        step = work((work(end) - work(start)) / work(max(steps - 1, 1)))
        i = counted(steps, np.int64)
        low = (work(start) + step * i.astype(work)) if work is not np.float32 else _fma32(start, step, i)
        high = (work(end) - step * (steps - 1 - i).astype(work)) if work is not np.float32 else _fma32(
            end, -step, steps - 1 - i)
        a = np.where(i < steps // 2, low, high)
    t = from_array(np.ascontiguousarray(a)).to(device=resolve_device(device), dtype=d)
    return _finish(t, requires_grad) if out is None else _into("linspace", out, t)


def _fma32(a, b, i):
    """a + b * i with one rounding to float32 (exact in float64 for the sizes that occur)."""
    with np.errstate(all="ignore"):  # infinite ends
        return (np.float64(np.float32(a)) + np.float64(np.float32(b)) * i).astype(np.float32)


@constant
def logspace(start, end, steps, base=10.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """``steps`` values spaced evenly on a log scale from base**start to base**end."""
    dtype = dtype if out is None else _dtype_for("logspace", out, dtype)
    t = linspace(start, end, steps, dtype=dt.float64, device=device)
    t = (base ** t).to(dtype=dtype or dt.get_default_dtype())
    return _finish(t, requires_grad) if out is None else _into("logspace", out, t)


@constant
def eye(n, m=None, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """Ones on the diagonal, zeros elsewhere."""
    dtype = dtype if out is None else _dtype_for("eye", out, dtype)
    n = arguments.check_int(n, "eye", "n", 1)
    m = n if m is None else arguments.check_int(m, "eye", "m", 2)
    if n < 0 or m < 0:
        raise RuntimeError(f"n must be greater or equal to 0, got {min(n, m)}")
    t = _filled("eye", (n, m), _kind(dtype, device), 0, False)
    if min(n, m):
        t.as_strided((min(n, m),), (m + 1,), 0).fill_(1)
        t._ver = [0]
    return _finish(t, requires_grad) if out is None else _into("eye", out, t)


METHODS = (new_zeros, new_ones, new_empty, new_full, new_tensor)
PUBLIC = ("tensor as_tensor asarray from_numpy scalar_tensor empty zeros ones full empty_like zeros_like ones_like "
          "full_like arange linspace logspace eye").split()


def install():
    for f in METHODS:
        setattr(Tensor, f.__name__, f)


def is_tensor(obj):
    """Whether ``obj`` is a Tensor."""
    return isinstance(obj, Tensor)


__all__ = [*PUBLIC, "Size", "is_tensor"]
