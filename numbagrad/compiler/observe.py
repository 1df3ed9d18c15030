"""Observation: what a captured run reads, writes and calls, noted while it happens.

``Observer.call``, while ``watching``, calls a function whose code, and that of every Python function it comes to, has hooks
in it (``rewrite``). What was there before the run ("outside") is noted as a ``Place`` with the value that was read:
together they are what the compiled step relies on, no more and no less. What the run itself made ("inside") needs no note.
Writes are journaled, so that the run can be undone. Calls of C code are taken if ``pure`` knows them; everything else is
refused.

The library's own code is trusted to tell what it reads, except its layers, which are followed like the user's."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from threading import get_ident

from ..autograd.function import FunctionCtx
from ..base import dtypes
from ..base.device import DEFAULT
from ..base.user_code import user_line
from ..core import graph
from ..core.tensor import Tensor
from ..kernel.tape import Fake, Refusal
from . import symbols
from .calls import Calls
from .draws import Draw, Drawn
from .follow import CORE_TABLE, Follows
from .frames import Frames
from .kin import Log
from .objects import SIMPLE, named, table_of
from .places import ABSENT, ORIGINALS, After, ClassEntry, Content, Entry, Item, Length, Lookup
from .reads import Reads
from .sets import Body, same
from .structure import fields_of, is_record
from .tensor_places import Hooks, Itself, State
from .writes import Writes

WATCHING: dict = {}  # thread -> Observer
_FORM = (*State.FIELDS, "_node", "_n", "_view")  # what undo puts back
_OF_THE_RUN = (Tensor, graph.Node, FunctionCtx, BaseException)


class Observer(Follows, Reads, Writes, Calls):
    """Notes of one run. ``reads`` is {key: (place, value)}, ``written`` {key: (place, value before)}."""

    def __init__(self, swapped=(), dynamic=(), drawn=None, forced=(), shift=0):
        self.reads, self.written, self.tensors = {}, {}, {}
        self.drawn = Drawn() if drawn is None else drawn
        self.inside, self.given, self.arguments = {}, {}, {}
        # Ids of tensors that may be others in each call, and of those among them that stand for one with a history.
        self.stood, self.cut = set(), set()
        self.swapped, self.known, self.met = list(swapped), set(), set()
        self.libraries, self.followed, self.quiet, self.unread = set(), set(), set(), {}
        self.frames = Frames(self._called, self._left, CORE_TABLE)
        self.tables, self.shifted = {}, set()  # dicts as they were; ids of lists whose items were moved
        self.storing, self.stored, self.unchanged = [], {}, []  # stored: {id of a container: keys, indices, members written}
        self.calls = {}  # id of a container -> [(method, arguments)], if that is all that changed it
        self.numbers, self.draws = None, False  # of the run, where some are followed
        # Outcomes of its first decisions on values of tensors; what its guesses for them are moved by; what it prints.
        self.forced, self.shift, self.said = forced, shift, []
        self.forms = {}  # id of a tensor -> (tensor, what it was, hooks of a leaf, tables of hooks), before the run
        self.dynamic = dynamic  # key -> place whose tensor is an input of the step
        self.moving = {id(p.root) for p in dict(dynamic).values() if p.__class__ is Itself}
        self.refusal = None
        self.log = Log()
        self.changes = 0  # writes to what was there before
        self.foreign = False  # whether the run went through C code that is not the library's, taken at its word
        for place in (Item(dtypes.DEFAULT, 0), Item(DEFAULT, 0)):
            self.note(place, place.get())

    # --- running

    @contextlib.contextmanager
    def watching(self):
        """Observe what this thread does in the block."""
        ident, collects = get_ident(), gc.isenabled()
        outer = WATCHING.get(ident)
        gc.disable()  # a collection may run code of anybody's
        for f, code, new in self.swapped:
            self._swap(f, code, new)
        WATCHING[ident] = self
        self.frames.start()
        self.nobody = _nobody(self.frames.native is not None)
        try:
            yield self
        finally:
            self.frames.stop()
            if outer is None:
                del WATCHING[ident]
            else:
                WATCHING[ident] = outer
            for f, code, new in reversed(self.swapped):
                f.__code__ = code
                ORIGINALS.pop(id(new), None)
            if collects:
                gc.enable()

    @contextlib.contextmanager
    def unwatched(self):
        """Hooks note nothing in the block."""
        ident = get_ident()
        before = WATCHING.pop(ident)
        try:
            yield
        finally:
            WATCHING[ident] = before

    def again(self):
        """Forget what a run that starts anew has noted, except which functions it came to."""
        self.undo()
        self.__init__(self.swapped, self.dynamic, self.drawn, self.forced, self.shift)
        self.drawn.again()
        functions, self.swapped = [f for f, _, _ in self.swapped], []
        with self.watching():
            for f in functions:
                self.follow(f)

    def undo(self):
        """Put back what was written."""
        for place, before in reversed(self.written.values()):
            place.put(before)
        self.written = {}
        for t, form, hooks, tables in self.forms.values():
            for name, value in zip(_FORM, form):
                setattr(t, name, value)
            if hooks is not None and Hooks(t).get() != hooks:
                Hooks(t).put(tables)
        self.forms = {}  # (what was there before a run does not outlast it: arguments have memory of their own in it)

    def refuse(self, what):
        """End the run: the step does ``what``, which a compiled step cannot do."""
        self.refusal = Refusal(f"ng.compile: the compiled function {what} at {user_line()}")
        raise self.refusal

    def draw(self, f, args, kwargs):
        """A number drawn from something that was there before: every call draws anew."""
        if self.numbers is not None and self.numbers.decisions:
            self.refuse(f"calls {getattr(f, '__name__', f)}() after a value of a tensor has decided: numbers are drawn at the "
                        "start of each call, so draw it before,")
        self.foreign = True
        draw = Draw(f, args, kwargs)
        value = self.drawn.take(draw)
        self.draws = True
        return self.symbolic().draw(draw, value)

    def symbolic(self):
        """The arithmetic of the run."""
        if self.numbers is None:
            self.numbers = symbols.Numbers(self.forced)
        return self.numbers

    def unknown(self, f):
        """Refuse a function in C."""
        self.refusal = Refusal(f"ng.compile: {named(f)} at {user_line()} is not known to depend on its arguments alone, "
                               "so its result cannot be taken for the same in every call. Call it outside of the compiled "
                               "function and pass its result in, mark it with ng.compiler.assume_constant_result if it does "
                               "depend on them alone, or pass fallback=True to run it eagerly")
        raise self.refusal

    def give(self, x):
        """Tensors and containers of the arguments: what is in them is compared by structure."""
        if isinstance(x, Tensor):
            self.arguments[id(x)] = x
        elif isinstance(x, (list, tuple, dict)) or is_record(x):
            self.given[id(x)] = x
            if is_record(x):
                self.given[id(table_of(x))] = table_of(x)
            for y in x.values() if isinstance(x, dict) else fields_of(x) if is_record(x) else x:
                self.give(y)

    # --- notes

    def note(self, place, value):
        """``value`` was read from a place."""
        root = id(place.root)
        if root in self.inside or root in self.given:
            return
        key = place.key
        if key in self.dynamic or place.__class__ is Lookup and self.dynamic and self._in_class(place):
            return
        if self.written:
            if (Content, root, None) in self.written and place.__class__ in (Entry, Item, Length, Content):
                return self.after_write(place)
            if place.__class__ in (Lookup, After):
                value = self._looked_up(place)
        self.relies(place, value, key)

    def is_known(self, key):
        """Whether a place of this key was read before, and nothing was written that another look could meet."""
        return key in self.reads and not self.written

    def relies(self, place, value, key=None):
        """``place`` held ``value`` before the run."""
        key = key or place.key
        if key not in self.reads and key not in self.dynamic and not (self.written and self._is_own(key, value)):
            value = self._fixed(place, value)
            self.reads[key] = place, value
            if value.__class__ not in SIMPLE:
                self._reached(value)
            if place.__class__ is Content:
                for v in value:
                    if v.__class__ not in SIMPLE:
                        self._reached(v)

    def _fixed(self, place, value):
        """What is compared of a value: numbers in it that are followed, as an item may be an input by another index too, become
        what they are now."""
        if self.numbers is not None:
            if isinstance(value, symbols.Symbol):
                return symbols.settled(value)
            if value.__class__ is tuple and place.__class__ is Content:  # (a list in it is compared by identity)
                return tuple([symbols.settled(v) if isinstance(v, symbols.Symbol) else v for v in value])
        return value

    def _in_class(self, place):
        """Whether a lookup finds a number that is followed: then the step relies on where it is found, not on what."""
        for i, c in enumerate(place.root.__mro__):
            if place.name in c.__dict__:
                if ClassEntry(c, place.name).key not in self.dynamic:
                    return False
                for e in place.root.__mro__[:i]:
                    self.relies(ClassEntry(e, place.name), ABSENT)
                return True
        return False

    def _looked_up(self, place):
        """What a lookup in classes found before the run wrote any attribute of theirs."""
        classes, name = place.classes()
        for c in classes:
            entry = self.written.get(ClassEntry(c, name).key)
            found = c.__dict__.get(name, ABSENT) if entry is None else entry[1]
            if found is not ABSENT:
                return found
        return ABSENT

    def _is_own(self, key, value):
        """Whether a place holds something else than before the run, which has written it (or is about to)."""
        if key not in self.written:
            return False
        before = self.written[key][1]
        return not (value is before or key[0] is Content and len(value) == len(before) and all(
            [a is b for a, b in zip(value, before)]))

    def _reached(self, value):
        """A tensor that a step reaches by name is one that it relies on."""
        if isinstance(value, Tensor):
            if value._buf.__class__ is Fake and id(value) not in self.arguments:
                return  # made by the run
            if id(value) in self.moving:
                return
            self.tensors[id(value)] = value
            self.keep(value)
        elif value.__class__ is tuple:
            for v in value:
                self._reached(v)

    def keep(self, t):
        """What a tensor that was there before the run is now, and its hooks where it is a leaf."""
        if id(t) not in self.forms:
            leaf = t._rg and t._node is None
            hooks = (Hooks(t).get(), Hooks(t).save()) if leaf else (None, None)
            self.forms[id(t)] = (t, [getattr(t, n) for n in _FORM], *hooks)

    def flagged(self):
        """[(tensor, its requires_grad now)] where the run has set that; other changes of what a tensor is are refused."""
        found = []
        for t, form, hooks, _ in self.forms.values():
            what = f"a tensor of shape {list(form[2])} that was there before"
            now = [getattr(t, n) for n in _FORM[1:5]]
            if form[0] is not t._buf or any([a is not b and a != b for a, b in zip(form[1:5], now)]):
                raise Refusal(f"ng.compile: the compiled function gives {what} other memory, another shape or dtype, which a "
                              "replay does not do: write into it with copy_(), or do it outside of the compiled function")
            if t._node is not form[6]:
                raise Refusal(f"ng.compile: the compiled function writes values that require grad into {what}, so that it "
                              "becomes part of a graph, which a replay does not do: detach them, or use a new tensor")
            if hooks is not None and Hooks(t).get() != hooks:
                raise Refusal(f"ng.compile: the compiled function leaves other hooks at {what}, which a replay does not do: "
                              "register and remove them outside of the compiled function")
            if t._rg is not form[5]:
                found.append((t, t._rg))
        return found

    def write(self, place):
        """A place is about to be written."""
        if id(place.root) in self.inside:
            return
        key = place.key
        self.changes += 1
        if key not in self.written:
            self.written[key] = place, place.save()

    def own(self, x):
        """``x`` was made by the run."""
        self.inside[id(x)] = x
        return x

    def new(self, x):
        """``x`` came out of an operation: if nobody else holds it, it was made by the run.

        The caller has it in a variable, which counts as one holder."""
        if x.__class__ not in SIMPLE and sys.getrefcount(x) <= self.nobody and not isinstance(x, Tensor):
            self.inside[id(x)] = x
        return x

    def is_outside(self, x):
        """Whether an object was there before the run and is not looked at with the arguments."""
        i = id(x)
        if i in self.inside or i in self.given:
            return False
        if isinstance(x, _OF_THE_RUN):
            return isinstance(x, Tensor) and not (x._buf.__class__ is Fake or i in self.arguments)
        return True

    def effects(self):
        """(place, value before, value now) of what the run has left changed.

        What a write has left as it was (``unchanged``) is relied on like what was read: elsewhere it would be a change."""
        found = []
        for place, before in self.written.values():
            now = place.save()
            if place.__class__ is Content:
                # (What was appended to a full deque may be what fell out of it.)
                changed = id(place.root) in self.stored or self.calls.get(id(place.root)) or len(now) != len(before) or any(
                    [a is not b for a, b in zip(now, before)]) or now.__class__ is Body and not (
                        same(now, before) and now.finger == before.finger)
            else:
                changed = now is not before
            if changed:
                found.append((place, before, now))
            elif place.key not in self.reads and place.key not in self.dynamic:
                self.unchanged.append((place, self._fixed(place, before)))
        return found


@functools.cache
def _nobody(native):
    """The reference count, seen from ``Observer.new``, of an object that only its caller holds; to be asked where frames are
    looked at, which counts in Python 3.10."""
    class Probe:
        def new(self, x):
            return sys.getrefcount(x)

        def call(self):
            out = [1]
            return self.new(out)
    return Probe().call()
