"""Numbers that a step draws from outside: random numbers of Python and NumPy, the next item of an iterator.

They are drawn anew at the beginning of every call, in the order of the step, and followed like other numbers that change
(``symbols``). What was drawn for a variant whose checks then fail is there for the next one: nothing is drawn twice."""

from __future__ import annotations

import contextlib
import random
import types

import numpy as np

from ..kernel.tape import Refusal, Untraced, active

GENERATORS = (random.Random, np.random.RandomState, np.random.Generator)


SEQUENCES = (type(iter([])), type(iter(())))  # iterators that can go back
_METHODS = (types.MethodType, types.BuiltinFunctionType)
STATES = ("seed", "setstate", "set_state", "getstate", "get_state", "shuffle", "bytes", "randbytes", "spawn")


class Draw:
    """One call ``fn(*args, **kwargs)`` that draws a number."""

    __slots__ = ("fn", "args", "kwargs")

    def __init__(self, fn, args, kwargs):
        self.fn, self.args, self.kwargs = fn, args, kwargs

    def same(self, other):
        mine, theirs = getattr(self.fn, "__self__", None), getattr(other.fn, "__self__", None)
        return (mine is theirs and getattr(self.fn, "__name__", None) == getattr(other.fn, "__name__", None) and all(
            [a is b or a == b for a, b in zip(self.args, other.args)]) and self.kwargs == other.kwargs)


class Drawn:
    """What a compiled function has drawn for the call in progress: [(draw, value)], and how much of it is used."""

    def __init__(self):
        self.values, self.used, self.states = [], 0, []

    def again(self):
        """Another variant, or another capture, begins: it is given the same."""
        self.used = 0

    def done(self):
        """The call is over."""
        self.values, self.used, self.states = [], 0, []

    def take(self, draw):
        """The next number."""
        if self.used < len(self.values):
            before, value = self.values[self.used]
            if not before.same(draw):
                raise Refusal("ng.compile: the compiled function draws other numbers in another order than it did before")
        else:
            self._remember(draw.args[0] if draw.fn is next else getattr(draw.fn, "__self__", None))
            recorder = active()
            with Untraced(), contextlib.nullcontext() if recorder is None else recorder.pause():
                value = draw.fn(*draw.args, **draw.kwargs)
            if isinstance(value, np.generic):
                value = value.item()
            if type(value) not in (int, float):
                self.put_back()
                raise Refusal(f"ng.compile: {getattr(draw.fn, '__name__', draw.fn)}() draws a {type(value).__name__}; in a "
                              "compiled function numbers are drawn one by one")
            self.values.append((draw, value))
        self.used += 1
        return value

    def _remember(self, generator):
        """How a generator of random numbers was before its first draw."""
        if isinstance(generator, GENERATORS) and not any([g is generator for g, _ in self.states]):
            state = (generator.getstate() if isinstance(generator, random.Random) else generator.get_state() if isinstance(
                generator, np.random.RandomState) else generator.bit_generator.state)
            self.states.append((generator, state))
        elif isinstance(generator, SEQUENCES) and not any([g is generator for g, _ in self.states]):
            self.states.append((generator, generator.__reduce__()[2]))

    def put_back(self):
        """Generators as they were: the call has not happened."""
        for generator, state in self.states:
            if isinstance(generator, random.Random):
                generator.setstate(state)
            elif isinstance(generator, np.random.RandomState):
                generator.set_state(state)
            elif isinstance(generator, SEQUENCES):
                generator.__setstate__(state)
            else:
                generator.bit_generator.state = state
        self.done()


def may_draw(f, args):
    """Whether a method of a generator of random numbers draws from it."""
    # (An object of the user's is not asked for "__self__", which may run code of its own.)
    return f.__class__ in _METHODS and isinstance(f.__self__, GENERATORS) and f.__name__ not in STATES
