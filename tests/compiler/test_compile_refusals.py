"""What a capture refuses, what is left after a failure, and errors in replays."""

from __future__ import annotations

import collections
import importlib
import random
import re
import warnings

import numpy as np
import pytest
from registry.steps import values

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn
from numbagrad.compiler import CaptureError, CompileWarning
from numbagrad.utils.checkpoint import checkpoint

SCALE = 2.0


def line_of(text):
    """Pattern of the message that names the line of this file with ``text`` in it."""
    with open(__file__) as f:
        number = next(i for i, line in enumerate(f, 1) if text in line)
    return re.escape(f"{__file__}:{number}")


# --- values asked for, and state after a failure ----------------------------------------------------------------------

def asks_numpy(x):
    return ng.from_numpy((x * 2).numpy())  # asks: numpy


def asks_print(x):
    print(ng.ones(2) @ x, [].append)  # asks: print
    return x


def asks_long_list(x):
    return sum((x.expand(100, 2) * 2).reshape(-1).tolist())  # asks: tolist


def asks_complex(x):
    return x * (x + 1j).sum().item()  # asks: item


def asks_shape(x):
    return x[x > 0]  # asks: getitem


def asks_range(x):
    return [x * i for i in range(x.sum().long())]  # asks: index


def asks_text(x):
    return f"{x}"  # asks: text


CHANGED = [0]
SCALE_OF = ng.ones(3)


def counts(h):
    CHANGED[0] += 1
    return h.sin()


def writes(h):
    SCALE_OF.add_(1)
    return h.sin()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("f, later, message", [
    (counts, None, "changes Python objects"), (writes, None, r"writes into a tensor of shape \[3\]"),
    (lambda h: h.sin() * random.random(), None, "draws random numbers of Python"),
    (lambda h: (h + SCALE_OF).sin(), lambda: SCALE_OF.mul_(2), "is written before backward"),
    (lambda h: (h * SCALE_OF).sin(), lambda: SCALE_OF.mul_(2), "is written before backward"),
], ids=["counts", "writes", "draws", "later", "saved"])
def test_a_checkpoint_that_eager_code_computes_again_otherwise_is_refused(f, later, message, reentrant):
    CHANGED[0], before = 0, SCALE_OF.clone()

    def step(x):
        h = checkpoint(f, x, use_reentrant=reentrant)  # asked: again
        if later is not None:
            later()
        h.sum().backward()
        return x.grad
    with pytest.raises(CaptureError, match=rf"checkpoint\(\) at {line_of('asked: again')} .*{message}"):
        ng.compile(step)(ng.ones(3, requires_grad=True))
    assert CHANGED == [0] and ng.equal(before, SCALE_OF)


def test_a_checkpoint_may_have_what_is_not_done_again():
    """Changes after backward, tensors of its own, and a function that no backward comes to."""
    w = ng.full((3,), 0.5, requires_grad=True)

    def f(h):
        c = ng.tensor([1.0, 2.0, 3.0])
        c.mul_(2)
        return (h * w).sin() * c.add_(h.detach())

    def step(x):
        with ng.no_grad():
            y = checkpoint(counts, x, use_reentrant=False)
        w.grad = None
        (checkpoint(f, x, use_reentrant=False).sum() + y.sum()).backward()
        with ng.no_grad():
            w.sub_(w.grad * 0.1)
        return w.detach() * 1
    found = []
    for wrap in (lambda f: f, ng.compile):
        w.data.fill_(0.5)
        CHANGED[0], g = 0, wrap(step)
        found.append([[round(v, 5) for v in g(ng.ones(3)).tolist()] for _ in range(3)] + CHANGED)
    assert found[0] == found[1] and CHANGED == [3]


GENERATOR = ng.Generator()


@pytest.mark.parametrize("f, message", [
    (lambda x: ng.manual_seed(1), r"manual_seed\(\) at {} seeds a random generator, .*\. Keep"),
    (lambda x: GENERATOR.initial_seed(), r"initial_seed\(\) at {} reads or sets the state"),
    (lambda x: (x * 2).data_ptr(), r"data_ptr\(\) at {} reads the address"),
    (lambda x: ng.save(x * 2, "/nowhere"), r"save\(\) at {} writes a file"),
    (lambda x: ng.arange(x.sum()), r"arange\(\) at {} has no compiled form"),
    (lambda x: ng.tensor([x.sum(), x.sum()]), r"tensor\(\) at {} has no compiled form"),
    (lambda x: x.index_put((x > 0,), x * 2), r"index_put\(\) at {} has no compiled form"),
    (lambda x: (x * 2).nonzero(), r"nonzero\(\) at {} has no compiled form"),
    (lambda x: x.masked_select(x > 0), r"masked_select\(\) at {} has no compiled form"),
], ids=lambda v: v.split("\\")[0] if isinstance(v, str) else "")
def test_a_refusal_names_the_function_that_was_called(f, message):
    here = re.escape(f"{__file__}:{f.__code__.co_firstlineno}")
    with pytest.raises(CaptureError, match="ng.compile: " + message.format(here)):
        ng.compile(f)(ng.ones(3))


