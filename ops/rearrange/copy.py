"""Copies and conversions."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.device import resolve_device
from numbagrad.base.user_code import warn_once
from numbagrad.core.copying import copy_into, transfer
from numbagrad.core.storage import kind_of
from numbagrad.extend import Sample, custom, function


@custom(contiguous=False, reference=np.array, samples=(Sample((3, 4)), Sample(())), dtypes="any")
def clone(input, *, memory_format: object = None):
    """A copy that passes gradients on to ``input``."""
    return input._shape, input._kind


@clone.cuda
@clone.cpu
def _(out, input, memory_format):
    copy_into(out, input)


@clone.gradient
def _(g):
    return g


@custom(node="ToCopyBackward0", contiguous=False, private=True, dtypes="any")
def to_copy(input, kind: object, source: object = None):
    """A copy in another dtype or on another device; ``source`` is the input's kind, which is all that backward needs."""
    return input._shape, kind


@to_copy.cuda
@to_copy.cpu
def _(out, input, kind, source):
    if input._kind.device is not out._kind.device:
        return transfer(out, input)
    return copy_into(out, input)


to_copy.crosses = True


@to_copy.gradient
def _(g, source):
    return g if g._kind is source else to_copy(g, source, g._kind)


def converted(input, kind, copy=False):
    """``input`` as a tensor of a kind: itself where it is one and no copy is asked for."""
    own = input._kind
    if kind is own:
        return clone.call(input) if copy else input
    if own.dtype.is_complex and not kind.dtype.is_complex and kind.dtype.category:
        warn_once("Casting complex values to real discards the imaginary part")
    return to_copy.call(input, kind, own)


@function(method=True, namespaces=(), dtypes="any", differentiable=False)
def to(input, *args, **kwargs):
    """The tensor in another dtype or on another device; itself when nothing changes.

    ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other)``, with ``non_blocking`` and ``copy``."""
    if not kwargs and len(args) == 1:
        a = args[0]
        if a.__class__ is dt.dtype:
            return converted(input, kind_of(a, input._kind.device))
        if hasattr(a, "_kind"):
            return converted(input, a._kind)
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    if dtype is not None and dtype.__class__ is not dt.dtype:
        dtype = arguments.check_dtype(dtype, "to", "dtype", 0)
    copy = kwargs.pop("copy", False)
    kwargs.pop("non_blocking", None)
    kwargs.pop("memory_format", None)
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() received an invalid combination of arguments: {sorted(kwargs)}")
    flags = []
    for a in args:
        if isinstance(a, dt.dtype):
            dtype = a
        elif a.__class__ is type and a in dt.PYTHON_TYPES:
            dtype = dt.PYTHON_TYPES[a]
        elif hasattr(a, "_kind"):
            other = a
        elif isinstance(a, bool):  # non_blocking, then copy
            flags.append(a)
        elif a is not None:
            device = a
    if flags and dtype is None and other is None or len(flags) > 2:
        raise TypeError("to() received an invalid combination of arguments - got ("
                        f"{', '.join(type(a).__name__ for a in args)})")
    copy = flags[1] if len(flags) > 1 else copy
    if other is not None:
        device, dtype = other.device, other.dtype
    kind = input._kind
    return converted(input, kind_of(dtype or kind.dtype, kind.device if device is None else resolve_device(device)), copy)


def _cast(name, target):
    def fn(input, memory_format=None):
        kind = input._kind
        return input if kind.dtype is target else converted(input, kind_of(target, kind.device))
    fn.__name__ = fn.__qualname__ = name
    fn.__module__ = __name__
    fn.__doc__ = f"The tensor in dtype {target.name}."
    return function(fn, namespaces=(), dtypes="any", differentiable=False)


for _name, _target in (("float", dt.float32), ("double", dt.float64), ("half", dt.float16), ("bfloat16", dt.bfloat16),
                       ("int", dt.int32), ("long", dt.int64), ("short", dt.int16), ("char", dt.int8), ("byte", dt.uint8),
                       ("bool", dt.bool_), ("cfloat", dt.complex64), ("cdouble", dt.complex128)):
    _cast(_name, _target)


@function(namespaces=(), dtypes="any", differentiable=False)
def contiguous(input, memory_format=None):
    """The tensor itself when row-major, else a row-major copy."""
    return input if input._strides is None else clone.call(input)


@function(namespaces=(), dtypes="any", differentiable=False)
def cpu(input, memory_format=None):
    """The tensor on the CPU."""
    return to(input, device="cpu")


@function(namespaces=(), dtypes="any", differentiable=False)
def cuda(input, device=None, non_blocking=False, memory_format=None):
    """The tensor on a CUDA device."""
    return to(input, device="cuda" if device is None else device)


@function(kinds={"other": "tensor"}, namespaces=(), dtypes="any", differentiable=False)
def type_as(input, other):
    """The tensor in the dtype of another one."""
    return converted(input, other._kind)
