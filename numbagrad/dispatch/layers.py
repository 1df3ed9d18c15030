"""Other code for functions while something is on: casts of autocast, events of the profiler, ``__torch_function__``.

A function object keeps its place wherever somebody holds it; its ``__code__`` becomes one that hands the arguments to a layer,
which calls what was there. When all is off the code is the function's own, so that calls pay nothing.
"""

from __future__ import annotations

import threading
import types
import warnings
from functools import lru_cache

from ..core import replay

LOCK = threading.RLock()  # for who switches several
ORDER = ("barebones", "autocast", "profiler", "overrides")  # from the inside out
_functions: dict = {}


class Layered:
    """A function, and its code for each set of layers that are on."""

    __slots__ = ("own", "wraps", "on", "codes")

    def __init__(self, fn):
        code = fn.__code__
        self.own = types.FunctionType(code, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        self.own.__kwdefaults__, self.own.__qualname__ = fn.__kwdefaults__, fn.__qualname__  # (errors name it)
        self.wraps, self.on, self.codes = {}, (), {(): code}

    def code(self, on):
        found = self.codes.get(on)
        if found is None:
            call = self.own
            for layer in on:
                call = self.wraps[layer](call)
            # (The last one may bring its own code, which looks at the arguments before it calls anything.)
            own = self.codes[()]
            found = call if isinstance(call, types.CodeType) else stub(own, call)
            # (Who looks for the function's source finds its own.)
            found = self.codes[on] = found.replace(co_filename=own.co_filename, co_firstlineno=own.co_firstlineno)
        return found


def add(fn, layer, wrap):
    """Let a function have a layer, ``wrap(what was there)``, when that is switched on."""
    entry = _functions.get(fn)
    if entry is None:
        entry = _functions[fn] = Layered(fn)
    entry.wraps.setdefault(layer, wrap)
    return entry


def own(fn):
    """A function without its layers."""
    entry = _functions.get(fn)
    return fn if entry is None else entry.own


def switch(fn, layer, on):
    """Turn a layer of a function on or off."""
    entry = _functions[fn]
    if on != (layer in entry.on):
        entry.on = tuple([x for x in ORDER if (on if x == layer else x in entry.on)])
        fn.__code__ = entry.code(entry.on)


def retarget(fn, own):
    """Let a function that has layers run another one below them."""
    entry = _functions[fn]
    entry.own, entry.codes = own, {(): entry.codes[()]}
    fn.__code__ = entry.code(entry.on)


def become(fn, other):
    """Let a function be another one from now on, under its own name, whoever holds it; its layers stay.

    ``other`` has the same parameters, no variables from outside, and is not called again but by calls that go on."""
    with LOCK:
        fn.__globals__.update(other.__globals__)
        replay.move(other, fn)
        fn.__dict__.update(other.__dict__)
        fn.__defaults__, fn.__kwdefaults__ = other.__defaults__, other.__kwdefaults__
        entry = _functions.get(fn)
        if entry is None:
            fn.__code__ = other.__code__
        else:
            entry.own = types.FunctionType(other.__code__, fn.__globals__, fn.__name__, fn.__defaults__)
            entry.own.__kwdefaults__, entry.own.__qualname__ = fn.__kwdefaults__, fn.__qualname__
            entry.codes = {(): other.__code__}
            fn.__code__ = entry.code(entry.on)


def stub(code, call):
    """Code of the same parameters as ``code`` that hands its arguments to ``call``."""
    made = _compiled(*_parameters(code), code.co_freevars)
    constants = tuple([call if c == "call_" else c for c in made.co_consts])
    return made.replace(co_consts=constants, co_name=code.co_name)


def _parameters(code):
    """(parameters, arguments handed on) as text."""
    names, count, keywords, only = code.co_varnames, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount
    named = names[count:count + keywords]
    rest = list(names[count + keywords:count + keywords + bool(code.co_flags & 4) + bool(code.co_flags & 8)])
    head = [*names[:only], *(["/"] if only else []), *names[only:count]]
    passed = list(names[:count])
    if code.co_flags & 4:
        star = f"*{rest.pop(0)}"
        head.append(star)
        passed.append(star)
    elif named:
        head.append("*")
    head += named
    passed += [f"{n}={n}" for n in named]
    if code.co_flags & 8:
        head.append(f"**{rest[0]}")
        passed.append(f"**{rest[0]}")
    return ", ".join(head), ", ".join(passed)


@lru_cache(maxsize=4096)
def _compiled(head, passed, free):
    """The code of a stub."""
    return nested(f"def call({head}):\n    return 'call_'({passed})\n", free)


@lru_cache(maxsize=4096)
def nested(source, free):
    """The code of a function ``call``, some of whose constants will be called. It takes over the cells of another function's
    own variables from outside, as it has to have as many: whoever looks at the locals of its frame reads them."""
    own = "".join([f"    {name} = None\n" for name in free])
    named = f"        ({', '.join(free)},)\n" if free else ""
    body = "".join([f"    {line}\n" for line in source.strip().splitlines()])
    text = f"def outer():\n{own}{body}{named}    return call\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # a constant is called, which becomes another one
        made = compile(text, "<numbagrad layer>", "exec")
    for _ in range(2):
        made = next(c for c in made.co_consts if isinstance(c, types.CodeType))
    return made
