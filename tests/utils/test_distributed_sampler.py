"""``DistributedSampler`` gives each process PyTorch's indices."""

from __future__ import annotations

import pytest

import numbagrad as ng
from numbagrad.utils.data.distributed import DistributedSampler

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


@pytest.mark.parametrize("count", [1, 2, 7, 12, 13])
@pytest.mark.parametrize("how", [{}, {"shuffle": False}, {"seed": 3}, {"drop_last": True}], ids=str)
def test_parts_are_pytorchs(count, how):
    data = list(range(count))
    for replicas in (1, 2, 3, 5):
        if how.get("drop_last") and count < replicas:
            continue  # nothing would be left
        for rank in range(replicas):
            ours = DistributedSampler(data, replicas, rank, **how)
            theirs = torch.utils.data.DistributedSampler(data, replicas, rank, **how)
            for epoch in (0, 1, 4):
                ours.set_epoch(epoch)
                theirs.set_epoch(epoch)
                assert list(ours) == list(theirs) and len(ours) == len(theirs)
            assert ours.total_size == theirs.total_size


def test_parts_make_up_the_whole():
    loader = ng.utils.data.DataLoader
    data = ng.arange(10)
    parts = [loader(data, batch_size=2, sampler=ng.utils.data.DistributedSampler(data, 2, r)) for r in range(2)]
    assert sorted(int(x) for part in parts for batch in part for x in batch) == list(range(10))


def test_refusals():
    for rank in (-1, 2):
        for lib in (ng, torch):
            with pytest.raises(ValueError, match=rf"Invalid rank {rank}, rank should be in the interval \[0, 1\]"):
                lib.utils.data.DistributedSampler([1], 2, rank)
    with pytest.raises(RuntimeError, match="Requires distributed package to be available"):
        ng.utils.data.DistributedSampler([1])
