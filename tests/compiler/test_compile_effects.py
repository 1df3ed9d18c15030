"""What a compiled step writes, takes and gives: attributes, names, arguments, results, errors."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import types

import pytest
from compile_helpers import both, changes, noted, one

import numbagrad as ng

PROGRAMS = {}
program = noted(PROGRAMS)
GLOBAL, TABLE = 1.0, {}


@program
def effects_on_attributes(C):
    class T:
        def __init__(self):
            self.n, self.last, self.log, self.best = 0, None, [], None
            self.d, self.seen, self.t = {}, set(), (0, None)

        def step(self, x):
            self.n += 1
            self.last = x * 2
            self.log.append((x.sum(), "sum"))
            self.d["x"] = {"y": x + 1, "n": 3}
            self.seen.add(("a", 1))
            self.t = (x - 1, [x, 2])
            if self.best is None:
                self.best = x.max()
            return x
    t = T()
    f, out = C(t.step), []
    for k in range(4):
        out.append(f(ng.full((1,), float(k))).item())
    return [out, t.n, t.last.item(), [(a.item(), b) for a, b in t.log], t.d["x"]["y"].item(), t.seen, t.t[0].item(),
            t.t[1][0].item(), t.best.item()]


@program
def effects_through_names(C):
    count, last = 0, None
    box = types.SimpleNamespace()

    class Holder:
        total = 0
        __slots__ = ("v",)
    h = Holder()

    def step(x):
        nonlocal count, last
        count += 1
        last = x * 2
        Holder.total = 5
        h.v = x + 1
        box.x = x
        box.y = x, 1
        TABLE["set by a step"] = 3
        return x
    f = C(step)
    for k in range(3):
        f(ng.full((1,), float(k)))
    return [count, last.item(), Holder.total, h.v.item(), box.x.item(), box.y[0].item(), TABLE.pop("set by a step")]


@program
def deleted_attributes(C):
    box, d = types.SimpleNamespace(a=1, b=2), {"k": 1}

    def step(x):
        if hasattr(box, "a"):
            del box.a
        d.pop("k", None)
        return x
    f = C(step)
    f(one()), f(one())
    return [vars(box), d]


@dataclasses.dataclass
class Batch:
    x: object
    k: float = 1.0


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object
    extra: tuple = ()


Point = collections.namedtuple("Point", "a b")


@program
def nested_arguments_and_results(C):
    def step(batch, table, *rest, **more):
        y = batch.x * batch.k + table["a"][0]
        return Batch(y, 2.0), Point(y + 1, [rest[0], {"z": more["m"] * 2}]), Frozen(y, (1, y))
    f, out = C(step), []
    for k in range(3):
        b, p, z = f(Batch(ng.full((1,), float(k))), {"a": [one()]}, one() * 3, m=one())
        out += [b.x.item(), b.k, p.a.item(), p.b[0].item(), p.b[1]["z"].item(), z.x.item(), z.extra[0], type(z).__name__]
    return out


@program
def results_that_are_there_already(C):
    kept, table = [1, 2], {"a": 1}
    f = C(lambda x: (x, kept, table, GLOBAL))
    return [f(one())[1] is kept, f(one())[1] is kept, f(one())[2] is table]


@program
def contexts_and_generators(C):
    depth = []

    @contextlib.contextmanager
    def scaled(k):
        depth.append(k)
        yield k * 2
        depth.pop()

    def pieces(x, n):
        for i in range(n):
            yield x * i

    def step(x):
        with scaled(3) as k, ng.no_grad():
            y = x * k
        return sum(pieces(y, 3)) + list(itertools.accumulate([1, 2, 3]))[-1]
    return changes(C, step)


@program
def exceptions_inside(C):
    def step(x):
        try:
            {}["missing"]
        except KeyError as error:
            x = x * len(error.args)
        try:
            raise ValueError("mine")
        except (TypeError, ValueError):
            x = x + 1
        finally:
            x = x * 2
        return x
    return changes(C, step)


@program
def effects_before_an_error(C):
    log, out = [], []

    def step(x, k):
        log.append(k)
        if k > 1:
            raise ValueError("k")
        return x * k
    f = C(step)
    for k in (1.0, 2.0, 1.0, 2.0, 1.0, 3.0):
        try:
            out.append(f(one(), k).item())
        except ValueError as e:
            out.append(str(e))
    return [out, log]


@program
def one_object_twice(C):
    o = types.SimpleNamespace(list=None, table={})

    def step(x, k):
        h, c = x * k, ng.tensor([k])
        made = [h, k]
        o.list, o.table["made"], o.h = made, made, h
        return h, h, made, (made,), c, c, {"h": h}
    f, out = C(step), []
    for k in (1.0, 2.0, 3.0):
        r = f(one().requires_grad_(), k)
        out.append([r[0] is r[1] is o.h is r[2][0] is r[6]["h"], r[2] is r[3][0] is o.list is o.table["made"], r[4] is r[5],
                    r[0].requires_grad, r[2][1], ng.autograd.grad(r[0], [r[1]])[0].item()])
    return out


@program
def keywords_made_anew(C):
    """Each call has other dicts of keywords, which no variant is tied to."""
    @dataclasses.dataclass
    class D:
        a: float = 1.0
        b: float = 2.0
    d = D()

    def filled(**given):
        if "b" not in given:
            given["b"] = d.b
        return given["a"] * given["b"]
    f = C(lambda x: x * dataclasses.replace(d, a=3.0).a * filled(a=2.0))
    out = changes(lambda _: f, f, lambda: setattr(d, "b", 5.0))
    if C is ng.compile:
        assert len(f.variants) <= 3
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    found, wanted = both(PROGRAMS[name])
    assert found == wanted
