"""The target behind ``NUMBA_ENABLE_CUDASIM=1``: CUDA threads are operating-system threads that run a kernel's text.

Device addresses are made up: no CPU kernel can follow one unnoticed (it stops with a segmentation fault), and memory
starts as 0xFF bytes (NaN in every floating type), so that reading what nothing wrote shows.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import threading
from weakref import WeakValueDictionary

import numpy as np

from .. import jit
from . import shim
from .address import DeviceMemory

# Outside of what a processor can address, and far from a null pointer plus offset.
FIRST_ADDRESS = 0x7A00_0000_0000_0000
APART = 40  # bits between the beginnings of two allocations


def share_arrays():
    """Give every thread of a block the same shared array: Numba's simulator looks an array up and makes it in two steps,
    so that two threads that come at once may each get one of their own."""
    from numba.np.numpy_support import as_dtype
    lock = threading.Lock()

    def array(self, shape, dtype):
        caller = sys._getframe(1)
        place = caller.f_code.co_filename, caller.f_lineno
        with lock:
            found = self._allocations.get(place)
            if found is None:
                found = self._allocations[place] = np.empty(shape, dtype if isinstance(dtype, np.dtype) else as_dtype(dtype))
            return found
    importlib.import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared.array = array


class Warp:
    """Where the 32 threads of a warp meet and leave values for each other."""

    SIZE = 32

    def __init__(self):
        self.values, self.barrier = [None] * self.SIZE, threading.Barrier(self.SIZE)

    def exchange(self, lane, value, source):
        """Leave ``value``; returns that of lane ``source``, or the own one where there is no such lane."""
        self.values[lane] = value
        self._meet()
        found = self.values[source] if 0 <= source < self.SIZE else value
        self._meet()
        return found

    def _meet(self):
        try:
            self.barrier.wait(10)
        except threading.BrokenBarrierError:
            raise RuntimeError("a warp shuffle that not all of the warp's threads reached") from None


def add_shuffles():
    """Numba's simulator has no warp shuffles."""
    lock = threading.Lock()

    def shfl_down_sync(self, mask, value, delta):
        if mask != 0xFFFFFFFF:
            raise NotImplementedError("a shuffle of a part of a warp")
        thread = threading.current_thread()
        warp, lane = divmod(thread.thread_id, Warp.SIZE)
        with lock:
            warps = vars(thread._manager).setdefault("_warps", {})
            place = warps.setdefault(warp, Warp())
        return place.exchange(lane, value, lane + delta)
    importlib.import_module("numba.cuda.simulator.kernelapi").FakeCUDAModule.shfl_down_sync = shfl_down_sync


class Inside:
    """``numba.cuda`` for functions that simulated kernels call: Numba puts it into the kernel alone."""

    def __getattr__(self, name):
        return getattr(importlib.import_module("numba.cuda.simulator.kernel")._get_kernel_context(), name)


_inside = Inside()


def inside():
    return _inside


class Memory(DeviceMemory):
    """One simulated allocation."""

    __slots__ = ("bytes", "__weakref__")

    def __init__(self, ptr, nbytes, free, index):
        super().__init__(ptr, nbytes, free, index)
        self.bytes = np.full(nbytes, 0xFF, np.uint8)

    def at(self, ptr, nbytes=None):
        """The bytes from an address on."""
        start = ptr - self.ptr
        if start < 0 or start + (nbytes or 0) > self.nbytes:
            raise RuntimeError(f"simulated address {ptr:#x} lies outside of its allocation")
        return self.bytes[start:None if nbytes is None else start + nbytes]


class Host:
    """What NumPy does in place of threads: products above a size, which would take minutes. The kernel is for the others."""

    LEAST = 1 << 13  # multiplications

    @staticmethod
    def product(gpu, code, places, m, n, k, leading, turned, alpha, beta, batch, steps):
        def matrix(place, rows, columns, lead, turn, start):
            p = gpu.pointer(place, code)[start:]
            shape = (columns, rows) if turn else (rows, columns)
            found = np.lib.stride_tricks.as_strided(p, shape, (lead * p.itemsize, p.itemsize))
            return found.conj().T if turn == 2 else found.T if turn else found
        for i in range(batch):
            a = matrix(places[0], m, k, leading[0], turned[0], i * steps[0])
            b = matrix(places[1], k, n, leading[1], turned[1], i * steps[1])
            c = matrix(places[2], m, n, leading[2], 0, i * steps[2])
            c[...] = alpha * (a @ b) + (beta * c if beta else 0)


