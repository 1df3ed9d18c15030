"""Settings of the compiler's tests."""

import pytest

from numbagrad.compiler import pace


@pytest.fixture(autouse=True)
def always_compiled(monkeypatch):
    """No call runs eagerly because that is quicker, which many a step here is."""
    monkeypatch.setattr(pace, "BRIEF", 0)
