"""Pieces of programs: what Python code may do in a step and between calls.

In a text ``@`` is the number of the piece in its program and ``$`` a number. A step has the arguments ``x`` (n x 4), ``k`` (a
number) and the variables ``h`` (n x 4), ``s`` (a number) and ``out`` (a list)."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Piece:
    """``top``: text of the module; ``setup``: before the step; ``body``: statements of the step; ``between``: of the caller.
    ``names`` are assigned in the step as nonlocal (or global, where they are in ``top``)."""

    body: list
    between: list = dataclasses.field(default_factory=list)
    setup: str = ""
    top: str = ""
    names: tuple = ()


PIECES = {
    "numbers": Piece([
        "s = s * 2 + k", "s = math.sin(k) + s", "s = abs(s - $)", "s = max(s, k)", "s = min(s, $, k)", "h = h * s",
        "h = h + k",
        "h = h * (k if k > 1 else 0.5)", "s = s // 2 + k % 3", "h = h * (1 + k) ** 2", "s += int(k)", "s = round(s, 1)",
        "h = h / (abs(s) + 1)", "s, t = divmod(s, 2)\nh = h + t", "s = float(s) + bool(k)", "h = h * math.exp(-abs(s))",
        "if 0 < s < 2:\n    h = h + s", "if not k:\n    h = -h", "h = h.clamp(min=-abs(s))", "h = h * (s == k)",
        "h = ng.full((4,), float(s)) + h", "s = -s if s > $ else s", "h = h + (s or $)", "h = h * (k and 2)",
        "s = math.sqrt(abs(s))",
        "h = F.leaky_relu(h, abs(s))", "s = sum([s, k, 1])", "h = h + ng.tensor([1.0, 2.0, 3.0, 4.0]) * s", "s = math.pi * k",
        "h = ng.add(h, x, alpha=s)", "h = h.pow(2) * k", "s = [s, k][k > 1]", "h = h * {True: 2.0, False: 3.0}[s > 1]",
        "s = float(f'{1.5}') + s", "h = h * int(s > 0)", "s = (lambda a, b=k: a + b)(s)", "s = complex(s, 1).real"]),
    "object": Piece([
        "h = h * o@.a", "o@.a = o@.a + 1", "o@.a = s", "s = o@.a", "o@.n += 1", "if o@.n % 2:\n    h = h * 2",
        "o@.h = h.detach()",
        "if o@.h is not None and o@.h.shape == h.shape:\n    h = h + o@.h", "h = h * min(1.0, o@.n / 3)",
        "o@.last = (s, h.detach())",
        "h = h * getattr(o@, 'b', 1.0)", "o@.b = k", "if hasattr(o@, 'b'):\n    h = h + 1", "setattr(o@, 'a', o@.a * 0.5)",
        "h = h * vars(o@)['a']", "if o@.n > 3:\n    o@.n = 0", "h = h * getattr(o@, f'a{o@.i}')", "o@.i = 1 - o@.i",
        "o@.items = [s, o@.a]", "o@.a, o@.n = o@.a + 1, o@.n + 1", "h = o@.f(h)", "o@.q = o@.a",
        "h = h * o@.f.__name__.__len__()",
        "if hasattr(o@, 'b'):\n    del o@.b", "o@.h = None", "o@.kept = h", "h = h * (o@.n == 1)",
        "o@.d = {'h': h.sum(), 's': s}"], [
        "o@.a = $", "o@.n = 0", "o@.h = None", "o@.b = $", "o@.__dict__.pop('b', None)", "o@.f = lambda h: h * $", "o@.a0 = $",
        "o@ = types.SimpleNamespace(a=$, n=0, h=None, a0=1.0, a1=2.0, i=0, f=o@.f)", "o@.h = ng.ones(4)", "o@.i = 1",
        "o@.a = 2",
        "o@.a = True", "o@.n = 2.0", "o@.h = ng.ones(2, 4) * $"],
        "o@ = types.SimpleNamespace(a=1.5, n=0, h=None, a0=1.0, a1=2.0, i=0, f=lambda h: h + 1)"),
    "classes": Piece([
        "h = h * a@.k", "h = h * A@.k", "A@.k += 1", "h = a@.go(h)", "h = h * b@.k + b@.both", "h = b@.go(h)", "a@.k = s",
        "h = h * (3 if isinstance(a@, B@) else 2)", "b@.k += 1", "B@.k = B@.k + $", "type(a@).k = s", "h = b@(h)",
        "b@.both = s", "a@.own = a@.k", "h = h * A@.made(k).k", "h = h + A@.still(2)", "h = h * (type(b@) is B@)",
        "h = h * a@.__class__.k", "t = A@()\nt.k = k\nh = h * t.k", "h = h + len(b@)", "if b@:\n    h = h * 3",
        "h = h * (b@ + k)",
        "h = h + b@[1]", "b@[0] = s", "s = s + sum(b@)", "h = h * (b@ == b@)", "h = h + (1 in b@)",
        "with b@ as v:\n    h = h * v"], [
        "A@.k = $", "a@.k = $", "vars(a@).pop('k', None)", "B@.k = $", "b@.__dict__.pop('k', None)", "a@.__class__ = B@",
        "A@.go = lambda self, h: h * 5", "B@.go = lambda self, h: h - 1", "a@.go = lambda h: h + 7", "b@.w = $",
        "B@.both = property(lambda self: 9.0, lambda self, v: None)", "A@.made = classmethod(lambda cls, k: a@)",
        "b@.v[1] = $",
        "B@.__call__ = lambda self, h: h * 0.5", "B@.__len__ = lambda self: 7", "B@.__bases__ = (C@,)", "b@.v.append($)",
        "A@.still = staticmethod(lambda v: v + $)", "B@.__add__ = lambda self, v: v * 3", "b@ = B@()", "b@.v = [1.0]"],
        "a@, b@ = A@(), B@()", """class A@:
    k = 1.5

    def go(self, h):
        return h * 2

    @classmethod
    def made(cls, k):
        one = cls()
        one.k = cls.k * k
        return one

    @staticmethod
    def still(v):
        return v * 2


