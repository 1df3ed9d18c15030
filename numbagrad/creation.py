"""Tensors from Python data, from NumPy, and filled ones."""

from __future__ import annotations

import numbers
import sys

import numpy as np

from . import dtypes as dt
from . import storage
from .kernel.tape import constant
from .tensor import Size, Tensor, from_array, make, too_large


def shape_of(name, size):
    """A shape from ``f(2, 3)`` or ``f((2, 3))``; TypeError for anything but integers, RuntimeError for negatives."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    try:
        out = tuple([s if s.__class__ is int else s.__index__() for s in size])
    except (AttributeError, TypeError):
        if isinstance(size, str) or len(size) == 1 and isinstance(size[0], str):
            raise TypeError(f"{name}(): argument 'size' (position 1) must be tuple of ints, not str") from None
        bad = next(s for s in size if not hasattr(s, "__index__"))
        raise TypeError(f"{name}(): argument 'size' must be tuple of ints, but found element of type "
                        f"{type(bad).__name__}") from None
    for s in out:
        if s < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {s}: {list(out)}")
    return out


def _finish(t, requires_grad):
    if requires_grad:
        if t._kind.dtype.category < 2:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        t._rg = True
    return t


def _kind(dtype, device, like=None):
    if dtype is not None and not isinstance(dtype, dt.dtype):
        name = sys._getframe(1).f_code.co_name
        raise TypeError(f"{name}(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
    if like is not None:
        return storage.kind_of(dtype or like._kind.dtype,
                               like._kind.device if device is None else storage.resolve_device(device))
    return storage.kind_of(dtype or dt.get_default_dtype(), storage.resolve_device(device))


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new leaf tensor with a copy of ``data`` (numbers, nested sequences, arrays, tensors)."""
    if isinstance(data, Tensor):
        import warnings
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
                      UserWarning, stacklevel=2)
        out = data.detach().clone()
        return _finish(out.to(device=device or out.device, dtype=dtype or out.dtype), requires_grad)
    return _finish(_from_data(data, dtype, device, True), requires_grad)


@constant
def _from_data(data, dtype, device, copy):
    if isinstance(data, np.ndarray) or isinstance(data, np.generic):
        a = np.asarray(data)
        if a.dtype.kind in "OSU":
            raise TypeError(f"can't convert np.ndarray of type {a.dtype}. The only supported types are: float64, float32, "
                            "float16, complex64, complex128, int64, int32, int16, int8, uint8, and bool.")
        t = from_array(np.array(a) if copy else a)
        d = t.dtype
    else:
        d = _infer(data)
        a = _nested(data, d)
        t = from_array(a)
        d = dt.get_default_dtype() if d is float else dt.default_complex() if d is complex else t.dtype
    target = dtype or d
    return t if t.dtype is target and device is None and storage.get_default_device().type == "cpu" else t.to(
        device=storage.resolve_device(device), dtype=target)


def _infer(data):
    """float, complex, int or bool: what kind of numbers nested data holds."""
    rank = {bool: 0, int: 1, float: 2, complex: 3}
    best = None
    stack = [data]
    while stack:
        x = stack.pop()
        if isinstance(x, (list, tuple)):
            stack.extend(x)
            continue
        if isinstance(x, Tensor):
            k = (bool, int, float, complex)[x.dtype.category]
        elif isinstance(x, np.ndarray):
            k = (bool, int, float, complex)[dt.from_numpy(x.dtype).category]
        elif isinstance(x, (bool, np.bool_)):
            k = bool
        elif isinstance(x, numbers.Integral):
            k = int
        elif isinstance(x, numbers.Real):
            k = float
        elif isinstance(x, numbers.Complex):
            k = complex
        elif isinstance(x, str):
            first = data
            while isinstance(first, (list, tuple)) and first:
                first = first[0]
            if isinstance(first, str) and first is not data:
                raise ValueError("too many dimensions 'str'")
            raise TypeError("new(): invalid data type 'str'")
        else:
            raise RuntimeError(f"Could not infer dtype of {type(x).__name__}")
        if best is None or rank[k] > rank[best]:
            best = k
    return float if best is None else best


def _nested(data, kind):
    def check(x, depth):
        if isinstance(x, (list, tuple)):
            for y in x:
                if isinstance(y, (list, tuple)) and isinstance(x[0], (list, tuple)) and len(y) != len(x[0]):
                    raise ValueError(f"expected sequence of length {len(x[0])} at dim {depth + 1} (got {len(y)})")
                check(y, depth + 1)
    check(data, 0)

    def plain(x):
        if isinstance(x, (list, tuple)):
            return [plain(y) for y in x]
        return x.tolist() if isinstance(x, Tensor) else x
    np_type = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}[kind]
    try:
        return np.array(plain(data), dtype=np_type)
    except OverflowError:
        raise RuntimeError("Overflow when unpacking long long") from None
    except ValueError as e:
        raise ValueError(f"tensor(): nested data has no regular shape ({e})") from None


