"""Compiled functions: which variant runs a call, and when another one is captured."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import threading
import types
import warnings
import weakref

from ..base.overriding import ENTERED, PLAIN, mode_on, overloaded
from ..base.user_code import user_level
from ..kernel import tape, threads
from . import explain
from .check import ALWAYS, checked
from .draws import Drawn, Undrawn
from .lines import Missed
from .memory import Arena
from .pace import Paces, clock
from .refusals import CaptureError, defined
from .structure import MISS, changed_numbers, flatten, opened
from .trial import StepFailed
from .variant import Variant

LIMIT = 16     # variants of one function for one combination of shapes
PAUSE = 1024   # calls at most that run eagerly between two captures, where so many came soon after others
SHARE = 8      # times what a capture takes: before that another one comes soon
SHAPES = 1024  # variants in all, where shapes may change
RECENT = 4     # variants with a call of their own that are tried before all others are looked at
HITS = 8       # calls of theirs, until one is tried first
FEW = 128      # of them, however large: beyond, all have at most
BYTES = 1 << 28  # of memory: their gradients, and some 4 KB for each native call


class CompileWarning(UserWarning):
    """A compiled function runs slower than it might: it recompiles often, or falls back to eager."""


ALL = weakref.WeakSet()  # compiled functions
METHODS = "_compiled_methods"  # where an instance keeps them


class Methods(dict):
    """The compiled methods of one instance; copies of the instance and files have none."""

    def __reduce__(self):
        return Methods, ()

    def __deepcopy__(self, memo):
        return Methods()


def look_again():
    """The number of threads has changed: the variants that may run are others. Or a mode was entered, of which ``slow`` looks
    whether it is this thread's."""
    for fn in list(ALL):
        type(fn).__call__, fn.recent = CompiledFunction.__call__, []


threads.CHANGED.append(look_again)
ENTERED.append(look_again)


