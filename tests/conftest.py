"""Shared settings of the tests."""

import os

import pytest

# One thread each: results do not depend on it, and the machine may be shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def torch():
    """PyTorch, where it is installed."""
    return pytest.importorskip("torch", reason="PyTorch is the oracle here")
