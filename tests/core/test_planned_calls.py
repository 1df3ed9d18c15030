"""Calls that come again: what a plan may not take for granted."""

import gc
import importlib
import threading
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.dispatch import plan

F = ng.nn.functional


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """Plans are made in the second call."""
    monkeypatch.setattr(plan, "TIMES", 2)


def often(function, times=4):
    return [function() for _ in range(times)][-1]


CALLS = {
    "row": lambda x, i: x + x[0], "turned": lambda x, i: x.t() * 2.5, "number": lambda x, i: ng.lerp(x, x, 0.3),
    "softmax": lambda x, i: x.softmax(1), "sum": lambda x, i: x.t().sum(1), "gather": lambda x, i: x.gather(1, i),
    "select": lambda x, i: x.index_select(0, i[0]), "cat": lambda x, i: ng.cat([x, x]), "max": lambda x, i: x.max(1)[0],
    "embedding": lambda x, i: F.embedding(i, x), "pool": lambda x, i: F.max_pool2d(x[None], 2),
    "conv": lambda x, i: F.conv2d(x[None, None], x[None, None, :2, :2]), "layer_norm": lambda x, i: F.layer_norm(x, (4,)),
    "cross_entropy": lambda x, i: F.cross_entropy(x, i[0]), "pad": lambda x, i: F.pad(x, (1, 1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_usual_calls_have_plans(name):
    x, i = ng.rand(4, 4, requires_grad=True), ng.arange(16).reshape(4, 4) % 4
    plan.forget()
    often(lambda: CALLS[name](x, i).sum().backward())
    found = [made for plans in plan._all.values() for made in plans.values()]
    assert found and all(found)


def test_a_bad_index_is_found_in_a_planned_call():
    x, good, bad = ng.arange(12.0).reshape(3, 4), ng.tensor([0, 2]), ng.tensor([0, 3])
    often(lambda: x.index_select(0, good))
    with pytest.raises(IndexError, match="index out of range in self"):
        x.index_select(0, bad)
    often(lambda: F.embedding(good, x))
    with pytest.raises(IndexError):
        F.embedding(bad, x)
    assert x.index_select(0, good).tolist() == x[[0, 2]].tolist()


def test_numbers_are_given_anew():
    x = ng.tensor([1.0, 2.0])
    for v in (0.5, 1.5, 2.5, 3.5):
        assert (x.t() * v).tolist() == [v, 2 * v]
        assert ng.lerp(x, x + 1, v).tolist() == [1 + v, 2 + v]
    rows = ng.ones(2, 3)
    for v in (1, 2.5, True, -3):
        assert (rows.t() * v).sum().item() == 6 * v


def test_zeros_of_both_signs_are_told_apart():
    x, mask = ng.tensor([1.0, 2.0]), ng.tensor([True, False])
    for v in (0.0, -0.0, 0.0, -0.0):
        filled = [x.masked_fill(mask, v) for _ in range(3)][-1]
        assert np.signbit(filled.numpy())[0] == np.signbit(v)


def test_classes_of_arguments_are_told_apart():
    x = ng.ones(2, 2)
    often(lambda: x.cumsum(1))
    with pytest.raises(TypeError):
        x.cumsum(1.0)
    numbers, mask = ng.tensor([1.5, 2.5]), ng.tensor([True, False])
    for v in (1, True, 1.0):
        assert often(lambda v=v: numbers.masked_fill(mask, v)).tolist() == [1.0, 2.5]


def test_results_follow_the_default_dtype():
    x, y = ng.arange(6).reshape(2, 3), ng.arange(3)
    assert often(lambda: x / y.add(1)).dtype is ng.float32
    ng.set_default_dtype(ng.float64)
    try:
        assert often(lambda: x / y.add(1)).dtype is ng.float64
    finally:
        ng.set_default_dtype(ng.float32)
    assert (x / y.add(1)).dtype is ng.float32


def test_nothing_is_recorded_without_grad_mode():
    x, row = ng.ones(2, 3, requires_grad=True), ng.ones(3)
    often(lambda: (x + row).cumsum(1))
    with ng.no_grad():
        y = often(lambda: (x + row).cumsum(1))
    assert not y.requires_grad and y.grad_fn is None
    with ng.inference_mode():
        assert often(lambda: (x + row).cumsum(1)).is_inference()
    assert (x + row).cumsum(1).requires_grad


def test_saved_tensors_are_checked():
    def loss():
        x = ng.ones(2, 3, requires_grad=True)
        y = x * 2
        return x, y, (y.t() * ng.arange(2.0)).sum() + y.softmax(1).sum()
    for _ in range(4):
        loss()[2].backward()
    x, y, z = loss()
    w = y.softmax(1)
    out = (w * w).sum()
    with ng.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_an_index_that_was_changed_is_refused_in_backward():
    x, i = ng.ones(3, 4, requires_grad=True), ng.tensor([0, 2])
    for _ in range(4):
        x.index_select(0, i).sum().backward()
    y = x.index_select(0, i).sum()
    i.add_(0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_saved_tensors_with_hooks_are_unpacked():
    x, seen = ng.ones(2, 3, requires_grad=True), []
    often(lambda: x.cumprod(1).sum().backward())
    with ng.autograd.graph.saved_tensors_hooks(lambda t: seen.append(1) or t, lambda t: t):
        y = x.cumprod(1)
    y.sum().backward()
    assert seen


def test_warnings_come_in_every_call():
    x, y = ng.ones(3, 1), ng.ones(3)
    for _ in range(4):
        with pytest.warns(UserWarning, match="target size"):
            F.mse_loss(x, y)
    assert warnings.warn.__module__ in ("warnings", "_warnings")


def test_a_gradient_is_nobody_elses():
    """Leaves keep what a plan made, and never memory that somebody else holds."""
    x, row, g = ng.ones(2, 3, requires_grad=True), ng.ones(3, requires_grad=True), ng.ones(2, 3)
    for _ in range(4):
        x.grad = row.grad = None
        (x + row).backward(g)
        x.grad.add_(5)
        row.grad.add_(7)
        assert g.tolist() == [[1.0] * 3] * 2 and row.grad.tolist() == [9.0] * 3


def test_plans_are_dropped_with_many_geometries(monkeypatch):
    monkeypatch.setattr(plan, "MOST", 8)
    row = ng.ones(1)
    for n in range(1, 40):
        x = ng.ones(n, 2)
        for _ in range(3):
            assert (x + row).sum().item() == 4 * n and x.cumsum(0)[-1].tolist() == [n, n]


def test_several_threads_make_and_use_plans():
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for k in range(60):
            a = rng.standard_normal((3, 1 + k % 7)).astype("float32")
            x = ng.tensor(a, requires_grad=True)
            y = (x + ng.tensor(a[0])).cumsum(1)
            y.sum().backward()
            if not np.allclose(y.detach().numpy(), np.cumsum(a + a[0], 1), atol=1e-5) or not np.allclose(
                    x.grad.numpy(), np.arange(a.shape[1], 0, -1, dtype="float32")[None].repeat(3, 0)):
                wrong.append((seed, k))
    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_large_work_is_cut_over_threads():
    """A plan belongs to one thread: where the work is worth several, the launcher runs."""
    before = ng.get_num_threads()
    x, row = ng.ones(512, 1024), ng.arange(1024.0)
    try:
        for n in (1, 2, 1, 2):
            ng.set_num_threads(n)
            y = often(lambda: x + row)
            assert y[511].tolist() == (row + 1).tolist() and often(lambda: x.t().sum(1)).tolist() == [512.0] * 1024
    finally:
        ng.set_num_threads(before)


def test_a_plan_keeps_what_its_kernels_read():
    """Geometries and tables are forgotten when there are many of them; plans go on."""
    from numbagrad.core import launch
    from numbagrad.kernel import emit
    x, i = ng.arange(24.0).reshape(2, 3, 4), ng.tensor([[0, 1, 1], [2, 0, 0]])
    calls = [lambda: x.transpose(0, 2) + x.transpose(0, 2)[:, :1], lambda: x[0].gather(1, i), lambda: F.max_pool2d(x, 2),
             lambda: x.transpose(0, 1).sum(1)]
    wanted = [often(call).tolist() for call in calls]
    launch._plans.clear()
    emit._plans.clear()
    for name in ("plans", "along", "kernels"):
        module = importlib.import_module(f"numbagrad.ops.index.{name}")
        for table in [v for k, v in vars(module).items() if k.startswith("_") and type(v) is dict and not k.startswith("__")]:
            table.clear()
    gc.collect()
    rubbish = [np.full(n, -1, np.int64) for n in range(1, 400)]
    assert [call().tolist() for call in calls] == wanted
    del rubbish


def test_layers_have_plans():
    """Parameters are a class of their own."""
    layer, x = ng.nn.Conv1d(2, 3, 2), ng.rand(1, 2, 4)
    plan.forget()
    often(lambda: layer(x).sum().backward())
    node = layer(x).grad_fn
    while node is not None and not isinstance(getattr(node, "ctx", None) and node.ctx[-2], plan.Specs):
        node = node.next_functions[0][0]
    found = list(node.ctx[-2].plans.values())
    assert found and all(found)


@ng.extend.custom(private=True, reference=None)
def among_constants(input):
    """The input, whose gradient is computed with tensors of numbers from Python."""
    return input._shape, input._kind


@among_constants.cpu
def _(out, input):
    out.copy_(input)


@among_constants.gradient
def _(g):
    made = ng.tensor([1.0, 2.0])
    made += g  # in its own memory, which has to be new in every call
    return made


def test_constants_of_a_planned_call_are_new_in_every_call():
    x = ng.ones(2, requires_grad=True)
    kept = []
    plan.forget()
    for i in range(6):
        among_constants(x).backward(ng.full((2,), float(i)))
        kept.append(x.grad)
        x.grad = None
    assert [t.tolist() for t in kept] == [[1.0 + i, 2.0 + i] for i in range(6)]
    assert ng.linalg.eigh(ng.eye(2)).eigenvalues.tolist() == [1.0, 1.0]
    x = ng.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    plan.forget()
    often(lambda: ng.linalg.eigh(x).eigenvectors.sum().backward())
    found = [made for plans in plan._all.values() for made in plans.values()]
    assert found and all(found)
