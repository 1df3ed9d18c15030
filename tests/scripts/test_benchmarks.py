"""The benchmark list is complete, its parts run, and the comparison with other libraries compares the same work."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import paths
import pytest
from registry.known import WITHOUT

import numbagrad as ng
from numbagrad.core.registry import REGISTRY

ROOT = str(paths.ROOT / "asv_benchmarks")
FILES = sorted(f[:-3] for f in os.listdir(os.path.join(ROOT, "benchmarks")) if f.endswith(".py") and f != "__init__.py")
LIMITS = {"add_8x8": 0.75, "matmul_8x8": 0.75, "three_ops_8x8": 0.40, "chain_1000_sin": 0.60, "matmul_256": 0.55,
          "matmul_1024": 0.55, "mlp_32x64x64x10": 0.50, "mlp_128x784x256x10": 0.60, "logistic_200x2": 0.50,
          **{"million_" + n: 0.60 for n in "exp tanh sin sigmoid erf gelu softplus".split()},
          **{n: 1.0 for n in "softmax_1024x1024 softmax_32x10 layer_norm_1024x1024 cross_entropy_1024x1000 sum_axis0 "
                             "sum_axis1 mean_axis1 max_axis1 sum_all".split()}}


@pytest.fixture
def suite(monkeypatch):
    """The modules of the asv suite; the number of threads is put back."""
    monkeypatch.syspath_prepend(ROOT)
    threads = ng.get_num_threads()
    yield {n: importlib.import_module("benchmarks." + n) for n in FILES}
    ng.set_num_threads(threads)


@pytest.fixture
def peer(monkeypatch):
    """The comparison's modules."""
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("peer_cases")


def timed(cls):
    return [n for n in dir(cls) if re.match("(time|peakmem|track)_", n)]


def test_every_op_is_tracked(suite):
    names = {n for n, op in REGISTRY.items() if op.samples}
    assert set(suite["ops"].NAMES) == names and len(names) > 300
    assert set(suite["ops"].DIFFERENTIABLE) == {
        n for n in names if REGISTRY[n].differentiable and not REGISTRY[n].random}
    assert suite["ops"].Forward.params == suite["ops"].NAMES
    assert suite["ops"].ForwardBackward.params == suite["ops"].DIFFERENTIABLE


def test_only_known_exceptions_are_not_tracked(suite):
    public = {n for n, op in REGISTRY.items() if not op.private}
    assert public - set(suite["ops"].NAMES) - set(WITHOUT) == set()


def test_the_suite_measures_what_it_should(suite):
    found = {f"{module}.{cls.__name__}.{name}" for module in FILES for cls in vars(suite[module]).values()
             if inspect.isclass(cls) and cls.__module__ == "benchmarks." + module and not cls.__name__.startswith("_")
             for name in timed(cls)}
    assert found == {
        "ops.Forward.time_forward", "ops.ForwardBackward.time_forward_backward", "ops.Control.time_numpy_add",
        "sizes.Sizes.time_forward_backward", "sizes.Matmul.time_forward_backward", "sizes.Chain.time_chain_of_1000",
        "sizes.Chain.time_three_ops", "training.Training.time_step", "training.Training.peakmem_steps",
        "startup.Startup.time_import", "startup.Startup.time_first_gradient_warm",
        "startup.ColdStart.time_first_gradient_cold", "compiled.Compiled.time_step", "compiled.Compiled.track_arena",
        "compiled.Compiled.track_calls", "compiled.CompiledStart.time_first_step_warm",
        "compiled.CompiledStart.time_first_step_cold"}


@pytest.mark.parametrize("name", ["add", "sum", "mm", "split", "argmax", "cross_entropy", "dropout"])
def test_op_benchmarks_run(suite, name):
    for cls in (suite["ops"].Forward, suite["ops"].ForwardBackward):
        if name in cls.params:
            b = cls()
            b.setup(name)
            getattr(b, timed(cls)[0])(name)


@pytest.mark.parametrize("module, cls, params", [
    ("sizes", "Sizes", ("softmax", 8, 1)), ("sizes", "Matmul", (8, 2)), ("sizes", "Chain", ()), ("ops", "Control", ()),
    ("training", "Training", ("mlp_32x64x64x10", 1)), ("training", "Training", ("conv_64x1x28x28", 1)),
    ("compiled", "Compiled", ("mlp_32x64x64x10", 1))])
