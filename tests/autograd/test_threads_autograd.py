"""Backward in several threads: different graphs, one shared leaf, one shared graph, modes of their own."""

import threading

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.autograd import Function


def in_threads(*functions):
    """Run functions at the same time; re-raises the first error."""
    start, errors = threading.Barrier(len(functions)), []

    def run(f):
        try:
            start.wait(30)
            f()
        except BaseException as e:
            errors.append(e)
    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive()
    if errors:
        raise errors[0]


def test_different_graphs():
    results = {}

    def work(i):
        x = ng.full((16,), 0.1 * (i + 1), dtype=ng.float64, requires_grad=True)
        for _ in range(20):
            y = x
            for _ in range(50):
                y = (y * 1.01).sin() + x
            y.sum().backward()
        results[i] = x.grad

    def expected(i):
        x = ng.full((16,), 0.1 * (i + 1), dtype=ng.float64, requires_grad=True)
        y = x
        for _ in range(50):
            y = (y * 1.01).sin() + x
        return 20 * ng.autograd.grad(y.sum(), x)[0]
    in_threads(*[lambda i=i: work(i) for i in range(4)])
    for i in range(4):
        np.testing.assert_allclose(results[i].numpy(), expected(i).numpy(), rtol=1e-12)


def test_a_shared_leaf_loses_nothing():
    x, rounds = ng.zeros(1000, requires_grad=True), 200

    def work():
        for _ in range(rounds):
            (x * 2 + x).sum().backward()
    in_threads(work, work, work)
    assert x.grad.tolist() == [3.0 * 3 * rounds] * 1000


def test_a_shared_leaf_with_hooks():
    x, seen = ng.zeros(4, requires_grad=True), []
    x.register_hook(lambda g: seen.append(threading.get_ident()) or g * 2)
    x.register_post_accumulate_grad_hook(lambda p: seen.append("post"))

    def work():
        for _ in range(50):
            (x * 1 + x).sum().backward()
    in_threads(work, work)
    assert x.grad.tolist() == [4.0 * 100] * 4 and len(seen) == 200


def test_one_graph_from_two_threads():
    x = ng.ones(8, requires_grad=True)
    h = x.exp()
    outs = [(h * k).sum() for k in (1.0, 2.0)]
    in_threads(*[lambda o=o: o.backward(retain_graph=True) for o in outs])
    np.testing.assert_allclose(x.grad.numpy(), np.full(8, 3 * np.e), rtol=1e-6)


def test_modes_stay_apart_during_backward():
    seen = {}

    class Look(Function):
        @staticmethod
        def forward(ctx, x, name):
            ctx.name = name
            return x * 1

        @staticmethod
        def backward(ctx, g):
            seen.setdefault(ctx.name, set()).add((ng.is_grad_enabled(), (g * 2).requires_grad))
            return g * 1, None

    def first():
        for _ in range(100):
            x = ng.ones(2, requires_grad=True)
            Look.apply(x, "plain").sum().backward()
            assert ng.is_grad_enabled() and (x * 2).requires_grad

    def second():
        for _ in range(100):
            x = ng.ones(2, requires_grad=True)
            with ng.no_grad():
                assert not (x * 2).requires_grad
            v = ng.ones(2, requires_grad=True)
            ng.autograd.grad(Look.apply(x, "recorded"), x, v, create_graph=True)

    in_threads(first, second)
    assert seen == {"plain": {(False, False)}, "recorded": {(True, True)}} and not ng.base.modes.STATE


def test_backward_inside_backward():
    class Inner(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            with ng.enable_grad():
                y = x.detach().requires_grad_()
                (y * y * y).sum().backward()
            return g * y.grad

    def work():
        for _ in range(20):
            x = ng.ones(2, requires_grad=True)
            (Inner.apply(x) * 2).sum().backward()
            assert x.grad.tolist() == [6., 6.]
    in_threads(work, work)


def test_an_error_stays_in_its_thread():
    x = ng.ones(3, requires_grad=True)

    def wrong():
        y = x.exp()
        y.sum().backward()
        with pytest.raises(RuntimeError, match="a second time"):
            y.sum().backward()
    in_threads(wrong, wrong)
    np.testing.assert_allclose(x.grad.numpy(), np.full(3, 2 * np.e), rtol=1e-6)
