"""What a run calls: Python functions are followed, known C functions taken, others refused."""

from __future__ import annotations

import collections
import functools
import math
import operator
import types
import weakref

import numpy as np

from ..core.tensor import Tensor
from . import pure, symbols, texts
from .builtin_calls import SPECIAL
from .containers import CONTAINERS
from .draws import may_draw
from .files import trusted
from .objects import C_CALLABLES, HEAP, NEW, SIMPLE, lookup, of_library
from .places import Length, Lookup
from .writes import STORE

_ARRAY_CHANGES = ("fill", "sort", "put", "itemset", "partition", "resize", "setfield", "setflags", "__setitem__", "byteswap")
# Methods that look at nothing of their container, and those of them that a replay can call again.
_BLIND = ("append", "appendleft", "extend", "extendleft", "update", "__setitem__", "__iadd__", "__ior__")
_AGAIN = ("append", "appendleft", "extend", "extendleft")
# Methods that move what they are given, without a look at it; but for so many arguments.
_MOVES = {"append": 0, "appendleft": 0, "extend": 0, "extendleft": 0, "update": 0, "insert": 1, "__setitem__": 1,
          "setdefault": 1}
_HAND_ON = {id(c) for c in (zip, enumerate, reversed, list, tuple, collections.deque)}  # do not look into what they are given
_PURE_MODULES = ("_abc", "math", "cmath", "_struct", "_statistics", "unicodedata", "_string")


_HOLD_NOTHING = SIMPLE | {Tensor}


