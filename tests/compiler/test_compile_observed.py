"""What a compiled step relies on is what its capture read: names, and what is refused, undone or left alone."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
import types

import pytest
from compile_helpers import both, changes, noted, one

import numbagrad as ng
from numbagrad import nn
from numbagrad.compiler import CaptureError

PROGRAMS = {}
program = noted(PROGRAMS)
GLOBAL, TABLE = 1.0, {"k": 1.0, "list": [1.0]}


@program
def globals_and_cells(C):
    global GLOBAL
    k = 1.0

    def set_global(v):
        global GLOBAL
        GLOBAL = v

    def set_cell(v):
        nonlocal k
        k = v
    inner = functools.partial(lambda x: x * k * GLOBAL)
    out = changes(C, lambda x: inner(x), lambda: set_global(2.0), lambda: set_cell(3.0))
    set_global(1.0)
    return out


@program
def builtins_hidden_by_globals(C):
    f = lambda x: x * len(TABLE["list"])  # noqa: E731
    out = changes(C, f, lambda: f.__globals__.__setitem__("len", lambda x: 9), lambda: f.__globals__.__delitem__("len"))
    return out


@program
def modules_of_python(C):
    pkg, sub = types.ModuleType("pkg_of_test"), types.ModuleType("pkg_of_test.sub")
    pkg.sub, sub.K = sub, 1.0
    return changes(C, lambda x: x * pkg.sub.K, lambda: setattr(sub, "K", 4.0),
                   lambda: setattr(pkg, "sub", types.SimpleNamespace(K=6.0)))


@program
def library_functions_replaced(C):
    import numbagrad.nn.functional as F
    relu = F.relu
    try:
        return changes(C, lambda x: F.relu(x), lambda: setattr(F, "relu", lambda x: x * 5), lambda: setattr(F, "relu", relu))
    finally:
        F.relu = relu


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    found, wanted = both(PROGRAMS[name])
    assert found == wanted


def test_what_is_not_read_may_change():
    """Counters, histories and vocabularies of other methods cost nothing and cause nothing."""
    class Trainer:
        def __init__(self):
            self.w, self.epoch, self.history, self.vocab = ng.ones(1), 0, [], {str(i): i for i in range(1000)}

        def step(self, x):
            return x * self.w

        def fit(self):
            self.epoch += 1
            self.history.append(self.run(one()).item())
            self.vocab[f"new {self.epoch}"] = 1
    t = Trainer()
    t.run = ng.compile(t.step)
    for _ in range(5):
        t.fit()
    assert len(t.run.variants) == 1 and t.run.variants[0].guards.table.header[1] < 60


REFUSED = {
    "locals": lambda x: x * len(locals()),
    "open": lambda x: (open(__file__), x)[1],
    "input": lambda x: (input(), x)[1],
    "eval": lambda x: x * eval("2"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_calls_that_are_not_followed_raise_before_they_run(what):
    with pytest.raises(CaptureError, match=rf"{what}\(\).* at .*test_compile_observed\.py:\d+"):
        ng.compile(REFUSED[what])(one())


@pytest.mark.filterwarnings("ignore::numbagrad.compiler.function.CompileWarning")
def test_no_handler_takes_a_refusal_for_an_error():
    """The branch of the handler is not what eager code runs."""
    def step(x):
        try:
            return x * x.sum().numpy()
        except BaseException:
            return x * 100

    def suppressed(x):
        with contextlib.suppress(Exception):
            return x * x.sum().numpy()
        return x * 100
    for f in (step, suppressed):
        with pytest.raises(CaptureError, match="numpy"):
            ng.compile(f)(one())
        assert ng.compile(f, fallback=True)(ng.full((1,), 2.0)).item() == 4.0


@pytest.mark.filterwarnings("ignore::numbagrad.compiler.function.CompileWarning")
def test_after_a_refusal_all_is_as_before():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("run", ng.zeros(1))
            self.n, self.log = 0, []

        def forward(self, x):
            self.run = self.run + x
            self.n += 1
            self.log.append(x)
            self.extra = x
            return x * x.sum().numpy()
    m = M()
    before = m.run
    with pytest.raises(CaptureError):
        ng.compile(m)(one())
    assert m.run is before and m.n == 0 and m.log == [] and not hasattr(m, "extra")
    assert ng.compile(m, fallback=True)(ng.full((1,), 3.0)).item() == 9.0
    assert m.run.item() == 3.0 and m.n == 1 and m.extra.item() == 3.0 and m.log[0].item() == 3.0


def test_after_a_refusal_iterators_of_lists_give_the_same_items():
    it, other = iter([1.0, 2.0, 3.0]), iter((4.0, 5.0))

    def step(x):
        return x * next(it) * next(other) * x.sum().numpy()
    with pytest.raises(CaptureError, match=r"\.py:\d+"):
        ng.compile(step)(one())
    assert list(it) == [1.0, 2.0, 3.0] and list(other) == [4.0, 5.0]


def test_functions_have_their_own_code_afterwards():
    def inner(x):
        return x * 2

    def step(x):
        return inner(x)
    codes = inner.__code__, step.__code__, nn.Module.__call__.__code__
    m = nn.Identity()
    ng.compile(lambda x: m(step(x)))(one())
    with pytest.raises(CaptureError):
        ng.compile(lambda x: step(x).numpy())(one())
    assert (inner.__code__, step.__code__, nn.Module.__call__.__code__) == codes


def test_threads_that_capture_and_replay_with_one_model():
    """Each thread's capture has hooks in functions that the others' steps rely on, too."""
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    failed = []

    def work(step, k):
        try:
            for i in range(4):
                x = ng.ones(1 + i, 3)
                assert ng.allclose(step(x), model(x) * k)
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=work, args=(ng.compile(lambda x, k=k: model(x) * k), k)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_functions_that_are_marked_as_pure_are_not_followed():
    calls = []

    @ng.compiler.assume_constant_result
    def table(n, k=1):
        calls.append(n)
        return [math.sin(i * time.time() * 0 + k) for i in range(n)]

    def step(x, n):
        return x * sum(table(n)) + ng.compiler.is_compiling()
    f = ng.compile(step)
    wanted = sum([math.sin(1)] * 3)
    assert [round(f(one(), 3).item() - wanted, 5) for _ in range(4)] == [1.0] * 4
    assert set(calls) == {3} and len(calls) == 2  # of the capture, and of its comparison
    assert not ng.compiler.is_compiling() and f(one(), 2).item() == pytest.approx(2 * math.sin(1) + 1)
    assert ng.compiler.allow_in_graph([table]) == [table]
    with pytest.raises(CaptureError, match="assume_constant_result"):
        ng.compile(lambda x: x * time.perf_counter_ns())(one())
    with pytest.raises(TypeError, match="expects a function"):
        ng.compiler.assume_constant_result(3)