class Simulator:
    """Small grids: enough blocks and threads for every index path, few enough to be quick."""

    name = "Numba CUDA simulator"
    count = 1
    units = 1          # multiprocessors
    block = 4          # threads of a pointwise block
    blocks = 2         # most blocks of a grid
    fold_block = 4     # threads of a reduction block
    piece = 6          # elements from which a reduction is split
    shuffles = False
    instead = Host
    grid = 2           # most blocks of a grid whose blocks have work of their own

    def tiles(self, code):
        """Shape of what a block makes of a product: (rows, columns, depth of a piece, rows and columns of a thread)."""
        return 4, 4, 3, 2, 2

    def __init__(self):
        share_arrays()
        add_shuffles()
        self._addresses = itertools.count(FIRST_ADDRESS, 1 << APART)
        self._array = importlib.import_module("numba.cuda.simulator.cudadrv.devicearray").FakeCUDAArray
        self._memories = WeakValueDictionary()  # address >> APART -> the allocation

    def allocate(self, nbytes, index, free):
        # Allocations lie far apart, so an address outside of one is never inside another.
        found = Memory(next(self._addresses), nbytes, free, index)
        self._memories[found.ptr >> APART] = found
        return found

    def fill_zero(self, memory, index):
        memory.bytes[:] = 0

    def to_device(self, memory, ptr, array, index):
        memory.at(ptr, array.nbytes)[:] = array.reshape(-1).view(np.uint8)

    def to_host(self, array, memory, ptr, index):
        array.reshape(-1).view(np.uint8)[:] = memory.at(ptr, array.nbytes)

    def device_copy(self, dst, dst_ptr, dst_index, src, src_ptr, src_index, nbytes):
        dst.at(dst_ptr, nbytes)[:] = src.at(src_ptr, nbytes)

    def pointer(self, ptr, code):
        """What a kernel receives for an address: an array that begins there (an empty one for the null pointer)."""
        dtype = np.dtype(jit.POINTEE[code])
        if not ptr:
            return np.empty(0, dtype)
        memory = self._memories.get(ptr >> APART)
        if memory is None:
            raise RuntimeError(f"simulated address {ptr:#x} lies outside of what is allocated")
        data = memory.at(ptr)
        return data[:data.size - data.size % dtype.itemsize].view(dtype)

    def launch(self, source, args, grid, block, index):
        """Run a kernel; NumPy's warnings about overflow and NaN are not part of a kernel's meaning."""
        kernel = source.loaded.get("simulator")
        if kernel is None:
            body = source.function()
            names = ", ".join(n for n, _ in source.params)
            env = body.__globals__
            env["quiet"] = np.errstate
            text = f"def launched({names}):\n    with quiet(all='ignore'):\n        {source.name}({names})\n"
            kernel = jit.define(text, "launched", env)
            kernel = source.loaded["simulator"] = shim.numba_cuda().jit(kernel)
        # The simulator polls its threads; at the usual interval each turn of the poller would cost 5 ms.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, 1e-4))
        try:
            # Arrays of the simulated device are not copied, so that two pointers to one place stay one place.
            kernel[grid, block](*[self._array(a) if kind[0] == "*" else np.dtype(jit.POINTEE[kind]).type(a)
                                  for a, (_, kind) in zip(args, source.params)])
        finally:
            sys.setswitchinterval(interval)

    def synchronize(self, index):
        """Launches are over when they return."""

    def set_device(self, index):
        """There is one device."""

    def trim(self, index):
        """Nothing is pooled."""

    def device_name(self, index):
        return self.name

    def capability(self, index):
        return (0, 0)

    def extent(self, index):
        """Bytes of memory and multiprocessors: it is this machine."""
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 1
