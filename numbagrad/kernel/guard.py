"""What surrounds every use of Numba's compiler and of LLVM: one thread at a time, undisturbed.

Neither survives an exception or a call of itself at an arbitrary place. So while a kernel is compiled or loaded

* other threads wait, a fork too: a child never inherits a lock that no thread of it holds, nor half-made code;
* Python's signal handlers run afterwards (Ctrl-C among them), and the garbage collector, whose hooks and destructors may
  run any code, rests;
* there is room on the stack: a caller that has little left has the work done by a thread that has all of it.
"""

import functools
import gc
import logging  # noqa: F401  Numba's compiler logs: before a fork our lock is taken first (the last one registered), then logging's
import os
import signal
import sys
import threading

from ..base import requires
from .tape import Untraced

__all__ = ["LOCK", "guarded", "load"]

LOCK = threading.RLock()
# Frames that a caller may stand on; compiling takes some 400 of the usual 1000.
_DEEP = 300
_SIGNALS = [s for s in getattr(signal, "valid_signals", list)() if s not in (
    getattr(signal, "SIGKILL", None), getattr(signal, "SIGSTOP", None))]  # fmt: skip
_loaded = False


def load():
    """Import Numba, in one thread only: to others a module that is being imported may look complete."""
    global _loaded
    if _loaded:
        return
    with LOCK:
        requires.load_numba()
        import llvmlite.binding  # noqa: F401
        import numba.core.compiler
        import numba.extending  # noqa: F401

        _loaded = True


def guarded(fn):
    """``fn`` under the conditions above."""

    @functools.wraps(fn)
    def call(*args, **kwargs):
        if LOCK._is_owned():  # within a guarded call of this thread
            return fn(*args, **kwargs)
        work = functools.partial(_alone, fn, args, kwargs)
        return _in_thread(work) if _is_deep() else work()

    return call


def _is_deep():
    frame, depth = sys._getframe(2), 0
    limit = max(min(_DEEP, sys.getrecursionlimit() - 700), 0)
    while frame is not None and depth <= limit:
        frame, depth = frame.f_back, depth + 1
    return frame is not None


def _in_thread(work):
    """The result of ``work()``, run by a thread with a stack of its own; an interrupt of the caller leaves it at work."""
    found = []

    def run():
        try:
            found.append((True, work()))
        except BaseException as error:
            found.append((False, error))

    thread = threading.Thread(target=run, name="numbagrad compiler", daemon=True)
    thread.start()
    thread.join()
    good, value = found[0]
    if good:
        return value
    raise value


def _alone(fn, args, kwargs):
    with LOCK:
        if threading.get_ident() == threading.main_thread().ident:
            return _deferred(fn, args, kwargs)
        return _uncollected(fn, args, kwargs)


def _uncollected(fn, args, kwargs):
    enabled = gc.isenabled()
    gc.disable()
    try:
        with Untraced():
            load()
            return _with_room(fn, args, kwargs)
    finally:
        if enabled:
            gc.enable()


def _with_room(fn, args, kwargs):
    return fn(*args, **kwargs)


if sys.version_info >= (3, 11):
    # Python keeps frames in pieces of 16 KiB, and a call over the end of one maps and unmaps the next: a compiler that stands
    # there does so at each small call, a sixth of its time. A frame of 256 KiB gets a piece of 512 for itself and all above it.
    _with_room.__code__ = _with_room.__code__.replace(co_stacksize=1 << 15)


def _deferred(fn, args, kwargs):
    """``fn`` in the main thread, signals with a handler in Python noted meanwhile and raised again afterwards."""
    noted, former = [], {}

    def note(number, frame):
        if number not in noted:
            noted.append(number)

    try:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                # Before it is replaced: an interrupt in between would forget to put it back.
                former[number] = handler
                signal.signal(number, note)
        return _uncollected(fn, args, kwargs)
    finally:
        _restore(former)
        for number in sorted(noted, key=_interrupts):
            former[number](number, sys._getframe())


def _restore(former):
    for number in sorted(former, key=_interrupts):
        signal.signal(number, former[number])


def _interrupts(number):
    # Comes last, since it ends what its caller does.
    return number == signal.SIGINT


# --- forks ---

_held = []


def _before_fork():
    _held.append(LOCK)
    LOCK.acquire()
    # The user's own code may use Numba and LLVM too.
    for module, find in (("numba.core.compiler_lock", lambda m: m.global_compiler_lock._lock),
                         ("llvmlite.binding.ffi", lambda m: m.lib._lock._lock)):  # fmt: skip
        try:
            lock = find(sys.modules[module])
            lock.acquire()
        except (KeyError, AttributeError):
            continue
        _held.append(lock)


def _after_fork():
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
