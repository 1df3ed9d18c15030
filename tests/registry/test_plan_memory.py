"""What planned calls hold: scratch memory by the lives of buffers, tables and geometries of many views in bounded memory."""

import itertools
import math
import random
import tracemalloc

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch import plan, scratch, view
from numbagrad.dispatch.recorder import Address, Recorder
from numbagrad.kernel import threads

F = ng.nn.functional
MB = 1 << 20


def written(count, rng):
    """A recorder of random launches on buffers of random sizes, some of them through a table."""
    recorder = Recorder()
    for _ in range(count):
        recorder.alloc(ng.core.storage.F4, rng.randrange(1, 5000))
    for _ in range(3 * count):
        used = [Address(rng.randrange(count), 0) for _ in range(rng.randrange(1, 4))]
        recorder.steps.append(rng.choice([("kernel", [*used, 3]), (threads.parallel_call, [1, (*used, 7), 2, 2]), (None, 0)]))
    return recorder


@pytest.mark.parametrize("seed", range(20))
def test_buffers_that_live_at_once_lie_apart(seed):
    recorder = written(12, random.Random(seed))
    places, most = scratch.layout(recorder, set(range(2, 12)))
    lives = scratch.lives(recorder, set(range(2, 12)))
    assert set(places) == set(lives) and not any(at % 64 for at in places.values())
    spans = {i: (at, at + recorder.buffers[i].nbytes) for i, at in places.items()}
    assert max(end for _, end in spans.values()) <= most
    for i, j in itertools.combinations(places, 2):
        together = lives[i][0] <= lives[j][1] and lives[j][0] <= lives[i][1]
        assert not together or spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]


def test_a_life_lasts_from_the_first_launch_to_the_last():
    recorder = Recorder()
    for _ in range(4):
        recorder.alloc(ng.core.storage.F4, 1024)
    recorder.steps = [("kernel", [Address(0, 0), Address(1, 8)]), (None, 0),
                      (threads.parallel_call, [1, (Address(1, 0), 5), 2, 2]), ("kernel", [Address(2, 0), 4])]
    assert scratch.lives(recorder, {1, 2, 3}) == {1: [0, 2], 2: [3, 3]}
    assert scratch.layout(recorder, {1, 2, 3}) == ({1: 0, 2: 0}, 4096)


@pytest.mark.parametrize("name", ("cosine_embedding_loss", "gumbel_softmax", "triplet_margin_loss"))
def test_a_function_of_ops_holds_two_or_three_results_at_once(name):
    count = {"cosine_embedding_loss": 2, "gumbel_softmax": 1, "triplet_margin_loss": 3}[name]
    x = ng.ones(64, 64)

    def work(recorder):
        shadows = [recorder.shadow(x) for _ in range(count)]
        return REGISTRY[name].fn(*shadows, *([recorder.shadow(ng.ones(64))] if name.startswith("cosine") else []))
    recorder, _ = plan.written_down(work)
    own = set(range(count, len(recorder.buffers)))
    every = sum([recorder.buffers[i].nbytes for i in own])
    assert every > 3 * x.nbytes and scratch.layout(recorder, own)[1] < min(0.7 * every, 3.5 * x.nbytes)


def values(name, x, y, target):
    if name == "gumbel_softmax":
        ng.manual_seed(3)
    given = {"cosine_embedding_loss": (x, y, target), "gumbel_softmax": (x,), "triplet_margin_loss": (x, y, y * 0.5)}[name]
    return getattr(F, name)(*given)


@pytest.mark.parametrize("name", ("cosine_embedding_loss", "gumbel_softmax", "triplet_margin_loss"))
@pytest.mark.parametrize("size", (8, 100))
def test_planned_calls_and_gradients_are_those_of_calls_without_a_plan(name, size):
    x, y = [ng.tensor(np.random.default_rng(i).standard_normal((size, size)).astype("float32"), requires_grad=True)
            for i in (1, 2)]
    target = ng.ones(size)
    seen = []
    for _ in range(14):
        x.grad = y.grad = None
        out = values(name, x, y, target)
        (out * out).sum().backward()
        seen.append([out.detach().numpy(), x.grad.numpy(), *([] if y.grad is None else [y.grad.numpy()])])
    for found in seen[1:]:
        for a, b in zip(seen[0], found):
            np.testing.assert_array_equal(a, b)


