"""Tensors from and for other libraries, on the same memory, by DLPack."""

from __future__ import annotations

from ..base.device import device as Device
from ..core.dlpack import DLDeviceType, export, from_capsule

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]


def to_dlpack(tensor):
    """A capsule of the older form, which ``from_dlpack`` takes once."""
    return export(tensor)


def from_dlpack(ext_tensor, *, device=None, copy=None):
    """A tensor on the memory of another library's array, or of a capsule; copied if ``copy`` or the device asks for it."""
    if not hasattr(ext_tensor, "__dlpack__"):
        if device is not None or copy is not None:
            raise AssertionError("device and copy kwargs not supported when ext_tensor is already a DLPack capsule.")
        return from_capsule(ext_tensor)
    asked = {"max_version": (1, 0)}
    if copy is not None:
        asked["copy"] = copy
    here = tuple(ext_tensor.__dlpack_device__())
    away = False
    if device is not None:
        device, there = _target(device)
        away = here != there
        if away and copy is False:
            raise ValueError(f"cannot move DLPack tensor from device {here} to {there} without copying. Set copy=None or "
                             "copy=True.")
        if not away:
            asked["dl_device"] = there
    capsule, copied = _ask(ext_tensor, asked)
    t = from_capsule(capsule)
    if away:
        return t.to(device)
    return t.clone() if copy and not copied else t


def _target(device):
    """The device that is asked for, and DLPack's name of it."""
    device = Device(device) if isinstance(device, str) else device
    if not isinstance(device, Device):
        raise AssertionError(f"from_dlpack: unsupported device type: {type(device)}")
    if device.type == "meta":
        raise BufferError("Cannot pack tensors on meta")
    return device, (DLDeviceType.kDLCPU if device.type == "cpu" else DLDeviceType.kDLCUDA, device.index or 0)


def _ask(ext_tensor, asked):
    """(capsule, whether its maker was told to copy): older libraries know fewer of the arguments."""
    for left_out in ("max_version", "copy", "dl_device"):
        try:
            return ext_tensor.__dlpack__(**asked), "copy" in asked
        except TypeError:
            asked.pop(left_out, None)
    return ext_tensor.__dlpack__(**asked), False
