"""Numbers that change from call to call: arguments, attributes, counters, schedules. Each program gives and leaves what it does
eagerly, with few captures."""

from __future__ import annotations

import math
import time
import types

import numpy as np
import pytest
from compile_helpers import calls, counted, same_as_eager

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn
from numbagrad.compiler import CaptureError, CompileWarning

PROGRAMS = {}
COUNT = 0
program = counted(PROGRAMS)


@program()
def float_argument(C):
    f = C(lambda x, beta: x * beta + beta ** 2 / (1 + beta))
    return calls(f, lambda k: 0.1 * k), f


@program()
def int_argument_in_arithmetic(C):
    f = C(lambda x, step: x * (0.5 ** step) + step / 7)
    return calls(f, lambda k: k + 2), f


@program()
def numbers_of_draws(C):
    ng.manual_seed(3)
    f = C(lambda x, b: F.dropout(x, b) + x * ng.normal(b, 2 * b, (2,)) + ng.empty(2).uniform_(-b, b)
          + ng.empty(2).exponential_(b))
    return calls(f, lambda k: 0.1 + 0.1 * k), f


@program()
def numbers_of_draws_that_the_step_computes(C):
    ng.manual_seed(3)
    f = C(lambda x: F.dropout(x, x.mean().item() / 10) * ng.normal(0.0, x.sum().item(), (2,)))
    return calls(f), f


@program(5)
def int_argument_as_size(C):
    f = C(lambda x, n: x.repeat(n)[:2] * n)
    return calls(f, lambda k: 1 + k % 3), f


@program()
def numbers_in_containers(C):
    f = C(lambda x, cfg: x * cfg["a"] - cfg["b"][0])
    return calls(f, lambda k: {"a": 0.5 * k, "b": [k * 2.0]}), f


@program()
def attribute_schedule(C):
    s = types.SimpleNamespace(beta=0.0)
    f = C(lambda x: x * s.beta + math.exp(-s.beta))
    out = []
    for k in range(8):
        s.beta = 0.25 * k
        out += calls(f, n=1)
    return out, f


@program(1)
def counter_of_an_object(C):
    class T:
        def __init__(self):
            self.n, self.total = 0, 0.0

        def step(self, x):
            self.n += 1
            self.total += 0.5 * self.n
            return x * self.n / (1 + self.total)
    t = T()
    f = C(t.step)
    return (calls(f), t.n, t.total), f


@program(2)
def counters_by_name(C):
    global COUNT
    COUNT, cell, table = 0, 1.5, {"n": 0}

    def step(x):
        global COUNT
        nonlocal cell
        COUNT += 2
        cell = cell * 1.5
        table["n"] -= 1
        return x * COUNT + cell - table["n"]
    f = C(step)
    return (calls(f), COUNT, cell, table), f


@program(3)
def branches_on_a_counter(C):
    class T:
        n = 0

        def step(self, x):
            self.n += 1
            if self.n % 4 == 0:
                return x * 0
            return x if self.n > 2 else -x
    t = T()
    t.n = 0
    f = C(t.step)
    return (calls(f, n=16), t.n), f


@program(4)
def annealing_in_math(C):
    s = types.SimpleNamespace(step=0)

    def f(x):
        t = min(1.0, s.step / 10)
        w = 0.5 * (1 + math.cos(math.pi * t)) + math.sqrt(t) + abs(t - 0.5) + max(0.25, t) + float(s.step) + pow(t, 2)
        return x * w
    g, out = C(f), []
    for k in range(4):
        s.step = k + 1
        out += calls(g, n=1)
    return out, g


@program()
def numbers_returned(C):
    def f(x, b):
        return x * b, b * 2, {"b": b + 1}
    g, out = C(f), []
    for k in range(5):
        y, b, d = g(ng.ones(2), 0.5 * k)
        out.append((y.tolist(), b, type(b).__name__, d["b"], type(d["b"]).__name__))
    return out, g


@program()
def numbers_kept(C):
    log, last = [], types.SimpleNamespace()

    def f(x, b):
        log.append(b * 2)
        last.b = (b, x.sum())
        return x * b
    g = C(f)
    return (calls(g, lambda k: 0.5 * k), log, last.b[0], last.b[1].item()), g


@program(99)
def numbers_that_python_looks_into(C):
    names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]

    def f(x, n, v):
        text = f"{v:.1f}{n}" + "%d" % n + str(v)  # noqa: UP031
        y = x * len(names[n]) + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0][n] + len(text)
        return y + len([0] * n) + sum(range(n)) + int(v) + round(v) + math.floor(v) + (n in (2, 3)) + {1: 5.0}.get(n, 0.0)
    g = C(f)
    return calls(g, lambda k: k, lambda k: 0.75 * k), g


