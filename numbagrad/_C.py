"""``torch._C``: what packages for PyTorch call of its compiled part."""

from threading import get_ident

from .base import modes
from .core.tensor import Size
from .futures import Future
from .linalg import LinAlgError as _LinAlgError  # noqa: F401 (PyTorch's name)
from .random import Generator

__all__ = ["Future", "Generator", "Size"]


def _get_tracing_state():
    """None: nothing is traced."""


def _is_tracing():
    """False: nothing is traced."""
    return False


def _are_functorch_transforms_active():
    """Whether the calling thread is inside a function of ``func``."""
    mode = modes.STATE.get(get_ident())
    return mode is not None and mode.transform is not None


def _log_api_usage_once(event):
    """Nothing: PyTorch tells a logger which parts of it are used, where one is built in."""


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch._C.{name} is not available here)")
