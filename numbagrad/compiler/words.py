"""What a step relies on as words of memory: a thousand places are looked at in a microsecond.

CPython keeps an attribute's value as a pointer somewhere: in the table of a dict, in a slot, in a cell. For each place that a
step read, ``words_of`` gives (address, word) pairs, in an order in which each address is good if the words before it are what
they were. ``Table.same`` compares them natively. Equal words mean an unchanged place; other words mean nothing yet (an equal
number may be another object), and the place itself is asked. The layouts used are those of CPython 3.10 to 3.13; they are tried
out at the first use, and a place whose words do not come out as expected has none, and is asked every time."""

from __future__ import annotations

import collections
import ctypes
import functools
import sys
import types

import numpy as np

from ..core.tensor import Tensor
from ..kernel import jit
from . import sets
from .places import ABSENT, PLAIN, After, Cell, Content, Entry, Field, Item, Kind, Length, Lookup, Member, Protocols
from .sets import word
from .tensor_places import Gradient, Hooks, State

NEW = sys.version_info >= (3, 11)
USED, KEYS, VALUES = 16, 32, 40             # of a dict
ENTRIES_USED, HEAD = (24, 32) if NEW else (32, 40)  # of its table: entries ever made, where the indices begin
SIZE, ITEMS = 16, 24                        # of a list
CONTENT = 16                                # of a cell
VERSION = 384                               # of a class: a number of 32 bits, new with each change of it or its bases
FIRST_VALUE = 8 if sys.version_info >= (3, 13) else 0  # of the values of instances that share their keys
MANY = 256                                  # items of a container from which on it is asked

TEXT = """def same(header):
    h = ptr_i8(header)
    words = ptr_i8(h[0])
    for i in range(h[1]):
        if ptr_i8(words[2 * i])[0] != words[2 * i + 1]:
            return 0
    rows = ptr_i8(h[2])
    for i in range(h[3]):
        count = rows[6 * i + 1]
        if ptr_i8(rows[6 * i + 2])[0] == rows[6 * i]:
            count += rows[6 * i + 3]
        if ptr_i8(rows[6 * i])[0] != count or ptr_i8(rows[6 * i + 4])[0] != rows[6 * i + 5]:
            return 0
    return 1
"""


def _byte(address):
    return ctypes.c_uint8.from_address(address).value


@functools.cache
def compare():
    """Native ``same(header)`` of a ``Table``: 1 if all words are as they were."""
    return jit.compile_source(TEXT, "same", "i", {}, "words 2", returns=True).entry


class Table:
    """(address, word) pairs that one native call compares, and ``rows`` of gradients (see ``held``): the address of an object,
    how many references it has, where it may stand, how many more it has then; the address of its memory, how many that has."""

    def __init__(self):
        self.header = np.zeros(4, np.int64)
        self.address = self.header.ctypes.data

    def fill(self, words, rows=()):
        self.words = words
        self.rows = np.array(rows, np.int64).reshape(-1)
        self.header[:] = self.words.ctypes.data, len(self.words) // 2, self.rows.ctypes.data, len(self.rows) // 6


def words_of(place, value):
    """(address, word) pairs of a place that holds ``value``; None where it has to be asked."""
    maker = _MAKERS.get(place.__class__)
    if maker is None or not place.holds(value):
        return None
    pairs = maker(place, value)
    return pairs if pairs is not None and all([word(a) == w for a, w in pairs]) else None


def _entries(d):
    """(address of the first entry's key, bytes per entry) in the table of a dict."""
    keys = word(id(d) + KEYS)
    if not NEW:
        size = word(keys + 8)
        return keys + HEAD + size * (1 if size <= 0xff else 2 if size <= 0xffff else 4 if size <= 0xffffffff else 8) + 8, 24
    start = keys + HEAD + (1 << _byte(keys + 9))
    return (start + 8, 24) if _byte(keys + 10) == 0 else (start, 16)


