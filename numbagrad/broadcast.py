"""Un-broadcasting: the one place where a gradient is summed back to the shape of a broadcast input."""

from __future__ import annotations


def sum_to_size(g, shape):
    """Sum ``g`` over the dimensions along which ``shape`` was broadcast to ``g``'s shape."""
    if g._shape == shape:
        return g
    from .op.registry import REGISTRY
    lead = len(g._shape) - len(shape)
    dims = [*range(lead), *(lead + i for i, s in enumerate(shape) if s == 1 and g._shape[lead + i] != 1)]
    if dims:
        g = REGISTRY["sum"].callable(g, dims, True)
    return REGISTRY["view"].callable(g, shape) if g._shape != shape else g
