"""What users see of the library's own code: names in profiles, file names of generated text, folded tracebacks."""

import subprocess
import sys
import threading

import pytest

import numbagrad as ng
from numbagrad.base import tracebacks
from numbagrad.extend import REGISTRY

SCRIPT = """
import sys
import numbagrad as ng

def product(x):
    return x @ ng.ones(4)

def hook(g):
    raise ValueError("from a hook")

x = ng.ones(3, requires_grad=True)
y = x * 2
y.register_hook(hook)
if "product" in sys.argv:
    product(x)
try:
    y.sum().backward()
except ValueError as e:
    if "own" in sys.argv:
        raise RuntimeError("mine")
    raise RuntimeError("again") from e
"""


def run(tmp_path, *arguments, environment=None):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    import os
    done = subprocess.run([sys.executable, str(path), *arguments], capture_output=True, text=True,
                          env={**os.environ, **(environment or {})})
    assert done.returncode == 1
    return done.stderr


def test_frames_of_the_library_are_left_out(tmp_path):
    said = run(tmp_path, "product")
    assert said.count('  File "') == 2 and "in product" in said and "RuntimeError: " in said
    assert "frames inside numbagrad are left out; NUMBAGRAD_TRACEBACK=full shows them)\nTraceback (most recent" in said
    assert said.splitlines()[-1].startswith("RuntimeError: ")
    full = run(tmp_path, "product", environment={"NUMBAGRAD_TRACEBACK": "full"})
    assert full.count('  File "') > 4 and "are left out" not in full
    assert "<numbagrad matmul" in full


def test_causes_are_folded_too_and_frames_of_hooks_stay(tmp_path):
    for arguments, between in (((), "direct cause"), (("own",), "another exception occurred")):
        said = run(tmp_path, *arguments)
        assert between in said and "in hook" in said and "from a hook" in said
        assert "engine.py" not in said and said.count('  File "') == 3


def test_other_errors_are_as_python_prints_them(capsys):
    try:
        int("x")
    except ValueError as e:
        text, hidden = tracebacks.folded(type(e), e, e.__traceback__)
        tracebacks.hook(type(e), e, e.__traceback__)
        assert hidden == 0 and capsys.readouterr().err == text


def test_an_error_that_is_only_the_librarys_is_shown_whole():
    errors = []
    # The thread's first frame is Python's own: cut it off, and nothing of the user's is left.
    try:
        ng.ones(3) @ ng.ones(4)
    except RuntimeError as e:
        trace = e.__traceback__.tb_next
        text, hidden = tracebacks.folded(type(e), e, trace)
        errors.append((text, hidden))
    assert errors[0][1] == 0 and "check_vectors" in errors[0][0] and threading.active_count() >= 1


def test_a_hook_of_the_program_stays(monkeypatch):
    mine = object()
    monkeypatch.setattr(sys, "excepthook", mine)
    tracebacks.install()
    assert sys.excepthook is mine


@pytest.mark.parametrize("part", ["rule", "cpu_launch", "cuda_launch", "check"])
def test_no_part_of_an_op_is_called_underscore(part):
    found = [(op.name, fn) for op in REGISTRY.values() if (fn := getattr(op, part, None)) is not None]
    assert found or part == "cuda_launch"
    for name, fn in found:
        code = getattr(fn, "__code__", None)
        assert fn.__name__ != "_" and (code is None or code.co_name != "_"), name


def test_generated_backwards_have_names():
    x = ng.ones(2, 3, requires_grad=True)
    node = (x * x).grad_fn
    ng.autograd.grad((x * x).sum(), x)
    assert type(node).backward.__code__.co_filename.startswith("<numbagrad mul backward ")
    assert type(node).backward.__name__ == "mul_backward"
