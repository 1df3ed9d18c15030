"""Places: where a step read a Python value from, and what must still be there when it runs again.

A place knows how to look (``get``) and, for what steps write, how to put a value there (``put``). What was read is compared
by identity; numbers, strings and the like, which have none that matters, by type and value, where 0.0 is not -0.0 and 1 not
True (``alike``)."""

from __future__ import annotations

import struct
import types

import numpy as np

from ..public.later import Method
from . import sets
from .containers import base_of, dict_of, items_of, put_items


class Absent:
    """What a place without a value holds."""

    def __repr__(self):
        return "(nothing)"


ABSENT = Absent()
PLAIN = (bool, int, float, complex, str, bytes, type(None))
_PLAIN = frozenset(PLAIN) | {types.EllipsisType, types.NotImplementedType}
_pack = struct.Struct("d").pack


def alike(now, then):
    """Whether a value is what it was."""
    if now is then:
        return True
    cls = now.__class__
    if cls is not then.__class__:
        return False
    if cls is float:
        return _pack(now) == _pack(then)
    if cls is complex:
        return _pack(now.real) + _pack(now.imag) == _pack(then.real) + _pack(then.imag)
    if cls in _PLAIN:
        return now == then
    if isinstance(now, np.generic):
        return now.dtype == then.dtype and now.tobytes() == then.tobytes()
    if isinstance(now, tuple):
        return len(now) == len(then) and all([alike(a, b) for a, b in zip(now, then)]) and (
            cls is not sets.Body or sets.same(now, then))
    if cls is frozenset:
        return now == then and alike(sets.body_of(now), sets.body_of(then))
    if cls is slice:
        return alike((now.start, now.stop, now.step), (then.start, then.stop, then.step))
    if cls is types.MethodType:
        return now.__func__ is then.__func__ and now.__self__ is then.__self__
    if cls is types.FunctionType:  # an op's function is replaced by a faster one at its first use
        return now.__qualname__ == then.__qualname__ and all([(f.__module__ or "").partition(".")[0] == "numbagrad"
                                                              for f in (now, then)])
    if cls is range or isinstance(now, (np.dtype,)):
        return now == then
    return False


class Place:
    """Something that can be read again. ``root`` is the object that it belongs to; equal keys are equal places."""

    __slots__ = ("root", "name")

    def __init__(self, root, name=None):
        self.root, self.name = root, name

    @property
    def key(self):
        return type(self), id(self.root), self.name

    def holds(self, then):
        """Whether what was read is still there."""
        return alike(self.get(), then)

    def save(self):
        """What ``put`` needs to make the place as it is now."""
        return self.get()

    def __repr__(self):
        return f"{type(self).__name__}({type(self.root).__name__}, {self.name!r})"


class Entry(Place):
    """An item of a dict: an instance's attribute, a module's global name, a registered parameter, an item of the user's."""

    __slots__ = ("owner",)

    def __init__(self, table, name, owner=None):
        self.root, self.name, self.owner = table, name, owner

    @property
    def key(self):
        return Entry, id(self.root), self.name.__class__, self.name

    def get(self):
        return dict.get(self.root, self.name, ABSENT)

    def put(self, value):
        if value is ABSENT:
            dict_of(self.root).pop(self.root, self.name, None)
        else:
            dict_of(self.root).__setitem__(self.root, self.name, value)

    def text(self):
        """The place in words."""
        if isinstance(self.owner, types.ModuleType):
            return f"{self.owner.__name__}.{self.name}"
        return f"the global variable '{self.name}'" if self.owner == "globals" else (
            f"item {self.name!r} of a dict" if self.owner is None else f"{type(self.owner).__name__}.{self.name}")


class Item(Place):
    """An item of a list, or of another sequence without code of its own."""

    __slots__ = ()

    def get(self):
        try:
            return base_of(self.root).__getitem__(self.root, self.name)
        except (IndexError, KeyError):
            return ABSENT

    def put(self, value):
        base_of(self.root).__setitem__(self.root, self.name, value)

    def text(self):
        return f"item {self.name} of a {type(self.root).__name__}"


class Cell(Place):
    """A variable of an enclosing function."""

    __slots__ = ()

    def get(self):
        try:
            return self.root.cell_contents
        except ValueError:
            return ABSENT

    def put(self, value):
        if value is ABSENT:
            del self.root.cell_contents
        else:
            self.root.cell_contents = value

    def text(self):
        return f"the variable '{self.name}' of the enclosing function"

    @property
    def key(self):
        return Cell, id(self.root)


class Member(Place):
    """An attribute that C code keeps: a slot (``name`` is its descriptor)."""

    __slots__ = ()

    def get(self):
        try:
            return self.name.__get__(self.root)
        except AttributeError:
            return ABSENT

    def put(self, value):
        if value is ABSENT:
            self.name.__delete__(self.root)
        else:
            self.name.__set__(self.root, value)

    @property
    def key(self):
        return Member, id(self.root), id(self.name)

    def text(self):
        return f"{type(self.root).__name__}.{self.name.__name__}"


