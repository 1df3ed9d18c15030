"""The CUDA backend: devices, memory, and launches of pointwise, reduction and hand-written kernels.

Importing it loads no CUDA package; the first use of a device does. ``shim`` is the only importer of ``numba.cuda``.
"""

from __future__ import annotations

from .launch import (
    check_index,
    current_device,
    device_count,
    device_name,
    launch_pointwise,
    resolve,
    set_device,
    synchronize,
    target,
)
from .launcher import Launcher, Mirror
from .memory import alloc, allocated, copy_bytes, peak, reset_peak, zeros
from .shim import CudaUnavailable, simulated, why_not


def available():
    """Whether a CUDA device, or the simulator, can be used."""
    return why_not() is None


def fold(op, t, out, steps):
    """Run the stages of a reduction on row-major device memory."""
    from .reduce import run
    run(op, t, out, steps)


__all__ = ["CudaUnavailable", "Launcher", "Mirror", "alloc", "allocated", "available", "check_index", "copy_bytes",
           "current_device", "device_count", "device_name", "fold", "launch_pointwise", "peak", "reset_peak", "resolve",
           "set_device", "simulated", "synchronize", "target", "why_not", "zeros"]
