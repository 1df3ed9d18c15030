"""``peers.py --compiled``: every library does the same work, compiled equals eager, and the table tells what failed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import paths
import pytest

import numbagrad as ng

ROOT = str(paths.ROOT / "asv_benchmarks")
LIMITS = {"mlp_32x64x64x10": 0.45, "logistic_200x2": 0.40, "mlp_128x784x256x10": 0.85, "mlp_256x1024x1024x1024x10": 0.90,
          "pinn_256x1x32x32x1": 0.50, "gpt": 0.45, "conv_64x1x28x28": 0.55, "lstm_64x128_32x32": 0.50}


def part(monkeypatch, name):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("compiled_steps." + name)


@pytest.fixture(autouse=True)
def one_thread():
    threads = ng.get_num_threads()
    ng.set_num_threads(1)
    yield
    ng.set_num_threads(threads)


def trajectory(function, batch, n=20):
    return [function(*batch).item() for _ in range(n)]


def test_the_table_has_every_step_and_limit(monkeypatch):
    specs, models = part(monkeypatch, "specs"), part(monkeypatch, "models")
    assert {n: s.limit for n, s in specs.SPECS.items()} == LIMITS and set(models.STEPS) == set(LIMITS)


def test_flops_count_the_products(monkeypatch):
    """Against the sizes of the products that a compiled step runs."""
    models, specs = part(monkeypatch, "models"), part(monkeypatch, "specs")
    for name in ("mlp_32x64x64x10", "mlp_128x784x256x10"):
        built, batch = models.build(ng, name)
        step = ng.compile(built.function())
        step(*batch)
        step(*batch)
        gemms = [c for c in step.variants[-1].program.calls if hasattr(c, "sizes")]
        assert sum([2 * int(np.prod(c.sizes)) * c.batch for c in gemms]) == specs.SPECS[name].flops


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_compiled_equals_eager(monkeypatch, name):
    models = part(monkeypatch, "models")
    (a, x), (b, y) = models.build(ng, name), models.build(ng, name)
    step = ng.compile(b.function())
    eager, compiled = trajectory(a.function(), x), trajectory(step, y)
    assert len(step.variants) == 1 and eager[-1] < eager[0]
    # Sums in another order, in float32; Adam divides by roots of small numbers, which amplifies them.
    np.testing.assert_allclose(compiled, eager, rtol=2e-5)
    for p, q in zip(a.optimizer.param_groups[0]["params"], b.optimizer.param_groups[0]["params"]):
        assert p.grad.shape == q.grad.shape


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_numbagrad_does_pytorchs_work(monkeypatch, name):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    torch.set_num_threads(1)
    models = part(monkeypatch, "models")
    (a, x), (b, y) = models.build(ng, name), models.build(torch, name)
    theirs = trajectory(b.function(), y)
    # 20 steps in float32, sums in another order.
    np.testing.assert_allclose(trajectory(a.function(), x), theirs, rtol=2e-4)
    if b.traced is not b.loss:
        c, z = models.build(torch, name)
        np.testing.assert_allclose(trajectory(c.function(c.traced), z), theirs, rtol=2e-4)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_jax_does_the_same_work(monkeypatch, name):
    pytest.importorskip("jax", reason="one of the peers")
    steps, models = part(monkeypatch, "jax_steps"), part(monkeypatch, "models")
    built, batch = models.build(ng, name)
    step = steps.build(name)
    # 20 steps in float32, sums in another order.
    np.testing.assert_allclose([step().item() for _ in range(20)], trajectory(built.function(), batch), rtol=2e-4)


def run(script, *args):
    return subprocess.run([sys.executable, os.path.join(ROOT, script), *args], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_peers_prints_the_compiled_table():
    done = run("peers.py", "--compiled", "--only", "logistic", "--rounds", "1", "--without", "pytorch")
    assert done.returncode == 0, done.stderr
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in done.stdout.splitlines() if line.startswith("|")]
    cells, start = dict(zip(rows[0], rows[2])), dict(zip(rows[3], rows[5]))
    assert cells["step"] == start["step"] == "logistic_200x2" and cells["limit"] == "0.40"
    for n in ("numbagrad", "eager", "products", "memory"):
        assert re.fullmatch(r"[\d.e+]+ (ns|us|ms|s)", cells[n])
    assert "pytorch" not in cells and "torch.compile" not in cells
    if importlib.util.find_spec("jax"):
        assert cells["of"] == "jax" and cells["ok"] in ("yes", "NO")
    else:
        assert cells["jax"] == "absent" and "logistic_200x2: jax: not installed" in done.stdout
    assert re.fullmatch(r"[\d.]+\+[\d.]+", start["numbagrad cold"]) and int(start["calls"]) > 3
    assert "not the same work" not in done.stdout


def test_peers_names_its_steps_when_none_is_meant():
    done = run("peers.py", "--compiled", "--only", "nothing")
    assert done.returncode == 2 and "no step is named like nothing" in done.stderr and "lstm_64x128" in done.stderr


def test_a_failure_is_shown(monkeypatch):
    compare = part(monkeypatch, "compare")
    r = compare.Result("gpt")
    r.seconds, r.failed = {"numbagrad": 1.0, "pytorch": 4.0, "jax": 2.0}, {"torch.compile": "RuntimeError: no"}
    line = compare.table([r], list(compare.PACKAGES), 100, 10)[-1]
    assert "failed" in line and "| 0.50 | jax | 0.45 | NO |" in line
    r.seconds["numbagrad"] = 0.8
    assert "| 0.40 | jax | 0.45 | yes |" in compare.table([r], list(compare.PACKAGES), 100, 10)[-1]


def test_other_work_is_told(monkeypatch):
    compare = part(monkeypatch, "compare")
    same = {"numbagrad": [2.0, 1.0], "pytorch": [2.0, 1.0], "jax": [2.0, 1.0001]}
    assert compare.different(same) == {}
    assert list(compare.different({**same, "eager": [2.0, 1.5]})) == ["eager"]
    assert list(compare.different({**same, "eager": [2.0, float("nan")]})) == ["eager"]


def test_a_worker_tells_what_failed(monkeypatch):
    compare = part(monkeypatch, "compare")
    w = compare.Worker("eager", 1)
    assert w.ask("prepare", "no such step").startswith("KeyError")
    losses = w.ask("prepare", "logistic_200x2")
    once, busy = w.ask("time")
    assert len(losses) == 20 and 0 < once < 0.1 and 0 < busy < 3
    w.close()


def test_rows_are_timed():
    done = run("rows.py", "logistic", "--repeat", "5", "--group")
    assert done.returncode == 0, done.stderr
    assert re.match(r"logistic_200x2: [\d.]+ us a call", done.stdout) and "sgd" in done.stdout and "gemm" in done.stdout