def test_tables_that_plans_hold_are_bounded(monkeypatch):
    """``combinations`` takes elements by tables of which each has more bytes than its argument."""
    monkeypatch.setattr(plan, "HELD", 1 << 18)
    plan.forget()
    most = 0
    for n in [*range(40, 100), 300]:
        for _ in range(10):
            found = ng.combinations(ng.arange(n))
        most = max(most, plan._held[0])
        assert found.shape == (math.comb(n, 2), 2) and found[-1].tolist() == [n - 2, n - 1]
    assert 1 << 16 < most <= 1 << 18
    assert not plan.hold(1 << 17)  # one that is too large by itself


def test_geometries_of_many_views_are_bounded(monkeypatch):
    monkeypatch.setattr(view, "PARTS", 1000)
    memo = {}
    for n in (400, 500, 300, 5000, 600):
        view.remember(memo, n, [None] * n)
        assert n in memo and sum(map(len, memo.values())) <= max(n, 1000)
    assert list(memo) == [600]
    for n in (990, 995, 999, 2000):
        parts = ng.arange(n).tensor_split(n)
        assert len(parts) == n and parts[-1].tolist() == [n - 1] and ng.arange(n).unbind()[-1].item() == n - 1


def peak(run):
    """Bytes that a call holds at its peak, once what it makes for all later ones is there."""
    for _ in range(12):
        run()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_positions_are_sorted_in_their_own_memory():
    x = ng.rand(1024, 1024)
    assert peak(lambda: x.argsort(1)) < 8.5 * MB and peak(lambda: x.sort(1)) < 12.5 * MB  # (int64, and the values)


def test_the_gradient_of_scatter_makes_no_list_of_places():
    x, source = ng.rand(512, 512, requires_grad=True), ng.rand(512, 512, requires_grad=True)
    index = ng.randint(0, 512, (512, 512))
    out, g = x.scatter(1, index, source), ng.ones(512, 512)
    assert peak(lambda: ng.autograd.grad(out, (x, source), g, retain_graph=True)) < 2.2 * MB
    own, given = ng.autograd.grad(out, (x, source), g)
    marked = np.ones((512, 512), "float32")
    np.put_along_axis(marked, index.numpy(), 0, 1)
    assert own.tolist() == marked.tolist() and given.tolist() == g.tolist()


def test_the_gradient_of_embedding_bag_makes_no_row_for_each_index():
    weight, index = ng.rand(100, 64, requires_grad=True), ng.randint(0, 100, (256, 32))
    out = F.embedding_bag(index, weight, mode="mean", padding_idx=3)
    g = ng.rand(256, 64)
    assert peak(lambda: ng.autograd.grad(out, weight, g, retain_graph=True)) < MB // 2  # (8192 rows have 2 MB)
    found, = ng.autograd.grad(out, weight, g)
    used = (index.numpy() != 3).sum(1, keepdims=True)
    wanted = np.zeros((100, 64))
    np.add.at(wanted, index.numpy().reshape(-1), np.repeat(g.numpy() / np.maximum(used, 1), 32, 0))
    wanted[3] = 0
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_take_makes_no_list_of_places():
    x, index = ng.rand(512, 512), ng.randint(-512 * 512, 512 * 512, (512, 512))
    assert peak(lambda: x.take(index)) < 1.2 * MB and peak(lambda: x.view(-1)[index]) < 1.2 * MB
    wanted = x.numpy().take(index.numpy()).tolist()
    assert x.take(index).tolist() == x.view(-1)[index].tolist() == wanted
    for wrong in (512 * 512, -512 * 512 - 1):
        index[7, 3] = wrong
        with pytest.raises(IndexError, match=f"out of range: tried to access index {wrong} on a tensor of 262144 elements"):
            x.take(index)
