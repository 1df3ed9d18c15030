"""DLPack capsules: NumPy makes and reads them, what it does not know (bfloat16) is written into their headers."""

from __future__ import annotations

import ctypes
import enum

import numpy as np

from ..base import dtypes as dt
from ..kernel.tape import refuse
from .tensor import from_array


class DLDeviceType(enum.IntEnum):
    """DLPack's numbers of kinds of devices."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


class Header(ctypes.Structure):
    """``DLTensor`` of dlpack.h."""

    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64)]


UNSIGNED, BFLOAT = 1, 4  # codes of types
NAMES = ((b"dltensor", 0), (b"dltensor_versioned", 32))  # of capsules, and where the header lies in what they point to
# Prototypes of our own: those of ``pythonapi`` belong to everybody in the process.
_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))


def header(capsule):
    """The header in a capsule that nobody has read; RuntimeError for anything else."""
    for name, offset in NAMES:
        if _valid(capsule, name):
            return Header.from_address(_pointer(capsule, name) + offset)
    raise RuntimeError("from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you "
                       "might have already constructed a tensor from it once.")


def device_of(t):
    """``Tensor.__dlpack_device__``."""
    device = t.device
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"Unknown device type {device.type} for Dlpack")
    return DLDeviceType.kDLCUDA if device.type == "cuda" else DLDeviceType.kDLCPU, device.index or 0


def method(self, *, stream=-1, max_version=None, dl_device=None, copy=None):
    """``Tensor.__dlpack__``."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.is_conj():
        raise BufferError("Can't export tensors with the conjugate bit set")
    if self.is_sparse:
        raise BufferError("Can't export tensors with layout other than torch.strided")
    if stream is not None and type(stream) is not int:
        raise TypeError("stream must be ``int`` or ``none``")
    if self._kind.cpu and stream not in (None, -1):
        raise AssertionError("stream should be None on cpu.")
    return export(self, max_version, dl_device, copy)


def export(t, max_version=None, dl_device=None, copy=None):
    """A capsule on the memory of a CPU tensor, or of a copy."""
    refuse("hands memory to another library")
    if not t._kind.cpu:
        raise BufferError(f"Cannot pack tensors on {t.device}")
    if dl_device is not None and tuple(dl_device) != (DLDeviceType.kDLCPU, 0):
        raise BufferError(f"a tensor on the CPU cannot be packed on the DLPack device {tuple(map(int, dl_device))}")
    t = t.detach().clone() if copy else t.detach()
    half = t._kind.dtype is dt.bfloat16
    array = (t.view(dt.int16) if half else t).numpy()
    capsule = _capsule(array, max_version)
    if half:
        header(capsule).code = BFLOAT
    return capsule


def _capsule(array, max_version):
    """NumPy's capsule, of the older form unless the reader asks for a later one that NumPy has."""
    if max_version is None or max_version[0] < 1:
        return array.__dlpack__()
    try:
        return array.__dlpack__(max_version=max_version)
    except TypeError:
        return array.__dlpack__()


class _Handed:
    """What NumPy asks for a capsule that is there already."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **kwargs):
        return self.capsule

    def __dlpack_device__(self):
        return DLDeviceType.kDLCPU, 0


def from_capsule(capsule):
    """A tensor on the memory of a capsule, which is used up."""
    refuse("takes memory from another library")
    found = header(capsule)
    if found.device_type != DLDeviceType.kDLCPU:
        raise BufferError(f"from_dlpack reads memory of the CPU, not of the DLPack device {found.device_type, found.device_id}")
    half = found.code == BFLOAT and found.bits == 16
    if half:
        found.code = UNSIGNED
    return from_array(np.from_dlpack(_Handed(capsule)), dt.bfloat16 if half else None)
