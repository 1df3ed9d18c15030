import pytest

from numbagrad.kernel import cache_files


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A disk cache of its own, with nothing in it and nothing counted."""
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setitem(cache_files.COUNTS, "hits", 0)
    monkeypatch.setitem(cache_files.COUNTS, "misses", 0)
    return tmp_path / "kernels"
