"""Device addresses and memory as tensors carry them: integers that no CPU kernel accepts, and no NumPy array.

A compiled CPU function converts its arguments with ``int(argument)``; for these that raises. An operation that has no
CUDA kernel and would run its CPU kernel on device memory thus ends in an exception instead of a crash of the process.
"""

from __future__ import annotations

plain = int.__int__


class Address(int):
    """An address on a device; offsets keep it one, the distance of two is an ordinary number."""

    type = device = "cuda"

    def __int__(self):
        raise NotImplementedError(f"this operation has no kernel for device '{self.device}'")

    def __add__(self, offset):
        return self.__class__(int.__add__(self, offset))

    __radd__ = __add__

    def __sub__(self, other):
        distance = int.__sub__(self, other)
        return distance if isinstance(other, Address) else self.__class__(distance)

    def __reduce__(self):
        raise TypeError("a device address has no meaning in another process")


class DeviceMemory:
    """What owns device memory: ``ptr``, ``nbytes``, ``size`` (elements); ``free(nbytes)`` is called with the last
    reference."""

    __slots__ = ("ptr", "nbytes", "size", "free", "device")

    def __init__(self, ptr, nbytes, free, index):
        self.ptr, self.nbytes, self.free, self.device = ptr, nbytes, free, f"cuda:{index}"

    def __del__(self):
        self.free(self.nbytes)

    def __getattr__(self, name):
        # Host code that expects the NumPy array of a CPU tensor.
        if name.startswith("__") or name in DeviceMemory.__slots__:
            raise AttributeError(name)
        raise NotImplementedError(f"this operation has no kernel for device '{self.device}'")


_classes: dict = {}


def on(index):
    """The class of addresses on one device."""
    found = _classes.get(index)
    if found is None:
        found = _classes[index] = type("Address", (Address,), {"device": f"cuda:{index}", "__module__": __name__})
    return found