@pytest.mark.parametrize("f, name", [(asks_numpy, "numpy"), (asks_long_list, "tolist"), (asks_complex, "item"),
                                     (asks_shape, "getitem")], ids=lambda f: getattr(f, "__name__", f))
def test_values_that_python_asks_for_raise_with_the_line(f, name):
    with pytest.raises(CaptureError, match=f"^ng\\.compile: {name}\\(\\) at {line_of(f'# asks: {name}')} "):
        ng.compile(f)(ng.tensor([1.0, 2.0]))


@pytest.mark.parametrize("f, name", [(asks_range, "index"), (asks_text, "text"), (asks_print, "print")],
                         ids=lambda f: getattr(f, "__name__", f))
def test_values_that_python_uses_otherwise_raise_with_the_line(f, name):
    with pytest.raises(CaptureError, match=line_of(f"# asks: {name}")):
        ng.compile(f)(ng.tensor([1.0, 2.0]))


@pytest.mark.parametrize("kind", [ng.optim.SGD, ng.optim.Adam])
def test_a_refused_capture_leaves_everything_as_it_was(kind):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    opt = kind(model.parameters(), lr=0.1)
    x = ng.randn(4, 3)
    model(x).sum().backward()
    before = [(p.grad, values(p.grad), values(p), p._version) for p in model.parameters()]
    buffers = [values(b) for b in model.buffers()]

    @ng.compile
    def step(x):
        opt.zero_grad()
        loss = model(x).pow(2).sum()
        loss.backward()
        opt.step()
        return loss.detach().numpy()
    ng.manual_seed(4)
    wanted = ng.get_rng_state()
    for _ in range(2):
        with pytest.raises(CaptureError):
            step(x)
    assert ng.equal(ng.get_rng_state(), wanted) and ng.is_grad_enabled()
    assert not opt.state
    for p, (grad, was, value, version) in zip(model.parameters(), before):
        assert p.grad is grad and p._version == version
        np.testing.assert_array_equal(values(p.grad), was)
        np.testing.assert_array_equal(values(p), value)
    for b, was in zip(model.buffers(), buffers):
        np.testing.assert_array_equal(values(b), was)
    assert (x * 2 + 1).sum().item() == pytest.approx((2 * x.numpy() + 1).sum(), rel=1e-5)  # eager code runs on


