"""Planned calls by one native function: it finds the plan, allocates the results, calls the kernels, makes tensors and node.

A plan's kernels, their arguments and what becomes of them stand in a table of words, which the function walks
(``replay_text``): Python neither sees the addresses nor calls the kernels one by one. A ``Program`` is such a table; ``Calls``
are those of one op, found by the geometry of tensors and by the other arguments, as keys of Python's plans tell them apart.

Kernels are called with more arguments than they have, in one of a few forms: as many words as the longest takes, then as many
floats as there are registers for. That is right where words and floats are counted apart and the caller clears the stack (all
but Windows); it is tried out before it is used. The function is compiled, or taken from the cache, once a process has made a
few calls: a first gradient does not wait for it.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import threading

import numpy as np

from ..kernel import native, objects, trampoline
from ..kernel.guard import guarded
from ..kernel.tape import TAPE
from . import replay_text, storage
from .replay_text import BUCKETS, DIGIT, EXACT, FLOATS, FORMS, HEADER, HELD, MOST, REAL, WHOLE
from .tensor import raw

AFTER = 100  # calls until the function is made
POSSIBLE = sys.implementation.name == "cpython" and sys.version_info < (3, 14) and ctypes.sizeof(ctypes.c_void_p) == 8 and (
    sys.platform != "win32" and platform.machine() in ("x86_64", "aarch64", "arm64", "AMD64"))
DEPTH = 8    # programs in a bucket, of which the oldest is forgotten


class Place:
    """An address: a buffer of the call, and how far into it."""

    __slots__ = ("buffer", "offset")

    def __init__(self, buffer, offset=0):
        self.buffer, self.offset = buffer, offset


class Given:
    """A number of the call, and how it becomes a word."""

    __slots__ = ("index", "how")

    def __init__(self, index, how):
        self.index, self.how = index, how


class Program:
    """The table of a planned call, written down step by step.

    ``results`` are (NumPy type, kind, shape, elements); where that is (NumPy type, kind) alone the one result has the shape of
    the first tensor, and the program is *open*. Buffers are the call's tensors, its results, and one piece of scratch memory;
    an open program has the number of elements as one more. A program without results writes, and returns, tensor ``into`` of
    the call, in whose memory no other one may lie; its version is the caller's to count."""

    def __init__(self, tensors, results, scratch=0, most=0, into=-1):
        self.tensors, self.results, self.scratch, self.most, self.into = tensors, results, scratch, most, into
        self.only, self.returned, self.wrap = -1, len(results) or 1, None
        self.open = len(results) == 1 and len(results[0]) == 2
        self.steps, self.kept, self.flags, self.stream = [], [], [], 0

    @property
    def count(self):
        """The buffer whose address is the number of elements."""
        return self.tensors + len(self.results) + 1

    def fits(self):
        return self.tensors <= MOST and (0 < len(self.results) <= MOST or self.into >= 0)

    def call(self, address, letters, arguments, table=()):
        """Call a kernel with numbers, ``Place`` or ``Given``; False if it takes more than can be passed. Where ``table`` has
        words, its address comes first."""
        whole = [a for a, x in zip(arguments, letters) if x == "i"]
        floats = [a for a, x in zip(arguments, letters) if x == "f"]
        if len(floats) > FLOATS or len(whole) > FORMS[-1] or len(letters) != len(arguments):
            return False
        form = next(i for i, most in enumerate(FORMS) if len(whole) <= most)
        whole += [0] * (FORMS[form] - len(whole))
        floats += [0.0] * (FLOATS - len(floats)) if floats else []
        self.steps.append([address, 2 * form + bool(floats), [*whole, *floats, *table], len(whole) if table else 0, None])
        return True

    def check(self, words):
        """After the last step, raise what it left in the words of a flag."""
        self.steps[-1][4] = words

    def draw(self, gen):
        """The kernels draw from this stream; False if native code cannot see whether it is in use."""
        self.stream = id(gen)
        self.kept.append(gen)
        return lock_seen()

    def line(self, key, records):
        """What ``Calls`` has of it."""
        size, numbers, changed, steps, reports, tables = HEADER + self.count + 1, [], [], [], [], []
        at = size + 3 * sum([a.__class__ in (Place, Given) for s in self.steps for a in s[2]])
        for address, form, arguments, table, words in self.steps:
            reports += [words.raises] if words else []
            steps += [address, form, len(arguments), *((words.address, len(words.view), len(reports)) if words else (0, 0, 0))]
            tables += [(at + len(steps), at + len(steps) + table)] if table else []
            for a in arguments:
                if a.__class__ is Place:
                    changed += [at + len(steps), a.buffer, a.offset]
                elif a.__class__ is Given:
                    numbers += [at + len(steps), a.index, a.how]
                steps.append(trampoline.bits(a) if a.__class__ is float else a if a.__class__ is int else 0)
        head = [self.tensors, len(self.results), self.scratch, len(numbers) // 3, len(changed) // 3, len(self.steps), self.open]
        head += [self.most, self.only, self.returned, self.stream, self.into, *[0] * (size - HEADER)]
        words = np.array([*head, *numbers, *changed, *steps], np.int64)
        for place, where in tables:
            words[place] = words.ctypes.data + 8 * where
        made = tuple([x for r in self.results for x in (*r, *[0] * (4 - len(r)))])
        return key, words, made, tuple(reports), records, self.wrap, tuple(self.kept)


@functools.cache
def lock_seen():
    """Whether an RLock shows how often it is held where the native function looks."""
    lock, found = threading.RLock(), []
    for _ in range(3):
        found.append(ctypes.c_int64.from_address(id(lock) + 8 * HELD).value)
        lock.acquire()
    return POSSIBLE and type(lock).__name__ == "RLock" and found == [0, 1, 2]


def bucket(tensors, key, free):
    """Where the native function looks for a key: see ``MIXED``."""
    def mixed(h, x):
        if x.__class__ is int:
            return (h * 31 + (abs(x) & DIGIT)) & DIGIT
        if x.__class__ is tuple:
            h = (h * 31 + len(x)) & DIGIT
            for v in x:
                h = mixed(h, v) if v.__class__ is int else h
        return h
    h = 0
    for i in range(tensors):
        kind, shape, strides = key[3 * i:3 * i + 3]
        if kind is not None:
            h = mixed(mixed((h * 31 + (id(kind) >> 4)) & DIGIT, shape), strides)
    for x, f in zip(key[3 * tensors:], free):
        h = h if f else mixed(h, x)
    return (h ^ h >> 6 ^ h >> 12) & (BUCKETS - 1)


class Calls:
    """The programs of an op's calls on some tensors and numbers; of those that are ``free`` only the class is compared."""

    def __init__(self, tensors, free=(), begin=None):
        self.tensors, self.free, self.begin = tensors, tuple(free), begin
        self.buckets, self.opened = [], []
        self.head = np.array([tensors, len(free), 0, 0, *map(int, free)], np.int64)

    def native(self):
        return STARTED[0]((self.head, self.buckets, self.opened))

    def add(self, line):
        """Take a program."""
        if not self.buckets:
            self.buckets += [[] for _ in range(BUCKETS)]
        lines = self.buckets[bucket(self.tensors, line[0], self.free)]
        if len(lines) >= DEPTH:
            del lines[0]
        lines.append(line)

    def open(self, line):
        """Take an open program, whose key is its kind and the classes of its numbers."""
        self.opened.append(line)

    def clear(self):
        self.buckets.clear()


def attach(function):
    """``function``, in whose environment every ``Calls`` becomes its native function, once there is one."""
    env = function.__globals__
    for name, calls in list(env.items()):
        if calls.__class__ is Calls:
            env[name] = wait
            _waiting.append((env, name, calls))
    if STARTED:
        _begin()
    return function


def follow(function, other):
    """``function``, whose environment is a copy of that of ``other``."""
    if not STARTED:
        _waiting.extend([(function.__globals__, name, calls) for env, name, calls in _waiting if env is other.__globals__])
    return function


def move(function, other):
    """Let ``other``, whose environment has all of that of ``function``, be what the native functions are made for."""
    _waiting[:] = [(other.__globals__ if env is function.__globals__ else env, name, calls) for env, name, calls in _waiting]


LASTING: list = []  # what is done, too, in a process that goes on for so long
STARTED: list = []  # what makes a native function of (head, buckets, opened), when it was made
_waiting: list = []
_seen = [0]


def wait(*arguments):
    """Stands for the native function of any calls until that is made; None, as where no call was planned."""
    _seen[0] += 1
    if _seen[0] >= AFTER and not TAPE:
        start()
        for work in LASTING:
            work()


@guarded
def start():
    """Make the native function."""
    _seen[0] = -1 << 62
    make = player()
    if make is None:  # nothing will be looked up
        for env, _, _ in _waiting:
            env["LOOK_"] = False
    elif not STARTED:
        STARTED.append(make)
        _begin()


def _begin():
    while _waiting:
        env, name, calls = _waiting.pop()
        env[name] = calls.native()
        if calls.begin is not None:
            calls.begin(env)


@functools.cache
def player():
    """What makes a native function of (head, buckets, opened), or None."""
    if not POSSIBLE:
        return None
    try:
        made = replay_text.compiled()
        bound = objects.function("replay", made.address, (made, _known()))

        def make(parts):
            parts[0][2] = _known().ctypes.data
            return bound(parts)
        return make if _tried(make) else None
    except (AttributeError, KeyError, ImportError, OSError):
        return None


@functools.cache
def _known():
    return replay_text.known()


def _tried(make):
    """Whether programs do what they should, on objects that are then dropped."""
    kind, before = storage.F4, sys.getrefcount(storage.F4)
    given = raw(np.empty(6, np.float32), 1 << 20, 6, (2, 3), None, kind, [0])
    for form in FORMS:
        # Floats lie between words.
        letters = ("ii" + "fi" * FLOATS)[:2 * form] + "i" * (form - 2 - FLOATS)
        names = [f"a{i}" for i in range(len(letters))]
        text = f"def probe({', '.join(names)}):\n" + "".join([
            f"    ptr_{'i8' if x == 'i' else 'f8'}(a0)[{i}] = {n}\n" for i, (n, x) in enumerate(zip(names, letters))])
        probe = native.compile_source(text, "probe", letters).address
        for key, result in (((kind, float, int), (kind.np, kind)),
                            ((kind, (2, 3), None, float, int), (kind.np, kind, (2, 3), 6))):
            seen = np.zeros(len(letters), np.int64)
            program = Program(1, [result], 64)
            whole, floats = [seen.ctypes.data, Place(0, 8), Place(1, 16), Given(1, WHOLE), Place(2), *range(7, 40)], [
                Given(0, EXACT), Given(1, REAL), *[0.5 * i for i in range(FLOATS)]]
            program.call(probe, letters, [(whole if x == "i" else floats).pop(0) for x in letters])
            calls = Calls(1, (True, True))
            (calls.open if program.open else calls.add)(program.line(key, ()))
            out = make((calls.head, calls.buckets, calls.opened))(True, given, 2.5, -1)
            if out is None or (out._shape, out._n, out._kind, out._buf.shape, out._ptr) != (
                    (2, 3), 6, kind, (6,), out._buf.ctypes.data):
                return False
            words = [v for x, v in zip(letters, seen.tolist()) if x == "i"]
            doubles = [v for x, v in zip(letters, seen.view(np.float64).tolist()) if x == "f"]
            wanted = [seen.ctypes.data, (1 << 20) + 8, out._ptr + 16, -1, words[4], *range(7, 40)]
            if words != wanted[:len(words)] or doubles != [2.5, -1.0, *[0.5 * i for i in range(FLOATS)]][:len(doubles)]:
                return False
            del out, program, result, key, calls
    return sys.getrefcount(kind) == before + 1 and sys.getrefcount(given) == 2
