"""``torch.futures``: values that come later, from another thread or a callback."""

from __future__ import annotations

import sys
import threading
import traceback
import typing

from .base.device import device

__all__ = ["Future", "collect_all", "wait_all"]
_Value = typing.TypeVar("_Value")


class Future(typing.Generic[_Value]):
    """A value that is not there yet: ``wait`` for it, or let ``then`` call what goes on with it."""

    def __init__(self, *, devices=None):
        for d in map(device, devices or ()):
            if d.index is None:
                raise ValueError(f"Expected devices to have indices, got {d}")
        self._changed = threading.Condition()
        self._done, self._value, self._error, self._callbacks = False, None, None, []

    def __reduce__(self):
        raise RuntimeError("Can not pickle torch.futures.Future")

    def done(self):
        """Whether there is a value, or an exception."""
        return self._done

    def wait(self):
        """Wait for the value; an exception that was set is raised."""
        with self._changed:
            self._changed.wait_for(self.done)
        return self.value()

    def value(self):
        """The value of a future that is done."""
        if not self._done:
            raise RuntimeError("Future has not completed: use wait()")
        if self._error is not None:
            raise self._error
        return self._value

    def then(self, callback):
        """A future of what ``callback`` gives, which is called with this one when it is done."""
        if not callable(callback):
            raise TypeError(f"then(): argument 'callback' must be a function, not {type(callback).__name__}")
        found = Future()

        def run(future):
            try:
                result, error = callback(future), None
            except Exception as e:
                result, error = None, RuntimeError(_failed(e))
                error.__cause__ = e
            found._finish(result, error)

        self._when_done(run)
        return found

    def add_done_callback(self, callback):
        """Call ``callback`` with this future when it is done; what it raises is printed."""
        if not callable(callback):
            raise TypeError(f"add_done_callback(): argument 'callback' must be a function, not {type(callback).__name__}")

        def run(future):
            try:
                callback(future)
            except Exception as e:
                print(_failed(e), file=sys.stderr)
                traceback.print_exception(e)

        self._when_done(run)

    def set_result(self, result):
        """Give the value, once."""
        self._finish(result, None)

    def set_exception(self, result):
        """Give an exception in the place of a value."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._finish(None, result)

    def _when_done(self, run):
        with self._changed:
            if not self._done:
                self._callbacks.append(run)
                return
        run(self)

    def _finish(self, value, error):
        with self._changed:
            if self._done:
                raise RuntimeError("Attempting to mark a completed Future as complete again. Note that a Future can only be "
                                   "marked completed once.")
            self._done, self._value, self._error = True, value, error
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for run in callbacks:
            run(self)


def _failed(error):
    return f"Got the following error when running the callback: {type(error).__name__}: {error}"


def collect_all(futures):
    """A future of the list of these futures, done when all of them are."""
    futures = list(futures)
    found, lock, left = Future(), threading.Lock(), len(futures)

    def one_more(_):
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            found.set_result(futures)

    if not futures:
        found.set_result([])
    for future in futures:
        future._when_done(one_more)
    return found


def wait_all(futures):
    """The values of all, in order; the first exception among them is raised."""
    return [future.wait() for future in collect_all(futures).wait()]
