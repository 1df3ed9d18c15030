"""Batches from workers: in memory that both processes have, with PyTorch's values, strides and sharing; nothing gets lost."""

from __future__ import annotations

import collections
import errno
import gc
import multiprocessing
import os
import resource
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core.shared import MAPPED
from numbagrad.utils import data as ng_data
from numbagrad.utils.data import _handover

BIG = 40_000  # elements of float32, more than goes through the pipe
Point = collections.namedtuple("Point", "x name")
pytestmark = pytest.mark.skipif(not _handover.CAN_SEND, reason="descriptors cannot be sent here")


class Dataset:
    """Samples are what ``make`` gives for their number."""

    def __init__(self, n, make):
        self.n, self.make = n, make

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.make(i)


def loader(n, make, data=ng_data, **kwargs):
    kwargs = {"batch_size": None, "num_workers": 1, "multiprocessing_context": "fork", **kwargs}
    return data.DataLoader(Dataset(n, make), **kwargs)


def full(i):
    return ng.full((BIG,), float(i))


def numbers(batches):
    """The number that each tensor is full of."""
    batches = list(batches)
    for t in batches:
        assert bool((t == t[0]).all())
    return [t[0].item() for t in batches]


def shown(value):
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shown(v) for v in value]
    if isinstance(value, (np.ndarray, str)):
        return type(value).__name__, value.tolist() if isinstance(value, np.ndarray) else value
    if value.is_sparse:
        return "sparse", value.to_dense().tolist()
    return type(value).__name__, str(value.dtype), value.tolist(), value.stride(), value.requires_grad


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_collections_and_layouts_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

    def make(lib):
        def sample(i):
            x = lib.arange(3.0 * BIG).reshape(BIG, 3) + i
            return {"point": Point(x, "a"), "views": [x[5:], x.t(), x[:, 1:2], x[3]], "wide": x[:1].expand(4, 3),
                    "empty": lib.ones(0, 3), "half": x.to(lib.bfloat16), "array": np.arange(30_000), "flags": x > 5,
                    "complex": lib.complex(x, x), "leaf": lib.ones(2, BIG).requires_grad_(), "scalar": lib.tensor(3),
                    "parameter": lib.nn.Parameter(lib.ones(2)), "sparse": lib.eye(3).to_sparse()}
        return sample
    ours, theirs = (list(loader(3, make(lib), lib.utils.data)) for lib in (ng, torch))
    for a, b in zip(ours, theirs, strict=True):
        assert shown(a) == shown(b)
    x = ours[0]["point"].x
    assert x.is_shared() and ours[0]["half"].is_shared() and not ours[0]["scalar"].is_shared()
    x[5:] = -1  # the views of a batch lie in one memory, here as there
    theirs[0]["point"].x[5:] = -1
    assert [shown(v) for v in ours[0]["views"]] == [shown(v) for v in theirs[0]["views"]] and x._ver is ours[0]["views"][1]._ver


def test_batches_of_samples():
    def make(i):
        return ng.full((3, 100, 100), float(i)), np.full((100, 100), i, np.int16), str(i), {"n": i}
    (images, arrays, names, counts), last = list(loader(6, make, batch_size=4, num_workers=2))
    assert images.shape == (4, 3, 100, 100) and images[:, 2, 5, 7].tolist() == [0, 1, 2, 3] and images.is_shared()
    assert arrays.dtype is ng.int16 and arrays.sum((1, 2)).tolist() == [0, 10_000, 20_000, 30_000]
    assert names == ("0", "1", "2", "3") and counts["n"].tolist() == [0, 1, 2, 3] and last[0].mean((1, 2, 3)).tolist() == [4, 5]
    mixed = list(loader(2, lambda i: ng.ones(BIG, dtype=[ng.float32, ng.float64][i]), batch_size=2))
    assert mixed[0].dtype is ng.float64 and mixed[0].shape == (2, BIG)
    whole = ng_data.TensorDataset(ng.arange(4.0 * BIG).reshape(4, BIG))
    (rows,), _ = list(ng_data.DataLoader(whole, batch_size=2, num_workers=1, shuffle=False))
    assert rows[1, 0].item() == BIG and rows.is_shared()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_files_are_used_again_once_nobody_reads_them(method):
    places, kept = set(), []
    # (numpy's arrays and parts keep the memory as the tensor does)
    for i, t in enumerate(ng_data.DataLoader(Filled(40), batch_size=None, num_workers=1, multiprocessing_context=method)):
        assert numbers([t]) == [i]
        places.add(t.data_ptr())
        if i % 8 == 0:
            kept.append([t, t[10:], t.numpy(), np.asarray(t)[3:], t.untyped_storage()][len(kept)])
    assert len(places) < 20
    del t
    assert [memoryview(k).tobytes()[:4] if isinstance(k, np.ndarray) else bytes(k[:4]) if isinstance(
        k, ng.UntypedStorage) else k[:1].numpy().tobytes() for k in kept] == [np.float32(8 * i).tobytes() for i in range(5)]


class Filled(Dataset):
    def __init__(self, n):
        super().__init__(n, None)

    def __getitem__(self, i):
        return full(i)


