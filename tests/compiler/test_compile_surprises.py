"""What may surprise in a replay: kept results, constants, aliases."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from registry.steps import values

import numbagrad as ng
from numbagrad import nn
from numbagrad.compiler import CaptureError, CompileWarning, function

SCALE = 2.0
TABLE = {"factor": 3.0, "list": [1.0, 2.0]}
WEIGHTS = [ng.tensor([1.0, 2.0]), ng.tensor([3.0, 4.0])]


# --- results belong to the caller -------------------------------------------------------------------------------------

def test_kept_results_are_not_overwritten():
    w = ng.randn(3, 3, requires_grad=True)
    step = ng.compile(lambda x: (x @ w, (x * 2).sum(), [x + 1]))
    inputs = [ng.randn(4, 3) for _ in range(5)]
    kept = [step(x) for x in inputs]
    for x, (a, b, (c,)) in zip(inputs, kept):
        np.testing.assert_allclose(values(a), values(x @ w), rtol=1e-6)
        np.testing.assert_allclose(values(b), values((x * 2).sum()), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(values(c), values(x + 1))
    assert len({r[0].data_ptr() for r in kept}) == 5


def test_returned_gradients_and_parameters():
    """A gradient that is returned is a copy of its own; a parameter is itself."""
    w = ng.ones(3, requires_grad=True)

    @ng.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()
        return w.grad, w.grad[1:], w
    a, part, same = step(ng.tensor([1.0, 2.0, 3.0]))
    b, _, _ = step(ng.tensor([4.0, 5.0, 6.0]))
    assert a.tolist() == [1.0, 2.0, 3.0] and part.tolist() == [2.0, 3.0] and b.tolist() == [4.0, 5.0, 6.0]
    assert same is w


def test_results_that_are_arguments_or_their_views():
    step = ng.compile(lambda x: (x, x.t(), x[0], x.detach()))
    for _ in range(3):
        x = ng.randn(2, 3)
        same, turned, row, plain = step(x)
        assert same is x
        for t, want in ((turned, x.t()), (row, x[0]), (plain, x)):
            assert t.data_ptr() == want.data_ptr() and t.shape == want.shape and t.stride() == want.stride()
            assert ng.equal(t, want)
        x.mul_(2)
        assert ng.equal(turned, x.t())  # as in eager, a view shows the change


def test_views_of_state_are_current():
    w = ng.randn(2, 3, requires_grad=True)
    step = ng.compile(lambda: w.t())
    for _ in range(3):
        found = step()
        assert ng.equal(found, w.t())
        found.sum().backward()
        with ng.no_grad():
            w.add_(1)
    assert w.grad.tolist() == [[3.0] * 3] * 2


def test_made_from_python_data_is_new_in_each_call():
    step = ng.compile(lambda x: (x + ng.tensor([1.0, 2.0]), ng.tensor([1.0, 2.0]), ng.zeros(2), ng.arange(2)))
    for _ in range(3):
        found = step(ng.zeros(2))
        assert [t.tolist() for t in found] == [[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [0, 1]]
        for t in found:
            t.add_(5)


# --- Python values are guarded ----------------------------------------------------------------------------------------

def test_globals_closures_and_containers():
    global SCALE
    factor, settings = 1.0, {"power": 2}

    class Config:
        offset = 0.0
    config = Config()
    config.offset = 1.0

    def f(x):
        return (x * SCALE * factor * TABLE["factor"]) ** settings["power"] + config.offset + TABLE["list"][1]
    step = ng.compile(f)
    x = ng.tensor([1.0, 2.0])
    try:
        for change in range(7):
            if change == 1:
                SCALE = 4.0
            elif change == 2:
                factor = 0.5
            elif change == 3:
                TABLE["factor"] = 5.0
            elif change == 4:
                settings["power"] = 3
            elif change == 5:
                config.offset = -1.0
            elif change == 6:
                TABLE["list"][1] = 7.0
            for _ in range(2):
                np.testing.assert_allclose(values(step(x)), values(f(x)), rtol=1e-6, err_msg=f"change {change}")
    finally:
        SCALE = 2.0
        TABLE["factor"], TABLE["list"][1] = 3.0, 2.0


def test_replaced_function_and_default():
    def helper(x):
        return x + 1
    table = {"f": helper}
    step = ng.compile(lambda x, scale=2.0: table["f"](x) * scale)
    x = ng.ones(2)
    assert step(x).tolist() == [4.0, 4.0] == step(x).tolist()
    assert step(x, 3.0).tolist() == [6.0, 6.0] == step(x, scale=3.0).tolist()
    table["f"] = lambda x: x - 1
    assert step(x).tolist() == [0.0, 0.0]


def test_replaced_tensors_in_a_list():
    step = ng.compile(lambda x: x * WEIGHTS[0] + WEIGHTS[1])
    x = ng.ones(2)
    before = WEIGHTS[:]
    try:
        assert step(x).tolist() == [4.0, 6.0]
        WEIGHTS[0] = ng.tensor([10.0, 10.0])
        assert step(x).tolist() == [13.0, 14.0]
        WEIGHTS[0].mul_(2)
        assert step(x).tolist() == [23.0, 24.0]
    finally:
        WEIGHTS[:] = before


def test_module_attributes():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.names = 2.0, ["a"]

        def forward(self, x):
            return x * self.scale + len(self.names)
    model = Scaled()
    step = ng.compile(model)
    x = ng.ones(2)
    assert step(x).tolist() == [3.0, 3.0] == step(x).tolist()
    model.scale = 5.0
    assert step(x).tolist() == [6.0, 6.0]


def test_shapes_dtypes_strides_and_gradients_are_guarded():
    step = ng.compile(lambda x: (x * 2).cumsum(0))
    base = ng.arange(12.0).reshape(3, 4)
    for x in (base, base.double(), base.t(), base[:, ::2], base[1:], base.long(), base.clone().requires_grad_(), base):
        for _ in range(2):
            a, b = step(x), (x * 2).cumsum(0)
            assert a.dtype == b.dtype and a.requires_grad == b.requires_grad and ng.equal(a, b)


def sizes_told(limit, **options):
    """What a function warns of when the size of its argument keeps changing, once more often than ``limit``."""
    step = ng.compile(lambda x: x + 1, **options)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for n in range(1, limit + 2):
            assert step(ng.zeros(n)).tolist() == [1.0] * n
        assert len(step.variants) == limit
        told = [str(w.message) for w in seen if issubclass(w.category, CompileWarning)]
        assert step(ng.zeros(limit)).shape == (limit,) and len(step.variants) == limit
    return told


def test_many_sizes_are_told(monkeypatch):
    monkeypatch.setattr(function, "SHAPES", 40)
    for limit, options in ((16, {"dynamic": False}), (40, {}), (40, {"dynamic": True})):
        (told,) = sizes_told(limit, **options)
        assert f"compiled more than {limit} times: shape of tensor argument 0 changed from [{limit}]" in told


def test_many_values_are_told():
    step = ng.compile(lambda x, k: x + int(k))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for k in range(17):
            assert step(ng.zeros(2), str(k)).tolist() == [k, k]
    assert len(step.variants) == 16
    assert ["compiled more than 16 times" in str(w.message) for w in seen] == [True]


def test_a_step_that_needs_another_form_in_every_call_runs_eagerly_in_between(monkeypatch):
    monkeypatch.setattr(function, "SHARE", 1e9)
    log, old = [], [0]

    def f(x):
        if old[0] is None:
            log.append(len(log))
        return x * len(log) + random.random()
    step, runs = ng.compile(f), random.Random(0)
    random.seed(0)
    step(ng.zeros(2)), step(ng.zeros(2))
    [runs.random() for _ in range(2)]
    old[0] = None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for k in range(200):
            assert step(ng.ones(2)).tolist() == pytest.approx([k + 1 + runs.random()] * 2)
    told = [w for w in seen if "compiled more than 16 times: the length of a list" in str(w.message)]
    assert len(told) == 4 and "next 16 calls of other forms run eagerly" in str(told[0].message)
    assert {w.filename for w in told} == {__file__} and len(step.variants) == 16
    old[0] = 0  # one form again: it is captured when the pause is over
    with pytest.warns(CompileWarning, match="item 0 of a list changed"):
        for _ in range(300):
            assert step(ng.ones(2)).tolist() == pytest.approx([200 + runs.random()] * 2)
    assert step.variants[-1].proven and not any([p.left for p in step.paces.values()])


def test_few_calls_of_a_pause_look_at_the_forms_that_are_there(monkeypatch):
    log, looks, replayed = [], [], function.CompiledFunction._replayed
    monkeypatch.setattr(function, "SHARE", 1e9)
    monkeypatch.setattr(function.CompiledFunction, "_replayed", lambda *given: (looks.append(len(log)), replayed(*given))[1])

    def f(x):
        log.append(len(log))
        return x * len(log)
    step = ng.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(100):
            assert step(ng.ones(2)).tolist() == [k + 1] * 2
        assert len(looks) < 40
        for _ in range(140):  # one of the forms comes again, and is found or captured when the pause is over
            del log[99:]
            assert step(ng.ones(2)).tolist() == [100] * 2
    assert not any([p.left for p in step.paces.values()]) and len(step.variants) <= 16


def test_sizes_share_one_arena():
    """Memory of a function whose sizes keep changing is that of its largest, not the sum."""
    step = ng.compile(lambda x: (x @ x).tanh() @ x)
    sizes = range(200, 260, 4)
    for n in sizes:
        x = ng.randn(n, n)
        np.testing.assert_allclose(step(x).numpy(), ((x @ x).tanh() @ x).numpy(), rtol=1e-3, atol=1e-3)
    bases = {id(v.program.arena.base) for v in step.variants}
    assert len(step.variants) == len(sizes) and len(bases) <= 3
    for n in (200, 256, 204):
        x = ng.randn(n, n)
        np.testing.assert_allclose(step(x).numpy(), ((x @ x).tanh() @ x).numpy(), rtol=1e-3, atol=1e-3)


# --- aliases ----------------------------------------------------------------------------------------------------------

def test_one_tensor_passed_twice():
    def f(a, b):
        a.add_(1)
        return a * b
    step, plain = ng.compile(f), f
    for pair in (False, True, False, True):
        made = []
        for g in (plain, step):
            a = ng.tensor([1.0, 2.0])
            b = a if pair else ng.tensor([3.0, 4.0])
            made.append((values(g(a, b)), values(a), values(b)))
        for x, y in zip(*made):
            np.testing.assert_array_equal(x, y)


def test_one_leaf_passed_twice_gets_both_gradients():
    step = ng.compile(lambda a, b: (a * b).sum())
    for _ in range(2):
        x = ng.tensor([2.0, 3.0], requires_grad=True)
        step(x, x).backward()
        assert x.grad.tolist() == [4.0, 6.0]
        y, z = ng.tensor([2.0, 3.0], requires_grad=True), ng.tensor([5.0, 7.0], requires_grad=True)
        step(y, z).backward()
        assert y.grad.tolist() == [5.0, 7.0] and z.grad.tolist() == [2.0, 3.0]


def test_views_of_one_memory_as_arguments():
    step = ng.compile(lambda a, b: a * 2 + b)
    base = ng.arange(6.0)
    for start in (0, 1, 3, 0):
        a, b = base[0:3], base[start:start + 3]
        assert ng.equal(step(a, b), a * 2 + b)

    def writes(a, b):
        a.mul_(2)
        return a + b
    step = ng.compile(writes)
    for _ in range(2):
        assert step(ng.ones(3), ng.ones(3)).tolist() == [3.0] * 3
        with pytest.raises(CaptureError, match="views of one memory"):
            step(base[0:3], base[1:4])
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_an_argument_that_is_also_reached_by_name():
    w = ng.tensor([1.0, 2.0])

    def f(x):
        x.add_(1)
        return x * w
    step = ng.compile(f)
    for given in (False, True, True, False):
        w.copy_(ng.tensor([1.0, 2.0]))
        x = w if given else ng.tensor([1.0, 2.0])
        assert step(x).tolist() == ([4.0, 9.0] if given else [2.0, 6.0])


def test_in_place_on_an_argument():
    def f(x, y):
        x.mul_(y)
        x[0] = 7.0
        return x.sum()
    step = ng.compile(f)
    for k in range(3):
        x, y = ng.ones(3), ng.full((3,), float(k))
        version = x._version
        assert step(x, y).item() == 7.0 + 2 * k
        assert x.tolist() == [7.0, float(k), float(k)] and x._version > version


def test_versions_protect_saved_tensors():
    """Backward outside notices that an argument was changed after the call."""
    step = ng.compile(lambda x, w: (x * w).sum())
    for _ in range(2):
        x, w = ng.ones(3), ng.ones(3, requires_grad=True)
        out = step(x, w)
        x.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.backward()


@pytest.mark.parametrize("make, changes", [
    (lambda p: ng.optim.SGD(p, lr=0.1), [{"momentum": 0.9}, {"momentum": 0.5}, {"momentum": 0.0},
                                         {"momentum": 0.9, "nesterov": True}]),
    (lambda p: ng.optim.SGD(p, lr=ng.tensor(0.1)), [{"momentum": 0.9}, {"lr": 0.01}]),
    (lambda p: ng.optim.Adam(p, lr=0.1), [{"weight_decay": 0.1}, {"betas": (0.8, 0.99)}, {"lr": 0.01}])],
    ids=["SGD", "tensor", "Adam"])
@pytest.mark.parametrize("late", [False, True])
def test_settings_that_need_other_memory(make, changes, late):
    """A momentum that is set between calls makes its buffer in a program of its own; going back finds the first one."""
    def train(compiled):
        w = ng.tensor([0.5, -1.0, 2.0], requires_grad=True)
        optimizer = make([w])

        def step(x):
            if not late:
                optimizer.zero_grad()
            loss = (w * x).pow(2).sum()
            loss.backward()
            optimizer.step()
            if late:
                optimizer.zero_grad()
            return loss
        run, found = ng.compile(step) if compiled else step, []
        for change in ({}, *changes, *changes):
            optimizer.param_groups[0].update(change)
            found += [run(ng.tensor([1.0, -2.0, 0.5])).item() for _ in range(3)]
        return [*found, *w.tolist()], run
    (found, step), (wanted, _) = train(True), train(False)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert len(step.variants) <= 4
