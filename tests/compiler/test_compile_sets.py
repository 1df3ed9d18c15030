"""Sets that a compiled step looks at or changes: their items and the order of these are those of eager code after each call."""

from __future__ import annotations

import collections
import gc
import random
import sys

import pytest
from compile_helpers import both, noted, one

import numbagrad as ng
from numbagrad.compiler import CaptureError, sets

PROGRAMS = {}
program = noted(PROGRAMS)


def base(x):
    return next(c for c in (set, frozenset, collections.deque, list) if isinstance(x, c))


def items(x):
    """The items of a container in their order, whatever its class says."""
    return list(base(x).__iter__(x))


def seen(C, step, made, between=lambda x, i: None, calls=8):
    """What each of some calls returns, and what it leaves of the container."""
    x = made()
    f, out = C(lambda h: step(x, h)), []
    for i in range(calls):
        between(x, i)
        out.append((repr(f(one())), items(x), list(getattr(x, "log", ()))))
    return out


@program
def items_that_share_a_place_of_the_table(C):
    def step(s, h):
        s.add(8)
        s |= {16, 0}
        return h * len(s)

    def blind(s, h):
        s.update(range(0, 64, 8))
        s.discard(8)
        return h
    return seen(C, step, lambda: {1, 2}), seen(C, blind, lambda: {3, 11})


@program
def order_that_a_step_reads(C):
    def step(s, h):
        for k, v in enumerate(s):
            h = h * (k + 1) + v
        s.add(8)
        s.discard(8)
        return h

    def between(s, i):
        kept = items(s)
        s.clear()
        s.update(kept[::-1] if i % 3 else kept)
    return seen(C, step, lambda: {0, 16, 24}, between)


@program
def tables_of_another_size(C):
    """Equal sets in an equal order, which further items come into another order in."""
    def step(s, h):
        s.add(9)
        s.add(17)
        return list(s)

    def copied(s, h):
        t = set(s)
        t.add(9)
        t.add(17)
        return list(t)

    def between(s, i):
        s.clear()
        s.update([1, 2])
        if i % 4 > 1:
            s.update(range(50))
            for k in [k for k in s if k not in (1, 2)]:
                s.discard(k)
    return seen(C, step, lambda: {1, 2}, between), seen(C, copied, lambda: {1, 2}, between)


@program
def every_method(C):
    def step(s, h):
        s |= s
        s ^= {3}
        s.update([8, 0], (16,), {24: 1}, {4}, range(2), "ab", {9: 1}.keys(), {7: 7}.values(), frozenset((32, 40)))
        s &= {0, 8, 16, 24, 32, 5}
        s.symmetric_difference_update([5, 40, 48])
        s.intersection_update({40, 48, 0, 8, 16}, range(100))
        s.difference_update({48}, [99])
        s -= {99}
        s.update(k for k in (56, 64, 8) if k not in s)
        set.add(s, 72)
        return h * len(s)

    def emptied(s, h):
        s -= s
        s.add(5)
        s.clear()
        s |= {16, 8, 0}
        return h
    return seen(C, step, lambda: {1, 2}), seen(C, emptied, lambda: {1, 2})


@program
def popped_and_put_back(C):
    """Where pop() looks first moves on, which no item tells."""
    def step(s, h):
        v = s.pop()
        s.add(v)
        return h * v

    def into(s, h):
        v = s.pop()
        s.update(w for w in [v])
        return h * v
    return seen(C, step, lambda: {1, 2, 3}), seen(C, into, lambda: {1, 2, 3})


@program
def errors_that_the_step_handles(C):
    def step(s, h):
        try:
            s.remove(99)
        except KeyError:
            h = h * 2
        try:
            s.update([5, 6, [7]])
        except TypeError:
            h = h + 1
        s.add(8)
        return h * len(s)
    return seen(C, step, lambda: {1, 2}), seen(C, step, lambda: {1, 99})


@program
def results(C):
    def step(s, h):
        kept = set()
        for v in (16, 8, 0):
            kept.add(v)
        kept.discard(16)
        kept.add(16)
        made = {0, 8, 16, 24} - {8}, frozenset((8, 0)) | {16}, set(s), kept
        return [type(v).__name__ for v in made], *made
    return seen(C, step, lambda: {16, 0, 8}, lambda s, i: s.add(i % 5))


@program
def constants_in_another_order(C):
    """Equal constants of one file are one object, in the order of the first."""
    def step(s, h):
        s.clear()
        s |= {16, 8, 0}
        return h * (h.numel() in {16, 8, 1}), {16, 8, 0}

    def other(s, h):
        s.clear()
        s |= {0, 8, 16}
        return {8, 0, 16}
    return seen(C, step, set), seen(C, other, set)


