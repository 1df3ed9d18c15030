"""Inputs cut into parts for devices, and outputs put together, under the name of PyTorch's file."""

from .devices import gather, scatter

__all__ = ["gather", "scatter", "scatter_kwargs"]


def scatter_kwargs(inputs, kwargs, target_gpus, dim=0):
    """Positional and named arguments for each device, as two tuples of one length."""
    cut = [list(scatter(x, target_gpus, dim)) if x else [] for x in (inputs, kwargs)]
    count = max(map(len, cut))
    return tuple(cut[0] + [()] * (count - len(cut[0]))), tuple(cut[1] + [{}] * (count - len(cut[1])))