def test_other_benchmarks_run(suite, module, cls, params):
    b = getattr(suite[module], cls)()
    b.setup(*params)
    for name in timed(b):
        getattr(b, name)(*params)


def test_calls_at_fixed_sizes_compute(suite):
    sizes = suite["sizes"]
    for name, call in sizes.CALLS.items():
        x = sizes.rand(4, 4)
        call(x).sum().backward()
        assert x.grad.shape == (4, 4), name


def test_training_benchmarks_train(suite):
    b = suite["training"].Training()
    for name in suite["training"].STEPS:
        b.setup(name, 1)
        losses = []
        for _ in range(3):
            losses.append(b.loss(b.model(b.x), b.y).item())
            b.time_step(name, 1)
        assert losses[2] < losses[0]


def test_asv_accepts_the_suite(tmp_path):
    if not importlib.util.find_spec("asv"):
        pytest.skip("asv is an extra: pip install -e '.[bench]'")
    folder = tmp_path / "asv_benchmarks"  # asv writes beside its settings
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, "-m", "asv", "check", "-E", "existing:" + sys.executable], cwd=folder,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "No problems found" in done.stdout, done.stdout + done.stderr


# --- peers.py ----------------------------------------------------------------------------------------------------------------

def test_peers_has_every_case_and_limit(peer):
    assert {n: limit for n, (_, limit, _) in peer.CASES.items()} == LIMITS
    assert {n: limit for n, (_, _, limit) in peer.PROCESSES.items()} == {
        "import": 0.30, "first_gradient_warm": "1.2 s", "first_gradient_cold": "8 s"}


@pytest.mark.parametrize("name", sorted(set(LIMITS) - {"matmul_1024"}))
def test_peers_does_the_same_work_in_both_libraries(peer, name):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    torch.set_num_threads(1)
    make = peer.CASES[name][0]
    ours, theirs = make(ng), make(torch)
    for _ in range(3):  # a training step returns its loss, others what they compute, if anything
        a, b = ours(), theirs()
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape and (a.grad_fn is None) == (b.grad_fn is None)
            # Three float32 steps; products of length 784.
            assert abs(a.detach().numpy() - b.detach().numpy()).max() < 2e-5
    mine, other = tensors_of(ours, ng.Tensor), tensors_of(theirs, torch.Tensor)
    with_grad = [n for n, x in mine.items() if x.grad is not None]
    assert with_grad == [n for n, x in other.items() if x.grad is not None] and (with_grad or a is not None)
    for n in with_grad:
        x, y = mine[n].grad.numpy(), other[n].grad.numpy()
        assert abs(x - y).max() <= 1e-4 * max(1.0, float(abs(y).max())), n  # float32, up to 1000 sines in a row


def tensors_of(function, kind):
    """The tensors that a closure holds, by name."""
    return {n: c.cell_contents for n, c in zip(function.__code__.co_freevars, function.__closure__)
            if isinstance(c.cell_contents, kind)}


