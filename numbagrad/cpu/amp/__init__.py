"""The names of ``amp`` for the CPU: they warn, as PyTorch's do, and work."""

from .autocast_mode import autocast
from .grad_scaler import GradScaler

__all__ = ["autocast", "GradScaler"]
