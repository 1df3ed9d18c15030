"""``torch._tensor_str``: how tensors are printed, for packages that ask there."""

from .core.printing import get_printoptions, printoptions, set_printoptions

__all__ = ["get_printoptions", "printoptions", "set_printoptions"]
