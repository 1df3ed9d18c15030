"""Lists, dicts, sets, deques and memory of Python's that a compiled step looks at or changes."""

from __future__ import annotations

import array
import collections
import ctypes
import functools
import operator
import types

import numpy as np
import pytest
from compile_helpers import both, changes, noted, one

import numbagrad as ng
from numbagrad.compiler import CaptureError

PROGRAMS = {}
program = noted(PROGRAMS)


@program
def followed_numbers_in_containers_that_are_left_as_they_were(C):
    order, queue = collections.OrderedDict(u=1.0, v=2.0), [1.0, 2.0]

    def moved(x):
        order.move_to_end("u")
        return x * order["u"]

    def turned(x):
        queue.reverse()
        queue.reverse()
        return x * queue[0]
    return [changes(C, f, *[functools.partial(f_, k) for k in (2.0, 3.0, 4.0) for f_ in (
        lambda k: order.__setitem__("u", k), lambda k: queue.__setitem__(0, k))]) for f in (moved, turned)], order, queue


@program
def followed_numbers_in_lists_of_lists(C):
    pairs, more = [[1.5], [2.5]], {"a": [1.0, 2.0]}

    def nested(x):
        for a, b in zip([1.0, 2.0], pairs):
            x = x * a + b[0]
        return x

    def by_values(x):
        for v in more.values():
            x = x * v[0] + v[-1]
        return x
    return [changes(C, f, *[functools.partial(f_, k) for k in (1.0, -1.0, 0.25, 3.0) for f_ in (
        lambda k: pairs[0].__setitem__(0, k), lambda k: more["a"].__setitem__(-1, k))]) for f in (nested, by_values)]


@program
def dicts_with_methods_of_their_own(C):
    class Loud(dict):
        def update(self, *args, **kwargs):
            raise AssertionError

        def pop(self, *args):
            raise AssertionError
    counts, ordered, loud = collections.Counter(a=1), collections.OrderedDict(a=1.0, b=2.0, c=3.0), Loud(a=1.0, b=2.0)
    missing = collections.defaultdict(float)

    def step(x):
        counts["a"] += 1
        counts.update(["b"])
        missing["n"] += 1.0
        ordered.move_to_end("a")
        ordered["d"] = len(counts)
        loud["a"] = loud["a"] + 1
        loud["c"] = 1.0
        del loud["c"]
        return x
    f, out = C(step), []
    for _ in range(4):
        f(one())
        out.append([dict(counts), dict(missing), list(ordered.items()), list(reversed(ordered)), dict(loud)])
        ordered["c"] = ordered.pop("c")
    return out


@program
def order_of_a_dict(C):
    d = {"a": 1.0, "b": 2.0, "c": 3.0}

    def step(x):
        d["a"] = d.pop("a") + 1
        return x * d["a"]
    f = C(step)
    return [(f(one()).item(), list(d.items())) for _ in range(4)]


@program
def containers_read_after_they_were_written(C):
    """What is still there from before the step is relied on, what the step has written is not."""
    def total(o, x):
        o["a"] = 5.0
        return x * sum(o.values()) + len(o)

    def added(o, x):
        o["c"] = 5.0
        return x * len(o) + ("d" in o)

    def product(o, x):
        o[0] = 5.0
        for v in o:
            x = x * v
        return x * o[-1] + o[0]

    def member(o, x):
        o.add(5.0)
        return x * len(o) + sum(o)

    def grown(o, x):
        o.append(5.0)
        return x * len(o) + o[-1] + o[-2] + o[0]

    def pushed(o, x):
        o.appendleft(5.0)
        return x * o[1] + sum(o)

    def shifted(o, x):
        del o[0]
        o.append(5.0)
        return x * o[0]

    def inserted(o, x):
        o.insert(0, 1.0)
        return x * o[1]

    def cut(o, x):
        o[1:] = [3.0]
        return x * o[0] * o[-1]
    out = []
    for f, o, *between in [
            (total, {"a": 1.0, "b": 2.0}, lambda o: o.update(b=3.0), lambda o: o.update(q=1.0)),
            (added, {"a": 1.0}, lambda o: o.update(d=3.0), lambda o: o.pop("c")),
            (product, [1.0, 2.0], lambda o: o.append(3.0), lambda o: o.__setitem__(1, 7.0)),
            (member, {1.0, 2.0}, lambda o: o.add(3.0), lambda o: o.clear()),
            (grown, [1.0, 2.0], lambda o: o.__setitem__(-1, 3.0), lambda o: o.__setitem__(0, 3.0)),
            (pushed, collections.deque([1.0, 2.0], maxlen=3), lambda o: o.appendleft(3.0)),
            (shifted, [1.0, 2.0, 3.0], lambda o: o.__setitem__(1, 7.0)),
            (inserted, [1.0, 2.0], lambda o: o.__setitem__(0, 3.0)),
            (cut, [1.0, 2.0, 3.0], lambda o: o.__setitem__(0, 7.0))]:
        out.append((changes(C, lambda x, f=f, o=o: f(o, x), *[lambda c=c, o=o: c(o) for c in between]), o))
    return out


