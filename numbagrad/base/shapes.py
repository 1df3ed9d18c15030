"""Shapes, strides and dimension numbers."""

from __future__ import annotations

import operator

import numpy as np

from . import arguments
from . import dtypes as dt


class Size(tuple):
    """A tensor's shape: a tuple that prints as ``torch.Size([2, 3])`` and knows its number of elements."""

    __slots__ = ()

    def __new__(cls, iterable=(), /):
        self = tuple.__new__(cls, iterable)
        for s in self:
            if s.__class__ is not int:
                return tuple.__new__(cls, [s if s.__class__ is int else _size(s, i) for i, s in enumerate(self)])
        return self

    def numel(self):
        """Product of the sizes."""
        n = 1
        for s in _read(self):
            n *= s
        return n

    def __repr__(self):
        _read(self)
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, i, item=tuple.__getitem__):
        return Size(item(self, i)) if i.__class__ is slice else item(self, i)

    def __add__(self, other):
        if not isinstance(other, tuple):
            raise TypeError(f"can only concatenate tuple (not {type(other).__name__}) to torch.Size")
        return Size(tuple.__add__(self, other))

    def __radd__(self, other):
        return Size(tuple.__add__(other, self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, n):
        return Size(tuple.__mul__(self, n))

    __rmul__ = __mul__


def _read(sizes):
    """Sizes that C++ looks at, each of which has to be an int64 (as in PyTorch, a ``Size`` itself may hold any)."""
    for s in sizes:
        if s.__class__ is int:
            dt.check_signed(s)
    return sizes


def _size(value, i):
    """A number that is no plain int as one of the sizes: what has an index, a tensor of one whole number too."""
    if hasattr(value, "_kind"):
        if value._n == 1 and value._kind.dtype.category < 2:
            return int(value)
    elif hasattr(value, "__index__"):
        own = isinstance(value, np.integer) or type(value).__module__.startswith("numbagrad.")
        return value if own else operator.index(value)
    raise TypeError(f"torch.Size() takes an iterable of 'int' (item {i} is '{type(value).__name__}')")


def contiguous_strides(shape):
    """Strides in elements of a row-major array of this shape."""
    out, step = [], 1
    for s in reversed(shape):
        out.append(step)
        step *= max(s, 1)
    return tuple(reversed(out))


def channels_last(shape, strides):
    """Whether strides grow from channels over columns and rows to pictures; None of them are row-major ones."""
    if strides is None:
        strides = contiguous_strides(shape)
    least = 0
    for d in (1, *range(len(shape) - 1, 1, -1), 0):
        if not shape[d] or not strides[1] or strides[d] < least or d == 0 and least == strides[1]:
            return False
        least = strides[d] * shape[d]
    return True


def is_contiguous(shape, strides):
    """Whether strides describe a row-major array; strides of dimensions of size one do not matter."""
    if len(shape) == 2:  # the usual case, spelled out because every transpose asks
        rows, columns = shape
        return (columns == 1 or strides[1] == 1) and (rows == 1 or strides[0] == columns) or rows == 0 or columns == 0
    step = 1
    for s, k in zip(reversed(shape), reversed(strides)):
        if s == 0:
            return True
        if s != 1:
            if k != step:
                return False
            step *= s
    return True


def distinct(shape, strides):
    """Whether no two elements of a geometry share memory, by the simple sufficient test on sorted strides."""
    reach = 0
    for k, s in sorted((k, s) for s, k in zip(shape, strides) if s > 1):
        if k <= reach:
            return False
        reach += (s - 1) * k
    return True


def numel(shape):
    n = 1
    for s in shape:
        n *= s
    return n


def check_empty(shape):
    """Raise if the strides of a shape without elements take more than 64 bits."""
    if numel([s for s in shape if s]) >= 1 << 63:
        raise RuntimeError(f"Stride calculation overflowed with sizes={list(shape)}")


def wrap_dim(dim, ndim, name=None):
    """A dimension number brought into range; IndexError outside [-ndim, ndim)."""
    if dim.__class__ is not int:
        dim = arguments.check_int(dim, name or "wrap_dim", "dim", 1)
    n = ndim or 1
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim + n if dim < 0 else dim


def expanded_strides(t, shape):
    """Strides of ``t`` seen with a shape it broadcasts to."""
    strides = t._strides or contiguous_strides(t._shape)
    lead = len(shape) - len(strides)
    return (0,) * lead + tuple(0 if s == 1 and shape[lead + i] != 1 else k
                               for i, (s, k) in enumerate(zip(t._shape, strides)))
