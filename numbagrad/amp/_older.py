"""Names under which ``autocast`` and ``GradScaler`` were found before they took a type of device."""

from __future__ import annotations

import functools
import warnings

from . import autocast_mode, grad_scaler


def deprecated(message):
    """Decorator of functions that warn with ``message`` when they are called."""
    def decorate(fn):
        @functools.wraps(fn)
        def call(*args, **kwargs):
            warnings.warn(message, FutureWarning, stacklevel=2)
            return fn(*args, **kwargs)
        return call
    return decorate


def _message(device, name):
    return (f"`torch.{device}.amp.{name}(args...)` is deprecated. Please use `torch.amp.{name}('{device}', args...)` instead.")


def autocast(device, usual, module):
    """The class ``autocast`` of a type of device."""
    class older(autocast_mode.autocast):
        __doc__ = f"``amp.autocast({device!r}, ...)``."

        def __new__(cls, *args, **kwargs):
            if cls is older:
                warnings.warn(_message(device, "autocast"), FutureWarning, stacklevel=2)
            return object.__new__(cls)

        def __init__(self, enabled=True, dtype=usual, cache_enabled=True):
            super().__init__(device, enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)
    older.__name__, older.__qualname__, older.__module__ = "autocast", "autocast", module
    return older


def scaler(device, module):
    """The class ``GradScaler`` of a type of device."""
    class older(grad_scaler.GradScaler):
        __doc__ = f"``amp.GradScaler({device!r}, ...)``."

        def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, enabled=True):
            warnings.warn(_message(device, "GradScaler"), FutureWarning, stacklevel=2)
            super().__init__(device, init_scale=init_scale, growth_factor=growth_factor, backoff_factor=backoff_factor,
                             growth_interval=growth_interval, enabled=enabled)
    older.__name__, older.__qualname__, older.__module__ = "GradScaler", "GradScaler", module
    return older
