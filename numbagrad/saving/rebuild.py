"""What PyTorch's pickles call: tensors, parameters and plain values rebuilt of what a checkpoint holds, and nothing else."""

from __future__ import annotations

import math
import operator
import pickle

import numpy as np

from ..base.device import META
from ..base.dtypes import BY_NAME
from ..base.modes import no_grad
from ..core.storage import kind_of
from ..core.storages import TypedStorage
from ..core.tensor import Size, Tensor, from_storage, make
from ..core.values import INTERNAL
from .limits import shown

_MAX_RANK = 64


class Storage:
    """The memory of one storage in a checkpoint; `map_location` functions receive and return it."""

    def __init__(self, buf, dtype_name, device="cpu"):
        self.buf, self.dtype_name, self.device = buf, dtype_name, device
        self._base, self._derived = None, {}

    def __len__(self):
        return len(self.buf)

    def to(self, device):
        """The same storage on the given device."""
        return self if str(device) == str(self.device) else Storage(self.buf, self.dtype_name, device)

    def cpu(self):
        """The same storage in CPU memory."""
        return self.to("cpu")

    def cuda(self, device=0):
        """The same storage on a GPU."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device)

    def tensor(self, offset, size, stride):
        """A tensor on this storage; raises RuntimeError when it would reach outside."""
        offset, size, stride, span = _geometry(offset, size, stride, self.buf.itemsize)
        if span > len(self.buf):
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
                f"{self.buf.itemsize} requiring a storage size of {span * self.buf.itemsize} are out of bounds for "
                f"storage of size {self.buf.nbytes}"
            )
        if str(self.device) == "cpu":
            return from_storage(self.buf, self.dtype_name, offset, size, stride)
        if self._base is None:
            # The whole storage moves once, so that tensors which shared memory still do.
            self._base = from_storage(self.buf, self.dtype_name, 0, (len(self.buf),), (1,)).to(self.device)
        with no_grad():
            return self._base.as_strided(size, stride, offset).detach()

    def typed(self):
        """The storage that users know."""
        bytes_ = self.tensor(0, (len(self.buf),), (1,)).untyped_storage()
        return TypedStorage(wrap_storage=bytes_, dtype=BY_NAME[self.dtype_name], _internal=True)

    def derived(self, key, make):
        """A storage made from this one, once: any number of tensors can ask for it."""
        if key not in self._derived:
            buf, name = make()
            self._derived[key] = Storage(buf, name, self.device), make
        return self._derived[key][0]

    def refresh(self):
        """Bring what was made of this memory up to date with its values, which came later."""
        if self._base is not None:
            with no_grad():
                self._base.copy_(from_storage(self.buf, self.dtype_name, 0, (len(self.buf),), (1,)))
        for storage, values in self._derived.values():
            if not np.shares_memory(storage.buf, self.buf):
                storage.buf[:] = values()[0]
            storage.refresh()


def _geometry(offset, size, stride, itemsize):
    """(offset, size, stride, elements up to the last one), as numbers that can be those of a tensor."""
    offset, size, stride = _index(offset), _sizes(size), _sizes(stride)
    if len(size) > _MAX_RANK:
        raise RuntimeError(f"a saved tensor has {len(size)} dimensions, more than {_MAX_RANK}")
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise RuntimeError(f"a saved tensor has sizes {list(size)}, strides {list(stride)}, offset {offset}")
    limit = (1 << 63) // itemsize
    numel = math.prod(size)
    if numel >= limit or max((offset, *size, *stride)) >= limit:
        raise RuntimeError(f"numel: integer multiplication overflow of sizes {list(size)}, strides {list(stride)}, "
                           f"offset {offset}, itemsize {itemsize}")
    return offset, size, stride, 1 + offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if numel else 0


def _sizes(values):
    if not isinstance(values, (tuple, list)):
        raise RuntimeError(f"a saved tensor has sizes or strides of type {type(values).__name__}")
    return tuple(map(_index, values))


def _index(value):
    if not isinstance(value, int) or value.bit_length() > 64:
        raise RuntimeError(f"a saved tensor has {shown(value)} among its sizes, strides and offset"
                           + " (Overflow when unpacking long)" * isinstance(value, int))
    return operator.index(value)


def rebuild_tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    if type(storage) is not Storage:
        raise pickle.UnpicklingError(f"a tensor cannot lie in {shown(storage)}")
    # PyTorch conjugates and negates complex views by a flag on the same memory; here the memory gets the values.
    for flag, operation in (("conj", np.conj), ("neg", np.negative)):
        if metadata and metadata.get(flag):
            storage = storage.derived(flag, lambda of=storage, f=operation: (f(of.buf), of.dtype_name))
    result = storage.tensor(offset, size, stride)
    return result.requires_grad_() if requires_grad else result


def rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    if type(storage) is not Storage or type(dtype) is not type(BY_NAME["uint8"]):
        raise pickle.UnpicklingError(f"a tensor of type {shown(dtype)} cannot lie in {shown(storage)}")

    def make():
        buf = storage.buf.view(dtype.np)
        return normal_bools(buf.copy()) if dtype.name == "bool" else buf, dtype.name

    typed = storage.derived(dtype.name, make)
    return rebuild_tensor(typed, offset, size, stride, requires_grad, hooks, metadata)


def rebuild_meta(dtype, size, stride, requires_grad=False):
    if type(dtype) is not type(BY_NAME["uint8"]):
        raise pickle.UnpicklingError(f"a tensor cannot have the type {shown(dtype)}")
    _, size, stride, span = _geometry(0, size, stride, dtype.itemsize)
    with no_grad():
        result = make((span,), kind_of(dtype, META)).as_strided(size, stride).detach()
    return result.requires_grad_() if requires_grad else result


def rebuild_size(values=()):
    return Size(_sizes(values))


def rebuild_parameter(data, requires_grad, hooks):
    from ..nn.parameter import Parameter

    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError(f"a parameter cannot be made of {shown(data)}")
    return Parameter(data, bool(requires_grad))


def rebuild_parameter_with_state(data, requires_grad, hooks, state):
    return set_attributes(rebuild_parameter(data, requires_grad, hooks), state)


def rebuild_from_type(rebuild, cls, args, state):
    from ..nn.parameter import Parameter

    if not any(rebuild is known for known in _REBUILDS):
        raise pickle.UnpicklingError(f"a tensor cannot be rebuilt by {shown(rebuild)}")
    result = rebuild(*args)
    if cls not in (Tensor, Parameter, type(result)):
        result = result.as_subclass(cls)
    return set_attributes(result, state)


_REBUILDS = rebuild_tensor, rebuild_tensor_v3, rebuild_meta, rebuild_parameter, rebuild_parameter_with_state


def set_attributes(obj, state):
    """Set user attributes; a name that the class knows (a method, an internal slot) or keeps to itself is refused."""
    state, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(state or {}), **(slots or {})}.items():
        if not isinstance(name, str) or name in INTERNAL or hasattr(type(obj), name):
            raise pickle.UnpicklingError(f"attribute {shown(name)} of a {type(obj).__name__} cannot be set by a checkpoint")
        setattr(obj, name, value)
    return obj


def encode(text, encoding):
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in an unknown encoding {shown(encoding)}")
    return text.encode("latin1")


def empty_bytes():
    return b""


def rebuild_bytearray(text=b"", encoding=None):
    if encoding is None and not isinstance(text, bytes):
        raise pickle.UnpicklingError("a bytearray is rebuilt from bytes only")
    return bytearray(text if encoding is None else encode(text, encoding))


def normal_bools(buf):
    """Make every byte of a bool array 0 or 1: a kernel may rely on it, and a file can hold anything."""
    raw = buf.view(np.uint8)
    if raw.size and raw.max() > 1:
        np.minimum(raw, 1, out=raw)
    return buf