class C@(A@):
    k = 2.5

    def go(self, h):
        return h * 4


class B@(A@):
    def __init__(self):
        self.w, self.v, self.count = 1.0, [1.0, 2.0], 0

    def go(self, h):
        self.count += 1
        return super().go(h) + super().k

    @property
    def both(self):
        return self.w * self.k

    @both.setter
    def both(self, value):
        self.w = value + 1

    def __call__(self, h):
        return h - self.w

    def __len__(self):
        return len(self.v)

    def __add__(self, other):
        return self.w + other

    def __getitem__(self, i):
        return self.v[i]

    def __setitem__(self, i, value):
        self.v[i] = value

    def __iter__(self):
        return iter(self.v)

    def __eq__(self, other):
        return self.w == other.w

    def __enter__(self):
        self.count += 1
        return self.w

    def __exit__(self, *_):
        self.count += 1
"""),
    "slots": Piece(["h = h * s@.a", "s@.a = s@.a + $", "h = h * s@.twice", "s@.b = h.detach().sum()", "s@.c.append(k)",
    "h = h * s@.c[0]",
                    "h = h * d@.a + d@.b[0]", "d@.a += 1", "h = h * dataclasses.replace(d@, a=s).a", "h = h * D@(k).a",
                    "h = h * f@.a", "d@.b.append(s)", "h = h * (d@ == D@(1.0))", "t = N@(h, k)\nh = t.h * t.k",
                    "out.append(N@(h, s))",
                    "h = h * E@.A.value", "if e@ is E@.A:\n    h = h + 1", "h = h * dataclasses.astuple(d@)[0]", "f@ = F@(k)"],
                   ["s@.a = $", "d@.a = $", "d@ = D@($)", "S@.twice = property(lambda self: $)", "f@ = F@($)", "D@.a = $",
                       "e@ = E@.B",
                    "d@.b = [$]", "s@.c = [$, 1.0]"],
                   "s@, d@, f@, e@ = S@(), D@(1.0), F@(1.5), E@.A", """class S@:
    __slots__ = ("a", "b", "c")

    def __init__(self):
        self.a, self.c = 1.0, [1.0]

    @property
    def twice(self):
        return self.a * 2


