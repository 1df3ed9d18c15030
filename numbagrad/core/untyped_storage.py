"""``Tensor.untyped_storage()``: the bytes behind tensors, to see which of them share memory."""

from __future__ import annotations

from ..kernel.tape import refuse
from .storage import storage_address
from .tensor import Tensor


class UntypedStorage:
    """The memory of a tensor: where it begins, how many bytes it has."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor):
        self._tensor = tensor

    def data_ptr(self):
        """Address of the first byte."""
        refuse("reads the address of memory, which is another in each call")
        return storage_address(self._tensor)

    def nbytes(self):
        """Number of bytes."""
        buf = self._tensor._buf
        return buf.size * buf.itemsize

    size = __len__ = nbytes

    @property
    def device(self):
        return self._tensor.device

    def __eq__(self, other):
        return isinstance(other, UntypedStorage) and self._tensor._buf is other._tensor._buf

    __hash__ = None


def untyped_storage(self):
    """The memory that this tensor and its views share."""
    return UntypedStorage(self)


def install():
    Tensor.untyped_storage = untyped_storage
