"""Switches that PyTorch's scripts set and ask for, which change nothing here: kernels are deterministic, of full precision."""

from __future__ import annotations

import warnings

STATE = {"precision": "highest", "deterministic": False, "warn_only": False, "warn_always": False, "flush_denormal": False}
DEBUG_MODES = ("default", "warn", "error")


def set_float32_matmul_precision(precision):
    """Accepted for PyTorch's sake: float32 products always run in full precision on the CPU."""
    if precision not in ("highest", "high", "medium"):
        warnings.warn(f"{precision} is not one of 'highest', 'high', or 'medium'; the current"
                      "setFloat32MatmulPrecision call has no effect.", UserWarning, stacklevel=2)
    else:
        STATE["precision"] = precision


def get_float32_matmul_precision():
    """What ``set_float32_matmul_precision`` was told."""
    return STATE["precision"]


def use_deterministic_algorithms(mode, *, warn_only=False):
    """Accepted for PyTorch's sake: every CPU kernel is deterministic."""
    if not isinstance(mode, bool):
        raise TypeError("_set_deterministic_algorithms(): argument 'mode' (position 1) must be bool, not "
                        f"{type(mode).__name__}")
    STATE["deterministic"], STATE["warn_only"] = mode, mode and bool(warn_only)


def are_deterministic_algorithms_enabled():
    """What ``use_deterministic_algorithms`` was told."""
    return STATE["deterministic"]


def is_deterministic_algorithms_warn_only_enabled():
    """What ``use_deterministic_algorithms`` was told of ``warn_only``."""
    return STATE["warn_only"]


def set_deterministic_debug_mode(debug_mode):
    """``use_deterministic_algorithms`` by "default", "warn" or "error", or their numbers."""
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    if isinstance(debug_mode, str):
        if debug_mode not in DEBUG_MODES:
            raise RuntimeError("invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got "
                               f"{debug_mode}")
        debug_mode = DEBUG_MODES.index(debug_mode)
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    use_deterministic_algorithms(debug_mode > 0, warn_only=debug_mode == 1)


def get_deterministic_debug_mode():
    """0, 1 or 2 as in ``set_deterministic_debug_mode``."""
    return (2 - STATE["warn_only"]) if STATE["deterministic"] else 0


def set_warn_always(b, /):
    """Whether what warns once in a process warns each time."""
    if not isinstance(b, bool):
        raise RuntimeError(f"setWarnOnlyOnce expects a bool, but got {type(b).__name__}")
    STATE["warn_always"] = b


def is_warn_always_enabled():
    """What ``set_warn_always`` was told."""
    return STATE["warn_always"]


def set_flush_denormal(mode):
    """False, as denormal numbers are never flushed; True if they are not to be."""
    return not mode


def get_num_interop_threads():
    """1: operations run one after another."""
    return 1


def set_num_interop_threads(num):
    """Accepted for PyTorch's sake: operations run one after another."""
    if num <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
