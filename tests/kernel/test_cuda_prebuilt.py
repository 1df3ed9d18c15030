"""``NUMBAGRAD_CUBINS``: kernels compiled elsewhere. The compiler is replaced here, so no CUDA package is needed."""

from __future__ import annotations

import os

import pytest

from numbagrad.kernel import cache
from numbagrad.kernel.cuda import shim

SOURCE = shim.Source("kernel", [("x", "*f4")], ["x[0] = 1"], {}, "key")


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """The architectures that were compiled for; the disk cache is empty and the folder of cubins set."""
    done = []
    monkeypatch.setattr(shim, "ptx", lambda source, cc: done.append(cc) or f".visible .entry {source.name}_made(")
    monkeypatch.setattr(shim, "link", lambda text, cc: b"code\0for" + repr(cc).encode())
    monkeypatch.setattr(cache, "read_bytes", lambda name: None)
    monkeypatch.setattr(cache, "write_bytes", lambda name, data: None)
    monkeypatch.setenv("NUMBAGRAD_CUBINS", str(tmp_path / "cubins"))
    return done


def test_a_kernel_is_compiled_once_for_each_architecture(compiled, monkeypatch):
    wanted = b"code\0for(9, 0)", "kernel_made"
    assert shim.cubin(SOURCE, (9, 0)) == wanted and compiled == [(9, 0)]
    monkeypatch.setattr(shim, "_versions", lambda: "another compiler")
    assert shim.cubin(SOURCE, (9, 0)) == wanted and compiled == [(9, 0)]
    assert shim.cubin(SOURCE, (8, 0))[0] == b"code\0for(8, 0)" and compiled == [(9, 0), (8, 0)]
    other = shim.Source("kernel", [("x", "*f4")], ["x[0] = 2"], {}, "key")
    shim.cubin(other, (9, 0))
    assert compiled == [(9, 0), (8, 0), (9, 0)]


@pytest.mark.parametrize("damage", ["cut", "changed", "another's", "empty"])
def test_a_damaged_file_is_compiled_anew(compiled, damage, tmp_path):
    shim.cubin(SOURCE, (9, 0))
    path, = (tmp_path / "cubins").iterdir()
    good = path.read_bytes()
    if damage == "another's":
        shim.cubin(SOURCE, (8, 0))
        other, = (p for p in (tmp_path / "cubins").iterdir() if p != path)
        path.write_bytes(other.read_bytes())
    else:
        path.write_bytes({"cut": good[:-1], "changed": good[:-1] + b"!", "empty": b""}[damage])
    compiled.clear()
    assert shim.cubin(SOURCE, (9, 0)) == (b"code\0for(9, 0)", "kernel_made") and compiled == [(9, 0)]
    assert path.read_bytes() == good


def test_a_folder_that_cannot_be_written_is_left_alone(compiled, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("NUMBAGRAD_CUBINS", str(folder))
        assert shim.cubin(SOURCE, (9, 0))[1] == "kernel_made"
    assert len(compiled) == 2 and os.listdir(tmp_path) == ["file"]


def test_without_a_folder_nothing_is_stored(compiled, monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBAGRAD_CUBINS")
    shim.cubin(SOURCE, (9, 0))
    shim.cubin(SOURCE, (9, 0))
    assert len(compiled) == 2 and not (tmp_path / "cubins").exists()
