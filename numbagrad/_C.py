"""``torch._C``: what packages for PyTorch call of its compiled part."""

from .random import Generator

__all__ = ["Generator"]


def _log_api_usage_once(event):
    """Nothing: PyTorch tells a logger which parts of it are used, where one is built in."""


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch._C.{name} is not available here)")