def test_kept_batches_and_later_passes():
    once = loader(30, full, num_workers=2, persistent_workers=True)
    for _ in range(3):
        assert numbers(list(once)) == list(range(30))
    first = [t for t, _ in zip(once, range(5))]  # left early
    assert numbers(list(once)) == list(range(30)) and numbers(first) == list(range(5))
    one = loader(9, lambda i: ng.full((BIG * (1 + i % 3),), float(i)))
    assert [len(t) // BIG for t in one] == [1, 2, 3] * 3


def test_what_the_worker_keeps_is_not_written_over():
    def collate(samples, kept=[]):  # noqa: B006
        kept.append(ng_data.default_collate(samples))
        return [kept[0], kept[-1]]
    for i, (first, last) in enumerate(loader(20, full, batch_size=1, collate_fn=collate)):
        assert numbers([first[0], last[0]]) == [0, i]


def test_pages_that_a_third_process_may_see_are_not_used_again():
    context = multiprocessing.get_context("fork")
    goes, comes = context.SimpleQueue(), context.SimpleQueue()
    queue = ng.multiprocessing.get_context("fork").SimpleQueue()

    def child(t):
        comes.put("ready")
        goes.get()
        comes.put(numbers([t, queue.get()]))
    batches = iter(loader(60, full))
    t = next(batches)
    process = context.Process(target=child, args=(t,))
    process.start()
    comes.get()
    t = next(batches)
    queue.put(t)
    del t
    assert numbers(batches) == list(range(2, 60))
    goes.put(None)
    assert comes.get() == [0, 1]
    process.join()


def test_memory_that_the_user_shares_is_shared():
    x = ng.zeros(BIG).share_memory_()
    batches = loader(3, lambda i: x[i:])
    a, b, c = batches
    a[2] = 5
    assert x[2].item() == b[1].item() == c[0].item() == 5


def small_files(worker):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_without_files_values_go_through_the_pipe(monkeypatch):
    def arrive(shared, **kwargs):
        found = list(loader(6, lambda i: [full(i), ng.full((BIG,), -i), ng.tensor(i)], **kwargs))
        assert [numbers([a, b]) for a, b, _ in found] == [[i, -i] for i in range(6)] and [
            n.item() for *_, n in found] == list(range(6)) and {a.is_shared() for a, *_ in found} == {shared}
    arrive(True)
    arrive(False, worker_init_fn=small_files)
    with monkeypatch.context() as patch:
        patch.delattr(os, "memfd_create")
        arrive(True)

        def no_room(*args):
            raise OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(os, "posix_fallocate", no_room)
        arrive(False)
        with pytest.raises(OSError, match="No space left"):
            ng.ones(3).share_memory_()

    def too_many(*args):
        raise OSError(errno.ETOOMANYREFS, "Too many references")
    with monkeypatch.context() as patch:
        patch.setattr(socket, "send_fds", too_many)
        arrive(False)
        x = ng.ones(BIG).share_memory_()
        assert numbers(loader(2, lambda i: x)) == [1, 1]


def test_who_keeps_many_batches_needs_few_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = max(int(n) for n in os.listdir("/proc/self/fd")) + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        batches = list(loader(300, full))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert numbers(batches) == list(range(300)) and 0 < sum([t.is_shared() for t in batches]) < 200


def test_no_place_for_descriptors_is_the_batchs_error():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    batches = iter(loader(4, full, prefetch_factor=1))
    assert numbers([next(batches)]) == [0]
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(n) for n in os.listdir("/proc/self/fd")) + 20, hard))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.dup(0))
        os.close(held.pop())  # one for the socket, none for what comes through it
        with pytest.raises(OSError, match="Too many open files"):
            next(batches)
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert numbers(batches) == [2, 3]


def test_many_memories_in_one_batch():
    for batch in loader(3, lambda i: [full(i + j) for j in range(150)]):
        first = batch[0][0].item()
        assert numbers(batch) == [first + j for j in range(150)]


def test_nothing_is_left_of_a_worker_that_was_killed():
    def make(i):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return full(i)

    def state():
        files = sorted(n for n in os.listdir("/dev/shm") if not n.startswith("sem."))  # (semaphores of others come and go)
        return len(os.listdir("/proc/self/fd")), len(MAPPED), files
    list(loader(2, full))
    gc.collect()
    before = state()
    got = []
    with pytest.raises(RuntimeError, match="exited unexpectedly by signal 9"):
        got.extend(loader(9, make))
    batches = iter(loader(9, make))
    first = next(batches)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(batches)
    assert numbers([first]) == [0] and first.is_shared()
    del first, batches, got
    gc.collect()
    assert state() == before


def test_a_default_timeout_of_sockets_is_not_the_pipes():
    socket.setdefaulttimeout(5)
    try:
        assert numbers(loader(8, full)) == list(range(8))
    finally:
        socket.setdefaulttimeout(None)


def test_threads_of_a_worker_get_memory_of_their_own(monkeypatch):
    sender, own = _handover.Sender(None), _handover._File.array
    sender.room(4 * BIG)
    assert [f.free for f in sender.files.values()] == [True]

    def slow(self, nbytes):
        time.sleep(0.05)
        return own(self, nbytes)
    monkeypatch.setattr(_handover._File, "array", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(sender.room, [4 * BIG] * 2)
    assert not np.shares_memory(first, second) and len(sender.files) == 2
