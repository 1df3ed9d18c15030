"""Optimizers over several processes: without a process group they say so."""

from . import _without_group

__all__ = ["ZeroRedundancyOptimizer"]


class ZeroRedundancyOptimizer:
    """The class that ``isinstance`` asks for; making one needs a process group."""

    def __init__(self, params, optimizer_class, process_group=None, **defaults):
        _without_group()
