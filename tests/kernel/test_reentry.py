"""Calls in the middle of calls: flags of several threads, signal handlers, destructors, deep stacks, first use, forks."""

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad.kernel import guard

ENV = {**os.environ, "PYTHONPATH": str(Path(guard.__file__).resolve().parents[2])}
POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")


def run(script, *args, timeout=100, **env):
    return subprocess.run([sys.executable, "-c", script, *args], env={**ENV, **env}, capture_output=True, text=True,
                          timeout=timeout)


# --- flags ---

W, X, GOOD, WRONG = ng.ones(10, 4), ng.zeros(3, 10), ng.tensor([0, 9, 3]), ng.tensor([0, 9, 11])
HALF, TWO = ng.full((3,), 0.5), ng.full((3,), 2.0)
MASK = ng.tensor([True, True, False])
CHECKED = {
    "embedding": lambda ok: F.embedding(GOOD if ok else WRONG, W),
    "one_hot": lambda ok: F.one_hot(GOOD if ok else WRONG, 10),
    "embedding_bag": lambda ok: F.embedding_bag(GOOD if ok else WRONG, W, GOOD[:1], mode="sum"),
    "index": lambda ok: W[GOOD if ok else WRONG],
    "index_select": lambda ok: W.index_select(0, GOOD if ok else WRONG),
    "gather": lambda ok: X.gather(1, (GOOD if ok else WRONG)[:, None]),
    "scatter": lambda ok: X.scatter(1, (GOOD if ok else WRONG)[:, None], 1.0),
    "nll_loss": lambda ok: F.nll_loss(X, GOOD if ok else WRONG),
    "cross_entropy": lambda ok: F.cross_entropy(X, GOOD if ok else WRONG),
    "binary_cross_entropy": lambda ok: F.binary_cross_entropy(HALF if ok else TWO, HALF),
    "masked_scatter": lambda ok: HALF.masked_scatter(MASK, TWO if ok else TWO[:1]),
    "repeat_interleave": lambda ok: HALF.repeat_interleave(GOOD, output_size=12 if ok else 5),
}


def refused(call, ok):
    try:
        call(ok)
    except (IndexError, RuntimeError):
        return True
    return False


@pytest.fixture
def often():
    """Threads switch after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("name", CHECKED)
def test_errors_stay_in_their_thread(name, often):
    call = CHECKED[name]
    assert not refused(call, True) and refused(call, False)
    wrong = []

    def work(ok):
        for _ in range(60):
            if refused(call, ok) is ok:
                wrong.append(ok)

    workers = [threading.Thread(target=work, args=(k % 2 == 0,)) for k in range(8)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    assert wrong == []


def test_a_flag_of_a_call_that_is_interrupted():
    """Kernel, another call of the same op, check: as a signal handler or a destructor would do it."""
    from numbagrad.ops.index import embedding
    words = embedding._row.take()
    words.view[0] = 3
    assert not refused(CHECKED["embedding"], True) and refused(CHECKED["embedding"], False)
    with pytest.raises(IndexError):
        words.check()
    assert not refused(CHECKED["embedding"], True)
    assert len({w.address for w in embedding._row.free}) == len(embedding._row.free)


def test_programs_have_flags_of_their_own():
    steps = [ng.compile(lambda x, i: F.embedding(i, x) + F.nll_loss(x, i[:1].expand(10) % 4)) for _ in range(2)]
    for step in steps:
        assert step(W, GOOD).tolist() == step(W, GOOD).tolist()
    with pytest.raises(IndexError):
        steps[0](W, WRONG)
    assert steps[1](W, GOOD).tolist() == steps[0](W, GOOD).tolist()


# --- what interrupts a compilation ---

@POSIX
def test_signals_wait_until_the_kernel_is_there():
    seen = []

    @guard.guarded
    def inner():
        os.kill(os.getpid(), signal.SIGUSR1)
        signal.raise_signal(signal.SIGINT)
        assert not gc.isenabled()
        return seen.append("inner")

    @guard.guarded
    def outer():
        inner()
        seen.append("outer")
        signal.raise_signal(signal.SIGINT)

    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append((number, (ng.ones(3) * 2).tolist())))
    handler = signal.getsignal(signal.SIGUSR1)
    try:
        with pytest.raises(KeyboardInterrupt):
            outer()
        assert signal.getsignal(signal.SIGUSR1) is handler and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGINT, interrupt)
    assert seen == ["inner", "outer", (signal.SIGUSR1, [2.0, 2.0, 2.0])] and gc.isenabled()
    assert not guard.LOCK._is_owned()


def test_an_exception_leaves_everything_as_it_was():
    @guard.guarded
    def fails():
        raise MemoryError

    before = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(MemoryError):
            fails()
    assert gc.isenabled() and not guard.LOCK._is_owned()
    assert signal.getsignal(signal.SIGINT) is before


DEEP = """
import sys
import numbagrad as ng

def deep(n, f):
    return deep(n - 1, f) if n else f()

def depth():
    frame, n = sys._getframe(1), 0
    while frame:
        frame, n = frame.f_back, n + 1
    return n

x = ng.ones(4, 5)
calls = [lambda: x.exp(), lambda: x.softmax(1), lambda: x.cumsum(0), lambda: x.sum(1), lambda: x @ x.t(), lambda: x[x > 0],
         lambda: ng.nn.functional.cross_entropy(x, ng.tensor([1, 2, 3, 4])), lambda: ng.randn(3), lambda: x.sort()]
for k, call in enumerate(calls):
    for left in range((5, 40)[k % 2], 400, 90):
        try:
            deep(sys.getrecursionlimit() - depth() - left, call)
        except RecursionError:
            pass
    call()
