"""``autocast`` and what asks for its state; the casts themselves are in ``dispatch/autocast.py``."""

from __future__ import annotations

import collections.abc
import functools
import warnings

import numpy as np

from ..autograd.inplace import apply_function
from ..base import dtypes as dt
from ..base.device import device as _device
from ..core.tensor import Tensor
from ..dispatch import autocast as casts
from ..kernel import cuda as _cuda
from ..kernel.tape import refuse

__all__ = ["autocast_decorator", "autocast", "is_autocast_available", "custom_fwd", "custom_bwd"]

casts.leave(apply_function, "the in-place form of an op")
STATE = casts.STATE
_LASTS = "changes the autocast state beyond the end of the call, which replays would not do: use a with block"
_SUPPORTED = [dt.bfloat16, dt.float16]


def is_autocast_available(device_type):
    """Whether autocast knows a type of device."""
    return _type(device_type) in STATE.dtypes


def autocast_decorator(autocast_instance, func):
    """``func`` run inside of a region each time."""
    @functools.wraps(func)
    def decorate_autocast(*args, **kwargs):
        with autocast_instance:
            return func(*args, **kwargs)
    return decorate_autocast


class autocast:
    """Context manager and decorator: inside, ops run in the dtype that PyTorch's tables give them."""

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self.device = device_type
        if not is_autocast_available(device_type):
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self._cache_enabled = STATE.cache_enabled if cache_enabled is None else cache_enabled
        self._enabled = enabled and self._possible()

    def _possible(self):
        """Whether what was asked for can be done; warns where not."""
        if self.device == "cuda" and not _cuda.available():
            message = "CUDA is not available or torch_xla is imported. Disabling autocast."
        elif self.device != "cuda" and self.fast_dtype not in _SUPPORTED:
            name = self.device.upper()
            message = (f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n{name} Autocast only "
                       f"supports dtypes of {', '.join(map(str, _SUPPORTED))} currently.")
        else:
            return True
        warnings.warn(message, UserWarning, stacklevel=3)
        return False

    def __enter__(self):
        self.prev_cache_enabled = STATE.cache_enabled
        self.prev = is_autocast_enabled(self.device)
        self.prev_fastdtype = get_autocast_dtype(self.device)
        _set_dtype(self.device, self.fast_dtype)
        casts.enable(_known(self.device), self._enabled)
        autocast_increment_nesting()
        STATE.cache_enabled = self._cache_enabled
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        if autocast_decrement_nesting() == 0:
            clear_autocast_cache()
        casts.enable(_known(self.device), self.prev)
        _set_dtype(self.device, self.prev_fastdtype)
        STATE.cache_enabled = self.prev_cache_enabled
        return False

    def __call__(self, func):
        if not callable(func):
            raise TypeError(f"autocast()(func) requires a callable, but got {type(func).__name__}. Did you mean to use "
                            "autocast as a context manager? For example:\n    with torch.autocast(device_type=...):\n"
                            "        output = model(input)")
        return autocast_decorator(self, func)


class _UnmanagedAutocast(autocast):
    """A region that is entered and left by calls."""


def _enter_autocast(*vals):
    refuse(_LASTS)
    mode = _UnmanagedAutocast(*vals)
    mode.__enter__()
    return mode


def _exit_autocast(mode):
    mode.__exit__(None, None, None)


# --- the state of this thread -----------------------------------------------------------------------------------------

def is_autocast_enabled(device_type="cuda"):
    """Whether tensors on a type of device are cast in this thread."""
    return STATE.enabled.get(_known(device_type), False)


def set_autocast_enabled(device_type, enabled=None):
    """Turn casts of tensors on a type of device on or off."""
    refuse(_LASTS)
    if enabled is None:
        device_type, enabled = "cuda", device_type
    casts.enable(_known(device_type), enabled)


def get_autocast_dtype(device_type):
    """The dtype that tensors on a type of device are cast to."""
    return STATE.dtypes[_known(device_type)]


def set_autocast_dtype(device_type, dtype):
    """Choose the dtype that tensors on a type of device are cast to."""
    refuse(_LASTS)
    _set_dtype(device_type, dtype)


