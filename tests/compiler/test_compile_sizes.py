"""Another size of the arguments: captured once, not a second time, and kept; what changes by itself is found all the same."""

from __future__ import annotations

import gc
import itertools
import math
import sys
import threading
import time
import types

import numpy as np
import pytest

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn
from numbagrad.compiler import CaptureError, kin, variant


@pytest.fixture
def captures(monkeypatch):
    """The runs of captures, by what they were for: "first" or "second"."""
    found, run = [], variant.Variant._captured

    def captured(self, args, kwargs, leaves, again):
        found.append("first" if again is None else "second")
        return run(self, args, kwargs, leaves, again)
    monkeypatch.setattr(variant.Variant, "_captured", captured)
    return found


def trained(model, opt, shape, classes=3):
    """A training step, eager and compiled, and its data."""
    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss.detach()
    return step, lambda n: (ng.randn(n, *shape), ng.randint(0, classes, (n,)))


def mlp():
    m = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return m, trained(m, ng.optim.SGD(m.parameters(), lr=0.1), (4,))


def conv():
    m = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                      nn.Linear(8, 3))
    return m, trained(m, ng.optim.SGD(m.parameters(), lr=0.1, momentum=0.9), (1, 4, 4))


@pytest.mark.parametrize("make", [mlp, conv])
def test_another_batch_size_is_captured_once(make, captures):
    ng.manual_seed(0)
    m, (step, data) = make()
    state = {k: v.clone() for k, v in m.state_dict().items()}
    sizes = [32, 32, 32, 32, 20, 20, 31, 33, 20, 31, 32, 7, 33, 7]
    batches = [data(n) for n in sizes]
    compiled = ng.compile(step)
    mine = [float(compiled(*b)) for b in batches]
    made = {k: v.clone() for k, v in m.state_dict().items()}
    start = captures.index("second")
    assert captures[start:].count("second") == 1 and captures[start:].count("first") == 4  # 20, 31, 33, 7
    fresh, (step, _) = make()
    fresh.load_state_dict(state)
    np.testing.assert_allclose(mine, [float(step(*b)) for b in batches], rtol=2e-5)
    for k, v in fresh.state_dict().items():
        np.testing.assert_allclose(made[k].numpy(), v.numpy(), rtol=1e-4, atol=1e-6, err_msg=k)


def with_c(f):
    """``f`` with a call of a function in C, without which one capture is enough."""
    return lambda x: f(x * math.fabs(-1.0))


def again(f, *batches):
    for b in batches:
        f(b)
        f(b)


def odd(x):
    n = x.shape[0]
    return x * 2 if n % 2 else x * 3


def of_size(x):
    return x * (1.0 / x.shape[0])


def branch(x):
    return x * 2 if x.size(0) > 8 else x * 3


def plus_one(x):
    return x.view(1, x.shape[0]) * (x.shape[0] + 1)


@pytest.mark.parametrize("f", [odd, of_size, branch, plus_one])
def test_what_sizes_decide_is_captured_twice(f, captures):
    """A number made of a size that is no multiple of it, or a branch: another program, for all that is known."""
    compiled = ng.compile(with_c(f))
    again(compiled, ng.randn(12))
    del captures[:]
    for n in (5, 8, 7, 9):
        x = ng.randn(n)
        for _ in range(3):
            np.testing.assert_allclose(compiled(x).numpy(), f(x).numpy(), rtol=1e-6)
    assert captures.count("first") == 4 and captures.count("second") >= 1


def test_sizes_themselves_may_be_used(captures):
    """``view(n, -1)`` with n from the shape is the same step in another size."""
    def f(x):
        n, k = x.shape
        return (x.view(n * k) * 2).view(n, k).sum(0)
    compiled = ng.compile(f)
    again(compiled, ng.randn(12, 4))
    del captures[:]
    for n in (24, 18, 6):
        x = ng.randn(n, 4)
        for _ in range(3):
            np.testing.assert_allclose(compiled(x).numpy(), f(x).numpy(), rtol=1e-5, atol=1e-6)
    assert captures == ["first"] * 3


def test_what_only_calls_the_library_is_captured_once(captures):
    """No C code but the library's, nothing drawn, nothing left behind: all that such a function goes by is guarded."""
    m, scale = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), types.SimpleNamespace(k=2.0, table={"a": [3.0]}, seen=0)

    def counts(x):
        scale.seen += 1
        return x * 2

    def once(x):
        return m(x) * scale.k + [scale.table["a"][0]][-1]
    compiled = ng.compile(once)
    again(compiled, ng.ones(1, 4))
    assert captures == ["first"] and "captured once, as it only calls the library" in compiled.explain()
    for k in (3.0, 4.0, 5.0):  # and what it goes by may change
        scale.k = scale.table["a"][0] = k
        assert compiled(ng.ones(1, 4)).tolist() == once(ng.ones(1, 4)).tolist()
    for f in (lambda x: x * math.fabs(2.0), lambda x: F.dropout(x, 0.5), counts, lambda x: x * np.float32(2.0).item()):
        del captures[:]
        again(ng.compile(f), ng.ones(1, 4))
        assert captures[:2] == ["first", "second"]


