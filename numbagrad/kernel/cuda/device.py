"""The target for real GPUs: cubins launched through ``cuda.core``, memory from its stream-ordered pools.

A launch through Numba rebuilds the launch configuration and every argument; here a kernel is loaded once per device and
a launch passes integers. ``NUMBAGRAD_CUDA_LAUNCH=numba`` takes Numba's own path instead, to compare the two.
"""

from __future__ import annotations

import ctypes
import os
import threading

from . import shim
from .address import DeviceMemory

ENCODE = {"f4": ctypes.c_float, "f8": ctypes.c_double}


class Memory(DeviceMemory):
    """One allocation of the device's pool; it goes back, in stream order, with the last reference."""

    __slots__ = ("buffer",)

    def __init__(self, buffer, nbytes, free, index):
        super().__init__(int(buffer.handle), nbytes, free, index)
        self.buffer = buffer


class Gpu:
    """All devices of the machine."""

    block = 256        # threads of a pointwise block
    fold_block = 256   # threads of a reduction block
    piece = 8192       # elements from which a reduction is split when there are too few results to fill the device
    shuffles = True
    instead = None
    grid = 1 << 16     # most blocks of a grid whose blocks have work of their own

    def tiles(self, code):
        """Shape of what a block makes of a product: (rows, columns, depth of a piece, rows and columns of a thread)."""
        return {"f4": (64, 64, 16, 4, 4), "f8": (64, 64, 8, 4, 4)}.get(code, (32, 32, 8, 2, 2))

    def __init__(self):
        from cuda import core
        self.core = core
        self.devices = core.Device.get_all_devices()
        self.count = len(self.devices)
        self.numba_launch = os.environ.get("NUMBAGRAD_CUDA_LAUNCH", "") == "numba"
        self._active = threading.local()
        self._configurations = {}
        self._started = {}

    def start(self, index):
        """(device, its stream, its memory resource), made current for this thread."""
        found = self._started.get(index)
        if found is None or getattr(self._active, "index", None) != index:
            device = self.devices[index]
            device.set_current()
            self._active.index = index
            if found is None:
                found = self._started[index] = (device, device.default_stream, device.memory_resource)
        return found

    @property
    def units(self):
        """Multiprocessors of the current device."""
        return self.start(getattr(self._active, "index", 0))[0].properties.multiprocessor_count

    @property
    def blocks(self):
        """Most blocks of a grid: four times what is resident at once, so that the tail is short."""
        return 32 * self.units

    def set_device(self, index):
        self.start(index)

    def device_name(self, index):
        return self.devices[index].name

    def capability(self, index):
        cc = self.devices[index].compute_capability
        return cc.major, cc.minor

    def extent(self, index):
        """Bytes of memory and multiprocessors."""
        from cuda.bindings import driver
        self.start(index)
        (_, _, total), units = driver.cuMemGetInfo(), self.devices[index].properties.multiprocessor_count
        return int(total), units

    def synchronize(self, index):
        self.start(index)[0].sync()

    def allocate(self, nbytes, index, free):
        _, stream, resource = self.start(index)
        return Memory(resource.allocate(max(nbytes, 1), stream=stream), nbytes, free, index)

    def trim(self, index):
        """Give unused memory of the pool back to the driver."""
        from cuda.bindings import driver
        _, stream, resource = self.start(index)
        stream.sync()
        if hasattr(resource, "is_handle_owned"):
            driver.cuMemPoolTrimTo(resource.handle, 0)

    def fill_zero(self, memory, index):
        memory.buffer.fill(0, stream=self.start(index)[1])

    def _part(self, memory, ptr, nbytes):
        return self.core.Buffer.from_handle(ptr, nbytes, owner=memory)

    def to_device(self, memory, ptr, array, index):
        # Pageable memory: the driver has taken the bytes when the call returns.
        stream = self.start(index)[1]
        host = self._part(array, array.ctypes.data, array.nbytes)
        self._part(memory, ptr, array.nbytes).copy_from(host, stream=stream)

    def to_host(self, array, memory, ptr, index):
        stream = self.start(index)[1]
        host = self._part(array, array.ctypes.data, array.nbytes)
        self._part(memory, ptr, array.nbytes).copy_to(host, stream=stream)
        stream.sync()

    def device_copy(self, dst, dst_ptr, dst_index, src, src_ptr, src_index, nbytes):
        stream = self.start(src_index)[1]
        if dst_index != src_index:
            # What was queued on the target's stream may still use the memory that is written now.
            self.start(dst_index)[1].sync()
            stream = self.start(src_index)[1]
        self._part(dst, dst_ptr, nbytes).copy_from(self._part(src, src_ptr, nbytes), stream=stream)
        if dst_index != src_index:
            stream.sync()

    def pointer(self, ptr, code):
        """Kernels receive addresses as they are."""
        return ptr

    def launch(self, source, args, grid, block, index):
        device, stream, _ = self.start(index)
        if self.numba_launch:
            return self._numba_launch(source, args, grid, block, index)
        kernel = source.loaded.get(index)
        if kernel is None:
            kernel = source.loaded[index] = self.load(source, device)
        config = self._configurations.get((grid, block))
        if config is None:
            config = self._configurations[grid, block] = self.core.LaunchConfig(grid=grid, block=block)
        self.core.launch(stream, config, kernel, *encode(source, args))

    def load(self, source, device):
        """The compiled kernel on a device, by way of the disk cache."""
        code, entry = shim.cubin(source, self.capability(device.device_id))
        return self.core.ObjectCode.from_cubin(code).get_kernel(entry)

    def _numba_launch(self, source, args, grid, block, index):
        cuda = shim.numba_cuda()
        with cuda.gpus[index]:
            kernel = source.loaded.get(("numba", index))
            if kernel is None:
                kernel = source.loaded["numba", index] = cuda.jit(shim.signature(source))(
                    source.function(shim.device_value))
            kernel[grid, block](*args)


def encode(source, args):
    """Launch arguments of ``cuda.core``: integers go as 64 bits, of which a narrower parameter reads the lower ones;
    floats in the parameter's width."""
    return [ENCODE[kind](a) if kind in ENCODE else int(a) for a, (_, kind) in zip(args, source.params)]


__all__ = ["Gpu", "Memory", "encode"]
