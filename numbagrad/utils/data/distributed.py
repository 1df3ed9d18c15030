"""The sampler of one of several processes that share a dataset."""

import math
from typing import TypeVar

import numbagrad as ng

from .sampler import Sampler

__all__ = ["DistributedSampler"]
_Index = TypeVar("_Index", covariant=True)


class DistributedSampler(Sampler[_Index]):
    """Every ``num_replicas``-th index from ``rank`` on, in an order that is the same in all processes; without a process group
    both have to be given."""

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False):
        if num_replicas is None or rank is None:
            raise RuntimeError("Requires distributed package to be available")
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank, self.epoch = dataset, num_replicas, rank, 0
        self.drop_last, self.shuffle, self.seed = drop_last, shuffle, seed
        size = len(dataset)
        left_out = num_replicas if drop_last and size % num_replicas else 0
        self.num_samples = math.ceil((size - left_out) / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self):
        size = len(self.dataset)
        if self.shuffle:
            generator = ng.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = ng.randperm(size, generator=generator).tolist()
        else:
            indices = list(range(size))
        if not self.drop_last and size:  # begin anew, until all processes have as many
            indices *= math.ceil(self.total_size / size)
        return iter(indices[:self.total_size][self.rank::self.num_replicas])

    def __len__(self):
        return self.num_samples

    def set_epoch(self, epoch):
        """Have another order in the next pass."""
        self.epoch = epoch