def _set_dtype(device_type, dtype):
    device_type = _known(device_type)
    if STATE.dtypes[device_type] is not dtype:
        STATE.dtypes[device_type] = dtype
        if is_autocast_enabled(device_type):
            casts.tell()


def _type(device_type):
    """The type of a device by its name; of the devices that PyTorch knows, whether we have them or not."""
    name = device_type.partition(":")[0] if isinstance(device_type, str) else None
    return name if name in STATE.dtypes else _device(device_type).type


def _known(device_type):
    device_type = _type(device_type)
    if device_type not in STATE.dtypes:
        raise RuntimeError("unsupported scalarType")
    return device_type


def is_autocast_cache_enabled():
    """Whether casts of leaves are kept until the outermost region ends."""
    return STATE.cache_enabled


def set_autocast_cache_enabled(enabled):
    """Choose whether casts of leaves are kept."""
    refuse(_LASTS)
    STATE.cache_enabled = enabled


def autocast_increment_nesting():
    """Enter a region; how deep it is."""
    STATE.nesting += 1
    return STATE.nesting


def autocast_decrement_nesting():
    """Leave a region; how deep the one around it is."""
    STATE.nesting -= 1
    return STATE.nesting


def clear_autocast_cache():
    """Forget all casts that were kept."""
    STATE.cache.clear()


def _older(name, device):
    """The functions that were there before those that take a type of device."""
    verb, what = name.split("_")[0], name.split("_")[-1]
    given = f"({what})" if verb == "set" else "()"
    instead = f"torch.{verb}_autocast_{what}('{device}'{', ' + what if verb == 'set' else ''})"
    new = globals()[f"{verb}_autocast_{what}"]

    def warn():
        warnings.warn(f"torch.{name}{given} is deprecated. Please use {instead} instead.", DeprecationWarning, stacklevel=3)

    def get():
        warn()
        return new(device)

    def set_enabled(enabled):
        warn()
        new(device, enabled)

    def set_dtype(dtype):
        warn()
        new(device, dtype)
    older = get if verb != "set" else set_dtype if what == "dtype" else set_enabled
    older.__name__ = older.__qualname__ = name
    return older


set_autocast_cpu_enabled, is_autocast_cpu_enabled, set_autocast_cpu_dtype, get_autocast_cpu_dtype = [
    _older(name, "cpu") for name in ("set_autocast_cpu_enabled", "is_autocast_cpu_enabled", "set_autocast_cpu_dtype",
                                     "get_autocast_cpu_dtype")]
set_autocast_gpu_dtype, get_autocast_gpu_dtype = [_older(f"{verb}_autocast_gpu_dtype", "cuda") for verb in ("set", "get")]


# --- functions of users -----------------------------------------------------------------------------------------------

def _cast(value, device_type, dtype):
    """``value`` with its eligible tensors cast, inside of containers too."""
    if isinstance(value, Tensor):
        return value.to(dtype) if casts.eligible(value, device_type) else value
    if isinstance(value, (str, bytes, np.ndarray)):
        return value
    if isinstance(value, collections.abc.Mapping):
        return {_cast(k, device_type, dtype): _cast(v, device_type, dtype) for k, v in value.items()}
    if isinstance(value, collections.abc.Iterable):
        items = (_cast(v, device_type, dtype) for v in value)
        return type(value)(items) if isinstance(value, (list, tuple)) else items
    return value


def custom_fwd(fwd=None, *, device_type, cast_inputs=None):
    """Decorator of a Function's ``forward``: its inputs are cast, or it runs as the region around it does."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorate_fwd(*args, **kwargs):
        ctx, inside = args[0], is_autocast_enabled(device_type)
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = inside and cast_inputs is None
        if cast_inputs is None or not inside:
            return fwd(*args, **kwargs)
        with autocast(device_type=device_type, enabled=False):
            return fwd(*_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs))
    return decorate_fwd


def custom_bwd(bwd=None, *, device_type):
    """Decorator of a Function's ``backward``: it runs with the autocast state of the forward."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorate_bwd(*args, **kwargs):
        with autocast(device_type=device_type, enabled=args[0]._fwd_used_autocast, dtype=args[0]._dtype):
            return bwd(*args, **kwargs)
    return decorate_bwd
