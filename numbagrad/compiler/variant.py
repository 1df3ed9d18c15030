"""One compiled form of a function, for one combination of everything that was guarded at its capture."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import threading
import types

import numpy as np

from ..core import storage
from ..core.tensor import Tensor, contiguous_strides, raw
from ..kernel import jit, tape
from ..kernel.tape import Fake
from ..optim import optimizer as optimizers
from . import call, explain, held, late, passes
from .backward import Backward, spent
from .capture import CaptureError, Recorder, Refresher, recording, undo
from .guards import Guards
from .ir import INPUT, KEPT, OUTPUT, STATE, TEMPORARY, Host
from .kin import MOST, Form
from .lines import Missed
from .objects import HEAP
from .observe import Again, Observer
from .places import PLAIN, ClassEntry, Content, Entry, Gradient, Hooks, Itself, Lookup, Member, State, alike
from .program import Program, prepare_hosts
from .replays import plan
from .signature import difference, signature
from .structure import MISS, Met, fields_of, flatten, is_record, mode_key, opened, rebuild, with_symbols
from .symbols import Numbers, plain
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


class Variant:
    """A captured and compiled call; ``fast(*args)`` runs it or returns ``MISS``."""

    def __init__(self, owner, args, kwargs, forced=()):
        self.owner, self.forced = owner, forced
        leaves, self.given_numbers = [], []
        self.structure = opened(flatten((args, kwargs), leaves), self.given_numbers, owner.open)
        self.shapes, self.shared = tuple([t._shape for t in leaves]), shared(leaves)
        self.mode = mode_key()
        self.once = False
        self._capture(args, kwargs, leaves)

    def moved(self, *numbers):
        """Whether a number that is followed, and had one value in all calls so far, has another."""
        return any([not alike(numbers[k], self.first_numbers[k]) for k in self.unproven])

    def confirm(self, args, kwargs, leaves, numbers):
        """Capture the call once more and compare, before the first replay: what came out otherwise changes by itself.

        Whether it is the same; a number that is followed has to have another value once, so that it shows where it was not."""
        other = object.__new__(Variant)
        other.owner, other.structure, other.mode, other.given_numbers = self.owner, self.structure, self.mode, list(numbers)
        other.forced = self.decisions
        now = [*numbers, *[p.get() for p in self.counters]]
        moved = {k for k, (a, b) in enumerate(zip(now, self.first_numbers)) if not alike(a, b)} & self.unproven
        if self.proven and not moved or self._overlaps(leaves):
            return True
        other._capture(args, kwargs, leaves, self)
        found = difference(self.signature, other.signature)
        if found is None and self.result_structure != other.result_structure:
            found = "a result", None
        if found is None:
            self.proven = True
            self.unproven -= moved
            if not self.unproven:
                self._prove()
            return True
        if moved:  # followed numbers went ways that are not followed: they are fixed from now on
            self.owner.closed.update([k if k < len(numbers) else self.counters[k - len(numbers)].key for k in moved])
            self.owner.open -= self.owner.closed
            return False
        label, line = found
        where = "" if line is None else " at {}:{}".format(*line)
        raise CaptureError(f"ng.compile: {label}{where} came out otherwise when the same call was captured a second time: "
                           "something in it changes by itself. Keep it out of the compiled function, or pass fallback=True to "
                           "run it eagerly.")

    def _prove(self):
        """No further capture is needed, and none of other sizes that differs in them alone."""
        self.proven = True
        self.form.guards = Guards((), self.guards)
        self.owner.forms = [*self.owner.forms, self.form][-MOST:]
        self.signature = self.form = None

    def may_decide(self, known):
        """Whether values of tensors may decide as they did in the capture, where some outcomes are known."""
        return all([a == b for a, b in zip(self.decisions, known)])

    # --- capture

    def _overlaps(self, leaves):
        """Whether arguments are one, or one that the function reaches by name, where they were not in the capture: another
        capture would look different, and this one serves as well."""
        known = {id(t._buf) for t in self.tensors}
        return shared(leaves) != self.shared or any(
            [id(t._buf) in known for i, t in enumerate(leaves) if i not in self.fixed])

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
                raise CaptureError(_refused(refusal)) from None
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

    def _guarded(self, o, pairs, closed):
        """Guard what was read; a proven variant of the same form proves this one, and what it relies on is known."""
        self.form = form = Form(self, pairs, o.log)
        kin = [f for f in reversed(self.owner.forms) if f.holds(form)]
        self.guards = Guards(pairs, kin[0].guards if kin else None)
        self.proof = "captured twice, alike"
        if self.numbers is None and any([f.proves(form) for f in kin]):
            self.proven, self.signature, self.form = True, None, None
            self.proof = "captured once, as it was captured twice, alike, in other sizes"
        elif closed:
            self._prove()
            self.proof = "captured once, as it only calls the library, with what it looks at in each call"

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

    def _differentiable(self, r, outs, given):
        """Capture the backward of results that can still be differentiated."""
        every = [k for k, t in _firsts(outs) if t._rg and t._node is not None]
        self.backward, self.spent = None, {}
        try:
            self._backward_of(r, every, outs, given)
        except RuntimeError:  # a used graph, or a saved tensor that was written since: said to who asks
            for k in every:
                try:
                    self._backward_of(r, [k], outs, given, False)
                except RuntimeError as error:
                    self.spent[k] = spent(error, outs[k], given)
            self._backward_of(r, [k for k in every if k not in self.spent], outs, given)

    def _backward_of(self, r, order, outs, given, keep=True):
        """Capture the backward of the results ``order``; RuntimeError where their graph is used up."""
        first, done = len(r.calls), False
        try:
            self.backward = Backward(r, [outs[k] for k in order], order, given) if order else None
            done = keep
        finally:
            if not done:
                del r.calls[first:]
                self.backward = None

    def _finish(self, r, leaves, outs, given, swapped):
        # Graphs that are left over (create_graph) hold what they saved.
        for t in outs:
            if isinstance(t, Tensor) and t._buf.__class__ is Fake:
                t._node = None
        prepare_hosts(r.calls, r.buffers)
        inputs, self.arguments = [], []
        for i, t in enumerate(leaves):
            b = r.buffers[id(t._buf)]
            if b.role == INPUT and b not in inputs:
                inputs.append(b)
                self.arguments.append((i, t._ptr - b.base))
        # For tensors that require grad, also whether they are leaves.
        self.leaves = [(type(t), t._kind, t._shape, t._strides, t._rg, t._rg and t._node is None) for t in leaves]
        outs = [*outs, *self._argument_gradients(r, leaves, given)]
        written = {b for c in r.calls for b in c.writes}
        self.aliases = _aliases(leaves, written, r, swapped)
        self._keep_state(r, outs)
        outputs, self.results, first = [], [], {id(t): k for k, t in _firsts(outs)}
        for k, t in enumerate(outs):
            if not isinstance(t, Tensor):
                self.results.append(("number", t.name))
                continue
            if first[id(t)] < k:
                self.results.append(("again", first[id(t)]))
                continue
            b = r.buffer(t)
            if b.role == TEMPORARY:
                b.role = OUTPUT
                outputs.append(b)
            if b.role == OUTPUT:
                self.results.append((outputs.index(b), t._ptr - b.base, t._n, t._shape, t._strides, t._kind, type(t)))
            else:
                self.results.append(self._alias(t, b, r, leaves, given[0]))
        if self.numbers is not None:
            late.forget(self.numbers, outs, r.calls)
        self.eager_peak = explain.eager_peak(r.calls)
        roots, more = set(outputs), set()
        if self.backward is not None:
            made, more = self.backward.roots(r)
            roots |= made
        calls, gone = passes.repeated(passes.live(r.calls, roots | more), roots)
        self.captured, self.dropped = len(r.calls), len(r.calls) - len(calls)
        if self.backward is not None:
            calls, saved = self.backward.divide(r, calls, gone)
            for b in saved:
                if b.role == TEMPORARY:
                    b.role = OUTPUT
                    outputs.append(b)
        self.outputs = outputs
        calls, first, cells = late.divided(passes.live(calls, set(outputs)), self.numbers)
        self.program = Program(calls, inputs, outputs, self.owner.arena, getattr(self.owner, "__name__", "step"), first, cells)
        if self.backward is not None:
            self.backward.build(r, leaves, self)
        self._guards(r, leaves)
        self._apart(r, leaves, written, swapped)
        self.before = [(t, grad) for t, grad, _ in r.leaves.values()]
        self.fakes = [b for b in r.buffers.values() if b.fake and b.array is None and b not in inputs]
        self.states = list(r.optimizers.values())

    def _argument_gradients(self, r, leaves, given):
        """Gradients that the call leaves at its own arguments, as further results; ``gradient_of`` says whose."""
        self.gradient_of, self.no_gradient, self.cleared, found = [], [], [], []
        for i, t in enumerate(given[1]):
            entry = r.leaves.get(id(t))
            if entry is None or i in self.fixed or any([t is s for s in given[1][:i]]):
                continue
            if t is not leaves[i]:
                if t._grad is not None:
                    raise CaptureError(f"ng.compile: backward inside the compiled function reaches tensor argument {i}, which "
                                       "has a history outside of it; detach it, or call backward outside")
                del r.leaves[id(t)]
                continue
            _, before, reads = entry
            if reads and before is None:
                self.no_gradient.append(i)
            if t._grad is not None and t._grad is not before:
                self.gradient_of.append(i)
                found.append(t._grad)
            elif t._grad is None and not reads:
                self.cleared.append(i)
            t._grad = before
            del r.leaves[id(t)]
        return found

    def _alias(self, t, b, r, leaves, given):
        """How to make a result that lies in memory which is not this call's own."""
        if id(t) in given:
            return ("argument", given[id(t)])
        for i, leaf in enumerate(leaves):  # one that the function found at a place
            if leaf is t:
                return ("argument", i)
        if b.role == KEPT or id(t._buf) in r.constants:
            array = b.array if b.role == KEPT else t._buf
            return ("copy", array, t._ptr - (storage.address(array) if t._buf is array else b.base), t)
        if b.role == STATE and t._view is None:
            return ("object", t)
        for i, leaf in enumerate(leaves):
            if leaf._buf is t._buf:
                return ("view", i, t._ptr - leaf._ptr, t)
        return ("view", None, t._ptr, t)

    def _keep_state(self, r, outs):
        """Give real memory to what outlives the call: gradients, new optimizer states."""
        self.gradients, self.states_of = [], set()
        known = self.observer.tensors
        for key, (t, _, _) in list(r.leaves.items()):
            if t._buf.__class__ is Fake or (id(t) in r.born and id(t) not in known):
                del r.leaves[key]  # made inside: nobody can look at its gradient afterwards
        for t, before, reads in r.leaves.values():
            g = t._grad
            if g is not before or not reads:  # (cleared without a look: there may be one in the next call)
                self.gradients.append((t, g))
                if g is not None and (g._buf.__class__ is Fake or r.buffer(g).role == TEMPORARY):
                    self._real(r, g)
        for optimizer, before in r.optimizers.values():
            for p, state in optimizer.state.items():
                for v in state.values() if isinstance(state, dict) else ():
                    if isinstance(v, Tensor) and v._buf.__class__ is Fake:
                        self._real(r, v)
                        self.once = True
                    if isinstance(v, Tensor):
                        known[id(v)] = v
                        self.states_of.add(id(v))
                    del v
                del state, p
            del before

    def _real(self, r, t):
        """Real memory for a tensor that was made in the capture and stays."""
        b = r.buffers[id(t._buf)]
        b.role = KEPT
        if b.array is None:
            b.array = np.zeros(max(b.obj.size, 1), b.obj.dtype) if b.fake else b.obj
        t._ptr = storage.address(b.array) + (t._ptr - b.base)
        r.buffers[id(b.array)] = b
        t._buf = b.array

    def kernel_names(self):
        """One name per different kernel (several names may be equal calls)."""
        return [item.source or (item.call.name, getattr(item.call, "key", None)) for item in self.program.items]

    def differs(self, other):
        """What a new variant was made for, compared with ``other``, in words."""
        if self.structure != other.structure or len(self.leaves) != len(other.leaves):
            return "other arguments, or other values of arguments that are no tensors"
        for i, (mine, theirs) in enumerate(zip(self.leaves, other.leaves)):
            for what, a, b in zip(("class", "dtype or device", "shape", "strides", "requires_grad", "leaf"), mine, theirs):
                if a != b and a is not b:
                    show = (lambda x: list(x) if isinstance(x, tuple) else getattr(x, "dtype", x))  # noqa: E731
                    return f"{what} of tensor argument {i} changed from {show(b)} to {show(a)}"
        if self.mode != other.mode:
            return f"the grad or inference mode changed from {other.mode} to {self.mode}"
        changed = other.guards.difference()
        if changed is not None:
            place, value = changed
            return f"{place.text()} changed from {value!r} to {place.get()!r}"
        return "a tensor that the function uses was replaced, or its requires_grad or gradient changed"

    def check_held(self):
        """Refuse a capture whose tensors live on somewhere: replays could not hand out new ones there."""
        fakes, self.fakes = self.fakes, None
        held = [b for b in fakes if sys.getrefcount(b.obj) > 2]
        for generation in range(3):  # the youngest objects first, as collecting all of a large process takes a second
            if not held:
                return
            gc.collect(generation)
            held = [b for b in held if sys.getrefcount(b.obj) > 2]
        for b in held:
            for holder in gc.get_referrers(b.obj):
                if isinstance(holder, Tensor):
                    undo(self.before, self.states)
                    users = [u for u in gc.get_referrers(holder) if not isinstance(u, (type(sys._getframe()), list))]
                    names = ", ".join(sorted({type(u).__name__ for u in users}))
                    raise CaptureError(
                        f"ng.compile: a tensor of shape {list(holder._shape)} made inside the compiled function is still "
                        f"held outside of it when it returns (by: {names or 'a local variable'}). A replay cannot hand out "
                        "new tensors that way: return it, or write into an existing tensor with copy_().")

    # --- guards and the call

    def _guards(self, r, leaves):
        reached = self.observer.tensors
        # All, as the step may have gone by the shape alone. An optimizer's state is replaced as a whole, which is looked at by
        # itself.
        self.tensors = [t for t in reached.values() if id(t) not in self.states_of]
        self.grads = [(t, Gradient.form(before)) for t, before, reads in r.leaves.values() if reads and (
            Member(t, Tensor._grad).key not in self.dynamic)]
        mine = {id(before._buf) for _, before, _ in r.leaves.values() if before is not None}
        self.optimizers = [o for o, _ in r.optimizers.values()]
        self.updates, self.composed = r.updates, r.composed
        self.forms = {}  # number of an optimizer: which of its settings are zero, when its memory was last compared
        by_version = {id(t._ver): i for i, t in enumerate(leaves)}
        written = [(v, v[0] - before) for v, before in r.versions.values()]
        # (number of the argument, count) and (version, count): how often each is written in a run.
        self.written_args = [(by_version[id(v)], n) for v, n in written if id(v) in by_version]
        self.versions = [(v, n) for v, n in written if id(v) not in by_version]
        r.restore_versions()
        touched = {b for c in r.calls for b in c.buffers()}
        self.keep = [b.obj for b in touched if b.role == STATE and id(b.obj) not in mine]
        hosts = {b for c in r.calls if isinstance(c, Host) for b in c.buffers()}
        for b in r.buffers.values():
            if id(b.obj) in mine and b not in hosts:  # gradients are not held
                b.obj = tape.Fake(b.base, b.obj.size, b.obj.dtype)
        self.kept = {b for b in r.buffers.values() if b.role == KEPT and b.array is not None}

    def _of_tensors(self):
        """(place, value) of the tensors and optimizers that the step reaches: what they are, hooks, gradients, states."""
        for t in [*self.tensors, *self.fixed.values()]:
            for place in (State(t), *([Hooks(t)] if t._rg and t._node is None else [])):
                yield place, place.get()
        for optimizer, _ in self.states:
            containers = [optimizer.state, optimizer.param_groups, *[g["params"] for g in optimizer.param_groups],
                          *[x for x in optimizer.state.values() if isinstance(x, dict)],
                          optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks,
                          optimizers._global_pre_hooks, optimizers._global_post_hooks]
            for x in containers:
                yield Content(x), Content(x).get()
            for g in optimizer.param_groups:
                yield Entry(g, "params"), g["params"]
        for t, before in self.grads:
            yield Gradient(t), before

    def _apart(self, r, leaves, written, swapped):
        """Arguments must not lie in memory that the function reaches by name where one of the two is written."""
        touched = {b for c in r.calls for b in c.buffers()}
        found = [(id(b.array) if b.role == KEPT else id(b.obj), b in written) for b in touched
                 if b.role == STATE or b.role == KEPT and b.array is not None]
        changed, every = frozenset([i for i, w in found if w]), frozenset([i for i, _ in found])
        memory = {id(t): buf for t, buf, _ in swapped}
        self.apart = []
        for i, t in enumerate(leaves):
            if i not in self.fixed:
                others = every if r.buffers[id(t._buf)] in written else changed
                if id(memory.get(id(t), t._buf)) in others:
                    raise CaptureError(f"ng.compile: tensor argument {i} is a view of memory that the compiled function also "
                                       "reaches by name, and one of the two is written; pass the whole tensor")
                if others:
                    self.apart.append((i, others))

    def build(self):
        """Make ``fast`` (given the tensors of the arguments) and, for plain arguments, ``bound``, the owner's own call."""
        call.build(self)
        self.guards.watch(held.watch(self))
        return self

    @functools.cached_property
    def nbytes(self):
        """About how much memory it takes."""
        return 4096 * self.program.count + sum([b.array.nbytes for b in self.kept])

    @functools.cached_property
    def ready(self):
        """The guards alone: None, or MISS."""
        return jit.define_again(self.probe, "call", self.env)

    def renewed(self, before, now):
        """Kept memory was replaced."""
        env = self.fast.__globals__
        for k, (i, others) in enumerate(self.apart):
            if id(before) in others:
                self.apart[k] = i, others - {id(before)} | {id(now)}
                env[f"others{i}"] = self.apart[k][1]
        for k, res in enumerate(self.results):
            if res[0] == "copy" and res[1] is before:
                self.results[k] = "copy", now, *res[2:]
                env[f"fixed{k}"] = call.fixed(*self.results[k][1:])

    def first(self, leaves, numbers=()):
        """The run that belongs to the capture: gradients are put back as they were, then it is a call like any other."""
        for t, before in self.before:
            t._grad = before
        states, self.before, self.states = self.states, None, None
        result = self.fast(*leaves, *numbers)
        if result.__class__ is Missed:
            undo((), states)
        if result is MISS:
            changed = self.guards.difference()
            changed = f" ({changed[0].text()} was {changed[1]!r}, is {changed[0].get()!r})" if changed else ""
            raise RuntimeError(f"ng.compile: the guards of a new variant do not hold{changed}; please report this")
        return result

    def refresh(self, k, settings=None):
        """Take the settings of optimizer ``k`` into the tables again; ``settings`` are those that are no tensors, if changed.

        False if they need other memory (a momentum for the first time), which is another program. Numbers that stay zero or
        not need none."""
        others = False
        if settings is not None:
            if any([isinstance(v, Tensor) for s in settings for v in (s if s.__class__ is tuple else (s,))]):
                return False  # a tensor is looked into in every call
            form = [v != 0 if v.__class__ in (int, float) else v for v in settings]
            others = form != self.forms.get(k)
        optimizer = self.optimizers[k]
        mine = [live for live in self.program.live if live[0].optimizer is optimizer]
        with recording(Refresher(others)) as r, _stand_ins(optimizer, mine):
            r.steps(self.updates[id(optimizer)])(optimizer)  # once, whatever hooks and classes of the user's are around it
        if others:
            undo((), r.optimizers.values())
            if any([call.layout != r.layouts[call.run % len(r.layouts)] for call, _, _ in mine]):
                return False
            self.forms[k] = form
        with self.program.lock:
            for call, slots, kinds in mine:
                for slot, v, kind in zip(slots, r.shared[call.run % len(r.shared)], kinds):
                    if kind == "f":
                        self.program.memory.view(np.float64)[slot] = v
                    else:
                        self.program.memory[slot] = int(v)
        return True