def as_tensor(data, dtype=None, device=None):
    """``data`` as a tensor, without a copy where it is a tensor or array of the right dtype and device."""
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    return _from_data(data, dtype, device, False)


def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=False):
    """``obj`` as a tensor; ``copy=True`` always copies."""
    t = as_tensor(obj, dtype=dtype, device=device)
    return _finish(t.clone() if copy else t, requires_grad)


@constant
def from_numpy(ndarray):
    """A tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return from_array(ndarray)


def scalar_tensor(value, dtype=None, *, device=None, requires_grad=False):
    """A 0-d tensor of a number."""
    return full((), value, dtype=dtype or dt.get_default_dtype(), device=device, requires_grad=requires_grad)


def empty(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
          memory_format=None):
    """An uninitialised tensor."""
    return _finish(make(shape_of("empty", size), _kind(dtype, device)), requires_grad)


def _filled(name, shape, kind, value, requires_grad):
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
    try:
        t._buf, t._ptr = kind.zeros(count)
    except (ValueError, MemoryError) as e:
        raise too_large(e, shape, count * kind.itemsize) from None
    t._n, t._shape = count, shape
    return t


def zeros(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of zeros."""
    t = _filled("zeros", shape_of("zeros", size), _kind(dtype, device), 0, requires_grad)
    return t if out is None else out.copy_(t)


def ones(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of ones."""
    t = _filled("ones", shape_of("ones", size), _kind(dtype, device), 1, requires_grad)
    return t if out is None else out.copy_(t)


def full(size, fill_value, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of one value; the dtype follows the value."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    if dtype is None:
        dtype = dt.of_number(fill_value)
    size = (size,) if isinstance(size, int) else tuple(size)
    t = _filled("full", shape_of("full", (size,)), _kind(dtype, device), fill_value, requires_grad)
    return t if out is None else out.copy_(t)


def empty_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """An uninitialised tensor with the shape of ``input``."""
    return _finish(make(input._shape, _kind(dtype, device, input)), requires_grad)


def zeros_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Zeros with the shape of ``input``."""
    return _filled("zeros_like", input._shape, _kind(dtype, device, input), 0, requires_grad)


def ones_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Ones with the shape of ``input``."""
    return _filled("ones_like", input._shape, _kind(dtype, device, input), 1, requires_grad)


def full_like(input, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """One value with the shape of ``input``."""
    return _filled("full_like", input._shape, _kind(dtype, device, input), fill_value, requires_grad)


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
    if end is None:
        start, end = 0, start
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        dtype = dt.int64 if all(isinstance(x, int) for x in (start, end, step)) else dt.get_default_dtype()
    n = int(np.ceil((end - start) / step))
    a = start + counted(n, np.int64 if dtype.category < 2 and isinstance(step, int) and isinstance(start, int)
                        else np.float64) * step
    t = from_array(np.ascontiguousarray(a)).to(device=storage.resolve_device(device), dtype=dtype)
    return _finish(t, requires_grad) if out is None else out.copy_(t)


@constant
def linspace(start, end, steps, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """``steps`` evenly spaced values from ``start`` to ``end``, both included."""
    start, end = (x.item() if isinstance(x, Tensor) else x for x in (start, end))
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = dtype or (dt.default_complex() if isinstance(start, complex) or isinstance(end, complex)
                  else dt.get_default_dtype())
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
    t = from_array(np.ascontiguousarray(a)).to(device=storage.resolve_device(device), dtype=d)
    return _finish(t, requires_grad) if out is None else out.copy_(t)


def _fma32(a, b, i):
    """a + b * i with one rounding to float32 (exact in float64 for the sizes that occur)."""
    return (np.float64(np.float32(a)) + np.float64(np.float32(b)) * i).astype(np.float32)


@constant
def logspace(start, end, steps, base=10.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """``steps`` values spaced evenly on a log scale from base**start to base**end."""
    t = linspace(start, end, steps, dtype=dt.float64, device=device)
    t = (base ** t).to(dtype=dtype or dt.get_default_dtype())
    return _finish(t, requires_grad) if out is None else out.copy_(t)


@constant
def eye(n, m=None, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """Ones on the diagonal, zeros elsewhere."""
    m = n if m is None else m
    if n < 0 or m < 0:
        raise RuntimeError(f"n must be greater or equal to 0, got {min(n, m)}")
    t = _filled("eye", (n, m), _kind(dtype, device), 0, False)
    if min(n, m):
        t.as_strided((min(n, m),), (m + 1,), 0).fill_(1)
        t._ver = [0]
    return _finish(t, requires_grad) if out is None else out.copy_(t)


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