@pytest.mark.parametrize("kind", [ng.optim.SGD, ng.optim.Adam])
def test_a_step_that_raises_an_error_has_run_eagerly_once(kind):
    def history(wrap):
        ng.manual_seed(4)
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
        opt, log = kind(model.parameters(), lr=0.1), []

        @wrap
        def step(x):
            log.append(len(log))
            opt.zero_grad()
            model(x).pow(2).sum().backward()
            opt.step()
            return 1 / (x.shape[0] - 4)
        x = ng.randn(4, 3)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                step(x)
        state = [t.numpy() for s in opt.state.values() for t in s.values() if isinstance(t, ng.Tensor)]
        return log, [values(t) for t in model.state_dict().values()] + state + [values(ng.get_rng_state())]
    (log, found), (wanted_log, wanted) = history(ng.compile), history(lambda f: f)
    assert log == wanted_log == [0, 1]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fallback_warns_once_and_runs():
    def f(x):
        return x * x.sum().numpy()
    step = ng.compile(f, fallback=True)
    with pytest.warns(CompileWarning, match="runs eagerly"):
        assert step(ng.tensor([1.0, 2.0])).tolist() == [3.0, 6.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert step(ng.tensor([1.0, 3.0])).tolist() == [4.0, 12.0]


def both(make, calls=4):
    """What a function and its compiled form give and leave, for ``make()`` -> (function, what to look at)."""
    found = []
    for compiled in (False, True):
        f, look = make()
        f = ng.compile(f) if compiled else f
        out = [values(f(ng.full((3,), float(k)))).tolist() for k in range(calls)]
        found.append((out, look()))
    return found


def test_tensors_kept_in_lists_dicts_and_slots():
    def lists():
        kept = []

        def f(x):
            y = x * 2
            kept.append(y)
            return y.sum()
        return f, lambda: [t.tolist() for t in kept]

    def dicts():
        holder = {}

        def f(x):
            holder["last"] = x + 1
            return x
        return f, lambda: holder["last"].tolist()

    def slots():
        class Hidden:
            __slots__ = ("last",)
        hidden = Hidden()

        def f(x):
            hidden.last = x + 1
            return x
        return f, lambda: hidden.last.tolist()

    def queues():
        last = collections.deque(maxlen=2)

        def f(x):
            last.append((x.sum(), "sum"))
            return x
        return f, lambda: [(t.item(), w) for t, w in last]

    def sets():
        seen = set()

        def f(x):
            seen.add(tuple(x.shape))
            return x
        return f, lambda: seen
    for make in (lists, dicts, slots, queues, sets):
        plain, compiled = both(make)
        assert plain == compiled, make.__name__


def test_counters():
    def cells():
        count = 0

        def f(x):
            nonlocal count
            count += 1
            return x
        return f, lambda: count

    def items():
        state = {"calls": 0}

        def f(x):
            state["calls"] += 1
            return x
        return f, lambda: state

    def attributes():
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.calls = 0

            def forward(self, x):
                self.calls += 1
                return x
        model = Model()
        return model.__call__, lambda: model.calls
    for make in (cells, items, attributes):
        plain, compiled = both(make)
        assert plain == compiled, make.__name__


def test_objects_that_a_replay_could_not_make_raise():
    class Note:
        pass
    kept = []

    def keeps(x):
        kept.append(Note())
        return x
    with pytest.raises(CaptureError, match="keeps a Note that it made in a list of"):
        ng.compile(keeps)(ng.ones(3))
    with pytest.raises(CaptureError, match="returns a Note that it made"):
        ng.compile(lambda x: Note())(ng.ones(3))
    assert kept == []


def test_other_attributes_may_change():
    """Only what the function names is guarded."""
    class Trainer:
        def __init__(self):
            self.epoch, self.history, self.w = 0, [], ng.ones(2, requires_grad=True)

        def loss(self, x):
            return (x * self.w).sum()
    trainer = Trainer()
    step = ng.compile(lambda x: trainer.loss(x) * 2)
    for k in range(5):
        trainer.epoch = k
        trainer.history.append(step(ng.full((2,), float(k))).item())
    assert trainer.history == [0.0, 4.0, 8.0, 12.0, 16.0] and len(step.variants) == 1


def test_globals_of_methods_and_of_other_modules(tmp_path, monkeypatch):
    (tmp_path / "tools_of_the_test.py").write_text("SHIFT = 1.0\ndef shifted(x):\n    return x + SHIFT\n")
    monkeypatch.syspath_prepend(tmp_path)
    tools = importlib.import_module("tools_of_the_test")

    class Model(nn.Module):
        def forward(self, x):
            return self.scaled(x)

        def scaled(self, x):
            return tools.shifted(x) * SCALE
    global SCALE
    step = ng.compile(Model())
    try:
        assert step(ng.ones(2)).tolist() == [4.0, 4.0] == step(ng.ones(2)).tolist()
        SCALE = 3.0
        assert step(ng.ones(2)).tolist() == [6.0, 6.0]
        tools.SHIFT = 4.0
        assert step(ng.ones(2)).tolist() == [15.0, 15.0]
    finally:
        SCALE = 2.0


def test_rebound_models_and_optimizers():
    model = nn.Linear(2, 2)
    step = ng.compile(lambda x: model(x))
    x = ng.ones(1, 2)
    for _ in range(3):
        np.testing.assert_allclose(values(step(x)), values(model(x)), rtol=1e-6)
        model = nn.Linear(2, 2)


# --- errors of bad values in replays ----------------------------------------------------------------------------------

BAD = {
    "cross_entropy": (lambda x, i: F.cross_entropy(x, i), (4, 3), 3, IndexError),
    "embedding": (lambda x, i: F.embedding(i, x), (4, 3), 4, IndexError),
    "index_select": (lambda x, i: x.index_select(0, i), (4, 3), 4, IndexError),
    "getitem": (lambda x, i: x[i], (4, 3), 4, IndexError),
    "gather": (lambda x, i: x.gather(0, i.reshape(-1, 1)), (4, 3), 4, RuntimeError),
    "scatter_add": (lambda x, i: x.scatter_add(0, i.reshape(-1, 1), ng.ones(4, 1)), (4, 3), 4, RuntimeError),
    "one_hot": (lambda x, i: F.one_hot(i, 3) + x.sum(), (4, 3), 3, RuntimeError),
    "multi_margin_loss": (lambda x, i: F.multi_margin_loss(x, i), (4, 3), 3, RuntimeError),
    "embedding_bag": (lambda x, i: F.embedding_bag(i.reshape(2, 2), x), (4, 3), 4, RuntimeError),
    "gaussian_nll_loss": (lambda x, i: F.gaussian_nll_loss(x[:, 0], x[:, 1], (2 - i).float()), (4, 3), 3, ValueError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_raise_in_replays_as_in_eager(name):
    f, shape, bad, error = BAD[name]
    x = ng.rand(*shape)
    good = ng.tensor([0, 2, 1, 0])
    wrong = ng.tensor([0, 2, bad, 0])
    step = ng.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(values(step(x, good)), values(f(x, good)), rtol=1e-6)
        with pytest.raises(error) as eager:
            f(x, wrong)
        with pytest.raises(error) as compiled:
            step(x, wrong)
        assert str(compiled.value) == str(eager.value)


def test_bad_values_in_the_first_call():
    step = ng.compile(lambda x, i: x[i])
    x = ng.arange(3.0)
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        step(x, ng.tensor([3]))
    assert step(x, ng.tensor([2])).tolist() == [2.0]


def test_wrong_arguments():
    step = ng.compile(lambda x: x + 1)
    for _ in range(2):
        assert step(ng.ones(1)).tolist() == [2.0]
        with pytest.raises(TypeError):
            step()
        with pytest.raises(TypeError):
            step(ng.ones(1), ng.ones(1))
        with pytest.raises(TypeError):
            step(y=ng.ones(1))
        assert step(x=ng.ones(1)).tolist() == [2.0]
        assert step(3) == 4
    with pytest.raises(TypeError, match="expects a function or a Module"):
        ng.compile(3)


# --- instances --------------------------------------------------------------------------------------------------------

def test_methods_of_two_instances_do_not_share_a_capture():
    class Counter:
        def __init__(self, by):
            self.by, self.total = by, ng.zeros(2)

        @ng.compile
        def add(self, x):
            self.total.add_(x * self.by)
            return self.total.clone()
    one, two = Counter(1.0), Counter(10.0)
    for k in range(1, 4):
        assert one.add(ng.ones(2)).tolist() == [1.0 * k] * 2
        assert two.add(ng.ones(2)).tolist() == [10.0 * k] * 2
    one.by = 2.0
    assert one.add(ng.ones(2)).tolist() == [5.0] * 2
    bound = ng.compile(two.add)
    assert bound(ng.ones(2)).tolist() == [40.0] * 2


def test_instances_passed_as_arguments():
    @ng.compile
    def forward(model, x):
        return model(x)
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    x = ng.ones(1, 2)
    for model in (one, two, one, two):
        np.testing.assert_allclose(values(forward(model, x)), values(model(x)), rtol=1e-6)
        with ng.no_grad():
            model.weight.add_(1)


def test_compiled_function_inside_a_compiled_function():
    inner = ng.compile(lambda x: x * 2)
    outer = ng.compile(lambda x: inner(x) + 1)
    for k in range(3):
        assert outer(ng.full((2,), float(k))).tolist() == [2.0 * k + 1] * 2
        assert inner(ng.full((2,), float(k))).tolist() == [2.0 * k] * 2


def test_random_draws_differ_from_call_to_call():
    step = ng.compile(lambda x: (x + ng.randn(3), ng.rand(2), ng.randint(0, 9, (4,)), F.dropout(x, 0.5), ng.randperm(5)))
    ng.manual_seed(7)
    found = [step(ng.ones(3)) for _ in range(3)]
    ng.manual_seed(7)
    for row in found:
        x = ng.ones(3)
        want = (x + ng.randn(3), ng.rand(2), ng.randint(0, 9, (4,)), F.dropout(x, 0.5), ng.randperm(5))
        for a, b in zip(row, want):
            assert ng.equal(a, b)


def test_hooks_that_stay_at_a_tensor_from_before():
    """Each eager call adds another, a replay would not; one that is removed again is no effect."""
    p, seen = ng.ones(2, requires_grad=True), []

    def lasting(x):
        x.register_hook(lambda g: g * 2)
        (x * 3).sum().backward()
        return x.detach() * 2

    def removed(x):
        handle = x.register_hook(lambda g: g * 2)
        (x * 3).sum().backward()
        handle.remove()
    p.register_hook(lambda g: seen.append(g.tolist()))
    for step in (ng.compile(lasting), ng.compile(lambda: lasting(p))):
        x = [] if step.fn is not lasting else [ng.ones(2, requires_grad=True)]
        for _ in range(2):
            with pytest.raises(CaptureError, match=r"a hook that is registered at .*test_compile_refusals\.py:\d+"):
                step(*x)
        assert p.grad is None and all(t.grad is None for t in x)
    step = ng.compile(removed)
    for _ in range(3):
        x = ng.ones(2, requires_grad=True)
        step(x)
        assert x.grad.tolist() == [6.0, 6.0]
    (p * 3).sum().backward()
    assert seen[-1] == [3.0, 3.0] == p.grad.tolist()
