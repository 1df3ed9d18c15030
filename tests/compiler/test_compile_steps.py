"""Whole training steps, compiled and eager: the same numbers for 100 steps, and for what changes between calls."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from registry.steps import assert_same, batches, both, data, mlp, state, trainer, training_step, variants

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn

OPTIMIZERS = {
    "sgd": lambda p: ng.optim.SGD(p, lr=0.1),
    "momentum": lambda p: ng.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: ng.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: ng.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: ng.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=1e-3),
    "adamw": lambda p: ng.optim.AdamW(p, lr=0.01),
}
for _name in ("RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop", "Adafactor"):
    OPTIMIZERS[_name.lower()] = (lambda kind: lambda p: kind(p, lr=0.01))(getattr(ng.optim, _name))


class MuonAndAdam:
    """Muon for the matrices, Adam for the rest, as one optimizer."""

    def __init__(self, params, **options):
        params = list(params)
        self.parts = [ng.optim.Muon([p for p in params if p.ndim == 2], **options),
                      ng.optim.Adam([p for p in params if p.ndim != 2], lr=0.01)]
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()

    def step(self):
        for part in self.parts:
            part.step()


OPTIMIZERS["muon"] = lambda p: MuonAndAdam(p, lr=0.01)
OPTIMIZERS["plain muon"] = lambda p: MuonAndAdam(p, lr=0.01, nesterov=False, adjust_lr_fn="match_rms_adamw")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    def make(wrap):
        model = mlp()
        opt = OPTIMIZERS[name](model.parameters())
        return batches(wrap(training_step(model, opt))), model
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
        return batches(wrap(training_step(model, opt))), model
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

@pytest.mark.parametrize("kind", [lambda p: ng.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: ng.optim.Adam(p, lr=0.01),
                                  ng.optim.ASGD, ng.optim.Rprop, ng.optim.Adafactor, MuonAndAdam],
                         ids=["sgd", "adam", "asgd", "rprop", "adafactor", "muon"])
def test_learning_rate_from_outside_and_by_schedulers(kind):
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled, kind)
        parts = getattr(opt, "parts", [opt])
        schedulers = [ng.optim.lr_scheduler.StepLR(part, 5, 0.5) for part in parts]
        for i in range(30):
            step(*data(i % 3))
            for scheduler in schedulers:
                scheduler.step()
            if i == 12:
                for group in opt.param_groups:
                    group["lr"] *= 3
        found.append(state(model))
        if compiled:
            assert variants(step) == 1
    assert_same(*found)


def test_settings_that_tensor_operations_take():
    """Other coefficients of Muon's polynomial are another program, another rate is not."""
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled, MuonAndAdam)
        group = opt.parts[0].param_groups[0]
        for i in range(12):
            step(*data(i % 3))
            group["lr"] *= 0.9
            if i == 4:
                group["ns_coefficients"] = 3.4, -4.7, 2.0
            if i == 8:
                group["ns_steps"] = 3
            found.append(state(model))
        if compiled:
            assert 2 <= variants(step) <= 4
    for k in range(12):
        assert_same(found[k], found[12 + k])


@pytest.mark.parametrize("name", ["rmsprop", "asgd", "rprop", "adafactor", "muon"])
def test_half_parameters_under_a_changing_rate(name):
    """Updates that go through copies, or are tensor operations, follow the settings too."""
    found = []
    for wrap in (lambda f: f, ng.compile):
        ng.manual_seed(3)
        params = [ng.nn.Parameter(ng.randn(4, 3).bfloat16()), ng.nn.Parameter(ng.randn(3).bfloat16())]
        opt = OPTIMIZERS[name](params)

        @wrap
        def step(params=params, opt=opt):
            opt.zero_grad()
            loss = sum(((p - 0.5) ** 4).sum() for p in params)
            loss.backward()
            opt.step()
            return loss
        for _ in range(10):
            step()
            for group in opt.param_groups:
                group["lr"] *= 0.7
        found.append([p.detach().float().numpy() for p in params])
    assert_same(*found, rtol=2 ** -7, atol=2 ** -7)


@pytest.mark.parametrize("name", ["rmsprop", "nadam", "asgd", "rprop", "adafactor"])
def test_counts_in_float64(name):
    """With float64 as the default dtype the numbers of a parameter's state have it too."""
    ng.set_default_dtype(ng.float64)
    try:
        found = []
        for compiled in (False, True):
            step, model, opt = trainer(compiled, OPTIMIZERS[name])
            for i in range(8):
                x, y = data(i % 3)
                step(x.double(), y)
                if i == 4:
                    opt.param_groups[0]["lr"] *= 0.5
            assert all(s["step"].dtype is ng.float64 for s in opt.state.values())
            found.append(state(model))
        assert_same(*found)
    finally:
        ng.set_default_dtype(ng.float32)


def test_learning_rate_as_a_tensor():
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled, lambda p: ng.optim.Adam(p, lr=ng.tensor(0.01)))
        for _ in range(10):
            step(*data())
            opt.param_groups[0]["lr"].mul_(0.9)
        found.append(state(model))
    assert_same(*found)


@pytest.mark.parametrize("kind", [ng.optim.SGD, ng.optim.AdamW, ng.optim.RMSprop])
def test_learning_rates_become_tensors_and_numbers(kind):
    """A tensor that takes the place of an equal number is looked into from then on; so it is where gradients were cleared, or
    are strided."""
    def strided(group):
        for p in group["params"]:
            p.grad = ng.ones(*p.shape[::-1]).t() if p.dim() == 2 else None
    changes = {3: lambda g: g.update(lr=ng.tensor(0.01)), 5: lambda g: g["lr"].fill_(0.03), 6: lambda g: g.update(lr=0.02),
               8: lambda g: g.update(lr=ng.tensor(0.05)), 9: lambda g: [setattr(p, "grad", None) for p in g["params"]],
               10: lambda g: g["lr"].mul_(0.1), 11: strided, 12: lambda g: g.update(lr=0.01), 14: lambda g: g.update(lr=0.02)}
    found = []
    for compiled in (False, True):
        step, model, opt = trainer(compiled, lambda p: kind(p, lr=0.01))
        for k in range(16):
            changes.get(k, lambda g: None)(opt.param_groups[0])
            step(*data(k % 3))
            found.append(state(model))
    for k in range(16):
        assert_same(found[k], found[16 + k])


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
