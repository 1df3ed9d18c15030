"""Plans and programs are made for a number of threads: after ``set_num_threads`` they are those of the new one."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core import replay
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch import composed, plan
from numbagrad.kernel import threads

F = ng.nn.functional
SERIAL = 1024
q = ng.rand(2, 2, 64, 16)
CALLS = {
    "attention": lambda x: F.scaled_dot_product_attention(x, q, q), "softmax": lambda x: x.softmax(1), "sum": lambda x: x.sum(),
    "sum_dim": lambda x: x.transpose(0, 1).sum(1), "cumsum": lambda x: x.cumsum(1), "pool": lambda x: F.max_pool2d(x, 2),
    "layer_norm": lambda x: F.layer_norm(x, (16,)), "conv": lambda x: F.conv2d(x, q[:, :, :3, :3]), "add": lambda x: x + q[0],
    "cat": lambda x: ng.cat([x, q], 1), "mean_loss": lambda x: F.mse_loss(x, q), "gelu": F.gelu, "normalize": F.normalize,
}


@pytest.fixture(autouse=True)
def cut(monkeypatch):
    """Work is cut from few elements on, and plans are made in the second call."""
    before, serial = threads.get_num_threads(), dict(threads.SERIAL_BELOW)
    monkeypatch.setattr(plan, "TIMES", 2)
    threads.SERIAL_BELOW.update(dict.fromkeys(serial, SERIAL))
    replay.start()
    yield
    threads.SERIAL_BELOW.update(serial)
    threads.set_num_threads(before)
    threads._publish()
    plan.forget()


VALUES = np.random.default_rng(0).random((2, 2, 64, 16), np.float32)


def written(monkeypatch, call, counts):
    """The steps of the plans that are made by calls on these numbers of threads, those of the last one alone."""
    steps, plain = [], plan.written_down

    def noted(work):
        found = plain(work)
        steps.append(None if found is None else [
            (getattr(entry, "__name__", None), [v for v in values if v.__class__ in (int, float) and v < 1 << 40])
            for entry, values in found[0].steps if entry is not None])
        return found
    plan.forget()
    with monkeypatch.context() as m:
        m.setattr(plan, "written_down", noted)
        for n in counts:
            threads.set_num_threads(n)
            steps.clear()
            for _ in range(4):
                x = ng.tensor(VALUES).requires_grad_()  # (not drawn: draws have plans, too)
                y = call(x)
                ng.autograd.backward([y], [ng.ones_like(y)])
    return steps


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("counts", ((1, 2), (2, 1), (2, 3, 1)))
def test_plans_after_a_change_are_those_of_the_number(monkeypatch, name, counts):
    for _ in range(4):  # (functions without programs are tried a few times)
        wanted = written(monkeypatch, CALLS[name], counts[-1:])
    # In whatever order: which functions still try to become programs depends on the calls before.
    found = written(monkeypatch, CALLS[name], counts)
    assert {str(s) for plan in found for s in plan or ()} == {str(s) for plan in wanted for s in plan or ()}


def test_the_plan_of_one_thread_is_not_that_of_two(monkeypatch):
    """The test above would find a plan that stays: cuts are in what is written down."""
    one, two = [written(monkeypatch, CALLS["attention"], (n,)) for n in (1, 2)]
    assert one != two and any(one) and any(two)


def test_every_plan_is_dropped_and_made_anew():
    x, count = ng.rand(3, 4, requires_grad=True), threads.get_num_threads()

    def calls():
        for _ in range(4):
            y = ng.cat([x.softmax(1), x + x[0]]).cumsum(0)
            F.huber_loss(y, y.detach() * 2).backward(retain_graph=True)
        return y
    kept = calls()
    value, programs = kept.tolist(), REGISTRY["huber_loss"].programs
    programs.idle = 1 << 30
    programs.stop()
    assert any(plan._all.values())
    threads.set_num_threads(count)
    assert any(plan._all.values()), "the number is as before"
    threads.set_num_threads(count + 1)
    assert not any(plan._all.values()) and not programs.calls.buckets
    grad, x.grad = x.grad, None
    kept.backward(ng.ones_like(kept))  # of a graph that was made before
    assert x.grad is not None and grad is not None
    assert calls().tolist() == value and programs.calls.buckets and any(plan._all.values())
    threads.set_num_threads(count)


def test_two_threads_are_refused_a_program_at_once(monkeypatch):
    """A call that has no program takes its place back, whoever did so in the meantime."""
    refused = []

    def program(self, *call):
        self.table.clear()
        refused.append(self.op.name)
    monkeypatch.setattr(composed.Composed, "program", program)
    a = ng.arange(7.0)
    for call in (ng.inner, ng.linalg.vecdot):
        assert [call(a, a).item() for _ in range(4)] == [91.0] * 4
    assert refused
