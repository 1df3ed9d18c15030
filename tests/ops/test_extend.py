"""The face for authors: examples of the page, declarations that are refused, launches that are checked."""

import os
import re
import subprocess
import sys

import paths
import pytest

import numbagrad as ng
from numbagrad.extend import T, custom, elementwise, kernel, load, reduction, scalar, store, view
from numbagrad.kernel import threads

PAGE = paths.ROOT / "docs" / "adding_an_op.md"
TRIED = """
import numbagrad as ng
from numbagrad.dispatch.sampling import Case
import numpy as np
for name in ("softsign_", "mean_of_squares_", "flipped_axes_", "row_scaling_"):
    op = ng.extend.REGISTRY[name]
    for i in range(len(op.samples)):
        case = Case(op, i)
        assert np.allclose(case.call(case.tensors()).numpy(), case.reference(), rtol=1e-12), case
        if case.differentiable and all(a.size for a in case.arrays):
            tensors = case.tensors(requires_grad=True)
            assert ng.autograd.gradcheck(lambda *t: case.call(list(t)), tensors), case
            assert ng.autograd.gradgradcheck(lambda *t: case.call(list(t)), tensors), case
x = ng.randn(3, 4, dtype=ng.float64, requires_grad=True)
assert ng.autograd.gradcheck(logistic, (x,))
print("done")
"""
ON_DEVICE = """
import numbagrad as ng
from numbagrad.dispatch.sampling import Case
import numpy as np
for name in ("softsign_", "mean_of_squares_", "flipped_axes_", "row_scaling_"):
    op = ng.extend.REGISTRY[name]
    for i in range(len(op.samples)):
        case = Case(op, i)
        found = []
        for device in ("cpu", "cuda"):
            tensors = [t.detach().to(device).requires_grad_() for t in case.tensors(requires_grad=True)]
            y = case.call(tensors)
            assert y.device.type == device
            y.sum().backward()
            found.append([y.detach(), *[t.grad for t in tensors]])
        for a, b in zip(*found):
            assert np.allclose(a.numpy(), b.cpu().numpy(), rtol=1e-12), case
print("done")
"""