@pytest.fixture
def blind(monkeypatch):
    """A function that changes by itself, and is believed to depend on its arguments alone."""
    from numbagrad.compiler import pure
    probe = types.SimpleNamespace(value=itertools.count(2).__next__)
    monkeypatch.setitem(pure.FUNCTIONS, id(probe.value), probe.value)
    kind = pure.ITERATORS
    monkeypatch.setattr(pure, "ITERATORS", tuple([c for c in kind if c is not itertools.count]))
    return probe.value


def found_in_another_size(f):
    """Size 12 is proven; what changes by itself in size 6 is found all the same."""
    compiled = ng.compile(f)
    for _ in range(3):
        compiled(ng.ones(12))
    compiled(ng.ones(6))
    with pytest.raises(CaptureError, match="changes by itself"):
        compiled(ng.ones(6))


def test_what_changes_by_itself_in_one_size_only_is_found(blind):
    """The second size goes another way, so the proof of the first is not taken for it."""
    found_in_another_size(lambda x: x * float(blind()) if x.shape[0] == 6 else x * 3.0)


def test_a_value_that_only_one_size_uses_is_found(blind):
    """Both sizes make it; which one uses it, an index decides."""
    def f(x):
        made = [3.0, float(blind())]
        return x * made[x.shape[0] == 6]
    found_in_another_size(f)


def test_other_places_are_another_form(captures):
    """A size that reads another attribute is captured twice, and guarded by it."""
    m = types.SimpleNamespace(a=2.0, b=3.0)
    compiled = ng.compile(with_c(lambda x: x * (m.a if x.shape[0] > 8 else m.b)))
    again(compiled, ng.ones(12), ng.ones(4))
    assert captures == ["first", "second"] * 2
    m.b = 5.0
    assert compiled(ng.ones(12)).tolist() == [2.0] * 12 and compiled(ng.ones(4)).tolist() == [5.0] * 4


def test_variants_of_a_form_share_the_words_of_their_guards():
    _, (step, data) = mlp()
    f = ng.compile(step)
    for n in (8, 8, 8, 9, 10, 11, 12):
        f(*data(n))
    assert len({id(v.guards.table.words) for v in f.variants[-4:]}) == 1


def test_shared_guards_guard_every_size(captures):
    m = types.SimpleNamespace(k=2.0, w=ng.ones(3))
    f = ng.compile(lambda x: x * m.k + m.w)
    for n in (4, 4, 4, 5, 6):
        f(ng.ones(n, 3))
    m.k = 3.0
    for n in (5, 6, 4):
        assert f(ng.ones(n, 3)).tolist() == [[4.0] * 3] * n
    m.w = ng.zeros(3)
    for n in (4, 6, 5):
        assert f(ng.ones(n, 3)).tolist() == [[3.0] * 3] * n


