"""The hooks in rewritten functions: each does its operation, noted where the thread's run is observed."""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import sys
from threading import get_ident

from ..kernel.tape import Refusal
from . import symbols, texts
from .arithmetic import BINARY, COMPARED, UPDATES, arithmetic
from .containers import CONTAINERS
from .follow import Again
from .objects import HEAP, of_library
from .observe import WATCHING, Observer
from .places import ABSENT, Cell, Entry
from .rewrite import HOOKS
from .writes import STORE

_SEARCHED = (range, tuple, list, set, frozenset, dict, collections.Counter, collections.deque, collections.OrderedDict)


def _watching():
    """The observer of the run that the hook's caller belongs to, or None."""
    o = WATCHING.get(get_ident())
    return None if o is None or o.quiet and id(sys._getframe(2)) in o.quiet else o


def _hooked(note, do):
    def hook(*args):
        o = WATCHING.get(get_ident())
        if o is not None and not (o.quiet and id(sys._getframe(1)) in o.quiet):
            try:
                o.frames.aside(1)
                note(o, *args)
            finally:
                o.frames.aside(0)
            return _logged(o, do(*args))
        return do(*args)
    return hook


def _logged(o, out):
    """A value that the step's code is given."""
    o.log.result(out)
    return out


def _call(f, /, *args, **kwargs):
    o = _watching()
    if o is None:
        return f(*args, **kwargs)
    o.log.call(f, args, kwargs)
    return _logged(o, o.call(f, args, kwargs))


def _first(x, *rest):
    return x


def _is_in(item, x):
    if isinstance(item, symbols.Symbol) and not isinstance(item, str) and x.__class__ in _SEARCHED:
        found = symbols.contained(item, x)
        if found is not None:
            return found
    return item in x


def _item(x, i):
    o = _watching()
    if o is None:
        return x[i]
    i = symbols.settled(i) if o.numbers else i
    o.log.given((x, i))
    o.item(x, i)
    out = x[i]
    return _logged(o, o.new(out))


def _changed(o, op, x, y):
    """``x op= y``, which changes a container in its place."""
    o.log.given((x, y))
    if isinstance(x, set):
        if isinstance(y, (set, frozenset)) and o.updates_set(x, UPDATES[op], y):
            return UPDATES[op](x, y)
    elif isinstance(x, CONTAINERS):
        o.content(x)
        o.puts(x)
    return arithmetic(o, op, x, y, UPDATES)


def _update(op, x, y):
    o = _watching()
    return UPDATES[op](x, y) if o is None else _logged(o, _changed(o, op, x, y))


def _update_item(op, x, i, value, later):
    o = _watching()
    if o is not None:
        i = symbols.settled(i)
        o.item(x, i)
    old = x[i]
    value = value() if later else value
    if o is None:
        new = UPDATES[op](old, value)
    else:
        new = _changed(o, op, old, value)
        o.puts(x, STORE)
        o.stores(x, (i,))
    x[i] = new


def _update_attribute(op, x, name, value, later):
    o = _watching()
    if o is not None:
        o.attribute(x, name)
    old = getattr(x, name)
    value = value() if later else value
    if o is None:
        new = UPDATES[op](old, value)
    else:
        new = _changed(o, op, old, value)
        o.writes(x, name)
    setattr(x, name, new)


def _binary(op, x, y):
    o = _watching()
    if o is None:
        return BINARY[op](x, y)
    o.log.given((x, y))
    out = arithmetic(o, op, x, y, BINARY)
    return _logged(o, o.new(out))


def _joined(*parts):
    """An f-string: its parts are strings and (value, conversion, format)."""
    o = _watching()
    if o is not None:
        parts = [(texts.number(p[0], p[2]), *p[1:]) if p.__class__ is tuple else p for p in parts]
        values = [v for p in parts if p.__class__ is tuple for v in (p[0], p[2])]
        for v in values:
            o.deep(v)
        if o.numbers and any([isinstance(v, symbols.Symbol) for v in values]):
            return texts.joined(parts)
    return "".join([p if p.__class__ is str else format(texts.CONVERT[p[1]](p[0]), p[2]) for p in parts])