print("fine")
"""


def test_a_full_stack_spoils_no_kernel():
    out = run(DEEP)
    assert out.stdout == "fine\n", out.stderr[-2000:]


FAILING = """
import sys
import numbagrad as ng
from numba.core import codegen, lowering, typeinfer

class Stop(Exception):
    pass

def breaks(cls, name, nth):
    usual, count = getattr(cls, name), [0]
    def broken(*args, **kwargs):
        count[0] += 1
        if count[0] == nth:
            raise kind
        return usual(*args, **kwargs)
    setattr(cls, name, broken)
    return lambda: setattr(cls, name, usual)

x = ng.ones(4, 5) * 2
calls = iter([lambda: x.sum(1), lambda: x.sin(), lambda: x.sqrt(), lambda: x.neg(), lambda: x.abs(), lambda: x.square()])
failed = 0
for kind in (RecursionError, MemoryError):
    for cls, name in ((typeinfer.TypeInferer, "propagate"), (lowering.Lower, "lower"), (codegen.CodeLibrary, "finalize")):
        call = next(calls)
        for nth in (1, 2):
            restore = breaks(cls, name, nth)
            try:
                call()
            except BaseException as error:
                failed += 1
                assert kind.__name__ in repr(error) + str(error), repr(error)
            restore()
        call()
print("fine", failed > 6)
"""


def test_a_failing_compilation_is_done_again(tmp_path):
    out = run(FAILING, NUMBAGRAD_CACHE_DIR=str(tmp_path))
    assert out.stdout == "fine True\n", out.stderr[-2000:]


# --- first use, forks ---

FIRST = """
import sys, threading
sys.setswitchinterval(1e-5)
import numbagrad as ng
start, wrong = threading.Barrier(16), []

def work(k):
    start.wait()
    try:
        x = ng.arange(6.0) + k % 4
        w = ng.ones(6, requires_grad=True)
        ((x * w).sum() if k % 2 or len(sys.argv) > 1 else x @ w).backward()
        assert w.grad.tolist() == x.tolist()
        assert ng.randn(3).shape == (3,)
    except BaseException as error:
        wrong.append(repr(error))

workers = [threading.Thread(target=work, args=(k,)) for k in range(16)]
for t in workers:
    t.start()
for t in workers:
    t.join()
print(wrong or "fine")
"""


@pytest.mark.parametrize("cache", ["filled", "empty"])
def test_first_use_by_many_threads(cache, tmp_path):
    # Nothing is in the cache: fewer kernels, each of which all threads want at once.
    out = run(FIRST, "few", NUMBAGRAD_CACHE_DIR=str(tmp_path)) if cache == "empty" else run(FIRST)
    assert out.stdout == "fine\n", (out.stdout, out.stderr[-2000:])


FORKS = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numbagrad as ng
stop = []

def work():
    a = ng.ones(300, 300, requires_grad=True)
    while not stop:
        (a @ a).exp().sum().backward()

workers = [threading.Thread(target=work, daemon=True) for _ in range(3)]
(ng.ones(300, 300) @ ng.ones(300, 300)).exp().sum()
for t in workers:
    t.start()
time.sleep(0.1)
hung = 0
for k in range(4):
    pid = os.fork()
    if pid == 0:
        a = ng.ones(300, 300)
        (a @ a).sum()
        m = ng.nn.Linear(20, 5)
        m(ng.randn(8, 20)).square().sum().backward()
        os._exit(0)
    end = time.time() + 30
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.time() > end:
            hung += 1
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            break
        time.sleep(0.01)
print("hung", hung, flush=True)
os._exit(0)
"""


@POSIX
def test_children_forked_beside_busy_threads_do_not_hang():
    assert run(FORKS, OMP_NUM_THREADS="2").stdout.splitlines()[-1] == "hung 0"


COMPILING = """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from numbagrad.kernel import jit
import logging
done = []

def work():
    for k in range(12):
        logging.getLogger().setLevel(logging.WARNING)  # (forgets which loggers are enabled: each takes the lock to find out)
        jit.compile_source(f"def f(x):\\n    ptr_i8(x)[0] = {k}\\n", "f", "i")
    done.append(1)

jit.nb()
t = threading.Thread(target=work, daemon=True)
t.start()
forks = 0
while not done:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    forks += 1
print("forks", forks > 0, flush=True)
"""


@POSIX
def test_a_fork_waits_for_the_compiler_before_it_takes_loggings_lock(tmp_path):
    """Numba's compiler logs. A fork that held the logging module's lock while it waited for the compiler waited forever."""
    assert run(COMPILING, NUMBAGRAD_CACHE_DIR=str(tmp_path)).stdout.split() == ["forks", "True"]


@POSIX
@pytest.mark.skipif(sys.version_info < (3, 11), reason="older Pythons keep frames on the heap")
def test_the_compiler_does_not_stand_at_the_end_of_a_piece_of_pythons_stack():
    """Whatever the caller's depth, small calls inside map no memory: each would cost two page faults or more."""
    import resource

    def busy(n=2000):
        for _ in range(n):
            small()

    def small(a=1, b=2, c=3, d=4, e=5, f=6):
        return a

    def at(depth, work):
        return at(depth - 1, work) if depth else work()

    def faults(work, depth):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        at(depth, work)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    guarded = guard.guarded(busy)
    guarded()  # (the first one may import Numba)
    assert max(faults(busy, d) for d in range(200)) > 1000  # so it is without
    assert max(faults(guarded, d) for d in range(200)) < 500
