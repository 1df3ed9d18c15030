"""These tests run kernels on a GPU, or in Numba's CUDA simulator, chosen when a process starts: a pytest run of its own."""

import os

import pytest

import numbagrad as ng

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0").strip() not in ("", "0")


def pytest_collection_modifyitems(items):
    if not SIMULATED and not ng.cuda.is_available():
        reason = "needs a GPU or the CUDA simulator: NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/cuda"
        here = os.path.dirname(os.path.abspath(__file__))
        for item in items:
            if str(item.path).startswith(here + os.sep):
                item.add_marker(pytest.mark.skip(reason=reason))
