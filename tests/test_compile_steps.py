"""Whole training steps, compiled and eager: the same numbers for 100 steps, and for what changes between calls."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn

STEPS = 100
# Fused loops round some sums differently in float32; over 100 steps that adds up to a few units of the fifth digit.
CLOSE = {"rtol": 2e-4, "atol": 2e-5}


def data(seed=0, n=16, inputs=6, classes=3):
    rng = np.random.default_rng(seed)
    return (ng.from_numpy(rng.standard_normal((n, inputs)).astype(np.float32)),
            ng.from_numpy(rng.integers(0, classes, n)))


def mlp(seed=0, *more):
    ng.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), *more, nn.Linear(8, 3))


def state(model):
    return [v.detach().numpy().copy() for v in model.state_dict().values()]


def assert_same(a, b, **limits):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, **(limits or CLOSE))


def both(make, calls=STEPS):
    """Run a step eagerly and compiled: ``make(compile)`` gives (step, model); losses and states must agree."""
    found = []
    for wrap in (lambda f: f, ng.compile):
        step, model = make(wrap)
        ng.manual_seed(5)
        losses = [np.asarray(step(i).detach().numpy()) for i in range(calls)]
        found.append((losses, state(model)))
    assert_same(found[1][0], found[0][0])
    assert_same(found[1][1], found[0][1])
    assert any(abs(a - b).max() > 1e-4 for a, b in zip(found[0][0], found[0][0][1:]))  # something was learnt


def batches(step):
    """A step over three batches in turn."""
    given = [data(s) for s in range(3)]
    return lambda i: step(*given[i % 3])


def variants(step):
    return len(step.variants)


OPTIMIZERS = {
    "sgd": lambda p: ng.optim.SGD(p, lr=0.1),
    "momentum": lambda p: ng.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: ng.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: ng.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: ng.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=1e-3),
    "adamw": lambda p: ng.optim.AdamW(p, lr=0.01),
}
for _name in ("RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam"):
    if hasattr(ng.optim, _name):
        OPTIMIZERS[_name.lower()] = (lambda kind: lambda p: kind(p, lr=0.01))(getattr(ng.optim, _name))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    def make(wrap):
        model = mlp()
        opt = OPTIMIZERS[name](model.parameters())

        @wrap
        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss
        return batches(step), model
    both(make)


def test_parameter_groups_and_clipping():
    def make(wrap):
        model = mlp()
        first, last = model[0], model[2]
        opt = ng.optim.SGD([{"params": first.parameters(), "lr": 0.2}, {"params": last.parameters()}], lr=0.05, momentum=0.5)

        @wrap
        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
            opt.step()
            return loss
        return batches(step), model
    both(make)


def test_batch_norm_and_dropout():
    """Statistics are updated, and the stream of random numbers goes on, as in eager steps."""
    def make(wrap):
        model = mlp(0, nn.BatchNorm1d(8), nn.Dropout(0.3))
        opt = ng.optim.Adam(model.parameters(), lr=0.01)

        @wrap
        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss
        return batches(step), model
    both(make)


def test_stream_after_a_compiled_step():
    dropout = nn.Dropout(0.5)
    x = ng.ones(4, 5)
    ng.manual_seed(3)
    wanted = [dropout(x).numpy().copy(), ng.rand(3).numpy().copy(), dropout(x).numpy().copy(), ng.randn(2).numpy().copy()]
    step = ng.compile(dropout)
    ng.manual_seed(3)
    found = [step(x).numpy().copy(), ng.rand(3).numpy().copy(), step(x).numpy().copy(), ng.randn(2).numpy().copy()]
    for a, b in zip(found, wanted):
        np.testing.assert_array_equal(a, b)


def test_gradient_accumulation():
    def make(wrap):
        model = mlp()
        opt = ng.optim.SGD(model.parameters(), lr=0.1)

        @wrap
        def add(x, y):
            loss = F.cross_entropy(model(x), y) / 2
            loss.backward()
            return loss
        given = [data(s) for s in range(4)]

        def step(i):
            if i % 2 == 0:
                opt.zero_grad()
            loss = add(*given[i % 4])
            if i % 2:
                opt.step()
            return loss
        return step, model
    both(make)


def test_accumulation_inside_one_step():
    def make(wrap):
        model = mlp()
        opt = ng.optim.Adam(model.parameters(), lr=0.01)

        @wrap
        def step(x, y):
            opt.zero_grad()
            total = 0.0
            for a, b in zip(x.chunk(2), y.chunk(2)):
                loss = F.cross_entropy(model(a), b) / 2
                loss.backward()
                total = total + loss.detach()
            opt.step()
            return total
        return batches(step), model
    both(make)


def test_two_models_and_two_optimizers():
    def make(wrap):
        first = mlp(1)
        ng.manual_seed(2)
        second = nn.Linear(3, 3)
        one, two = ng.optim.Adam(first.parameters(), lr=0.01), ng.optim.SGD(second.parameters(), lr=0.05)

        @wrap
        def step(x, y):
            one.zero_grad()
            two.zero_grad()
            features = first(x)
            loss = F.cross_entropy(second(features), y)
            other = F.mse_loss(second(features.detach()), features.detach())
            (loss + 0.1 * other).backward()
            one.step()
            two.step()
            return loss
        return batches(step), nn.ModuleList([first, second])
    both(make)


def test_second_derivatives_inside():
    def make(wrap):
        ng.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        opt = ng.optim.Adam(model.parameters(), lr=0.01)
        x = ng.linspace(-1, 1, 12).reshape(12, 1)

        @wrap
        def step(x):
            opt.zero_grad()
            x = x.detach().requires_grad_()
            u = model(x)
            du, = ng.autograd.grad(u.sum(), x, create_graph=True)
            ddu, = ng.autograd.grad(du.sum(), x, create_graph=True)
            loss = ((ddu + u) ** 2).mean() + (u[0] - 1).pow(2).sum()
            loss.backward()
            opt.step()
            return loss
        return lambda i: step(x), model
    both(make)


class Cube(ng.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return 3 * x * x * g


def test_custom_function_inside():
    def make(wrap):
        model = mlp()
        opt = ng.optim.SGD(model.parameters(), lr=0.05)

        @wrap
        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(Cube.apply(model(x)), y)
            loss.backward()
            opt.step()
            return loss
        return batches(step), model
    both(make)


# --- what changes between calls ---------------------------------------------------------------------------------------

def trainer(compiled, opt=lambda p: ng.optim.SGD(p, lr=0.1, momentum=0.9), model=None):
    """(step, model, optimizer) of a classifier."""
    model = model or mlp()
    opt = opt(model.parameters())

    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss
    return (ng.compile(step) if compiled else step), model, opt


@pytest.mark.parametrize("kind", [lambda p: ng.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: ng.optim.Adam(p, lr=0.01)],
                         ids=["sgd", "adam"])
def test_learning_rate_from_outside_and_by_schedulers(kind):
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled, kind)
        scheduler = ng.optim.lr_scheduler.StepLR(opt, 5, 0.5)
        for i in range(30):
            step(*data(i % 3))
            scheduler.step()
            if i == 12:
                for group in opt.param_groups:
                    group["lr"] *= 3
        found.append(state(model))
        if compiled:
            assert variants(step) == 1
    assert_same(*found)


def test_learning_rate_as_a_tensor():
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled, lambda p: ng.optim.Adam(p, lr=ng.tensor(0.01)))
        for _ in range(10):
            step(*data())
            opt.param_groups[0]["lr"].mul_(0.9)
        found.append(state(model))
    assert_same(*found)


def test_other_batch_sizes_are_variants():
    found = []
    for compiled in (False, True):
        step, model, _ = trainer(compiled)
        for n in (16, 16, 7, 16, 7, 7, 16):
            step(*data(n, n=n))
        found.append(state(model))
        if compiled:
            assert variants(step) <= 3  # two sizes, and the first step that makes the momenta is one of its own
    assert_same(*found)


def test_train_and_eval():
    found = []
    for compiled in (False, True):
        model = mlp(0, nn.BatchNorm1d(8), nn.Dropout(0.5))
        forward = ng.compile(model) if compiled else model
        ng.manual_seed(1)
        outs = []
        for i in range(6):
            model.train(i % 3 != 2)
            outs.append(forward(data(i)[0]).detach().numpy().copy())
        found.append((outs, state(model)))
    assert_same(found[0][0], found[1][0])
    assert_same(found[0][1], found[1][1])


def test_frozen_parameter():
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled)
        for i in range(8):
            if i == 3:
                model[0].weight.requires_grad_(False)
                model[0].weight.grad = None
            if i == 6:
                model[0].weight.requires_grad_(True)
            step(*data(i % 3))
        found.append(state(model))
    assert_same(*found)


def test_replaced_parameter():
    found = []
    for compiled in (False, True):
        model = mlp()
        forward = ng.compile(lambda x, m=model: m(x)) if compiled else model
        outs = []
        for i in range(4):
            if i == 2:
                ng.manual_seed(9)
                model[2].bias = nn.Parameter(ng.randn(3))
            outs.append(forward(data(i)[0]).detach().numpy().copy())
        found.append(outs)
    assert_same(*found)


def test_replaced_module():
    found = []
    for compiled in (False, True):
        model = mlp()
        forward = ng.compile(model) if compiled else model
        outs = []
        for i in range(4):
            if i == 2:
                model[1] = nn.ReLU()
            outs.append(forward(data(i)[0]).detach().numpy().copy())
        found.append(outs)
    assert_same(*found)


def test_replaced_data():
    found = []
    for compiled in (False, True):
        step, model, _ = trainer(compiled)
        for i in range(6):
            if i == 3:
                model[0].weight.data = ng.linspace(-1, 1, 48).reshape(8, 6)
            step(*data(i % 3))
        found.append(state(model))
    assert_same(*found)


def test_changes_in_place_between_calls():
    found = []
    for compiled in (False, True):
        step, model, _ = trainer(compiled)
        for i in range(6):
            step(*data(i % 3))
            with ng.no_grad():
                model[0].weight.mul_(0.9)
        found.append(state(model))
    assert_same(*found)


@pytest.mark.parametrize("assign", [False, True])
def test_load_state_dict_between_calls(assign):
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled, lambda p: ng.optim.Adam(p, lr=0.01))
        kept = None
        for i in range(8):
            step(*data(i % 3))
            if i == 2:
                kept = copy.deepcopy((model.state_dict(), opt.state_dict()))
            if i == 5:
                model.load_state_dict(kept[0], assign=assign)
                if assign:  # the optimizer holds the former parameters
                    continue
                opt.load_state_dict(kept[1])
        found.append(state(model))
    assert_same(*found)


def test_gradients_are_there_after_the_call():
    found = []
    for compiled in (False, True):
        step, model, _ = trainer(compiled)
        for i in range(3):
            step(*data(i))
            found.append([p.grad.numpy().copy() for p in model.parameters()])
    for a, b in zip(found[:3], found[3:]):
        assert_same(a, b)


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
