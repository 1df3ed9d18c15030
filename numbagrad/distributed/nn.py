"""Collective functions with gradients: without a process group they say so."""

from . import _without_group

__all__ = ["all_gather", "all_reduce", "all_to_all", "broadcast", "gather", "reduce", "reduce_scatter", "scatter"]
all_gather = all_reduce = all_to_all = broadcast = gather = reduce = reduce_scatter = scatter = _without_group
