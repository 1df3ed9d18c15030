"""Memory of tensors in files that processes share: pages of a file without a name, which lives as long as one has it open."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref

import numpy as np

from ..kernel.tape import refuse
from .storage import address, storage_address

FOLDER = "/dev/shm"  # pages there are never written to a disk


class SharedMemory(mmap.mmap):
    """A file's pages; ``fd`` is what another process is given, ``passed_on`` whether a third one may have the pages."""

    def __new__(cls, fd, size):
        try:
            self = super().__new__(cls, fd, size)
        except BaseException:
            os.close(fd)
            raise
        self.fd, self.passed_on = fd, False
        MAPPED[id(self)] = weakref.ref(self)
        return self

    def __del__(self):
        MAPPED.pop(id(self), None)
        os.close(self.fd)


MAPPED: dict = {}  # weak references to all


def _forked():
    for memory in [found() for found in list(MAPPED.values())]:
        if memory is not None:
            memory.passed_on = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forked)


def owner(buf):
    """The shared memory that an array lies in, or None."""
    while isinstance(buf, (np.ndarray, memoryview)):
        buf = buf.base if isinstance(buf, np.ndarray) else buf.obj
    return buf if isinstance(buf, SharedMemory) else None


def is_shared(t):
    """Whether processes share the memory of a tensor; that of a device they may."""
    return not t._kind.cpu or owner(t._buf) is not None


def new_file(size):
    """A file of so many bytes, by its descriptor; an OSError where there is no room for it."""
    fd, reserve = _without_a_name()
    try:
        if reserve:  # else the first write to a page that the folder has no room for would kill the process
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _without_a_name():
    """(descriptor of a new file, whether its folder may be full)."""
    try:
        return os.memfd_create("numbagrad"), False
    except (AttributeError, OSError):
        fd, path = tempfile.mkstemp(prefix="numbagrad_", dir=FOLDER if os.access(FOLDER, os.W_OK) else None)
        os.unlink(path)
        return fd, hasattr(os, "posix_fallocate")


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
