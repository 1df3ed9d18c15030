"""``python -m numbagrad source``: every op can be shown, and what is shown is what runs."""

import pytest
from registry.draw import ids

import numbagrad as ng
from numbagrad.cli.main import main
from numbagrad.cli.source import find, formula, text
from numbagrad.extend import REGISTRY
from numbagrad.kernel import expr


@pytest.mark.parametrize("op", [op for op in REGISTRY.values() if not op.private and op.kind != "reduction"], ids=ids)
def test_every_op_is_shown(op):
    shown = text(op.name)
    assert shown.startswith(f"# {op.name}: {op.kind} op of ops/") and op.summary in shown
    assert shown.count("\n\n# ") >= 1
    if op.kind == "elementwise":
        assert f"def loop_{op.name}(" in shown and f"def {op.name}(" in shown


def test_an_elementwise_op():
    shown = text("torch.silu", "float64")
    assert "# value\ninput * sigmoid(input)\n" in shown
    assert "# gradient of input (g_: what arrives, y_: the result)\n" in shown
    assert "input = load_f8_(input_p_[i_])" in shown and "loop_silu_backward" in shown


def test_a_reduction():
    shown = text("mean")
    assert "# finish(acc, n)\nacc / n\n" in shown and "def fold(x_a, out_a, count, inner, total, n, start, stop):" in shown
    assert "@mean.gradient" in shown


def test_kernels_and_ops_behind_a_function_are_shown():
    assert "# kernel softmax_rows, compiled for f4 where *T is torch.float32" in text("nn.functional.softmax")
    assert "# convolve_output: custom op of ops/conv/convolve.py" in text("conv2d")


def test_device_code_is_shown():
    assert "cuda_.grid(1)" in text("add", device="cuda") and "cuda.syncthreads()" in text("sum", device="cuda")
    shown = text("softmax_forward", device="cuda")
    assert "# launcher for cuda\n" in shown and "# kernel softmax_rows of one thread\ndef softmax_rows(x, out, n," in shown
    assert "# kernel softmax_rows of a block of threads\n" in shown and "cuda.syncthreads()" in shown
    assert "# launcher for the host, where the data travels\n" in text("linalg_qr", device="cuda")


def test_names(capsys):
    assert find("nn.functional.relu") is find("relu") and find("torch.special.expit").name in ("expit", "sigmoid")
    assert find("unfold").kind == "view" and find("torch.nn.functional.unfold").name == "im2col"
    with pytest.raises(SystemExit):
        main(["source", "sofmax"])
    assert "no op is called 'sofmax'; is it one of softmax" in capsys.readouterr().err
    assert main(["source", "neg", "--dtype", "int64"]) == 0
    assert "load_i8_(input_p_[i_])" in capsys.readouterr().out


def test_formulas_are_python():
    x, y = expr.var("x"), expr.var("y")
    for e in ((x + 1) * (y - 2), x * y + 1, expr.where(expr.apply("lt", x, y), x / y, -x)):
        assert eval(formula(e), {"x": 3.0, "y": 5.0}) == expr.evaluate(
            (e,), {"x": 3.0, "y": 5.0}, lambda op: lambda *a: expr.number(op, *a))[0]


def test_shown_text_is_what_runs():
    from numbagrad.kernel.emit import Pointwise
    op = REGISTRY["exp"]
    loop = op.form("t").forward
    assert isinstance(loop, Pointwise)
    ng.exp(ng.ones(3))
    assert loop.native("f4", ("f4",), ("f4",)).source.strip() in text("exp")
