"""Which tensors may be written while others are read: the checks of in-place operations and of ``out=``.

Only what is cheap to know is refused, as in PyTorch: a target one of whose elements is plainly written several times,
and dense operands whose memory overlaps the target's. The other cases are left to the caller, who copies.
"""

from __future__ import annotations

from .tensor import contiguous_strides

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


def check_single(t):
    """RuntimeError if several elements of the target ``t`` are plainly one."""
    if is_expanded(t):
        raise RuntimeError(SEVERAL)


def same_elements(a, b):
    """Whether two tensors on one storage are the same elements in the same order (given that they begin and end alike)."""
    return a._kind is b._kind and (a._strides or contiguous_strides(a._shape)) == (b._strides or contiguous_strides(b._shape))


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