def _entry_words(d, name, value):
    """Words of one item of a dict, or of its absence."""
    if not _layout().dicts:
        return None
    keys, values = word(id(d) + KEYS), word(id(d) + VALUES)
    head = [(id(d) + KEYS, keys), (id(d) + VALUES, values)]
    if value is ABSENT:
        return [(id(d) + USED, dict.__len__(d)), *head, (keys + ENTRIES_USED, word(keys + ENTRIES_USED))]
    first, size = _entries(d)
    count = word(keys + ENTRIES_USED)
    ids = np.frombuffer((ctypes.c_int64 * (count * size // 8)).from_address(first), np.int64)[::size // 8]
    found = np.flatnonzero(ids == id(name))
    if not len(found):  # an equal key, but another object
        key = next((k for k in dict.keys(d) if k.__class__ is name.__class__ and isinstance(k, PLAIN) and k == name), None)
        found = np.flatnonzero(ids == id(key))
        if not len(found):
            return None
        name = key
    i = int(found[0])
    at = first + i * size
    slot = values + FIRST_VALUE + 8 * i if values else at + 8
    return [*head, (at, id(name)), (slot, id(value))]


def _entry(place, value):
    return _entry_words(place.root, place.name, value)


def _kind(place, value):
    return [(id(place.root) + 8, id(value))] if _layout().slots else None


def _cell(place, value):
    return [(id(place.root) + CONTENT, 0 if value is ABSENT else id(value))]


def slot_of(descriptor):
    """Where in an object a slot is."""
    return word(word(id(descriptor) + 40) + 16)


def _member(place, value):
    return [(id(place.root) + slot_of(place.name), 0 if value is ABSENT else id(value))] if _layout().slots else None


def version_of(cls):
    """A number that no class, this one included, has once this one or a base of it changes; 0 if there is none."""
    return word(id(cls) + VERSION) & 0xffffffff if _layout().classes else 0


def _of_class(place, value):
    cls = place.root
    getattr(cls, "__doc__", None)  # a class gets its number at a lookup
    version = word(id(cls) + VERSION)
    return [(id(cls) + VERSION, version)] if _layout().classes and version & 0xffffffff else None


def _field(place, value):
    at = _layout().fields.get(place.name)
    return None if at is None else [(id(place.root) + at, 0 if value is None else id(value))]


def _item(place, value):
    x = place.root
    if type(x) is not list or value is ABSENT or not _layout().lists:
        return None
    items = word(id(x) + ITEMS)
    at = place.name if place.name >= 0 else place.name + len(x)
    return [(id(x) + SIZE, len(x)), (id(x) + ITEMS, items), (items + 8 * at, id(value))]


def _length(place, value):
    x = place.root
    if isinstance(x, set):
        return [(id(x) + sets.USED, value)] if sets.known() else None
    return [(id(x) + SIZE, value)] if isinstance(x, (list, dict)) and _layout().lists and _layout().dicts else None


def _content(place, value):
    x, n = place.root, len(value)
    if isinstance(x, set):
        return sets.words(x) if sets.known() and sets.places(x) <= MANY else None
    n = n // 2 if isinstance(x, dict) else n
    if n > MANY or not (_layout().lists and _layout().dicts):
        return None
    if isinstance(x, list):
        items = word(id(x) + ITEMS)
        head = [(id(x) + SIZE, n)] + ([(id(x) + ITEMS, items)] if n else [])
        return head + [(items + 8 * i, id(v)) for i, v in enumerate(value)]
    if not isinstance(x, dict) or n and isinstance(x, collections.OrderedDict):
        return None
    if n == 0:
        return [(id(x) + USED, 0)]
    pairs = _entry_words(x, None, ABSENT)
    for k, v in zip(value[::2], value[1::2]):
        more = _entry_words(x, k, v)
        if more is None:
            return None
        pairs += more[2:]
    return pairs


def _state(place, value):
    t = place.root
    if not _layout().slots:
        return None
    return [(id(t) + slot_of(d), id(getattr(t, n))) for n, d in _slots_of_tensors()] + (
        [(id(t) + slot_of(Tensor._node), id(None))] if t._node is None else [])


@functools.cache
def _slots_of_tensors():
    return [(n, getattr(Tensor, n)) for n in State.FIELDS]


def _gradient(place, value):
    at = id(place.root) + slot_of(Tensor._grad)
    if not _layout().slots:
        return None
    return [(at, id(None))] if value is None else [(at, id(value[0]())), *_state(State(place.root._grad), None)]


def _hooks(place, value):
    return None if value else _entry_words(place.root.__dict__, "_numbagrad", ABSENT) if (
        "_numbagrad" not in place.root.__dict__) else None


_MAKERS = {Entry: _entry, Cell: _cell, Member: _member, Lookup: _of_class, After: _of_class, Protocols: _of_class,
           Field: _field, Item: _item, Length: _length, Content: _content, State: _state, Hooks: _hooks,
           Gradient: _gradient, Kind: _kind}


class _Probe:
    __slots__ = ("a", "b")


@functools.cache
def _layout():
    """Which of the layouts hold in this interpreter: each is tried on objects whose values are known."""
    found = types.SimpleNamespace(dicts=False, slots=False, classes=False, lists=False, fields={})
    if not sets.usual():
        return found
    found.lists = _try_lists()
    found.dicts = _try_dicts()
    p = _Probe()
    p.b = object()
    found.slots = (word(id(p) + 8) == id(_Probe) and word(id(p) + slot_of(_Probe.b)) == id(p.b)
                   and word(id(p) + slot_of(_Probe.a)) == 0)
    found.classes = _try_classes()
    found.fields = _try_functions()
    return found


def counts_are_known():
    """Whether the first word of an object counts the references to it."""
    layout = _layout()
    if not hasattr(layout, "counts"):
        x = object()
        seen = [word(id(x))]
        y = [x, x]
        seen.append(word(id(x)))
        del y
        layout.counts = layout.slots and [*seen, word(id(x))] == [seen[0], seen[0] + 2, seen[0]]
    return layout.counts


def _try_lists():
    x = [object() for _ in range(5)]
    return word(id(x) + SIZE) == 5 and [word(word(id(x) + ITEMS) + 8 * i) for i in range(5)] == [id(v) for v in x]


def _try_dicts():
    class Own:
        pass
    own, other = Own(), Own()
    for i in range(7):
        setattr(own, f"a{i}", object())
        setattr(other, f"a{i}", object())
    tables = [{}, {"a": object()}, {str(i): object() for i in range(300)}, {i: object() for i in range(70)}, vars(own)]
    tables[2].pop("7")
    for d in tables:
        keys = word(id(d) + KEYS)
        first, size = _entries(d)
        if word(id(d) + USED) != len(d) or not len(d) <= word(keys + ENTRIES_USED) <= len(d) + 2:
            return False
        places = {word(first + i * size): i for i in range(word(keys + ENTRIES_USED))}
        values = word(id(d) + VALUES)
        for k, v in d.items():
            i = places.get(id(k))
            if i is None or word(values + FIRST_VALUE + 8 * i if values else first + i * size + 8) != id(v):
                return False
        before = word(keys + ENTRIES_USED), keys
        if d:
            d["one more"] = 1
            keys = word(id(d) + KEYS)
            if word(id(d) + USED) != len(d) or (word(keys + ENTRIES_USED), keys) == before:
                return False
    return True


def _try_classes():
    class A:
        x = 1

    class B(A):
        pass
    seen = []
    for i in range(3):
        A.x = i
        if seen and word(id(B) + VERSION) == seen[-1]:
            return False
        B.x  # noqa: B018  (a lookup numbers the class)
        seen.append(word(id(B) + VERSION))
        if word(id(B) + VERSION) != seen[-1] or not seen[-1] & 0xffffffff:
            return False
    return len(set(seen)) == 3


def _try_functions():
    def f(a=object(), *, b=object()):  # noqa: B008
        return a, b
    found = {}
    for name in ("__code__", "__defaults__", "__kwdefaults__"):
        at = [8 * i for i in range(2, 20) if word(id(f) + 8 * i) == id(getattr(f, name))]
        if len(at) == 1:
            found[name] = at[0]
    return found
