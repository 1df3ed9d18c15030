"""The memory behind tensors as methods have it: ``untyped_storage``, ``storage``, ``resize_``, ``set_``, ``share_memory_``.

What they give is in ``storages`` and ``shared``, which are run when it is first asked for.
"""

from __future__ import annotations

import math

from ..base import dtypes as dt
from ..base import modes
from ..base.shapes import contiguous_strides, is_contiguous
from ..kernel.tape import refuse
from . import graph
from .storage import storage_address
from .tensor import Tensor, make


def untyped_storage(self):
    """The memory that this tensor and its views share, as bytes."""
    from .storages import UntypedStorage
    return UntypedStorage(_tensor=self)


def storage(self):
    """The memory that this tensor and its views share, as elements of its dtype."""
    from .storages import of_tensor
    return of_tensor(self)


def storage_type(self):
    """The class of what ``storage`` gives."""
    from . import storages
    name = dt.CLASS_NAMES.get(self.dtype.name)
    return name and getattr(storages, name + "Storage")


def share_memory_(self):
    """Move this tensor to memory that processes share; its views keep what they have."""
    from .shared import share
    return share(self)


def is_shared(self):
    """Whether the memory is that of a file which processes share."""
    from .shared import is_shared
    return is_shared(self)


def is_pinned(self, device=None):
    """False: transfers pin pages themselves where that pays."""
    return False


def _moved(t, shape, strides, need):
    """Give ``t`` another shape on its storage, which grows where ``need`` bytes do not fit."""
    from .storages import regrow
    graph.exchanged(t)
    buf = t._buf
    if need > buf.size * buf.itemsize:
        regrow(t, need)
    t._n, t._shape, t._strides = math.prod(shape), shape, None if is_contiguous(shape, strides) else strides
    return t


def resize_(self, *sizes, memory_format=None):
    """Another shape in row-major order on the same storage; one that is too small grows, and what is new is undefined."""
    refuse("changes the shape of a tensor in place")
    shape = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if self._rg:
        raise RuntimeError("cannot resize variables that require grad")
    if any([s < 0 for s in shape]):
        raise RuntimeError("numel: integer multiplication overflow")
    strides = self.stride() if shape == self._shape else contiguous_strides(shape)
    if shape == self._shape and strides == self.stride():
        return self
    used = sum([(n - 1) * s for n, s in zip(shape, strides)]) + 1 if 0 not in shape else 0
    return _moved(self, shape, strides, (self.storage_offset() + used) * self._kind.itemsize if used else 0)


def resize_as_(self, the_template, *, memory_format=None):
    """``resize_`` to another tensor's shape."""
    return resize_(self, *the_template._shape, memory_format=memory_format)


def set_(self, source=None, storage_offset=0, size=None, stride=None):
    """Become a tensor on the memory of another tensor or of a storage, outside the graph."""
    from .storages import TypedStorage, UntypedStorage
    refuse("puts a tensor on other memory")
    if self._rg and modes.is_grad_enabled():
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation." if self._node is None
                           else "the derivative for 'set_' is not implemented.")
    name = dt.c_name(self._kind.dtype)
    if source is None:
        source = make((0,), self._kind)
    if isinstance(source, TypedStorage):
        if source.dtype is not self._kind.dtype:
            raise RuntimeError(f"Expected a Storage of type {name} or an UntypedStorage, but got type "
                               f"{dt.scalar_name(source.dtype)} for argument 1 'storage'")
        source = source._untyped_storage
    if isinstance(source, Tensor):
        if source._rg and modes.is_grad_enabled():
            raise RuntimeError("set_(): a source that requires grad is not recorded here: use source.detach()")
        if source._kind.dtype is not self._kind.dtype:
            raise RuntimeError(f"Could not set tensor of type {dt.c_name(source._kind.dtype)} to a tensor of type {name}")
        if size is None:
            size, stride, storage_offset = source._shape, source.stride(), source.storage_offset()
        source = untyped_storage(source)
    elif not isinstance(source, UntypedStorage):
        raise TypeError(f"set_(): argument 'source' (position 1) must be Tensor or a Storage, not {type(source).__name__}")
    return _set(self, source._tensor, storage_offset, size, stride)


def _set(self, memory, offset, size, stride):
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    if memory._kind.device is not self._kind.device:
        raise RuntimeError(f"Attempted to set the storage of a tensor on device \"{self.device}\" to a storage on different "
                           f"device \"{memory.device}\".  This is no longer allowed; the devices must match.")
    item = self._kind.itemsize
    shape = (memory._buf.size * memory._buf.itemsize // item,) if size is None else tuple(size)
    strides = tuple(stride) if stride else contiguous_strides(shape)
    used = 0 if 0 in shape else sum([(n - 1) * s for n, s in zip(shape, strides)]) + 1
    if any([s < 0 for s in (*shape, *strides)]) or len(shape) != len(strides):
        raise RuntimeError(f"set_(): sizes {list(shape)} and strides {list(strides)} must be as many, and none below 0")
    if used and (offset + used) * item > memory._buf.size * memory._buf.itemsize:
        from .storages import regrow
        regrow(memory, (offset + used) * item)
    graph.exchanged(self)
    self._buf, self._ptr, self._view = memory._buf, storage_address(memory) + offset * item, None
    self._n, self._shape, self._strides = math.prod(shape), shape, None if is_contiguous(shape, strides) else strides
    return self


def install():
    for fn in (untyped_storage, storage, storage_type, share_memory_, is_shared, is_pinned, resize_, resize_as_, set_):
        setattr(Tensor, fn.__name__, fn)
    Tensor._typed_storage = storage  # which PyTorch has without the warning of the other
