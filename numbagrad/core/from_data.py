"""Python's numbers, nested sequences of them and NumPy's arrays as tensors: the shape, the dtype, and what is refused."""

from __future__ import annotations

import operator
from itertools import chain

import numpy as np

from ..base import dtypes as dt
from ..base.device import CPU, DEFAULT, resolve_device
from ..base.user_code import warn_once
from ..kernel.tape import constant
from .copying import of_array
from .storage import kind_of
from .tensor import Tensor, from_array


@constant
def from_data(data, dtype, device, copy):
    """A tensor of ``data``; without ``copy`` on the memory of an array where dtype and device let it."""
    if isinstance(data, np.ndarray):
        a = checked_array(data, copy)
        t = from_array(np.array(a) if copy else a)
        target = dtype or t._kind.dtype
        return t if target is t._kind.dtype and device is None and DEFAULT[0] is CPU else t.to(
            device=resolve_device(device), dtype=target)
    shape, items, classes, dtypes = _levels(data, dtype is not None)
    target = dtype if dtype is not None else _dtype_of(items, classes, dtypes)
    return of_array(_values(items, classes, target), shape, kind_of(target, resolve_device(device)))


def checked_array(data, copy=False):
    """An array or NumPy scalar as an array that a tensor can be made of; PyTorch's errors and warning."""
    a = np.asarray(data)
    if not a.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order. Conversion between byte "
                         "orders is currently not supported.")
    dt.from_numpy(a.dtype)
    if any(s < 0 for s in a.strides) and a.size:
        raise ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides are "
                         "not currently supported. (You can probably work around this by making a copy of your array  with "
                         "array.copy().) ")
    if not copy and not a.flags.writeable and isinstance(data, np.ndarray):
        warn_once("The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This means "
                  "writing to this tensor will result in undefined behavior. You may want to copy the array to protect "
                  "its data or make it writable before converting it to a tensor. This type of warning will be "
                  "suppressed for the rest of this program.")
    return a


def _is_sequence(x):
    """Whether a value stands for a dimension of nested data."""
    c = x.__class__
    if c in _LEAVES:
        return False
    if c is list or c is tuple:
        return True
    if isinstance(x, np.ndarray):
        return x.ndim > 0
    return hasattr(c, "__getitem__") and hasattr(c, "__len__") and not isinstance(
        x, (Tensor, str, bytes, dict, np.generic))


_NUMBERS = frozenset((bool, int, float))
_LEAVES = _NUMBERS | {complex, str, type(None)}


def _levels(data, typed):
    """(shape, all elements in a row, their classes, dtypes of arrays among them) of nested sequences, level by level."""
    if data.__class__ is list:
        classes = set(map(type, data))
        if classes and classes <= _NUMBERS:
            return (len(data),), data, classes, ()
    shape, items, dtypes, above, kept = [], [data], set(), set(), []
    while True:
        classes = set(map(type, items))
        if classes <= _LEAVES or not _is_sequence(items[0]):
            break
        n, at = len(items[0]), len(shape)
        ids = set(map(id, items))
        if at == 64 or ids & above:  # a list that contains itself has no end
            raise ValueError(f"too many dimensions '{type(data).__name__}'")
        above |= ids
        kept.append(items)  # no other object may get the number of one that was seen
        shape.append(n)
        if n == 0:  # behind an empty first one PyTorch looks at no other
            items, classes = [], set()
            break
        if classes <= _SIMPLE and set(map(len, items)) == {n}:
            items = list(items[0]) if len(items) == 1 else list(chain.from_iterable(items))
        else:
            items = _row(items, n, at, dtypes, typed)
    if items and items[0].__class__ in (str, bytes):
        name = type(items[0]).__name__
        raise ValueError(f"too many dimensions '{name}'") if shape else TypeError(f"new(): invalid data type '{name}'")
    return tuple(shape), items, classes, dtypes


def _look(sequence):
    """What has no element 0 is no sequence for PyTorch, whatever length it has: a pandas Series of other labels."""
    try:
        sequence[0]
    except Exception:
        raise ValueError(f"could not determine the shape of object type '{type(sequence).__name__}'") from None


