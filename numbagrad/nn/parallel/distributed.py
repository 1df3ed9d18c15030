"""Training in several processes, under the name of PyTorch's file."""

from . import DistributedDataParallel

__all__ = ["DistributedDataParallel"]