@dataclasses.dataclass
class D@:
    a: float = 1.0
    b: list = dataclasses.field(default_factory=lambda: [2.0])


@dataclasses.dataclass(frozen=True)
class F@:
    a: float


class N@(typing.NamedTuple):
    h: object
    k: float


class E@(enum.Enum):
    A = 1.5
    B = 2.5
""", ("f@",)),
    "cells": Piece(["h = h * k@", "k@ = k@ + 1", "k@ = s", "k@ += k", "h = inner@(h)", "bump@()",
    "h = h * (2 if k@ > 3 else 1)", "t@ = h.detach()",
                    "if t@ is not None and t@.shape == h.shape:\n    h = h + t@", "t@ = None",
                    "k@ = k@ * 0.5 if k@ > 1 else $"],
                   ["k@ = $", "bump@()", "t@ = ng.ones(4)", "k@ = 2", "def inner@(h):\n    return h * 3", "t@ = None"],
                       """k@, t@ = 1.5, None

def inner@(h):
    return h * k@ + 1

def bump@():
    nonlocal k@
    k@ = k@ + 0.5
""", "", ("k@", "t@")),
    "globals": Piece(["h = h * G@", "G@ = G@ + 1", "G@ = s", "h = fun@(h)", "h = fun@(h, m=k)", "T@['a'] = T@['a'] + 1",
    "h = h * T@['a']",
                      "h = h * (G@ > 2)", "h = h + W@", "W@.add_($)", "W@ = h.detach().mean(0)", "fun@.calls = fun@.calls + 1",
                      "h = h * M@.k", "M@.k = s"],
                     ["globals()['G@'] = $", "globals()['fun@'] = lambda h, m=1.0: h * $ * m", "T@['a'] = $",
                         "fun@.__defaults__ = ($,)",
                      "fun@.__code__ = other@.__code__", "W@.mul_(2)", "globals()['W@'] = ng.ones(4) * $",
                      "globals()['T@'] = {'a': $}",
                      "M@.k = $", "fun@.calls = 5"], "", """G@, T@, W@ = 1.5, {"a": 1.0}, ng.ones(4)
M@ = types.ModuleType("M@")
M@.k = 1.5


def fun@(h, m=1.0):
    return h * m


def other@(h, m=1.0):
    return h - m


