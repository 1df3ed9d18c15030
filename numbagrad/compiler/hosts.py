"""Functions that run on the host between two native parts of a program: what they are given, as places in its memory."""

from __future__ import annotations

from ..core.tensor import Tensor
from .ir import Host


class Where:
    """A tensor (or, without ``kind``, an array) that a host function is given, as a place in a buffer."""

    __slots__ = ("buffer", "offset", "n", "shape", "strides", "kind")

    def __init__(self, buffer, t=None):
        self.buffer, self.kind = buffer, None
        if t is not None:
            self.offset, self.n, self.shape, self.strides, self.kind = (
                t._ptr - buffer.base, t._n, t._shape, t._strides, t._kind)


def prepare_hosts(calls, buffers):
    """Replace the tensors in the arguments of host functions by their places, so that nothing holds fake memory."""
    def place(v):
        if isinstance(v, Tensor):
            return Where(buffers[id(v._buf)], v)
        if id(v) in buffers and not isinstance(v, (int, float)):
            return Where(buffers[id(v)])
        if isinstance(v, (list, tuple)) and type(v) in (list, tuple):
            return type(v)([place(x) for x in v])
        return v
    for call in calls:
        if isinstance(call, Host) and call.values is not None:
            call.prepared = call.fn, [place(v) for v in call.values], call.kwargs
            call.values = None
