"""Depth and memory: a million operations, graphs freed by reference counting, no growth over many steps."""

import gc
import sys
import tracemalloc
import weakref

import pytest

import numbagrad as ng
from numbagrad.autograd import Function


@pytest.fixture
def no_gc():
    gc.freeze()  # what other tests left behind need not be walked
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def test_a_million_operations():
    x = ng.ones(2, dtype=ng.float64, requires_grad=True)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        y = x
        for _ in range(1_000_000):
            y = y * 1.000001
        y.sum().backward()
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        sys.setrecursionlimit(limit)
    assert abs(x.grad[0].item() / 2.718280469 - 1) < 1e-6


def test_deep_unused_graph_is_freed(no_gc):
    x = ng.ones(2, requires_grad=True)
    y = x
    for _ in range(200_000):
        y = y.sin()
    middle = weakref.ref(y.grad_fn.next[0].next[0])
    del y
    assert middle() is None


def test_deep_graph_to_a_given_input():
    x, w = ng.ones(2, requires_grad=True), ng.ones(2, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + w
    assert ng.autograd.grad(y.sum(), w)[0].tolist() == [100_000.0] * 2


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        y = x * x
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * 2 * ctx.saved_tensors[0]


def graphs(x, w):
    """Graphs of many kinds; all of them end in a scalar."""
    def inplace():
        y = x * 2
        y.exp_()
        y = y * 1
        y[0].mul_(3)
        y.add_(1)
        return y

    def hooks():
        y = x * 2
        y.register_hook(lambda g: g * 2)
        y.retain_grad()
        return y.exp()

    def checkpointed():
        from numbagrad.utils.checkpoint import checkpoint
        return checkpoint(lambda x: (x * x).exp(), x, use_reentrant=False)

    def second():
        y = (x * x * w).sum()
        g, = ng.autograd.grad(y, x, create_graph=True)
        return g * g

    def rows():
        a, b = x.view(2, 2).unbind(0)
        return a.sigmoid() * b.tanh()

    def saved_outputs():
        y = x.exp().sigmoid().tanh()
        return ng.softmax(y, 0) / y.sqrt()
    return {"plain": lambda: (x * w).sin() + x.exp(), "in place": inplace, "function": lambda: Square.apply(x) * w,
            "hooks": hooks, "checkpoint": checkpointed, "double backward": second, "views": rows,
            "saved outputs": saved_outputs, "matrix": lambda: x.view(2, 2) @ w.view(2, 2),
            "cat": lambda: ng.cat([x, w * x]), "index": lambda: x[[0, 1, 0]] * 2,
            "reentrant": lambda: __import__("numbagrad.utils.checkpoint", fromlist=["checkpoint"]).checkpoint(
                lambda x: x * x, x, use_reentrant=True)}


NAMES = list(graphs(None, None))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_backward", [True, False])
def test_graphs_are_freed_without_the_collector(name, with_backward, no_gc):
    x, w = ng.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True), ng.tensor([1., 2., 3., 4.], requires_grad=True)
    make = graphs(x, w)[name]
    for _ in range(2):  # the first run compiles, and compilers leave garbage of their own
        y = make()
        out = (y * y).sum()
        nodes = [weakref.ref(out.grad_fn), weakref.ref(y.grad_fn), weakref.ref(y)]
        if with_backward:
            out.backward()
        del y, out
    assert [n() for n in nodes] == [None, None, None]
    assert weakref.ref(x)() is x


def test_leaves_are_freed(no_gc):
    x = ng.ones(3, requires_grad=True)
    (x * x).sum().backward()
    x.grad_fn  # noqa: B018
    (x * 2).grad_fn.next_functions[0][0].register_hook(lambda i, o: None)
    x.register_hook(lambda g: None)
    refs = weakref.ref(x), weakref.ref(x.grad)
    del x
    assert [r() for r in refs] == [None, None]


def test_views_and_bases_are_freed(no_gc):
    base = ng.zeros(4)
    w = ng.ones(2, requires_grad=True)
    view = base[:2]
    view.mul_(w)
    base[2:].copy_(w * 2)
    refs = weakref.ref(base), weakref.ref(view), weakref.ref(base.grad_fn)
    base.sum().backward()
    del base, view
    assert [r() for r in refs] == [None, None, None]


def test_no_growth_over_many_steps():
    w = ng.ones(4, 4, requires_grad=True)
    x = ng.ones(2, 4)

    def steps(n):
        for _ in range(n):
            y = (x @ w).tanh() * 2
            y[0] = 0.5
            ((y * y).sum() + w.sum()).backward()
            with ng.no_grad():
                w.sub_(w.grad * 1e-3)
            w.grad = None
    steps(300)
    gc.collect()
    gc.disable()
    try:
        objects = len(gc.get_objects())
        tracemalloc.start()
        steps(200)
        first = tracemalloc.get_traced_memory()[0]
        steps(2000)
        second = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert second - first < 20_000 and len(gc.get_objects()) - objects < 100
    finally:
        gc.enable()


def test_ten_thousand_small_steps():
    w = ng.ones(8, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        (w * w).sum().backward()
        before = len(gc.get_objects())
        for _ in range(10_000):
            (w * w).sum().backward()
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()


def test_backward_frees_as_it_goes():
    """Peak memory of a backward is that of the saved tensors, not of all gradients."""
    n, depth = 1 << 16, 40
    x = ng.ones(n, requires_grad=True)

    def chain():
        y = x
        for _ in range(depth):
            y = y.sin()
        return y.sum()
    chain().backward()  # compiles
    x.grad, out = None, chain()
    tracemalloc.start()
    try:
        out.backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * 4 * n  # a few gradients of n float32, not forty


def test_a_failed_backward_leaves_nothing(no_gc):
    x = ng.ones(3, requires_grad=True)

    class Fails(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise ValueError("no")
    out = Fails.apply(x.exp()).sum()
    ref = weakref.ref(out.grad_fn)
    with pytest.raises(ValueError, match="no") as error:
        out.backward()
    del out, error
    gc.collect()  # the traceback is a cycle of the interpreter's
    assert ref() is None and not ng.base.modes.STATE
