"""Nested arguments and results: a hashable structure, and the tensors in it."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..base import modes
from ..core.tensor import Tensor
from . import sets
from .places import PLAIN, alike
from .symbols import Symbol


class Miss:
    """Returned by a variant whose guards do not hold."""


MISS = Miss()


def opened(structure, numbers, open_):
    """(structure, numbers) of arguments: those floats and ints whose place, counted over all numbers, is in ``open_`` are taken
    out of it."""
    count = [0]

    def walk(s):
        if s.__class__ is not tuple or not s or s == "*":
            return s
        if s[0] in ("float", "int") and s[1].__class__ is Exactly:
            k = count[0]
            count[0] += 1
            if k in open_:
                numbers.append(s[1].value)
                return ("#", s[0])
            return s
        return (s[0], *[(p[0], walk(p[1])) if isinstance(s[0], type) and issubclass(s[0], dict) else walk(p) for p in s[1:]])
    return walk(structure)


def changed_numbers(one, other):
    """Places of the floats and ints in which two structures differ, if that is all; None otherwise."""
    count, found = [0], []

    def walk(a, b):
        if a.__class__ is not tuple or b.__class__ is not tuple or len(a) != len(b) or not a:
            return a == b
        if a[0] in ("float", "int") and a[1].__class__ is Exactly:
            k = count[0]
            count[0] += 1
            if a != b and a[0] == b[0]:
                found.append(k)
                return True
            return a == b
        if a[0] == "#" or b[0] == "#":
            count[0] += 1
            return a == b
        if isinstance(a[0], type) and issubclass(a[0], dict):
            return a[0] is b[0] and all([x[0] == y[0] and walk(x[1], y[1]) for x, y in zip(a[1:], b[1:])])
        return a[0] == b[0] and all([walk(x, y) for x, y in zip(a[1:], b[1:])])
    return found if walk(one, other) else None


def with_symbols(value, structure, symbols):
    """Arguments with symbols in the place of their open numbers; containers without any stay themselves."""
    if structure.__class__ is not tuple or not structure or not _has_open(structure):
        return value
    if structure[0] == "#":
        return next(symbols)
    if structure[0] is Record:
        return dataclasses.replace(value, **{f.name: with_symbols(getattr(value, f.name), s, symbols)
                                             for f, s in zip(dataclasses.fields(value), structure[2:])})
    if isinstance(value, dict):
        return type(value)((k, with_symbols(value[k], s, symbols)) for k, s in structure[1:])
    parts = [with_symbols(v, s, symbols) for v, s in zip(value, structure[1:])]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def _has_open(s):
    return s.__class__ is tuple and bool(s) and (s[0] == "#" or any([_has_open(p) for p in s[1:]]))


def is_record(x):
    """Whether an object is what its fields are: an instance of a dataclass."""
    return hasattr(type(x), "__dataclass_fields__")


def fields_of(x):
    """The values of a dataclass instance's fields."""
    return [getattr(x, f.name, MISS) for f in dataclasses.fields(x)]


class Met:
    """Containers in results and effects, in the order in which they are finished: {id: (number, container)}; ``again``: whether
    one came more than once, and must be one object in every call."""

    def __init__(self):
        self.numbers, self.again = {}, False


def flatten(value, leaves, new=lambda x: True, met=None):
    """Nested arguments or results as a hashable structure; its tensors are appended to ``leaves``.

    Containers and dataclasses for which ``new`` does not hold count as the objects that they are; of the others, those in
    ``met`` as what came before."""
    if met is not None and id(value) in met.numbers:
        met.again = True
        return ("&", met.numbers[id(value)][0])
    structure = _flat(value, leaves, new, met)
    if met is not None and structure != "*" and not isinstance(structure[0], str):
        met.numbers[id(value)] = len(met.numbers), value
    return structure


def _flat(value, leaves, new, met):
    if isinstance(value, (Tensor, Symbol)):
        leaves.append(value)
        return "*"
    if isinstance(value, PLAIN):
        return (type(value).__name__, Exactly(value))
    if isinstance(value, tuple) or isinstance(value, (list, dict)) and new(value):
        kind = type(value)
        if isinstance(value, dict):
            return (kind, *[(k, flatten(v, leaves, new, met)) for k, v in value.items()])
        return (kind, *[flatten(v, leaves, new, met) for v in value])
    if met is not None and type(value) in (set, frozenset) and new(value) and all([isinstance(v, PLAIN) for v in value]):
        body = sets.body_of(value)
        if not sets.is_plain(type(value), body):
            return (Laid, type(value), Exactly(body))
        return (type(value), *[flatten(v, leaves, new, met) for v in value])
    if value.__class__ is Given:
        return ("object", value)
    if is_record(value) and new(value):
        return (Record, type(value), *[flatten(v, leaves, new, met) for v in fields_of(value)])
    if isinstance(value, np.generic):
        return (type(value).__name__, Exactly(value))
    return ("object", _Same(value))


class Record:
    """Marks the structure of a dataclass instance."""


class Laid:
    """Marks the structure of a set that is not what one made of its items is."""


class Given:
    """A set that a method is given in every call, as it was in the capture."""

    def __init__(self, body):
        self.body, self.value = body, sets.made(set, body)

    def __eq__(self, other):
        return other.__class__ is Given and alike(self.body, other.body)

    def __hash__(self):
        return hash(self.body)


class Exactly:
    """A number or text that is compared by type and value, where 0.0 is not -0.0, nor 1 True."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return other.__class__ is Exactly and alike(self.value, other.value)

    def __hash__(self):
        return hash(self.value)

    def __repr__(self):
        return repr(self.value)


class _Same:
    """An argument that is compared by identity."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return other.__class__ is _Same and other.value is self.value

    def __hash__(self):
        return id(self.value)


def rebuild(structure, leaves, numbers=None, built=None):
    """The nested value of a structure, its tensors taken from the iterator ``leaves``; ``built``: the containers so far, for
    those that come again."""
    if structure == "*":
        return next(leaves)
    kind = structure[0]
    if kind == "&":
        return built[structure[1]]
    if built is not None and not isinstance(kind, str):
        built.append(value := _built(structure, kind, leaves, numbers, built))
        return value
    return _built(structure, kind, leaves, numbers, built)


def _built(structure, kind, leaves, numbers, built):
    if kind == "#":
        return next(numbers)
    if isinstance(kind, str):
        return structure[1].value
    if kind is Record:
        made = object.__new__(structure[1])
        for f, v in zip(dataclasses.fields(structure[1]), structure[2:]):
            value = rebuild(v, leaves, numbers, built)
            if value is not MISS:
                object.__setattr__(made, f.name, value)
        return made
    if kind is Laid:
        return sets.made(structure[1], structure[2].value)
    if issubclass(kind, dict):
        return kind((k, rebuild(v, leaves, numbers, built)) for k, v in structure[1:])
    parts = [rebuild(v, leaves, numbers, built) for v in structure[1:]]
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def mode_key():
    """The modes that decide what a call records."""
    mode = modes.current()
    return mode.grad, mode.inference, mode.autocast
