"""ng.compile(check=True): each call is compared with eager code."""

from __future__ import annotations

import itertools
import os
import random

import pytest

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn
from numbagrad.compiler import CompileMismatch

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")
COUNT = 0


def test_a_training_step_passes():
    global COUNT
    COUNT, log, kept = 0, [], {}
    ng.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
    opt = ng.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, y, weight):
        global COUNT
        COUNT += 1
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y) * weight
        loss.backward()
        opt.step()
        log.append(loss)
        kept["last"] = loss.detach() * 2
        return {"loss": loss, "count": COUNT}
    f = ng.compile(step, check=True)
    for k in range(5):
        f(ng.randn(6, 4), ng.randint(0, 3, (6,)), 0.5 * k)
    assert COUNT == len(log) == 5 and kept["last"].item() == pytest.approx(2 * log[-1].item())


def test_what_is_drawn_is_drawn_by_both():
    random.seed(1)
    it, count, own = iter([1.0, 2.0, 3.0, 4.0]), itertools.count(), random.Random(2)
    f = ng.compile(lambda x: x * random.random() * next(it) + next(count) * own.gauss(0, 1), check=True)
    out = [f(ng.ones(1)).item() for _ in range(4)]
    random.seed(1)
    own.seed(2)
    assert out == pytest.approx([random.random() * (k + 1) + k * own.gauss(0, 1) for k in range(4)], rel=1e-5)
    assert next(it, None) is None and next(count) == 4


def broken(f, spoil):
    """A compiled function whose latest variant is made to do something else."""
    f = ng.compile(f, check=True)
    f(ng.ones(2))
    f(ng.ones(2))
    v = f.variants[-1]
    fast = v.fast
    v.fast = lambda *args: spoil(fast(*args))
    return f


def test_differences_are_found():
    w = ng.ones(2)
    log = []

    def step(x):
        log.append(1)
        return x * 2 + w, 3

    def result(out):
        return out[0] + 1, out[1]

    def kind(out):
        return out[0].double(), out[1]

    def number(out):
        return out[0], 4

    def state(out):
        w.add_(1)
        return out

    def effect(out):
        log.append(2)
        return out

    def error(out):
        raise ValueError("mine")
    for spoil, text in ((result, r"the result\[0\] .*off by 1"), (kind, r"the result\[0\] .*float64"),
                        (number, "4 instead of 3"), (state, "a tensor of the function"),
                        (effect, "number of results or states|items"), (error, "compiled raises ValueError, eager gives")):
        with pytest.raises(CompileMismatch, match=text):
            broken(step, spoil)(ng.ones(2))


def test_errors_of_the_step_are_the_same():
    f = ng.compile(lambda x, i: x[i], check=True)
    assert f(ng.arange(3.0), ng.tensor([2, 0])).tolist() == [2.0, 0.0]
    with pytest.raises(IndexError):
        f(ng.arange(3.0), ng.tensor([7, 0]))
