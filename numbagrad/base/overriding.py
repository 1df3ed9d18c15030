"""``__torch_function__``: which arguments override a call, whether this thread asks them, and its modes.

Functions look at nobody until there is somebody: ``dispatch.overriding`` gives them other code when the first class that
overrides is made, or a mode is entered.
"""

from __future__ import annotations

import threading

ON, CLASSES_OFF, OFF = 0, 1, 2
# Classes of arguments that override nothing; empty while some thread has a mode, so that every call is looked at.
PLAIN: set = {int, float, bool, complex, str, type(None), slice, type(...)}
KNOWN = set(PLAIN)  # what PLAIN has outside of modes


class State(threading.local):
    """What a thread has: whom it does not ask, and its modes, the innermost last."""

    def __init__(self):
        self.off, self.modes, self.once = ON, [], False  # (the last: whether the next call is not asked about)


STATE = State()
ENTERED: list = []  # functions that are called when the first mode of all threads is entered


def mode_on():
    """Whether this thread has a mode that is asked."""
    return not PLAIN and bool(STATE.modes) and STATE.off != OFF


def plain(cls):
    """Let instances of exactly this class override nothing."""
    if PLAIN:
        PLAIN.add(cls)
    KNOWN.add(cls)
    return cls


class _Disabled:
    """The ``__torch_function__`` of classes that override nothing: it calls the function itself, and is no method."""

    __slots__ = ()
    __name__ = __qualname__ = "_disabled_torch_function_impl"

    def __call__(self, func, types, args=(), kwargs=None):
        with DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __repr__(self):
        return "<built-in method _disabled_torch_function_impl>"

    def __reduce__(self):
        return "_disabled_torch_function_impl"


_disabled_torch_function_impl = _Disabled()


def override(value):
    """The ``__torch_function__`` of a value that has one of its own; None."""
    if value.__class__ in KNOWN or isinstance(value, type):
        return None
    found = getattr(value, "__torch_function__", None)
    return None if found is _disabled_torch_function_impl else found


def overloaded(values):
    """Those of some values, lists and tuples looked into, that override: one of each class, subclasses before their bases."""
    found = []
    for v in values:
        c = v.__class__
        if c in KNOWN:
            continue
        for x in v if c is list or c is tuple else (v,):
            if x.__class__ not in KNOWN and override(x) is not None:
                insert(found, x)
    return found


machinery = [None]  # gives ``dispatch.overriding``, which is imported when it is first used


def asked(op, values):
    """(result,) of who is asked about a call that asked nobody, if among its arguments (by name) one overrides; else None."""
    return None if STATE.off or not overloaded(values.values()) else machinery[0]().asked(op, values)


def method(name, values):
    """The method of Tensor of this name, which asks, where a call that did not ask has a value that overrides; else None."""
    return None if STATE.off or not overloaded(values) else machinery[0]().method(name)


def again(fn, error, *args, **kwargs):
    """The result of a public function that failed before it asked, where an argument overrides: functions ask from now on."""
    if STATE.off or not overloaded((*args, *kwargs.values())) or not machinery[0]().begin(fn):
        raise error
    return fn(*args, **kwargs)


def insert(found, value):
    c = type(value)
    if all([type(other) is not c for other in found]):
        at = next((i for i, other in enumerate(found) if issubclass(c, type(other))), len(found))
        found.insert(at, value)


class _Switch:
    """A context in which this thread asks fewer."""

    level = OFF
    __slots__ = ("before",)

    def __enter__(self):
        self.before = STATE.off
        STATE.off = max(self.before, self.level)

    def __exit__(self, *error):
        STATE.off = self.before


class DisableTorchFunction(_Switch):
    """Inside, calls of this thread ask neither classes nor modes."""

    __slots__ = ()


class DisableTorchFunctionSubclass(_Switch):
    """Inside, calls of this thread ask modes, but no classes."""

    level = CLASSES_OFF
    __slots__ = ()
