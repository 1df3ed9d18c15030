"""Steps of optimizers and passes of loaders that end in the middle: what comes after is right, or says what happened."""

import os
import signal
import time

import pytest

import numbagrad as ng
from numbagrad.optim._kernels import Table
from numbagrad.utils.data import DataLoader, Dataset

OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "dampened": {"lr": 0.1, "momentum": 0.9, "dampening": 0.5},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "ASGD": {},
    "Rprop": {},
    "Adafactor": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adadelta": {},
    "Adagrad": {},
}


def problem(name):
    params = [ng.linspace(-1, 1, 6, requires_grad=True), ng.ones(2, 3, requires_grad=True)]
    for p in params:
        p.grad = p.detach() * 0.5 + 0.25
    return params, getattr(ng.optim, name.replace("dampened", "SGD"))(params, **OPTIMIZERS[name])


def values(params, optimizer):
    return [p.tolist() for p in params], [{k: v.tolist() for k, v in optimizer.state[p].items()} for p in params]


def after(name, steps):
    params, optimizer = problem(name)
    for _ in range(steps):
        optimizer.step()
    return values(params, optimizer)


class Interrupted:
    """Calls through to ``fn`` until the ``nth`` call, which is interrupted."""

    def __init__(self, fn, nth):
        self.fn, self.left = fn, nth

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.fn(*args, **kwargs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_made_whole_or_not_at_all(name, monkeypatch):
    interrupted = 0
    for function in ("zeros_like", "tensor", "full_like"):
        for nth in (1, 2, 3):
            params, optimizer = problem(name)
            with monkeypatch.context() as patch:
                patch.setattr(ng, function, Interrupted(getattr(ng, function), nth))
                try:
                    optimizer.step()
                except KeyboardInterrupt:
                    interrupted += 1
                    optimizer.step()
            assert values(params, optimizer) == after(name, 1)
    assert interrupted or name == "Adagrad"  # whose state is made with it


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_interrupt_before_the_kernel(name, monkeypatch):
    """The next step is as the first would have been."""
    params, optimizer = problem(name)
    with monkeypatch.context() as patch:
        patch.setattr(Table, "run", Interrupted(None, 1))
        with pytest.raises(KeyboardInterrupt):
            optimizer.step()
    for _ in range(2):
        optimizer.step()
    assert values(params, optimizer) == after(name, 2)


@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_a_refused_step_leaves_no_buffer_without_values(dampening):
    """The second gradient does not fit: the first parameter's buffer was made, but never filled."""
    params, optimizer = problem("SGD")
    optimizer.param_groups[0]["dampening"] = dampening
    good, params[1]._grad = params[1].grad, ng.ones(5)
    with pytest.raises(RuntimeError, match="sizes of a parameter and of its gradient"):
        optimizer.step()
    params[1]._grad = good
    optimizer.step()
    assert [optimizer.state[p]["momentum_buffer"].tolist() for p in params] == [p.grad.tolist() for p in params]


def test_versions_count_before_values_change(monkeypatch):
    params, optimizer = problem("Adam")
    before = [p._version for p in params]
    monkeypatch.setattr(Table, "run", Interrupted(None, 1))
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert [p._version for p in params] == [v + 1 for v in before]


# --- loaders ---

class Numbers(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return i


class Forking(Numbers):
    """A worker that is killed while a child of it holds its end of the pipe."""

    def __getitem__(self, i):
        if i == 3:
            if os.fork() == 0:
                time.sleep(8)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return i


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_a_dead_worker_is_seen_behind_a_pipe_that_others_hold(monkeypatch):
    monkeypatch.setattr("numbagrad.utils.data._worker.CHECK_SECONDS", 0.2)
    batches, began = iter(DataLoader(Forking(), num_workers=2)), time.monotonic()
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    for _ in range(3):  # not the end of the data, however often it is asked
        with pytest.raises(RuntimeError, match="exited unexpectedly by signal 9"):
            next(batches)
    assert time.monotonic() - began < 7


def _refuse():
    raise ZeroDivisionError("cannot be read back")


class Unreadable:
    def __reduce__(self):
        return _refuse, ()


def unreadable(batch):
    return Unreadable() if batch[0] == 2 else batch[0]


def test_a_batch_that_cannot_be_read_back_is_its_own_error():
    batches = iter(DataLoader(Numbers(), num_workers=2, collate_fn=unreadable))
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="cannot be read back"):
        next(batches)
    assert list(batches) == [3, 4, 5]


def test_workers_that_are_asked_for_nothing():
    with pytest.raises(AssertionError, match="prefetch_factor"):
        iter(DataLoader(Numbers(), num_workers=1, prefetch_factor=0))
