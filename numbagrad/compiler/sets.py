"""Sets as they lie in memory.

The order of a set's items, and of what is added to it later, follows from all that was ever done to it: an equal set made anew
may have another one. So what a capture has changed it puts back as it was, table and all, and compares as a table. The layout
is that of CPython 3.10 to 3.13 and tried out before the first use; without it there are the items alone."""

from __future__ import annotations

import ctypes
import functools
import sys

import numpy as np

FILL, USED, MASK, TABLE, FINGER, SMALL = 16, 24, 32, 40, 56, 64
FREE, ITEM, LEFT = 0, 1, 2  # what is in a place of a table: nothing, an item, what is left of one that was removed
_change = ctypes.pythonapi.Py_IncRef, ctypes.pythonapi.Py_DecRef
for _f in _change:
    _f.argtypes, _f.restype = (ctypes.py_object,), None


def word(address):
    """The 64 bits at an address."""
    return ctypes.c_int64.from_address(address).value


def usual():
    """Whether objects may lie in memory as in the CPython that is known here."""
    return sys.implementation.name == "cpython" and sys.maxsize == 2**63 - 1 and sys.version_info < (3, 14) and not (
        hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled())


class Body(tuple):
    """The items of a set in their order, with its table: ``marks`` says what is in each place, ``table`` (key, hash) what."""

    marks = table = None
    finger = 0  # where pop() looks first


def base_of(x):
    """The class in C of a set."""
    return set if isinstance(x, set) else frozenset


def body_of(x):
    """A set as it is now."""
    while known():
        table = _table(x).copy()
        body = Body(base_of(x).__iter__(x))
        if table[_marks(table) == ITEM, 0].tolist() == [id(v) for v in body]:  # (else another thread has changed it)
            body.table, body.marks, body.finger = table, _marks(table).tobytes(), word(id(x) + FINGER)
            return body
    return Body(base_of(x).__iter__(x))


def same(one, other):
    """Whether equal items lie in the same places of two tables."""
    return one.marks == other.marks


def lies(x, body):
    """Whether a set with the items of ``body`` in their order has them in the same places."""
    return body.marks is None or _marks(_table(x)).tobytes() == body.marks


def restore(x, body):
    """Make a set what it was."""
    set.clear(x)
    if body.table is None:
        set.update(x, body)
    else:
        set.update(x, _fillers(body))
        _fill(x, body)


def made(kind, body):
    """A new set or frozenset like another."""
    if body.table is None:
        return kind(body)
    x = kind(_fillers(body))
    _fill(x, body)
    return x


def is_plain(kind, body):
    """Whether a set made of the items in their order is the same."""
    new = body_of(kind(body))
    return body.table is None or same(body, new) and all([a is b for a, b in zip(body, new)])


def finger(x):
    """Where pop() looks for an item first."""
    return word(id(x) + FINGER) if known() else None


def words(x):
    """(address, word) pairs that tell whether a set is as it is now."""
    table, at = _table(x), word(id(x) + TABLE)
    head = [(id(x) + field, word(id(x) + field)) for field in (FILL, USED, MASK, TABLE)]
    return head + [(at + 16 * i, key) for i, key in enumerate(table[:, 0].tolist())]


def places(x):
    """How many places the table of a set has."""
    return word(id(x) + MASK) + 1


def _table(x):
    n = places(x)
    return np.frombuffer((ctypes.c_int64 * (2 * n)).from_address(word(id(x) + TABLE)), np.int64).reshape(n, 2)


def _marks(table):
    keys = table[:, 0]
    return (keys != 0).astype(np.uint8) + (keys == _left()).astype(np.uint8)


@functools.cache
def _left():
    """What is in the place of an item that was removed."""
    x = {1}
    before = _table(x)[:, 0].tolist()
    x.discard(1)
    return next(key for key, old in zip(_table(x)[:, 0].tolist(), before) if old)


def _fillers(body):
    """A set that gives an empty one which takes its items a table as large as that of ``body``."""
    return set(range(len(body.table) // 2 - 1))


def _fill(x, body):
    """Put a table in the place of one of the same size. No object may be without a reference that it is known by meanwhile."""
    before, table = tuple(base_of(x).__iter__(x)), _table(x)
    if len(table) != len(body.table):
        raise RuntimeError("ng.compile: a set has a table of another size than expected; please report this")
    for v in body:
        _change[0](v)
    table[:] = body.table
    for field, value in ((FILL, len(body.marks) - body.marks.count(FREE)), (USED, len(body)), (FINGER, body.finger)):
        ctypes.c_int64.from_address(id(x) + field).value = value
    for v in before:
        _change[1](v)


@functools.cache
def known():
    """Whether sets lie in memory as expected."""
    if not usual():
        return False
    for items in ((1,), (0, 8, 16), tuple(map(str, range(7))), tuple(range(100, 164))):
        x = set(items)
        small = len(items) < 5
        if [word(id(x) + f) for f in (FILL, USED)] != [len(items)] * 2 or places(x) not in (8, 16, 32, 64, 128, 256, 512) or (
                small and word(id(x) + TABLE) != id(x) + SMALL):
            return False
        table = _table(x)
        if [(k, h) for k, h in table.tolist() if k] != [(id(v), hash(v)) for v in x]:
            return False
        x.discard(items[0])
        if word(id(x) + FILL) != len(items) or word(id(x) + USED) != len(items) - 1 or _left() not in table[:, 0].tolist():
            return False
        for filler in (set, frozenset):
            if places(filler(set(range(len(table) // 2 - 1)))) != len(table):
                return False
    return True
