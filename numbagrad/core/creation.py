"""Tensors from Python data, from NumPy, and filled ones."""

from __future__ import annotations

import inspect
import math
import sys

import numpy as np

from ..base import arguments, overriding
from ..base import dtypes as dt
from ..base.arguments import MOST
from ..base.device import CPU, resolve_device
from ..base.device import DEFAULT as DEFAULT_DEVICE
from ..base.dtypes import DEFAULT as DEFAULT_DTYPE
from ..base.transformed import Transformed
from ..kernel.tape import TAPE, constant
from . import ranges, storage
from .copying import LARGE, fill_into
from .from_data import checked_array, from_data
from .overlap import is_dense
from .storage import kind_of
from .tensor import Size, Tensor, from_array, is_contiguous, make, on_array, too_large


def shape_of(name, size, named=None):
    """A shape from ``f(2, 3)`` or ``f((2, 3))``, or what was ``named`` by ``size=``; TypeError for anything but integers,
    RuntimeError for negatives."""
    if named is not None:
        size = arguments.alone(name, "size", size, named)
    if size and size[0].__class__ is tuple and len(size) == 1:
        size = size[0]
    for s in size:
        if s.__class__ is not int or not 0 <= s <= MOST:
            return _checked_shape(name, size)
    return size


def sized(f):
    """Show the sizes of a function that takes them one by one or as ``size``: ``f(*size, ...)``."""
    s = inspect.signature(f)
    f.__signature__ = s.replace(parameters=[p.replace(name="size") if p.kind is p.VAR_POSITIONAL else p
                                            for n, p in s.parameters.items() if n != "size"])
    return f


def _checked_shape(name, size):
    out = arguments.sizes(name, size)
    for s in out:
        if not 0 <= s <= MOST:
            arguments.check_list_of_ints(out, name, "size", 1)
            raise RuntimeError(f"Trying to create tensor with negative dimension {s}: {list(out)}")
    return out


def _finish(t, requires_grad):
    if requires_grad is False:
        return t
    if arguments.check_bool(requires_grad, _caller(), "requires_grad", 0):
        if t._kind.dtype.category < 2:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        t._rg = True
    return t


def _caller():
    """The public function that is being called."""
    frame = sys._getframe(2)
    while frame.f_code.co_name in ("filled", "_filled"):
        frame = frame.f_back
    return frame.f_code.co_name


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