def test_many_sizes_stay_and_share_memory():
    m = nn.Linear(64, 64)

    def step(x):
        m.zero_grad()
        m(x).relu().sum().backward()
    f = ng.compile(step)
    sizes = range(3, 63)
    for n in sizes:
        f(ng.ones(n, 64))
    made = len(f.variants)
    for n in sizes:
        f(ng.ones(n, 64))
    assert len(f.variants) == made == len(sizes)
    assert len({id(v.program.arena.base) for v in f.variants if v.program.atomic}) <= 9
    for n in (3, 37, 50):
        x = ng.randn(n, 64)
        f(x)
        mine = [p.grad.clone() for p in m.parameters()]
        step(x)
        for a, p in zip(mine, m.parameters()):
            np.testing.assert_allclose(a.numpy(), p.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_gradients_that_are_read_keep_their_memory():
    """Accumulation over sizes: the gradient of one size is read, and added to, in another."""
    w = ng.ones(3, requires_grad=True)
    f = ng.compile(lambda x: (x * w).sum().backward())
    total = np.zeros(3)
    for i, n in enumerate((4, 4, 5, 4, 6, 5, 4, 6)):
        x = ng.full((n, 3), float(i + 1))
        f(x)
        total += n * (i + 1)
        np.testing.assert_allclose(w.grad.numpy(), total)


def test_a_kept_gradient_reached_by_name_is_not_written_over():
    w, kept = ng.ones(3, requires_grad=True), types.SimpleNamespace(g=ng.zeros(3))

    def f(x):
        w.grad = None
        (x * w).sum().backward()
        return w.grad * 1 + kept.g
    step = ng.compile(f)
    step(ng.ones(4, 3))
    step(ng.ones(4, 3))
    kept.g = w.grad  # 4, in the memory that the step writes
    assert step(ng.ones(5, 3)).tolist() == [9.0] * 3
    kept.g = ng.zeros(3)
    assert [step(ng.ones(n, 3)).tolist() for n in (5, 4, 6)] == [[n] * 3 for n in (5.0, 4.0, 6.0)]
    assert step(ng.ones(4, 3)).tolist() == [4.0] * 3


@pytest.mark.parametrize("clear", ["model", "optimizer", "zeros"])
def test_clearing_gradients_needs_two_variants(clear):
    """The gradient that a step leaves in one size is no reason to capture another size again."""
    m = nn.Linear(4, 4)
    opt = ng.optim.SGD(m.parameters(), lr=0.0)

    def step(x):
        if clear == "model":
            m.zero_grad()
        else:
            opt.zero_grad(set_to_none=clear == "optimizer")
        m(x).sum().backward()
    f = ng.compile(step)
    for n in (3, 3, 3, 3, 3):
        f(ng.ones(n, 4))
        assert m.bias.grad.tolist() == [n] * 4
    made = len(f.variants)
    assert made <= 2
    for n in (5, 3, 5, 5, 3):
        f(ng.ones(n, 4))
        assert m.bias.grad.tolist() == [n] * 4
    assert len(f.variants) == made + 1


def test_a_gradient_given_back_as_an_argument():
    """Its memory is that which the step would write: another variant, with memory of its own."""
    w = ng.ones(3, requires_grad=True)

    def f(x, g):
        w.grad = None
        (x * w).sum().backward()
        return g * 2
    step = ng.compile(f)
    g, n = ng.zeros(3), 1
    for n in (2, 2, 3, 4, 2, 3):
        want = (g * 2).tolist()
        assert step(ng.ones(n, 3), g).tolist() == want
        g = w.grad
        assert g.tolist() == [n] * 3


def test_results_that_are_gradients_are_copies():
    w = ng.ones(3, requires_grad=True)

    def f(x):
        w.grad = None
        (x * w).sum().backward()
        return w.grad
    step = ng.compile(f)
    made = [step(ng.ones(n, 3)) for n in (2, 2, 3, 4, 2, 3)]
    assert [t.tolist() for t in made] == [[n] * 3 for n in (2, 2, 3, 4, 2, 3)]


def test_sizes_of_one_are_captured_twice(captures):
    f = ng.compile(with_c(lambda x: x + ng.ones(3, 1)))
    again(f, ng.ones(1, 4), ng.ones(3, 4))
    assert captures == ["first", "second"] * 2


# --- frames -----------------------------------------------------------------------------------------------------------

class Compared:
    """Python code that C code comes to: sorted() calls it."""

    def __init__(self, k, seen):
        self.k, self.seen = k, seen

    def __lt__(self, other):
        self.seen.append(self.k)
        return self.k < other.k


def test_code_that_c_code_enters_has_hooks():
    seen = []
    items = [Compared(3, seen), Compared(1, seen)]
    f = ng.compile(lambda x: x * float(sorted(items)[0].k))
    for _ in range(3):
        assert f(ng.ones(2)).tolist() == [1.0, 1.0]
    assert seen
    items[1].k = 2
    assert f(ng.ones(2)).tolist() == [2.0, 2.0]


def test_two_functions_with_one_code():
    """Each is followed: their defaults differ, and each is guarded."""
    made = [types.FunctionType(base.__code__, globals(), "base", (k,)) for k in (2.0, 3.0)]
    f = ng.compile(lambda x: made[0](x) + made[1](x) + made[1](x))
    for _ in range(3):
        assert f(ng.ones(2)).tolist() == [8.0, 8.0]
    made[1].__defaults__ = (5.0,)
    assert f(ng.ones(2)).tolist() == [12.0, 12.0]
    made[0].__defaults__ = (1.0,)
    assert f(ng.ones(2)).tolist() == [11.0, 11.0]


def base(x, k=1.0):
    return x * k


@pytest.mark.parametrize("where", ["trace", "profile"])
def test_tracers_and_profilers_stay(where):
    """A capture looks at frames, too, and leaves those who look as they were."""
    seen = []

    def look(frame, event, arg):
        seen.append(event)
        return None
    put, get = (sys.settrace, sys.gettrace) if where == "trace" else (sys.setprofile, sys.getprofile)
    before = get()
    f = ng.compile(lambda x: base(x) * 2)
    put(look)
    try:
        for _ in range(3):
            out = f(ng.ones(2))
        assert get() is look
    finally:
        put(before)
    assert out.tolist() == [2.0, 2.0] and seen


def test_a_refused_capture_leaves_no_profile():
    f = ng.compile(lambda x: x * time.time())
    for _ in range(2):
        with pytest.raises(CaptureError):
            f(ng.ones(2))
    assert sys.getprofile() is None and sys.gettrace() is None


def test_captures_in_threads():
    """Each thread looks at its own frames."""
    out, errors = {}, []

    def work(k):
        try:
            f = ng.compile(lambda x: base(x, float(k)) + 1)
            for n in (2, 3, 2, 3, 2):
                out[k, n] = f(ng.ones(n)).tolist()
        except BaseException as e:
            errors.append(e)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and out == {(k, n): [k + 1.0] * n for k in range(4) for n in (2, 3)}


def test_a_log_keeps_nothing_alive():
    log, x = kin.Log(), ng.ones(2)
    before = sys.getrefcount(x)
    log.result(x)
    log.given((x, [x, 2]))
    log.call(base, (x,), {"k": 2.0})
    assert sys.getrefcount(x) == before and ("tensor", 1) in log.entries
    del log
    gc.collect()
