"""The format of PyTorch before 1.6: five pickles in a row (magic number, version, machine, object, keys), then the storages."""

from __future__ import annotations

import io
import pickle
import pickletools
import sys

import numpy as np

from ..base.dtypes import dtype
from .limits import shown
from .rebuild import Storage, normal_bools
from .unpickling import Restricted

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": VERSION, "little_endian": sys.byteorder == "little",
           "type_sizes": {"short": 2, "int": 4, "long": 4}}
# Near the start of a file, the magic number as a pickle has it.
MARK = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def write(file, program, storages, protocol):
    """Write a pickled object and (key, elements, bytes) of its storages."""
    for value in (MAGIC, VERSION, MACHINE):
        file.write(pickle.dumps(value, protocol))
    file.write(program)
    storages = sorted(storages, key=lambda s: s[0])
    file.write(pickle.dumps([key for key, _, _ in storages], protocol))
    for _, count, data in storages:
        file.write(count.to_bytes(8, "little"))
        file.write(data)


class File:
    """A file's bytes, cut where its pickles end; nothing of it is executed yet."""

    def __init__(self, data):
        self.data, self.storages, self.parts, self.room = data, {}, {}, len(data)
        file = io.BytesIO(data)
        self.programs = [_cut(file, data) for _ in range(5)]
        self.end = file.tell()
        magic, version = self.value(0), self.value(1)
        if magic != MAGIC:
            raise RuntimeError("Invalid magic number; corrupt file?")
        if version != VERSION:
            raise RuntimeError(f"Invalid protocol version: {shown(version)}")

    def value(self, i):
        """The plain value of one of the pickles."""
        return Restricted(io.BytesIO(self.programs[i]), _no_storage).load()

    def loader(self, restore):
        """The unpickler's function from an id to a storage, which has memory now and its values after ``fill``."""
        def persistent_load(saved_id):
            if type(saved_id) is not tuple or not saved_id:
                raise pickle.UnpicklingError(f"unknown kind of data {shown(saved_id)}")
            kind = _text(saved_id[0])
            if kind == "module" and len(saved_id) == 4:  # a class, with the source it had
                return saved_id[1]
            if kind != "storage" or len(saved_id) != 6:
                raise pickle.UnpicklingError(f"unknown kind of data {shown(kind)}")
            return self._storage(*saved_id[1:], restore)
        return persistent_load

    def _storage(self, element, key, location, count, view, restore):
        key, location = _text(key), _text(location)
        if type(element) is not dtype or type(key) is not str or type(location) is not str or type(count) is not int:
            raise pickle.UnpicklingError(f"a storage has type {shown(element)}, key {shown(key)}, location {shown(location)}, "
                                         f"{shown(count)} elements")
        if key not in self.storages:
            self.room -= max(count, 0) * element.itemsize
            if count < 0 or self.room < 0:
                raise pickle.UnpicklingError(f"a storage has {shown(count)} elements, more than the file")
            self.storages[key] = restore(Storage(np.zeros(count, element.np), element.name), location)
        return self.storages[key] if view is None else self._part(key, view)

    def _part(self, root, view):
        """A storage that is a part of another."""
        if type(view) is not tuple or len(view) != 3 or not all(type(n) is int for n in view[1:]):
            raise pickle.UnpicklingError(f"a part of a storage is given by {shown(view)}")
        key, offset, count = view
        whole = self.storages[root]
        if offset < 0 or count < 0 or offset + count > len(whole):
            raise pickle.UnpicklingError(f"a part of {len(whole)} elements has {shown(count)} from {shown(offset)}")
        key = root, _text(key), offset, count
        if key not in self.parts:
            self.parts[key] = Storage(whole.buf[offset:offset + count], whole.dtype_name, whole.device)
        return self.parts[key]

    def fill(self):
        """Read the values of all storages."""
        keys, at, missing = self.value(4), self.end, dict(self.storages)
        if type(keys) is not list:
            raise pickle.UnpicklingError(f"the keys of storages are {shown(keys)}")
        for key in keys:
            storage = missing.pop(_text(key), None) if isinstance(key, (str, bytes)) else None
            if storage is None:
                raise pickle.UnpicklingError(f"storage key {shown(key)} not found in deserialized_objects")
            count, size = int.from_bytes(self.data[at:at + 8], "little"), storage.buf.nbytes
            at += 8
            if count != len(storage) or at + size > len(self.data):
                raise pickle.UnpicklingError(f"storage {shown(key)} of {len(storage)} elements is cut off")
            storage.buf.view(np.uint8)[:] = np.frombuffer(self.data, np.uint8, size, at)
            if storage.dtype_name == "bool":
                normal_bools(storage.buf)
            at += size
        if missing:
            raise pickle.UnpicklingError(f"the file has no data of storage {shown(next(iter(missing)))}")
        for storage in (*self.storages.values(), *self.parts.values()):
            storage.refresh()


def _cut(file, data):
    """The next pickle of a file, found without running it."""
    start = file.tell()
    for _ in pickletools.genops(file):
        pass
    return data[start:file.tell()]


def _no_storage(saved_id):
    raise pickle.UnpicklingError(f"unexpected data {shown(saved_id)}")


def _text(value):
    """Text that Python 2 wrote, where the user's ``encoding`` leaves that as bytes."""
    return value.decode("ascii") if isinstance(value, bytes) else value