fun@.calls = 0
""", ("G@", "W@")),
    "lists": Piece([
        "h = h * l@[0]", "l@.append($)", "l@.append(s)", "l@[0] = l@[0] + 1", "for v in l@:\n    h = h + v", "h = h * sum(l@)",
        "h = h * len(l@)", "if len(l@) > 2:\n    l@.pop()", "l@[-1] = k", "l@.extend([s, 1.0])", "s = max(l@)",
        "l@.insert(0, s)",
        "l@.reverse()", "l@.sort()", "l@ += [s]", "l@[:] = [v + 1 for v in l@[-3:]]", "if len(l@) > 3:\n    del l@[1]",
        "l@[0] += k",
        "h = h * [v for v in l@ if v > 0][0] if any(v > 0 for v in l@) else h", "h = h * (1.0 in l@)", "s = l@[len(l@) // 2]",
        "for i, v in enumerate(l@):\n    h = h + i * v", "for a, b in zip(l@, n@):\n    h = h * a + b[0]", "h = h * n@[1][0]",
        "n@[0][0] = s", "n@[1].append(k)", "h = h * sorted(l@, key=lambda v: -v)[0]", "a, *b = l@\nh = h * a + len(b)",
        "n@[0] = [s]",
        "h = h + sum(map(lambda v: v * 2, l@))", "l@.clear()\nl@.append(s)", "h = h * l@.count(1.0)",
        "l@[0], l@[-1] = l@[-1], l@[0]",
        "h = h * (l@ == [1.0, 2.0])", "h = h * (l@ is n@[0])", "h = h * math.prod(l@)", "out.extend(l@)",
        "h = h + tuple(l@)[0]",
        "l@.append((s, k))\nl@.pop()", "h = h + [*l@, s][-1]", "s = sum(v for v in l@)", "h = h + l@[::2][0]", "l@[0:1] = [s]",
        "n@[0] = l@"], [
        "l@.append($)", "l@[0] = $", "l@.clear()\nl@.append(1.5)", "l@ = [1.0, $]", "n@[0][0] = $", "n@[1] = [$]",
        "l@[:] = [$, 2.0]",
        "l@.pop() if len(l@) > 1 else None", "n@[0] = l@", "l@.insert(0, $)"], "l@, n@ = [1.0, 2.0], [[1.5], [2.5]]", "",
        ("l@",)),
    "dicts": Piece([
        "h = h * d@['a']", "d@['a'] = s", "d@['b'] = d@.get('b', 0) + 1", "for v in d@.values():\n    h = h + v",
        "d@.update(c=k)",
        "if 'c' in d@:\n    h = h * d@.pop('c')", "h = h * d@.setdefault('e', k)",
        "for n, v in d@.items():\n    h = h * v + len(n)", "d@['a'] += 1",
        "h = h * len(d@)", "d@ |= {'f': s}", "m@['n'] += 1", "h = h * m@['n']", "c@['x'] += 1", "c@.update(['y'])",
        "h = h + c@['x']",
        "h = h * max(d@.values())", "d@[f'k{len(d@) % 3}'] = s", "h = h * {**d@, 'a': k}['a']",
        "if d@.get('z') is None:\n    h = h + 1",
        "h = h * sum(v for v in d@.values())", "h = h + list(d@)[0].__len__()", "for n in sorted(d@):\n    h = h + d@[n]",
        "d@['t'] = {'q': s}\ndel d@['t']",
        "h = h + inner@['p']['q'][0]", "inner@['p']['q'].append(s)", "inner@['p']['r'] = k", "e@['last'] = h.detach()",
        "e@[len(e@)] = s",
        "if 'last' in e@ and e@['last'].shape == h.shape:\n    h = h + e@['last']", "h = h * dict(d@)['a']",
        "inner@['p'] = {'q': [s]}",
        "d@.clear()\nd@['a'] = s", "h = h * (next(iter(d@)) == 'a')", "o@.move_to_end('u')", "h = h * list(o@.values())[0]",
        "o@['v'] = s"], [
        "d@['a'] = $", "d@['b'] = $", "d@.pop('b', None)", "d@ = {'a': $}", "m@['n'] = $", "c@['x'] = 5",
        "inner@['p']['q'][0] = $", "e@.clear()",
        "d@['new'] = $", "o@['u'] = $", "o@.move_to_end('v')", "inner@['p'] = {'q': [$]}", "e@['last'] = ng.ones(2, 4)"],
        "d@, m@, c@ = {'a': 1.5, 'b': 2.0}, collections.defaultdict(float), collections.Counter(x=1)\n"
        "inner@, e@, o@ = {'p': {'q': [1.5]}}, {}, collections.OrderedDict(u=1.0, v=2.0)", "", ("d@",)),
    "sets": Piece([
        "s@.add(len(s@))", "h = h * len(s@)", "if 3 in s@:\n    h = h + 3", "s@.discard(1)", "s@ |= {7}", "h = h + sum(s@)",
        "q@.append(s)", "h = h * q@[0]",
        "h = h + sum(q@) / len(q@)", "q@.appendleft(k)", "if len(q@) > 1:\n    s = q@.popleft()\n    q@.append(s)",
        "q@.rotate(1)",
        "for v in q@:\n    h = h * v", "t@.append(h.detach().mean(0))", "for v in t@:\n    h = h + v",
        "h = h + ng.stack(list(t@)).mean(0) if t@ else h",
        "out.append(len(t@))", "s@.add('a')", "s@ = s@ | {len(out)}", "q@[0] = s", "h = h + t@[-1] if t@ else h",
        "q@.extend([s, k])", "s@ -= {1, 7}", "s@ ^= {2, 10, 18}", "s@.update([0, 8, 16])", "h = h + s@.pop() if s@ else h",
        "s@.discard('a')\nout.append(set(s@))", "if 8 in s@:\n    s@.remove(8)", "s@ &= {0, 1, 2, 7, 16, 18}",
        "out.append(f@ | {16, 8})",
        "for v in f@:\n    h = h * 0.5 + v", "f@ = frozenset(s@)", "s@.update(v + 8 for v in f@)"],
        ["s@.add(3)", "s@.clear()", "q@.append($)", "q@ = collections.deque([$], maxlen=2)", "t@.clear()",
            "t@.append(ng.ones(4))", "q@[0] = $",
         "s@ = {1, 2, 3}", "s@.update([8, 16, 24])\ns@.discard(16)", "f@ = frozenset([8, 0])", "f@ = frozenset([True, 0])"],
        "s@, q@, t@ = {1, 2}, collections.deque([1.0], maxlen=3), collections.deque(maxlen=2)\nf@ = frozenset([0, 8])", "",
        ("s@", "f@")),
    "tensors": Piece([
        "h = h * w@[0]", "w@[0].add_($)", "w@[0] = h.detach().mean(0)", "w@[1] += 1", "h = h + w@[1]",
        "avg@.mul_(0.9).add_(h.detach().mean(0), alpha=0.1)",
        "h = h - avg@", "cache@[pos@ % 3] = h.detach().mean(0)\npos@ += 1", "h = h + cache@.mean(0)", "pos@ = pos@ + 1",
        "h = h + cache@[pos@ % 3]",
        "avg@ = avg@ * 0.5 + h.detach().mean(0)", "h = h * td@['a']", "td@['a'] = td@['a'] * 2", "td@['b'] = h.detach().sum()",
        "avg@.copy_(h.detach()[0])",
        "cache@[:, 0] = s", "cache@.zero_()", "h = h + view@", "view@.mul_(2)", "avg@.fill_(s)",
        "w@.append(h.detach().mean(0))", "h = h + ng.stack(w@[:2]).sum(0)",
        "old = avg@\navg@ = h.detach().mean(0)\nh = h + old", "avg@ = cache@[0]", "h = ng.where(cache@.sum() > 1, h, -h)",
        "cache@.data = cache@ * 2",
        "cache@ = ng.cat([cache@[1:], h.detach().mean(0, keepdim=True)])", "out.append(avg@)", "out.append(cache@[1])",
        "out.append(avg@.clone())",
        "h = h * leaf@", "out.append(ng.autograd.grad((h * leaf@).sum(), leaf@)[0])", "(h * leaf@).sum().backward()",
        "if leaf@.grad is not None:\n    h = h + leaf@.grad.detach()", "leaf@.grad = None",
        "with ng.no_grad():\n    leaf@.mul_(0.9)", "leaf@.data.add_(0.1)",
        "h = h + leaf@.detach()", "if leaf@.grad is not None:\n    leaf@.grad.zero_()", "leaf@.grad = h.detach().mean(0)",
        "h = h + td@['a'].sum() * s"], [
        "w@[0] = ng.ones(4) * $", "w@[0].mul_(2)", "avg@ = ng.ones(4)", "avg@.zero_()", "pos@ = 0",
        "td@['a'] = ng.ones(4) * $", "cache@.add_(1)",
        "avg@.data = ng.ones(4) * 3", "w@[0] = w@[1]", "cache@ = ng.zeros(3, 4)", "td@['a'] = avg@", "avg@ = cache@[0]",
        "leaf@.requires_grad_(False)",
        "leaf@.requires_grad_(True)", "leaf@.grad = None", "leaf@.data = ng.ones(4) * $",
        "leaf@ = ng.ones(4, requires_grad=True)", "cache@.t_().t_()",
        "leaf@.grad = ng.ones(4)", "cache@.data = ng.ones(4, 3).t()", "avg@ = ng.ones(8)[::2]", "w@[1] = w@[1].double()",
        "view@ = cache@[2]"],
        "w@, avg@, pos@, cache@ = [ng.ones(4), ng.full((4,), 2.0)], ng.zeros(4), 0, ng.zeros(3, 4)\n"
        "td@, leaf@, view@ = {'a': ng.full((4,), 1.5)}, ng.full((4,), 0.5, requires_grad=True), cache@[1]",
        "", ("avg@", "pos@", "cache@")),
    "random": Piece([
        "s = s + random.random()", "h = h * random.uniform(1, 2)", "h = h + np.random.rand()", "h = F.dropout(h, 0.5)",
        "h = h + ng.rand_like(h)",
        "h = h * next(it@)", "if random.random() < 0.5:\n    h = h * 2", "h = h + ng.randn(4)", "s = own@.random()",
        "h = h * np.random.normal()",
        "h = h + random.gauss(0, 1)", "h = h * random.randint(1, 3)", "h = h * np.random.randint(1, 4)",
        "h = h * random.choice([1.0, 2.0])",
        "ng.manual_seed(7)", "h = h + gen@.normal()", "h = h + ng.bernoulli(ng.full((4,), 0.5))", "h = h * next(count@)",
        "out.append(next(count@))",
        "h = h * (random.random() + random.random())", "h = h[ng.randperm(len(h))]",
        "h = h + ng.normal(0.0, abs(s) + 1, (4,))", "s = next(it@, 1.0)",
        "random.seed(3)", "h = h + ng.rand(4, generator=tg@)", "np.random.seed(1)"],
        ["random.seed(5)", "ng.manual_seed(5)", "np.random.seed(5)", "own@.seed(1)", "it@ = iter([2.0] * 50)",
            "own@ = random.Random(9)", "next(it@)",
         "ng.rand(3)", "random.random()", "tg@.manual_seed(2)"],
        "it@, own@, gen@, count@ = iter([1.0, 2.0, 3.0] * 20), random.Random(4), np.random.default_rng(2), itertools.count()\n"
        "tg@ = ng.Generator().manual_seed(3)"),
    "functions": Piece([
        "h = part@(h)", "h = part@(h, b=k)", "h = cached@(2) * h", "h = h * get@(ns@)", "for v in gen@(h):\n    h = h + v",
        "h = sum(gen@(h)) + h",
        "with ctx@(log@):\n    h = h * 2", "h = deco@(h)", "h = star@(h, 1, *[2, 3], a=s)", "h = rec@(h, 3)",
        "h = functools.reduce(lambda a, b: a + b, [h, x])",
        "h = list(map(lambda v: h * v, [1.0, k]))[1]",
        "try:\n    raise ValueError(s)\nexcept ValueError as e:\n    s = e.args[0]\nfinally:\n    log@.append(k)",
        "h = fs@[0](h)", "h = fs@[len(log@) % 2](h)", "log@.append(len(log@))", "h = h * (n := len(log@)) + n",
        "h = Sq@.apply(h)",
        "match s:\n    case 1.5:\n        h = h * 2\n    case _:\n        h = h + 1", "h = meth@(h)",
        "h = {'a': lambda v: v * 2, 'b': lambda v: v + 1}['a' if s > 1 else 'b'](h)",
        "h = ng.stack([h * i for i in range(3)]).sum(0)", "h = [h, x][0] + (h if k > 0 else x)",
        "h = next(v for v in gen@(h))", "h = copy.copy(h) + 1",
        "def local(v, w=s):\n    nonlocal h\n    h = h * v\n    return w\ns = local(k)", "log@.append(str(len(log@)))",
        "h = h * float(log@[-1]) if log@ else h",
        "while s > 4:\n    s = s / 2", "for i in range(5):\n    if i > k:\n        break\n    h = h + i\nelse:\n    h = h * 2",
        "try:\n    h = h * d@['no']\nexcept KeyError:\n    d@['no'] = s",
        "try:\n    h = bad@(h, k)\nexcept ValueError:\n    s = s + 1",
        "h = h * (lambda *a, **b: len(a) + len(b))(1, *log@, z=s)", "assert k is not None", "h = vm@(h)"], [
        "part@ = functools.partial(two@, b=$)", "part@.keywords['b'] = $", "ns@.p.q = $", "log@.clear()",
        "two@.__defaults__ = ($,)", "fs@[0] = lambda h: h * $",
        "fs@.reverse()", "cached@.cache_clear()", "Sq@.scale = $", "two@.__code__ = (lambda h, b=1.0: h - b).__code__",
        "d@['no'] = $", "d@.clear()",
        "deco@ = two@", "globals()['rec@'] = lambda h, n: h * $", "log@.append(3)", "holder@.k = $",
        "holder@.act = lambda h: h * 7"],
        """part@, log@, get@ = functools.partial(two@, b=2.0), [], operator.attrgetter("p.q")
