"""``torch.futures``: results that are there later."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]
_Value = TypeVar("_Value")


class Future(Generic[_Value]):
    """A result that another thread sets; callbacks run in the thread that sets it."""

    def __init__(self, *, devices=None):
        self._ready, self._lock = threading.Event(), threading.Lock()
        self._value = self._error = None
        self._callbacks = []

    def done(self):
        """Whether there is a result or an error."""
        return self._ready.is_set()

    def wait(self):
        """The result, once it is there; its error is raised."""
        self._ready.wait()
        return self.value()

    def value(self):
        """The result, which must be there."""
        if not self.done():
            raise RuntimeError("Future has not completed: use wait()")
        if self._error is not None:
            raise self._error
        return self._value

    def then(self, callback):
        """A future of ``callback(this one)``, which runs when this one is done."""
        found = Future()

        def run(future):
            try:
                found.set_result(callback(future))
            except Exception as e:
                found.set_exception(e)
        self.add_done_callback(run)
        return found

    def add_done_callback(self, callback):
        """Call ``callback(this one)`` when it is done, at once if it is."""
        with self._lock:
            if not self.done():
                self._callbacks.append(callback)
                return
        callback(self)

    def set_result(self, result):
        """The result, which can be set once."""
        self._set(result, None)

    def set_exception(self, result):
        """An error in place of a result."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._set(None, result)

    def _set(self, value, error):
        with self._lock:
            if self.done():
                raise RuntimeError("Future is already marked completed and can be completed only once")
            self._value, self._error = value, error
            callbacks, self._callbacks = self._callbacks, []
            self._ready.set()
        for callback in callbacks:
            callback(self)


def collect_all(futures):
    """A future of the list of futures, once all are done, or of the first error."""
    futures, found, lock = list(futures), Future(), threading.Lock()
    left = [len(futures)]

    def one(future):
        with lock:
            left[0] -= 1
            if found.done():
                return
            if future._error is not None:
                found.set_exception(future._error)
            elif not left[0]:
                found.set_result(futures)
    if not futures:
        found.set_result(futures)
    for future in futures:
        future.add_done_callback(one)
    return found


def wait_all(futures):
    """The results of all, once they are there; the first error is raised."""
    return [future.wait() for future in collect_all(futures).wait()]
