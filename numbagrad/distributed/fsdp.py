"""Modules whose parameters are divided among processes: there are no process groups that would hold them."""

from . import _without_group

__all__ = ["FSDPModule", "FullyShardedDataParallel", "fully_shard"]


class FullyShardedDataParallel:
    """The class that ``isinstance`` asks for; making one needs a process group."""

    def __init__(self, module, *args, **kwargs):
        _without_group()


class FSDPModule:
    """The class that ``isinstance`` asks for; no module is one."""


def fully_shard(module, **kwargs):
    """Refused: there are no process groups."""
    _without_group()
