"""Compiled functions in other forms than a plain step: results differentiated outside, modules, methods, arguments."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from registry.steps import assert_same, data, mlp, state, trainer, variants

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn

# --- other forms ------------------------------------------------------------------------------------------------------

def test_results_are_differentiable_outside():
    model, step = mlp(), None
    x, y = data()
    x.requires_grad_()
    wanted = ng.autograd.grad(F.cross_entropy(model(x) * 2, y), [x, *model.parameters()])
    step = ng.compile(lambda x: model(x) * 2)
    for _ in range(3):
        found = ng.autograd.grad(F.cross_entropy(step(x), y), [x, *model.parameters()])
        assert_same([t.numpy() for t in found], [t.numpy() for t in wanted])


def test_two_results_used_in_part():
    w = ng.randn(4, 4, requires_grad=True)

    def heads(x):
        h = (x @ w).tanh()
        return h.sum(), {"square": h * h, "plain": (h, x)}
    step = ng.compile(heads)
    for _ in range(3):
        x = ng.randn(5, 4, requires_grad=True)
        for pick in (lambda r: r[0], lambda r: r[1]["square"].sum(), lambda r: r[0] + r[1]["plain"][0].pow(2).sum()):
            a, b = ng.autograd.grad(pick(heads(x)), [x, w]), ng.autograd.grad(pick(step(x)), [x, w])
            assert_same([t.numpy() for t in b], [t.numpy() for t in a])


def test_compiled_part_inside_an_eager_step():
    found = []
    for compiled in (False, True):
        model = mlp()
        body = ng.compile(model) if compiled else model
        opt = ng.optim.Adam(model.parameters(), lr=0.01)
        for i in range(20):
            x, y = data(i % 3)
            opt.zero_grad()
            F.cross_entropy(body(x), y).backward()
            opt.step()
        found.append(state(model))
    assert_same(*found)


def test_no_grad_inference():
    model = mlp()
    step = ng.compile(model)
    x, _ = data()
    for mode in (ng.no_grad, ng.inference_mode):
        with mode():
            out = step(x)
            assert not out.requires_grad and out.is_inference() == (mode is ng.inference_mode)
            assert_same([out.numpy()], [model(x).numpy()])
    assert step(x).requires_grad


def test_compiled_module_is_a_module():
    model = mlp()
    compiled = ng.compile(model)
    assert isinstance(compiled, nn.Module)
    assert [p is q for p, q in zip(compiled.parameters(), model.parameters())] == [True] * 4
    compiled.eval()
    assert not model.training


def test_nested_arguments_and_keywords():
    def f(pair, *, scale=1.0, options, last=None):
        a, (b, c) = pair
        out = (a + b * scale) @ c
        if options["twice"]:
            out = out * 2
        return out if last is None else {"out": out + last, "name": options["name"], "list": [out, 3]}
    step = ng.compile(f)
    for _ in range(3):
        for twice in (True, False):
            for last in (None, ng.randn(2, 2)):
                args = ([ng.randn(2, 3), (ng.randn(2, 3), ng.randn(3, 2))],)
                kwargs = {"scale": 0.5, "options": {"twice": twice, "name": "n"}, "last": last}
                a, b = f(*args, **kwargs), step(*args, **kwargs)
                if last is None:
                    assert_same([b.numpy()], [a.numpy()])
                else:
                    assert b["name"] == "n" and b["list"][1] == 3
                    assert_same([b["out"].numpy(), b["list"][0].numpy()], [a["out"].numpy(), a["list"][0].numpy()])
    assert variants(step) == 4


def test_methods_and_decorator_arguments():
    class Trainer:
        def __init__(self, seed):
            self.model = mlp(seed)
            self.opt = ng.optim.SGD(self.model.parameters(), lr=0.1)

        @ng.compile(fullgraph=True)
        def step(self, x, y):
            self.opt.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.opt.step()
            return loss
    x, y = data()
    one, two = Trainer(0), Trainer(1)
    plain, model, _ = trainer(False, lambda p: ng.optim.SGD(p, lr=0.1))
    for _ in range(4):
        a, b, c = one.step(x, y), two.step(x, y), plain(x, y)
        assert abs(a.item() - c.item()) < 1e-5 and abs(b.item() - c.item()) > 1e-3
    assert_same(state(one.model), state(model))


def test_disable():
    def f(x):
        return x + 1
    assert ng.compile(f, disable=True) is f


def test_layers_of_the_speed_table():
    """LSTM, attention, convolution with batch norm: one step each against eager."""
    ng.manual_seed(0)
    builds = {
        "lstm": (lambda: nn.LSTM(4, 5, batch_first=True), lambda m, x: m(x)[0][:, -1], (3, 6, 4)),
        "attention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), lambda m, x: m(x, x, x)[0], (2, 5, 8)),
        "conv": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
                 lambda m, x: m(x), (2, 1, 8, 8)),
    }
    for build, call, shape in builds.values():
        found = [conv_or_lstm(compiled, build, call, shape) for compiled in (False, True)]
        assert_same(*found)


def conv_or_lstm(compiled, build, call, shape):
    ng.manual_seed(1)
    model = build()
    opt = ng.optim.SGD(model.parameters(), lr=0.1)  # Adam would blow up the rounding of gradients that are zero

    def step(x):
        opt.zero_grad()
        loss = call(model, x).pow(2).mean()
        loss.backward()
        opt.step()
        return loss
    run = ng.compile(step) if compiled else step
    for k in range(10):
        run(ng.from_numpy(np.random.default_rng(k).standard_normal(shape).astype(np.float32)))
    return state(model)


def test_no_warnings_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step, _, _ = trainer(True)
        for i in range(3):
            step(*data(i))


def test_errors_of_a_backward_that_nobody_asks_for():
    """Parameters written after the forward: the result is there, and its backward raises what eager code raises."""
    found = []
    for compiled in (False, True):
        ng.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

        def step(x, model=model):
            h = model(x)
            with ng.no_grad():
                for p in model.parameters():
                    p.mul_(0.99)
            return h.pow(2).sum()
        f, out = ng.compile(step) if compiled else step, []
        for k in range(3):
            loss = f(ng.arange(6.0).reshape(2, 3) * k)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                loss.backward()
            out.append((round(loss.item(), 4), loss.requires_grad))
        found.append(out)
    assert found[0] == found[1]


def test_calls_of_other_forms_find_their_variants():
    """Keywords in another order, other keys, constants of other types, missing and further arguments."""
    def step(x, *rest, k=1.0, table=None, flag=True):
        y = x * k if flag else x - k
        for r in rest:
            y = y + r
        return y + (sum(v * len(name) for name, v in table.items()) if table else 0)
    f, x = ng.compile(step), ng.ones(2)
    calls = [lambda g, c: g(x), lambda g, c: g(x, k=2.0), lambda g, c: g(x, flag=False, k=c),
             lambda g, c: g(x, k=c, flag=False), lambda g, c: g(x, x, x * c),
             lambda g, c: g(x, table={"a": x, "bb": x * c}),
             lambda g, c: g(x, table={"bb": x, "a": x * c}), lambda g, c: g(x, table={"a": x}, k=1), lambda g, c: g(x, k=True),
             lambda g, c: g(x, flag=1), lambda g, c: g(x, 2, k=c), lambda g, c: g(x=x), lambda g, c: g(x, table={})]
    for c in (1.0, 2.0, 0.5):
        for call in (*calls, *reversed(calls)):
            assert ng.equal(call(f, c), call(step, c))
    with pytest.raises(TypeError):
        f()
    with pytest.raises(TypeError):
        f(x, z=1)
