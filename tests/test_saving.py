"""Writing checkpoints: a failing write leaves the file that was there; permissions, links, wrong targets."""

import io
import os
import pickle
import stat
import sys

import numpy as np
import pytest

from numbagrad.serialization import load, save
from numbagrad.tensor import from_array


def unpicklable():
    return {"a": from_array(np.ones(3)), "b": lambda: None}


def test_a_failing_pickle_changes_nothing(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save(unpicklable(), path)
    assert os.listdir(tmp_path) == []
    save(1, path)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save(unpicklable(), path)
    assert load(path) == 1 and os.listdir(tmp_path) == ["a.pt"]
    file = io.BytesIO()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save(unpicklable(), file)
    assert file.getvalue() == b""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_write_leaves_the_file_before(tmp_path, monkeypatch, call):
    path = tmp_path / "a.pt"
    save("before", path)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            save(from_array(np.ones(100)), path)
    assert load(path) == "before" and os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_full_disk_leaves_the_file_before(tmp_path):
    """A limit of the system on file sizes makes the write itself fail."""
    import resource
    import signal

    path = tmp_path / "a.pt"
    save("before", path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError):
            save(from_array(np.ones(100_000)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load(path) == "before" and os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions and links")
def test_permissions_and_links_are_kept(tmp_path):
    path, link = tmp_path / "a.pt", tmp_path / "link.pt"
    save(1, path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link.symlink_to(path)
    save(2, link)
    assert link.is_symlink() and load(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_wrong_targets(tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        save(1, tmp_path / "no" / "a.pt")
    with pytest.raises(IsADirectoryError):
        save(1, tmp_path)
    with pytest.raises(AttributeError, match="'write' attribute"):
        save(1, 3)
    with pytest.raises(AttributeError, match="seekable"):
        load(3)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "a.pt")