def _row(items, n, at, dtypes, typed):
    """The elements of sequences of ``n`` elements each, in a row; the dtypes of arrays among them are added to ``dtypes``."""
    row = []
    if items[0].__class__ not in _SIMPLE:
        _look(items[0])
    for x in items:
        if not _is_sequence(x):
            raise TypeError("not a sequence")
        if len(x) != n:
            raise ValueError(f"expected sequence of length {n} at dim {at} (got {len(x)})")
        if isinstance(x, np.ndarray):
            dtypes.add(dt.from_numpy(x.dtype))
            x = x.tolist()
        elif x.__class__ not in _SIMPLE:
            if not typed:
                dtypes.update([dt.from_numpy(e.dtype) for e in [x[i] for i in range(n)] if isinstance(e, np.generic)])
            x = list(x)  # (a pandas Series finds elements by label, with their types, but has them in order)
            if len(x) != n:
                raise ValueError(f"expected sequence of length {n} at dim {at} (got {len(x)})")
        row.extend(x)
    return row


_SIMPLE = frozenset((list, tuple, range, bytearray))


def _dtype_of(items, classes, dtypes):
    """The dtype that holds all elements, NumPy's scalars, arrays and tensors keeping theirs."""
    if len(classes) == 1 and not dtypes:
        c, = classes
        if c is float:
            return dt.get_default_dtype()
        if c is int:
            return dt.int64
    found = set(dtypes)
    for c in classes:
        if c in (bool, int, float, complex):
            if not dtypes or c is not float and c is not complex:
                found.add(dt.of_number(c(0)))
                continue
            # Numbers out of an array say nothing; Python's own floats beside it have the default dtype.
            found.add(dt.float32 if c is float else dt.complex64)
        elif issubclass(c, Tensor):
            found.update([x.dtype for x in items if x.__class__ is c])
        elif issubclass(c, np.ndarray):
            found.update([dt.from_numpy(x.dtype) for x in items if x.__class__ is c])
        elif issubclass(c, np.generic):
            found.add(dt.from_numpy(np.dtype(c)))
        elif issubclass(c, (int, float, complex)):
            found.add(dt.of_number(next(x for x in items if x.__class__ is c)))
        elif issubclass(c, (str, bytes)):
            raise TypeError(f"new(): invalid data type '{c.__name__}'")
        elif hasattr(c, "__getitem__") and hasattr(c, "__len__") and c is not dict:
            raise TypeError(f"'{c.__name__}' object cannot be interpreted as a number")
        else:
            raise RuntimeError(f"Could not infer dtype of {c.__name__}")
    best = None
    for d in found:
        best = d if best is None else dt.promote_types(best, d)
    return dt.get_default_dtype() if best is None else best


def _values(items, kinds, d):
    """The elements as an array of the widest type of ``d``'s category; those that ``d`` cannot hold are refused."""
    if not kinds <= _LEAVES and (d is not dt.uint64 or Tensor in kinds):
        items = [_number(x, d) if isinstance(x, Tensor) else x.item() if isinstance(x, (np.ndarray, np.generic)) else x
                 for x in items]
        kinds = set(map(type, items))
    if d.category == 1:
        return _integers(items, kinds, d)
    if d.category == 0:
        return np.array([bool(x) for x in items], np.bool_)
    if d.category == 3:
        return np.array(items, np.complex128)
    if complex in kinds:
        raise TypeError("must be real number, not complex")
    return np.array(items if kinds <= {int, float, bool} else [_real(x) for x in items], np.float64)


def _real(x):
    try:
        return float(x if not isinstance(x, (str, bytes)) else None)
    except TypeError:
        raise TypeError(f"must be real number, not {type(x).__name__}") from None


def _number(t, d):
    """The value of a tensor in a list, which stands for a number."""
    if t._n == 1:
        return t.item()
    if d.category < 2:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    raise ValueError("only one element tensors can be converted to Python scalars")


def _integers(items, kinds, d):
    """The elements as int64, cut towards zero."""
    if d is dt.uint64:
        return _long(items)
    low, high = dt.limits(d)
    whole = items if kinds <= {int, bool} else [_whole(x, d) for x in items]
    try:
        a = np.array(whole, np.int64)
    except OverflowError:
        raise ValueError("Overflow when unpacking long long") from None
    if d is not dt.int64 and a.size and not low <= a.min() <= a.max() <= high:
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")
    return a


def _long(items):
    """The elements as uint64: Python's integers alone, and no negative ones."""
    for x in items:
        if not isinstance(x, int):
            raise TypeError("an integer is required")
        if x < 0:
            raise OverflowError("can't convert negative int to unsigned")
        if x >> 64:
            raise OverflowError("int too big to convert")
    return np.array(items, np.uint64)


def _whole(x, d):
    if not isinstance(x, float):
        return operator.index(x)
    low, high = dt.limits(d, x)
    if not low <= x <= high:
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")
    return min(int(x), high)