@program
def frozensets_that_are_equal(C):
    found = [frozenset((1, 2)), frozenset((True, 2)), frozenset((0, 8, 16)), frozenset((16, 8, 0)), frozenset((1.0, 2))]

    def step(x, h):
        for v in x[0]:
            h = h * 2 + v
        return h, [type(v).__name__ for v in x[0]]
    return seen(C, step, lambda: [found[0]], lambda x, i: x.__setitem__(0, found[i % 5]), 12)


class Key:
    """An item with a hash of its own."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return self.value

    def __repr__(self):
        return f"Key({self.value})"


KEYS = [Key(8 * i) for i in range(4)]


@program
def items_of_classes(C):
    def step(s, h):
        s.discard(KEYS[0])
        s.add(KEYS[3])
        s |= {KEYS[1], KEYS[0]}
        return h * len(s)
    return [[a, list(map(repr, b))] for a, b, _ in seen(C, step, lambda: {KEYS[0], KEYS[2]})]


@program
def tensors_as_items(C):
    kept, out = {1.0}, []

    def step(h):
        kept.clear()
        kept.add(h * 2)
        other = {h * 3}
        kept.update(other)
        return len(kept)
    f = C(step)
    for i in range(4):
        out.append([f(one() + i), sorted([t.item() for t in kept])])
    return out


class Loud(set):
    """A set with methods of its own."""

    def __init__(self, *given):
        super().__init__(*given)
        self.log = []

    def add(self, item):
        self.log.append(item)
        super().add(item)

    def clear(self):
        self.log.append("clear")
        super().clear()

    def update(self, *given):
        self.log.append("update")
        super().update(*given)

    def __ior__(self, other):
        self.update(other)
        return self

    def __iter__(self):
        return iter(sorted(set.__iter__(self)))

    def __len__(self):
        return 77

    def __contains__(self, item):
        return True


@program
def classes_derived_from_set(C):
    def step(s, h):
        s.add(8)
        s.update([24])
        s |= {16, 0}
        s -= {1}
        for v in s:
            h = h + v
        return h * len(s) * (5 in s)
    return seen(C, step, lambda: Loud([1, 2]))


class Line(collections.deque):
    """A deque with methods of its own."""

    def __init__(self, *given):
        super().__init__(*given)
        self.log = []

    def extend(self, more):
        self.log.append("extend")
        super().extend(more)

    def clear(self):
        self.log.append("clear")
        super().clear()

    def __setitem__(self, i, value):
        self.log.append(i)
        super().__setitem__(i, value)

    def __len__(self):
        return 5


class Row(list):
    """A list with methods of its own."""

    def __init__(self, *given):
        super().__init__(*given)
        self.log = []

    def extend(self, more):
        self.log.append("extend")
        super().extend(more)

    def __setitem__(self, i, value):
        self.log.append(i)
        super().__setitem__(i, value)


@program
def classes_derived_from_other_containers(C):
    def step(x, h):
        x.append(3.0)
        x[0] = 5
        x.extend([1])
        return h

    def turned(x, h):
        x.append(x.popleft() + 1)
        x.rotate(1)
        return h * x[0] * len(x)
    return [seen(C, step, lambda: Row([1, 2])), seen(C, step, lambda: Line([1, 2])), seen(C, turned, lambda: Line([1, 2, 4]))]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    found, wanted = both(PROGRAMS[name])
    assert found == wanted


ITEMS = [0, 8, 16, 24, 32, 1, 9, "a", "b", 40, True, 2.0, None, 64, 128]
STATEMENTS = ["s.add(%)", "s.discard(%)", "s |= {$}", "s &= {$}", "s -= {$}", "s ^= {$}", "s.update([$])", "s.clear()",
              "h = h + len(s)", "v = s.pop() if s else 0\nh = h + (v if isinstance(v, int) else 1)", "out.extend(s)",
              "s.update(t)", "t = t | s", "t = t | {%}", "s.symmetric_difference_update([$])",
              "s.intersection_update(t, {$})", "s.update(v for v in list(t))",
              "try:\n    s.remove(%)\nexcept KeyError:\n    h = h * 2", "s.add(h.numel())", "t = set(s)",
              "s.difference_update({$}, [$])", "t = s.copy()", "s = s | {$}", "t = frozenset([$]) - s"]


def drawn(rng):
    """Source of a step on two sets."""
    lines = ["def step(kept, h):", "    s, t = kept", "    out = []"]
    for text in rng.choices(STATEMENTS, k=rng.randint(1, 6)):
        while "$" in text:
            text = text.replace("$", ", ".join([repr(v) for v in rng.choices(ITEMS, k=rng.randint(1, 4))]), 1)
        lines += ["    " + line for line in text.replace("%", repr(rng.choice(ITEMS))).split("\n")]
    return "\n".join([*lines, "    return h, out, s, set(t)\n"])


@pytest.mark.parametrize("seed", range(60))
def test_drawn_programs(seed, tmp_path, monkeypatch):
    rng = random.Random(seed)
    name = f"drawn_sets_{seed}"
    (tmp_path / f"{name}.py").write_text(drawn(rng))
    monkeypatch.syspath_prepend(str(tmp_path))
    step = __import__(name).step
    first = [rng.sample([0, 8, 16, 24, 32, 1, 9, "a", "b", 40, 64, 72], rng.randint(0, 7)) for _ in range(2)]
    between = [rng.choice(["", "", "", "add", "grow", "turn"]) for _ in range(8)]

    def run(C):
        kept, found = [set(f) for f in first], []
        f = C(lambda h: step(kept, h))
        for i, what in enumerate(between):
            if what == "add":
                kept[0].add(i)
            elif what == "grow":
                kept[0].update(range(100, 150))
                for k in range(100, 150):
                    kept[0].discard(k)
            elif what == "turn":
                turned = list(kept[0])[::-1]
                kept[0].clear()
                kept[0].update(turned)
            y, out, s, t = f(one())
            found.append((y.item(), repr(out), s is kept[0], *[repr(list(v)) for v in (s, t, *kept)]))
        return found
    found, wanted = both(run)
    assert found == wanted
    sys.modules.pop(name)


def test_a_table_is_put_back_as_it_was():
    rng = random.Random(1)
    for n in (0, 1, 4, 5, 20, 100, 700):
        x = set(rng.sample(range(0, 8000, 8), n))
        for v in rng.sample(sorted(x), n // 3):
            x.discard(v)
        body = sets.body_of(x)
        made = [sets.made(kind, body) for kind in (set, frozenset)]
        before = list(x)
        x.update(range(5000))
        x.pop() if n == 20 else x.clear()
        sets.restore(x, body)
        for y in (x, *made):
            now = sets.body_of(y)
            assert list(y) == before and now.marks == body.marks and now.finger == body.finger and y == set(before)
            assert (now.table == body.table).all()
        for v in before[::2]:
            assert v in x
            x.remove(v)
        x.update(before)
        assert x == set(before)


def test_items_that_are_put_back_are_held_once():
    keys = [Key(i % 5) for i in range(40)]
    x = set(keys)
    body = sets.body_of(x)
    counts = [sys.getrefcount(k) for k in keys]
    for _ in range(3):
        x.clear()
        x.add(keys[0])
        sets.restore(x, body)
        gc.collect()
    assert [sys.getrefcount(k) for k in keys] == counts
    more = [sets.made(kind, body) for kind in (set, frozenset)]
    assert [sys.getrefcount(k) for k in keys] == [c + 2 for c in counts]
    del more
    x.clear()
    del body
    assert [sys.getrefcount(k) for k in keys] == [c - 2 for c in counts]


def test_a_guard_of_a_set_is_words_of_memory():
    kept = {1, 2}
    f = ng.compile(lambda h: h * sum(kept))
    for _ in range(3):
        f(one())
    guards = f.variants[0].guards
    assert not guards.asked and f.variants[0].guards.pairs
    kept.discard(2)
    kept.add(2)
    assert f(one()).item() == 3.0
    kept.add(5)
    assert f(one()).item() == 8.0


def test_a_set_of_an_unknown_layout_is_not_changed(monkeypatch):
    monkeypatch.setattr(sets, "known", lambda: False)
    kept = {1, 2}

    @ng.compile
    def step(h):
        kept.add(3)
        return h
    with pytest.raises(CaptureError, match=r"changes a set, whose order a capture cannot put back.*test_compile_sets\.py:\d+"):
        step(one())
    assert kept == {1, 2}
    assert ng.compile(lambda h: h * sum(kept))(one()).item() == 3.0


def test_an_object_that_a_step_makes_is_no_item_of_a_set_that_outlives_it():
    kept = {1, 2}

    @ng.compile
    def step(h):
        kept.add(Key(3))
        return h
    with pytest.raises(CaptureError, match="keeps a Key that it made"):
        step(one())
    assert list(kept) == [1, 2]