@program()
def numpy_numbers(C):
    s = types.SimpleNamespace(k=0.0)

    def f(x):
        return x * (np.float64(2.0) * s.k) + np.float32(0.5) + s.k * np.float64(3.0)
    g, out = C(f), []
    for k in range(5):
        s.k = 0.5 * k
        out += calls(g, n=1)
    return out, g


@program(99)
def division_by_what_may_be_zero(C):
    def f(x, n):
        return x / n if n else x * 7
    g = C(f)
    return calls(g, lambda k: k % 3), g


@program(99)
def signs_and_types(C):
    g = C(lambda x, v: x / v if type(v) is float else x * v)
    return [*calls(g, lambda k: [0.0, -0.0, 1, 1.0, True, 2][k % 6])], g


@program(99)
def learning_rate_read_in_python(C):
    w = nn.Parameter(ng.ones(2))
    o = ng.optim.SGD([w], lr=0.1)
    s = ng.optim.lr_scheduler.ExponentialLR(o, 0.5)

    def f(x):
        g, = ng.autograd.grad((w * x).sum(), w)
        with ng.no_grad():
            w.sub_(g * o.param_groups[0]["lr"])
        return w * s.get_last_lr()[0]
    g, out = C(f), []
    for _ in range(6):
        out += calls(g, n=1)
        o.step()
        s.step()
    return out, g


def _scheduled(make, plateau=False):
    """A step that sets the learning rate of the next one itself."""
    def run(C):
        w = nn.Parameter(ng.ones(2))
        o = ng.optim.AdamW([w], lr=0.1) if plateau else ng.optim.SGD([w], lr=0.1, momentum=0.9)
        s = make(o)

        def f(x):
            o.zero_grad()
            loss = ((w * x - 1) ** 2).sum() / x[0]
            loss.backward()
            o.step()
            s.step(loss.item()) if plateau else s.step()
            return w * s.get_last_lr()[0]
        g, out = C(f), []
        for _ in range(12):
            out += calls(g, n=1) + [o.param_groups[0]["lr"], s.last_epoch]
        return out, g
    return run


_S = ng.optim.lr_scheduler
for _name, _captures, _make in (
        ("exponential", 2, lambda o: _S.ExponentialLR(o, 0.5)), ("steps", 3, lambda o: _S.StepLR(o, 2, 0.5)),
        ("cosine", 3, lambda o: _S.CosineAnnealingLR(o, 4)), ("linear", 3, lambda o: _S.LinearLR(o, total_iters=6)),
        ("of_a_function", 2, lambda o: _S.LambdaLR(o, lambda e: 1 / (1 + e))),
        ("one_cycle", 3, lambda o: _S.OneCycleLR(o, 0.1, total_steps=20)),
        ("milestones", 5, lambda o: _S.MultiStepLR(o, [3, 5, 9])),
        ("plateau", 5, lambda o: _S.ReduceLROnPlateau(o, patience=1, factor=0.5))):
    program(_captures)(_scheduled(_make, _name == "plateau"))
    PROGRAMS[f"schedule_{_name}"] = PROGRAMS.pop("run")


@program(4)
def members(C):
    """A counter that is looked for in containers."""
    table, some, texts, late = {1: "one", 4: "four"}, [0, 2, 4.0], ["a", "b"], {3, "c"}

    def f(x, k):
        return x + (k in table) + 2 * (k in some) + 4 * (k in range(3, 6)) + 8 * (k in texts) + 16 * (k in late)
    g = C(f)
    out = calls(g, lambda k: 100 + k)
    some.append(107)
    return out + calls(g, lambda k: 100 + k), g


@program(13)
def members_that_come_and_go(C):
    table, some = {1: "one", 4: "four"}, [0, 2, 4.0]
    g = C(lambda x, k: x + (k in table) + 2 * (k in some) + 4 * (k in (4, True)) + 8 * (k not in frozenset(some)))
    out = calls(g, lambda k: k % 4)
    table[3] = some[0] = 3
    return out + calls(g, lambda k: k % 4) + calls(g, lambda k: float(k % 3)), g


