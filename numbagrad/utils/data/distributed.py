"""A sampler that gives each of several processes its part of a dataset."""

import math

import numbagrad as ng

from ... import distributed
from .sampler import Sampler

__all__ = ["DistributedSampler"]


def _of_group(name):
    if not distributed.is_available():
        raise RuntimeError("Requires distributed package to be available")
    return getattr(distributed, name)()


class DistributedSampler(Sampler):
    """Every ``num_replicas``-th index from ``rank`` on, of an order that ``seed`` and ``set_epoch`` give."""

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False):
        if num_replicas is None:
            num_replicas = _of_group("get_world_size")
        if rank is None:
            rank = _of_group("get_rank")
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank, self.epoch, self.drop_last = dataset, num_replicas, rank, 0, drop_last
        count = len(dataset)
        # What does not go round is left out, or made up by indices that come twice.
        if drop_last and count % num_replicas != 0:
            count -= num_replicas
        self.num_samples = math.ceil(count / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle, self.seed = shuffle, seed

    def _order(self):
        if not self.shuffle:
            return list(range(len(self.dataset)))
        g = ng.Generator()
        g.manual_seed(self.seed + self.epoch)
        return ng.randperm(len(self.dataset), generator=g).tolist()

    def __iter__(self):
        indices = self._order()
        if not self.drop_last and len(indices) < self.total_size:
            indices *= math.ceil(self.total_size / len(indices))
        return iter(indices[:self.total_size][self.rank::self.num_replicas])

    def __len__(self):
        return self.num_samples

    def set_epoch(self, epoch):
        """Choose the order of the next iteration: each epoch has its own."""
        self.epoch = epoch