@program
def containers_of_the_users(C):
    class D(dict):
        def __getitem__(self, k):
            return super().__getitem__(k) * 2

        def __missing__(self, k):
            return 9.0

    class E(dict):
        def __missing__(self, k):
            return self["default"]

    class L(list):
        def __getitem__(self, i):
            return super().__getitem__(i) + 1

        def __iter__(self):
            return iter([v * 10 for v in super().__iter__()])

        def __contains__(self, v):
            return len(self) > 2
    d, e, items = D(k=1.0), E(default=1.0), L([1.0, 2.0])
    return [changes(C, lambda x: x * d["k"], lambda: d.update(k=2.0), lambda: setattr(D, "__getitem__", lambda s, k: 0.5)),
            changes(C, lambda x: x * e["z"], lambda: e.update(default=3.0), lambda: e.update(z=4.0)),
            changes(C, lambda x: x * items[0] + sum(items) + (7 in items), lambda: items.__setitem__(0, 5.0),
                    lambda: items.append(1.0))]


@program
def operators_that_give_what_was_there(C):
    class U:
        def __init__(self):
            self.kept = [1.0]

        def __add__(self, other):
            return self.kept

        def __getitem__(self, i):
            return self.kept
    u = U()
    return [changes(C, lambda x: x * (u + 1)[0], lambda: u.kept.__setitem__(0, 5.0)),
            changes(C, lambda x: x * u[3][0], lambda: u.kept.__setitem__(0, 7.0))]


@program
def comparisons_look_deep(C):
    a, b, text = [[1], {"k": [2]}], [[1], {"k": [2]}], [["a"]]
    return [changes(C, lambda x: x * (2 if a == b else 3), lambda: a[1]["k"].append(3), lambda: b[1]["k"].append(3)),
            changes(C, lambda x: x * (2 if [1, 5] in a else 3), lambda: a[0].append(5)),
            changes(C, lambda x: x * len(f"{text}"), lambda: text[0].append("longer")),
            changes(C, lambda x: x * len(str(text)), lambda: text[0].pop()),
            changes(C, lambda x: x * max([[[a[0]]]])[0][0][0], lambda: a[0].__setitem__(0, 8))]


@program
def containers(C):
    deep = {"a": [{"b": (1.0, [2.0])}]}
    q, s, od = collections.deque([1.0, 2.0]), {1.0, 2.0}, collections.OrderedDict(a=1.0, b=2.0)
    dd, array = collections.defaultdict(lambda: 3.0, a=1.0), bytearray(b"\x01\x02")
    return [changes(C, lambda x: x * deep["a"][0]["b"][1][0], lambda: deep["a"][0]["b"][1].__setitem__(0, 5.0),
                    lambda: deep["a"].__setitem__(0, {"b": (1.0, [7.0])})),
            changes(C, lambda x: x * sum(q) + q[-1], lambda: q.append(3.0), lambda: q.rotate(1)),
            changes(C, lambda x: x * len(s) + sum(s) + (5.0 in s), lambda: s.add(5.0), lambda: s.discard(1.0)),
            changes(C, lambda x: x * next(iter(od.values())), lambda: od.move_to_end("a"), lambda: od.update(b=9.0)),
            changes(C, lambda x: x * dd["a"], lambda: dd.update(a=2.0)),
            changes(C, lambda x: x * array[0], lambda: array.__setitem__(0, 9))]