ns@ = types.SimpleNamespace(p=types.SimpleNamespace(q=1.5))
fs@, d@ = [lambda h: h * 2, lambda h: h + 1], {}
holder@ = types.SimpleNamespace(k=1.5)
holder@.act = lambda h: h * holder@.k
meth@ = types.MethodType(lambda self, h: self.act(h), holder@)

@functools.wraps(two@)
def deco@(*args, **kwargs):
    log@.append(len(args))
    return two@(*args, **kwargs)

def vm@(h):
    yield_ = [v for v in gen@(h)]
    return yield_[0] + yield_[-1]
""", """def two@(h, b=1.0):
    return h * b


def bad@(h, k):
    if k > 1:
        raise ValueError("k")
    return h * k


@functools.lru_cache
def cached@(n):
    return n * 1.5


def gen@(h):
    for i in range(2):
        yield h * i


@contextlib.contextmanager
def ctx@(log):
    log.append(1)
    try:
        yield
    finally:
        log.append(2)


def star@(h, *args, **kwargs):
    return h * sum(args) + kwargs["a"]


def rec@(h, n):
    return h if n == 0 else rec@(h * 0.9, n - 1)


class Sq@(ng.autograd.Function):
    scale = 1.0

    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h * h * Sq@.scale

    @staticmethod
    def backward(ctx, g):
        h, = ctx.saved_tensors
        return g * h * 2 * Sq@.scale
