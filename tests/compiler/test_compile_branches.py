"""Independent branches of a compiled step on several threads."""

from __future__ import annotations

import importlib
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry.steps import values

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn
from numbagrad.kernel import threads

from .test_compile_program import STEP, assert_apart, assert_runs_as_eager

branches = importlib.import_module("numbagrad.compiler.branches")


@pytest.fixture
def two_threads():
    before = ng.get_num_threads()
    ng.set_num_threads(2)
    yield
    ng.set_num_threads(before)


@pytest.fixture
def always(two_threads, monkeypatch):
    """Whatever can run as tasks does."""
    monkeypatch.setattr(branches, "START", -1e12)


def ensemble(count=4, width=64, compiled=True):
    """(step, models, batch) of several models trained side by side."""
    ng.manual_seed(0)
    models = [nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10))
              for _ in range(count)]
    optimizer = ng.optim.SGD([p for m in models for p in m.parameters()], lr=0.1, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        loss = sum([F.mse_loss(m(x), y) for m in models])
        loss.backward()
        optimizer.step()
        return loss
    return ng.compile(step) if compiled else step, models, (ng.randn(64, width), ng.randn(64, 10))


def test_an_ensemble_runs_as_tasks(two_threads):
    results = []
    for compiled in (True, False):
        step, models, batch = ensemble(compiled=compiled)
        losses = [step(*batch).item() for _ in range(30)]
        results.append((losses, [values(p) for m in models for p in m.parameters()]))
        if compiled:
            program = step.variants[-1].program
            assert [(s.first, s.last) for s in program.stretches] == [(0, len(program.calls))]
            assert_apart(program)
            assert "run as tasks" in step.explain(profile=True)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for a, b in zip(results[0][1], results[1][1]):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_chain_stays_on_one_thread(two_threads):
    step = ng.compile(lambda x: ((x @ x).tanh() @ x).softmax(-1) @ x)
    step(ng.randn(64, 64))
    assert not step.variants[-1].program.stretches


def test_one_thread_alone_does_all_tasks(two_threads):
    step, _, batch = ensemble()
    eager, _, _ = ensemble(compiled=False)
    found = [step(*batch).item() for _ in range(2)]
    variants = [*step.variants]
    threads._state[0] = 1  # (as while another thread forks)
    found += [step(*batch).item() for _ in range(3)]
    threads._publish()
    assert step.variants == variants
    np.testing.assert_allclose(found, [eager(*batch).item() for _ in range(5)], rtol=1e-5)


def test_a_step_runs_on_the_threads_that_are_set_when_it_is_called(two_threads):
    """What was captured on one thread stayed there."""
    ng.set_num_threads(1)
    x = ng.randn(400, 400)
    step = ng.compile(lambda x: ((x * 2).sin() + 1).sum())
    wanted, drives = ((x * 2).sin() + 1).sum().item(), []
    for number in (1, 2, 1, 2, 2):
        ng.set_num_threads(number)
        for _ in range(4):
            assert step(x).item() == pytest.approx(wanted, rel=1e-4)
        (v,) = [v for v in step.variants if v.threads == number]
        assert (v.program.header[7] != 0) == (number > 1)
        drives.append(type(step).__call__)
    assert len(step.variants) == 2 and drives[0] is drives[2] and drives[1] is drives[3] is drives[4]
    assert drives[0] is not drives[1] and "threads changed from 1 to 2" in step.variants[1].differs(step.variants[0])


def test_threads_share_a_step_of_tasks(two_threads):
    """The threading layers release the GIL, which is what makes calls of other small programs atomic."""
    ng.manual_seed(0)
    weights = [ng.randn(64, 64) / 8 for _ in range(8)]
    step = ng.compile(lambda x: [((x @ w).tanh() @ w).tanh() for w in weights])
    batches = [ng.randn(64, 64) for _ in range(4)]
    wanted = [[values(t) for t in step(x)] for x in batches]
    program = step.variants[-1].program
    assert program.stretches and not program.atomic
    wrong = []

    def work(k):
        for _ in range(100):
            for a, b in zip(step(batches[k]), wanted[k]):
                if not np.array_equal(values(a), b):
                    wrong.append(k)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_step_with_calls_cut_over_threads_is_not_atomic(two_threads):
    step = ng.compile(lambda x: x.tanh() + 1)
    step(ng.randn(100_000))
    assert not step.variants[-1].program.atomic
    step(ng.randn(1000))
    assert step.variants[-1].program.atomic


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plan=st.lists(STEP, min_size=3, max_size=12))
def test_random_graphs_as_tasks(always, plan):
    assert_runs_as_eager(plan, 3)


@given(st.lists(st.tuples(st.integers(1, 100), st.sets(st.integers(0, 30), max_size=4)), min_size=1, max_size=30),
       st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_schedules_keep_the_order_of_what_depends(tasks, workers):
    costs = [c for c, _ in tasks]
    needs = [[d for d in found if d < i] for i, (_, found) in enumerate(tasks)]
    order, end = branches.schedule(costs, needs, [0] * len(costs), workers)
    place = {i: k for k, i in enumerate(order)}
    assert sorted(order) == list(range(len(costs)))
    assert all(place[d] < place[i] for i, found in enumerate(needs) for d in found)
    # No faster than the longest chain or than all work spread evenly, no slower than one thread.
    longest = []
    for c, found in zip(costs, needs):
        longest.append(c + max([longest[d] for d in found], default=0))
    assert max(max(longest), sum(costs) / workers) - 1e-9 <= end <= sum(costs) + 1e-9
