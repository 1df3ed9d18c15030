"""Numbers that a step draws from outside: random numbers of Python and NumPy, the next item of an iterator.

They are drawn anew at the beginning of every call, in the order of the step, and followed like other numbers that change
(``symbols``). What was drawn for a variant whose checks then fail is there for the next one: nothing is drawn twice. Items are
drawn from copies of iterators, which follow once it is sure that the call takes place: a call that is refused takes nothing."""

from __future__ import annotations

import _random
import collections
import itertools
import random
import types
import warnings

import numpy as np

from ..kernel.tape import TAPE, Refusal, Untraced, active

GENERATORS = (random.Random, np.random.RandomState, np.random.Generator)
# Iterators whose copies take nothing from them.
SEQUENCES = tuple([type(iter(x)) for x in ([], (), "", b"", bytearray(), range(0), range(1 << 70), collections.deque())] + [
    type(reversed([]))])
_METHODS = (types.MethodType, types.BuiltinFunctionType)
REPEATING = [getattr(random.Random, n, None) for n in (
    "_randbelow_with_getrandbits", "gammavariate", "normalvariate", "vonmisesvariate")]
STATES = ("seed", "setstate", "set_state", "getstate", "get_state", "shuffle", "bytes", "randbytes", "spawn")


class Undrawn(Exception):
    """A draw in a replay has failed: eager code runs, and fails where it comes to it."""


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
        self._forget()

    def _forget(self):
        self.values, self.used = [], 0
        self.states = []  # (generator of random numbers, how it was before its first draw)
        self.copies = []  # (iterator, copy that is drawn from)
        self.ahead = []  # iterators, once for each item that their copies are ahead

    def again(self):
        """Another variant, or another capture, begins: it is given the same."""
        self.used = 0

    def advance(self):
        """The call takes place: iterators follow their copies."""
        if self.ahead:
            ahead, self.ahead = self.ahead, []
            for iterator in ahead:
                next(iterator)

    def done(self):
        """The call is over."""
        self.advance()
        self._forget()

    def take(self, draw):
        """The next number."""
        recorder = active() if TAPE else None
        if self.used < len(self.values):
            before, value = self.values[self.used]
            if not before.same(draw):
                if recorder is None:
                    raise Undrawn
                raise Refusal("ng.compile: the compiled function draws other numbers in another order than it did before")
        else:
            if recorder is None:
                try:
                    value = self._item(draw.args[0]) if draw.fn is next else self._random(draw)
                except Exception:
                    raise Undrawn from None
            else:
                with Untraced(), recorder.pause():
                    value = self._item(draw.args[0]) if draw.fn is next else self._random(draw)
            if isinstance(value, np.generic):
                value = value.item()
            self.values.append((draw, value))
        self.used += 1
        if type(value) not in (int, float):
            if recorder is None:
                raise Undrawn
            raise Refusal(f"ng.compile: {getattr(draw.fn, '__name__', draw.fn)}() draws a {type(value).__name__}; in a "
                          "compiled function numbers are drawn one by one")
        return value

    def _random(self, draw):
        generator = getattr(draw.fn, "__self__", None)
        if isinstance(generator, GENERATORS) and not any([g is generator for g, _ in self.states]):
            # (The rest of what getstate() gives is an attribute, which a capture puts back like any other.)
            state = (_random.Random.getstate(generator) if isinstance(generator, random.Random) else
                     generator.get_state() if isinstance(generator, np.random.RandomState) else generator.bit_generator.state)
            self.states.append((generator, state))
        return draw.fn(*draw.args, **draw.kwargs)

    def _item(self, iterator):
        for known, copy in self.copies:  # noqa: B007
            if known is iterator:
                break
        else:
            copy = copied(iterator)
            self.copies.append((iterator, copy))
        value = next(copy)
        self.ahead.append(iterator)
        return value

    def put_back(self):
        """Generators as they were: the call has not happened."""
        for generator, state in self.states:
            if isinstance(generator, random.Random):
                _random.Random.setstate(generator, state)
            elif isinstance(generator, np.random.RandomState):
                generator.set_state(state)
            else:
                generator.bit_generator.state = state
        self._forget()


def may_draw(f, args):
    """Whether a method of a generator of random numbers draws from it."""
    # (An object of the user's is not asked for "__self__", which may run code of its own.)
    return f.__class__ in _METHODS and isinstance(f.__self__, GENERATORS) and f.__name__ not in STATES and (
        not isinstance(getattr(f, "__func__", None), types.FunctionType) or _repeats(f))


def _repeats(f):
    """Whether a method draws until a number suits: each count of draws would be a form of its own."""
    me = f.__self__
    return f.__func__ in REPEATING and me.__class__ is random.Random and not {"random", "getrandbits"} & me.__dict__.keys()


def copied(iterator):
    """An iterator over the same items that takes none from this one; None where there is no such copy."""
    cls = iterator.__class__
    if cls is itertools.count:
        text = repr(iterator)[6:-1]  # all that Python 3.14 leaves to be asked
        try:
            return itertools.count(int(text)) if text.isdecimal() else itertools.count(*map(_number, text.split(", ")))
        except ValueError:
            return None
    if cls in SEQUENCES:
        found = iterator.__reduce__()
        copy = found[0](*found[1])
        if len(found) > 2 and found[2]:
            copy.__setstate__(found[2])
        return copy
    return _copied_cycle(iterator) if cls is itertools.cycle and hasattr(cls, "__setstate__") else None


def _number(text):
    try:
        return int(text)
    except ValueError:
        return float(text)


def _copied_cycle(iterator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 and 3.13
        _, (inner,), (saved, whole) = iterator.__reduce__()
        inner = copied(inner)
        if inner is None:
            return None
        copy = itertools.cycle(inner)
        copy.__setstate__((saved if whole else list(saved), whole))
        return copy
