"""What stands between ops and memory while a step is captured (``numbagrad.compiler``).

A capture runs the user's function without computing anything: new tensors get ``Fake`` memory, which has an address
range but no bytes, and every kernel launch is written down instead of run. ``TAPE`` is empty outside of captures, so
the checks that launches make cost one truth test of a list.
"""

from __future__ import annotations

import functools
from array import array
from collections import deque
from threading import get_ident
from weakref import WeakValueDictionary

TAPE: list = []
DEVICES: dict = {}  # type of a device -> class of ``Words`` there
WATCHES: dict = {}  # thread -> what looks at the frames that it enters while a function is captured
BASE = 1 << 60  # fake addresses begin here: above every real one, below the sign bit
# Address -> array of tables that kernels read and that are made once: a compiled step that uses one keeps it.
TABLES = WeakValueDictionary()
FLAGS = WeakValueDictionary()  # address -> Words of a captured launch, whose kernel sets them on bad input


class Refusal(BaseException):
    """A capture that cannot go on; no handler of the user's may take it for an error of theirs."""


class Unlowered(Refusal):
    """Something in a captured step needs values that exist only when the step runs."""


class Fake:
    """Memory that only has an address."""

    __slots__ = ("base", "size", "itemsize", "dtype", "__weakref__")

    def __init__(self, base, size, dtype):
        self.base, self.size, self.dtype, self.itemsize = base, size, dtype, dtype.itemsize

    @property
    def nbytes(self):
        return self.size * self.itemsize

    def _read(self, *args, **kwargs):
        raise Unlowered("reads or writes memory on the host")

    __getitem__ = __setitem__ = __array__ = __iter__ = __len__ = _read
    fill = view = item = copy = reshape = tobytes = _read


def active():
    """The recorder of the calling thread's capture, or None."""
    if TAPE:
        ident = get_ident()
        for recorder in reversed(TAPE):  # several threads may capture at once
            if recorder.thread == ident:
                return None if recorder.paused else recorder
    return None


def capturing():
    """Whether ``ng.compile`` captures in this thread: what ops do then is fused and runs later, as one call."""
    recorder = active() if TAPE else None
    return recorder is not None and recorder.compiles


class Untraced:
    """A block of the engine's in which a capture need not follow calls: compilers make a hundred thousand of them."""

    __slots__ = ("watch",)

    def __enter__(self):
        self.watch = WATCHES.get(get_ident()) if TAPE else None
        if self.watch is not None:
            self.watch.pause()

    def __exit__(self, *error):
        if self.watch is not None:
            self.watch.resume()


class Words:
    """Where the kernels of one call leave what is wrong with its input: element 0 is -1 while nothing is."""

    __slots__ = ("view", "address", "raises", "home", "__weakref__")

    def __init__(self, size, raises, home):
        self.view, self.raises, self.home = array("q", [-1]) * size, raises, home
        self.address = self.view.buffer_info()[0]

    def check(self):
        """Raise what a kernel found; the words are free again."""
        if self.view[0] != -1:
            self.report()
        self.home.append(self)

    def report(self):
        """Hand what was found to ``raises(*words)``."""
        found = self.view.tolist()
        self.view[0] = -1
        self.home.append(self)
        self.raises(*found)


class Flag:
    """Reports of bad input by kernels: a call takes words, gives their address to its kernels, and checks them.

    Each call has words of its own, so that other threads, signal handlers and destructors may call the same op meanwhile.
    Those of a captured launch belong to the program, which checks them in every run."""

    __slots__ = ("raises", "size", "free")

    def __init__(self, raises, size=1):
        self.raises, self.size, self.free = raises, size, []

    def take(self, kind=None):
        """``Words`` for one call, whose kernels work on tensors of ``kind`` (None: on the CPU)."""
        if kind is not None and not kind.cpu:
            return DEVICES[kind.device.type](self, kind.device.index)
        recorder = active() if TAPE else None
        if recorder is not None:
            if not recorder.compiles:
                return recorder.flag(self)
            words = Words(self.size, self.raises, deque(maxlen=0))
            FLAGS[words.address] = words
            return words
        try:
            return self.free.pop()
        except IndexError:
            return Words(self.size, self.raises, self.free)


def host(fn):
    """Declare a function ``fn(generator, out, ...)`` that fills memory on the host: a capture calls it in every run."""
    @functools.wraps(fn)
    def call(gen, out, *args, **kwargs):
        if TAPE:
            recorder = active()
            if recorder is not None:
                return recorder.host(fn, gen, out, args, kwargs)
        return fn(gen, out, *args, **kwargs)
    return call


def constant(fn):
    """Declare a function that makes a tensor from Python data: its result is the same in every run."""
    @functools.wraps(fn)
    def call(*args, **kwargs):
        if TAPE:
            recorder = active()
            if recorder is not None:
                with recorder.pause():
                    out = fn(*args, **kwargs)
                if hasattr(out, "_buf"):
                    recorder.constant(out, args)
                return out
        return fn(*args, **kwargs)
    return call


def clears(t, set_to_none=True):
    """Tell a capture that the gradient of ``t`` is about to be dropped, unread, or to be set to zero."""
    recorder = active()
    if recorder is not None:
        recorder.leaf(t, not set_to_none)


def seen(t):
    """Tell a capture that the gradient of ``t`` is about to be read."""
    recorder = active()
    if recorder is not None:
        recorder.leaf(t)


def born(t):
    """Tell a capture that ``t`` becomes a leaf that requires grad (or stops to)."""
    recorder = active()
    if recorder is not None:
        recorder.born[id(t)] = t


def hooked(t):
    """Tell a capture that the hooks of a leaf are about to change."""
    recorder = active()
    if recorder is not None:
        recorder.hook(t)


def refuse(what):
    """Refuse, during a capture, Python code with a lasting effect that replays would not have."""
    if active() is not None:
        raise Unlowered(what)
