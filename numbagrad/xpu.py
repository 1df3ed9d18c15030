"""``torch.xpu`` as on a machine without Intel's devices."""

from __future__ import annotations

__all__ = ["current_device", "device_count", "empty_cache", "get_device_name", "get_rng_state", "get_rng_state_all",
           "is_available", "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated",
           "max_memory_reserved", "memory_allocated", "memory_reserved", "seed", "seed_all", "set_device", "set_rng_state",
           "synchronize"]


def is_available():
    """False: there are none."""
    return False


def device_count():
    """0."""
    return 0


is_initialized = is_bf16_supported = is_available


def _missing(*args, **kwargs):
    """Refused: there is no such device."""
    raise AssertionError("Torch not compiled with XPU enabled")


current_device = get_device_name = get_device_capability = get_device_properties = synchronize = set_device = _missing
get_rng_state = set_rng_state = current_stream = init = seed = seed_all = initial_seed = _missing


def _nothing(*args, **kwargs):
    """Nothing: there is no device that it would change."""


empty_cache = reset_peak_memory_stats = _nothing
manual_seed = manual_seed_all = _nothing


def get_rng_state_all():
    """The states of all devices: none."""
    return []


def memory_allocated(device=None):
    """0."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.xpu.{name} is not available here)")
