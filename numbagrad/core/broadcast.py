"""Broadcasting: the common shape of several tensors, and the way back for gradients."""

from __future__ import annotations

from itertools import starmap


def broadcast_shapes(name, tensors):
    """The common shape of the tensors, or PyTorch's error for sizes that do not match."""
    shape = tensors[0]._shape
    for t in tensors[1:]:
        other = t._shape
        if other == shape:
            continue
        n = max(len(shape), len(other))
        a, b = (1,) * (n - len(shape)) + shape, (1,) * (n - len(other)) + other
        for i in range(n - 1, -1, -1):
            if a[i] != b[i] and a[i] != 1 and b[i] != 1:
                raise RuntimeError(f"The size of tensor a ({a[i]}) must match the size of tensor b ({b[i]}) at "
                                   f"non-singleton dimension {i} (in {name} of shapes "
                                   f"{' and '.join(str(list(x._shape)) for x in tensors)})")
        shape = tuple(starmap(lambda x, y: y if x == 1 else x, zip(a, b)))
    return shape


def sum_to_size(g, shape):
    """Sum ``g`` over the dimensions along which ``shape`` was broadcast to ``g``'s shape."""
    if g._shape == shape:
        return g
    from .registry import REGISTRY
    lead = len(g._shape) - len(shape)
    dims = [*range(lead), *(lead + i for i, s in enumerate(shape) if s == 1 and g._shape[lead + i] != 1)]
    if dims:
        g = REGISTRY["sum"].callable(g, dims, True)
    return REGISTRY["view"].callable(g, shape) if g._shape != shape else g
