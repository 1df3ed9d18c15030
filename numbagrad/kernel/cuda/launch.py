"""Launches: the current device and target, and the pointwise kernels."""

from __future__ import annotations

import threading

from ...base.device import device as Device
from ...base.device import two_devices
from ...base.shapes import expanded_strides
from . import emit, shim
from .address import plain

_target = None
_current = threading.local()


def target():
    """The simulator or the GPUs, found on first use; CudaUnavailable without either."""
    global _target
    if _target is None:
        shim.require()
        if shim.simulated():
            from .simulator import Simulator
            _target = Simulator()
        else:
            from .device import Gpu
            _target = Gpu()
    return _target


def device_count():
    """Number of devices; 0 where CUDA cannot be used."""
    return target().count if shim.why_not() is None else 0


def current_device():
    """Index of this thread's current device."""
    target()
    return getattr(_current, "index", 0)


def check_index(index):
    """The index itself; RuntimeError when there is no such device."""
    count = target().count
    if not 0 <= index < count:
        raise RuntimeError(f"CUDA error: invalid device ordinal (cuda:{index} of {count} devices)")
    return index


def set_device(index):
    """Make a device this thread's current one."""
    target().set_device(check_index(index))
    _current.index = index


_devices: dict = {}


def resolve(device):
    """A CUDA device with its index: ``cuda`` alone means the current device."""
    index = current_device() if device.index is None else check_index(device.index)
    found = _devices.get(index)
    if found is None:
        found = _devices.setdefault(index, Device("cuda", index))
    return found


def device_name(index):
    return target().device_name(check_index(index))


BEFORE_READING = []  # called with the index of a device whose values are about to be read, or that is waited for


def synchronize(index):
    """Wait for all work on a device; raises what kernels have found wrong with their input."""
    target().synchronize(check_index(index))
    reading(index)


def reading(index):
    """Values of a device are about to be read: raises what kernels have found wrong with their input."""
    for look in BEFORE_READING:
        look(index)


def launch(source, args, items, index, block=None):
    """Run a kernel whose threads share ``items`` by a grid-stride loop."""
    t = target()
    block = block or t.block
    t.launch(source, args, min(-(-items // block), t.blocks), block, index)


def scalars_of(compute, scalars):
    """Numbers as launch arguments of ``emit.scalar_params``."""
    if compute.is_complex:
        flat = []
        for s in scalars:
            s = complex(s)
            flat += [s.real, s.imag]
        return flat
    return [int(s) for s in scalars] if compute.category < 2 else [float(s) for s in scalars]


def launch_pointwise(pointwise, compute, ins, scalars, outs, shape):
    """Run a pointwise loop on device tensors: contiguous where they all are, else strided with broadcasting."""
    n = 1
    for s in shape:
        n *= s
    if n == 0:
        return
    shape = tuple(shape)
    tensors = (*ins, *outs)
    device = outs[0]._kind.device
    for x in tensors:
        if x._kind.device is not device:
            raise two_devices(device, x._kind.device, f"in {pointwise.name.removeprefix('loop_')}")
    t = target()
    args = [*scalars_of(compute, scalars), n]
    dims, small, before = 0, n < emit.SMALL, (0,) * len(tensors)
    if not all([x._strides is None and x._shape == shape for x in tensors]):
        sizes, strides = emit.collapse(shape, tuple([expanded_strides(x, shape) for x in tensors]))
        dims = len(sizes)
        before = [sum([(1 - s) * k for s, k in zip(sizes, st) if k < 0]) for st in strides]
        reach = [sum([(s - 1) * k for s, k in zip(sizes, st)]) for st in strides]
        small = small and not any(before) and max(reach) < emit.SMALL
        args += sizes[1:]
        for st in strides:
            args += st
        args += () if small else before
    args[:0] = [t.pointer(plain(x._ptr) - b * x._kind.itemsize, x._kind.dtype.code) for x, b in zip(tensors, before)]
    source = pointwise_source(pointwise, compute.compute, tuple([x._kind.dtype.code for x in ins]),
                              tuple([x._kind.dtype.code for x in outs]), dims, small)
    launch(source, args, n, device.index)


def pointwise_source(pointwise, compute, in_codes, out_codes, dims=0, small=True):
    """The kernel of a pointwise loop for these codes, made once."""
    key = ("cuda", compute, in_codes, out_codes, dims, small)
    source = pointwise.made.get(key)
    if source is None:
        source = pointwise.made[key] = emit.pointwise(pointwise, compute, in_codes, out_codes, dims, small)
    return source
