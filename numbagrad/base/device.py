"""Devices: where a tensor's memory lies."""

from __future__ import annotations

# Of PyTorch's words for devices the first two and "meta" are of devices that there may be; scripts compare with the others.
TYPES = ("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
         "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone")


class device:
    """A device such as ``device("cpu")`` or ``device("cuda", 0)``; compares and hashes by type and index."""

    __slots__ = ("type", "index", "_on_exit")

    def __init__(self, type, index=None):
        if isinstance(type, device):
            type, index = type.type, type.index
        elif isinstance(type, int):
            type, index = "cuda", type
        elif not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        if ":" in type:
            if index is not None:
                raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: "
                                   f"{type}")
            type, _, text = type.partition(":")
            if not text.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}:{text}'")
            index = int(text)
        if type not in TYPES:
            raise RuntimeError(f"Expected one of {', '.join(TYPES)} device type at start of device string: {type}")
        self.type, self.index = type, index

    def __repr__(self):
        return f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self):
        return hash((self.type, self.index))

    def __reduce__(self):
        return (device, (self.type, self.index))

    def __enter__(self):
        self._on_exit = exchange_default(self), getattr(self, "_on_exit", None)  # it may be entered again within
        return self

    def __exit__(self, *exc):
        before, self._on_exit = self._on_exit
        exchange_default(before)


CPU, META = device("cpu"), device("meta")
DEFAULT = [CPU]  # the device of new tensors


def resolve_device(d):
    """A device object from what the user passed (None, string, index or device)."""
    if d is None:
        return DEFAULT[0]
    return d if isinstance(d, device) else device(d)


def two_devices(a, b, where):
    """The error of a call that was given tensors on two devices."""
    if "meta" in (a.type, b.type):
        return RuntimeError(f"Tensor on device {b if a.type == 'meta' else a} is not on the expected device meta!")
    return RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {a} and {b}! "
                        f"({where})")


def missing(d):
    """PyTorch's error of a tensor that is to be on a device of a kind that there is none of."""
    if d.type in ("xpu", "mtia"):
        return AssertionError(f"Torch not compiled with {d.type.upper()} enabled")
    return NotImplementedError(f"PyTorch is not linked with support for {d.type} devices")


def exchange_default(d):
    """Make ``d`` the device of new tensors; returns the one before."""
    old = DEFAULT[0]
    DEFAULT[0] = CPU if d is None else (d if isinstance(d, device) else device(d))
    return old


def set_default_device(device):
    """Make ``device`` the device of new tensors."""
    exchange_default(device)


def get_default_device():
    return DEFAULT[0]
