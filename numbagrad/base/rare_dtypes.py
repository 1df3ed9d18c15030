"""Dtypes whose names programs and files mention; there are no tensors of them here."""

from __future__ import annotations

from . import dtypes as dt


def _made(name, storage, category, kind):
    made = dt.dtype(name, name, "f4", storage, category, 0)
    made.barebones = True
    dt.SCALAR_NAMES[name] = dt.TYPE_NAMES[name] = dt.C_NAMES[name] = kind
    if category == 1:  # so that what looks at numbers first ends in the same refusal
        dt._LIMITS[name] = dt._LIMITS[storage]
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


def promoted(a, b):
    """``promote_types`` where one of two different dtypes is a name only."""
    names = dt.scalar_name(a), dt.scalar_name(b)
    if any([name.startswith("Float8") for name in names]):
        raise RuntimeError(f"Promotion for Float8 Types is not supported, attempted to promote {names[0]} and {names[1]}")
    if any([d.category == 1 and d.barebones and not d.is_signed for d in (a, b)]):
        return dt.with_unsigned(a, b)
    other = b if a is complex32 else a
    if complex32 not in (a, b) or other in dt._RARE:
        raise RuntimeError(f"Promotion for {names[0]} and {names[1]} is not supported")
    return complex32 if other.category < 2 or other is dt.float16 else other if other.is_complex else other.to_complex()


dt.RARE_PROMOTION.append(promoted)