"""),
    "arrays": Piece(["h = h * float(a@[0])", "h = h + a@.sum()", "h = h + ng.tensor(a@)[:1]", "h = h * len(a@)",
    "h = h * a@.shape[0]", "h = h * npf@", "npf@ = npf@ * 2"],
                    ["a@[0] = $", "a@ = np.ones(3, dtype=np.float32)", "a@ += 1", "npf@ = np.float32(3)"],
                    "a@, npf@ = np.ones(2, dtype=np.float32), np.float64(1.5)", "", ("npf@",)),
    "modes": Piece(["h = h + ng.zeros(4)", "if ng.is_grad_enabled():\n    h = h * 2",
    "with ng.no_grad():\n    h2 = h * 2\nh = h + h2", "h = h.to(ng.get_default_dtype())",
                    "h = h + ng.tensor(1.5)", "h = h * ng.arange(4)", "with ng.enable_grad():\n    h = h * 3",
                    "h = h.detach()", "h = h.float()",
                    "h = h + ng.empty(4).fill_(s)", "if h.requires_grad:\n    h = h + 1",
                    "if x.is_contiguous():\n    h = h + 2", "h = h * x.shape[0]",
                    "h = h * x.stride()[0]", "if x.dtype == ng.float32:\n    h = h * 2", "h = h * (x is h)", "h = x + h",
                    "x = x * 2\nh = h + x", "h = h * (x.grad is None)"],
                   ["ng.set_default_dtype(ng.float64)", "ng.set_default_dtype(ng.float32)", "ng.set_grad_enabled(False)",
                       "ng.set_grad_enabled(True)"]),
    "writes": Piece(["x.mul_(2)", "x += 1", "x[0] = s", "x.requires_grad_(False)", "h = h.clone()\nh[0] = 1.5",
    "h = h.clone()\nh.mul_(k)", "h = h.clone()\nh[:, 1] += s",
                     "v = h.clone()\nu = v[:, :2]\nu.add_(1)\nh = v", "out.append(x)", "out.append(h)", "out.append(h.t())",
                     "out.append(h[0])", "out.append(s)", "out.append(h.sum())",
                     "out.append({'s': s, 'h': h})", "out.append((k, [s]))", "out.append(h.shape)", "out.append(None)",
                     "x.copy_(h.detach())", "c = ng.tensor([1.0, 2.0, 3.0, 4.0])\nc.add_(h.detach().mean(0))\nh = h + c",
                     "c = ng.tensor([1.0, $, 3.0, 4.0])\nc[0] = s\nc *= 2\nout.append(c)", "x.requires_grad_()",
                     "c = ng.zeros(4)\nc += k\nout.append((c, c))", "x.unsqueeze_(0)\nx.squeeze_(0)",
                     "h = h + ng.tensor(1.5).mul_(2).item()"]),
}