@program(99)
def scalars_of_operations(C):
    def f(x, p):
        return (F.leaky_relu(x - 4, p) + ng.clamp(x, max=p) + x.add(x, alpha=p) + ng.lerp(x, x * 2, p) + x.pow(p)
                + ng.full((2,), p) + F.softplus(x, beta=1 + p) + x.masked_fill(x > 3, p) + F.layer_norm(x, (2,), eps=p + 0.1))
    g = C(f)
    return calls(g, lambda k: 0.25 * k + 0.5), g


@program()
def gradients_outside(C):
    g = C(lambda x, b: (x * b).tanh() * b)
    out = []
    for k in range(5):
        x, y = ng.ones(2, requires_grad=True), ng.ones(2, requires_grad=True)
        a, b = g(x, 0.1 * k), g(y, 0.2 * k)
        a.sum().backward()
        b.sum().backward()
        out.append([round(v, 5) for v in (*x.grad.tolist(), *y.grad.tolist())])
    return out, g


def test_what_changes_by_itself_is_found_in_the_second_capture(monkeypatch):
    """Whatever the list of pure functions gets wrong: a clock among them is noticed."""
    from numbagrad.compiler import pure
    clock = time.perf_counter_ns
    monkeypatch.setitem(pure.FUNCTIONS, id(clock), clock)
    f = ng.compile(lambda x: x * (clock() % 1000003))
    f(ng.ones(1))
    with pytest.raises(CaptureError, match=r"mul.* at .*test_compile_numbers.py:\d+ came out otherwise"):
        f(ng.ones(1))
    with pytest.warns(CompileWarning, match="came out otherwise"):
        g = ng.compile(lambda x: x * (clock() % 1000003), fallback=True)
        found = {g(ng.ones(1)).item() for _ in range(6)}
    assert len(found) > 3


def test_another_op_in_the_second_capture_is_found():
    """Expressions of kernels are compared without an answer that is an expression, too."""
    seen = []

    @ng.compiler.assume_constant_result
    def which():
        seen.append(0)
        return len(seen) % 2
    f = ng.compile(lambda x: x.exp() if which() else x.sin())
    assert f(ng.zeros(1)).item() == 1.0
    with pytest.raises(CaptureError, match=r"at .*test_compile_numbers.py:\d+ came out otherwise"):
        f(ng.zeros(1))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    same_as_eager(*PROGRAMS[name])


def test_a_rate_that_is_set_before_the_optimizers_step_is_refused():
    """Replays read settings at the start of a call."""
    w = nn.Parameter(ng.ones(2))
    o = ng.optim.SGD([w], lr=0.1)
    s = ng.optim.lr_scheduler.ExponentialLR(o, 0.5)

    @ng.compile
    def step(x):
        (w * x).sum().backward()
        s.step()
        o.step()
    o.step()
    with pytest.raises(CaptureError, match=r"sets 'lr' of an optimizer before its step at .*test_compile_numbers.py:\d+"):
        for _ in range(3):
            step(ng.ones(2))


def test_one_item_by_two_indices():
    items = [1.0, 2.0]

    def swap(x):
        items[0], items[-1] = items[-1], items[0]
        return x * items[0]
    f = ng.compile(swap)
    assert f(ng.ones(1)).tolist() == [2.0]
    for k in (1.5, 2.5, 3.5):
        items[:] = [k]
        assert f(ng.ones(1)).tolist() == [k] and items == [k] and type(items[0]) is float


def test_a_number_of_a_keyword():
    f = ng.compile(lambda x, *, k: x * k)
    assert [f(ng.ones(1), k=0.5 * k).item() for k in range(5)] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert len(f.variants) == 2


def test_a_number_that_stays_for_long_does_not_slow_the_call():
    """A number that changed once is followed; while it stays, calls are those of a variant, and it is tried when it moves."""
    f, x = ng.compile(lambda x, k: x * k), ng.ones(2)
    found = [f(x, k).tolist() for k in (1.0, 2.0, 2.0, 2.0)]
    assert type(f).__call__ is f.variants[-1].bound
    found += [f(x, k).tolist() for k in (3.0, 3.0, 4.0)]
    assert found == [[k, k] for k in (1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0)] and len(f.variants) == 2


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout", "feature_alpha_dropout"])
def test_dropouts_of_six_probabilities_are_one_form_for_numbers_that_change(name):
    drop = getattr(F, name)
    f, x = ng.compile(lambda x, p: drop(x, p, True)), ng.arange(12.0, dtype=ng.float64).view(3, 4)
    for p in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        ng.manual_seed(1)
        found = f(x, p)
        ng.manual_seed(1)
        assert found.tolist() == [pytest.approx(row, rel=1e-12) for row in drop(x, p, True).tolist()]
    assert len(f.variants) == 2
