"""Classes, instances and functions that a compiled step looks at."""

from __future__ import annotations

import ctypes
import functools
import operator
import types
import weakref

import numpy as np
import pytest
from compile_helpers import both, changes, noted, one

import numbagrad as ng
from numbagrad import nn

PROGRAMS = {}
program = noted(PROGRAMS)


@program
def class_attributes(C):
    class Base:
        k = 1.0

    class Child(Base):
        pass
    c = Child()
    return [changes(C, lambda x: x * Child.k, lambda: setattr(Base, "k", 2.0), lambda: setattr(Child, "k", 3.0),
                    lambda: delattr(Child, "k")),
            changes(C, lambda x: x * c.k, lambda: setattr(Base, "k", 5.0), lambda: setattr(c, "k", 6.0),
                    lambda: delattr(c, "k"))]


@program
def inserted_base(C):
    class A:
        k = 1.0

    class B:
        k = 2.0

    class D(A):
        pass
    return changes(C, lambda x: x * D.k, lambda: setattr(D, "__bases__", (B,)))


@program
def class_of_an_instance(C):
    class A:
        def go(self, x):
            return x * 2

    class B:
        def go(self, x):
            return x * 3
    a = A()
    return changes(C, lambda x: a.go(x), lambda: setattr(a, "__class__", B))


@program
def slots_and_properties(C):
    class S:
        __slots__ = ("a", "_b")

        @property
        def b(self):
            return self._b * 2
    s = S()
    s.a, s._b = 1.0, 1.0
    return changes(C, lambda x: x * s.a + s.b, lambda: setattr(s, "a", 2.0), lambda: setattr(s, "_b", 4.0),
                   lambda: setattr(S, "b", property(lambda self: 100.0)))


@program
def descriptors_and_getattr(C):
    class Doubled:
        def __get__(self, instance, owner):
            return instance.raw * 2

    class H:
        d = Doubled()

        def __init__(self):
            self.raw, self.hidden = 1.0, {"z": 1.0}

        def __getattr__(self, name):
            return self.hidden[name]
    h = H()
    return changes(C, lambda x: x * h.d + h.z, lambda: setattr(h, "raw", 3.0), lambda: h.hidden.update(z=5.0),
                   lambda: setattr(h, "z", 7.0), lambda: setattr(Doubled, "__get__", lambda *a: 0.5))


@program
def operators_of_a_class(C):
    class V:
        def __init__(self, v):
            self.v = v

        def __add__(self, other):
            return V(self.v + other.v)

        def __bool__(self):
            return self.v > 2

        def __getitem__(self, i):
            return self.v * i

        def __len__(self):
            return int(self.v)

        def __iter__(self):
            return iter([self.v, self.v])

        def __eq__(self, other):
            return self.v == other
    a, b = V(1.0), V(2.0)
    return [changes(C, lambda x: x * (a + b).v, lambda: setattr(a, "v", 2.0),
                    lambda: setattr(V, "__add__", lambda s, o: V(9.0))),
            changes(C, lambda x: x * 2 if b else x, lambda: setattr(b, "v", 3.0),
                    lambda: setattr(V, "__bool__", lambda s: False)),
            changes(C, lambda x: x * a[2] * len(a) + sum(a) + (a == 2.0), lambda: setattr(a, "v", 3.0))]


@program
def functions_that_change(C):
    def p(x, k=1.0, *, m=1.0):
        return x * k * m

    def q(x, k=1.0, *, m=1.0):
        return x + 10
    return changes(C, lambda x: p(x), lambda: setattr(p, "__defaults__", (3.0,)), lambda: p.__kwdefaults__.update(m=2.0),
                   lambda: setattr(p, "__kwdefaults__", {"m": 5.0}), lambda: setattr(p, "__code__", q.__code__))


@program
def keywords_and_insides_of_partials(C):
    def scaled(x, k=1.0, table=None):
        return x * k * (table["a"] if table else 1.0)

    def other(x, k=9.0, table=None):
        return x + k

    def seen(wrap):
        part = functools.partial(scaled, k=2.0, table={"a": 1.0})
        return changes(C, wrap(part), lambda: part.keywords.update(k=3.0), lambda: part.keywords.update(k=0.5),
                       lambda: part.keywords["table"].update(a=5.0), lambda: part.keywords.pop("k", None),
                       lambda: part.keywords.pop("table"), lambda: part.__setstate__((other, (), {"k": 7.0}, {})))
    return [seen(wrap) for wrap in (lambda p: lambda x: p(x), lambda p: p, lambda p: lambda x: list(map(p, [x]))[0])]


