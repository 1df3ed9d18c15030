"""``out=``: results that go into a tensor of the caller's."""

from __future__ import annotations

import warnings

from ..base import arguments, modes
from ..base import dtypes as dt
from .copying import copy_into
from .overlap import check_partial, check_single, unrecorded
from .tensor import Tensor, bump_version, make


def write_out(name, out, result, tensors, cast=False):
    """Put a result into the ``out=`` tensor (resized if its shape differs) and return it; see ``check_out``."""
    if _usual(out, result, tensors):
        copy_into(out, result)
        bump_version(out)
        return out
    check_out(name, out, result, tensors, cast)
    return _put(out, result)


def write_outs(name, outs, results, tensors, cast=False):
    """``write_out`` for several results: all are checked before the first is written."""
    if not isinstance(outs, (tuple, list)):
        raise TypeError(f"{name}(): argument 'out' must be tuple of Tensors, not {type(outs).__name__}")
    if len(outs) != len(results):
        raise TypeError(f"expected tuple of {len(results)} elements but got {len(outs)}")
    for out, result in zip(outs, results):
        if not _usual(out, result, tensors):
            check_out(name, out, result, tensors, cast)
    return [_put(out, result) for out, result in zip(outs, results)]


def write_new(name, out, result):
    """Put what a factory function made into the ``out=`` tensor, which takes its shape."""
    check_out(name, out, result, (), True)
    if out._shape != result._shape:
        resize(out, result._shape)
    return _put(out, result)


def as_new(out, kind, shape, tensors):
    """Whether ``out`` is as a new result of ``tensors`` would be: row-major, of this kind and shape, without history, in memory
    of its own."""
    return (out.__class__ is Tensor and out._kind is kind and out._shape == shape and out._strides is None and unrecorded(out)
            and not any([t._rg or t._buf is out._buf for t in tensors]))


def _usual(out, result, tensors):
    """Whether the copy needs no look at history, layouts, dtypes or shared memory."""
    return result._strides is None and result._buf is not out._buf and as_new(out, result._kind, result._shape, tensors)


def check_out(name, out, result, tensors, cast=False):
    """Raise unless ``result``, which was made of ``tensors``, may be written into ``out``; ``cast``: with a conversion."""
    if not isinstance(out, Tensor):
        raise arguments.wrong(out, "Tensor", name, "out", None)
    d, to = result._kind.dtype, out._kind.dtype
    if modes.is_grad_enabled() and (out._rg or d.category > 1 and any([t._rg for t in tensors])):
        raise RuntimeError(f"{name}(): functions with out=... arguments don't support automatic differentiation, but one "
                           "of the arguments requires grad.")
    if out._kind.device is not result._kind.device:
        raise RuntimeError(f"Expected out tensor to be on the same device as the result of {name}(), but found "
                           f"{out._kind.device} and {result._kind.device}")
    if not dt.can_cast(d, to):
        raise RuntimeError(f"result type {dt.scalar_name(d)} can't be cast to the desired output type {dt.scalar_name(to)}")
    if not cast and d is not to:
        raise RuntimeError(other_dtype(result, out))
    if out._shape == result._shape:
        check_single(out)
    check_partial(out, tensors)


def other_dtype(result, out):
    """What is said of an ``out`` that has another dtype than the result."""
    return (f"Expected out tensor to have dtype {dt.c_name(result._kind.dtype)}, but got {dt.c_name(out._kind.dtype)} "
            "instead")


def _put(out, result):
    if out._shape != result._shape:
        if out._n:
            warnings.warn(f"An output with one or more elements was resized since it had shape {list(out._shape)}, which "
                          f"does not match the required output shape {list(result._shape)}. This behavior is deprecated, "
                          "and in a future PyTorch release outputs will not be resized unless they have zero elements. You "
                          "can explicitly reuse an out tensor t by resizing it, inplace, to zero elements with "
                          "t.resize_(0).", UserWarning, stacklevel=3)
        resize(out, result._shape)
    out.copy_(result.detach())
    return out


def resize(t, shape):
    """Give ``t`` a new contiguous shape, with new memory (the old values are dropped)."""
    fresh = make(tuple(shape), t._kind)
    t._buf, t._ptr, t._n, t._shape, t._strides = fresh._buf, fresh._ptr, fresh._n, fresh._shape, None
