"""Numbers that a compiled step draws from outside: random ones, and items of iterators."""

from __future__ import annotations

import collections
import fractions
import itertools
import random

import numpy as np
import pytest
from compile_helpers import calls, counted, same_as_eager

import numbagrad as ng
from numbagrad.compiler import CaptureError, CompileWarning

PROGRAMS = {}
program = counted(PROGRAMS)


@program(99)
def random_numbers(C):
    random.seed(3)
    np.random.seed(3)
    own, old, new = random.Random(4), np.random.RandomState(5), np.random.default_rng(6)

    def f(x):
        y = x * random.random() + np.random.rand() - own.gauss(0.0, 1.0) * old.randn()
        return y + new.random() + new.integers(10) + random.uniform(2.0, 3.0)
    g = C(f)
    return (calls(g), random.random(), np.random.rand(), own.random(), old.rand(), new.random()), g


@program(2)
def branches_on_random_numbers(C):
    random.seed(1)
    g = C(lambda x: x * 2 if random.random() < 0.5 else x * 3 + random.random())
    return (calls(g, n=20), random.random()), g


@program(2)
def random_integers_and_choices(C):
    random.seed(2)
    g = C(lambda x: x * random.randint(1, 3) + random.choice([1.0, 2.0]))
    return (calls(g, n=12), random.random()), g


@program(1)
def random_numbers_that_are_drawn_until_one_suits(C):
    random.seed(2)
    own = random.Random(5)
    g = C(lambda x: x * random.randrange(5) + random.normalvariate(0, 1) + own.gammavariate(2.0, 1.0) * own.randint(0, 6) +
          own.vonmisesvariate(0.5, 1.5))
    return (calls(g, n=12), random.random(), own.random()), g


@program(99)
def random_numbers_from_a_patched_source(C):
    own, given = random.Random(5), itertools.count()
    own.random = lambda: next(given) % 7 / 8
    g = C(lambda x: x * own.randrange(5) + own.gammavariate(2.0, 1.0))
    return (calls(g, n=6), next(given)), g


class Low(random.Random):
    def getrandbits(self, k):
        return super().getrandbits(k) & 1


@program(99)
def random_numbers_of_a_derived_class(C):
    own = Low(5)
    g = C(lambda x: x * own.randrange(5) + own.normalvariate(0, 1))
    return (calls(g, n=6), own.random()), g


@program(1)
def iterators(C):
    it, cycle = iter([1.0, 2.0, 3.0, 4.0] * 3), itertools.cycle([1, 2, 3])
    count, steps = itertools.count(), itertools.count(0.5, 2)
    more = range(20), (1.5, 2.5) * 8, collections.deque(range(12)), bytes(12)
    more = [iter(m) for m in more] + [reversed(list(range(12)))]

    def f(x):
        y = x * next(it) + next(cycle) - next(count) + next(count) * next(steps)
        for m in more:
            y = y * 0.5 + next(m)
        return y
    g = C(f)
    return (calls(g), [next(i) for i in (it, cycle, count, steps, *more)]), g


@program(4)
def branches_on_items_of_iterators(C):
    it, count, log = iter([1.0, 4.0, 2.0, 3.0] * 6), itertools.count(), []

    def f(x):
        k = next(it)
        log.append(k)
        return x * next(count) if k > 2 else x + k * next(count)
    g = C(f)
    return (calls(g, n=16), next(it), next(count), log), g


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    same_as_eager(*PROGRAMS[name])


def test_the_end_of_an_iterator():
    it = iter([1.0, 2.0, 3.0])
    f = ng.compile(lambda x: x * next(it))
    assert [f(ng.ones(1)).item() for _ in range(3)] == [1.0, 2.0, 3.0]
    for _ in range(3):
        with pytest.raises(StopIteration):
            f(ng.ones(1))


def test_what_is_drawn_when_a_replay_comes_to_the_end_of_an_iterator():
    """As in eager code, what comes before is done, and drawn."""
    def seen(wrap):
        it, count, own, log = iter([1.0, 2.0, 3.0]), itertools.count(), random.Random(1), []

        def step(x):
            log.append(next(count))
            return x * own.random() * next(it)
        f = wrap(step)
        out = [f(ng.ones(1)).item() for _ in range(3)]
        for _ in range(2):
            with pytest.raises(StopIteration):
                f(ng.ones(1))
        return out, log, next(count), own.random()
    (wanted, *left), (found, *also) = seen(lambda f: f), seen(ng.compile)
    assert found == pytest.approx(wanted) and left == also


