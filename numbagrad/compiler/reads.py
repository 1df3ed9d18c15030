"""What a run reads from and writes to objects: attributes, items, contents."""

from __future__ import annotations

import collections
import dataclasses
import operator
import types

import numpy as np

from ..core.tensor import Tensor
from ..public import later
from . import pure, symbols
from .containers import CONTAINERS
from .files import trusted
from .objects import HEAP, PROTOCOLS, SIMPLE, SLOT, SPECIAL_NAMES, VIEWS, is_memory, lookup, mapping_of, table_of
from .places import (
    ABSENT,
    After,
    Content,
    Entry,
    Getter,
    Item,
    Kind,
    Length,
    Lookup,
    Member,
    Memory,
    Numbers,
    Protocols,
    Proxied,
)
from .structure import is_record
from .words import version_of

# What the stand-ins of a run have not, or not as their originals.
_OF_STANDINS = frozenset(("grad_fn", "output_nr", "_base", "_is_view", "storage_offset", "untyped_storage", "_view", "_node",
                          "_ptr", "_buf", "_ver", "__dict__"))
_ITEMS = tuple([c.__getitem__ for c in (list, dict, collections.OrderedDict, collections.deque, bytearray)])


_OWN_WAY = (types.ModuleType, type, super, types.MethodType)  # whose attributes are not looked up as usual
_specials: dict = {}  # version of a class -> what _special_names found


def _special_names(cls):
    """[(number of a class among the bases of ``cls``, name)] of special methods that may not be the engine's."""
    version = version_of(cls)
    found = _specials.get(version)
    if found is None:
        found = [(i, name) for i, c in enumerate(cls.__mro__) if c.__flags__ & HEAP
                 for name in SPECIAL_NAMES & c.__dict__.keys()
                 if not (c.__dict__[name].__class__ is types.FunctionType and trusted(c.__dict__[name].__code__.co_filename))]
        if version:  # (a class that changes gets a version that no class ever had)
            if len(_specials) > 1000:
                _specials.clear()
            _specials[version] = found
    return found


