"""``torch._utils``: what pickles of PyTorch's tensors name, and small helpers that packages take from there."""

from __future__ import annotations

import importlib
import sys
import traceback

from .base.device import device as device_of
from .core.creation import empty
from .extend import REGISTRY
from .saving import rebuild

_rebuild_meta_tensor_no_storage = rebuild.rebuild_meta
_rebuild_parameter, _rebuild_parameter_with_state = rebuild.rebuild_parameter, rebuild.rebuild_parameter_with_state


def _rebuild_tensor(storage, storage_offset, size, stride):
    """A tensor on the memory of a typed storage."""
    return empty(0, dtype=storage.dtype, device=storage.device).set_(storage, storage_offset, tuple(size), tuple(stride))


def _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata=None):
    """The same with what the tensor is besides."""
    t = _rebuild_tensor(storage, storage_offset, size, stride)
    metadata = metadata or {}
    if metadata.get("conj"):
        t = t.conj().clone()
    if metadata.get("neg"):
        t = -t
    t.requires_grad = requires_grad
    t._backward_hooks = backward_hooks
    return t


def _flatten_dense_tensors(tensors):
    """All elements of tensors in one dimension."""
    return REGISTRY["cat"].callable([t.contiguous().view(-1) for t in tensors])


def _unflatten_dense_tensors(flat, tensors):
    """Parts of ``flat`` with the shapes of ``tensors``."""
    found, start = [], 0
    for t in tensors:
        found.append(flat.narrow(0, start, t.numel()).view(t.shape))
        start += t.numel()
    return tuple(found)


def _take_tensors(tensors, size_limit):
    """Lists of tensors of one type, each of at most so many bytes unless it is of one tensor."""
    waiting: dict = {}
    for t in tensors:
        size = t.numel() * t.element_size()
        part, total = waiting.get(t.type(), ([], 0))
        if total and total + size > size_limit:
            yield part
            part, total = [], 0
        part.append(t)
        waiting[t.type()] = part, total + size
    for part, _ in waiting.values():
        yield part


def _reorder_tensors_as(tensors, ordered_tensors):
    """``tensors``, which are ordered within their types, in the order of ``ordered_tensors``."""
    by_type: dict = {}
    for t in tensors:
        by_type.setdefault(t.type(), []).append(t)
    parts = {name: iter(found) for name, found in by_type.items()}
    return tuple(next(parts[t.type()]) for t in ordered_tensors)


def _get_device_index(device, optional=False, allow_cpu=False):
    """The number of a device; of the current one if none is said and ``optional``."""
    index = device if isinstance(device, int) else None
    if isinstance(device, str):
        device = device_of(device)
    if isinstance(device, device_of):
        if device.type == "cpu" and not allow_cpu:
            raise ValueError(f"Expected a non cpu device, but got: {device}")
        index = -1 if device.type == "cpu" else device.index
    if index is None and not optional:
        raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
    if index is None:
        from . import cuda
        return cuda.current_device() if cuda.is_available() else None
    return index


def _element_size(dtype):
    """The bytes of an element."""
    return dtype.itemsize


def _import_dotted_name(name):
    """An object by its module's name and its own."""
    module, *rest = name.split(".")
    found = importlib.import_module(module)
    for part in rest:
        found = getattr(found, part)
    return found


class KeyErrorMessage(str):
    """A text that is its own repr, as KeyError shows that of its argument."""

    __slots__ = ()

    def __repr__(self):
        return self


class ExceptionWrapper:
    """An exception of another thread or process as text, to be raised again."""

    def __init__(self, exc_info=None, where="in background"):
        exc_info = exc_info or sys.exc_info()
        self.exc_type, self.where = exc_info[0], where
        self.exc_msg = "".join(traceback.format_exception(*exc_info))

    def reraise(self):
        """Raise an exception of the same class, or a RuntimeError if that takes more than a text."""
        text = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            text = KeyErrorMessage(text)
        elif getattr(self.exc_type, "message", None):
            raise self.exc_type(message=text)
        try:
            error = self.exc_type(text)
        except Exception:
            raise RuntimeError(text) from None
        raise error


class _ClassProperty:
    def __init__(self, method):
        self.method = method

    def __get__(self, instance, owner=None):
        return self.method.__get__(instance, type(instance) if owner is None else owner)()


def classproperty(func):
    """A property of a class."""
    return _ClassProperty(func if isinstance(func, (classmethod, staticmethod)) else classmethod(func))
