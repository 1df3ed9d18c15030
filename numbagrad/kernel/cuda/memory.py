"""Device memory: allocation with statistics, and copies between host and devices."""

from __future__ import annotations

import threading

import numpy as np

from .address import on, plain
from .launch import reading, target

_lock = threading.RLock()  # the garbage collector may free memory while this thread is counting
_used: dict = {}   # device index -> [bytes now, peak]


def _counter(index):
    found = _used.get(index)
    if found is None:
        found = _used.setdefault(index, [0, 0])
    return found


def _release(counter):
    def free(nbytes):
        with _lock:
            counter[0] -= nbytes
    return free


def allocate(nbytes, index):
    """Uninitialised bytes on a device; the object has ``ptr`` and ``nbytes`` and owns the memory."""
    counter = _counter(index)
    memory = target().allocate(nbytes, index, _release(counter))
    with _lock:
        counter[0] += nbytes
        counter[1] = max(counter[1], counter[0])
    return memory


def upload(array, index):
    """A copy of an array of the host on a device."""
    found = allocate(array.nbytes, index)
    target().to_device(found, found.ptr, array, index)
    return found


def alloc(kind, n):
    """Memory for ``n`` elements of a kind: (owner, address)."""
    memory = allocate(n * kind.itemsize, kind.device.index)
    memory.size = n
    return memory, on(kind.device.index)(memory.ptr)


def zeros(kind, n):
    """Zeroed memory for ``n`` elements of a kind: (owner, address)."""
    memory, ptr = alloc(kind, n)
    if n:
        target().fill_zero(memory, kind.device.index)
    return memory, ptr


def allocated(index):
    """Bytes that tensors hold on a device."""
    return _counter(index)[0]


def peak(index):
    """The most bytes that tensors have held on a device since the start or the last reset."""
    return _counter(index)[1]


def reset_peak(index):
    counter = _counter(index)
    counter[1] = counter[0]


def copy_bytes(dst, src):
    """Copy between row-major tensors of one dtype and shape."""
    t = target()
    nbytes = src._n * src._kind.itemsize
    if src._kind.cpu:
        t.to_device(dst._buf, plain(dst._ptr), _flat(src), dst._kind.device.index)
    elif dst._kind.cpu:
        reading(src._kind.device.index)
        t.to_host(_flat(dst), src._buf, plain(src._ptr), src._kind.device.index)
    else:
        t.device_copy(dst._buf, plain(dst._ptr), dst._kind.device.index, src._buf, plain(src._ptr),
                      src._kind.device.index, nbytes)


def _flat(t):
    return np.ravel(t.array())
