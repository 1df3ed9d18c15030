"""``torch.mps`` as on a machine without Apple's devices."""

from __future__ import annotations

__all__ = ["current_allocated_memory", "device_count", "driver_allocated_memory", "empty_cache", "get_rng_state",
           "is_available", "manual_seed", "seed", "set_per_process_memory_fraction", "set_rng_state", "synchronize"]


def is_available():
    """False: there are none."""
    return False


def device_count():
    """0."""
    return 0


def manual_seed(seed):
    """Nothing: there is no device whose numbers it would change."""


def _missing(does):
    def function(*args, **kwargs):
        raise RuntimeError(f"Cannot execute {does}() without MPS backend.")
    function.__doc__ = "Refused: there is no such device."
    return function


synchronize, empty_cache = _missing("deviceSynchronize"), _missing("emptyCache")
get_rng_state = set_rng_state = seed = _missing("getDefaultGenerator")
current_allocated_memory = _missing("getCurrentAllocatedMemory")
driver_allocated_memory = _missing("getDriverAllocatedMemory")
recommended_max_memory = _missing("getRecommendedMaxMemory")
set_per_process_memory_fraction = _missing("setMemoryFraction")


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.mps.{name} is not available here)")