class Calls:
    """The part of an observer that makes the run's calls."""

    def call(self, f, args, kwargs):
        """The result of a call, which is followed, known, or refused."""
        out = self._call(f, args, kwargs)
        return self.new(out)

    def _settled(self, args, kwargs):
        """Arguments for code that does not follow numbers."""
        return symbols.settled(args), {k: symbols.settled(v) for k, v in kwargs.items()}

    def _call(self, f, args, kwargs):
        kind = f.__class__
        if args and isinstance(args[0], Tensor) and len(args) <= 2 and id(f) in _OF_NUMBERS and args[0]._n == 1:
            args = (args[0].item(), *args[1:])
        if kind is types.BuiltinMethodType and f.__name__ == "format" and f.__self__.__class__ is str:
            args = texts.numbers(f.__self__, args)
            if symbols.any_in((*args, *kwargs.values())) and not any([isinstance(a, (tuple, list)) for a in args]):
                return texts.formatted(f.__self__, args, kwargs)
        if self.numbers and symbols.any_in((*args, *kwargs.values())) and kind is not types.FunctionType and (
                kind is not types.MethodType) and not isinstance(f, functools.partial):
            for a in (*args, *kwargs.values()) if f is not len else ():
                self.items(a)
            known, out = symbols.call(f, args, kwargs) if f is not len else (True, None)
            if known and out is not None:
                return out
            owner = getattr(f, "__self__", None)
            keeps = 2 if f is setattr or f is object.__setattr__ else _MOVES.get(f.__name__) if isinstance(
                owner, CONTAINERS) and not isinstance(owner, set) else 1 if (
                    kind is types.MethodWrapperType and f.__name__ == "__setattr__") else None
            if keeps:
                args = (*symbols.settled(args[:keeps]), *args[keeps:])
            # (Errors keep what they are given, as classes of Python do.)
            python = isinstance(f, type) and (f.__flags__ & HEAP or issubclass(f, BaseException)) or kind.__flags__ & HEAP
            if not known and keeps is None and f is not sum and f is not print and not python and id(f) not in _HAND_ON:
                args, kwargs = self._settled(args, kwargs)
        if kind is types.FunctionType:
            return self._python(f, args, kwargs)
        if may_draw(f, args) and self.is_outside(f.__self__) and (
                kind is not types.MethodType or not symbols.any_in((*args, *kwargs.values()))):
            args, kwargs = self._settled(args, kwargs)
            self._look(args, kwargs)
            return self.draw(f, args, kwargs)
        if kind is types.MethodType:
            self._argument(f.__self__)
            inner = f.__func__
            if inner.__class__ is types.FunctionType:
                return self._python(inner, (f.__self__, *args), kwargs)
            return self._call(inner, (f.__self__, *args), kwargs)
        if isinstance(f, type):
            return self._construct(f, args, kwargs)
        if isinstance(f, functools.partial):
            self._inside_partial(f)
            return self._call(f.func, (*f.args, *args), {**f.keywords, **kwargs})
        if isinstance(f, functools._lru_cache_wrapper):
            return self._call(f.__wrapped__, args, kwargs)
        if kind in C_CALLABLES:
            return self._c_function(f, args, kwargs, True)
        if kind is weakref.ref:
            self.foreign = True
            return f()
        if kind in (operator.attrgetter, operator.itemgetter, operator.methodcaller):
            return self._getter(f, *args, **kwargs)
        if getattr(kind, "is_compiled_function", False):
            return self._call(f.fn, args, kwargs)
        method = lookup(kind, "__call__")
        if method.__class__ is types.FunctionType:
            self.note(Lookup(kind, "__call__"), method)
            self.meet(kind)
            return self._python(method, (f, *args), kwargs)
        if pure.numpy_made(f):
            self.foreign = True
            self._look(args, kwargs)
            return f(*args, **kwargs)
        return self.unknown(f)

    def _marked(self, f, args, kwargs):
        """A function that its author calls pure: it runs as it is."""
        self.foreign = True
        args, kwargs = self._settled(args, kwargs)
        self._look(args, kwargs)
        self.frames.aside(1)
        try:
            with self.unwatched():
                return f(*args, **kwargs)
        finally:
            self.frames.aside(0)

    def _python(self, f, args, kwargs):
        if id(f) in pure.MARKED:
            return self._marked(f, args, kwargs)
        own = trusted(f.__code__.co_filename)
        if own and self.numbers and symbols.any_in((*args, *kwargs.values())):
            args, kwargs = tuple(map(_whole, args)), {k: _whole(v) for k, v in kwargs.items()}
        try:
            self.frames.aside(1)
            if own:
                for a in (*args, *kwargs.values()):
                    if a.__class__ not in _HOLD_NOTHING:
                        self._argument(a)
            else:
                self.follow(f)
        finally:
            self.frames.aside(0)
        out = f(*args, **kwargs)
        return self.own(out) if own and out.__class__ is types.GeneratorType else out

    def _argument(self, x, seen=None):
        """What is handed to code that is not followed."""
        if x.__class__ is types.FunctionType:
            if not trusted(x.__code__.co_filename):
                self.follow(x)
        elif x.__class__ is types.MethodType:
            self._argument(x.__func__)
        elif isinstance(x, functools.partial):
            self._inside_partial(x)
            for y in (x.func, *x.args, *x.keywords.values()):
                self._argument(y, seen)
        elif x.__class__ in C_CALLABLES:
            if not self._is_pure(x):
                self.unknown(x)
        elif isinstance(x, (*CONTAINERS, tuple, np.ndarray)):
            self.content(x)
            seen = set() if seen is None else seen
            if id(x) not in seen and not isinstance(x, np.ndarray):
                seen.add(id(x))
                for y in dict.values(x) if isinstance(x, dict) else list(x):
                    self._argument(y, seen)
        elif isinstance(x, pure.ITERATORS):
            self.iterated(x, False)
        elif x.__class__ not in SIMPLE and not isinstance(x, Tensor) and not isinstance(x, type):
            self.meet(type(x))

    def _inside_partial(self, f):
        for name in ("func", "args", "keywords"):
            self.attribute(f, name)
        self.content(f.keywords)

    def _look(self, args, kwargs):
        for a in (*args, *kwargs.values()):
            self._argument(a)

    def _construct(self, cls, args, kwargs):
        """A call of a class: something new."""
        if cls is type and len(args) == 1:
            self.class_of(args[0])
            return type(args[0])
        if id(cls) in pure.FUNCTIONS or issubclass(cls, pure.IMMUTABLE) and not cls.__flags__ & HEAP or issubclass(
                cls, (BaseException, np.generic)) and not cls.__flags__ & HEAP or pure.numpy_made(cls):
            self.foreign |= cls not in (*CONTAINERS, tuple, range)
            # (What those hand on they do not look into.)
            self._look([a for a in args if a.__class__ not in (list, tuple)] if id(cls) in _HAND_ON else args, kwargs)
            if cls in pure.ITERATORS or cls in (list, tuple, set, dict, frozenset, collections.deque):
                for a in args:
                    self.iterated(a, False)
            return self.own(cls(*args, **kwargs))
        if not cls.__flags__ & HEAP:
            return self.refuse(f"makes a {cls.__module__}.{cls.__qualname__}")
        self._argument_types(cls)
        if isinstance(cls, type) and cls.__module__.partition(".")[0] == "numbagrad" or pure.numpy_made(cls):
            self._look(args, kwargs)
        made = cls(*args, **kwargs)
        if not isinstance(made, Tensor) and made.__class__ is cls:
            self.own(made)
        return made

    def _argument_types(self, cls):
        self.meet(cls)
        for name in ("__new__", "__init__", "__post_init__", "__init_subclass__"):
            found = lookup(cls, name)
            found = getattr(found, "__func__", found)
            if found.__class__ is types.FunctionType and not trusted(found.__code__.co_filename):
                self.follow(found)
            if id(cls) not in self.inside:
                self.note(Lookup(cls, name), lookup(cls, name))
        meta = lookup(type(cls), "__call__")
        if meta.__class__ is types.FunctionType and not trusted(meta.__code__.co_filename):
            self.follow(meta)

    def _getter(self, f, x):
        what = f.__reduce__()[1]
        if isinstance(f, operator.methodcaller):
            self.attribute(x, what[0])
            return self.call(getattr(x, what[0]), what[1:], f.__reduce__()[0].keywords if len(f.__reduce__()) > 2 else {})
        for path in what:
            y = x
            for name in path.split(".") if isinstance(f, operator.attrgetter) else [path]:
                if isinstance(f, operator.attrgetter):
                    self.attribute(y, name)
                    y = getattr(y, name)
                else:
                    self.item(y, name)
        return f(x)

    def _is_pure(self, f):
        if id(f) in pure.FUNCTIONS:
            return True
        if f.__class__ in (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType):
            return f.__objclass__ in (*pure.IMMUTABLE, *CONTAINERS, object, type) or pure.numpy_made(f.__objclass__)
        owner = getattr(f, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            return pure.numpy_made(f) or getattr(f, "__module__", "").partition(".")[0] in _PURE_MODULES
        return isinstance(owner, (*pure.IMMUTABLE, type)) or isinstance(owner, CONTAINERS) and not pure.changes(
            owner, f.__name__)

    def _c_function(self, f, args, kwargs, run=False):
        """A function or method in C: what it looks into is noted, what it is not known for is refused."""
        special = SPECIAL.get(f)
        if special is not None:
            return special(self, args, kwargs)
        if run and id(f) in pure.MARKED:
            return self._marked(f, args, kwargs)
        owner, rest = getattr(f, "__self__", None), args
        if f.__class__ in (types.MethodDescriptorType, types.WrapperDescriptorType) and args:
            owner, rest = args[0], args[1:]
        name = getattr(f, "__name__", "")
        self.foreign |= not (isinstance(owner, (Tensor, *CONTAINERS)) or of_library(f, owner))
        if name in ("__setattr__", "__delattr__") and not isinstance(owner, type):
            self.store(owner, rest[0])
        elif name == "__getattribute__":
            self.attribute(owner, rest[0])
        elif isinstance(owner, CONTAINERS) and self._container(owner, name, rest, kwargs):
            self._look(rest, kwargs)
        elif isinstance(owner, np.ndarray) and (name in _ARRAY_CHANGES or "out" in kwargs):
            self.puts(owner)
            self._look(rest, kwargs)
        elif isinstance(owner, np.ndarray):
            self.content(owner)
            self._look(rest, kwargs)
        elif isinstance(owner, pure.ITERATORS):
            if self.is_outside(owner) and not self._is_new(owner):
                self.refuse(f"advances a {type(owner).__name__} that was there before")
        elif isinstance(owner, Tensor) or of_library(f, owner):
            self._look(args, kwargs)
        elif self._is_pure(f):
            self._look(args, kwargs)
            for a in args:
                if isinstance(a, pure.ITERATORS):
                    self.iterated(a, False)
            if run and self.numbers and any([isinstance(a, pure.ITERATORS) for a in args]):
                # What an iterator hands to C code may be numbers that are followed.
                args = [list(a) if isinstance(a, pure.ITERATORS) else a for a in args]
                if symbols.any_in(args):
                    return self._call(f, args, kwargs)
        elif name in ("__init__", "__new__", "__init_subclass__", "__subclasshook__", "__reduce_ex__", "__reduce__", "__dir__",
                      "__format__", "__eq__", "__ne__", "__hash__", "__repr__", "__str__", "__class_getitem__") and (
                          getattr(f, "__objclass__", None) in (object, type) or isinstance(owner, type)
                          or f.__class__ is types.MethodWrapperType):
            self._look(args, kwargs)
        elif f.__class__ is types.MethodWrapperType and owner.__class__ in (types.FunctionType, types.MethodType):
            return self.call(owner, args, kwargs) if name == "__call__" else f(*args, **kwargs)
        elif isinstance(owner, BaseException) or name in ("mro", "__subclasses__", "__instancecheck__", "__subclasscheck__",
                                                           "__prepare__"):
            self._look(args, kwargs)
        else:
            self.unknown(f)
        if not run:
            return None
        try:
            out = f(*args, **kwargs)
        except Exception:
            self.failed(owner)
            raise
        if out.__class__ in NEW and name not in ("get", "pop", "popleft", "setdefault", "popitem", "__getitem__", "__next__",
                                                   "next"):
            self.own(out)
        return out

    def _container(self, x, name, rest, kwargs):
        """Note what a method of a container does to it."""
        if isinstance(x, set) and pure.changes(x, name):
            self.changes_set(x, name, rest)
        elif pure.changes(x, name):
            if isinstance(x, dict) and name in ("pop", "setdefault", "__delitem__", "move_to_end") and rest:
                self.own_item(x, rest[0])
            elif name not in _BLIND or any([isinstance(y, pure.ITERATORS) for y in rest]) and not isinstance(x, list):
                self.content(x)
            again = name in _AGAIN and isinstance(x, (list, collections.deque))
            again = again and not isinstance(rest[0], pure.ITERATORS)
            self.puts(x, STORE if name == "__setitem__" else None if not again else (
                name, [self.own(list(rest[0]))] if name.startswith("extend") else list(rest)))
            if isinstance(x, list) and name not in ("__setitem__", "append", "extend"):
                self.shifted.add(id(x))
            if name == "__setitem__":
                self.stores(x, rest[:1])
            elif name == "update" and not any([isinstance(y, pure.ITERATORS) for y in rest]):
                self.stores(x, dict(*rest, **kwargs) if isinstance(x, dict) else [v for y in rest for v in y])
        elif name == "__getitem__" and rest or isinstance(x, dict) and name in ("get", "__contains__") and rest:
            self.own_item(x, rest[0])
        elif name == "__len__":
            if self.is_outside(x):
                place = Length(x)
                self.note(place, place.get())
        elif name != "__class_getitem__":
            self.content(x)
        return True


def _whole(x):
    """Arguments of the library's functions: floats may stay symbols, ints are sizes and the like."""
    if isinstance(x, (symbols.SymInt, symbols.SymStr)):
        return x.fix()
    if x.__class__ in (tuple, list):
        return symbols.settled(x) if symbols.any_in(x) else x
    return x


_OF_NUMBERS = {id(f) for f in (float, int, round, *[f for f in vars(math).values() if callable(f)])}
