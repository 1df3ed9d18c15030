"""Which dtype and device several tensors and numbers have in common."""

from __future__ import annotations

import numbers

import numpy as np

from ..base import dtypes as dt
from ..base.device import two_devices


def is_number(x):
    return isinstance(x, (numbers.Number, np.number, np.bool_))


def common_dtype(tensors, scalars):
    """Promotion of tensors with dimensions, 0-d tensors and numbers."""
    dims = zero = number = None
    for t in tensors:
        d = t._kind.dtype
        if t._shape:
            dims = d if dims is None or dims is d else dt.promote_types(dims, d)
        else:
            zero = d if zero is None or zero is d else dt.promote_types(zero, d)
    for s in scalars:
        d = dt.of_number(s)
        if s.__class__ is int and s >> 63 > 0:
            d = dt.uint64  # which is refused beside tensors of bools, as any of the dtypes that only store numbers
        number = d if number is None else dt.promote_types(number, d)
    return dt.combine(dims, zero, number)


def check_dtype(op, d):
    ok = {"any": True, "float": d.category >= 2, "real": d.category < 3, "realfloat": d.category == 2,
          "int": d.category <= 1, "number": d.category >= 1, "integer": d.category == 1,
          "ordered": 1 <= d.category < 3, "inexact": d.category >= 2}[op.accepts]
    if not ok or d.is_complex and not op.takes_complex:
        raise NotImplementedError(f"\"{op.name}\" not implemented for '{dt.scalar_name(d)}'")


def common_device(name, tensors):
    """The device of all tensors; 0-d CPU tensors follow the others."""
    device = tensors[0]._kind.device
    for t in tensors[1:]:
        d = t._kind.device
        if d is not device:
            if not t._shape and d.type == "cpu":
                continue
            if all(not s._shape and s._kind.cpu for s in tensors if s._kind.device is device):
                device = d
                continue
            raise two_devices(device, d, f"in {name}")
    return device
