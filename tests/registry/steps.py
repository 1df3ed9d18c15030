"""Models, data and comparisons of the tests of compiled steps."""

from __future__ import annotations

import numpy as np

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


def values(t):
    return t.detach().numpy().copy()


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


def training_step(model, opt):
    """A whole step of a classifier."""
    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss
    return step


def trainer(compiled, opt=lambda p: ng.optim.SGD(p, lr=0.1, momentum=0.9), model=None):
    """(step, model, optimizer) of a classifier."""
    model = model or mlp()
    opt = opt(model.parameters())
    step = training_step(model, opt)
    return (ng.compile(step) if compiled else step), model, opt
