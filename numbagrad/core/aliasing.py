"""Tensors on memory that is there already: of any object that has some, or of a file."""

from __future__ import annotations

import numpy as np

from ..base import arguments
from ..base import dtypes as dt
from ..base.device import resolve_device
from ..base.user_code import warn_once
from ..kernel.tape import refuse
from . import dlpack
from .creation import as_tensor, kind_for
from .factories import frombuffer
from .files import mapped
from .from_data import from_data
from .storages import TypedStorage, UntypedStorage, on_storage
from .tensor import Tensor, from_array

PLAIN = frozenset((list, tuple, bool, int, float, complex, str, dict))  # classes without memory that could be shared


def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=None):
    """``obj`` as a tensor: on its memory where dtype and device let it, unless a ``copy`` is asked for."""
    if dtype is not None:
        dtype = arguments.check_dtype(dtype, "asarray", "dtype", 0)
    if copy is not None:
        arguments.check_bool(copy, "asarray", "copy", 0)
    t = _alias(obj, dtype, copy)
    if t is not None:
        t = _as_asked(t, dtype, device, copy)
    elif copy is False:
        raise ValueError("can't alias arbitrary sequence into a tensor.")
    elif isinstance(obj, (UntypedStorage, TypedStorage)):
        t = _of_storage(obj, dtype)
    elif hasattr(obj, "__dlpack__"):
        t = _as_asked(dlpack.from_capsule(obj.__dlpack__()), dtype, device, None)  # (copied where it must be, as in PyTorch)
    else:
        t = from_data(obj, dtype, device, True)
    return _with_grad(t, obj, requires_grad)


def _alias(obj, dtype, copy):
    """A tensor on the memory of an object; None where it has none to share."""
    if isinstance(obj, Tensor):
        return obj
    if isinstance(obj, np.ndarray):
        return as_tensor(obj) if obj.ndim else as_tensor(obj).clone()  # (PyTorch takes it for a number)
    if isinstance(obj, np.generic):
        if copy is False:
            raise RuntimeError("can't alias NumPy scalars. Either remove copy=False or transform it in a ndarray. ")
        return None
    if obj.__class__ in PLAIN or isinstance(obj, (UntypedStorage, TypedStorage)) or hasattr(obj, "__dlpack__"):
        return None
    if type(obj).__name__ == "PyCapsule":
        return dlpack.from_capsule(obj)
    try:
        memoryview(obj).release()
    except TypeError:
        return None
    return frombuffer(obj, dtype=dtype or dt.get_default_dtype())


def _as_asked(t, dtype, device, copy):
    """A tensor in another dtype, on another device, or a copy."""
    target, there = dtype or t.dtype, t.device if device is None else resolve_device(device)
    if copy is False and there != t.device:
        raise ValueError(f"can't alias tensor from device '{t.device}' to '{there}'.")
    if copy is False and target is not t.dtype:
        raise ValueError(f"can't alias tensor with dtype '{dt.scalar_name(t.dtype)}' into dtype '{dt.scalar_name(target)}'.")
    if there != t.device or target is not t.dtype:
        return t.to(device=there, dtype=target)
    return t.clone() if copy else t


def _of_storage(storage, dtype):
    refuse("takes the memory of a storage")
    if isinstance(storage, TypedStorage):
        if dtype not in (None, storage.dtype):
            raise RuntimeError(f"Expected a Storage of type {dt.scalar_name(dtype)} or an UntypedStorage, but got "
                               f"{dt.scalar_name(storage.dtype)}")
        return on_storage(storage._untyped_storage, storage.dtype)
    return on_storage(storage, dt.int64 if dtype is None else dtype)


def _with_grad(t, obj, requires_grad):
    if requires_grad is None:
        if isinstance(obj, Tensor) and obj.requires_grad:
            warn_once("torch.asarray: unspecified requires_grad now defaults to obj.requires_grad instead of False. Pass "
                      "requires_grad=False explicitly to get the old behavior and silence this warning.")
        return t
    if not arguments.check_bool(requires_grad, "asarray", "requires_grad", 0):
        return t.requires_grad_(False) if t.is_leaf else t.detach()
    if t._kind.dtype.category < 2:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    return t.requires_grad_()


def from_file(filename, shared=None, size=0, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """The first elements of a file as a tensor."""
    kind = kind_for(dtype, device)
    t = from_array(mapped(filename, bool(shared), size * kind.itemsize).view(kind.np), kind.dtype)
    t = t if kind.cpu else t.to(device=kind.device)
    return t.requires_grad_() if requires_grad else t
