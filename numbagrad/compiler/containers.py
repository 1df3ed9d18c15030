"""Python's containers by their methods in C, whatever a class that is derived from them makes of these."""

from __future__ import annotations

import collections

from . import sets

CONTAINERS = (dict, list, set, collections.deque, bytearray)
_BASES = (collections.OrderedDict, *CONTAINERS)
_PLAIN = frozenset((list, collections.deque, bytearray))


def base_of(x):
    """The class in C whose methods a container has, or that of an object of another kind."""
    cls = type(x)
    return cls if cls in _BASES else next((c for c in _BASES if isinstance(x, c)), cls)


def dict_of(x):
    """The class in C whose methods change a dict."""
    return collections.OrderedDict if isinstance(x, collections.OrderedDict) else dict


def items_of(x):
    """The items of a container, as they are now."""
    if type(x) in _PLAIN:
        return tuple(x)
    if isinstance(x, dict):
        return tuple([v for pair in dict_of(x).items(x) for v in pair])
    if isinstance(x, set):
        return sets.body_of(x)
    return tuple(base_of(x).__iter__(x))


def put_items(x, value):
    """Make a container hold what ``items_of`` has given, or other items."""
    base = base_of(x)
    if base is list:
        list.__setitem__(x, slice(None), value)
    elif isinstance(value, sets.Body):
        sets.restore(x, value)
    elif isinstance(x, dict):
        base.clear(x)
        for k, v in zip(value[::2], value[1::2]):
            base.__setitem__(x, k, v)
    else:
        base.clear(x)
        (base.update if base is set else base.extend)(x, value)
