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
    """How a tensor would lie on the devices of a mesh; equal ones are of one class and say the same."""

    def is_shard(self, dim=None):
        """Whether it is in parts (along this dimension)."""
        return isinstance(self, Shard) and (dim is None or self.dim == dim)

    def is_replicate(self):
        """Whether it is whole on each device."""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op=None):
        """Whether it is in terms of a sum, or what else joins them."""
        return isinstance(self, Partial) and (reduce_op is None or self.reduce_op == reduce_op)

    def __eq__(self, other):
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self):
        return hash((type(self), *vars(self).values()))


class Shard(Placement):
    """In parts along a dimension."""

    def __init__(self, dim):
        self.dim = dim

    def __repr__(self):
        return f"Shard(dim={self.dim})"


class Replicate(Placement):
    """Whole on each."""

    def __repr__(self):
        return "Replicate()"


class Partial(Placement):
    """As terms of a sum."""

    def __init__(self, reduce_op="sum"):
        self.reduce_op = reduce_op

    def __repr__(self):
        return f"Partial({self.reduce_op})"


def distribute_tensor(tensor, device_mesh=None, placements=None, **kwargs):
    """Refused: there are no process groups."""
    _without_group()


def distribute_module(module, device_mesh=None, partition_fn=None, input_fn=None, output_fn=None):
    """Refused: there are no process groups."""
    _without_group()
