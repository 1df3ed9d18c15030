"""Conversions between storage and compute types, as functions for kernels."""

from __future__ import annotations

import functools

from ..base import dtypes as dt
from . import inlined
from .define import define

# bfloat16 is the upper half of a float32; rounding is to nearest even and NaN stays NaN.
BF_LOAD = """def f(v):
    return np.uint32(np.uint32(v) << np.uint32(16)).view(np.float32)
"""
BF_STORE = """def f(v):
    x = np.float32(v)
    u = x.view(np.uint32)
    r = np.uint32(u + np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(0x7FC0) if x != x else np.uint16(r)
"""
# float16 by exponent arithmetic on float32 bits (the multiplication normalises denormals exactly).
F2_LOAD = """def f(v):
    h = np.uint32(v)
    sign = np.uint32((h & np.uint32(0x8000)) << np.uint32(16))
    bits = np.uint32((h & np.uint32(0x7FFF)) << np.uint32(13))
    small = np.float32(bits.view(np.float32) * np.float32(5.192296858534828e+33))
    m = np.uint32(small.view(np.uint32))
    special = np.uint32(bits | np.uint32(0x7F800000))
    r = special if (h & np.uint32(0x7C00)) == np.uint32(0x7C00) else m
    return np.uint32(r | sign).view(np.float32)
"""
F2_STORE = """def f(v):
    x = np.float32(v)
    u = x.view(np.uint32)
    sign = np.uint32((u >> np.uint32(16)) & np.uint32(0x8000))
    a = np.uint32(u & np.uint32(0x7FFFFFFF))
    normal = np.uint32(a + np.uint32(0xC8000FFF) + ((a >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
    shifted = np.float32(a.view(np.float32) + np.float32(0.5))
    tiny = np.uint32(shifted.view(np.uint32) - np.uint32(0x3F000000))
    r = tiny if a < np.uint32(0x38800000) else np.uint32(normal)
    r = np.uint32(0x7C00) if a >= np.uint32(0x477FF000) else r
    r = np.uint32(0x7E00) if a > np.uint32(0x7F800000) else r
    return np.uint16(r | sign)
"""


WIDER = {"f4": "f8", "c8": "c16"}  # half types are added in float32, which is wider


def accumulated(code):
    """The dtype code of what running totals of a dtype code are kept in, as PyTorch's ``acc_type`` says for processors."""
    return WIDER.get(code) or dt.BY_CODE[code].compute


@functools.cache
def cast(kind, code):
    """(callable for kernels, its text for the cache's key) of "load", "store", "T" (the constructor) or "acc" (totals')."""
    import numpy as np
    compute = accumulated(code) if kind == "acc" else dt.BY_CODE[code].compute
    scalar = {"b1": np.bool_, "u1": np.uint8, "i1": np.int8, "i2": np.int16, "i4": np.int32, "i8": np.int64,
              "u2": np.uint16, "u4": np.uint32, "u8": np.uint64,
              "f4": np.float32, "f8": np.float64, "c8": np.complex64, "c16": np.complex128}[compute]
    if kind in ("T", "acc"):
        return scalar, scalar.__name__
    if code == "b1":
        text = ("def f(v):\n    return v != 0\n" if kind == "load"
                else "def f(v):\n    return np.uint8(1) if v else np.uint8(0)\n")
    elif code == "bf":
        text = BF_LOAD if kind == "load" else BF_STORE
    elif code == "f2":
        text = F2_LOAD if kind == "load" else F2_STORE
    elif kind == "load":
        text = "def f(v):\n    return v\n"
    elif code in ("u1", "i1", "u2", "i2"):
        # LLVM leaves floats that small integers cannot hold undefined (they came out saturated, or 0, by their place in
        # a vector); through 32 bits they wrap around, as in PyTorch.
        text = "def f(v):\n    return S(np.int32(v))\n"
    elif code in ("u4", "u8"):  # negative floats wrap around as well
        text = "def f(v):\n    return S(np.int64(v)) if v < 0 else S(v)\n"
    else:
        text = "def f(v):\n    return S(v)\n"
    fn = define(text, "f", {"np": np, "S": scalar, "__name__": "numbagrad.kernel.generated"})
    return inlined.njit((), forceinline=True, error_model="numpy")(fn), text + scalar.__name__
