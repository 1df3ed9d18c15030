"""``torch.PyTorchFileReader``: the records of a file, for packages that read checkpoints piece by piece."""

from __future__ import annotations

import weakref

from ..base import dtypes as dt
from ..core.storage import address, kind_of
from ..core.storages import UntypedStorage
from ..core.tensor import raw
from .archive import Archive


class PyTorchFileReader:
    """Records of a checkpoint by name, from a path or a file that can be sought in."""

    def __init__(self, file):
        if not hasattr(file, "read"):
            file = open(file, "rb")  # noqa: SIM115 (it is read from later)
            weakref.finalize(self, file.close)
        self._archive = Archive(file, getattr(file, "name", "PyTorchFileReader"))

    def has_record(self, name):
        """Whether there is a record."""
        return self._archive.has(name)

    def get_record(self, name):
        """A record's bytes."""
        return self._archive.read(name)

    def get_record_size(self, name):
        """How many bytes a record has."""
        return self._archive.size(name)

    def get_all_records(self):
        """The records' names."""
        return self._archive.names()

    def get_storage_from_record(self, name, numel, dtype):
        """An empty tensor whose storage is a record of ``numel`` elements (of bytes, for ``UntypedStorage``)."""
        dtype = dt.uint8 if dtype is UntypedStorage else dtype
        size, wanted = self._archive.size(name), numel * dtype.itemsize
        if size != wanted:
            raise RuntimeError(f"record size ({size} bytes) does not match expected size ({wanted} bytes = {numel} elements * "
                               f"{dtype.itemsize} bytes/element) for dtype {dt.scalar_name(dtype)}")
        bytes_ = self._archive.array(name, wanted).view(dtype.np)
        return raw(bytes_, address(bytes_), 0, (0,), None, kind_of(dtype), [0])
