"""The compiled program itself: how many kernels, where memory lies, many replays, threads, random graphs."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry.draw import cases, ops
from registry.steps import training_step, values

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn
from numbagrad.compiler import program as programs
from numbagrad.compiler.effects import effects
from numbagrad.compiler.ir import Host, Optim
from numbagrad.dispatch.sampling import flat
from numbagrad.kernel.jit import inline, kernel

from .test_compile_ops import BY_VALUE, derivatives


def compiled(f, *args):
    step = ng.compile(f)
    step(*args)
    return step, step.variants[-1].program


def trained(opt=lambda p: ng.optim.Adam(p, lr=0.01), sizes=(6, 8, 8, 3), **options):
    """(compiled step, model, batch) of a classifier, after the calls that make its state."""
    ng.manual_seed(0)
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    step = ng.compile(training_step(model, opt(model.parameters())), **options)
    x, y = ng.randn(16, sizes[0]), ng.randint(0, sizes[-1], (16,))
    for _ in range(2):
        step(x, y)
    return step, model, (x, y)


# --- kernels ----------------------------------------------------------------------------------------------------------

PATTERNS = {
    "elementwise chain": (lambda x: (x * 2 + 1).tanh().exp().relu() * x - x, 1),
    "common subexpressions": (lambda x: x.exp() + x.exp() * x.exp(), 1),
    "broadcasts": (lambda x: (x + x[0]) * x[:, :1] + 1, 1),
    "softmax": (lambda x: F.softmax(x, -1), 1),
    "log_softmax": (lambda x: F.log_softmax(x, -1), 1),
    "softmax by hand": (lambda x: (x - x.amax(-1, keepdim=True)).exp() / (x - x.amax(-1, keepdim=True)).exp().sum(
        -1, keepdim=True), 3),
    "layer norm": (lambda x: F.layer_norm(x, (64,)), 1),
    "sum of squares": (lambda x: (x * x).sum(), 1),
    "mean squared error": (lambda x: F.mse_loss(x, x * 2), 1),
    "gelu": (lambda x: F.gelu(x) * 2, 1),
    "dead work": (lambda x: (x.exp().sum(), x.sin().cumsum(0), x + 1)[2], 1),
    "bias and activation": (lambda x: F.linear(x, x[:8].detach(), x[0, :8]).relu() * 2, 2),
    "product over one term": (lambda x: (x[:, :1] @ x[:1]).tanh() + x, 1),
    "gradients that add up": (lambda x: ng.autograd.grad((x.sin() * x + x * x).sum(), x)[0], 1),
    "cross entropy": (lambda x: F.cross_entropy(x, ng.zeros(len(x), dtype=ng.int64)), 3),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_kernel_counts(name):
    f, most = PATTERNS[name]
    x = ng.randn(32, 64, requires_grad="gradients" in name)
    step, program = compiled(f, x)
    assert len(program.items) <= most, [i.call.name for i in program.items]
    np.testing.assert_allclose(values(step(x)), values(f(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [lambda p: ng.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: ng.optim.Adam(p)],
                         ids=["sgd", "adam"])
def test_kernels_of_a_training_step(kind):
    """Three layers: a product, its bias and its activation forward, two products and a bias backward; one optimizer call."""
    step, _, _ = trained(kind)
    calls = [i.call for i in step.variants[-1].program.items]
    assert len(calls) <= 19 and sum(isinstance(c, Optim) for c in calls) == 1
    assert sum(c.name == "gemm" for c in calls) <= 8


def test_equal_loops_are_compiled_once():
    step, program = compiled(lambda a, b: ((a + 1).tanh() @ (b + 1).tanh()), ng.randn(4, 5), ng.randn(5, 3))
    loops = [i.source for i in program.items if i.source is not None]
    assert len(loops) == 2 and len(set(loops)) == 1
    assert len({int(row[0]) for row, item in zip(program.rows, program.row_of) if item.source is not None}) == 1
    assert step.source.count("def fused") == 1


def test_cheap_values_are_computed_again():
    """1 - t t, needed beside two products, is made where it is used; only results of products and tanh are stored."""
    def f(x, w):
        t = (x @ w).tanh()
        g = 1 - t * t
        h = (g * 2) @ w
        return (h * g + x) @ w
    x, w = ng.randn(64, 64), ng.randn(64, 64)
    step, program = compiled(f, x, w)
    loops = [c.loop for c in program.calls if hasattr(c, "loop")]
    assert [len(loop.outs) for loop in loops] == [2, 1]  # t and 2 g; h g + x
    np.testing.assert_allclose(values(step(x, w)), values(f(x, w)), rtol=1e-4, atol=1e-4)


def test_an_updated_operand_has_one_address():
    """LLVM vectorises a loop that writes where it reads only if it sees that both are the same place."""
    def f(x, row):
        x += row
        return x.sum()
    x, row = ng.randn(6, 5), ng.randn(5)
    step, program = compiled(f, x, row)
    (text,) = [i.source for i in program.items if i.source is not None and "o0" in i.source]
    assert "o0_p = a" in text and "o0_o" not in text and "o0_r" not in text and "o0_s" not in text


def test_special_exponents():
    x = ng.rand(5, 7) + 0.5
    for exponent, name in ((2, "pow_2"), (2.0, "pow_2"), (3, "pow_3"), (0.5, "pow_half"), (1.7, "pow")):
        step, program = compiled(lambda t, e=exponent: t**e, x)
        assert [c.name for c in program.calls[0].calls] == ["loop_" + name]
        np.testing.assert_allclose(values(step(x)), values(x) ** exponent, rtol=1e-6)


def test_host_calls():
    """Only sorting, counting and what SciPy and NumPy do of linear algebra leave native code."""
    found = set()
    for op in ops():
        if (op.name, 0) in BY_VALUE:
            continue
        case = cases(op)[0]
        differentiable = op.differentiable and case.differentiable

        def call(*tensors, case=case, differentiable=differentiable):
            return derivatives(case, tensors) if differentiable else flat(case.call(tensors))
        step = ng.compile(call)
        step(*case.tensors(requires_grad=bool(differentiable)))
        found |= {c.name for c in step.variants[0].program.calls if isinstance(c, Host)}
    linear_algebra = {"cofactors_gradient", "matrix_exp", "reflections"}
    assert found <= linear_algebra | {"positions", "_positions", "_most_frequent", "counted", "among"}


@inline
def add_table(out, table, k):
    out[k] += table[k]


@kernel
def with_a_table(x: "*T", table: "*i8", out: "*T", n: int):
    for k in range(n):
        add_table(out, table, k)
        other = x
        out[k] += other[k]


def test_effects_of_kernels():
    """What a kernel reads and writes, also in the inline functions that it calls; a second name counts as both."""
    reads, writes = effects(with_a_table.fn)
    assert {"x", "table", "out"} <= reads and writes & {"x", "table", "out"} == {"x", "out"}


# --- memory -----------------------------------------------------------------------------------------------------------

def assert_apart(program):
    """No two arena slots that are alive at the same call overlap, and all lie inside the arena."""
    spans = [(*span, program.offsets[b], program.offsets[b] + b.nbytes) for b, span in program.spans.items()]
    for i, (first, last, start, end) in enumerate(spans):
        assert start % 64 == 0 and 0 <= start <= end <= program.arena_bytes
        for f, q, s, e in spans[i + 1:]:
            assert last < f or q < first or end <= s or e <= start


def test_live_memory_is_apart():
    step, _, _ = trained(sizes=(6, 16, 8, 12, 3))
    assert_apart(step.variants[-1].program)
    _, program = compiled(lambda x: F.layer_norm(x @ x.t(), (6,)).softmax(0).cumsum(1).sum(0) @ x, ng.randn(6, 6))
    assert_apart(program)


def test_arena_is_smaller_than_what_it_replaces():
    step, _, _ = trained(sizes=(6, *[32] * 8, 3))
    program, memory = step.variants[-1].program, step.memory
    assert memory.arena == program.arena_bytes < program.total_bytes
    assert memory.arena <= memory.eager_peak < memory.temporaries


def test_loops_take_the_place_of_what_they_read_last():
    def f(x):
        y = (x @ x).tanh()
        z = (y @ x).exp()
        return z @ y
    x = ng.randn(40, 40)
    step, program = compiled(f, x)
    homes = [(o.buffer is not o.buffer.home) for c in program.calls if hasattr(c, "loop") for o in c.loop.outs]
    assert homes.count(True) == 2
    assert program.total_bytes == 4 * 40 * 40 * 4 and program.arena_bytes < 2.5 * 40 * 40 * 4
    np.testing.assert_allclose(values(step(x)), values(f(x)), rtol=1e-4)


@pytest.fixture
def poisoned(monkeypatch):
    """Programs run call by call; what is not alive is NaN."""
    monkeypatch.setattr(programs, "POISON", True)


def test_freed_memory_is_not_read(poisoned):
    found = []
    for wrap in (False, True):
        step, model, batch = trained(sizes=(6, 16, 8, 12, 3), disable=not wrap)
        losses = [step(*batch).item() for _ in range(5)]
        found.append((losses, [values(p) for p in model.parameters()]))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    for a, b in zip(found[0][1], found[1][1]):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


def test_nothing_is_left_from_the_call_before(poisoned):
    def f(x):
        y = (x @ x.t()).softmax(-1)
        return y.cumsum(0) @ x, ng.sort(y, -1)[0].sum(), y.std(0)
    step = ng.compile(f)
    for _ in range(3):
        x = ng.randn(5, 4)
        for a, b in zip(step(x), f(x)):
            np.testing.assert_allclose(values(a), values(b), rtol=1e-5, atol=1e-6)


def process_bytes():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def test_ten_thousand_replays_do_not_leak():
    step, model, (x, y) = trained()
    outside = ng.compile(lambda x: model(x) * 2)
    for _ in range(500):
        step(x, y)
        outside(x).sum().backward()
    gc.collect()
    objects, resident = len(gc.get_objects()), process_bytes()
    for _ in range(10_000):
        step(x, y)
    for _ in range(1000):
        outside(x).sum().backward()
    gc.collect()
    assert len(gc.get_objects()) - objects < 50
    assert process_bytes() - resident < 1 << 20


def test_a_dropped_function_frees_its_memory():
    import weakref
    x = ng.randn(64, 64)
    step, program = compiled(lambda x: (x @ x).tanh() @ x, x)
    kept = weakref.ref(program.arena)
    del step, program
    gc.collect()
    assert kept() is None


# --- threads ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [8, 96])
def test_threads_call_one_step(size):
    """Results belong to the call that made them, also while other threads run the same program."""
    w = ng.randn(size, size)
    step = ng.compile(lambda x: ((x @ w).tanh() @ w).sum(1))
    inputs = [ng.randn(size, size) for _ in range(4)]
    step(inputs[0])
    wanted = [values(((x @ w).tanh() @ w).sum(1)) for x in inputs]
    wrong = []

    def work(k):
        for _ in range(200):
            found = values(step(inputs[k]))
            if not np.allclose(found, wanted[k], rtol=1e-4, atol=1e-4):
                wrong.append(k)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(step.variants) == 1


def test_threads_capture_at_the_same_time():
    step = ng.compile(lambda x: (x * 2).cumsum(0) + 1)
    start, failed = threading.Barrier(4), []

    def work(k):
        start.wait()
        try:
            for n in (3, 4, 5):
                x = ng.full((n,), float(k))
                if not ng.equal(step(x), (x * 2).cumsum(0) + 1):
                    failed.append(k)
        except Exception as e:  # handed to the main thread
            failed.append(e)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed and len(step.variants) == 3


def test_eager_code_runs_while_another_thread_captures():
    stop, failed = threading.Event(), []

    def eager():
        x = ng.ones(8, requires_grad=True)
        while not stop.is_set():
            g, = ng.autograd.grad((x * 3).exp().sum(), x)
            if abs(g[0].item() - 3 * np.exp(3.0)) > 1e-3:
                failed.append(g)
    thread = threading.Thread(target=eager)
    thread.start()
    try:
        for n in range(1, 12):
            ng.compile(lambda x: (x.sin() * 2).sum() + x.cumsum(0))(ng.randn(n))
    finally:
        stop.set()
        thread.join()
    assert not failed


# --- random graphs ----------------------------------------------------------------------------------------------------

UNARY = [lambda a: a.tanh(), lambda a: a.sigmoid() * 2, lambda a: a.relu() + 0.1, lambda a: a * a, lambda a: a.cumsum(0),
         lambda a: a.softmax(-1), lambda a: a.t(), lambda a: a - a.mean(), lambda a: a.flip(0), lambda a: a.sin(),
         lambda a: a.sum(0, keepdim=True).expand(a.shape), lambda a: F.layer_norm(a, a.shape[-1:]), lambda a: a.detach() * a,
         lambda a: a[:1] + a, lambda a: a.abs().sqrt(), lambda a: a.clone().mul_(0.5), lambda a: a.roll(1, 0),
         lambda a: a.contiguous().view(-1).reshape(a.shape), lambda a: a.amax(1, keepdim=True) - a,
         lambda a: ng.where(a > 0, a, -0.5 * a), lambda a: a.sort(1)[0]]
BINARY = [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - 2 * b, lambda a, b: a @ b, lambda a, b: ng.maximum(a, b),
          lambda a, b: a / (1 + b * b), lambda a, b: a + b[0], lambda a, b: a * b[:, :1], lambda a, b: ng.where(a > b, a, b),
          lambda a, b: ng.cat([a, b])[1:4], lambda a, b: ng.stack([a, b]).sum(0), lambda a, b: a.clone().add_(b)]
STEP = st.one_of(st.tuples(st.just(1), st.integers(0, len(UNARY) - 1), st.integers(0, 50), st.just(0)),
                 st.tuples(st.just(2), st.integers(0, len(BINARY) - 1), st.integers(0, 50), st.integers(0, 50)))


def graph(plan):
    """A function of three 3 x 3 matrices: each step takes earlier results; the sum of the last ones is differentiated."""
    def run(a, b, c):
        made = [a, b, c]
        for arity, which, i, j in plan:
            x, y = made[i % len(made)], made[j % len(made)]
            made.append(UNARY[which](x) if arity == 1 else BINARY[which](x, y))
        out = made[-1]
        loss = sum([(t * 0.3).tanh().sum() for t in made[3:]])
        return out, loss, *ng.autograd.grad(loss, [a, b, c], allow_unused=True)
    return run


def assert_runs_as_eager(plan, calls):
    """The graph of a plan, compiled, gives what it gives eagerly, call after call."""
    f = graph(plan)
    step = ng.compile(f)
    for k in range(calls):
        rng = np.random.default_rng(k)
        given_ = [rng.standard_normal((3, 3)) for _ in range(3)]
        wanted, found = (g(*[ng.tensor(a, requires_grad=True) for a in given_]) for g in (f, step))
        for a, b in zip(found, wanted):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(values(a), values(b), rtol=1e-9, atol=1e-9)
    assert_apart(step.variants[0].program)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(plan=st.lists(STEP, min_size=1, max_size=10))
def test_random_graphs(plan):
    assert_runs_as_eager(plan, 2)


# --- the verifier -----------------------------------------------------------------------------------------------------

def test_the_verifier_finds_what_passes_must_not_leave():
    import sys
    verify = sys.modules["numbagrad.compiler.verify"]
    assert verify.VERIFY  # tests run with it
    passes = sys.modules["numbagrad.compiler.passes"]
    taken = []
    optimize, passes.optimize = passes.optimize, lambda calls: optimize(taken.extend(calls) or calls)
    try:
        ng.compile(lambda x, w: ((x @ w).exp() * 2).sum(0))(ng.ones(4, 3), ng.ones(3, 2))
    finally:
        passes.optimize = optimize
    product = next(c for c in taken if c.name == "gemm")
    loop = next(c for c in taken if hasattr(c, "expressions"))
    verify.verified(taken, "nothing")
    with pytest.raises(verify.Invalid, match="which nothing has written"):
        verify.verified([c for c in taken if c is not product], "a test")
    for part, name, value, text in ((product, "sizes", (4, 2, 30), "ends at"), (loop, "inputs", ("other",), "is not given"),
                                    (loop, "shape", (4, 3), "in a loop of shape"), (loop.ins[0], "offset", 400, "bytes 400"),
                                    (loop, "expressions", (), "differ in number")):
        before = getattr(part, name)
        setattr(part, name, value)
        with pytest.raises(verify.Invalid, match=text):
            verify.verified(taken, "a test")
        setattr(part, name, before)
