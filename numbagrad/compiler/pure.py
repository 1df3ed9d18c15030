"""What a step may call without being followed: functions in C whose result depends on their arguments alone.

Everything else that is not written in Python is refused by name. Methods are listed by what they do to their object:
``READS`` look at all of it, ``CHANGES`` change it (``places`` can put it back)."""

from __future__ import annotations

import builtins
import collections
import functools
import itertools
import math
import operator
import os
import sys
import types
import weakref

import numpy as np

_NAMES = """abs all any ascii bin bool bytearray bytes callable chr complex dict divmod enumerate filter float format frozenset
hash hex int isinstance issubclass iter len list map max memoryview min object oct ord pow property range repr reversed round
set slice sorted staticmethod classmethod str sum tuple type zip __build_class__ id""".split()
FUNCTIONS = {id(f): f for f in (
    *[getattr(builtins, n) for n in _NAMES],
    *[f for f in vars(math).values() if callable(f)],
    *[getattr(operator, n) for n in operator.__all__ if n not in ("setitem", "delitem", "attrgetter", "itemgetter",
                                                                   "methodcaller", "call") and not n.startswith("i")],
    *[f for f in vars(itertools).values() if callable(f)],
    functools.partial, functools.reduce, functools.cmp_to_key, operator.attrgetter, operator.itemgetter, operator.methodcaller,
    collections.deque, collections.OrderedDict, collections.defaultdict, types.SimpleNamespace, types.MappingProxyType,
    types.MethodType, types.GenericAlias, operator.index, operator.indexOf, operator.is_, operator.is_not,
    operator.invert, os.fspath, sys.getsizeof, sys.intern, sys.getrecursionlimit, weakref.ref, weakref.proxy,
)}
MARKED: dict = {}  # id -> function that a user has marked as pure
# Classes whose calls make new objects, which only the step knows.
IMMUTABLE = (str, bytes, int, float, complex, bool, tuple, frozenset, range, slice, type(None), types.MappingProxyType,
             type(dict().keys()), type(dict().values()), type(dict().items()), property, memoryview, types.GenericAlias,
             types.CodeType, np.generic, np.dtype)
CHANGES = {
    list: "append extend insert pop remove clear sort reverse __setitem__ __delitem__ __iadd__ __imul__ __init__",
    dict: "update setdefault pop popitem clear __setitem__ __delitem__ __ior__ move_to_end __init__",
    set: "add update discard remove pop clear difference_update intersection_update symmetric_difference_update __ior__ "
         "__iand__ __isub__ __ixor__ __init__",
    collections.deque: "append appendleft pop popleft extend extendleft rotate remove clear insert reverse __setitem__ "
                       "__delitem__ __iadd__ __imul__ __init__",
    bytearray: "append extend insert pop remove clear reverse __setitem__ __delitem__ __iadd__ __imul__",
}
CHANGES = {cls: frozenset(names.split()) for cls, names in CHANGES.items()}
# Iterators: those made in the step may be advanced, others are refused.
ITERATORS = (*[type(iter(x)) for x in ([], (), {}, {}.values(), {}.items(), set(), "", b"", range(0), range(1 << 70),
                                       collections.deque())],
             type(reversed([])), type(reversed({})), type(iter(int, 0)), enumerate, zip, map, filter, types.GeneratorType,
             *[c for c in vars(itertools).values() if isinstance(c, type)])


def changes(x, name):
    """Whether a method of a built-in container changes it."""
    return any([isinstance(x, cls) and name in names for cls, names in CHANGES.items()])


def numpy_made(f):
    """Whether a callable is NumPy's and has no state: no random numbers, no files."""
    module = getattr(f, "__module__", None) or getattr(type(f), "__module__", "")
    if isinstance(f, np.ufunc):
        return True
    if not isinstance(module, str) or module.partition(".")[0] != "numpy":
        return False
    return "random" not in module and getattr(f, "__name__", "") not in (
        "load", "save", "savez", "savez_compressed", "fromfile", "loadtxt", "genfromtxt", "savetxt", "memmap", "DataSource")
