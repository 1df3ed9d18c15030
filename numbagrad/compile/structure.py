"""Nested arguments and results: a hashable structure, and the tensors in it."""

from __future__ import annotations

from .. import modes
from ..tensor import Tensor
from .places import PLAIN


class Miss:
    """Returned by a variant whose guards do not hold."""


MISS = Miss()


def flatten(value, leaves):
    """Nested arguments or results as a hashable structure; its tensors are appended to ``leaves``."""
    if isinstance(value, Tensor):
        leaves.append(value)
        return "*"
    if isinstance(value, (list, tuple)):
        kind = type(value)
        return (kind, *[flatten(v, leaves) for v in value])
    if isinstance(value, dict):
        return (type(value), *[(k, flatten(v, leaves)) for k, v in value.items()])
    if isinstance(value, PLAIN):
        return (type(value).__name__, value)
    return ("object", _Same(value))


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
    if kind == "object":
        return structure[1].value
    if isinstance(kind, str):
        return structure[1]
    if issubclass(kind, dict):
        return kind((k, rebuild(v, leaves)) for k, v in structure[1:])
    parts = [rebuild(v, leaves) for v in structure[1:]]
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def mode_key():
    """The modes that decide what a call records."""
    mode = modes.current()
    return mode.grad, mode.inference
