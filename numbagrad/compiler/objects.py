"""How Python objects are built, as far as observation needs it: where attributes lie, what a callable is."""

from __future__ import annotations

import collections
import gc
import types

from ..base import dtypes
from . import pure, symbols
from .places import PLAIN, found_in

HEAP = 1 << 9  # flag of classes that are made at run time
SLOT = types.MemberDescriptorType
PROTOCOLS = tuple([f"__{n}__" for n in """
add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul
rmatmul and rand or ror xor rxor lshift rshift neg pos abs invert iadd isub imul itruediv imatmul ior iand eq ne lt le gt ge
bool
len iter next getitem setitem delitem contains reversed call enter exit index int float complex hash str repr format missing
getattribute getattr setattr delattr get set delete round length_hint instancecheck subclasscheck array""".split()])
SPECIAL_NAMES = frozenset(PROTOCOLS)
C_CALLABLES = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
               types.ClassMethodDescriptorType)
# Values that hold nothing.
SIMPLE = frozenset((*PLAIN, types.EllipsisType, range, slice, type(dtypes.float32), symbols.SymFloat, symbols.SymInt))
VIEWS = tuple([type(v) for d in ({}, collections.OrderedDict()) for v in (d.keys(), d.values(), d.items())])
NEW = (list, dict, set, collections.deque, bytearray, *pure.ITERATORS, collections.OrderedDict, collections.defaultdict)


def lookup(cls, name):
    """An attribute of a class or its bases, as it lies there; ABSENT if there is none."""
    return found_in(cls.__mro__, name)


def is_memory(x):
    """Whether an object shows memory that may change."""
    try:
        with memoryview(x) as m:
            return not m.readonly or x.__class__ is memoryview
    except TypeError:
        return False


def table_of(x):
    """The dict of an object's own attributes, or None."""
    try:
        table = object.__getattribute__(x, "__dict__")
    except AttributeError:
        return None
    return table if table.__class__ is dict else None


def mapping_of(view):
    return gc.get_referents(view)[0]


def of_library(f, owner):
    module = getattr(f, "__module__", None) or getattr(type(owner), "__module__", "")
    return isinstance(module, str) and module.partition(".")[0] == "numbagrad"


def named(f):
    module, name = getattr(f, "__module__", None), getattr(f, "__qualname__", None) or type(f).__qualname__
    owner = getattr(f, "__self__", None)
    if module is None and owner is not None and not isinstance(owner, types.ModuleType):
        module = type(owner).__module__
    return f"{module}.{name}()" if module not in (None, "builtins") else f"{name}()"
