"""``numbagrad.cuda``: devices, seeds and synchronisation, with PyTorch's names."""

from __future__ import annotations

from .kernel import cuda as _backend


def is_available():
    """Whether a CUDA device and numba-cuda can be used."""
    return _backend.available()


def why_not():
    """Why CUDA is not available, in one sentence."""
    return _backend.why_not()


def device_count():
    """Number of CUDA devices."""
    return _backend.device_count() if is_available() else 0


def current_device():
    """Index of the current device."""
    return _backend.current_device()


def get_device_name(device=None):
    """Name of a device."""
    return _backend.device_name(device)


def synchronize(device=None):
    """Wait for all work on the device."""
    if is_available():
        _backend.synchronize()


def manual_seed(seed):
    """Seed the generator of the current device; without CUDA nothing happens."""


def manual_seed_all(seed):
    """Seed the generators of all devices; without CUDA nothing happens."""


def empty_cache():
    """Give unused cached memory back."""