def test_a_refusal_draws_nothing():
    random.seed(0)
    wanted = random.Random(0).random()
    with pytest.raises(CaptureError, match="numpy"):
        ng.compile(lambda x: x * random.random() * x.sum().numpy())(ng.ones(1))
    assert random.random() == wanted
    items = [1, 2, 3]
    with pytest.raises(CaptureError, match="draws a ndarray"):
        ng.compile(lambda x: x * np.random.rand(3).sum())(ng.ones(1))
    with pytest.raises(CaptureError, match="iterator"):
        it = iter(items)
        ng.compile(lambda x: x * sum(it))(ng.ones(1))


ITERATORS = {"list": lambda: iter([1, 2, 3]), "tuple": lambda: iter((1, 2, 3)), "range": lambda: iter(range(1, 4)),
             "bytes": lambda: iter(b"abc"), "deque": lambda: iter(collections.deque([1, 2, 3])),
             "backwards": lambda: reversed([1, 2]),
             "count": itertools.count, "count by": lambda: itertools.count(1.5, 0.25), "cycle": lambda: itertools.cycle([1, 2]),
             "texts": lambda: iter("ab"), "tensors": lambda: iter([ng.ones(1), ng.zeros(1)]),
             "generator": lambda: (float(v) for v in range(5)), "map": lambda: map(float, [1, 2]),
             "zip": lambda: zip([1, 2], [3, 4]), "of a cycle": lambda: itertools.cycle(map(float, [1, 2, 3])),
             "count of others": lambda: itertools.count(fractions.Fraction(1, 2))}


@pytest.mark.parametrize("kind", ITERATORS)
@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_refusal_takes_no_item(kind, taken):
    it, plain = ITERATORS[kind](), ITERATORS[kind]()
    for i in (it, plain):
        [next(i, None) for _ in range(taken)]
    over = kind in ("backwards", "texts", "tensors") and taken >= 2 or taken == 3 and kind in (
        "list", "tuple", "range", "bytes", "deque")
    with pytest.raises(StopIteration) if over else pytest.raises(CaptureError, match=r"\.py:\d+"):
        ng.compile(lambda x: x * next(it) * x.sum().numpy())(ng.ones(1))
    assert str(next(it, None)) == str(next(plain, None))


def test_a_refusal_after_a_replay_has_drawn_takes_no_item():
    it, count, own = iter([1.0, 1.0, 1.0, 5.0, 6.0]), itertools.count(), random.Random(3)

    def step(x):
        k = next(it) + 0 * next(count) * own.random()
        return x * k if k < 2 else x * x.sum().numpy()
    f = ng.compile(step)
    assert [f(ng.ones(1)).item() for _ in range(3)] == [1.0] * 3
    other = random.Random(3)
    [other.random() for _ in range(3)]
    with pytest.raises(CaptureError, match="numpy"):
        f(ng.ones(1))
    assert (next(it), next(count), own.random()) == (5.0, 3, other.random())


def test_a_fallback_takes_each_item_once():
    it, count, made = iter([1.0, 2.0, 3.0]), itertools.count(1), (float(v) for v in range(1, 9))
    with pytest.warns(CompileWarning):
        f = ng.compile(lambda x: (x * next(it) * next(count)).numpy(), fallback=True)
        assert [f(ng.ones(1)).item() for _ in range(3)] == [1.0, 4.0, 9.0]
    with pytest.warns(CompileWarning, match="generator"):
        f = ng.compile(lambda x: x * next(made), fallback=True)
        assert [f(ng.ones(1)).item() for _ in range(3)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_refusal_leaves_the_second_number_of_gauss(before):
    """Which is an attribute of the generator, there before the first draw from its state."""
    own, plain = random.Random(3), random.Random(3)
    for r in (own, plain):
        [r.gauss(0, 1) for _ in range(before)]
    with pytest.raises(CaptureError, match="numpy"):
        ng.compile(lambda x: (x * own.gauss(0, 1) * own.random()).numpy())(ng.ones(1))
    assert own.getstate() == plain.getstate()
    f = ng.compile(lambda x: x * own.gauss(0, 1) * own.random())
    for _ in range(5):
        assert f(ng.ones(1, dtype=ng.float64)).item() == pytest.approx(plain.gauss(0, 1) * plain.random())
    assert own.getstate() == plain.getstate()
