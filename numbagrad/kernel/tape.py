"""What stands between ops and memory while a step is captured (``numbagrad.compile``).

A capture runs the user's function without computing anything: new tensors get ``Fake`` memory, which has an address
range but no bytes, and every kernel launch is written down instead of run. ``TAPE`` is empty outside of captures, so
the checks that launches make cost one truth test of a list.
"""

from __future__ import annotations

import functools
from threading import get_ident

TAPE: list = []
BASE = 1 << 60  # fake addresses begin here: above every real one, below the sign bit
FLAGS: dict = {}  # address of an int64 that a kernel sets on bad input -> function that raises then


class Unlowered(RuntimeError):
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


def flag(array, raises):
    """Declare that kernels write bad input into element 0 of ``array`` (-1: none) and that ``raises()`` reports it."""
    address = array.ctypes.data
    FLAGS[address] = array, raises
    return address


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
                    recorder.constants[id(out._buf)] = out._buf
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


def refuse(what):
    """Refuse, during a capture, Python code with a lasting effect that replays would not have."""
    if active() is not None:
        raise Unlowered(what)
