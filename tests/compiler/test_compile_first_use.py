"""Ops whose files are run for the first time while a step is captured: that is nothing the step reads or does."""

import os
import subprocess
import sys

import pytest

BEGIN = """
import sys
import numbagrad as ng
import numbagrad.nn.functional as F
w, x, i = ng.linspace(-1, 1, 16).reshape(4, 4).requires_grad_(), ng.linspace(0, 1, 8).reshape(2, 4), ng.tensor([0, 1])
def check(step):
    compiled = ng.compile(step)
    for _ in range(3):
        w.grad = None
        found = compiled(x), w.grad.clone()
        assert len(compiled.variants) == 1, compiled.variants
    w.grad = None
    expected = step(x), w.grad
    assert all(ng.allclose(a, b) for a, b in zip(found, expected)), (found, expected)
def files():
    return {m.removeprefix("numbagrad.ops.") for m in sys.modules if m.startswith("numbagrad.ops.") and m.count(".") == 3}
before = files()
"""


@pytest.mark.parametrize("lines, file", [
    ("y = F.softmax(x @ w, 1)", "reduce.softmax"), ("y = (x @ w).softmax(1)", "reduce.softmax"),
    ("y = getattr(F, 'gelu')(x @ w)", "pointwise.activation"), ("y = (x @ w)[:, 1:]", "index.getitem"),
    ("y = (x @ w).T if hasattr(ng, 'cumsum') else None", "view.dims"),
    ("y = (x @ w) ** 2 / (3 - w[:2])", "pointwise.arithmetic"),
    ("y = (x @ w).mul_(2)", "pointwise.arithmetic"), ("from numbagrad import cumsum as f; y = f(x @ w, 1)", "reduce.scan"),
    ("y = ng.linalg.norm(x @ w, dim=1)", "linalg.decompositions"), ("y = F.cross_entropy(x @ w, i)", "loss.cross_entropy"),
    ("y = ng.where(x > 0.5, x @ w, 0.0)", "pointwise.logic"), ("y = ng.Tensor.tanh(x @ w)", "pointwise.arithmetic"),
    ("y = x @ w if ng.optim.SGD is not None and ng.autograd.gradcheck else None", "product.matmul"),
])
def test_first_use_in_a_capture(tmp_path, lines, file):
    code = f"""{BEGIN}
def step(x):
    {lines}
    loss = y.sum() if y.dim() else y
    loss.backward()
    return loss
check(step)
print({file!r} in files() - before)
"""
    path = tmp_path / "step.py"  # the source of a step is read from its file
    path.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.stdout == "True\n", done.stderr
