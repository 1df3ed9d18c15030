"""Writing checkpoints: a failing write leaves the file that was there; permissions, links, wrong targets."""

import io
import os
import pickle
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from numbagrad.core.tensor import from_array
from numbagrad.saving import leftovers
from numbagrad.serialization import load, save

ENV = {**os.environ, "PYTHONPATH": str(Path(leftovers.__file__).resolve().parents[2])}


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


ENDLESS = """
import sys, numpy as np
from numbagrad.serialization import save
from numbagrad.core.tensor import from_array
x = from_array(np.ones(4_000_000))
print("ready", flush=True)
while True:
    save(x, sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs to see that a process is dead")
def test_killed_saves_are_cleaned_up_by_the_next(tmp_path):
    path = tmp_path / "a.pt"
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE, env=ENV)
        writer.stdout.readline()
        end = time.time() + 10
        while time.time() < end and not any(name.startswith(".saving-") for name in os.listdir(tmp_path)):
            pass
        writer.kill()
        writer.wait()
        writer.stdout.close()
        if any(name.startswith(".saving-") for name in os.listdir(tmp_path)):
            break
    else:
        pytest.fail("no kill fell into a save")
    save(1, path)
    assert os.listdir(tmp_path) == ["a.pt"] and load(path) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs to see that a process is dead")
def test_only_files_of_dead_writers_are_removed(tmp_path):
    ours = leftovers.temporary_name()
    place, _, start = ours.removeprefix(".saving-").split("-")[:3]
    elsewhere = "0" * 8 if place != "0" * 8 else "1" * 8
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    token = "0123456789abcdef"
    names = {ours: True, f".saving-{place}-{dead.pid}-{start}-{token}.tmp": False,
             f".saving-{elsewhere}-{dead.pid}-{start}-{token}.tmp": True, f".saving-{token}.tmp": True,
             f".saving-{place}-{dead.pid}-{start}-{token}.tmp.keep": True, ".saving-mine.tmp": True, "model.tmp": True}
    if int(start):  # the number was given to another process since
        names[f".saving-{place}-{os.getpid()}-{int(start) - 1}-{token}.tmp"] = False
    old = {f".saving-{elsewhere}-{dead.pid}-{start}-{token[::-1]}.tmp": False, f".saving-{token[::-1]}.tmp": False,
           ".saving-theirs.tmp": True}
    for name in (*names, *old):
        (tmp_path / name).write_bytes(b"x")
    for name in old:
        os.utime(tmp_path / name, (1e9, 1e9))
    save(1, tmp_path / "a.pt")
    assert sorted(os.listdir(tmp_path)) == sorted([name for name, stays in {**names, **old, "a.pt": True}.items() if stays])
