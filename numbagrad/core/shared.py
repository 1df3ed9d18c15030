"""Memory of tensors in files that processes share: pages of a file without a name, which lives as long as one has it open."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

from ..kernel.tape import refuse
from .storage import address, storage_address

FOLDER = "/dev/shm"  # pages there are never written to a disk


class SharedMemory(mmap.mmap):
    """A file's pages; ``fd`` is what another process is given."""

    def __new__(cls, fd, size):
        self = super().__new__(cls, fd, size)
        self.fd = fd
        return self

    def __del__(self):
        os.close(self.fd)


def owner(buf):
    """The shared memory that an array lies in, or None."""
    while isinstance(buf, (np.ndarray, memoryview)):
        buf = buf.base if isinstance(buf, np.ndarray) else buf.obj
    return buf if isinstance(buf, SharedMemory) else None


def is_shared(t):
    """Whether processes share the memory of a tensor; that of a device they may."""
    return not t._kind.cpu or owner(t._buf) is not None


def new_file(size):
    """A file of so many bytes, by its descriptor."""
    fd, path = tempfile.mkstemp(prefix="numbagrad_", dir=FOLDER if os.access(FOLDER, os.W_OK) else None)
    os.unlink(path)
    os.ftruncate(fd, size)
    return fd


def mapped(fd, dtype, count):
    """The file's pages as an array."""
    memory = SharedMemory(fd, max(1, count * dtype.itemsize))
    return np.frombuffer(memory, np.uint8)[:count * dtype.itemsize].view(dtype)


def share(t):
    """Move a tensor to memory that processes share, where it is not there; returns it."""
    if not is_shared(t):
        refuse("moves a tensor to shared memory")
        old, offset = t._buf, t._ptr - storage_address(t)
        buf = mapped(new_file(max(1, old.nbytes)), old.dtype, old.size)
        buf[:] = old
        t._buf, t._ptr = buf, address(buf) + offset
    return t