@contextlib.contextmanager
def _stand_ins(optimizer, live):
    """Gradients for the parameters that had one in the captured step, and only for them."""
    had = {id(p) for call, _, _ in live for p in call.changed}
    before = [(p, p._grad) for group in optimizer.param_groups for p in group["params"]]
    try:
        for p, _ in before:
            p._grad = p.detach() if id(p) in had else None
        yield
    finally:
        for p, grad in before:
            p._grad = grad


_UNNAMED = ("numbagrad.compiler", "numbagrad.kernel.tape")  # modules whose functions no user has called


def _refused(e):
    """The message of a refused capture; for something without a compiled form, from where it was raised."""
    if not isinstance(e, tape.Unlowered):
        return str(e)
    line, layer, function, tb = None, None, None, e.__traceback__
    while tb is not None:
        code, module = tb.tb_frame.f_code, tb.tb_frame.f_globals.get("__name__", "")
        if not module.startswith("numbagrad") and not code.co_filename.startswith("<numbagrad"):
            line, layer, function = f"{code.co_filename}:{tb.tb_lineno}", None, None
        elif module.startswith("numbagrad.nn.modules"):
            layer = layer or code.co_name
        elif function is None and not module.startswith(_UNNAMED):
            function = code.co_name
        tb = tb.tb_next
    what = f"ng.compile: {(function or layer or 'a function').strip('_')}() at {line}"
    if "which" in str(e):  # something lasting, or another in each call
        return f"{what} {e}. Keep it out of the compiled function, or pass fallback=True to run it eagerly."
    return (f"{what} has no compiled form: it {e}. Its result depends on values that exist only when the step runs; keep it "
            "out of the compiled function, or pass fallback=True to run it eagerly.")


def shared(leaves):
    """Which arguments lie in the memory of which earlier ones."""
    first = {}
    return tuple([first.setdefault(id(t._buf), i) for i, t in enumerate(leaves)])


def _firsts(outs):
    """(place, tensor) of the tensors among results, each once."""
    found = {}
    for k, t in enumerate(outs):
        if isinstance(t, Tensor):
            found.setdefault(id(t), (k, t))
    return list(found.values())


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


def _aliases(leaves, written, r, swapped):
    """Pairs of arguments that are one tensor (True), or must not share memory because one of them is written (False)."""
    out, memory = [], {id(t): buf for t, buf, _ in swapped}
    for i, a in enumerate(leaves):
        for j in range(i + 1, len(leaves)):
            b = leaves[j]
            if a is b:
                out.append((i, j, True))
            elif r.buffers[id(a._buf)] in written or r.buffers[id(b._buf)] in written:
                if memory.get(id(a), a._buf) is memory.get(id(b), b._buf):
                    raise CaptureError(f"ng.compile: tensor arguments {i} and {j} are views of one memory, and the compiled "
                                       "function writes into one of them; pass one tensor and take its views inside")
                out.append((i, j, False))
    return out
