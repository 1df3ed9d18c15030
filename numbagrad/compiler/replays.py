"""Effects: what a step leaves changed in Python objects that others can see, done again in every call.

A capture finds them by comparing each place that was written with what was there before. A value may be a constant, an object
that was there before, a tensor of the step, or lists, tuples and dicts of these."""

from __future__ import annotations

from ..core.tensor import Tensor
from ..kernel.tape import Refusal
from .containers import base_of, dict_of
from .places import ABSENT, PLAIN, Content, Entry
from .sets import restore
from .structure import Given, fields_of, flatten, is_record


class Effect:
    """``apply(value)`` does it; ``structure`` is that of the value, ``count`` how many tensors of the call are in it."""

    def __init__(self, apply, value, outs, new, met, place=None):
        self.apply, self.place = apply, place
        before = len(outs)
        self.structure = flatten(value, outs, new, met)
        self.count = len(outs) - before


def plan(observer, outs, met):
    """The effects of a run; tensors in them are appended to ``outs``, containers to ``met``."""
    found, new = [], lambda x: id(x) in observer.inside
    for place, before, now in observer.effects():
        if id(place.root) in observer.given:
            raise Refusal(f"ng.compile: the compiled function changes {place.text()} among its arguments, where each call has "
                          "others: return the value instead")
        if place.__class__ is Content:
            more = _of_container(observer, place, before, now, outs, new, met)
            for effect in more:
                effect.place = place
            found += more
        else:
            _check(observer, place, now)
            if now is ABSENT:
                found.append(Effect(_Removal(place), None, outs, new, met, place))
            else:
                found.append(Effect(place.put, now, outs, new, met, place))
    return found + [Effect(_Print(kwargs), args, outs, _top(new), met) for args, kwargs in observer.said]


class _Removal:
    def __init__(self, place):
        self.place = place

    def __call__(self, _):
        self.place.put(ABSENT)


def _check(observer, place, value):
    """Refuse values that a replay could not make."""
    if isinstance(value, (Tensor, *PLAIN)) or value is ABSENT:
        return
    if isinstance(value, tuple) or id(value) in observer.inside and (type(value) in (list, dict) or is_record(value)):
        for x in value.values() if isinstance(value, dict) else fields_of(value) if is_record(value) else value:
            _check(observer, place, x)
        return
    if type(value) in (set, frozenset) and all([isinstance(v, PLAIN) for v in value]):
        return
    if id(value) in observer.inside:
        raise Refusal(f"ng.compile: the compiled function keeps a {type(value).__name__} that it made in {place.text()}, which "
                      "a replay cannot make again: keep numbers and tensors, or do it outside of the compiled function")


def _check_given(observer, place, given):
    """The same for what methods of a set were given."""
    for y in given:
        for v in y if type(y) is list else () if y is place.root or y.__class__ is Given else (y,):
            _check(observer, place, v)


def _of_container(observer, place, before, now, outs, new, met):
    x = place.root
    for v in now:
        _check(observer, place, v)
    calls, stored = observer.calls.get(id(x)), observer.stored.get(id(x), ())
    if calls and not stored:
        if isinstance(x, set):
            _check_given(observer, place, [y for _, args in calls for y in args])
        return [Effect(_Calls(x, [name for name, _ in calls]), [list(args) for _, args in calls], outs, _top(new), met)]
    whole = (Content, id(x), None) in observer.reads
    if isinstance(x, dict):
        old, late = dict(zip(before[::2], before[1::2])), dict(zip(now[::2], now[1::2]))
        moved = _moved(old, late)
        if not all([(Entry, id(x), k.__class__, k) in observer.reads or whole for k in moved if k in old]):
            raise _unrepeatable(place)
        gone = [k for k in old if k not in late or k in moved] + [k for k in stored if k not in late and k not in old]
        changed = {k: v for k, v in late.items() if k in moved or k in stored or k not in old or old[k] is not v}
        found = [Effect(_Removed(x), k, outs, new, met) for k in gone]
        return [*found, Effect(_Set(x), changed, outs, _top(new), met)] if changed else found
    n, appended = len(before), bool(calls) and all([name in ("append", "extend") for name, _ in calls])
    if isinstance(x, list) and (len(now) == n or appended) or calls == [] and len(now) == n:
        places = {i % n for i in stored}
        changed = [(i, v) for i, (v, w) in enumerate(zip(now, before)) if v is not w and i not in places]
        changed += [(i, now[i % n]) for i in stored]
        found = [Effect(_Items(x), changed, outs, _top(new), met)]
        return [*found, Effect(_Extended(x), list(now[n:]), outs, _top(new), met)] if len(now) > n else found
    if not whole:
        raise _unrepeatable(place)
    if isinstance(x, set) and all(map(observer.is_constant, now)):
        return [Effect(_Restored(x, now), None, outs, new, met)]
    return [Effect(place.put, list(now), outs, _top(new), met)]


def _moved(old, late):
    """Keys of a dict that were taken out and put in again, or have come behind such a key, so that their order is another."""
    places, keys, last, new = {k: i for i, k in enumerate(old)}, list(late), -1, None
    for i, k in enumerate(keys):
        at = places.get(k)
        if at is None:
            new = i if new is None else new
        elif new is not None or at < last:
            return keys[i if new is None else new:]
        else:
            last = at
    return ()


def _unrepeatable(place):
    return Refusal(f"ng.compile: the compiled function changes {place.text()} in a way that a replay cannot repeat")


def _top(new):
    """``new`` for values inside of lists that were made here: those lists are new too."""
    depth = []

    def is_new(x):
        if not depth:
            depth.append(x)
            return True
        return new(x) or any([x is y for y in depth]) or x.__class__ is list and depth[0].__class__ is list and any(
            [x is y for y in depth[0]])
    return is_new


class _Print:
    def __init__(self, kwargs):
        self.kwargs = kwargs

    def __call__(self, args):
        print(*args, **self.kwargs)


class _On:
    def __init__(self, x, names=()):
        self.x, self.names = x, names


class _Calls(_On):
    """Call the methods that the step called, with what it gave them."""

    def __call__(self, given):
        base = base_of(self.x)
        for name, args in zip(self.names, given):
            getattr(base, name)(self.x, *args)


class _Removed(_On):
    def __call__(self, key):
        dict_of(self.x).pop(self.x, key, None)


class _Set(_On):
    def __call__(self, changed):
        dict_of(self.x).update(self.x, changed)


class _Restored(_On):
    """Make a set what it was when the step was captured."""

    def __call__(self, _):
        restore(self.x, self.names)


class _Extended(_On):
    def __call__(self, more):
        base_of(self.x).extend(self.x, more)


class _Items(_On):
    def __call__(self, changed):
        base = base_of(self.x)
        for i, v in changed:
            base.__setitem__(self.x, i, v)