class Reads:
    """The part of an observer that looks at objects before an operation does."""

    def attribute(self, x, name):
        cls = x.__class__
        if cls in SIMPLE:
            return
        if isinstance(x, _OWN_WAY):
            if isinstance(x, types.ModuleType):
                later.settle(x, name)
                self.note(Entry(vars(x), name, x), vars(x).get(name, ABSENT))
                return
            if isinstance(x, type):
                self._of_class(x, name)
                return
            if type(x) is super:
                return self._of_super(x, name)
            if cls is types.MethodType and name not in ("__func__", "__self__"):
                return self.attribute(x.__func__, name)
        cls = type(x)
        if cls not in self.met:
            self.meet(cls)
        raw = lookup(cls, name)
        if self.stood and id(x) in self.stood and (name in _OF_STANDINS or raw is ABSENT or name == "is_leaf" and (
                id(x) in self.cut)):
            self.refuse(f"reads '{name}' of a tensor that may be another one in each call (an argument, or one that is bound "
                        "anew), which is not looked at then,")
        self.class_of(x)
        if id(cls) not in self.inside and not self.is_known((Lookup, id(cls), name)):
            self.note(Lookup(cls, name), raw)
        get, data = (None, False) if raw is ABSENT else self._descriptor(raw)
        if data:
            if isinstance(raw, property):
                self._accessor(raw.fget)
            elif raw.__class__ is SLOT:
                place = Member(x, raw)
                self.note(place, place.get())
            elif get is not None:
                self._accessor(get)
            elif name not in ("__dict__", "__class__", "__weakref__") and not isinstance(x, (Tensor, tuple)) and (
                    self.is_outside(x)):
                self.foreign = True
                place = Getter(x, name)
                self.note(place, place.get())
            return
        table = table_of(x)
        if table is not None:
            value = dict.get(table, name, ABSENT)
            if not self.is_known((Entry, id(table), name.__class__, name)) and self.is_outside(x):
                self.note(Entry(table, name, x), value)
            if value is not ABSENT:
                return
        if raw is ABSENT:
            self._accessor(lookup(cls, "__getattr__"))
        elif get is not None and raw.__class__ not in (types.FunctionType, classmethod, staticmethod):
            self._accessor(get)

    def _of_super(self, x, name):
        """An attribute of ``super()``: of the classes behind this one."""
        cls = x.__self_class__
        if cls is not None and id(cls) not in self.inside:
            place = After(cls, (x.__thisclass__, name))
            self.note(place, raw := place.get())
            if isinstance(raw, property):
                self._accessor(raw.fget)
            else:
                get, _ = self._descriptor(raw)
                if get is not None:
                    self._accessor(get)

    def _descriptor(self, raw):
        """(``__get__`` written in Python or None, whether a descriptor comes before the instance's own attributes)."""
        cls = type(raw)
        if raw is ABSENT or cls is types.FunctionType:
            return None, False
        get = lookup(cls, "__get__")
        data = get is not ABSENT and (lookup(cls, "__set__") is not ABSENT or lookup(cls, "__delete__") is not ABSENT)
        return get if get.__class__ is types.FunctionType else None, data

    def _accessor(self, f):
        if f.__class__ is types.FunctionType:
            self.follow(f)
        elif f is not ABSENT and f is not None and f.__class__ in (types.BuiltinFunctionType, types.MethodDescriptorType):
            self._c_function(f, (), {})

    def _of_class(self, cls, name):
        self.note(Lookup(cls, name), raw := lookup(cls, name))
        meta = type(cls)
        if meta is not type:
            self.note(Lookup(meta, name), found := lookup(meta, name))
            if isinstance(found, property):
                self._accessor(found.fget)
        get, _ = self._descriptor(raw)
        if get is not None:
            self._accessor(get)

    def class_of(self, x):
        """The class of an object is looked at."""
        if type(x).__flags__ & HEAP and not self.is_known((Kind, id(x), None)) and self.is_outside(x):
            self.note(Kind(x), type(x))

    def meet(self, cls):
        """Put hooks into what operators and built-in functions call of a class of the user's."""
        if cls in self.met or cls in SIMPLE:
            return
        self.met.add(cls)
        for i, name in _special_names(cls):
            f = cls.__mro__[i].__dict__[name]
            if f.__class__ is types.FunctionType:
                self.follow(f)

    def operated(self, cls):
        """C code may call any of a class's special methods."""
        self.meet(cls)
        if cls.__flags__ & HEAP and id(cls) not in self.inside:
            place = Protocols(cls, PROTOCOLS)
            if place.key not in self.reads:
                self.note(place, place.get())

    def item(self, x, i):
        if x.__class__ in SIMPLE or isinstance(x, Tensor):
            return
        if isinstance(x, CONTAINERS) and type(x).__getitem__ in _ITEMS:
            if isinstance(x, dict):
                missing = lookup(type(x), "__missing__")
                if missing is not ABSENT and not dict.__contains__(x, i):
                    if isinstance(x, collections.defaultdict):
                        self.write(Content(x))
                        self._argument(x.default_factory)
                    if missing is not collections.defaultdict.__missing__:
                        self._accessor(missing)
                self.operated(type(x))
            self.own_item(x, i)
        elif isinstance(x, types.MappingProxyType):
            self.note(Proxied(x, i), x.get(i, ABSENT))
        else:
            self.content(x)

    def items(self, x):
        """All items of a list with numbers that are followed are read, one by one."""
        if x.__class__ is list and self.is_outside(x):
            self.note(Length(x), len(x))
            for i, v in enumerate(x):
                self.note(Item(x, i), v)
        if x.__class__ in (list, tuple):
            for v in x:
                self.items(v)

    def own_item(self, x, i):
        """An item of a built-in container, whatever its class makes of it."""
        if isinstance(x, dict):
            try:
                self.note(Entry(x, i), dict.get(x, i, ABSENT))
            except TypeError:
                pass
            return
        try:
            at = operator.index(i)
        except TypeError:
            self.content(x)
            return
        if self.is_outside(x):
            place = Item(x, at)
            self.note(place, place.get())

    def contains(self, item, x):
        if isinstance(item, symbols.Symbol) and isinstance(x, (*CONTAINERS, tuple)) and len(x) <= symbols.MOST_ITEMS:
            self.content(x)  # as a whole: the item may be another in the next call
        elif isinstance(x, dict) and type(x).__contains__ in (dict.__contains__, collections.OrderedDict.__contains__):
            try:
                self.note(Entry(x, item), dict.get(x, item, ABSENT))
            except TypeError:
                pass
        else:
            self.deep(x)
        self.deep(item)

    def deep(self, x, seen=None):
        """C code is about to look into ``x`` and all that is in it."""
        if x.__class__ in SIMPLE or isinstance(x, Tensor):
            return
        self.content(x)
        if isinstance(x, (*CONTAINERS, tuple)) and not isinstance(x, bytearray):
            seen = set() if seen is None else seen
            if id(x) not in seen:
                seen.add(id(x))
                for y in (*dict.keys(x), *dict.values(x)) if isinstance(x, dict) else list(x):
                    self.deep(y, seen)
        elif is_record(x):  # what dataclass writes compares and prints its fields as tuples
            seen = set() if seen is None else seen
            if id(x) not in seen:
                seen.add(id(x))
                for f in dataclasses.fields(x):
                    self.attribute(x, f.name)
                    self.deep(getattr(x, f.name, None), seen)

    def content(self, x):
        """C code is about to look into ``x``."""
        cls = x.__class__
        if cls in SIMPLE or isinstance(x, Tensor):
            return
        if isinstance(x, CONTAINERS):
            self.operated(type(x))
            if self.is_outside(x):
                place = Content(x)
                self.note(place, self._original(place))
        elif isinstance(x, np.ndarray):
            if self.is_outside(x):
                if x.nbytes > 1 << 20:
                    self.refuse(f"reads the numbers of a NumPy array of shape {x.shape}; give it as a tensor")
                self.foreign = True
                place = Numbers(x)
                self.note(place, place.get())
        elif isinstance(x, tuple):
            for y in x:
                self.content(y)
        elif isinstance(x, types.MappingProxyType):
            self.refuse("looks into the attributes of a class as a whole")
        elif cls in VIEWS:
            self.content(mapping_of(x))
        else:
            self.foreign = True
            self.operated(cls)
            if self.is_outside(x) and is_memory(x):
                place = Memory(x)
                value = place.get()
                if len(value[2]) > 1 << 20:
                    self.refuse(f"reads the {len(value[2])} bytes of a {cls.__name__}; give them as a tensor")
                self.note(place, value)

    def iterated(self, x, deep):
        if isinstance(x, pure.ITERATORS) and self.is_outside(x) and not self._is_new(x):
            self.refuse(f"takes items of an iterator ({type(x).__name__}) that was there before: they would be taken once, not "
                        "in every call")
        self.content(x)
        if deep and isinstance(x, (list, tuple)):
            for y in x:
                self.content(y)

    def _is_new(self, x):
        """Whether a generator runs code with hooks, which only the run has."""
        return x.__class__ is types.GeneratorType and id(x.gi_code) in self.followed
