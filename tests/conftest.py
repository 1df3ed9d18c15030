"""Shared settings of the tests."""

import gc
import os

import pytest

# Kernels that were compiled keep a million objects alive: walking them at the usual pace takes a twentieth of the tests' time.
gc.set_threshold(20_000, 20, 20)

# One thread each: results do not depend on it, and the machine may be shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests compare the standard error of processes, whose kernels may be compiled or come from the cache.
os.environ.setdefault("NUMBAGRAD_QUIET", "1")
# Compiled steps are looked at after each pass.
os.environ.setdefault("NUMBAGRAD_COMPILE_VERIFY", "1")


DRAWN = []  # the op that ``-k`` named, as each process that draws tests tells


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):
    """``-k NAME`` with the name of an op draws cases of that op alone."""
    config = session.config
    name = config.option.keyword.strip()
    # A process that hands tests out to others draws none: it need not import the package, which they wait for.
    if name.isidentifier() and not config.pluginmanager.hasplugin("dsession"):
        from numbagrad.extend import REGISTRY
        if name in REGISTRY:
            from registry import draw
            draw.ONLY.append(name)
            getattr(config, "workeroutput", {})["drawn"] = name
            DRAWN.append(name)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    if name := getattr(node, "workeroutput", {}).get("drawn"):
        DRAWN.append(name)


def pytest_terminal_summary(terminalreporter):
    if DRAWN:  # (in a header it would not be seen: the tests run with -q)
        terminalreporter.write_line(f"of the tests from the registry only those of the op '{DRAWN[0]}' were drawn")


@pytest.fixture
def torch():
    """PyTorch, where it is installed."""
    return pytest.importorskip("torch", reason="PyTorch is the oracle here")
