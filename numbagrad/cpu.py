"""``torch.cpu``: the processor as PyTorch names devices; its one stream is the order of the program."""

from __future__ import annotations

__all__ = ["Event", "Stream", "StreamContext", "current_device", "current_stream", "device_count", "is_available",
           "is_initialized", "set_device", "stream", "synchronize"]


def is_available():
    """True."""
    return True


def is_initialized():
    """True."""
    return True


def synchronize(device=None):
    """Nothing is waited for: operations are done when they return."""


def device_count():
    """1."""
    return 1


def current_device():
    """"cpu"."""
    return "cpu"


def set_device(device):
    """Accepted for PyTorch's sake: there is one."""


class Stream:
    """The order of the program."""

    def __init__(self, priority=-1):
        self.priority = priority

    def wait_stream(self, stream):
        """Nothing is waited for."""

    def record_event(self):
        return Event()

    def wait_event(self, event):
        """Nothing is waited for."""


class Event:
    """A point of the program that has passed."""

    def query(self):
        return True

    def record(self, stream=None):
        """Nothing is recorded."""

    def synchronize(self):
        """Nothing is waited for."""

    def wait(self, stream=None):
        """Nothing is waited for."""


_current = Stream()


def current_stream(device=None):
    """The stream."""
    return _current


class StreamContext:
    """A block that runs in a stream."""

    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        global _current
        self.before, _current = _current, self.stream or _current

    def __exit__(self, *exception):
        global _current
        _current = self.before


def stream(stream):
    """A block that runs in a stream."""
    return StreamContext(stream)
