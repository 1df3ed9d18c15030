"""Which implementation of scaled dot product attention is used: on the CPU there is one, under the names of two."""

import contextlib
import logging
from enum import Enum

from ...core.registry import REGISTRY

__all__ = [
    "SDPBackend", "WARN_FOR_UNFUSED_KERNELS", "activate_flash_attention_impl", "current_flash_attention_impl",
    "list_flash_attention_impls", "register_flash_attention_impl", "restore_flash_attention_impl", "sdpa_kernel",
]  # fmt: skip

WARN_FOR_UNFUSED_KERNELS = False
logger = logging.getLogger(__name__)


class SDPBackend(Enum):
    """Implementations of attention; the CPU has FLASH_ATTENTION and MATH."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __int__(self):
        return self.value

    __index__ = __int__

    def __hash__(self):
        return self.value


_NAMES = ("CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH", "OVERRIDEABLE")
_ON_CPU = (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION)
_enabled = {SDPBackend[name] for name in _NAMES}
_priority = [1, 2, 0, 3, 4]


def _cur_sdpa_kernel_backends(with_priority=False):
    backends = [SDPBackend[name] for name in _NAMES if SDPBackend[name] in _enabled]
    return sorted(backends, key=lambda backend: _priority.index(backend.value)) if with_priority else backends


def _sdpa_kernel(backends, set_priority=False):
    ops = [REGISTRY[name] for name in ("scaled_dot_product_attention", "multi_head_attention_forward")]  # runs their files
    from ...ops.attention.attention import VIABLE

    _enabled.clear()
    _enabled.update(backends)
    VIABLE.clear()
    VIABLE.update(backend.value for backend in backends if backend in _ON_CPU)
    for op in ops:
        if op.callable is not None and op.programs is not None:
            op.programs.hold(0 not in VIABLE, "attention")
    if set_priority:
        first = [backend.value for backend in backends]
        _priority[:] = first + [value for value in _priority if value not in first]


@contextlib.contextmanager
def sdpa_kernel(backends, set_priority=False):
    """Within it, attention may use the given backend or list of them; RuntimeError at a call if the CPU has none of them."""
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
            f"{type(backends).__name__}"
        )
    chosen = list(dict.fromkeys([backends] if isinstance(backends, SDPBackend) else backends))
    before = _cur_sdpa_kernel_backends(with_priority=set_priority)
    try:
        _sdpa_kernel(chosen, set_priority)
        yield {}
    finally:
        _sdpa_kernel(before, set_priority)


_implementations = {}
_active = []  # (name, handle) of the one that was activated


def register_flash_attention_impl(impl, *, register_fn):
    """Make a function known under a name, which :func:`activate_flash_attention_impl` calls."""
    _implementations[impl] = register_fn


def activate_flash_attention_impl(impl):
    """Call what was registered under this name, and keep its handle."""
    restore_flash_attention_impl(_raise_warn=False)
    register_fn = _implementations.get(impl)
    if register_fn is None:
        raise ValueError(
            f"Unknown flash attention impl '{impl}'. Available implementations: {list_flash_attention_impls()}"
        )
    handle = register_fn()
    if handle is not None:
        _active.append((impl, handle))


def list_flash_attention_impls():
    """The names that were registered."""
    return sorted(_implementations)


def current_flash_attention_impl():
    """The name that is active, or None."""
    return _active[0][0] if _active else None


def restore_flash_attention_impl(_raise_warn=True):
    """Remove what is active."""
    if _active:
        _active.pop()[1].remove()
    elif _raise_warn:
        logger.warning("Trying to restore default FA2 impl when no custom impl was activated")
