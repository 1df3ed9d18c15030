"""Shared settings of the tests."""

import gc
import os
import sys

import pytest

# Kernels that were compiled keep a million objects alive: walking them at the usual pace takes a twentieth of the tests' time.
gc.set_threshold(20_000, 20, 20)

# One thread each: results do not depend on it, and the machine may be shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests compare the standard error of processes, whose kernels may be compiled or come from the cache.
os.environ.setdefault("NUMBAGRAD_QUIET", "1")
# Compiled steps are looked at after each pass.
os.environ.setdefault("NUMBAGRAD_COMPILE_VERIFY", "1")


def pytest_configure(config):
    """``-k NAME`` with the name of an op draws cases of that op alone."""
    name = config.option.keyword.strip()
    if name.isidentifier():
        from numbagrad.extend import REGISTRY
        if name in REGISTRY:
            from registry import draw
            draw.ONLY.append(name)


def pytest_terminal_summary(terminalreporter):
    draw = sys.modules.get("registry.draw")
    if draw and draw.ONLY:  # (in a header it would not be seen: the tests run with -q)
        terminalreporter.write_line(f"of the tests from the registry only those of the op '{draw.ONLY[0]}' were drawn")


@pytest.fixture
def torch():
    """PyTorch, where it is installed."""
    return pytest.importorskip("torch", reason="PyTorch is the oracle here")
