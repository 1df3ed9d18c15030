"""Which tensors may be written while others are read: the checks of in-place operations and of ``out=``.

A target several of whose elements are one is refused, and dense operands whose memory overlaps the target's (as in
PyTorch: what is cheap to know). The other cases are left to the caller, who copies.
"""

from __future__ import annotations

import numpy as np

from ..base import modes
from ..base.shapes import contiguous_strides, distinct
from ..kernel.tape import TAPE

SEVERAL = ("unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
           "clone() the tensor before performing the operation.")
SHARED = ("unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
          "location. Please clone() the tensor before performing the operation.")


def is_dense(t):
    """Whether the elements of ``t`` fill a piece of memory without gaps, each with a place of its own."""
    if t._strides is None:
        return True
    expect = 1
    for k, s in sorted((k, s) for s, k in zip(t._shape, t._strides) if s != 1):
        if k != expect:
            return False
        expect *= s
    return True


def is_expanded(t):
    """Whether a dimension of several elements has stride 0."""
    return t._strides is not None and t._n > 1 and any(k == 0 and s > 1 for s, k in zip(t._shape, t._strides))


_several: dict = {}


def is_several(t):
    """Whether elements of ``t`` are one in memory: with strides of 0, or overlapping like sliding windows."""
    return t._strides is not None and t._n > 1 and _is_several((t._shape, t._strides))


def _is_several(key):
    found = _several.get(key)
    if found is None:
        if len(_several) >= 4096:
            _several.clear()
        found = _several[key] = 0 not in key[0] and not distinct(*key) and _meet(*key)
    return found


def _meet(shape, strides):
    """Whether two elements of a geometry share memory, by looking at every place."""
    if any(k == 0 and s > 1 for s, k in zip(shape, strides)):
        return True
    places = np.zeros((), np.int64)
    for s, k in zip(shape, strides):
        places = np.add.outer(places, np.arange(s, dtype=np.int64) * k)
    return np.unique(places).size < places.size


def check_single(t):
    """RuntimeError if several elements of the target ``t`` are one: what is computed would depend on the order.

    PyTorch looks at strides of 0 only, and its result for other overlapping targets depends on how it loops."""
    if t._strides is not None and is_several(t):
        raise RuntimeError(SEVERAL)


def same_elements(a, b):
    """Whether two tensors on one storage are the same elements in the same order (given that they begin and end alike)."""
    return a._kind is b._kind and (a._strides or contiguous_strides(a._shape)) == (b._strides or contiguous_strides(b._shape))


def check_geometry_single(shape, strides):
    """RuntimeError if several elements of a geometry that is to be written are one."""
    if _is_several((shape, strides)):
        raise RuntimeError(SEVERAL)


def check_partial(t, others):
    """RuntimeError if the target ``t`` and one of the others share memory, unless element by element."""
    _check(t, others, True)


def check_apart(t, others):
    """RuntimeError if the target ``t`` and one of the others share memory."""
    _check(t, others, False)


def _check(t, others, whole):
    for o in others:
        if o._buf is not t._buf or o is t and whole or not o._n or not t._n or not (is_dense(t) and is_dense(o)):
            continue
        start, end = t._ptr, t._ptr + t._n * t._kind.itemsize
        first, last = o._ptr, o._ptr + o._n * o._kind.itemsize
        if first < end and start < last and not (
                whole and first == start and last == end and same_elements(t, o)):
            raise RuntimeError(SHARED)


def overlaps(a, b):
    """Whether two tensors on one storage share memory without being the same elements in the same order."""
    if a._ptr == b._ptr and a._shape == b._shape and a._strides == b._strides:
        return False

    def span(t):
        strides = t._strides or contiguous_strides(t._shape)
        last = sum((s - 1) * k for s, k in zip(t._shape, strides))
        return t._ptr, t._ptr + last * t._kind.itemsize
    (a0, a1), (b0, b1) = span(a), span(b)
    return a0 <= b1 and b0 <= a1


def unrecorded(t):
    """Whether reading or writing ``t`` takes no look at history, devices or rare modes."""
    if TAPE or t._ver.__class__ is not list or not t._kind.cpu:
        return False
    if modes.STATE:
        record = modes.recording()
        if not record:
            return record is False
    view = t._view
    return not t._rg and (view is None or not view.base._rg)
