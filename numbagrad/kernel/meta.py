"""The meta device: tensors that have a shape, a dtype and a place in the graph, but no memory; their kernels do nothing.

It has the functions that a device's backend has (``kernel.cuda``). Addresses are numbers of a class of their own, far apart
for each tensor's memory, so that views and overlaps are told as on other devices.
"""

from __future__ import annotations

import itertools

from ..base.device import META
from . import blas, jit, tape

NO_DATA = "Cannot copy out of meta tensor; no data!"
NO_VALUES = "this operation looks at values, of which tensors on the meta device have none"
_next = itertools.count(1)


class Address(int):
    """A place in memory that is none; offsets keep it one, the distance of two is an ordinary number."""

    type = device = "meta"

    def __int__(self):
        raise NotImplementedError(NO_VALUES)

    def __add__(self, offset):
        return Address(int.__add__(self, offset))

    __radd__ = __add__

    def __sub__(self, other):
        distance = int.__sub__(self, other)
        return distance if isinstance(other, Address) else Address(distance)

    def __reduce__(self):
        raise TypeError("an address of the meta device has no meaning in another process")


class Nothing:
    """What tensors of the meta device have for memory: how large it would be."""

    __slots__ = ("itemsize", "nbytes", "ptr", "size")

    def __init__(self, size, itemsize):
        self.size, self.itemsize, self.nbytes = size, itemsize, size * itemsize
        self.ptr = Address(next(_next) << 64)  # no memory is that large

    def __getattr__(self, name):
        # Host code that expects the NumPy array of a CPU tensor.
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImplementedError(NO_DATA)


def resolve(device):
    """The one meta device; an index says nothing here."""
    return META


def alloc(kind, n):
    """Memory for ``n`` elements of a kind that is not there: (owner, address)."""
    memory = Nothing(n, kind.itemsize)
    return memory, memory.ptr


zeros = alloc


def Mirror(array):  # noqa: N802 (a class in other backends)
    """What a kernel is given for an array on the host: nothing, if it is one of constants."""
    if tape.TABLES.get(array.ctypes.data) is not array:
        raise NotImplementedError(NO_VALUES)
    return 0


def copy_bytes(dst, src):
    """Copies to the meta device are none; from there there is nothing to copy."""
    if dst._kind.device.type != "meta":
        raise NotImplementedError(NO_DATA)


def launch_pointwise(pointwise, compute, ins, scalars, outs, shape):
    """No values, no loop; an operand of another device is refused as by other devices."""
    for t in ins:
        if t._kind.device.type != "meta":
            raise RuntimeError(f"Tensor on device {t._kind.device} is not on the expected device meta!")


def fold(op, t, out, steps):
    """A reduction of no values."""


class Launcher:
    """A kernel on the meta device, which does nothing."""

    __slots__ = ()

    def __init__(self, kernel, dtypes, index):
        pass

    def __call__(self, *arguments):
        pass

    def run(self, arguments, items, work):
        pass

    def elements(self, arguments):
        pass


class Words:
    """Words in which nothing is ever found wrong (see ``tape.Words``)."""

    __slots__ = ("address",)

    def __init__(self, flag, index):
        self.address = 0

    def check(self):
        pass


def gemm(*arguments):
    """A product of no values."""


jit.DEVICES["meta"] = Launcher
blas.DEVICES["meta"] = gemm
tape.DEVICES["meta"] = Words
