"""What a run reads from and writes to objects: attributes, items, contents."""

from __future__ import annotations

import collections
import operator
import types

import numpy as np

from ..core.tensor import Tensor
from . import pure, symbols
from .files import trusted
from .objects import HEAP, PROTOCOLS, SIMPLE, SLOT, SPECIAL_NAMES, VIEWS, is_memory, lookup, mapping_of, table_of
from .places import (
    ABSENT,
    CONTAINERS,
    After,
    ClassEntry,
    Content,
    Entry,
    Getter,
    Item,
    Keys,
    Kind,
    Length,
    Lookup,
    Member,
    Memory,
    Numbers,
    Protocols,
    Proxied,
)
from .words import version_of

STORE = object()
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

    # --- names, attributes, items

    def attribute(self, x, name):
        cls = x.__class__
        if cls in SIMPLE:
            return
        if isinstance(x, _OWN_WAY):
            if isinstance(x, types.ModuleType):
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
            base = next(c for c in (list, collections.deque, bytearray) if isinstance(x, c))
            self.note(Item(x, at), base.__getitem__(x, at) if -len(x) <= at < len(x) else ABSENT)

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

    def after_write(self, place):
        """A container that the run has written is read: what is still there from before is relied on."""
        x = place.root
        before = self.written[Content(x).key][1]
        if place.__class__ is Entry:
            old = self._table_before(x, before).get(place.name, ABSENT)
            if place.get() is old:
                self.relies(place, old)
        elif place.__class__ is Item and isinstance(x, list) and id(x) not in self.shifted:
            self._item_after_write(x, place.name, before)
        elif place.__class__ is Length and isinstance(x, (list, collections.deque)) and (
                id(x) in self.calls or self._only_stored(x, before)):
            self.relies(place, len(before))
        else:
            self._whole_after_write(x, before)

    def _item_after_write(self, x, i, before):
        """An item of a list to which the run has only appended, and set items of."""
        at = i if i >= 0 else i + len(x)
        if not 0 <= at < len(before):
            if i >= 0:
                self.relies(Length(x), len(before))
        elif list.__getitem__(x, at) is before[at]:
            self.relies(Item(x, i if i >= 0 else at - len(before)), before[at])

    def _whole_after_write(self, x, before):
        """All that is in a container is read, after the run has written it."""
        if isinstance(x, dict):
            table = self._table_before(x, before)
            self.relies(Keys(x), tuple(table))
            for k, v in table.items():
                if dict.get(x, k, ABSENT) is v:
                    self.relies(Entry(x, k), v)
        elif isinstance(x, list) and self._only_stored(x, before):
            self.relies(Length(x), len(before))
            for i, v in enumerate(before):
                if list.__getitem__(x, i) is v:
                    self.relies(Item(x, i), v)
        else:
            self.relies(Content(x), before)

    def _only_stored(self, x, before):
        """Whether the run has only set single items of a list, which are where they were."""
        if not isinstance(x, list) or len(x) != len(before):
            return False
        stored = {i + len(before) if i < 0 else i for i in self.stored.get(id(x), ()) if isinstance(i, int)}
        return id(x) not in self.shifted and all([a is b or i in stored for i, (a, b) in enumerate(zip(x, before))])

    def _table_before(self, x, before):
        """What a dict held before the run."""
        found = self.tables.get(id(x))
        if found is None:
            found = self.tables[id(x)] = dict(zip(before[::2], before[1::2]))
        return found

    def _original(self, place):
        """What was in a container before the run wrote single items of it."""
        x = place.root
        mine = [(p, before) for p, before in self.written.values() if p.root is x]
        if not mine or not isinstance(x, dict):
            return place.get()
        before = dict(x)
        for p, value in mine:
            if value is ABSENT:
                before.pop(p.name, None)
            else:
                before[p.name] = value
        return Content(before).get()

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

    # --- writes

    def writes(self, x, name):
        if isinstance(x, Tensor):
            if name not in dir(Tensor):
                self.write(Entry(x.__dict__, name, x))
            return
        if isinstance(x, types.ModuleType):
            self.write(Entry(vars(x), name, x))
            return
        if isinstance(x, type):
            self.write(ClassEntry(x, name))
            return
        cls = type(x)
        self.meet(cls)
        setter = lookup(cls, "__setattr__")
        if setter.__class__ is types.FunctionType:
            self.follow(setter)
            if not self._is_generated(setter):
                return
        self.store(x, name)

    def store(self, x, name):
        """``object.__setattr__`` is about to set an attribute."""
        raw = lookup(type(x), name)
        if isinstance(raw, property):
            self._accessor(raw.fset)
        elif raw.__class__ is SLOT:
            self.write(Member(x, raw))
        elif raw is not ABSENT and lookup(type(raw), "__set__") is not ABSENT:
            self._accessor(lookup(type(raw), "__set__"))
        else:
            table = table_of(x)
            if table is None:
                self.refuse(f"sets '{name}' of a {type(x).__name__}")
            if self.is_outside(x):
                self.write(Entry(table, name, x))

    def stores(self, x, keys):
        """Items of ``x`` are about to be set, whatever they were: every call sets them."""
        if isinstance(x, (dict, list, set, collections.deque)) and id(x) not in self.inside:
            known = self.stored.setdefault(id(x), [])
            for k in keys:
                if isinstance(k, slice) and Content(x).key in self.written:
                    self.relies(Content(x), self.written[Content(x).key][1])
                    self.shifted.add(id(x))
                    self.calls.pop(id(x), None)
                elif isinstance(x, (list, collections.deque)):
                    self._stores_at(x, operator.index(k), known)
                else:
                    known.append(k)

    def _stores_at(self, x, i, known):
        """Item ``i`` of a list is about to be set: counted from where the step counts it, so that a list of another length will
        do; of two ways to say the same item, the length is relied on."""
        n, given = len(self.written[Content(x).key][1]), i
        i = i + len(x) - n if i < 0 else i  # the step may have appended to it
        if n <= given or any([j % n == i % n and j != i for j in known if n]):
            self.relies(Length(x), n)
        if i in known:
            known.remove(i)
        if i < n:
            known.append(i)

    def removes(self, x, i):
        """An item of ``x`` is about to be deleted."""
        if isinstance(x, dict):
            self.stores(x, (i,))
            self.own_item(x, i)
        else:
            self.stores(x, (slice(None),))

    def puts(self, x, call=None):
        """Items of ``x`` are about to change, by (name of a method, arguments) ``call`` if that can be done again, or
        ``STORE``: by setting one."""
        if isinstance(x, Tensor):
            return
        if isinstance(x, CONTAINERS):
            self.meet(type(x))
            if id(x) in self.inside:
                return
            first = Content(x).key not in self.written
            self.write(Content(x))
            if call is not None and (first or id(x) in self.calls):
                made = self.calls.setdefault(id(x), [])
                if call is not STORE:
                    made.append(call)
            else:
                self.calls.pop(id(x), None)
        elif isinstance(x, np.ndarray):
            if self.is_outside(x):
                self.refuse(f"writes into a NumPy array of shape {x.shape}; use a tensor")
        elif not isinstance(lookup(type(x), "__setitem__"), types.FunctionType) and self.is_outside(x):
            self.refuse(f"sets an item of a {type(x).__module__}.{type(x).__qualname__}, which a replay does not do")
        else:
            self.meet(type(x))
