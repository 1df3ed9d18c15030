"""Nested arguments and results: a hashable structure, and the tensors in it."""

from __future__ import annotations

import dataclasses

import numpy as np

from .. import modes
from ..tensor import Tensor
from .places import PLAIN, alike


class Miss:
    """Returned by a variant whose guards do not hold."""


MISS = Miss()


def is_record(x):
    """Whether an object is what its fields are: an instance of a dataclass."""
    return dataclasses.is_dataclass(x) and not isinstance(x, type)


def fields_of(x):
    """The values of a dataclass instance's fields."""
    return [getattr(x, f.name, MISS) for f in dataclasses.fields(x)]


def flatten(value, leaves, new=lambda x: True):
    """Nested arguments or results as a hashable structure; its tensors are appended to ``leaves``.

    Containers and dataclasses for which ``new`` does not hold count as the objects that they are."""
    if isinstance(value, Tensor):
        leaves.append(value)
        return "*"
    if isinstance(value, PLAIN):
        return (type(value).__name__, Exactly(value))
    if isinstance(value, tuple) or isinstance(value, (list, dict)) and new(value):
        kind = type(value)
        if isinstance(value, dict):
            return (kind, *[(k, flatten(v, leaves, new)) for k, v in value.items()])
        return (kind, *[flatten(v, leaves, new) for v in value])
    if is_record(value) and new(value):
        return (Record, type(value), *[flatten(v, leaves, new) for v in fields_of(value)])
    if isinstance(value, np.generic):
        return (type(value).__name__, Exactly(value))
    return ("object", _Same(value))


class Record:
    """Marks the structure of a dataclass instance."""


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


def rebuild(structure, leaves):
    """The nested value of a structure, its tensors taken from the iterator ``leaves``."""
    if structure == "*":
        return next(leaves)
    kind = structure[0]
    if isinstance(kind, str):
        return structure[1].value
    if kind is Record:
        made = object.__new__(structure[1])
        for f, v in zip(dataclasses.fields(structure[1]), structure[2:]):
            value = rebuild(v, leaves)
            if value is not MISS:
                object.__setattr__(made, f.name, value)
        return made
    if issubclass(kind, dict):
        return kind((k, rebuild(v, leaves)) for k, v in structure[1:])
    parts = [rebuild(v, leaves) for v in structure[1:]]
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def mode_key():
    """The modes that decide what a call records."""
    mode = modes.current()
    return mode.grad, mode.inference
