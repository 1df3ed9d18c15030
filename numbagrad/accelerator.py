"""``torch.accelerator``: the CUDA devices, or none."""

from __future__ import annotations

from . import cuda
from .base.device import device


def is_available():
    """Whether there is a CUDA device."""
    return cuda.is_available()


def device_count():
    """Number of CUDA devices."""
    return cuda.device_count()


def current_accelerator(check_available=False):
    """The kind of device as ``device("cuda")``, or None without one."""
    return device("cuda") if is_available() else None


def _present(name):
    if not is_available():
        raise RuntimeError(f"Cannot access accelerator device when none is available. (torch.accelerator.{name})")


def current_device_index():
    """Index of the current device."""
    _present("current_device_index")
    return cuda.current_device()


current_device_idx = current_device_index


def set_device_index(device, /):
    """Make a device the current one."""
    _present("set_device_index")
    cuda.set_device(device)


set_device_idx = set_device_index


def synchronize(device=None, /):
    """Wait for what the device was given."""
    _present("synchronize")
    cuda.synchronize(device)


def empty_cache():
    """Give freed memory of the device back."""
    if is_available():
        cuda.empty_cache()
