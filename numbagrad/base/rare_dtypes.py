"""Dtypes whose names programs and files mention; there are no tensors of them here."""

from __future__ import annotations

from . import dtypes as dt


def _made(name, storage, category, kind):
    made = dt.dtype(name, name, "f4", storage, category, 0)
    made.barebones = True
    dt.SCALAR_NAMES[name] = dt.TYPE_NAMES[name] = kind
    dt._RARE[made] = by_name
    return made


def by_name(name):
    """The dtype of a pickle."""
    return globals()[name]


float8_e4m3fn, float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu = [
    _made("float8_" + form, "u1", 2, "Float8_" + form) for form in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")]
float4_e2m1fn_x2 = _made("float4_e2m1fn_x2", "u1", 2, "Float4_e2m1fn_x2")
uint1, uint2, uint3, uint4, uint5, uint6, uint7 = [_made(f"uint{n}", "u1", 1, f"UInt{n}") for n in range(1, 8)]
int1, int2, int3, int4, int5, int6, int7 = [_made(f"int{n}", "i1", 1, f"Int{n}") for n in range(1, 8)]
bit = uint1
complex32 = chalf = _made("complex32", "u4", 3, "ComplexHalf")
# The distance from 1 to the next number, the largest, the smallest normal one.
dt.RARE_LIMITS.update({
    float8_e4m3fn: (0.125, 448.0, 2.0**-6), float8_e4m3fnuz: (0.125, 240.0, 2.0**-7), float8_e5m2: (0.25, 57344.0, 2.0**-14),
    float8_e5m2fnuz: (0.125, 57344.0, 2.0**-15), float8_e8m0fnu: (1.0, 2.0**127, 2.0**-127)})
float8_e8m0fnu.is_signed = False
