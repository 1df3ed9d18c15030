"""Functions in C that an observer calls in a way of its own."""

from __future__ import annotations

import collections
import functools

from ..core.tensor import Tensor
from . import pure, symbols
from .arithmetic import BINARY, arithmetic
from .containers import CONTAINERS
from .draws import copied
from .places import PLAIN, Length


def _getattr(self, args, kwargs):
    self.attribute(*args[:2])
    return getattr(*args)


def _hasattr(self, args, kwargs):
    self.attribute(*args)
    return hasattr(*args)


def _setattr(self, args, kwargs):
    self.writes(*args[:2])
    return setattr(*args)


def _delattr(self, args, kwargs):
    self.writes(*args[:2])
    return delattr(*args)


def _next(self, args, kwargs):
    x = args[0]
    if len(args) == 1 and isinstance(x, pure.ITERATORS) and self.is_outside(x) and not self._is_new(x):
        if copied(x) is None:
            self.refuse(f"takes an item of a {type(x).__name__} that was there before, which cannot be put back if the call is "
                        "refused: take it before the call and pass it in,")
        return self.draw(next, args, kwargs)
    self.iterated(x, False)
    return next(*args)


def _iter(self, args, kwargs):
    if len(args) == 2:
        self._argument(args[0])
    else:
        self.iterated(args[0], False)
    return self.own(iter(*args))


def _len(self, args, kwargs):
    x, = args
    if isinstance(x, CONTAINERS):
        if self.is_outside(x):
            place = Length(x)
            self.note(place, place.get())
        self.meet(type(x))
    else:
        self.content(x)
    return len(x)


def _id(self, args, kwargs):
    if not self.is_outside(args[0]):
        self.refuse("takes the id() of an object that is another one in each call")
    return id(*args)


def _hash(self, args, kwargs):
    if isinstance(args[0], Tensor) and not self.is_outside(args[0]):
        self.refuse("takes the hash() of a tensor that is another one in each call")
    self._look(args, kwargs)
    return hash(*args)


def _vars(self, args, kwargs):
    return vars(*args)


def _isinstance(self, args, kwargs):
    self.class_of(args[0])
    for cls in args[1] if isinstance(args[1], tuple) else (args[1],):
        self.meet(type(cls))
    return isinstance(*args)


def _sum(self, args, kwargs):
    self._look(args, kwargs)
    self.iterated(args[0], False)
    if self.numbers is None:
        return sum(*args, **kwargs)
    total = args[1] if len(args) > 1 else kwargs.get("start", 0)
    for x in args[0]:
        total = arithmetic(self, "Add", total, x, BINARY)
    return total


def _reduce(self, args, kwargs):
    self._look(args, kwargs)
    for a in args:
        self.iterated(a, False)
    return functools.reduce(*args)


def _count(self, args, kwargs):
    """What ``collections.Counter`` counts with."""
    self.content(args[0])
    self.iterated(args[1], False)
    self.puts(args[0])
    return collections._count_elements(*args, **kwargs)


def _print(self, args, kwargs):
    """Printed when the step has run."""
    for name, v in kwargs.items():
        if name == "file" and v is not None:
            self.meet(type(v))
        elif not isinstance(v, PLAIN):
            self.refuse(f"prints with {name}= of a {type(v).__name__}")
    self.said.append(([_said(self, a) for a in args], dict(kwargs)))


def _said(self, x):
    """What is printed, as it is now."""
    if isinstance(x, (symbols.Symbol, *PLAIN)) or isinstance(x, tuple) and all([isinstance(v, PLAIN) for v in x]):
        return x
    if isinstance(x, Tensor):
        if x._rg:
            self.refuse("prints a tensor that requires grad: print its item(), or detach() it")
        return x.clone()
    if type(x) in (list, tuple, dict):
        self.content(x)
        return self.own({k: _said(self, v) for k, v in x.items()} if type(x) is dict else type(x)([_said(self, v) for v in x]))
    return self.refuse(f"prints a {type(x).__name__}: print numbers, texts, tensors, or lists of them")


SPECIAL = {print: _print, id: _id, hash: _hash, collections._count_elements: _count, getattr: _getattr, hasattr: _hasattr,
           setattr: _setattr, delattr: _delattr, next: _next, iter: _iter, len: _len,
           vars: _vars, isinstance: _isinstance, functools.reduce: _reduce, sum: _sum}
