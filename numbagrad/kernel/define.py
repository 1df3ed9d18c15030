"""Generated source text as Python functions, whose lines tracebacks and inspection show."""

from __future__ import annotations

import linecache
import weakref

_counter = iter(range(1 << 60))


def define(source, name, env, title=None):
    """Execute generated source so that tracebacks and inspection show its lines; ``title`` says of which op and part it is."""
    code, filename = _code(source, title or name)
    fn = _executed(code, name, env, source)
    weakref.finalize(fn, linecache.cache.pop, filename, None)
    return fn


def _code(source, title):
    filename = f"<numbagrad {title} {next(_counter)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    return compile(source, filename, "exec"), filename


def _executed(code, name, env, source):
    env.setdefault("__name__", "numbagrad.generated")
    exec(code, env)
    fn = env[name]
    fn.__source__ = source
    return fn


_codes: dict = {}  # source -> (code, file name): the last ones that were shared
SHARED = 256


def define_again(source, name, env):
    """``define`` for text that is likely to come again with other objects in ``env``: it is compiled once."""
    found = _codes.pop(source, None) or _code(source, name)
    _codes[source] = found  # (the newest comes last)
    if len(_codes) > SHARED:
        linecache.cache.pop(_codes.pop(next(iter(_codes)))[1], None)
    return _executed(found[0], name, env, source)