def test_examples_of_the_page_run(tmp_path):
    with open(PAGE, encoding="utf-8") as f:
        blocks = re.findall(r"```python\n(.*?)```", f.read(), re.S)
    assert len(blocks) == 5
    run = subprocess.run([sys.executable, "-c", "\n".join(blocks) + TRIED], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and run.stdout == "done\n", run.stderr
    file = tmp_path / "mine.py"  # a device form needs the source
    file.write_text("\n".join(blocks) + ON_DEVICE, encoding="utf-8")
    run = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=300,
                         env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"})
    assert run.returncode == 0 and run.stdout == "done\n", run.stderr


@kernel
def add_rows(x: "*T", w: "*T", at: "*i8", out: "*T", n: int, scale: float, start: int, stop: int):
    """out (rows, n) is x plus scale times the rows of w that at (rows,) names."""
    s = T(scale)
    for r in range(start, stop):
        row = at[r] * n
        for i in range(n):
            out[r * n + i] = store(load(x[r * n + i]) + s * load(w[row + i]))


def arguments(dtype=ng.float32):
    x, w = ng.randn(5, 3).to(dtype), ng.randn(2, 3).to(dtype)
    return [x, w, ng.tensor([0, 1, 1, 0, 1]), ng.empty(5, 3, dtype=dtype), 3, 0.5]


@pytest.mark.parametrize("dtype", [ng.float32, ng.float64, ng.bfloat16])
def test_launch(dtype):
    x, w, at, out, n, scale = given = arguments(dtype)
    add_rows.launch(*given, rows=5)
    expected = (x.double() + scale * w.double()[at]).to(dtype)
    assert ng.allclose(out.double(), expected.double(), rtol=1e-2 if dtype is ng.bfloat16 else 1e-6)
    out.zero_()
    add_rows.launch(*given, rows=2)
    assert bool((out[2:] == 0).all()) and bool((out[:2] != 0).any())


def test_launch_on_several_threads():
    given = arguments()
    add_rows.launch(*given, rows=5)
    expected = given[3].clone()
    given[3].zero_()
    before = threads.LIMIT[0]
    threads.LIMIT[0] = 1
    try:
        add_rows.launch(*given, rows=5)
    finally:
        threads.LIMIT[0] = before
    assert ng.equal(given[3], expected)


@pytest.mark.parametrize("which, value, error, text", [
    (1, lambda w: w.double(), TypeError, "'w' has the dtype torch.float64, but 'x', of the same type *T, has torch.float32"),
    (2, lambda a: a.int(), TypeError, "'at' must have the dtype torch.int64, not torch.int32"),
    (0, lambda x: 3, TypeError, "'x' must be Tensor, not int"),
    (0, lambda x: x.numpy(), TypeError, "'x' must be Tensor, not ndarray"),
    (4, lambda n: 3.0, TypeError, "'n' must be int, not float"),
    (4, lambda n: ng.tensor(3), TypeError, "'n' must be int, not Tensor"),
    (5, lambda s: "0.5", TypeError, "'scale' must be float, not str"),
    (0, lambda x: ng.randn(3, 5).t(), ValueError, "'x' must be row-major"),
])
def test_launch_refuses(which, value, error, text):
    given = arguments()
    given[which] = value(given[which])
    with pytest.raises(error) as caught:
        add_rows.launch(*given, rows=5)
    assert "add_rows.launch()" in str(caught.value) and text in str(caught.value)


def test_launch_counts_its_arguments():
    with pytest.raises(TypeError, match=r"5 arguments for the parameters \(x, w, at, out, n, scale\)"):
        add_rows.launch(*arguments()[:-1], rows=5)
    with pytest.raises(TypeError, match="rows must be the length of the outer loop, not -1"):
        add_rows.launch(*arguments(), rows=-1)


def test_a_tensor_is_no_address():
    with pytest.raises(TypeError, match=r"argument 1 is a Tensor, where addresses and numbers are taken; add_rows.launch"):
        add_rows[ng.float32](*arguments(), 0, 5)


def declared(text):
    names = {}
    exec(text, names)
    return names["k"]


@pytest.mark.parametrize("text, message", [
    ("def k(x, start: int, stop: int): pass", "parameter 'x' must be annotated"),
    ("def k(x: '*Q', start: int, stop: int): pass", "parameter 'x' must be annotated"),
    ("def k(x: 'T', start: int, stop: int): pass", "parameter 'x' must be annotated"),
    ("def k(x: '*T', n: int): pass", "the last two parameters must be 'start: int, stop: int'"),
    ("def k(x: '*T', start: float, stop: int): pass", "parameter 'start' must be annotated"),
    ("def k(x: '*T', n: int = 3, *, start: int, stop: int): pass", "positional and without defaults"),
    ("def k(x: '*U', start: int, stop: int): pass", r"dtypes are called \*T first"),
])
def test_kernels_are_checked_when_declared(text, message):
    with pytest.raises(TypeError, match=message):
        kernel(declared(text))


@pytest.mark.parametrize("combine", [lambda acc, x: acc + x * x, lambda acc, x: acc - x, lambda acc, x: acc * 0.5 + x,
                                     lambda acc, x: scalar.maximum(acc, x * x)])
def test_reductions_that_do_not_join_are_refused(combine):
    def fn(acc, x):
        return combine(acc, x)
    fn.__name__ = "unfit"
    with pytest.raises(TypeError, match="reduction unfit: unfit\\(acc, x\\) does not join partial results"):
        reduction(fn, start=0.0, private=True, registered=False)


def test_gradients_of_sums_are_derived():
    @reduction(start=0.0, wide=True, map=lambda x: x * scalar.sin(x), finish=lambda acc, n: 3 * acc / n + 1, accepts="float",
               private=True, registered=False)
    def wave(acc, x):
        return acc + x
    x = ng.randn(2, 3, 4, dtype=ng.float64, requires_grad=True)
    for given in ((), (1,), ((0, 2), True)):
        assert ng.autograd.gradcheck(lambda t, given=given: wave(t, *given), (x,))
        assert ng.autograd.gradgradcheck(lambda t, given=given: wave(t, *given), (x,))
    z = ng.randn(3, 4, dtype=ng.complex128, requires_grad=True)
    assert ng.autograd.gradcheck(lambda t: wave(t, 1), (z,))


def test_a_missing_gradient_says_so():
    @reduction(start=0.0, wide=True, finish=lambda acc, n: scalar.sqrt(acc), accepts="float", private=True, registered=False)
    def rooted(acc, x):
        return acc + x

    @custom(private=True, registered=False)
    def copied(input):
        return input._shape, input._kind

    @copied.cpu
    def _(out, input):
        out.copy_(input.detach())
    for op in (rooted, copied):
        y = op(ng.ones(3, requires_grad=True))
        assert y.requires_grad
        with pytest.raises(NotImplementedError, match=f"derivative for {op.name} is not implemented: declare it"):
            y.sum().backward()
        assert not op(ng.ones(3)).requires_grad


@pytest.mark.parametrize("rule, message", [
    (lambda g, a: g * a, "returns 1 expressions for 2 tensor arguments"),
    (lambda g, a, b: (g, g, g), "returns 3 expressions for 2 tensor arguments"),
    (lambda g, a, c: (g, g), r"asks for unknown \['c'\]"),
])
def test_gradients_are_counted_when_declared(rule, message):
    @elementwise(private=True, registered=False)
    def product(a, b):
        return a * b
    with pytest.raises(TypeError, match="gradient of product .*" + message):
        product.gradient(rule)


def test_gradients_of_views_are_derived():
    @view(private=True, registered=False)
    def overlapping(input, step: int):
        strides = input._strides or (input._shape[1], 1)
        return (2, 3, input._shape[1] - step), (strides[0], strides[0], strides[1]), step * strides[1]

    @view(private=True, registered=False, several=True)
    def both(input):
        rows, columns = input._strides or (input._shape[1], 1)
        return [(input._shape[1:], (columns,), i * rows) for i in (0, 0, 1)]
    for x in (ng.randn(5, 6, dtype=ng.float64), ng.randn(6, 5, dtype=ng.float64).t()):
        x = x[:-1].requires_grad_()
        assert ng.autograd.gradcheck(lambda t: both(t), (x,)) and ng.autograd.gradgradcheck(lambda t: both(t), (x,))
        assert ng.autograd.gradcheck(lambda t: overlapping(t[:4], 1), (x,))
        assert ng.autograd.gradgradcheck(lambda t: overlapping(t[:4], 1), (x,))


def test_views_stay_inside_of_their_input():
    @view(private=True, registered=False)
    def beyond(input, size: int):
        return (size, 2), (2, 1), 1
    x = ng.arange(12.0)[:6]
    assert beyond(x, 2).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(RuntimeError, match=r"beyond\(\): a view of sizes \[3, 2\], strides \[2, 1\] and offset 1 leaves"):
        beyond(x, 3)