def found_in(classes, name):
    """What the first of some classes that has an attribute of this name holds under it."""
    for c in classes:
        if name in c.__dict__:
            found = c.__dict__[name]
            return found.found() if isinstance(found, Method) else found
    return ABSENT


class Kind(Place):
    """The class of an object."""

    __slots__ = ()

    def get(self):
        return type(self.root)

    def text(self):
        return f"the class of a {type(self.root).__name__}"


class Lookup(Place):
    """A name looked up in a class and its bases."""

    __slots__ = ()

    def classes(self):
        """The classes that are looked at, and for which name."""
        return self.root.__mro__, self.name

    def get(self):
        return found_in(*self.classes())

    def text(self):
        return f"the class attribute {self.root.__name__}.{self.name}"


class After(Place):
    """A name looked up in the classes behind another among the bases of a class, as ``super()`` does; ``name``: (that class,
    name)."""

    __slots__ = ()

    def classes(self):
        this, name = self.name
        mro = self.root.__mro__
        return mro[mro.index(this) + 1:] if this in mro else (), name

    def get(self):
        return found_in(*self.classes())

    @property
    def key(self):
        return After, id(self.root), id(self.name[0]), self.name[1]

    def text(self):
        return f"{self.name[1]} of the classes that {self.root.__name__} is derived from"


class Getter(Place):
    """An attribute that C code computes."""

    __slots__ = ()

    def get(self):
        try:
            return getattr(self.root, self.name)
        except Exception:
            return ABSENT

    def text(self):
        return f"{type(self.root).__name__}.{self.name}"


class Protocols(Place):
    """All special methods of a class (``name``: theirs)."""

    __slots__ = ()

    def get(self):
        return tuple([found_in(self.root.__mro__, n) for n in self.name])

    @property
    def key(self):
        return Protocols, id(self.root)

    def text(self):
        return f"the special methods of {self.root.__name__}"


class ClassEntry(Place):
    """An attribute of one class, as written."""

    __slots__ = ()

    def get(self):
        return self.root.__dict__.get(self.name, ABSENT)

    def put(self, value):
        if value is ABSENT:
            type.__delattr__(self.root, self.name)
        else:
            type.__setattr__(self.root, self.name, value)

    text = Lookup.text


ORIGINALS: dict = {}  # id of a code with hooks, while a capture has it in its place -> the code itself


class Field(Place):
    """A field of a function, such as its code and defaults."""

    __slots__ = ()

    def get(self):
        found = getattr(self.root, self.name)
        return ORIGINALS.get(id(found), found)

    def text(self):
        return f"{self.name} of {self.root.__qualname__}()"


class Length(Place):
    """How many items a container has."""

    __slots__ = ()

    def get(self):
        return base_of(self.root).__len__(self.root)

    def text(self):
        return f"the length of a {type(self.root).__name__}"


class Keys(Place):
    """The keys of a dict, in their order."""

    __slots__ = ()

    def get(self):
        return tuple(items_of(self.root)[::2])

    def text(self):
        return "the keys of a dict"


class Content(Place):
    """All items of a container."""

    __slots__ = ()

    def get(self):
        return items_of(self.root)

    def holds(self, then):
        x = self.root
        if then.__class__ is sets.Body:
            return len(then) == set.__len__(x) and all(map(alike, set.__iter__(x), then)) and sets.lies(x, then)
        now = items_of(x)
        return len(now) == len(then) and all([a is b or alike(a, b) for a, b in zip(now, then)])

    def put(self, value):
        put_items(self.root, value)

    def text(self):
        return f"a {type(self.root).__name__} of {len(items_of(self.root))} items"


class Finger(Place):
    """Where ``pop()`` of a set looks for an item first."""

    __slots__ = ()

    def get(self):
        return sets.finger(self.root)

    def text(self):
        return f"where pop() of a {type(self.root).__name__} begins"


class Numbers(Place):
    """The numbers in a NumPy array."""

    __slots__ = ()

    def get(self):
        a = self.root
        return a.shape, a.dtype.str, a.tobytes()

    def text(self):
        return f"a NumPy array of shape {self.root.shape}"


class Memory(Place):
    """The bytes of an object that is nothing but memory: an array of Python's or of ctypes, a memoryview."""

    __slots__ = ()

    def get(self):
        m = memoryview(self.root)
        return m.format, m.shape, m.tobytes()

    def text(self):
        return f"the contents of a {type(self.root).__name__}"


class Proxied(Place):
    """An item of a mapping that shows another one."""

    __slots__ = ()

    def get(self):
        return self.root.get(self.name, ABSENT)

    def text(self):
        return f"item {self.name!r} of a {type(self.root).__name__}"
