"""How much work a checkpoint may ask for.

A pickle of 500 bytes can share one tuple between two places sixty times over: whoever hashes, compares or prints it visits
2 ** 60 items. So what a file makes us visit or copy is counted against a budget that grows with the file, and messages
show values of a file only in short.
"""

import collections
import pickle

__all__ = ["Budget", "check_depth", "shown"]

_BASE, _PER_BYTE = 1 << 20, 8
# Nothing that pickle itself wrote is nested deeper: it stops at Python's limit of recursion.
_DEPTH = 1000
# Within a key, where Python recurses on the machine's stack without a limit.
_KEY_DEPTH = 100
# Integers of 64 bits have different hashes, apart from a few; among longer ones any number can share one.
_LONG_KEYS = 1000
_CONTAINERS = {tuple, list, dict, set, frozenset, collections.OrderedDict, collections.Counter}


class Budget:
    """Counts the items that a pickle of so many bytes may have visited; raises pickle.UnpicklingError beyond."""

    def __init__(self, nbytes):
        self._left, self._long = _BASE + _PER_BYTE * nbytes, _LONG_KEYS

    def charge(self, count):
        """Take `count` items from the budget."""
        self._left -= count
        if self._left < 0:
            raise pickle.UnpicklingError("the file asks for far more work than its size explains")

    def key(self, value):
        """Count what hashing or comparing a value visits: shared items as often as they are met."""
        kind = type(value)
        if kind is str:
            return
        if kind is int:
            self._long_key(value)
        elif kind in (tuple, frozenset, list):
            self._nested(value)

    def _long_key(self, value):
        if value.bit_length() > 64:
            self._long -= 1
            if self._long < 0:
                raise pickle.UnpicklingError(f"the file has more than {_LONG_KEYS} keys beyond 64 bits")

    def _nested(self, value):
        level, depth = [value], 0
        while level:
            depth += 1
            if depth > _KEY_DEPTH:
                raise pickle.UnpicklingError(f"a key is nested more than {_KEY_DEPTH} levels deep")
            following = []
            for group in level:
                self.charge(len(group))
                for item in group:
                    if type(item) in (tuple, frozenset, list):
                        following.append(item)
                    elif type(item) is int:
                        self._long_key(item)
            level = following


def check_depth(value):
    """pickle.UnpicklingError when containers are nested so deep that Python could not even print them."""
    heights, stack = {}, [(value, False)]
    while stack:
        group, counted = stack.pop()
        if counted:
            height = 1 + max((heights.get(id(inner), 0) for inner in _inside(group)), default=0)
            if height > _DEPTH:
                raise pickle.UnpicklingError(f"the content is nested more than {_DEPTH} levels deep")
            heights[id(group)] = height
        elif type(group) in _CONTAINERS and id(group) not in heights:
            # A container that holds itself counts once.
            heights[id(group)] = 0
            stack.append((group, True))
            stack += [(inner, False) for inner in _inside(group) if type(inner) in _CONTAINERS]


def _inside(group):
    return group.values() if isinstance(group, dict) else group


def shown(value):
    """A value of a file in short: text and small numbers as they are, of others the type."""
    if isinstance(value, (str, bytes)):
        return repr(value if len(value) <= 100 else value[:100]) + ("..." if len(value) > 100 else "")
    if value is None or isinstance(value, (bool, float)) or isinstance(value, int) and value.bit_length() <= 64:
        return repr(value)
    if isinstance(value, int):
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, type) or callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    return f"a value of type {type(value).__name__}"
