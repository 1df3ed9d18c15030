"""What a run writes to objects, and what it may still rely on in a container that it has written."""

from __future__ import annotations

import collections
import operator
import types

import numpy as np

from ..core.tensor import Tensor
from . import sets
from .containers import CONTAINERS
from .objects import SIMPLE, SLOT, VIEWS, lookup, table_of
from .places import ABSENT, ClassEntry, Content, Entry, Finger, Item, Keys, Length, Member
from .pure import CHANGES
from .structure import Given

STORE = object()
_ONCE = object()  # stands for an iterable that can be taken once
_METHODS = {"__ior__": "update", "__iand__": "intersection_update", "__isub__": "difference_update",
            "__ixor__": "symmetric_difference_update"}
_OF_ITEMS = ("add", "discard", "remove")  # methods of sets that are given an item
# Iterables that a set can be given again, as lists of what is in them.
_LISTED = (list, tuple, range, collections.deque, *VIEWS)


class Writes:
    """The part of an observer that looks at objects before an operation changes them."""

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

    def changes_set(self, x, name, args):
        """A method of a set in C is about to be called. Every call calls it again: what a set becomes is made of all that is
        done to it, in order."""
        if id(x) in self.inside:
            return
        if not sets.known():
            self.refuse("changes a set, whose order a capture cannot put back in this interpreter,")
        call = name, list(args) if name in _OF_ITEMS else [y if y is x else self._to_give(y) for y in args]
        if any([y is _ONCE for y in call[1]]):
            call = None
        elif any([type(y) is list for y in call[1]]):  # (operators take sets alone)
            call = _METHODS.get(name, name), call[1]
        if call is None or name in ("pop", "remove"):
            self.content(x)
        if name == "pop":
            place = Finger(x)
            self.note(place, place.get())
        self.puts(x, call)

    def failed(self, x):
        """A method of a container in C has raised an error, and may have changed it before."""
        if isinstance(x, set) and Content(x).key in self.written:
            self.calls.pop(id(x), None)
            self.content(x)

    def _to_give(self, y):
        """An iterable as it is now, for a set's method to be called with in every call."""
        if isinstance(y, (set, frozenset)):
            body = sets.body_of(y)
            return Given(body) if all(map(self.is_constant, body)) else self.own(list(body))
        if type(y) is dict:
            return self.own(dict.fromkeys(y))
        if type(y) in _LISTED:
            return self.own(list(y))
        return y if isinstance(y, (str, bytes)) else _ONCE

    def is_constant(self, x):
        """Whether an item is the same in every call."""
        return all(map(self.is_constant, x)) if x.__class__ is tuple else x.__class__ in SIMPLE or self.is_outside(x)

    def updates_set(self, x, do, y):
        """Whether ``x op= y`` of sets is about to be done in C."""
        name = f"__{do.__name__}__"
        if name not in CHANGES[set] or lookup(type(x), name) is not set.__dict__[name]:
            return False
        self.operated(type(x))
        self.content(y)
        self.changes_set(x, name, (y,))
        return True

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