@program
def keys_and_absence(C):
    d, x0 = {}, types.SimpleNamespace()
    return [changes(C, lambda x: x * d.get("k", 1.0), lambda: d.update(k=2.0), lambda: d.pop("k")),
            changes(C, lambda x: x * (2 if "k" in d else 3), lambda: d.update(k=None), d.clear),
            changes(C, lambda x: x * getattr(x0, "k", 1.0), lambda: setattr(x0, "k", 5.0), lambda: delattr(x0, "k")),
            changes(C, lambda x: x * (2 if hasattr(x0, "z") else 3), lambda: setattr(x0, "z", 1))]


@program
def iterations(C):
    d, items, pairs = {"a": 1.0, "b": 2.0}, [1.0, 2.0, 3.0], [[1.0, 2.0], [3.0, 4.0]]
    return [changes(C, lambda x: x * sum(v for k, v in d.items() if k != "b"), lambda: d.update(c=5.0), lambda: d.pop("a")),
            changes(C, lambda x: sum([x * a * b for a, b in zip(items, reversed(items))]), lambda: items.append(4.0)),
            changes(C, lambda x: x * sum(a - b for a, b in pairs), lambda: pairs[0].__setitem__(0, 9.0)),
            changes(C, lambda x: x * [*items, 7.0][0] + max(items) + sorted(items)[-1], lambda: items.insert(0, 8.0)),
            changes(C, lambda x: x * functools.reduce(lambda a, b: a * b, items) + any(v > 8 for v in items),
                    lambda: items.pop()),
            changes(C, lambda x: x * (items == [1.0]) + x, lambda: items.__setitem__(slice(None), [1.0]))]


@program
def numbers_of_other_types(C):
    box = [1]
    signs = [0.0]
    return [changes(C, lambda x: x / box[0] if type(box[0]) is int else x * 7, lambda: box.__setitem__(0, True),
                    lambda: box.__setitem__(0, 1.0)),
            changes(C, lambda x: x.new_tensor(1.0) / (x * signs[0]), lambda: signs.__setitem__(0, -0.0)),
            changes(C, lambda x: x * (3.0 if signs[0] != signs[0] else 2.0), lambda: signs.__setitem__(0, float("nan")))]


@program
def numpy_values(C):
    a, scalar = np.array([1.0, 2.0], np.float32), [np.float64(0.5)]
    return [changes(C, lambda x: x * float(a[0]) + float(a.sum()), lambda: a.__setitem__(0, 5.0), lambda: a.fill(3.0)),
            changes(C, lambda x: x * ng.tensor(a)[1], lambda: a.__setitem__(1, 9.0)),
            changes(C, lambda x: x * scalar[0], lambda: scalar.__setitem__(0, np.float64(2.5)))]


@program
def effects_on_containers(C):
    lists, q, d = [[0.0] for _ in range(6)], collections.deque(maxlen=3), {"a": 1, "b": 2}

    def step(x):
        lists[0].append(1.0)
        lists[1].extend([x, x])
        lists[2] += [2.0]
        lists[3][0] = x * 3
        lists[4].insert(0, 5.0)
        lists[5].clear()
        q.appendleft(x)
        d.pop("a", None)
        d.update(c=x, b=7)
        return x
    f = C(step)
    for k in range(3):
        f(ng.full((1,), float(k)))
    plain = lambda v: v.item() if isinstance(v, ng.Tensor) else v  # noqa: E731
    return [[[plain(v) for v in x] for x in lists], [plain(v) for v in q], {k: plain(v) for k, v in d.items()}]


def _first_and_last(x, made, k):
    x[0], x[-1] = k, made


def _last_and_first(x, made, k):
    x[-1] = k
    x[0] = made


def _set_what_was_appended(x, made, k):
    x.append(made)
    x[-1] = k
    x[0] += k
    x.append(made)


def _last(x, made, k):
    x[-1] += k


@program
def items_set_by_either_index(C):
    """A list or deque of another length has other first and last items."""
    out = []
    for kind in (list, functools.partial(collections.deque, maxlen=9)):
        for change in (_first_and_last, _last_and_first, _last) + (_set_what_was_appended,) * (kind is list):
            x = kind([1.0, 2.0])

            def step(t, k, x=x, change=change):
                change(x, t.sum(), k)
                return t * k
            f = C(step)
            for i, more in enumerate([0, 0, 0, 1, 0, -1, -1, 2, 0]):
                if more > 0:
                    x.extend([7.0] * more)
                elif more and len(x) > 1:
                    x.pop()
                out.append([f(one() * i, float(i)).item(), [float(v) for v in x]])
            if C is ng.compile:
                assert len(f.variants) <= 6
    return out


