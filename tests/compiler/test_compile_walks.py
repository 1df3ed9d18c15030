"""Gradients that flow to one leaf by several ways, and what dataclasses compare, in compiled steps."""

import contextlib
import dataclasses

import pytest

import numbagrad as ng


def grown(x):
    h = x
    for _ in range(3):
        h = x + h
    return h


WAYS = {
    "inner first": lambda x: x + (x + x),
    "outer first": lambda x: (x + x) + x,
    "loop": grown,
    "reshaped": lambda x: x.reshape(-1) + (x.reshape(-1) + x.reshape(-1)),
    "differences": lambda x: (x - x * 2) + (x + x),
    "two leaves share": lambda x: x + x.clone() + (x + x.detach()),
    "through a view": lambda x: x.t().t() + (x + x),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("again", [False, True])
def test_one_leaf_by_several_ways(name, again):
    """The memory that a leaf keeps as its gradient may still be on its way to others."""
    def step(x, w):
        y = WAYS[name](x)
        (y * y).mean().backward()
        (w + (w + w)).sum().backward()
        if again:
            (WAYS[name](x) * 3).sum().backward()
        return x.grad * 1
    found = []
    for f in (step, ng.compile(step)):
        x, w = ng.tensor([[1.0, 2.0], [-1.0, 0.5]], requires_grad=True), ng.ones(3, requires_grad=True)
        results = [f(x, w), f(x, w), f(x, w)]
        found.append([*[r.tolist() for r in results], x.grad.tolist(), w.grad.tolist()])
    assert found[0] == found[1]


@dataclasses.dataclass
class Settings:
    scale: float = 1.0
    sizes: list = dataclasses.field(default_factory=lambda: [2.0])
    inner: object = None


def changed(s, how):
    if how == "bound anew":
        s.sizes = [1.0]
    elif how == "in place":
        s.sizes.append(3.0)
    elif how == "a number":
        s.scale = 2.0
    else:
        s.inner.sizes[0] = 7.0


@pytest.mark.parametrize("compare", [
    lambda s: s == Settings(1.0, inner=Settings()), lambda s: s != Settings(1.0, inner=Settings()),
    lambda s: s in [Settings(3.0), Settings(1.0, inner=Settings())], lambda s: [s] == [Settings(1.0, inner=Settings())]])
@pytest.mark.parametrize("how", ["bound anew", "in place", "a number", "of a field's field"])
def test_dataclasses_compare_their_fields(compare, how):
    s = Settings(inner=Settings())
    x = ng.ones(3)

    def step(x):
        return (x * compare(s)).sum()
    call = ng.compile(step)
    assert call(x).item() == call(x).item() == step(x).item()
    changed(s, how)
    assert call(x).item() == step(x).item()


@contextlib.contextmanager
def noted(log, *more):
    log.append(1)
    yield
    log.extend(more)


def test_a_list_that_holds_a_followed_number_stays_itself_where_it_is_passed_on():
    """Functions in C are given numbers that are fixed; lists that held others were copied for them."""
    def make():
        log, nested = [], ([], [[]])

        def step(x, k):
            log.append(k)
            with noted(log, k, 2):
                y = x * k
            nested[1].append(k)
            with noted(nested[1], *nested[0]):
                y = y + len(nested[1])
            return y
        return step, log, nested
    (eager, log0, nested0), (step, log1, nested1) = make(), make()
    compiled = ng.compile(step)
    for k in (0.5, 1.5, 2.5, 0.5, 2.5):
        a, b = eager(ng.ones(2), k), compiled(ng.ones(2), k)
        assert a.tolist() == b.tolist() and log0 == log1 and nested0 == nested1
