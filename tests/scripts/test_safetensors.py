"""The safetensors package under ``python -m numbagrad run``: its files are those it writes with PyTorch, and are read alike."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is the oracle here")
pytest.importorskip("safetensors", reason="the package under test")
PROGRAM = Path(__file__).parent / "programs" / "safetensors_files.py"


def run(*command):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_cross(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    written = run(str(PROGRAM), "write", str(theirs))
    assert "tied" in written and run("-m", "numbagrad", "run", str(PROGRAM), "write", str(ours)) == written
    for name in ("state", "model", "tied"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    read = run(str(PROGRAM), "read", str(theirs))
    assert "bfloat16" in read and run("-m", "numbagrad", "run", str(PROGRAM), "read", str(theirs)) == read
    assert run(str(PROGRAM), "read", str(ours)) == read
