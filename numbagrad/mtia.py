"""``torch.mtia`` as on a machine without Meta's devices."""

from __future__ import annotations

__all__ = ["device_count", "is_available", "is_initialized"]


def is_available():
    """False: there are none."""
    return False


is_initialized = is_available


def device_count():
    """0."""
    return 0


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.mtia.{name} is not available here)")
