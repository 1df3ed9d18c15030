"""Streams and events of devices: here each device has one stream, whose work is done in the order in which it was asked for."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from ..base.device import device as _device
from ..kernel import cuda as _backend
from ._index import _index

__all__ = ["CUDAGraph", "Event", "Stream", "StreamContext", "current_stream", "default_stream", "get_device_properties",
           "graph", "set_stream", "stream"]


class Stream:
    """The one stream of a device, under as many names as are made."""

    def __init__(self, device=None, priority=0, **kwargs):
        if not _backend.available():
            raise RuntimeError("torch.cuda.Stream requires CUDA support")
        self.device_index, self.priority = _index(device), priority

    @property
    def device(self):
        """Whose stream this is."""
        return _device("cuda", self.device_index)

    def synchronize(self):
        """Wait for all work on the device."""
        _backend.synchronize(self.device_index)

    def query(self):
        """True, when the work is done that was asked for: waits for it."""
        self.synchronize()
        return True

    def wait_stream(self, stream):
        """What comes later waits for another stream: of another device, or nothing."""
        if stream.device_index != self.device_index:
            stream.synchronize()

    def wait_event(self, event):
        """What comes later waits for an event."""
        event.wait(self)

    def record_event(self, event=None):
        """An event of this stream."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __eq__(self, other):
        return isinstance(other, Stream) and other.device_index == self.device_index

    def __hash__(self):
        return hash(("cuda stream", self.device_index))

    def __repr__(self):
        return f"<torch.cuda.Stream device=cuda:{self.device_index} cuda_stream=0x0>"


class Event:
    """A point in a stream's work."""

    def __init__(self, enable_timing=False, blocking=False, interprocess=False, external=False):
        if not _backend.available():
            raise RuntimeError("Tried to instantiate dummy base class Event")
        self._timed, self._stream, self._time = enable_timing, None, None

    def record(self, stream=None):
        """Note the point; where times are asked for, the work before it is waited for."""
        self._stream = current_stream() if stream is None else stream
        if self._timed:
            from time import perf_counter
            self._stream.synchronize()
            self._time = perf_counter()

    def synchronize(self):
        """Wait for the work before the point."""
        if self._stream is not None:
            self._stream.synchronize()

    def query(self):
        """True, when the work before the point is done: waits for it."""
        self.synchronize()
        return True

    def wait(self, stream=None):
        """What comes later in a stream waits for the point."""
        if self._stream is not None:
            (current_stream() if stream is None else stream).wait_stream(self._stream)

    def elapsed_time(self, end_event):
        """Milliseconds from this point to another."""
        if not (self._timed and end_event._timed):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if self._time is None or end_event._time is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        return (end_event._time - self._time) * 1e3


class StreamContext(contextlib.AbstractContextManager):
    """Context manager: a stream's device is the current one inside."""

    def __init__(self, stream):
        self.stream, self._before = stream, None

    def __enter__(self):
        if self.stream is not None:
            self._before = _backend.current_device()
            _backend.set_device(self.stream.device_index)

    def __exit__(self, *exc):
        if self._before is not None:
            _backend.set_device(self._before)


def stream(stream):
    """Context manager that makes a stream the current one; None changes nothing."""
    return StreamContext(stream)


def _present():
    if not _backend.available():
        raise AssertionError("Torch not compiled with CUDA enabled")


def current_stream(device=None):
    """The stream of a device."""
    _present()
    return Stream(device)


default_stream = current_stream


def set_stream(stream):
    """Make a stream's device the current one; None changes nothing."""
    if stream is not None:
        _backend.set_device(stream.device_index)


class CUDAGraph:
    """Refused: a step is captured by ``torch.compile``."""

    def __init__(self, keep_graph=False):
        raise RuntimeError("torch.cuda.CUDAGraph is not available here: torch.compile makes a step one call")


class graph:  # noqa: N801 (PyTorch's name)
    """Refused: a step is captured by ``torch.compile``."""

    def __init__(self, cuda_graph, pool=None, stream=None, capture_error_mode="global", enable_annotations=False,
                 check_input_liveness=False):
        raise RuntimeError("torch.cuda.graph is not available here: torch.compile makes a step one call")


def get_device_properties(device=None):
    """What a device is: name, capability, bytes of memory, multiprocessors."""
    _present()
    index = _index(device)
    target = _backend.target()
    major, minor = target.capability(index)
    return DeviceProperties(_backend.device_name(index), major, minor, *target.extent(index))


class DeviceProperties(NamedTuple):
    """What a device is."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