def _chained(x):
    """An operand of a chain of comparisons: floats compare with followed ints as with plain ones."""
    return x if x.__class__ is symbols.SymFloat or _watching() is None else symbols.settled(x)


def _compared(op, x, y):
    o = _watching()
    return COMPARED[op](x, y) if o is None else _logged(o, arithmetic(o, op, x, y, COMPARED))


def _puts(o, x):
    o.log.given((x,))
    o.puts(x, STORE)
    o.storing.append(x)


def _at(note):
    """The hook around the index of an item that is set or deleted, behind the one around its container."""
    def hook(i):
        o = _watching()
        if o is None:
            return i
        i = symbols.settled(i)
        o.log.given((i,))
        if o.storing:
            note(o, o.storing.pop(), i)
        return i
    return hook


def _name(o, table, name, value):
    if o.is_known((Entry, id(table), str, name)):
        return
    found = table.get(name, ABSENT)
    o.note(Entry(table, name, "globals"), found)
    if found is ABSENT:
        builtins = table["__builtins__"]
        builtins = builtins if isinstance(builtins, dict) else vars(builtins)
        o.note(Entry(builtins, name, "globals"), builtins.get(name, ABSENT))


def _free(o, closure, i, name, value):
    if not o.is_known((Cell, id(closure[i]))):
        o.note(Cell(closure[i], name), value)


def _binds(o, place, reads):
    if reads:
        o.note(place, place.get())
    o.write(place)


def _context(o, x):
    o.meet(type(x))
    if isinstance(x, contextlib._GeneratorContextManager) and o.is_outside(x):
        o.refuse("enters a context that was made before: it can be entered once, not in every call")
    if type(x).__flags__ & HEAP or of_library(None, x) or type(x).__module__ == "numbagrad":
        return
    o.refuse(f"enters a {type(x).__module__}.{type(x).__qualname__}")


def _handled():
    error = sys.exc_info()[1]
    if isinstance(error, (Refusal, Again)):
        raise error


def _imported(o, table, module, name, level):
    full = importlib.util.resolve_name("." * level + module, table.get("__package__")) if level else module
    found = sys.modules.get(full)
    if found is not None and name != "*":
        o.note(Entry(vars(found), name, found), vars(found).get(name, ABSENT))


def _of_the_frame(o, f):
    o.refuse(f"calls {f.__name__}(), which looks at the frame that calls it")


def _ignore(*args):
    return None


HOOKS.update({
    "attribute": _hooked(Observer.attribute, getattr),
    "item": _item,
    "contains": _hooked(Observer.contains, _is_in),
    "deep": _hooked(Observer.deep, _first),
    "content": _hooked(Observer.content, _first),
    "iterated": _hooked(Observer.iterated, _first),
    "name": _hooked(_name, lambda table, name, value: value),
    "free": _hooked(_free, lambda closure, i, name, value: value),
    "binds_name": _hooked(lambda o, table, name, reads: _binds(o, Entry(table, name, "globals"), reads), _ignore),
    "binds_free": _hooked(lambda o, closure, i, name, reads: _binds(o, Cell(closure[i], name), reads), _ignore),
    "imported": _hooked(_imported, _ignore),
    "writes": _hooked(Observer.writes, _first),
    "puts": _hooked(_puts, _first),
    "made": _hooked(Observer.own, _first),
    "context": _hooked(_context, _first),
    "of_the_frame": _hooked(_of_the_frame, _first),
    "call": _call,
    "update": _update,
    "update_item": _update_item,
    "update_attribute": _update_attribute,
    "binary": _binary,
    "compared": _compared,
    "handled": _handled,
    "slice": slice,
    "joined": _joined,
    "chained": _chained,
    "index": lambda i: symbols.settled(i) if _watching() is not None else i,
    "stored": _at(lambda o, x, i: o.stores(x, (i,))),
    "removed": _at(Observer.removes),
})
