"""Memory: one interned record per (dtype, device) that knows how to allocate and copy."""

from __future__ import annotations

import numpy as np

from ..base import dtypes as dt
from ..base.device import CPU, missing
from ..kernel import native
from ..kernel.native import DATA_FIELD
from ..kernel.tape import TABLES, TAPE, active

_empty = np.empty


class Kind:
    """An interned (dtype, device) pair; two tensors may meet in a kernel when their kinds are the same object."""

    __slots__ = ("dtype", "device", "np", "itemsize", "cpu", "meta", "direct")

    def __init__(self, dtype, device):
        self.dtype, self.device = dtype, device
        self.np, self.itemsize, self.cpu = dtype.np, dtype.itemsize, device.type == "cpu"
        self.meta = device.type == "meta"  # nothing is computed
        self.direct = self.cpu and dtype.code not in ("f2", "bf")  # NumPy may write numbers into its arrays

    def __repr__(self):
        return f"Kind({self.dtype.name}, {self.device})"

    def __reduce__(self):
        return (kind_of, (self.dtype, self.device))

    def alloc(self, n):
        """Uninitialised memory for ``n`` elements: (owner, address)."""
        if TAPE:
            recorder = active()
            if recorder is not None:
                return recorder.alloc(self, n)
        if self.cpu:
            buf = _empty(n, self.np)
            return buf, address(buf)
        return backend(self.device).alloc(self, n)

    def zeros(self, n):
        if self.cpu and not TAPE:
            buf = np.zeros(n, self.np)
            return buf, address(buf)
        if self.cpu:
            buf, ptr = self.alloc(n)
            fill(buf, ptr, self, n, 0)
            return buf, ptr
        return backend(self.device).zeros(self, n)

    def host(self, array):
        """What a kernel of this kind is given for an array on the host, which it may write: the caller keeps the array."""
        if self.cpu:
            return address(array)
        return backend(self.device).Mirror(array)


def backend(device):
    """What allocates, copies and launches on a device that is not the CPU."""
    if device.type == "meta":
        from ..kernel import meta
        return meta
    if device.type != "cuda":
        raise missing(device)
    from ..kernel import cuda
    return cuda


_kinds: dict = {}


def kind_of(dtype, dev=CPU):
    if dev is CPU:
        try:
            return CPU_KINDS[dtype]
        except KeyError:
            begin()
            return CPU_KINDS.get(dtype) or none_of(dtype)
    key = (dtype, dev)
    kind = _kinds.get(key)
    if kind is None:
        if dtype in dt._RARE:
            return none_of(dtype)
        if dtype.barebones:
            begin()
        if dev.type != "cpu":
            dev = backend(dev).resolve(dev)
        elif dev.index not in (None, 0):
            raise RuntimeError(f"Invalid device: {dev}")
        else:
            dev = CPU
        kind = _kinds.get((dtype, dev))
        if kind is None:
            kind = _kinds[(dtype, dev)] = Kind(dtype, dev)
        _kinds[key] = kind
    return kind


def none_of(dtype):
    """The error of a tensor of a dtype that is a name only (``base.rare_dtypes``)."""
    if dtype.__class__ is not dt.dtype:
        raise KeyError(dtype)
    instead = {3: "; use torch.complex64", 2: "; use torch.float16"}.get(dtype.category, "; use torch.int8 or uint8")
    raise NotImplementedError(f"there are no tensors of dtype {dtype} here{instead}")


CPU_KINDS: dict = {}  # a lookup that hashes no device
ARRAYS: dict = {}  # NumPy's types -> kinds of tensors on such memory
BEGIN: list = []  # called when the first barebones kind is asked for


def _know(dtypes):
    for d in dtypes:
        CPU_KINDS[d] = _kinds.setdefault((d, CPU), Kind(d, CPU))
        if dt.BY_NUMPY.get(d.np) is d:
            ARRAYS[d.np] = CPU_KINDS[d]


def begin():
    """Have kinds of the barebones dtypes: only now, as ops that refuse them have to look for them from now on."""
    while BEGIN:
        BEGIN.pop()()
    _know(d for d in dt.ALL if d.barebones)


_know(d for d in dt.ALL if not d.barebones)


_peek = None  # the native reader, where arrays are laid out as it expects


def address(buf):
    """``native.address``, of which a capture makes a note."""
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.address(buf)
    return buf.ctypes.data if _peek is None else _peek(id(buf) + DATA_FIELD)


def storage_address(t):
    """Address of the first byte of a tensor's storage, on its device."""
    return address(t._buf) if t._kind.cpu else t._buf.ptr


def table(array):
    """The address of an array whose values never change from now on."""
    where = array.ctypes.data
    TABLES[where] = array
    return where


def fill(buf, ptr, kind, n, value):
    """Set all of a CPU tensor's elements, in their storage type."""
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.fill(buf, ptr, kind, n, value)
    fill_array(buf, value)
    return None


def fill_array(array, value):
    """``array.fill(value)``; zeros by bytes, which NumPy hands to memset: it need not read what it overwrites."""
    if value == 0 and value.__class__ is int and array.nbytes > 1 << 14 and array.flags.c_contiguous:
        array = array.view(np.uint8)
    array.fill(value)


def keep_freed_memory():
    """Let glibc keep freed blocks of up to 32 MiB for the next tensor instead of handing them back to the system.

    A training step frees and allocates the same sizes over and over; every block that went back costs a page fault per
    4 KiB when it is touched again (a thousand for a million floats: more time than most kernels take). The setting is
    process-wide; ``NUMBAGRAD_KEEP_FREED_MEMORY=0`` leaves malloc alone, as do the user's own ``MALLOC_*_`` variables."""
    import os
    import sys
    if not sys.platform.startswith("linux") or os.environ.get("NUMBAGRAD_KEEP_FREED_MEMORY") == "0" or any(
            name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")):
        return
    import ctypes
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_trim_threshold, 512 << 20)
    mallopt(m_mmap_threshold, 32 << 20)


def use_reader(peek):
    """Let fast paths read addresses themselves, if this interpreter lays arrays out as expected."""
    global _peek
    _peek = native._peek


native.STARTS += (use_reader, lambda peek: keep_freed_memory())


F4 = kind_of(dt.float32)