@program
def partials_caches_and_getters(C):
    table = {"k": 1.0}
    ns = types.SimpleNamespace(a=types.SimpleNamespace(b=1.0))

    @functools.lru_cache
    def cached(n):
        return table["k"] * n
    scaled = functools.partial(lambda k, x: x * k["k"], table)
    path, key = operator.attrgetter("a.b"), operator.itemgetter("k")
    out = changes(C, lambda x: scaled(x) * path(ns) * key(table), lambda: table.update(k=2.0), lambda: setattr(ns.a, "b", 3.0))
    return [out, changes(C, lambda x: x * cached(2))]


@program
def cached_properties(C):
    class P:
        t = 1.0

        @functools.cached_property
        def beta(self):
            return self.t * 2
    p = P()

    def again():
        p.t = 5.0
        del p.beta
    return [changes(C, lambda x: x * p.beta, again), p.__dict__]


@program
def writes_that_change_nothing(C):
    """What a write leaves as it was is written again where the caller has changed it."""
    class S:
        __slots__ = ("a",)

    class K:
        a = None
    o, slot, d, items, members, cell = types.SimpleNamespace(a=None), S(), {"a": None}, [None, 1.0], {1}, None
    m = nn.Sequential(nn.Linear(1, 1))
    slot.a = None

    def step(x):
        nonlocal cell
        o.a = slot.a = d["a"] = K.a = items[0] = cell = None
        d.update(b=True)
        items[-1] = 1.0
        members.add(1)
        members.discard(2)
        d["t"] = 1
        del d["t"]
        m.eval()
        m.train()
        return x * 2
    f, out = C(step), []
    for _ in range(4):
        f(one())
        out.append([o.a, slot.a, K.a, dict(d), list(items), set(members), cell, m[0].training])
        o.a = slot.a = d["a"] = K.a = items[0] = d["b"] = d["t"] = items[1] = cell = 5
        members.clear()
        members.add(2)
        m[0].eval()
    return out


@program
def class_attributes_that_are_written(C):
    class A:
        k = 1.0

    class B(A):
        def go(self):
            return super().k
    b = B()

    def step(x):
        A.k += 1
        return x * b.k + b.go()
    return changes(C, step, lambda: setattr(A, "k", 7.0), lambda: setattr(B, "k", 2.0))


@program
def weak_references(C):
    class T:
        k = 1.0
    t = T()
    r = weakref.ref(t)
    return changes(C, lambda x: x * r().k, lambda: setattr(t, "k", 4.0))


@program
def methods_of_bases(C):
    class A:
        def go(self, x):
            return x * 2

        @property
        def p(self):
            return 1.0

    class B(A):
        def go(self, x):
            return super().go(x) + super().p
    b = B()
    return changes(C, lambda x: b.go(x), lambda: setattr(A, "go", lambda self, x: x * 5),
                   lambda: setattr(A, "p", property(lambda self: 7.0)), lambda: setattr(B, "go", lambda self, x: x))


@program
def classes_asked_for(C):
    class A:
        pass

    class B(A):
        pass
    a = A()
    f = lambda x: x * (2 if isinstance(a, B) else 3) + (type(a) is A)  # noqa: E731
    return changes(C, f, lambda: setattr(a, "__class__", B), lambda: setattr(a, "__class__", A))


@program
def attributes_in_c(C):
    array = np.zeros((2, 3))

    class Point(ctypes.Structure):
        _fields_ = [("a", ctypes.c_double)]
    p = Point(1.0)

    def h(x):
        return x

    def bound(self):
        return self
    method = types.MethodType(bound, 3)
    bound.k = 1.0
    return [changes(C, lambda x: x * array.shape[0], lambda: array.resize((3, 2), refcheck=False)),
            changes(C, lambda x: x * p.a, lambda: setattr(p, "a", 5.0)),
            changes(C, lambda x: x * len(h.__name__), lambda: setattr(h, "__name__", "longer")),
            changes(C, lambda x: x * method.k, lambda: setattr(bound, "k", 4.0))]


@program
def counters_of_classes(C):
    class A:
        count, k = 0, 1.5

    class B(A):
        pass

    class Net(nn.Module):
        steps, gain = 0, 1.0

        def forward(self, x):
            Net.steps += 1
            return x * self.gain / self.steps
    b, net, out = B(), Net(), []

    def step(x):
        A.count += 1
        return net(x) * b.k * B.count
    f = C(step)
    changes = {4: lambda: setattr(A, "k", 2.0), 6: lambda: setattr(B, "count", 7), 8: lambda: delattr(B, "count"),
               9: lambda: setattr(b, "k", 4.0)}
    for i in range(12):
        changes.get(i, lambda: None)()
        if i > 3:
            Net.gain = float(i)
        out.append([f(one()).item(), A.count, Net.steps])
    if C is ng.compile:
        assert len(f.variants) <= 4  # not one for each value of the counter
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    found, wanted = both(PROGRAMS[name])
    assert found == wanted
