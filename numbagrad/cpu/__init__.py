"""``numbagrad.cpu``: what code for any device asks of the CPU."""

from __future__ import annotations

import contextlib

from . import amp

__all__ = ["Event", "Stream", "StreamContext", "amp", "current_device", "current_stream", "device_count", "is_available",
           "is_initialized", "set_device", "stream", "synchronize"]


class Stream:
    """Work on the CPU is done when it was asked for: a stream has nothing to wait for."""

    def __init__(self, priority=-1):
        pass

    def wait_stream(self, stream):
        """Nothing to wait for."""

    def record_event(self):
        """Nothing to note."""

    def wait_event(self, event):
        """Nothing to wait for."""


class Event:
    """A point in a stream, which has always been reached."""

    def query(self):
        """True: it was reached."""
        return True

    def record(self, stream=None):
        """Nothing to note."""

    def synchronize(self):
        """Nothing to wait for."""

    def wait(self, stream=None):
        """Nothing to wait for."""


_stream = [Stream()]
_default_cpu_stream = _stream[0]


class StreamContext(contextlib.AbstractContextManager):
    """Context manager: a stream is the current one inside."""

    def __init__(self, stream):
        self.stream, self.prev_stream = stream, _default_cpu_stream

    def __enter__(self):
        if self.stream is not None:
            self.prev_stream, _stream[0] = _stream[0], self.stream

    def __exit__(self, *exc):
        if self.stream is not None:
            _stream[0] = self.prev_stream


def stream(stream):
    """Context manager that makes a stream the current one."""
    return StreamContext(stream)


def current_stream(device=None):
    """The current stream."""
    return _stream[0]


def is_available():
    """True: there is a CPU."""
    return True


def is_initialized():
    """True: the CPU needs no start."""
    return True


def synchronize(device=None):
    """Nothing to wait for."""


def device_count():
    """One."""
    return 1


def set_device(device):
    """Nothing to choose from."""


def current_device():
    """Its name."""
    return "cpu"
