"""``torch.storage``: the classes of the memory behind tensors."""

import io

from .core.storages import TypedStorage, UntypedStorage

__all__ = ["TypedStorage", "UntypedStorage"]


def _load_from_bytes(b):
    """What pickles of PyTorch's storages call."""
    from .serialization import load
    return load(io.BytesIO(b), weights_only=False)
