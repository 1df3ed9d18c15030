"""Tensors in memory that processes share: what one writes the others read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import numbagrad as ng
from numbagrad import multiprocessing as mp


def double(rank, x, done, read):
    x[rank] *= 2
    done.put((rank, x[rank:rank + 1]))
    read.wait()  # files are handed out by the process that sent them


def fail(rank):
    if rank == 1:
        raise ValueError("it is one")


def leave(rank):
    os._exit(3) if rank == 0 else os.kill(os.getpid(), signal.SIGTERM)


def train(rank, model, data):
    with ng.no_grad():
        for p in model.parameters():
            p.add_(data.sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_memory_is_shared(method):
    context = mp.get_context(method)
    x, done, read = ng.arange(2.0, dtype=ng.float64) + 1, context.SimpleQueue(), context.Event()
    x.share_memory_()
    assert x.is_shared() and x.tolist() == [1, 2] and not ng.ones(1).is_shared()
    processes = [context.Process(target=double, args=(i, x, done, read)) for i in range(2)]
    for p in processes:
        p.start()
    found = dict(done.get() for _ in processes)
    read.set()
    for p in processes:
        p.join()
    assert x.tolist() == [2, 4] and {rank: t.tolist() for rank, t in found.items()} == {0: [2], 1: [4]}
    found[0] += 5  # a view of the same pages that has come back
    assert x.tolist() == [7, 4] and found[0].is_shared()


def test_modules_are_shared():
    model = ng.nn.Linear(2, 1)
    model.share_memory()
    before = [p.tolist() for p in model.parameters()]
    assert all(p.is_shared() and p.requires_grad and type(p) is ng.nn.Parameter for p in model.parameters())
    mp.spawn(train, (model, ng.ones(3)), nprocs=1)
    for p, old in zip(model.parameters(), before, strict=True):
        ng.testing.assert_close(p.detach(), ng.tensor(old) + 3)
    model(ng.ones(1, 2)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_errors_of_processes():
    words = r"-- Process 1 terminated with the following error:\n(.|\n)*ValueError: it is"
    with pytest.raises(mp.ProcessRaisedException, match=words):
        mp.spawn(fail, nprocs=2)
    with pytest.raises(mp.ProcessExitedException, match="process [01] terminated with (exit code 3|signal SIGTERM)"):
        mp.start_processes(leave, nprocs=2, start_method="fork")
    context = mp.spawn(fail, nprocs=1, join=False)
    while not context.join():
        pass
    assert context.pids() and context.join()


def test_strategies_and_what_is_not_sent():
    before = mp.get_sharing_strategy()
    assert before == "file_descriptor" and mp.get_all_sharing_strategies() == {"file_descriptor", "file_system"}
    mp.set_sharing_strategy("file_system")  # as programs do that would open too many files under PyTorch
    try:
        assert mp.get_sharing_strategy() == "file_system"
        with pytest.raises(AssertionError, match="invalid sharing strategy .mine., expected one of"):
            mp.set_sharing_strategy("mine")
    finally:
        mp.set_sharing_strategy(before)
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        mp.reduction.ForkingPickler.dumps(ng.ones(1, requires_grad=True) * 2)
    assert mp.Queue and mp.Process and mp.Pool and mp.cpu_count() > 0


def test_a_script_shares_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import torch\nimport torch.multiprocessing as mp\n\n\ndef work(rank, x, q):\n    x[rank] = rank + 1\n"
                      "    q.put(rank)\n\n\nif __name__ == '__main__':\n    mp.set_start_method('spawn')\n"
                      "    x, q = torch.zeros(2).share_memory_(), mp.get_context('spawn').SimpleQueue()\n"
                      "    ctx = mp.spawn(work, (x, q), nprocs=2, join=False)\n    got = [q.get() for _ in range(2)]\n"
                      "    while not ctx.join():\n        pass\n    print(x, len(got))\n")
    out = subprocess.run([sys.executable, "-m", "numbagrad", "run", str(script)], capture_output=True, text=True, timeout=300)
    assert out.stdout == "tensor([1., 2.]) 2\n", out.stderr
