"""Values of tensors that a compiled step hands to Python: numbers, texts, prints and decisions on them."""

from __future__ import annotations

import math
import random
import sys
import warnings
from collections import deque

import numpy as np
import pytest

import numbagrad as ng
from numbagrad import nn
from numbagrad.compiler import CaptureError, CompileWarning

pytestmark = pytest.mark.filterwarnings("error")


class Meter:
    def __init__(self):
        self.sum, self.count, self.best, self.values = 0.0, 0, math.inf, deque(maxlen=3)

    def update(self, v, n=1):
        self.sum += v * n
        self.count += n
        self.best = min(self.best, v)
        self.values.append(v)

    @property
    def mean(self):
        return self.sum / self.count


class Task:
    """A small model with dropout and running statistics, an optimizer, and all that steps may write."""

    def __init__(self):
        ng.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3))
        self.opt = ng.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.meter, self.log, self.skipped, self.best = Meter(), [], 0, math.inf
        self.table, self.last = {}, None

    def loss(self, x, y):
        self.opt.zero_grad()
        return nn.functional.cross_entropy(self.model(x), y)

    def seen(self):
        m = self.meter
        return ([p.detach().numpy() for p in self.model.state_dict().values()],
                [None if p.grad is None else p.grad.numpy() for p in self.model.parameters()],
                [m.sum, m.count, m.best, *m.values, *self.log, self.skipped, self.best, *self.table.items(), self.last])


def batch(k):
    g = np.random.default_rng(k)
    x = g.standard_normal((8, 4)).astype(np.float32) * (1 if k % 3 else 30)
    return ng.from_numpy(x), ng.from_numpy(g.integers(0, 3, 8))


