"""A capture: the function runs on memory that does not exist, again and again until all that it comes to is known."""

from __future__ import annotations

import os
import threading
import types

import numpy as np

from ..core.tensor import Tensor, contiguous_strides, raw
from ..kernel import tape
from .capture import Recorder, recording, undo
from .follow import Again
from .ir import INPUT, STATE
from .objects import HEAP
from .observe import Observer
from .places import PLAIN, ClassEntry, Content, Lookup, Member, alike
from .refusals import CaptureError, refused
from .replays import plan
from .signature import difference, signature
from .structure import Met, fields_of, flatten, is_record, rebuild, with_symbols
from .symbols import Numbers, plain
from .tensor_places import Gradient, Hooks, Itself, State
from .words import compare

MOST_RUNS = 1000  # of one capture: each finds functions that the one before did not know


class StepFailed(BaseException):
    """A captured function raised ``error``; nothing of the capture is left."""

    def __init__(self, error):
        self.error = error


LOCK = [threading.RLock()]  # captures put hooks into functions that others may come to, too: one at a time


def _renew_lock():
    LOCK[0] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Trial:
    """The part of a variant that finds out what its call does."""

    def _capture(self, args, kwargs, leaves, again=None):
        """Find out what the call does; ``again``: a variant that found it out before."""
        with LOCK[0]:
            self._captured(args, kwargs, leaves, again)

    def _captured(self, args, kwargs, leaves, again):
        # Arguments with hooks stay as they are, too: the hooks are part of the step.
        self.dynamic, self.reached = {}, {id(t) for t in leaves if Hooks(t).get()}
        if again is not None:
            self.dynamic, self.reached = dict(again.dynamic), set(again.reached)
        else:
            for v in self.owner.variants:
                self.dynamic.update(v.dynamic)
            for v in {id(v.guards.table.words): v for v in self.owner.variants}.values():
                self._learn(v)
        self.owner.drawn.again()
        self.guessed = None
        self.observer = Observer(dynamic=self.dynamic, drawn=self.owner.drawn, forced=self.forced)
        for _ in range(MOST_RUNS):
            try:
                self._run(args, kwargs, leaves, again is not None)
                return
            except Again:
                self.observer.again()
            except tape.Refusal as refusal:
                self.owner.drawn.put_back()
                raise CaptureError(refused(refusal)) from None
            except BaseException as error:
                self.owner.drawn.put_back()
                if isinstance(error, CaptureError) or not isinstance(error, Exception):
                    raise
                raise StepFailed(error) from None
        raise CaptureError(f"ng.compile: the compiled function goes on entering new functions after {MOST_RUNS} captures")

    def _learn(self, other):
        """What changed since another variant was captured will change again: tensors at such places are inputs."""
        guards = other.guards
        for place, value in guards.asked if compare()(guards.table.address) else guards.pairs:
            if place.__class__ is State:
                now = place.get()
                if not alike(now[:2], value[:2]) and alike(now[2:], value[2:]):
                    self._open(Itself(place.root))
            elif place.__class__ is Gradient and value is not None and place.get() is not None and not place.holds(value):
                self._open(Member(place.root, Tensor._grad))
            elif isinstance(value, (Tensor, int, float)) and not place.holds(value):
                self._open(place)

    def _open(self, place):
        """Let what is at a place be an input: a number, or a tensor that gathers no gradients and has no history."""
        if place.__class__ is Lookup:  # of the class that has it
            owner = next((c for c in place.root.__mro__ if place.name in c.__dict__), None)
            if owner is None or not owner.__flags__ & HEAP:
                return False
            place = ClassEntry(owner, place.name)
        if not self._may_open(place):
            return False
        return self.dynamic.setdefault(place.key, place) is place

    def _returned(self, o, x):
        """Refuse results that each call would have to make anew."""
        if isinstance(x, (list, tuple)):
            for y in x:
                self._returned(o, y)
        elif isinstance(x, dict) or is_record(x):
            for y in x.values() if isinstance(x, dict) else fields_of(x):
                self._returned(o, y)
        elif type(x) in (set, frozenset) and all([isinstance(y, PLAIN) for y in x]):
            return
        elif id(x) in o.inside and not isinstance(x, (type, types.FunctionType, Tensor, *PLAIN, np.generic)):
            raise tape.Refusal(f"ng.compile: the compiled function returns a {type(x).__name__} that it made, which a replay "
                               "cannot make again: return tensors, numbers, tuples, lists, dicts or dataclasses of them")

    def _may_open(self, place):
        x = place.get()
        if type(x) in (int, float):
            return hasattr(place, "put") and place.__class__ is not Content and place.key not in self.owner.closed
        return isinstance(x, Tensor) and not x._rg and x._node is None and id(x) not in self.reached

    def _opened(self, o, written):
        """Whether the run showed more places to be inputs: those that it reads and then binds to others."""
        more = [self._open(o.reads[key][0]) for key in written if key in o.reads and isinstance(
            o.reads[key][1], (Tensor, int, float))]
        more += [self._open(p) for p, v in o.reads.values() if p.__class__ is Lookup and isinstance(v, (int, float)) and any(
            [(ClassEntry, id(c), p.name) in written for c in p.root.__mro__])]
        mine = {id(p.get()) for p in self.places}
        more += [self._open(p) for p, v in o.reads.values() if isinstance(v, Tensor) and id(v) in mine]
        return any(more)

    def _run(self, args, kwargs, leaves, only=False):
        """One run of the function on memory that does not exist; whatever happens in it, all is as before afterwards."""
        o = self.observer
        # Gradients that leaves among the arguments have already are further, hidden arguments.
        self.hidden = [i for i, t in enumerate(leaves) if t._rg and t._node is None and t._grad is not None
                       and id(t) not in self.reached and not any([t is s for s in leaves[:i]])]
        for key, place in list(self.dynamic.items()):
            if not self._may_open(place):
                del self.dynamic[key]
        self.places = [p for p in self.dynamic.values() if isinstance(p.get(), Tensor)]
        self.counters = [p for p in self.dynamic.values() if not isinstance(p.get(), Tensor)]
        every = [*leaves, *[leaves[i]._grad for i in self.hidden], *[p.get() for p in self.places]]
        swapped, outs, r, planted = [], [], Recorder(), []
        self.numbers = o.numbers = Numbers(self.forced) if self.given_numbers or self.counters else None
        r.observer = o
        try:
            with recording(r), o.watching():
                r.aside = o.frames.aside
                swapped = self._stand_in(r, every)
                given, (args, kwargs) = _as_leaves(leaves, args, kwargs, self.structure, self.given_numbers)
                if self.numbers is not None:
                    args, kwargs = with_symbols((args, kwargs), self.structure, map(self.numbers.input, self.given_numbers))
                    for place in self.counters:
                        number = plain(place.get())  # (one item of a list may be two places: [0] and [-1])
                        planted.append((place, number))
                        place.put(self.numbers.input(number))
                        r.planted[place.key] = place.get()
                for t in (*given[1], *every):
                    o.keep(t)
                    o.stood.add(id(t))
                o.cut = {id(t) for t in given[1]} - {id(t) for t in every}
                o.give((args, kwargs))
                result = o.call(self.owner.fn, args, kwargs)
                if (left := r.settle_hooks()) is not None:
                    raise CaptureError(f"ng.compile: a hook that is registered at {left[1]} stays at a tensor of shape "
                                       f"{list(left[0]._shape)} from before the call, and each call would add another; remove "
                                       "it (handle.remove()) before the function returns, or register it outside.")
                del args, kwargs
                self.met = Met()
                self.result_structure = flatten(result, outs, lambda x: not o.is_outside(x), self.met)
                self._returned(o, result)
                del result
                self.numbers, self.draws = o.numbers, o.draws
                self.decisions = [] if o.numbers is None else list(o.numbers.decisions)
                self.effects = plan(o, outs, self.met)
                flags = o.flagged()
                r.renew()
                self._differentiable(r, outs, given)
            if o.refusal is not None:
                raise o.refusal
            written = list(o.written)
            o.undo()
            self._flags(flags, every)
            _restore_numbers(planted)
            if not only and self._opened(o, written):
                self.guessed = None
                raise Again
            self.signature = signature(r, [*o.tensors.values(), *self.fixed.values()])
            if not only and o.numbers is not None and o.numbers.cells:
                self._guess(o)
            if only:
                r.restore_versions()
                undo([(t, g) for t, g, _ in r.leaves.values()], r.optimizers.values())
                return
            self._finish(r, every, outs, given, swapped)
            found = [t for t in every if id(t) in o.tensors and id(t) not in self.reached]
            if found:  # they stay as they are in the next run
                self.reached.update(map(id, found))
                self.guessed = None
                raise Again
        except BaseException:
            r.settle_hooks()
            self.owner.assumed = [] if o.numbers is None else list(o.numbers.decisions)
            o.undo()
            _restore_numbers(planted)
            r.restore_versions()
            undo([(t, g) for t, g, _ in r.leaves.values()], r.optimizers.values())
            raise
        finally:
            _restore(swapped)
        self.first_numbers = [*self.given_numbers, *[p.get() for p in self.counters]]
        self.proven, self.unproven = False, set(range(len(self.first_numbers)))
        self.number_types = [type(v).__name__ for v in self.given_numbers] + [type(p.get()).__name__ for p in self.counters]
        # What calls nothing but followed code and the library, draws nothing and leaves nothing behind has no room for a value
        # that changes by itself: all it had to go by is guarded.
        closed = o.numbers is None and not (o.foreign or o.said or r.drawn or r.optimizers or r.leaves or r.hooked
                                            or self.effects or flags)
        self._guarded(o, [*o.reads.values(), *o.unchanged, *self._of_tensors()], closed)
        self.observer, self.met = None, self.met.again

    def _flags(self, flags, leaves):
        """``requires_grad`` that the run has set, of arguments and of tensors that it reaches by name."""
        number = {id(t): i for i, t in reversed(list(enumerate(leaves)))}
        self.flags = [(f"a{number[id(t)]}" if id(t) in number else t, value) for t, value in flags]

    def _guess(self, o):
        """Values of tensors are not known yet, and another guess for them must lead to the same step: run once more with it."""
        seen = self.signature, self.result_structure, [e.structure for e in self.effects]
        if self.guessed is None:
            self.guessed, o.shift, o.forced = seen, 1, self.decisions
            raise Again
        found = difference(self.guessed[0], seen[0]) if seen[1:] == self.guessed[1:] else ("an effect or a result", None)
        if found is not None:
            label, line = found
            where = "" if line is None else " at {}:{}".format(*line)
            raise tape.Refusal(f"ng.compile: {label}{where} needs the values of a tensor in a way that is not followed. Keep "
                               "them tensors, or pass fallback=True to run it eagerly")

    def _stand_in(self, r, leaves):
        """Give the arguments memory of their own for the capture, so that no address of theirs is taken for another's.

        Arguments that the function also reaches by name stay as they are: the variant is for them alone."""
        swapped, self.fixed = {}, {}
        for i, t in enumerate(leaves):
            if id(t) in self.reached:
                self.fixed[i] = t
                r.buffer(t)
            elif id(t) not in swapped:
                swapped[id(t)] = t, t._buf, t._ptr
                b = r.buffer(t)  # refuses other devices
                if b.array is None and b.role == STATE:
                    size = 1 + sum([(s - 1) * k for s, k in zip(t._shape, t._strides or contiguous_strides(t._shape))])
                    t._buf, t._ptr = r.alloc(t._kind, size if t._n else 0)
                    r.buffers[id(t._buf)].role = INPUT
        return list(swapped.values())


def _as_leaves(leaves, args, kwargs, structure, numbers):
    """The arguments with leaves in the place of tensors that have a history of their own, and what stands for what."""
    given, replaced = {}, False
    for i, t in enumerate(leaves):
        if t._rg and t._node is not None:
            alias = raw(t._buf, t._ptr, t._n, t._shape, t._strides, t._kind, t._ver)
            alias._rg = True
            given[id(alias)] = i
            leaves = [*leaves[:i], alias, *leaves[i + 1:]]
            replaced = True
        else:
            given[id(t)] = i
    return (given, leaves), rebuild(structure, iter(leaves), iter(numbers)) if replaced else (args, kwargs)


def _restore_numbers(planted):
    """Put plain numbers back in their places."""
    for place, value in planted:
        place.put(value)
    planted.clear()


def _restore(swapped):
    """Give the arguments their memory back."""
    for t, buf, ptr in swapped:
        t._buf, t._ptr = buf, ptr