@program
def sets_bound_anew(C):
    o, names, out = types.SimpleNamespace(met={1, 2}), frozenset(), []

    def step(x, k):
        nonlocal names
        o.met = o.met | {k, len(o.met)}
        names = frozenset(["a", str(k)])
        return x * len(o.met), {k}, names
    f = C(step)
    for k in (1, 2, 2, 5, 5, 5):
        y, made, found = f(one(), k)
        out.append([y.item(), made, sorted(found), sorted(o.met), found is names])
        made.add(9)
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    found, wanted = both(PROGRAMS[name])
    assert found == wanted


def test_memory_of_python_is_looked_at():
    numbers, shown, table = array.array("d", [1.0, 2.0]), memoryview(bytearray(b"abc")), {"a": 1.0}
    c, proxy = (ctypes.c_double * 2)(1.0, 2.0), types.MappingProxyType(table)
    for f, change in ((lambda x: x * numbers[0], lambda k: numbers.__setitem__(0, k)),
                      (lambda x: x * sum(numbers) * len(numbers), lambda k: numbers.append(k)),
                      (lambda x: x * shown[1], lambda k: shown.__setitem__(1, int(k))),
                      (lambda x: x * c[1], lambda k: c.__setitem__(1, k)),
                      (lambda x: x * proxy["a"], lambda k: table.__setitem__("a", k))):
        g = ng.compile(f)
        for k in range(6):
            if k > 2:
                change(3.0 + k)
            assert g(one()).item() == f(one()).item()
    for g in (lambda x: numbers.__setitem__(0, 5.0), lambda x: operator.setitem(c, 0, 1.0)):
        with pytest.raises(CaptureError):
            ng.compile(g)(one())

    def writes(x):
        numbers[1] = x.sum().item()
        return x
    with pytest.raises(CaptureError, match="sets an item of a array.array"):
        ng.compile(writes)(one())
    assert numbers[1] == 2.0


@pytest.mark.parametrize("name", ["setitem", "delitem", "iadd", "iconcat", "imul"])
def test_functions_of_operator_that_change_what_they_are_given_are_refused(name):
    kept = [1.0, 2.0]
    args = {"setitem": (0, 5.0), "delitem": (0,), "imul": (2,)}.get(name, ([3.0],))

    def step(x):
        getattr(operator, name)(kept, *args)
        return x
    with pytest.raises(CaptureError, match=rf"{name}\(\).* at .*\.py:\d+"):
        ng.compile(step)(one())
    assert kept == [1.0, 2.0]


@pytest.mark.parametrize("make, act, between", [
    (lambda: collections.deque([1.5] * 3, maxlen=3), lambda q, k: q.append(k), lambda q: q.appendleft(0.5)),
    (lambda: collections.deque([1.5] * 3, maxlen=3), lambda q, k: q.extend([k, k]), lambda q: q.appendleft(0.5)),
    (lambda: collections.deque([1.0], maxlen=3), lambda q, k: q.appendleft(k), lambda q: q.append(0.5)),
    (lambda: [1.0, 2.0, 3.0], lambda q, k: q.sort(), lambda q: q.reverse()),
    (lambda: [], lambda q, k: q.clear(), lambda q: q.append(2.0)),
    (lambda: {1.5}, lambda q, k: q.add(k), lambda q: q.discard(1.5)),
    (lambda: {2.5: 2}, lambda q, k: q.pop(k, None), lambda q: q.update({1.5: 3})),
], ids="append extend appendleft sort clear add pop".split())
def test_effects_that_left_a_container_as_it_was_in_the_capture(make, act, between):
    """What fell out of a full deque may be what was appended: the next call does it again all the same."""
    found = []
    for compiled in (lambda f: f, ng.compile):
        q, seen = make(), []

        def step(x, k=1.5):
            act(q, k)  # noqa: B023
            return x * 2
        f = compiled(step)
        for n in (1, 1, 1, 2, 2, 2):
            f(ng.ones(n))
            seen.append(sorted(q) if isinstance(q, set) else list(q))
            between(q)
        found.append(seen)
    assert found[0] == found[1]
