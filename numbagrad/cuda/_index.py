"""Which device is meant."""

from __future__ import annotations

from ..base.device import device as _device
from ..kernel import cuda as _backend


def _index(device, optional=True):
    """The index of a device given as None, number, string or device; checked against the machine."""
    if device is None and optional:
        return _backend.current_device()
    if isinstance(device, int):
        return device if device < 0 else _backend.check_index(device)
    d = device if isinstance(device, _device) else _device(device)
    if d.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {d}")
    return _backend.current_device() if d.index is None else _backend.check_index(d.index)