def returns_item(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    t.opt.step()
    return loss.item()


def returns_many(t, x, y):
    out = t.model(x)
    loss = nn.functional.cross_entropy(out, y)
    right = (out.argmax(1) == y).sum().item()
    return {"loss": float(loss.detach()), "right": right, "accuracy": right / len(y), "percent": round(100 * right / len(y), 1),
            "top": int(out.max().item()), "out": out.detach(), "log": math.log(loss.item() + 1), "list": out[0].tolist(),
            "kind": type(loss.item()).__name__, "finite": math.isfinite(loss.item())}


def fills_meters(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    t.opt.step()
    t.meter.update(loss.item(), x.size(0))
    t.log.append(loss.item())
    t.table["loss"] = loss.item()
    t.last = (loss.item(), "text", [loss.item() * 2])
    return t.meter.mean


def keeps_best(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    t.opt.step()
    if loss.item() < t.best:
        t.best = loss.item()
        t.log.append(("better", t.best))
    return t.best


def skips(t, x, y):
    loss = t.loss(x, y)
    if loss.item() > 1.5:
        t.skipped += 1
        return None
    loss.backward()
    t.opt.step()
    return loss.detach()


def skips_late(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(t.model.parameters(), 1e9)
    if norm > 2.0 or ng.isnan(loss):
        t.opt.zero_grad()
        t.skipped += 1
    else:
        t.opt.step()
    return norm


def decides_after_the_update(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    t.opt.step()
    with ng.no_grad():
        after = nn.functional.cross_entropy(t.model(x), y)
    if after.item() > 1.2:
        t.log.append("high")
        t.opt.param_groups[0]["lr"] *= 0.5
    return after.item()


def clips_in_python(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    total = 0.0
    for p in t.model.parameters():
        total += p.grad.norm().item() ** 2
    norm = total ** 0.5
    scale = 0.5 / (norm + 1e-6)
    if scale < 1:
        for p in t.model.parameters():
            p.grad.mul_(scale)
    t.opt.step()
    return norm


def texts(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    t.opt.step()
    t.skipped += 1
    v = loss.item()
    t.log.append(f"{t.skipped:>3}: {v:.4f} {v!r} {loss:.2f}")
    t.log.append("%d: %.3f" % (t.skipped, v) + " %5.1f" % v)  # noqa: UP031
    t.log.append(f"loss {v:.3e} of {t.skipped}" + str(v))
    return "a" + repr(v) + f"{x.shape[0]}"


def prints(t, x, y):
    loss = t.loss(x, y)
    loss.backward()
    t.opt.step()
    t.skipped += 1
    print("step", t.skipped, "loss", loss.item(), [loss.item(), x.shape], sep=" | ")
    print(f"{loss.item():.5f}", loss.detach(), end="!\n")
    with ng.no_grad():
        h = x[:2] * 2
        print(h)
        h.zero_()
    return loss.detach()


def truth_of_tensors(t, x, y):
    out = t.model(x)
    if (out > 0).all():
        return out.sum().detach()
    if not out.isfinite().all() or out.max() > 100:
        return out.mean().detach()
    return out.detach() * 2 if (out.argmax(1) == y).any() else out.detach()


def scales(t, x, y):
    h = x * (1 / x.abs().max().item())
    return h.sum() + x.sum().item()


def repeats(t, x, y):
    h, n = x[0], 0
    while h.norm().item() > 10 and n < 9:
        h, n = h * 0.5, n + 1
    return h, n


STEPS = [returns_item, returns_many, fills_meters, keeps_best, skips, skips_late, decides_after_the_update, clips_in_python,
         texts, prints, truth_of_tensors, scales, repeats]


def run(step, compiled, capsys, calls=9):
    t = Task()
    f = ng.compile(step) if compiled else step
    out = []
    ng.manual_seed(3)
    for k in range(calls):
        found = f(t, *batch(k))
        out += found.items() if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
    out.append(ng.get_rng_state())
    return out, t.seen(), capsys.readouterr().out, f


def close(a, b):
    if isinstance(b, ng.Tensor):
        a, b = a.detach().numpy(), b.detach().numpy()
    if isinstance(b, np.ndarray):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    elif isinstance(b, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for x, y in zip(a, b):
            close(x, y)
    elif type(b) is float:
        assert type(a) is float and (a == pytest.approx(b, rel=2e-5, abs=2e-6) or math.isinf(a) and a == b)
    elif isinstance(b, str) and any(c.isdigit() for c in b):  # numbers in texts are rounded otherwise once in a while
        assert type(a) is str and [w for w in _words(a) if not _is_number(w)] == [w for w in _words(b) if not _is_number(w)]
        close([float(w) for w in _words(a) if _is_number(w)], [float(w) for w in _words(b) if _is_number(w)])
    else:
        assert type(a) is type(b) and a == b


def _words(text):
    for c in "[],()|:!a":
        text = text.replace(c, " ")
    return text.split()


def _is_number(w):
    try:
        float(w)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__)
def test_compiled_equals_eager(step, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["numbagrad.compiler.function"], "LIMIT", 40)
    wanted, seen, text, _ = run(step, False, capsys)
    found, left, shown, f = run(step, True, capsys)
    close(found, wanted)
    close(left, seen)
    close(shown, text)
    assert f.variants and not f.eager


@pytest.mark.parametrize("step", [returns_item, fills_meters, texts, prints, scales, clips_in_python], ids=lambda f: f.__name__)
def test_values_need_no_variants(step, capsys):
    *_, f = run(step, True, capsys)
    assert len(f.variants) <= 2  # the second one: counters and totals are inputs


def test_numbers_are_exact():
    f = ng.compile(lambda x, i, h: (x[0].item(), x.sum().item(), i.max().item(), i.tolist(), h.item()))
    for k in range(3):
        x, i = ng.tensor([0.1 * k, 1e-30], dtype=ng.float32), ng.tensor([2**53 + k, -5])
        h = ng.tensor(0.1 * k, dtype=ng.bfloat16)
        assert f(x, i, h) == (x[0].item(), x.sum().item(), 2**53 + k, [2**53 + k, -5], h.item())


def test_an_error_on_a_value_is_raised_by_eager_code():
    log = []

    @ng.compile
    def step(x):
        log.append("before")
        loss = (x * 2).sum()
        if not math.isfinite(loss.item()):
            log.append("bad")
            raise FloatingPointError(f"loss is {loss.item()}")
        log.append("good")
        return loss.item()
    assert step(ng.ones(2)) == 4.0 == step(ng.ones(2))
    with pytest.raises(FloatingPointError, match="loss is inf"):
        step(ng.full((2,), math.inf))
    assert step(ng.ones(2)) == 4.0
    assert log == ["before", "good"] * 2 + ["before", "bad"] + ["before", "good"]


def test_the_first_call_may_take_the_rare_branch():
    @ng.compile
    def step(x):
        if ng.isnan(x.sum()):
            raise ValueError("nan")
        return x + 1
    with pytest.raises(ValueError, match="nan"):
        step(ng.full((2,), math.nan))
    assert step(ng.ones(2)).tolist() == [2, 2]


def test_what_the_first_part_wrote_is_undone():
    total, draws = ng.zeros(1), []

    def step(x, noisy):
        total.add_(x.sum())
        r = ng.rand(1)
        if (total + r).item() > 3:
            total.zero_()
            return None
        draws.append(r.item())
        return total.clone()

    def history(f):
        total.zero_()
        draws.clear()
        ng.manual_seed(5)
        out = [f(ng.ones(1), 0) for _ in range(12)]
        return [None if o is None else o.item() for o in out], list(draws), ng.rand(1).item()
    assert history(step) == history(ng.compile(step)) == history(ng.compile(step, check=True))


def test_numbers_are_drawn_before_a_decision():
    def step(x, r):
        r = r.random() * random.random()
        v = (x * r).sum().item()
        return (v, "low") if v < 1 else v + r

    def history(f):
        random.seed(2)
        r = random.Random(3)
        return [f(ng.full((3,), 1.0 + k), r) for k in range(9)], random.random(), r.random()
    f = ng.compile(step)
    close(history(f), history(step))
    assert len(f.variants) == 2 and "1 values of tensors" in f.explain() and "1 decisions" in f.explain()

    def later(x):
        return x * random.random() if x.sum().item() > 0 else x
    with pytest.raises(CaptureError, match=r"random\(\) after a value of a tensor has decided.* at .*\.py:\d+"):
        ng.compile(later)(ng.ones(1))


@pytest.mark.parametrize("use", [
    lambda x, n: x[:n], lambda x, n: [x] * n, lambda x, n: {n: x}, lambda x, n: x.reshape(n, -1), lambda x, n: range(n)[0] + x,
    lambda x, n: x.numpy()[n], lambda x, n: f"{n}".upper() and x, lambda x, n: x.sum(n - 1)], ids=range(8))
def test_values_that_shape_a_step_are_refused(use):
    kept = []

    def step(x):
        kept.append(1)
        n = (x * 0 + 1).max().int().item()
        return use(x, n)
    with pytest.raises(CaptureError, match=r"needs the values of .* tensor.*run it eagerly"):
        ng.compile(step)(ng.ones(2))
    assert kept == []
    with pytest.warns(CompileWarning, match="runs eagerly"):
        ng.compile(step, fallback=True)(ng.ones(2))
    assert kept == [1]


def test_a_step_may_not_decide_without_end():
    def step(x):
        n = 0
        while x.sum().item() < 1e6:
            x, n = x * 1.01, n + 1
        return n
    with pytest.raises(CaptureError, match="decides on values of tensors more than 16 times"):
        ng.compile(step)(ng.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        assert ng.compile(step, fallback=True)(ng.ones(2)) == step(ng.ones(2))


def test_results_of_one_variant_do_not_wait_for_the_next_call():
    f = ng.compile(lambda x: (x.sum().item(), x.sum()))
    kept = [f(ng.full((3,), float(k))) for k in range(4)]
    assert [v for v, _ in kept] == [t.item() for _, t in kept] == [0, 3, 6, 9]


# --- gradients that somebody holds ------------------------------------------------------------------------------------

def holding(keep, compiled, calls=6):
    ng.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    opt = ng.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        opt.zero_grad()
        loss = model(x).pow(2).sum()
        loss.backward()
        opt.step()
        return loss.detach()
    f, held = ng.compile(step) if compiled else step, []
    for k in range(calls):
        f(ng.full((1, 2), 1.0 + k))
        keep(held, model, k)
    return [np.array(h) for h in held], [p.grad.numpy() for p in model.parameters()], [
        p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize("keep", [
    lambda held, m, k: held.extend([p.grad for p in m.parameters()]),
    lambda held, m, k: held.append(m[0].weight.grad.detach()),
    lambda held, m, k: held.append(m[0].weight.grad[1:]),
    lambda held, m, k: held.append(m[0].bias.grad.numpy()),
    lambda held, m, k: held.append(m[2].weight.grad) if k == 2 else None,
    lambda held, m, k: (held.append(m[2].weight.grad), m.zero_grad()) if k < 5 else None,
    lambda held, m, k: (held.append(m[2].weight.grad), held.pop(0)) if k else held.append(m[0].weight.grad),
], ids=["all", "detached", "a view", "an array", "one", "dropped", "the last"])
def test_gradients_that_are_held_stay_as_they_are(keep):
    for a, b in zip(holding(keep, True), holding(keep, False)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_gradients_that_nobody_holds_keep_their_memory():
    model = nn.Linear(2, 2)

    @ng.compile
    def step(x):
        model.zero_grad()
        model(x).sum().backward()
    step(ng.ones(1, 2))
    places = set()
    for _ in range(5):
        step(ng.ones(1, 2))
        places.add(model.weight.grad.data_ptr())
    assert len(places) == 1


def test_values_reach_a_backward_outside():
    w = ng.ones(3, requires_grad=True)

    def step(x):
        h = x * w * (1 / x.abs().max().item())
        return h.sum() * x.sum().item(), (h * x.min().item()).sum() if x.sum().item() < 8 else h.sum()

    def history(f):
        out = []
        for k in range(6):
            x, w.grad = ng.tensor([1.0, 2.0, 3.0 + k], requires_grad=True), None
            a, b = f(x)
            (a + 2 * b).backward()
            out.append([a.item(), b.item(), x.grad, w.grad.clone()])
        return out
    close(history(ng.compile(step)), history(step))


def test_values_become_the_factors_of_products():
    def step(x):
        return ng.addmm(ng.ones(3, 3), x, x, alpha=x.max().item(), beta=x.min().item()), ng.baddbmm(
            x[None], x[None], x[None], alpha=x.mean().item())
    f = ng.compile(step)
    for k in range(4):
        x = ng.linspace(0.3, 1.1, 9).reshape(3, 3) + k
        close(f(x), step(x))
    assert len(f.variants) == 1


def test_gradients_that_are_cleared_unseen():
    """Where there was none in the capture, there may be one in the next call."""
    w, unused = nn.Parameter(ng.ones(2)), nn.Parameter(ng.ones(2))
    opt = ng.optim.SGD([w, unused], lr=0.1)

    @ng.compile
    def step(x):
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()
    for k in range(5):
        step(ng.ones(2))
        assert unused.grad is None
        if k % 2:
            unused.grad = ng.ones(2)
    assert len(step.variants) <= 2
