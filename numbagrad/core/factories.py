"""Tensors of rarer forms: of given strides, inclusive ranges, and the windows of signal processing."""

from __future__ import annotations

import math
import warnings

import numpy as np

from ..base import arguments
from ..base import dtypes as dt
from ..base.shapes import contiguous_strides, is_contiguous
from ..base.user_code import user_level, warn_once
from ..kernel.tape import refuse
from .creation import arange, empty, kind_for, zeros
from .tensor import Tensor, from_array, make


def _with_strides(shape, strides, kind, requires_grad):
    used = 0 if 0 in shape else sum([(n - 1) * s for n, s in zip(shape, strides)]) + 1
    if len(shape) != len(strides):
        raise RuntimeError(f"mismatch in length of strides and shape: {len(strides)} and {len(shape)}")
    if any([s < 0 for s in (*shape, *strides)]):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)} and strides={list(strides)}")
    t = make((used,), kind)
    t._n, t._shape, t._strides = math.prod(shape), shape, None if is_contiguous(shape, strides) else strides
    return t.requires_grad_() if requires_grad else t


def empty_strided(size, stride, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """An uninitialised tensor of these sizes and strides."""
    return _with_strides(tuple(size), tuple(stride), kind_for(dtype, device), requires_grad)


def empty_permuted(size, physical_layout, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """An uninitialised tensor without gaps whose dimensions lie in memory in the order ``physical_layout``, outermost first."""
    size, order = tuple(size), tuple(physical_layout)
    if len(size) != len(order):
        raise RuntimeError("Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
                           f"{len(size)} is not equal to len(physical_layout) = {len(order)}")
    if any([not 0 <= d < len(size) for d in order]):
        raise RuntimeError(f"Dimension out of range (expected to be between 0 and {len(size) - 1}, but got "
                           f"{next(d for d in order if not 0 <= d < len(size))} at index "
                           f"{next(i for i, d in enumerate(order) if not 0 <= d < len(size))}).  NB: negative dims not "
                           "currently supported; file an issue if you want it.")
    if len(set(order)) != len(order):
        raise RuntimeError("Duplicate dim not allowed")
    steps = dict(zip(order, contiguous_strides(tuple([size[d] for d in order]))))
    return _with_strides(size, tuple([steps[d] for d in range_(len(size))]), kind_for(dtype, device), requires_grad)


def frombuffer(buffer, *, dtype=arguments.MISSING, count=-1, offset=0, requires_grad=False):
    """A flat tensor on the memory of an object with Python's buffer protocol; of a copy, where its numbers lie unaligned."""
    d = arguments.check_dtype(dtype, "frombuffer", "dtype", 0)
    count = arguments.check_int(count, "frombuffer", "count", 0)
    offset = arguments.check_int(offset, "frombuffer", "offset", 0)
    view = _bytes_of(buffer)
    size, length = d.itemsize, view.nbytes
    if not length or not count:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    if not 0 <= offset < length:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({length} bytes) "
                         "minus 1")
    if count < 0 and (length - offset) % size:
        raise ValueError(f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a multiple of element "
                         f"size ({size})")
    count = count if count > 0 else (length - offset) // size
    if offset + count * size > length:
        raise ValueError(f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater "
                         f"than actual buffer length ({length} bytes)")
    refuse("takes memory of another object")
    t = from_array(np.frombuffer(view, d.np, count, offset), d)
    if requires_grad and d.category < 2:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    return t.requires_grad_() if requires_grad else t


def _bytes_of(buffer):
    """The buffer of an object, with PyTorch's errors and its one warning."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    if not view.c_contiguous:
        raise RuntimeError("could not retrieve buffer from object")
    if view.readonly:
        warn_once("The given buffer is not writable, and PyTorch does not support non-writable tensors. This means you can "
                  "write to the underlying (supposedly non-writable) buffer using the tensor. You may want to copy the "
                  "buffer to protect its data or make it writable before converting it to a tensor. This type of warning "
                  "will be suppressed for the rest of this program.")
    return view


range_ = range


def range(start=0, end=None, step=1, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):  # noqa: A001
    """``start``, ``start + step`` ... up to ``end`` itself; PyTorch advises ``arange``, which stops before it."""
    if end is None:
        raise TypeError('range() missing 1 required positional arguments: "end"')
    warnings.warn("torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with "
                  "Python's range builtin. Instead, use torch.arange, which produces values in [start, end).", UserWarning,
                  stacklevel=user_level())
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    n = int((end - start) / step + 1)
    dtype = dt.get_default_dtype() if dtype is None else arguments.check_dtype(dtype, "range", "dtype", 0)
    if not dtype.is_floating_point:
        return arange(start, start + n * step, step, out=out, dtype=dtype, device=device)
    t = arange(n, dtype=dt.float64).mul_(step).add_(start).to(device=device, dtype=dtype)
    if out is not None:
        from .out import write_new
        return write_new("range", out, t)
    return t.requires_grad_() if requires_grad else t


# --- windows ---

def _window(name, window_length, periodic, dtype, device, requires_grad, values):
    """A window by ``values(n - 1)`` in the dtype; a periodic one is a symmetric one without its last element."""
    dtype = dt.get_default_dtype() if dtype is None else arguments.check_dtype(dtype, name, "dtype", 0)
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: TensorOptions(dtype={dt.c_name(dtype)}, device=cpu, "
                           "layout=Strided (default), requires_grad=false (default), pinned_memory=false, "
                           "memory_format=(nullopt))")
    if window_length.__class__ is not int:
        window_length = arguments.check_int(window_length, name, "window_length", 1)
    if window_length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}")
    place = {"dtype": dtype, "device": device}
    if window_length < 2:
        t = zeros(window_length, **place) if not window_length else empty(1, **place).fill_(1)
    else:
        n = window_length + bool(periodic)
        t = values(arange(n, **place), n - 1)
        t = t.narrow(0, 0, window_length) if periodic else t
    return t.requires_grad_() if requires_grad else t


def _cosines(t, last, alpha, beta):
    return t.mul_(math.pi * 2.0 / last).cos_().mul_(-beta).add_(alpha)


def hann_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """``0.5 - 0.5 cos(2 pi n / (N - 1))``."""
    return _window("hann_window", window_length, periodic, dtype, device, requires_grad,
                   lambda t, last: _cosines(t, last, 0.5, 0.5))


def hamming_window(window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, layout=None, device=None,
                   pin_memory=False, requires_grad=False):
    """``alpha - beta cos(2 pi n / (N - 1))``."""
    return _window("hamming_window", window_length, periodic, dtype, device, requires_grad,
                   lambda t, last: _cosines(t, last, alpha, beta))


def blackman_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False,
                    requires_grad=False):
    """``0.42 - 0.5 cos(2 pi n / (N - 1)) + 0.08 cos(4 pi n / (N - 1))``."""
    def values(t, last):
        t = t.mul_(math.pi / last)
        return t.mul(4).cos_().mul_(0.08).sub_(t.mul(2).cos_().mul_(0.5)).add_(0.42)
    return _window("blackman_window", window_length, periodic, dtype, device, requires_grad, values)


def bartlett_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False,
                    requires_grad=False):
    """A triangle: ``1 - |2 n / (N - 1) - 1|``."""
    def values(t, last):
        return t.mul_(2.0 / last).sub_(1).abs_().mul_(-1).add_(1)
    return _window("bartlett_window", window_length, periodic, dtype, device, requires_grad, values)


def kaiser_window(window_length, periodic=True, beta=12.0, *, dtype=None, layout=None, device=None, pin_memory=False,
                  requires_grad=False):
    """``i0(beta sqrt(1 - (2 n / (N - 1) - 1)^2)) / i0(beta)``."""
    def values(t, last):
        t = t.mul_(2.0 / last).sub_(1).square_().mul_(-1).add_(1).clamp_(min=0).sqrt_().mul_(beta)
        return t.i0_().div_(t.new_full((), beta).i0_())
    return _window("kaiser_window", window_length, periodic, dtype, device, requires_grad, values)


__all__ = ["Tensor", "bartlett_window", "blackman_window", "empty_permuted", "empty_strided", "hamming_window", "hann_window",
           "kaiser_window", "range"]
