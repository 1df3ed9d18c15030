"""``torch.Stream`` and ``torch.Event`` of any device: those of the CPU, where calls are done when they return."""

from __future__ import annotations

from ..base.device import device as Device

__all__ = ["Event", "Stream"]


def _of(device):
    if device is None:
        return Device("cpu")
    if isinstance(device, int):
        raise RuntimeError("Cannot access accelerator device when none is available.")
    found = Device(device)
    if found.type not in ("cpu", "meta"):
        raise RuntimeError(f"torch.Stream and torch.Event are those of the CPU here: use numbagrad.cuda for '{found.type}'")
    return found


class Stream:
    """An order of calls: on the CPU the order in which they are made."""

    def __init__(self, device=None, *, priority=0, stream_id=0, device_index=-1, device_type=None):
        self.device, self.stream_id, self.device_index = _of(device), stream_id, device_index

    @property
    def device_type(self):
        """PyTorch's number of the kind of device."""
        return 15 if self.device.type == "meta" else 0

    def query(self):
        """True: nothing is left to do."""
        return True

    def synchronize(self):
        """Return: nothing is left to do."""

    def wait_event(self, event):
        """Return: nothing is left to do."""

    def wait_stream(self, other_stream):
        """Return: nothing is left to do."""

    def record_event(self, event=None):
        """Not on the CPU."""
        (event or Event(self.device)).record(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return None

    def __eq__(self, other):
        return isinstance(other, Stream) and (self.device, self.stream_id) == (other.device, other.stream_id)

    def __hash__(self):
        return hash((self.device.type, self.stream_id))

    def __repr__(self):
        return f"torch.Stream device_type={self.device.type}, device_index={self.device_index}, stream_id={self.stream_id}"


class Event:
    """A mark in a stream: there are none on the CPU."""

    def __init__(self, device=None, *, enable_timing=False, blocking=False, interprocess=False):
        self.device, self.enable_timing, self.event_id = _of(device), enable_timing, 0

    def query(self):
        """True: nothing is left to do."""
        return True

    def record(self, stream=None):
        """Not on the CPU."""
        raise RuntimeError(f"{self.device.type} backend doesn't support events.")

    def synchronize(self):
        """Return: nothing is left to do."""

    def wait(self, stream=None):
        """Return: nothing is left to do."""

    def elapsed_time(self, end_event):
        """Not on the CPU."""
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        raise ValueError("Both events must be recorded before calculating elapsed time.")

    def __repr__(self):
        return f"torch.Event device_type={self.device.type}, device_index=-1, event_flag=0, event_id={self.event_id}"
