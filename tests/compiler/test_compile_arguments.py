"""Compiled functions and the memory of their arguments: views, the same tensor twice, writes, gradients."""

import pytest

import numbagrad as ng
from numbagrad.compiler import CaptureError


def test_row_of_a_tensor_that_the_function_reads_too():
    table = ng.randn(10, 4)
    f = ng.compile(lambda x: x * 2 + table.sum(0))
    for i in range(4):
        assert ng.allclose(f(table[i]), table[i] * 2 + table.sum(0))
    assert len(f.variants) == 1


def test_one_tensor_twice():
    f = ng.compile(lambda a, b: a * b + a)
    x, y = ng.randn(3), ng.randn(3)
    for a, b in ((x, y), (x, x), (y, x), (y, y)):
        # A fused multiply-add rounds once where eager rounds twice.
        assert ng.allclose(f(a, b), a * b + a, rtol=1e-6, atol=1e-7)


def test_a_written_argument():
    @ng.compile
    def f(a, b):
        a.add_(b)
        return a * b
    for make in (lambda: (ng.ones(3), ng.ones(3) * 2), lambda: (lambda t: (t, t))(ng.ones(3))):
        for _ in range(3):
            (a, b), (c, d) = make(), make()
            result = f(a, b)
            c.add_(d)
            assert ng.equal(result, c * d) and ng.equal(a, c)
            assert a._version == c._version
    whole = ng.ones(4)
    with pytest.raises(CaptureError, match="views of one memory"):
        f(whole[:3], whole[1:])
    assert ng.equal(whole, ng.ones(4))


def test_gradient_of_an_argument():
    @ng.compile
    def f(w, x):
        loss = (w * x).sum()
        loss.backward()
        return loss
    kept = []
    for _ in range(3):
        w, x = ng.randn(3, requires_grad=True), ng.randn(3)
        f(w, x)
        kept.append((w, x))
    for w, x in kept:
        assert ng.equal(w.grad, x)
    assert len(f.variants) == 1
    for n in (2, 3):  # further calls add, as in eager code
        f(*kept[0])
        assert ng.allclose(kept[0][0].grad, n * kept[0][1], rtol=1e-6) and kept[0][0].grad._version == n - 1
    assert len(f.variants) == 2
    with pytest.raises(CaptureError, match="a history outside"):
        f(ng.randn(3, requires_grad=True) * 2, ng.randn(3))


def test_history_goes_on_through_a_compiled_function():
    v = ng.randn(3, requires_grad=True)
    f = ng.compile(lambda x: ((x * v).sum(), x[1:]))
    for _ in range(2):
        u = ng.randn(3, requires_grad=True)
        v.grad = None
        total, rest = f(u * 2)
        (total * 3 + rest.sum()).backward()
        assert ng.allclose(u.grad, 6 * v.detach() + ng.tensor([0.0, 2.0, 2.0]))
        assert ng.allclose(v.grad, 6 * u.detach())


def test_an_argument_that_is_also_reached_by_name():
    w = ng.ones(3)
    f = ng.compile(lambda x: x + w)
    assert ng.equal(f(w), ng.full((3,), 2.0)) and ng.equal(f(w), ng.full((3,), 2.0))
    other = ng.full((3,), 5.0)
    assert ng.equal(f(other), ng.full((3,), 6.0)) and ng.equal(f(w), ng.full((3,), 2.0))


def test_identical_gradients_and_results():
    w = ng.randn(3, requires_grad=True)
    v = ng.randn(3, requires_grad=True)
    f = ng.compile(lambda x: (x + w + v).sum())
    for _ in range(2):
        w.grad = v.grad = None
        f(ng.randn(3)).backward()
        assert ng.equal(w.grad, ng.ones(3)) and ng.equal(v.grad, ng.ones(3))
        w.grad.add_(1)
        assert ng.equal(v.grad, ng.ones(3))
