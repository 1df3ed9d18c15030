"""Captures that differ in sizes alone.

A variant is captured a second time before its first replay, and what came out otherwise changes by itself. Another size of the
arguments needs no second capture of its own if its first one was that of a proven variant but for the sizes: it read the same
places, and each hook gave the user's code, and took from it, the same numbers (or sizes) and the same tensors, counted in the
order in which they came. Then that code went the same way with the same values, whatever could change by itself was in both,
and what the engine makes of it depends on sizes alone."""

from __future__ import annotations

import itertools
import types
from fractions import Fraction

from ..core.tensor import Tensor
from .objects import C_CALLABLES, SIMPLE
from .places import alike
from .words import compare

MOST = 16      # forms that a compiled function keeps
EXPONENTS = (0, 1, 2)  # to which sizes come in (a score matrix has T * T)


def _items(x):
    return list.__getitem__(x, slice(None)) if isinstance(x, list) else tuple.__getitem__(x, slice(None))


class Log:
    """What the hooks of one run gave the step's code, and what it gave to them."""

    def __init__(self):
        self.entries, self.tensors, self.count = [], {}, 0

    def result(self, x):
        """The code is given a value: numbers and texts are themselves, tensors have numbers."""
        cls = type(x)
        if cls in SIMPLE:
            self.entries.append(x)
        elif issubclass(cls, Tensor):
            # (Not kept alive: another one with its id comes out of a hook, too, before it is used.)
            self.count += 1
            self.tensors[id(x)] = self.count
        elif issubclass(cls, (tuple, list)):
            self.entries.append((cls, len(_items(x))))
            for v in _items(x):
                self.result(v)

    def given(self, values):
        """The code hands values on."""
        for x in values:
            cls = type(x)
            if cls in SIMPLE:
                self.entries.append(x)
            elif issubclass(cls, Tensor):
                self.entries.append(("tensor", self.tensors.get(id(x), 0)))
            elif issubclass(cls, (tuple, list)):
                self.entries.append((cls, len(_items(x))))
                self.given(_items(x))
            else:
                self.entries.append(cls)

    def call(self, f, args, kwargs):
        """The code calls a function."""
        if f.__class__ is types.MethodType:
            self.given((f.__self__,))
            f = f.__func__
        self.entries.append(f.__qualname__ if f.__class__ in _NAMED else type(f))
        self.given(args)
        if kwargs:
            self.given((*kwargs, *kwargs.values()))


_NAMED = (types.FunctionType, type, *C_CALLABLES)


class Form:
    """What a capture was like."""

    def __init__(self, variant, pairs, log):
        self.shapes, self.log = variant.shapes, log.entries
        self.key = (variant.structure, variant.mode, variant.result_structure, variant.backward is None, [
            (cls, kind, len(shape), strides is None, rg, leaf) for cls, kind, shape, strides, rg, leaf in variant.leaves])
        self.effects = [(None if e.place is None else e.place.key, e.structure) for e in variant.effects]
        self.effects += [(t if isinstance(t, str) else id(t), value) for t, value in variant.flags]
        self.places = {place.key for place, _ in pairs}
        self.guards = None

    def holds(self, other):
        """Whether a later capture relies on the same places, which are as this one found them."""
        guards = self.guards
        return self.places == other.places and (bool(compare()(guards.table.address)) and guards.ask() or guards.hold())

    def proves(self, other):
        """Whether a later capture, for which ``holds`` is true, differs in sizes alone."""
        if self.key != other.key or self.effects != other.effects or len(self.log) != len(other.log):
            return False
        ratios = _ratios(self.shapes, other.shapes)
        return ratios is not None and all([a is b or _same(a, b, ratios) for a, b in zip(self.log, other.log)])


def _ratios(one, other):
    """[(p, q)]: a size ``a`` of one may be ``a p / q`` of the other."""
    found = set()
    for a, b in zip(one, other):
        for m, n in zip(a, b):
            if m != n:
                if min(m, n) < 2:  # what is of size 1 is broadcast, and what is empty left out
                    return None
                found.add(Fraction(n, m))
    if len(found) > 2:
        return None
    every = {Fraction(1)}
    for powers in itertools.product(EXPONENTS, repeat=len(found)):
        r = Fraction(1)
        for f, k in zip(found, powers):
            r *= f ** k
        every.add(r)
    return [(r.numerator, r.denominator) for r in every]


def _same(a, b, ratios):
    """Whether values are alike, or sizes."""
    if a.__class__ is int is b.__class__:
        return a == b or any([a * p == b * q for p, q in ratios])
    return alike(a, b)
