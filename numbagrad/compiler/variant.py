"""One compiled form of a function, for one combination of everything that was guarded at its capture."""

from __future__ import annotations

import functools
import gc
import sys

from ..core.tensor import Tensor
from ..kernel import jit, threads
from . import call, held
from .capture import undo
from .finish import Finish
from .guards import Guards
from .kin import MOST, Form
from .lines import Missed
from .places import alike
from .refusals import CaptureError
from .signature import difference
from .structure import MISS, flatten, mode_key, opened
from .trial import Trial


class Variant(Trial, Finish):
    """A captured and compiled call; ``fast(*args)`` runs it or returns ``MISS``."""

    def __init__(self, owner, args, kwargs, forced=()):
        self.owner, self.forced = owner, forced
        leaves, self.given_numbers = [], []
        self.structure = opened(flatten((args, kwargs), leaves), self.given_numbers, owner.open)
        self.shapes, self.shared = tuple([t._shape for t in leaves]), shared(leaves)
        self.mode, self.threads = mode_key(), threads.get_num_threads()
        self.once = False
        self.used = False  # by a call of its own
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

    def _overlaps(self, leaves):
        """Whether arguments are one, or one that the function reaches by name, where they were not in the capture: another
        capture would look different, and this one serves as well."""
        known = {id(t._buf) for t in self.tensors}
        return shared(leaves) != self.shared or any(
            [id(t._buf) in known for i, t in enumerate(leaves) if i not in self.fixed])

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
            return f"the grad, inference or autocast mode changed from {other.mode} to {self.mode}"
        if self.threads != other.threads:
            return f"the number of threads changed from {other.threads} to {self.threads}"
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
    def tried(self):
        """The owner's own call where another variant is tried first: its result, or MISS."""
        return call.tried(self)

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


def shared(leaves):
    """Which arguments lie in the memory of which earlier ones."""
    first = {}
    return tuple([first.setdefault(id(t._buf), i) for i, t in enumerate(leaves)])