class CompiledFunction:
    """What ``ng.compile`` returns; call it like the function."""

    is_compiled_function = True

    def __new__(cls, *args, **kwargs):
        # A class of its own, whose __call__ is the generated call of the variant that ran last.
        return object.__new__(type(cls.__name__, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__}))

    def __init__(self, fn, fallback=False, dynamic=None, check=False):
        self.fn = fn
        self.options = {"fallback": fallback, "dynamic": dynamic, "check": check}
        self.checks = check or ALWAYS
        self.variants, self.lock = [], threading.RLock()
        self.by_shapes = {}  # the same
        self.captures = {}  # shapes -> [captures that came soon after others, when the last was done]
        self.paces = Paces()
        self.recent, self.hits = [], 0  # variants with a call of their own, the one that is tried first last; calls of others
        self.forms = []  # of variants that were captured twice
        self.closed = set()  # numbers that cannot be followed
        self.drawn = Drawn()
        self.open = set()  # places of the numbers among the arguments that have differed
        self.assumed = []  # how values of tensors were taken to decide in a capture that failed
        self.arena = Arena()
        ALL.add(self)
        functools.update_wrapper(self, fn, updated=())
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        self.eager = inspect.isgeneratorfunction(inspect.unwrap(getattr(fn, "__func__", fn)))
        if self.eager:
            warnings.warn(f"{self.__name__} is a generator function, which runs piece by piece: it runs eagerly",
                          CompileWarning, stacklevel=3)

    def __call__(self, *args, **kwargs):
        return self.slow(args, kwargs)

    def __get__(self, instance, owner=None):
        """A method: each instance (or class, for a class method) gets a compiled function of its own."""
        if instance is None:
            return self
        try:
            kept = vars(instance).get(METHODS)
        except TypeError:  # an instance of slots keeps nothing: it is an argument of one function for all
            return types.MethodType(self, instance)
        found = None if kept is None else kept.get(self)
        if found is None:
            if isinstance(instance, type):
                return types.MethodType(self, instance)
            if kept is None:
                kept = vars(instance)[METHODS] = Methods()
            found = kept[self] = CompiledFunction(self.fn.__get__(instance), **self.options)
        return found

    def __deepcopy__(self, memo):
        return CompiledFunction(copy.deepcopy(self.fn, memo), **self.options)

    def __reduce__(self):
        return CompiledFunction, (self.fn, *self.options.values())

    def use(self, variant):
        """Try ``variant`` first from now on."""
        if variant.flat and variant.proven and not self.checks:
            variant.used = True
            self.recent = [*[v for v in self.recent if v is not variant][1 - RECENT:], variant]
            type(self).__call__ = variant.bound
            if PLAIN:  # no thread has a mode
                return
        type(self).__call__ = CompiledFunction.__call__

    def slow(self, args, kwargs):
        """Look for a variant whose guards hold; capture a new one where none does."""
        if tape.TAPE and tape.active() is not None or self.eager:
            return self.fn(*args, **kwargs)
        if not PLAIN and mode_on():
            return self.asking(None, args, kwargs)
        pace = None
        if not self.checks:
            pace = self.paces.of(args, kwargs)
            if not pace.looks():
                with self.lock:
                    return pace.run(self.fn, args, kwargs)
        start = clock()
        if self.recent:
            for v in self.recent[-2::-1]:
                result = v.tried(self, *args, **kwargs)
                if result is not MISS and result.__class__ is not Missed:
                    self.hits += 1
                    if self.hits == HITS:
                        self.hits = 0
                        self.use(v)
                    return result
        try:
            return self.compiled(args, kwargs, pace, start)
        except StepFailed as failed:
            error = failed.error
        return self.failed(error, args, kwargs)

    def asking(self, value, args, kwargs):
        """A call that a mode (None) or the class of an argument is to be asked about: refused, or run eagerly."""
        what = "a TorchFunctionMode is on" if value is None else f"an argument is a {type(value).__name__}"
        error = CaptureError(
            f"ng.compile: {what}, whose __torch_function__ is asked for every call, which a compiled step has none of. Give it "
            f"plain tensors (x.as_subclass(torch.Tensor)), or pass fallback=True to run it eagerly. ({defined(self.fn)})")
        if not self.options["fallback"]:
            raise error
        if value is None:  # (which may have ended by the next call)
            warnings.warn(f"{error}; it runs eagerly meanwhile (fallback=True)", CompileWarning, stacklevel=user_level())
        else:
            self._refused(error)
        return self.fn(*args, **kwargs)

    def failed(self, error, args, kwargs):
        """A call that raised an error in its capture, which has left nothing behind: run eagerly, it raises the error again and
        leaves what it had done before it."""
        # (Its text may have numbers in it that are not there yet.)
        text = " ".join([type(error).__name__, *[a for a in error.args if a.__class__ is str]])
        del error
        result = self.fn(*args, **kwargs)
        warnings.warn(f"{self.__name__} raised an error when it was captured ({text}), but not when it was run eagerly "
                      "instead; please report this", CompileWarning, stacklevel=user_level())
        return result

    def compiled(self, args, kwargs, pace, start):
        """A call, begun at ``start``, by a variant that is there or is captured now."""
        leaves = []
        structure, numbers = flatten((args, kwargs), leaves), []
        if self.open:
            structure = opened(structure, numbers, self.open)
        with self.lock:
            self.drawn.done()
            try:
                result, known = self._replayed(args, kwargs, leaves, structure, numbers, pace, start)
            except Undrawn:
                result, known = MISS, []
            if result is not MISS:
                return result
            if self.eager:
                return self.fn(*args, **kwargs)
            if pace is not None and pace.left > 0:
                self.drawn.put_back()
                return pace.run(self.fn, args, kwargs)
            if self.open:
                structure = opened(flatten((args, kwargs), []), [], self.open)
            return self.capture(args, kwargs, leaves, structure, known, pace)

    def _replayed(self, args, kwargs, leaves, structure, numbers, pace, start):
        """(result of a variant that is there, or MISS; how values of tensors decide in this call, as far as that is known)."""
        known, number = [], threads.get_num_threads()
        for v in reversed(self.by_shapes.get(tuple([t._shape for t in leaves]), ())):
            if v.structure == structure and v.threads == number and v.may_decide(known):
                if v.signature is not None:
                    if v.ready(*leaves, *numbers) is MISS:
                        continue
                    if not self.confirmed(v, args, kwargs, leaves, numbers):
                        break
                if self.checks:
                    if v.ready(*leaves, *numbers) is MISS:
                        continue
                    result = self.check(v, args, kwargs, functools.partial(v.fast, *leaves, *numbers))
                else:
                    if v.flat and not v.used:  # it will have a call of its own
                        start = clock()
                    result = v.fast(*leaves, *numbers)
                if result.__class__ is Missed:
                    known = max(known, result.outcomes, key=len)
                elif result is not MISS:
                    if pace is None or pace.replayed(clock() - start, v.captured):
                        self.use(v)
                    return result, known
        return MISS, known

    def check(self, v, args, kwargs, run):
        """A call that is compared with eager code."""
        return checked(self.__name__, self.fn, args, kwargs, v, run)

    def confirmed(self, v, args, kwargs, leaves, numbers):
        """Whether a second capture found what the first did; if not, the variant is dropped."""
        try:
            if v.confirm(args, kwargs, leaves, numbers):
                return True
        except CaptureError as e:
            self._drop(v)
            self._refused(e)
            return False
        self._drop(v)
        return False

    def _drop(self, v):
        self.variants.remove(v)
        same = self.by_shapes[v.shapes] = [w for w in self.by_shapes[v.shapes] if w is not v]
        if not same:
            del self.by_shapes[v.shapes]
            self.captures.pop(v.shapes, None)
        self.recent = [w for w in self.recent if w is not v]

    def _refused(self, e):
        """Raise a refusal, or run eagerly from now on."""
        self.drawn.put_back()
        if not re.search(r":\d+", str(e)):
            e = CaptureError(f"{e} ({defined(self.fn)})")
        if not self.options["fallback"]:
            raise e from None
        warnings.warn(f"{e}; it runs eagerly from now on (fallback=True)", CompileWarning, stacklevel=user_level())
        self.eager = True

    def capture(self, args, kwargs, leaves, structure, known, pace):
        """A new variant runs the call; ``known``: how values of tensors decide in it, as far as that is known."""
        asked = overloaded(leaves)
        if asked:
            return self.asking(asked[0], args, kwargs)
        for v in self.variants:
            # Numbers among the arguments that differ from call to call are inputs from now on.
            more = changed_numbers(v.structure, structure) if v.structure != structure else None
            if more:
                self.open.update(set(more) - self.closed)
        began = clock()
        while True:
            try:
                v = Variant(self, args, kwargs, known)
                v.check_held()
                v.build()
            except CaptureError as e:
                self._refused(e)
                return self.fn(*args, **kwargs)
            except StepFailed:
                if len(self.assumed) == len(known):
                    raise
                known = [*self.assumed[:-1], not self.assumed[-1]]  # no value may decide so
                continue
            result = self._first(v, args, kwargs, leaves, pace, began)
            if result.__class__ is not Missed:
                return result
            known = result.outcomes

    def _first(self, v, args, kwargs, leaves, pace, began):
        first = functools.partial(v.first, leaves, v.given_numbers)
        if self.checks:
            first = functools.partial(self.check, v, args, kwargs, first)
        if v.once:
            return first()
        same = self.by_shapes.get(v.shapes, [])
        most = LIMIT if self.options["dynamic"] is False else SHAPES
        if len(self.variants) >= FEW and sum([w.nbytes for w in self.variants]) >= BYTES:
            most = len(self.variants)
        calls = 0 if pace is None else self._calls_of_pause(v.shapes, began)
        if calls:
            pace.pause(calls)
        if len(same) >= LIMIT or len(self.variants) >= most:
            oldest = (same if len(same) >= LIMIT else self.variants)[0]
            pause = f", and the next {calls} calls of other forms run eagerly" if calls else ""
            warnings.warn(f"{self.__name__} was compiled more than {LIMIT if len(same) >= LIMIT else most} times: "
                          f"{self.changes(v)}. The oldest form was dropped{pause}.", CompileWarning, stacklevel=user_level())
            kept = self.captures.get(v.shapes)
            self._drop(oldest)
            if kept is not None:
                self.captures[v.shapes] = kept
        self.variants.append(v)
        self.by_shapes[v.shapes] = [*self.by_shapes.get(v.shapes, ()), v]
        type(self).__call__ = CompiledFunction.__call__  # whether it comes again, and is quick, shows in ``_replayed``
        return first()

    def _calls_of_pause(self, shapes, began):
        """How many calls to run eagerly after a capture, begun at ``began``, as captures take too much of the time."""
        now = clock()
        known = self.captures.get(shapes)
        if known is None:
            known = self.captures[shapes] = [0, began]
        known[0] += 1 if began - known[1] < SHARE * (now - began) else -(known[0] > 0)
        known[1] = now
        return min(LIMIT << min(known[0] - LIMIT - 1, 10), PAUSE) if known[0] > LIMIT else 0

    def _latest(self):
        if not self.variants:
            raise RuntimeError(f"{self.__name__} was not compiled yet: call it once")
        return self.variants[-1]

    def explain(self, profile=False):
        """Text: what was captured and fused, and each kernel with its shape, bytes and flops, of the latest variant.

        ``profile=True`` adds the time of each kernel. It runs the kernels again on the memory of the last call, the
        optimizer's too: use it on a model that may change."""
        return "\n".join([*self.paces.text(), explain.explain(self._latest(), profile)])

    @property
    def source(self):
        """Python text of the kernels of the latest variant."""
        return explain.source(self._latest())

    @property
    def memory(self):
        """``Memory(arena, eager_peak, temporaries)`` in bytes, of the latest variant."""
        return explain.memory_of(self._latest())

    def loops(self):
        """The fused elementwise loops of the latest variant as [(``emit.Pointwise``, compute type, input codes, output
        codes, dimensions)]: the form from which the emitters of both devices print kernels."""
        return [c.loop.pointwise() for c in self._latest().program.calls if getattr(c, "loop", None) is not None]

    def changes(self, new):
        """What differs between a new variant and the one before, in words."""
        if not self.variants:
            return "first call"
        return new.differs(self.variants[-1])