def kind_for(dtype, device, like=None):
    """The kind of a new tensor: what is not said is that of ``like``, or the default."""
    if dtype is not None and dtype.__class__ is not dt.dtype:
        dtype = arguments.check_dtype(dtype, _caller(), "dtype", 0)
    if like is not None:
        if not isinstance(like, Tensor):
            raise arguments.wrong(like, "Tensor", _caller(), "input", 1)
        if device is None:
            return like._kind if dtype is None else kind_of(dtype, like._kind.device)
        return kind_of(dtype or like._kind.dtype, resolve_device(device))
    return kind_of(dtype or DEFAULT_DTYPE[0], DEFAULT_DEVICE[0] if device is None else resolve_device(device))


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new leaf tensor with a copy of ``data`` (numbers, nested sequences, arrays, tensors)."""
    if dtype is not None and dtype.__class__ is not dt.dtype:
        dtype = arguments.check_dtype(dtype, "tensor", "dtype", 0)
    c = data.__class__
    if c is float or c is int or c is bool:
        d = dtype or dt.of_number(data)
        if (c, d) in HOLDS and -NEAR < data < NEAR and not TAPE:
            return filled((), kind_for(d, device), data, requires_grad)
    if isinstance(data, Tensor):
        import warnings
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
                      UserWarning, stacklevel=2)
        out = data.detach().clone()
        return _finish(out.to(device=device or out.device, dtype=dtype or out.dtype), requires_grad)
    if hasattr(data, "symbolic"):  # a number that a compiled step is given in each call
        return _finish(full((), data, dtype=dtype, device=device), requires_grad)
    t = from_data(data, dtype, device, True)
    return t if requires_grad is False else _finish(t, requires_grad)


# Classes of numbers and dtypes that hold those of them that are not too large as they are.
HOLDS = frozenset(((float, dt.float32), (float, dt.float64), (int, dt.float32), (int, dt.float64), (int, dt.int64),
                   (bool, dt.bool_)))


def as_tensor(data, dtype=None, device=None):
    """``data`` as a tensor, without a copy where it is a tensor or array of the right dtype and device."""
    if dtype is not None and dtype.__class__ is not dt.dtype:
        dtype = arguments.check_dtype(dtype, "as_tensor", "dtype", 0)
    if isinstance(data, Tensor):
        if device is None and (dtype is None or dtype is data._kind.dtype):
            return data
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    if data.__class__ is np.ndarray and dtype is None and device is None and DEFAULT_DEVICE[0] is CPU:
        return from_numpy(data)
    return from_data(data, dtype, device, False)


def from_numpy(ndarray):
    """A tensor that shares the memory of a NumPy array."""
    t = on_array(ndarray) if ndarray.__class__ is np.ndarray else None
    return _shared(ndarray) if t is None else t


@constant
def _shared(ndarray):
    if not isinstance(ndarray, np.ndarray):
        name = type(ndarray).__name__
        raise TypeError(f"expected np.ndarray (got {'numpy.' * isinstance(ndarray, np.generic)}{name})")
    return from_array(checked_array(ndarray))


def scalar_tensor(value, dtype=None, *, device=None, requires_grad=False):
    """A 0-d tensor of a number."""
    d = dt.get_default_dtype() if dtype is None else arguments.check_dtype(dtype, "scalar_tensor", "dtype", 0)
    value = value if isinstance(value, Tensor) else dt.fit(value, d, True)
    return full((), value, dtype=d, device=device, requires_grad=requires_grad)


@sized
def empty(*sizes, size=None, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
          memory_format=None):
    """An uninitialised tensor."""
    t = make(shape_of("empty", sizes, size), kind_for(dtype, device))
    if out is not None:
        from .out import write_new
        return write_new("empty", out, t)
    return t if requires_grad is False else _finish(t, requires_grad)


def _filled(shape, kind, value, requires_grad):
    return filled(shape, kind, dt.fit(value.item() if isinstance(value, Tensor) else value, kind.dtype), requires_grad)


def filled(shape, kind, value, requires_grad=False):
    """A tensor of one value, which its dtype can hold."""
    if value.__class__ is int and not value or value.__class__ is float and value == 0.0 and math.copysign(1.0, value) > 0.0:
        t = make(shape, kind, True)
    elif kind.direct and not TAPE:
        t = make(shape, kind)
        if t._n < LARGE:
            t._buf.fill(value)
        else:
            fill_into(t, value)
    elif kind.direct and not isinstance(value, complex):
        t = make(shape, kind)
        storage.fill(t._buf, t._ptr, kind, t._n, value)
    else:
        t = make(shape, kind)
        fill_into(t, value)
    return t if requires_grad is False else _finish(t, requires_grad)


@sized
def zeros(*sizes, size=None, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of zeros."""
    dtype = dtype if out is None else _dtype_for("zeros", out, dtype)
    t = make(shape_of("zeros", sizes, size), kind_for(dtype, device), True)
    if requires_grad is not False:
        _finish(t, requires_grad)
    return t if out is None else _into("zeros", out, t)


