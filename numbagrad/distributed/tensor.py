"""Tensors over several devices: there are no process groups that would hold their parts."""

from . import _without_group
from .device_mesh import DeviceMesh, init_device_mesh

__all__ = ["DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard", "distribute_module", "distribute_tensor",
           "init_device_mesh"]


class DTensor:
    """The class that ``isinstance`` asks for; no tensor is one."""

    def __new__(cls, *args, **kwargs):
        _without_group()


class Placement:
    """How a tensor would lie on the devices of a mesh."""


class Shard(Placement):
    """In parts along a dimension."""

    def __init__(self, dim):
        self.dim = dim


class Replicate(Placement):
    """Whole on each."""


class Partial(Placement):
    """As terms of a sum."""

    def __init__(self, reduce_op="sum"):
        self.reduce_op = reduce_op


def distribute_tensor(tensor, device_mesh=None, placements=None, **kwargs):
    """Refused: there are no process groups."""
    _without_group()


def distribute_module(module, device_mesh=None, partition_fn=None, input_fn=None, output_fn=None):
    """Refused: there are no process groups."""
    _without_group()
