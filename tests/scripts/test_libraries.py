"""Programs that use other people's packages print under ``python -m numbagrad run`` what they print under PyTorch."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
PACKAGES = {"einops": "einops", "skorch": "skorch", "tensorboardx": "tensorboardX tensorboard", "torchdiffeq": "torchdiffeq",
            "torchinfo": "torchinfo", "torchmetrics": "torchmetrics", "torchviz": "torchviz"}
pytest.importorskip("torch", reason="PyTorch is the oracle here")


def run(*command):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_prints_the_same(name):
    for package in PACKAGES[name].split():
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    program = str(PROGRAMS / f"with_{name}.py")
    wanted = run(program)
    assert len(wanted.splitlines()) > 20
    assert run("-m", "numbagrad", "run", program) == wanted


def test_each_program_has_its_package():
    assert {p.stem for p in PROGRAMS.glob("with_*.py")} == {"with_" + name for name in PACKAGES}
