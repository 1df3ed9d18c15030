"""``torch.storage``: the classes of the memory behind tensors."""

from .core.storages import TypedStorage, UntypedStorage

__all__ = ["TypedStorage", "UntypedStorage"]
