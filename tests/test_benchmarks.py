"""The benchmark list is complete, and its parts run."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

from numbagrad.op.record import REGISTRY

ROOT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "asv_benchmarks")


@pytest.fixture(scope="module")
def suite():
    sys.path.insert(0, ROOT)
    yield {n: importlib.import_module("benchmarks." + n) for n in ("ops", "sizes", "training", "startup")}
    sys.path.remove(ROOT)


def test_every_op_is_tracked(suite):
    assert set(suite["ops"].NAMES) == {n for n, op in REGISTRY.items() if op.samples}
    assert len(suite["ops"].NAMES) > 100
    untracked = [n for n, op in REGISTRY.items() if not op.samples and not op.private and op.differentiable]
    assert untracked == []


@pytest.mark.parametrize("name", ["add", "sum", "mm"])
def test_op_benchmarks_run(suite, name):
    for cls in (suite["ops"].Forward, suite["ops"].ForwardBackward):
        b = cls()
        b.setup(name)
        getattr(b, "time_forward" if cls is suite["ops"].Forward else "time_forward_backward")(name)


def test_training_benchmark_runs(suite):
    b = suite["training"].Training()
    b.setup("mlp_32x64x64x10", 1)
    b.time_step("mlp_32x64x64x10", 1)


def test_peers_cases_cover_both_libraries(suite):
    sys.path.insert(0, ROOT)
    try:
        cases = importlib.import_module("peer_cases")
    finally:
        sys.path.remove(ROOT)
    import numbagrad as ng
    for name in ("add_8x8", "three_ops_8x8", "mlp_32x64x64x10", "logistic_200x2"):
        cases.CASES[name][0](ng)()