def peers(*args):
    return subprocess.run([sys.executable, os.path.join(ROOT, "peers.py"), *args], capture_output=True, text=True,
                          timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("without", [("jax", "pytorch"), ()])
def test_peers_prints_a_table(without):
    args = ["--without", *without] if without else []
    done = peers("--only", "add_8x8", "mlp_32", "--rounds", "1", "--markdown", *args)
    assert done.returncode == 0, done.stderr
    present = [n for n, p in {"numbagrad": "numbagrad", "pytorch": "torch", "jax": "jax"}.items()
               if n not in without and importlib.util.find_spec(p)]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows[0] == ["work", *present, "ratio", "limit", "ok"]
    assert [r[0] for r in rows[2:]] == ["add_8x8", "mlp_32x64x64x10"]
    for r in rows[2:]:
        cells = dict(zip(rows[0], r))
        assert re.fullmatch(r"[\d.e+]+ (ns|us|ms|s)", cells["numbagrad"])
        assert bool(cells["ratio"]) == bool(cells["ok"]) == ("pytorch" in present)
        assert float(cells["limit"]) == LIMITS[cells["work"]]
        if "jax" in present:
            assert bool(cells["jax"]) == (cells["work"] != "add_8x8")  # JAX has the training steps only
    assert re.search(r"mlp_32x64x64x10 +numbagrad \d+", done.stdout)  # peak memory
    for n in ("pytorch", "jax"):
        assert (f"left out: {n}" in done.stdout or f", {n}" in done.stdout.splitlines()[0]) == (
            n not in present and n not in without)


def test_peers_names_its_cases_when_none_is_meant():
    done = peers("--only", "nothing")
    assert done.returncode == 2 and "no case is named like nothing" in done.stderr and "million_exp" in done.stderr


def test_peers_judges_by_the_limit(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    module = importlib.import_module("peers")
    results = {"a": {"numbagrad": 1e-6, "pytorch": 2e-6}, "b": {"numbagrad": 3e-6, "pytorch": 2e-6},
               "c": {"numbagrad": 1.5}, "d": {"numbagrad": 0.5, "jax": 0.2}}
    lines = module.table(results, {"a": 0.5, "b": 1.4, "c": "1.2 s", "d": "1.2 s"}, ["numbagrad", "pytorch", "jax"], False)
    assert [line.split()[-1] for line in lines[1:]] == ["yes", "NO", "NO", "yes"]
    assert "0.50" in lines[1] and "1.50" in lines[2]


def test_a_worker_answers_in_turn(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    worker = importlib.import_module("peers").Worker("numbagrad", 1)
    try:
        assert worker.ask("prepare", "no such case") is None and worker.ask("time") is None
        number = worker.ask("prepare", "add_8x8")
        assert number > 100 and 0 < worker.ask("time") < 1e-3 and 20 < worker.ask("memory") < 2000
    finally:  # (pipes left open would be the next test's warning)
        worker.close()
    assert worker.process.returncode == 0


def test_peak_memory_is_the_processs_own(monkeypatch):
    """Not that of the process that started it, which Linux counts in ``ru_maxrss``."""
    monkeypatch.syspath_prepend(ROOT)
    held = np.ones(50_000_000)  # the parent holds 400 MB
    done = subprocess.run([sys.executable, "-c", "import process_memory; print(process_memory.peak())"], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert held.nbytes > 300 << 20 and 2 < float(done.stdout) < 100


ARENAS = """
import ctypes, sys
import own_frames

libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
own_frames.run(lambda: [bytearray(1 << 16) for _ in range(9)])
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None) if os.name == "posix" else None, "malloc_info"), reason="a matter of glibc")
def test_a_measurement_has_the_main_threads_memory(tmp_path):
    """Not pieces of its own, of which one is mapped and unmapped with each result that does not fit into the last."""
    subprocess.run([sys.executable, "-c", ARENAS, str(tmp_path / "arenas")], cwd=ROOT, check=True)
    assert (tmp_path / "arenas").read_text().count("<heap nr=") == 1


# --- peers.py --registry -----------------------------------------------------------------------------------------------------

def test_the_sweep_has_the_registry_and_everyday_calls(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    sweep = importlib.import_module("registry_sweep.sweep")
    found = list(sweep.collect(["small"]))
    names = [case[0] for _, case in found]
    public = [op.name for op in REGISTRY.values() if not op.private and op.samples]
    assert len(names) > 500 and len(set(public) - set(names)) < 20, sorted(set(public) - set(names))
    pieces = importlib.import_module("registry_sweep.worker")
    for name in ("add_row", "softmax", "conv2d", "setitem_row", "where"):
        _, case = next(f for f in found if f[1][0] == name)
        forward, both = pieces.build(ng, case)
        forward()
        assert (both is None) == (name == "setitem_row")
        both is None or both()
        assert sweep.label(case)


def test_the_sweep_has_other_forms(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    sweep, pieces = [importlib.import_module(f"registry_sweep.{n}") for n in ("sweep", "worker")]
    found = {case[0]: case for _, case in sweep.collect(["small"], forms=True)}
    assert len(found) > 300 and all(name.endswith(sweep.cases.FORMS) for name in found)
    for name in ("relu_", "add_", "exp out=", "matmul out=", "sort out="):
        forward, both = pieces.build(ng, found[name])
        first = forward()
        assert both is None
        if name == "relu_":  # each time on the same numbers, in the same memory
            kept = first.tolist()
            again = forward()
            assert again.data_ptr() == first.data_ptr() and again.tolist() == kept
        if name == "exp out=":
            assert forward().data_ptr() == first.data_ptr()


@pytest.mark.parametrize("size", ("small", "large"))
def test_the_sweep_calls_what_has_odd_names_or_arguments(monkeypatch, size):
    monkeypatch.syspath_prepend(ROOT)
    sweep, pieces = [importlib.import_module(f"registry_sweep.{n}") for n in ("sweep", "worker")]
    names = ("expit", "multigammaln", "broadcast_tensors", "block_diag", "cartesian_prod", "add_", "setitem_row", "unflatten",
             "view_as_complex", "as_strided_scatter", "slice_scatter", "scatter", "multilabel_margin_loss")
    found = {case[0]: case for _, case in sweep.collect([size], names)}
    for name in names:
        forward, _ = pieces.build(ng, found[name])
        forward()


def test_the_sweep_prints_means_and_rows_above_their_limit():
    pytest.importorskip("torch", reason="the sweep compares with it")
    done = peers("--registry", "--sizes", "small", "--only", "add_row", "softshrink", "--rounds", "1", "--all")
    assert done.returncode == 0, done.stderr
    assert re.search(r"small, forward: 2 rows, geometric mean [\d.]+ \(at most 0.60\)", done.stdout)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| a + row |")]
    assert len(rows) == 2 and re.fullmatch(r"\| a \+ row \| [\d.]+ .?s \| [\d.]+ .?s \| [\d.]+ \|", rows[0])
    assert peers("--registry", "--only", "nothing").returncode == 2


def test_the_bare_work_of_a_row_is_that_work(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    limits = importlib.import_module("registry_sweep.limits")
    rng = np.random.default_rng(0)
    a, c, square, b = [rng.standard_normal(s).astype("float32") for s in ((6, 4), (6, 3), (5, 5), (5, 1))]
    found, tau = [t.numpy() for t in ng.geqrf(ng.tensor(a))]
    q = ng.linalg.householder_product(ng.tensor(found), ng.tensor(tau)).numpy()
    whole = ng.ormqr(ng.tensor(found), ng.tensor(tau), ng.tensor(c)).numpy()
    expected = {"geqrf": ((a,), 1, found), "orgqr": ((found, tau), 1, q), "ormqr": ((found, tau, c), 3, whole),
                "tensorsolve": ((square, b), 3, np.linalg.solve(square, b)[:, 0]),
                "cdist": ((a, found), 2, (a @ found.T))}
    for name, (arrays, place, result) in expected.items():
        call = limits.ROUTINES[name](*arrays)
        for _ in range(2):  # (what it is given stays as it is)
            call()
        np.testing.assert_allclose(call.__defaults__[0][place].T, result, rtol=1e-4, atol=1e-5, err_msg=name)


def test_arithmetic_alone_is_what_more_numbers_take(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    limits, pieces, sweep = [importlib.import_module(f"registry_sweep.{n}") for n in ("limits", "worker", "sweep")]
    found = {case[0]: case for _, case in sweep.collect(["large"], ("exp2", "add", "ctc_loss"))}

    def numel(run):  # a measure under which a call takes as long as it has numbers, and a little
        return run().numel() + 100.0
    for name in ("exp2", "add"):
        assert limits.seconds(ng, found[name], 0, pieces.parts, numel, 1) == found[name][2][0].size
    taken = iter([3.0, 67.0])  # 32 steps more take 64 seconds
    x = found["ctc_loss"][2][0]
    assert limits.seconds(ng, found["ctc_loss"], 0, pieces.parts, lambda run: run() is not None and next(taken), 2) == \
        x.shape[0] * x.shape[1]
    assert limits.seconds(ng, found["add"][:1] + ("a + a", {}, []), 0, pieces.parts, numel, 1) is None


def test_products_at_the_greatest_rate_are_their_multiply_adds(monkeypatch):
    """As many as PyTorch counts of the sweep's own samples, at a rate that one chain of them does not reach."""
    torch = pytest.importorskip("torch", reason="it counts")
    from torch.utils.flop_counter import FlopCounterMode
    monkeypatch.syspath_prepend(ROOT)
    limits, pieces, sweep = [importlib.import_module(f"registry_sweep.{n}") for n in ("limits", "worker", "sweep")]
    cases = [case for _, case in sweep.collect(["large"], tuple(limits.PRODUCTS))]
    found = {case[0]: case for case in cases if len(case) > 4 and case[0] in limits.PRODUCTS}
    assert found.keys() == limits.PRODUCTS.keys()
    for name, case in found.items():
        run = pieces.parts(torch, case)[0]
        with FlopCounterMode(display=False) as counter:
            run()
        if name not in ("addbmm", "scaled_dot_product_attention"):  # which it does not know
            assert limits.PRODUCTS[name](*[a.shape for a in case[2]]) * 2 == counter.get_total_flops(), name
    clock = iter([1.0, 3.0])
    rate = limits.CHAINS * limits.lanes_of("f4") * 10000 / 2  # of which 10,000 more take two seconds
    a, b = found["mm"][2]
    assert limits.seconds(ng, found["mm"], 1, pieces.parts, lambda run: run() or next(clock), 2) == pytest.approx(
        3 * a.size * b.shape[1] / rate / 2)
def test_the_sweep_prints_peaks_of_memory():
    """A call and its gradient hold what they return and what arrives, here 4 and 8 MiB, whatever the process had before."""
    pytest.importorskip("torch", reason="the sweep compares with it")
    done = peers("--registry", "--memory", "--sizes", "large", "--only", "add_row", "--all")
    assert done.returncode == 0, done.stderr
    assert "large, forward: 1 rows, geometric mean of those with at least 1 MiB 1.0" in done.stdout
    rows = re.findall(r"\| a \+ row \| ([\d.]+) MiB \| ([\d.]+) MiB \|", done.stdout)
    assert [[round(float(m)) for m in r] for r in rows] == [[4, 4], [8, 8]]


def test_the_sweep_names_peaks_above_the_limit(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    peaks = importlib.import_module("registry_sweep.peaks")
    lines = peaks.lines([("large", 0, "a", 9.0, 4.0), ("large", 0, "b", 7.0, 4.0), ("large", 0, "c", 100.0, 95.0),
                         ("large", 0, "d", 19.0, 4.0), ("large", 1, "a", 1.0, 2.0)])
    assert [line.split()[1] for line in lines if line.endswith("MiB |")] == ["d", "a"]
    assert "large, forward: 4 rows, geometric mean of those with at least 1 MiB 2.11, 2 rows above PyTorch's" in lines
    both = "large, forward + backward: 1 rows, geometric mean of those with at least 1 MiB 0.50, 0 rows above PyTorch's"
    assert both in lines


HELD = """
import process_memory

blocks = [bytearray(1 << 16) for _ in range(4096)]  # on the heap, 256 MB
last = bytearray(1 << 16)
del blocks[:]
kept = process_memory.status("VmRSS")
process_memory.release()
print(kept, process_memory.status("VmRSS"), process_memory.above(lambda: bytearray(b"a" * (50 << 20))))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None) if os.name == "posix" else None, "malloc_trim"), reason="a matter of glibc")
def test_a_worker_gives_back_what_lies_before_memory_that_stays():
    done = subprocess.run([sys.executable, "-c", HELD], cwd=ROOT, check=True, capture_output=True, text=True)
    kept, released, above = map(float, done.stdout.split())
    assert kept > 250 and released < 100 and 99 < above < 102


def test_cases_of_the_sweep_are_made_one_by_one(monkeypatch):
    """All of them have 2.4 GB, which both workers and what asks them held."""
    monkeypatch.syspath_prepend(ROOT)
    sweep = importlib.import_module("registry_sweep.sweep")
    made = []
    monkeypatch.setattr(sweep.cases, "portable", lambda op, size: made.append(op.name) or [(op.name,)])
    found = sweep.collect(["large"], ("softmax",))
    assert next(found) and not made