@sized
def ones(*sizes, size=None, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of ones."""
    dtype = dtype if out is None else _dtype_for("ones", out, dtype)
    t = filled(shape_of("ones", sizes, size), kind_for(dtype, device), 1, requires_grad)
    return t if out is None else _into("ones", out, t)


def full(size, fill_value, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of one value; the dtype follows the value."""
    dtype = dtype if out is None else _dtype_for("full", out, dtype)
    if isinstance(fill_value, Tensor):
        fill_value = arguments.check_number(fill_value, "full", "fill_value", 2)
    if dtype is None:
        dtype = dt.of_number(fill_value)
    if size.__class__ is not tuple:
        size = (size,) if isinstance(size, int) else tuple(size)
    t = _filled(shape_of("full", (size,)), kind_for(dtype, device), fill_value, requires_grad)
    return t if out is None else _into("full", out, t)


def _like(t, input, memory_format):
    """``t``, new and row-major, in the order of dimensions in which ``input`` lies in memory."""
    strides = input._strides
    if input._ver.__class__ is Transformed:
        return input._ver.like(input, t)
    if memory_format is not None and memory_format is not dt.preserve_format or not input._n or 0 in strides:
        return t
    if not is_dense(input):
        steps, step = {}, 1
        for d in sorted(range(len(strides)), key=lambda d: (strides[d], -d)):
            steps[d], step = step, step * input._shape[d]
        strides = tuple([steps[d] for d in range(len(strides))])
    t._strides = None if is_contiguous(t._shape, strides) else strides
    return t


def _said(dtype, layout, device, requires_grad, memory_format):
    """Those of the arguments that are not what they are by default."""
    words = {"dtype": dtype, "layout": layout, "device": device, "memory_format": memory_format}
    return {n: v for n, v in (*words.items(), ("requires_grad", requires_grad or None)) if v is not None}


def empty_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """An uninitialised tensor with the shape of ``input``."""
    try:
        kind = kind_for(dtype, device, input)
    except TypeError as error:
        return overriding.again(empty_like, error, input, **_said(dtype, layout, device, requires_grad, memory_format))
    t = make(input._shape, kind)
    if input._strides is not None:
        t = _like(t, input, memory_format)
    return t if requires_grad is False else _finish(t, requires_grad)


def zeros_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Zeros with the shape of ``input``."""
    try:
        kind = kind_for(dtype, device, input)
    except TypeError as error:
        return overriding.again(zeros_like, error, input, **_said(dtype, layout, device, requires_grad, memory_format))
    t = make(input._shape, kind, True)
    if input._strides is not None:
        t = _like(t, input, memory_format)
    return t if requires_grad is False else _finish(t, requires_grad)


def ones_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Ones with the shape of ``input``."""
    try:
        kind = kind_for(dtype, device, input)
    except TypeError as error:
        return overriding.again(ones_like, error, input, **_said(dtype, layout, device, requires_grad, memory_format))
    t = filled(input._shape, kind, 1, requires_grad)
    return t if input._strides is None else _like(t, input, memory_format)


def full_like(input, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """One value with the shape of ``input``."""
    try:
        kind = kind_for(dtype, device, input)
    except TypeError as error:
        said = _said(dtype, layout, device, requires_grad, memory_format)
        return overriding.again(full_like, error, input, fill_value, **said)
    t = _filled(input._shape, kind, fill_value, requires_grad)
    return t if input._strides is None else _like(t, input, memory_format)


@sized
def new_zeros(self, *sizes, size=None, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False):
    """Zeros of the given size with this tensor's dtype and device."""
    t = make(shape_of("new_zeros", sizes, size), kind_for(dtype, device, self), True)
    return t if requires_grad is False else _finish(t, requires_grad)


@sized
def new_ones(self, *sizes, size=None, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False):
    """Ones of the given size with this tensor's dtype and device."""
    return filled(shape_of("new_ones", sizes, size), kind_for(dtype, device, self), 1, requires_grad)


@sized
def new_empty(self, *sizes, size=None, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False):
    """An uninitialised tensor of the given size with this tensor's dtype and device."""
    t = make(shape_of("new_empty", sizes, size), kind_for(dtype, device, self))
    return t if requires_grad is False else _finish(t, requires_grad)


def new_full(self, size, fill_value, *, dtype=None, device=None, requires_grad=False, layout=None,
             pin_memory=False):
    """One value of the given size with this tensor's dtype and device."""
    return _filled(shape_of("new_full", (size,)), kind_for(dtype, device, self), fill_value, requires_grad)


def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False, layout=None,
               pin_memory=False):
    """A copy of ``data`` with this tensor's dtype and device."""
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def counted(n, dtype):
    """0, 1, ... n - 1 as an array; PyTorch's error where memory does not hold them."""
    try:
        return np.arange(n, dtype=dtype)
    except (ValueError, MemoryError) as e:
        raise too_large(e, (n,), n * np.dtype(dtype).itemsize) from None


def _number(x, name, argument, position):
    c = x.__class__
    return x if c is float or c is int and -NEAR < x < NEAR else arguments.check_number(x, name, argument, position)


@constant
def arange(start, end=None, step=1, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """Values from ``start`` (0 when only one bound is given) in steps up to, not including, ``end``."""
    if start.__class__ is int and end is dtype is out is device is None and 0 <= start < FEW and step.__class__ is int and (
            step == 1 and requires_grad is False and DEFAULT_DEVICE[0] is CPU and not TAPE):
        t = make((start,), kind_of(dt.int64))
        ranges.steps[t._kind](t._ptr, 0, 1, 0, start)
        return t
    dtype = dtype if out is None else _dtype_for("arange", out, dtype)
    if end is None:
        start, end = 0, start
    whole = start.__class__ is int and end.__class__ is int and step.__class__ is int
    if not whole:
        start, end = _number(start, "arange", "start", 1), _number(end, "arange", "end", 2)
        step = _number(step, "arange", "step", 3)
        if isinstance(start, complex) or isinstance(end, complex) or isinstance(step, complex):
            raise RuntimeError("value cannot be converted to type double without overflow")
        whole = isinstance(start, int) and isinstance(end, int) and isinstance(step, int)
    if not step:
        raise RuntimeError("step must be nonzero")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        dtype = dt.int64 if whole else DEFAULT_DTYPE[0]
    elif dtype.__class__ is not dt.dtype:
        dtype = arguments.check_dtype(dtype, "arange", "dtype", 0)
    near = -NEAR < start < NEAR and -NEAR < end < NEAR and -NEAR < step < NEAR
    if near and whole and dtype is dt.int64:
        t = from_array(np.arange(start, end, step, np.int64))
    elif near and (dtype is dt.float32 or dtype is dt.float64):
        t = make((_count(start, end, step),), kind_of(dtype))
        ranges.steps[t._kind](t._ptr, start, step, 0, t._n)
    else:
        t = from_array(_steps(start, end, step, dtype))
    if device is not None or DEFAULT_DEVICE[0] is not CPU or t._kind.dtype is not dtype:
        t = t.to(device=resolve_device(device), dtype=dtype)
    if out is not None:
        return _into("arange", out, t)
    return t if requires_grad is False else _finish(t, requires_grad)


FEW = 4096  # whole numbers that a loop over float64 writes as fast as NumPy
NEAR = 1 << 24  # integers up to here are numbers of every wide dtype, and so are their sums and products
def _count(start, end, step):
    return math.ceil((end - start) / step)


def _steps(start, end, step, dtype):
    """The values of a range in int64 or float64, after the checks that small integers pass."""
    if dtype.category in (0, 3):
        raise NotImplementedError(f"\"arange_cpu\" not implemented for '{dt.scalar_name(dtype)}'")
    if not all([math.isfinite(x) for x in (start, end, step)]):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    for x in (start, end, step):
        dt.parameter(x, dt.int64 if dtype.category == 1 else dt.float32 if dtype.itemsize == 2 else dt.float64)
    if dtype is dt.int64:
        start, end, step = int(start), int(end), int(step)
        if not step:
            raise ValueError("step must be nonzero")
    n = _count(start, end, step)
    if dtype.category == 1:
        start, step = int(start), int(step)
    return start + counted(n, np.int64 if dtype.category < 2 and isinstance(step, int) and isinstance(start, int)
                           else np.float64) * step


def _plain(bound):
    """A number, or a tensor without its graph: a range has no gradient."""
    return bound.detach() if isinstance(bound, Tensor) else bound


def _dimensions(**bounds):
    return [f"{name} with {len(t._shape)} dimension(s)" for name, t in bounds.items() if isinstance(t, Tensor)]


@constant
def linspace(start, end, steps, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """``steps`` evenly spaced values from ``start`` to ``end``, both included."""
    dims = [len(t._shape) if isinstance(t, Tensor) else 0 for t in (start, end)]
    if any(dims):
        raise RuntimeError("linspace only supports 0-dimensional start and end tensors, but got "
                           f"{' and '.join(_dimensions(start=start, end=end))}.")
    start, end = map(_plain, (start, end))
    start, end = _number(start, "linspace", "start", 1), _number(end, "linspace", "end", 2)
    if steps.__class__ is not int:
        steps = arguments.check_int(steps, "linspace", "steps", 3)
    if dtype is not None:
        dtype = arguments.check_dtype(dtype, "linspace", "dtype", 0)
    dtype = dtype if out is None else _dtype_for("linspace", out, dtype)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = dtype or (dt.default_complex() if isinstance(start, complex) or isinstance(end, complex) else DEFAULT_DTYPE[0])
    start, end = dt.fit(start, d), dt.fit(end, d)
    if steps > 1 and (d is dt.float32 or d is dt.float64):
        t = make((steps,), kind_of(d))
        ranges.between[t._kind](t._ptr, start, end, steps)
    else:
        t = _between(start, end, steps, d)
    if device is not None or DEFAULT_DEVICE[0] is not CPU or t._kind.dtype is not d:
        t = t.to(device=resolve_device(device), dtype=d)
    if out is not None:
        return _into("linspace", out, t)
    return t if requires_grad is False else _finish(t, requires_grad)


def _between(start, end, steps, d):
    """The values of ``linspace``, of that dtype or, where it has no kernel, of float64."""
    if d.is_complex:
        part = dt.float32 if d is dt.complex64 else dt.float64
        values = np.empty(steps, d.np)
        values.real, values.imag = (_between(getattr(complex(start), name), getattr(complex(end), name), steps, part)._buf
                                    for name in ("real", "imag"))
        return from_array(values)
    t = make((steps,), kind_of(d if d.category == 2 or steps < 2 else dt.float64))
    if steps > 1:
        (ranges.between_halves if d.itemsize == 2 and d.category == 2 else ranges.between)[t._kind](t._ptr, start, end, steps)
    elif steps:
        fill_into(t, start)
    return t


@constant
def logspace(start, end, steps, base=10.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """``steps`` values spaced evenly on a log scale from base**start to base**end."""
    dtype = dtype if dtype is None else arguments.check_dtype(dtype, "logspace", "dtype", 0)
    dtype = dtype if out is None else _dtype_for("logspace", out, dtype)
    if dtype is not None and dtype.category < 2:  # the exponents are of the dtype, too
        start, end = (int(_number(_plain(v), "logspace", n, i)) for v, n, i in ((start, "start", 1), (end, "end", 2)))
    t = linspace(start, end, steps, dtype=dt.float64)
    base = float(arguments.check_float(base, "logspace", "base", 4))
    ranges.powers[t._kind](t._ptr, base, t._n)
    t = t.to(device=resolve_device(device), dtype=dtype or DEFAULT_DTYPE[0])
    if out is not None:
        return _into("logspace", out, t)
    return t if requires_grad is False else _finish(t, requires_grad)


@constant
def eye(n, m=None, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """Ones on the diagonal, zeros elsewhere."""
    dtype = dtype if out is None else _dtype_for("eye", out, dtype)
    n = n if n.__class__ is int else arguments.check_int(n, "eye", "n", 1)
    m = n if m is None else arguments.check_int(m, "eye", "m", 2)
    if n < 0 or m < 0:
        name, size = ("n", n) if n < 0 else ("m", m)
        raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    kind = kind_for(dtype, device)
    t = make((n, m), kind, True)
    least = n if n < m else m
    if kind.direct:
        t._buf[:least * (m + 1):m + 1] = 1
    elif least:
        fill_into(t.as_strided((least,), (m + 1,), 0), 1)
    if out is not None:
        return _into("eye", out, t)
    return t if requires_grad is False else _finish(t, requires_grad)


METHODS = (new_zeros, new_ones, new_empty, new_full, new_tensor)
PUBLIC = ("tensor as_tensor from_numpy scalar_tensor empty zeros ones full empty_like zeros_like ones_like "
          "full_like arange linspace logspace eye").split()


def install():
    for f in METHODS:
        setattr(Tensor, f.__name__, f)


def is_tensor(obj):
    """Whether ``obj`` is a Tensor."""
    return isinstance(obj, Tensor)


__all__ = [*PUBLIC, "Size", "is_tensor"]
