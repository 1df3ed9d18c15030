"""Observation: what a captured run reads, writes and calls, noted while it happens.

``Observer.run`` calls a function whose code, and that of every Python function it comes to, has hooks in it (``rewrite``).
What was there before the run ("outside") is noted as a ``Place`` with the value that was read: together they are what the
compiled step relies on, no more and no less. What the run itself made ("inside") needs no note. Writes are journaled, so that
the run can be undone. Calls of C code are taken if ``pure`` knows them; everything else is refused.

The library's own code is trusted to tell what it reads, except its layers, which are followed like the user's."""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import importlib.util
import operator
import os
import sys
import types
import weakref
from threading import get_ident

import numpy as np

from .. import dtypes, storage
from ..autograd import graph
from ..autograd.function import FunctionCtx
from ..kernel.tape import Fake, Refusal, Untraced
from ..tensor import Tensor
from . import pure, symbols
from .draws import Draw, Drawn, may_draw
from .places import (
    ABSENT,
    CONTAINERS,
    ORIGINALS,
    PLAIN,
    Cell,
    ClassEntry,
    Content,
    Entry,
    Field,
    Item,
    Itself,
    Kind,
    Length,
    Lookup,
    Member,
    Numbers,
    Protocols,
)
from .rewrite import NoSource, rewritten
from .structure import fields_of, is_record

WATCHING: dict = {}  # thread -> Observer
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLLOWED = tuple([os.path.join(PACKAGE, *p) for p in (("nn", "modules"), ("nn", "utils"), ("optim", "lr_scheduler.py"),
                                                       ("optim", "_scheduler.py"), ("optim", "_onecycle.py"),
                                                       ("optim", "_plateau.py"))])
_OPS = os.path.dirname(os.path.abspath(sys.modules["numbagrad.ops"].__file__)) if "numbagrad.ops" in sys.modules else PACKAGE
_NUMPY = os.path.dirname(np.__file__)
_STDLIB = os.path.dirname(os.__file__)
# Python code of the standard library that keeps nothing between calls but caches, or whose only effect is a warning.
_SITE = tuple([os.path.join(p, "") for p in sys.path if p.endswith(("site-packages", "dist-packages"))])
# Python code of the standard library that keeps nothing between calls but caches, or whose only effect is a warning.
_TRUSTED = tuple([os.path.join(_STDLIB, n) for n in ("abc.py", "_collections_abc.py", "enum.py", "typing.py", "warnings.py",
                                                     "linecache.py", "numbers.py", "keyword.py", "operator.py", "types.py",
                                                     "contextlib.py", "weakref.py", "_weakrefset.py")])
CORE, LIBRARY, USER = "core", "library", "user"
UPDATES = {"Add": operator.iadd, "Sub": operator.isub, "Mult": operator.imul, "MatMult": operator.imatmul,
           "Div": operator.itruediv, "FloorDiv": operator.ifloordiv, "Mod": operator.imod, "Pow": operator.ipow,
           "LShift": operator.ilshift, "RShift": operator.irshift, "BitOr": operator.ior, "BitXor": operator.ixor,
           "BitAnd": operator.iand}
BINARY = {n: getattr(operator, f.__name__.lstrip("i")) if n not in ("BitOr", "BitAnd") else f for n, f in UPDATES.items()}
BINARY.update(BitOr=operator.or_, BitAnd=operator.and_)
COMPARED = {"Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt,
            "GtE": operator.ge}
_GETSET = (types.GetSetDescriptorType,)
_SLOT = types.MemberDescriptorType
PROTOCOLS = tuple([f"__{n}__" for n in """
add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul
rmatmul and rand or ror xor rxor lshift rshift neg pos abs invert iadd isub imul itruediv imatmul ior iand eq ne lt le gt ge
bool
len iter next getitem setitem delitem contains reversed call enter exit index int float complex hash str repr format missing
getattribute getattr setattr delattr get set delete round length_hint instancecheck subclasscheck array""".split()])
_PROTOCOLS = frozenset(PROTOCOLS)


class Again(BaseException):
    """A function was entered that had no hooks yet: the run starts anew."""


@functools.cache
def kind_of_file(filename):
    """Whose code a file is: CORE is not followed (the engine, NumPy, what Python keeps to itself); LIBRARY (the rest of Python
    and installed packages) and USER code is, LIBRARY code only where it does not work for the core."""
    if filename.startswith(FOLLOWED):
        return USER
    if filename == "<string>":  # written by namedtuple, dataclass and the like
        return LIBRARY
    if filename.startswith(("<numbagrad", "<frozen ", PACKAGE, _OPS, _NUMPY)) or filename in _TRUSTED:
        return CORE
    return LIBRARY if filename.startswith((_STDLIB, *_SITE)) else USER


def trusted(filename):
    """Whether code of a file is not followed."""
    return kind_of_file(filename) is CORE


class Observer:
    """Notes of one run. ``reads`` is {key: (place, value)}, ``written`` {key: (place, value before)}."""

    def __init__(self, swapped=(), dynamic=(), drawn=None):
        self.reads, self.written, self.tensors = {}, {}, {}
        self.drawn = Drawn() if drawn is None else drawn
        self.inside, self.given, self.arguments = {}, {}, {}
        self.swapped, self.known, self.met = list(swapped), set(), set()
        self.libraries, self.followed, self.quiet, self.unread = set(), set(), set(), {}
        self.calls = {}  # id of a container -> [(method, arguments)], if that is all that changed it
        self.numbers, self.draws = None, False  # of the run, where some are followed
        self.dynamic = dynamic  # key -> place whose tensor is an input of the step
        self.moving = {id(p.root) for p in dict(dynamic).values() if p.__class__ is Itself}
        self.refusal = None
        for place in (Item(dtypes._default, 0), Item(storage._default_device, 0)):
            self.note(place, place.get())

    # --- running

    @contextlib.contextmanager
    def watching(self):
        """Observe what this thread does in the block."""
        ident, trace, collects = get_ident(), sys.gettrace(), gc.isenabled()
        gc.disable()  # a collection may run code of anybody's
        for f, code, new in self.swapped:
            self._swap(f, code, new)
        WATCHING[ident] = self
        sys.settrace(self._called)
        try:
            yield self
        finally:
            sys.settrace(trace)
            del WATCHING[ident]
            for f, code, new in reversed(self.swapped):
                f.__code__ = code
                ORIGINALS.pop(id(new), None)
            if collects:
                gc.enable()

    def again(self):
        """Forget what a run that starts anew has noted, except which functions it came to."""
        self.undo()
        self.__init__(self.swapped, self.dynamic, self.drawn)
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

    def refuse(self, what):
        """End the run: the step does ``what``, which a compiled step cannot do."""
        self.refusal = Refusal(f"ng.compile: the compiled function {what} at {graph.user_line()}")
        raise self.refusal

    def draw(self, f, args, kwargs):
        """A number drawn from something that was there before: every call draws anew."""
        draw = Draw(f, args, kwargs)
        value = self.drawn.take(draw)
        if self.numbers is None:
            self.numbers = symbols.Numbers()
        self.draws = True
        return self.numbers.draw(draw, value)

    def unknown(self, f):
        """Refuse a function in C."""
        self.refusal = Refusal(f"ng.compile: {_named(f)} at {graph.user_line()} is not known to depend on its arguments alone, "
                               "so its result cannot be taken for the same in every call. Call it outside of the compiled "
                               "function and pass its result in, or pass fallback=True to run it eagerly")
        raise self.refusal

    def give(self, x):
        """Tensors and containers of the arguments: what is in them is compared by structure."""
        if isinstance(x, Tensor):
            self.arguments[id(x)] = x
        elif isinstance(x, (list, tuple, dict)) or is_record(x):
            self.given[id(x)] = x
            if is_record(x):
                self.given[id(_table(x))] = _table(x)
            for y in x.values() if isinstance(x, dict) else fields_of(x) if is_record(x) else x:
                self.give(y)

    # --- frames

    def _called(self, frame, event, arg):
        """Trace function: a Python frame is entered."""
        code = id(frame.f_code)
        if code not in self.known:
            self._entered(frame)
        elif code in self.libraries and self._for_core(frame):
            self.quiet.add(id(frame))
            return self._left
        elif code in self.unread:
            self._read(*self.unread.pop(code), frame)
        return None

    def _left(self, frame, event, arg):
        if event == "return":
            self.quiet.discard(id(frame))
        return self._left

    def _for_core(self, frame):
        """Whether a frame of a library works for the engine."""
        back = frame.f_back
        while back is not None:
            code = back.f_code
            if id(back) in self.quiet:
                return True
            if code.co_filename != __file__:
                if id(code) in self.followed:
                    return False
                kind = kind_of_file(code.co_filename)
                if kind is not LIBRARY:
                    return kind is CORE
            back = back.f_back
        return True

    def _entered(self, frame):
        code = frame.f_code
        kind = kind_of_file(code.co_filename)
        if kind is CORE or code.co_name == "<module>":
            self._know(code)
            return
        if kind is LIBRARY and self._for_core(frame):
            return
        users = [f for f in gc.get_referrers(code) if f.__class__ is types.FunctionType and f.__code__ is code]
        if not users:
            self._know(code)
            if code.co_filename == "<string>":  # generated code of namedtuple and dataclass is looked at where it is called
                return
            self.refuse(f"enters {code.co_name}() of {code.co_filename}:{code.co_firstlineno}, which cannot be followed")
        for f in users:
            self.follow(f)
        if id(users[0].__code__) != id(code):
            raise Again

    def _know(self, code, followed=None):
        """A code and those inside of it need no hooks, or have them (``followed``: whose code it is)."""
        self.known.add(id(code))
        self.inside[id(code)] = code
        if followed is not None:
            self.followed.add(id(code))
            if followed is LIBRARY:
                self.libraries.add(id(code))
        for c in code.co_consts:
            if isinstance(c, types.CodeType):
                self._know(c, followed)

    def follow(self, f):
        """Put hooks into a Python function, and note that it is this one that is called."""
        code = f.__code__
        if id(code) in self.known:
            return
        if trusted(code.co_filename):
            self._know(code)
            return
        if self._is_generated(f):
            self._know(code)
        else:
            try:
                with Untraced():
                    new = rewritten(f)
            except NoSource as reason:
                self.refuse(f"calls {f.__qualname__}(), which cannot be followed: {reason}")
            self._know(new, kind_of_file(code.co_filename))
        if id(f.__code__) in self.known:
            self.unread[id(code)] = f, code
        else:
            self.unread[id(new)] = f, code
            self.swapped.append((f, code, new))
            self._swap(f, code, new)

    @staticmethod
    def _swap(f, code, new):
        ORIGINALS[id(new)] = code
        f.__code__ = new

    def _read(self, f, code, frame):
        """A followed function is entered for the first time: the step relies on its code and defaults."""
        self.note(Field(f, "__code__"), code)
        self.note(Field(f, "__defaults__"), f.__defaults__)
        self.note(Field(f, "__kwdefaults__"), f.__kwdefaults__)
        if f.__kwdefaults__:
            self.content(f.__kwdefaults__)
        if f.__name__ in _PROTOCOLS and code.co_argcount:
            cls = type(frame.f_locals[code.co_varnames[0]])
            if _lookup(cls, f.__name__) is f:
                self.note(Lookup(cls, f.__name__), f)

    def _is_generated(self, f):
        """Whether a function without source is one that namedtuple or dataclass wrote: it only takes and sets fields."""
        code = f.__code__
        if not code.co_filename.startswith("<"):
            return False
        if f.__name__ in ("__new__", "<lambda>") and "_tuple_new" in code.co_names + code.co_freevars:
            return True
        return f.__name__ in ("__init__", "__eq__", "__repr__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__",
                              "__setattr__", "__delattr__") and code.co_filename == "<string>"

    # --- notes

    def note(self, place, value):
        """``value`` was read from a place."""
        root = id(place.root)
        if root in self.inside or root in self.given:
            return
        key = place.key
        if key in self.dynamic:
            return
        if key not in self.reads and not self._is_own(key, value):
            if place.__class__ is Content and symbols.any_in(value):
                value = symbols.settled(value)
            self.reads[key] = place, value
            self._reached(value)
            if place.__class__ is Content:
                for v in value:
                    self._reached(v)

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
        elif value.__class__ is tuple:
            for v in value:
                self._reached(v)

    def write(self, place):
        """A place is about to be written."""
        if id(place.root) in self.inside:
            return
        key = place.key
        if key not in self.written:
            self.written[key] = place, place.save()

    def own(self, x):
        """``x`` was made by the run."""
        self.inside[id(x)] = x
        return x

    def new(self, x):
        """``x`` came out of an operation: if nobody else holds it, it was made by the run."""
        if x.__class__ not in _SIMPLE and sys.getrefcount(x) <= _NOBODY and not isinstance(x, Tensor):
            self.inside[id(x)] = x
        return x

    def is_outside(self, x):
        """Whether an object was there before the run and is not looked at with the arguments."""
        if isinstance(x, Tensor) and (x._buf.__class__ is Fake or id(x) in self.arguments):
            return False
        if isinstance(x, (graph.Node, FunctionCtx)):
            return False
        return id(x) not in self.inside and id(x) not in self.given

    def effects(self):
        """(place, value before, value now) of what the run has left changed."""
        found = []
        for place, before in self.written.values():
            now = place.save()
            if not (len(now) == len(before) and all([a is b for a, b in zip(now, before)])
                    if place.__class__ is Content else now is before):
                found.append((place, before, now))
        return found

    # --- names, attributes, items

    def attribute(self, x, name):
        cls = x.__class__
        if cls in _SIMPLE:
            return
        if isinstance(x, types.ModuleType):
            self.note(Entry(vars(x), name, x), vars(x).get(name, ABSENT))
            return
        if isinstance(x, type):
            self._of_class(x, name)
            return
        cls = type(x)
        self.meet(cls)
        raw = _lookup(cls, name)
        if cls.__flags__ & _HEAP and self.is_outside(x):
            self.note(Kind(x), cls)
        if id(cls) not in self.inside:
            self.note(Lookup(cls, name), raw)
        get, data = self._descriptor(raw)
        if data:
            if isinstance(raw, property):
                self._accessor(raw.fget)
            elif raw.__class__ is _SLOT:
                place = Member(x, raw)
                self.note(place, place.get())
            elif get is not None:
                self._accessor(get)
            return
        table = _table(x)
        if table is not None:
            value = dict.get(table, name, ABSENT)
            if self.is_outside(x):
                self.note(Entry(table, name, x), value)
            if value is not ABSENT:
                return
        if raw is ABSENT:
            self._accessor(_lookup(cls, "__getattr__"))
        elif get is not None and raw.__class__ not in (types.FunctionType, classmethod, staticmethod):
            self._accessor(get)

    def _descriptor(self, raw):
        """(``__get__`` written in Python or None, whether a descriptor comes before the instance's own attributes)."""
        cls = type(raw)
        if raw is ABSENT or cls is types.FunctionType:
            return None, False
        get = _lookup(cls, "__get__")
        data = get is not ABSENT and (_lookup(cls, "__set__") is not ABSENT or _lookup(cls, "__delete__") is not ABSENT)
        return get if get.__class__ is types.FunctionType else None, data

    def _accessor(self, f):
        if f.__class__ is types.FunctionType:
            self.follow(f)
        elif f is not ABSENT and f is not None and f.__class__ in (types.BuiltinFunctionType, types.MethodDescriptorType):
            self._c_function(f, (), {})

    def _of_class(self, cls, name):
        self.note(Lookup(cls, name), raw := _lookup(cls, name))
        meta = type(cls)
        if meta is not type:
            self.note(Lookup(meta, name), found := _lookup(meta, name))
            if isinstance(found, property):
                self._accessor(found.fget)
        get, _ = self._descriptor(raw)
        if get is not None:
            self._accessor(get)

    def meet(self, cls):
        """Put hooks into what operators and built-in functions call of a class of the user's."""
        if cls in self.met or cls in _SIMPLE:
            return
        self.met.add(cls)
        for c in cls.__mro__:
            if c.__flags__ & _HEAP:
                table = c.__dict__
                for name in PROTOCOLS:
                    f = table.get(name)
                    if f.__class__ is types.FunctionType and not trusted(f.__code__.co_filename):
                        self.follow(f)

    def operated(self, cls):
        """C code may call any of a class's special methods."""
        self.meet(cls)
        if cls.__flags__ & _HEAP and id(cls) not in self.inside:
            place = Protocols(cls, PROTOCOLS)
            if place.key not in self.reads:
                self.note(place, place.get())

    def item(self, x, i):
        if x.__class__ in _SIMPLE or isinstance(x, Tensor):
            return
        if isinstance(x, dict):
            if type(x).__getitem__ is dict.__getitem__ or type(x).__getitem__ is collections.OrderedDict.__getitem__:
                try:
                    self.note(Entry(x, i), dict.get(x, i, ABSENT))
                except TypeError:
                    return
                missing = _lookup(type(x), "__missing__")
                if missing is not ABSENT and i not in x:
                    if isinstance(x, collections.defaultdict):
                        self.write(Content(x))
                        self._argument(x.default_factory)
                    self._accessor(missing)
            self.operated(type(x))
        elif isinstance(x, (list, collections.deque, bytearray)) and type(x).__getitem__ in _SEQUENCE_ITEMS:
            try:
                at = operator.index(i)
            except TypeError:
                self.content(x)
                return
            if self.is_outside(x):
                value = x[at] if -len(x) <= at < len(x) else ABSENT
                self.note(Item(x, at), value)
        elif isinstance(x, np.ndarray):
            self.content(x)
        else:
            self.operated(type(x))

    def contains(self, item, x):
        if isinstance(x, dict) and type(x).__contains__ in (dict.__contains__, collections.OrderedDict.__contains__):
            try:
                self.note(Entry(x, item), dict.get(x, item, ABSENT))
            except TypeError:
                pass
        else:
            self.content(x)
        self.content(item)

    def content(self, x):
        """C code is about to look into ``x``."""
        cls = x.__class__
        if cls in _SIMPLE or isinstance(x, Tensor):
            return
        if isinstance(x, CONTAINERS):
            self.operated(type(x))
            if self.is_outside(x):
                place = Content(x)
                if place.key not in self.written:
                    self.note(place, self._original(place))
        elif isinstance(x, np.ndarray):
            if self.is_outside(x):
                if x.nbytes > 1 << 20:
                    self.refuse(f"reads the numbers of a NumPy array of shape {x.shape}; give it as a tensor")
                place = Numbers(x)
                self.note(place, place.get())
        elif isinstance(x, tuple):
            for y in x:
                self.content(y)
        elif isinstance(x, types.MappingProxyType):
            self.refuse("looks into the attributes of a class as a whole")
        elif cls in _VIEWS:
            self.content(_mapping_of(x))
        else:
            self.operated(cls)

    def _original(self, place):
        """What was in a container before the run wrote single items of it."""
        x = place.root
        mine = [(p, before) for p, before in self.written.values() if p.root is x]
        if not mine or not isinstance(x, dict):
            return place.get()
        before = dict(x)
        for p, value in mine:
            if value is ABSENT:
                before.pop(p.name, None)
            else:
                before[p.name] = value
        return Content(before).get()

    def iterated(self, x, deep):
        if isinstance(x, pure.ITERATORS) and self.is_outside(x) and not self._is_new(x):
            self.refuse(f"takes items of an iterator ({type(x).__name__}) that was there before: they would be taken once, not "
                        "in every call")
        self.content(x)
        if deep and isinstance(x, (list, tuple)):
            for y in x:
                self.content(y)

    def _is_new(self, x):
        """Whether a generator runs code with hooks, which only the run has."""
        return x.__class__ is types.GeneratorType and id(x.gi_code) in self.followed

    # --- writes

    def writes(self, x, name):
        if isinstance(x, Tensor):
            if name not in dir(Tensor):
                self.write(Entry(x.__dict__, name, x))
            return
        if isinstance(x, types.ModuleType):
            self.write(Entry(vars(x), name, x))
            return
        if isinstance(x, type):
            self.write(ClassEntry(x, name))
            return
        cls = type(x)
        self.meet(cls)
        setter = _lookup(cls, "__setattr__")
        if setter.__class__ is types.FunctionType:
            self.follow(setter)
            if not self._is_generated(setter):
                return
        self.store(x, name)

    def store(self, x, name):
        """``object.__setattr__`` is about to set an attribute."""
        raw = _lookup(type(x), name)
        if isinstance(raw, property):
            self._accessor(raw.fset)
        elif raw.__class__ is _SLOT:
            self.write(Member(x, raw))
        elif raw is not ABSENT and _lookup(type(raw), "__set__") is not ABSENT:
            self._accessor(_lookup(type(raw), "__set__"))
        else:
            table = _table(x)
            if table is None:
                self.refuse(f"sets '{name}' of a {type(x).__name__}")
            if self.is_outside(x):
                self.write(Entry(table, name, x))

    def puts(self, x, call=None):
        """Items of ``x`` are about to change, by (name of a method, arguments) ``call`` if that can be done again."""
        if isinstance(x, Tensor):
            return
        if isinstance(x, CONTAINERS):
            self.meet(type(x))
            if id(x) in self.inside:
                return
            first = Content(x).key not in self.written
            self.write(Content(x))
            if call is not None and (first or id(x) in self.calls):
                self.calls.setdefault(id(x), []).append(call)
            else:
                self.calls.pop(id(x), None)
        elif isinstance(x, np.ndarray):
            if self.is_outside(x):
                self.refuse(f"writes into a NumPy array of shape {x.shape}; use a tensor")
        else:
            self.meet(type(x))

    # --- calls

    def call(self, f, args, kwargs):
        """The result of a call, which is followed, known, or refused."""
        out = self._call(f, args, kwargs)
        return self.new(out)

    def _settled(self, f, args, kwargs):
        """Arguments for code that does not follow numbers."""
        return symbols.settled(args), {k: symbols.settled(v) for k, v in kwargs.items()}

    def _call(self, f, args, kwargs):
        kind = f.__class__
        if self.numbers and symbols.any_in((*args, *kwargs.values())) and kind is not types.FunctionType and (
                kind is not types.MethodType) and not isinstance(f, functools.partial):
            known, out = symbols.call(f, args, kwargs)
            if known and out is not None:
                return out
            keeps = isinstance(getattr(f, "__self__", None), CONTAINERS) and f.__name__ in ("append", "appendleft", "insert")
            python = isinstance(f, type) and f.__flags__ & _HEAP or kind.__flags__ & _HEAP
            if not known and not keeps and f is not sum and not python:
                args, kwargs = self._settled(f, args, kwargs)
        if kind is types.FunctionType:
            return self._python(f, args, kwargs)
        if may_draw(f, args) and self.is_outside(f.__self__) and not isinstance(
                getattr(f, "__func__", None), types.FunctionType):
            args, kwargs = self._settled(f, args, kwargs)
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
            return self._call(f.func, (*f.args, *args), {**f.keywords, **kwargs})
        if isinstance(f, functools._lru_cache_wrapper):
            return self._call(f.__wrapped__, args, kwargs)
        if kind in _C_CALLABLES:
            return self._c_function(f, args, kwargs, True)
        if kind is weakref.ref:
            return f()
        if kind in (operator.attrgetter, operator.itemgetter, operator.methodcaller):
            return self._getter(f, *args, **kwargs)
        from .function import CompiledFunction
        if isinstance(f, CompiledFunction):
            return self._call(f.fn, args, kwargs)
        method = _lookup(kind, "__call__")
        if method.__class__ is types.FunctionType:
            self.note(Lookup(kind, "__call__"), method)
            self.meet(kind)
            return self._python(method, (f, *args), kwargs)
        if pure.numpy_made(f):
            self._look(args, kwargs)
            return f(*args, **kwargs)
        return self.unknown(f)

    def _python(self, f, args, kwargs):
        if trusted(f.__code__.co_filename):
            if self.numbers and symbols.any_in((*args, *kwargs.values())):
                args, kwargs = _whole(args), {k: _whole(v) for k, v in kwargs.items()}
            for a in (*args, *kwargs.values()):
                self._argument(a)
            self._know(f.__code__)
            out = f(*args, **kwargs)
            return self.own(out) if out.__class__ is types.GeneratorType else out
        self.follow(f)
        return f(*args, **kwargs)

    def _argument(self, x, depth=0):
        """What is handed to code that is not followed."""
        if x.__class__ is types.FunctionType:
            if not trusted(x.__code__.co_filename):
                self.follow(x)
        elif x.__class__ is types.MethodType:
            self._argument(x.__func__)
        elif isinstance(x, functools.partial):
            self._argument(x.func)
        elif x.__class__ in _C_CALLABLES:
            if not self._is_pure(x):
                self.unknown(x)
        elif isinstance(x, (*CONTAINERS, tuple, np.ndarray)):
            self.content(x)
            if depth < 4:
                for y in x.values() if isinstance(x, dict) else x if not isinstance(x, np.ndarray) else ():
                    self._argument(y, depth + 1)
        elif isinstance(x, pure.ITERATORS):
            self.iterated(x, False)
        elif x.__class__ not in _SIMPLE and not isinstance(x, Tensor) and not isinstance(x, type):
            self.meet(type(x))

    def _look(self, args, kwargs):
        for a in (*args, *kwargs.values()):
            self._argument(a)

    def _construct(self, cls, args, kwargs):
        """A call of a class: something new."""
        if cls is type and len(args) == 1:
            return type(args[0])
        if id(cls) in pure.FUNCTIONS or issubclass(cls, pure.IMMUTABLE) and not cls.__flags__ & _HEAP or issubclass(
                cls, (BaseException, np.generic)) and not cls.__flags__ & _HEAP or pure.numpy_made(cls):
            self._look(args, kwargs)
            if cls in pure.ITERATORS or cls in (list, tuple, set, dict, frozenset, collections.deque):
                for a in args:
                    self.iterated(a, False)
            return self.own(cls(*args, **kwargs))
        if not cls.__flags__ & _HEAP:
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
            found = _lookup(cls, name)
            found = getattr(found, "__func__", found)
            if found.__class__ is types.FunctionType and not trusted(found.__code__.co_filename):
                self.follow(found)
            if id(cls) not in self.inside:
                self.note(Lookup(cls, name), _lookup(cls, name))
        meta = _lookup(type(cls), "__call__")
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
        special = _SPECIAL.get(f)
        if special is not None:
            return special(self, args, kwargs)
        owner, rest = getattr(f, "__self__", None), args
        if f.__class__ in (types.MethodDescriptorType, types.WrapperDescriptorType) and args:
            owner, rest = args[0], args[1:]
        name = getattr(f, "__name__", "")
        if name == "__setattr__" and not isinstance(owner, type):
            self.store(owner, rest[0])
        elif name == "__delattr__" and not isinstance(owner, type):
            self.store(owner, rest[0])
        elif name == "__getattribute__":
            self.attribute(owner, rest[0])
        elif isinstance(owner, CONTAINERS) and self._container(owner, name, rest):
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
        elif isinstance(owner, Tensor) or _of_library(f, owner):
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
        out = f(*args, **kwargs)
        if out.__class__ in _NEW and name not in ("get", "pop", "popleft", "setdefault", "popitem", "__getitem__", "__next__",
                                                   "next"):
            self.own(out)
        return out

    def _container(self, x, name, rest):
        """Note what a method of a container does to it."""
        if pure.changes(x, name):
            if isinstance(x, dict) and name in ("pop", "setdefault", "__delitem__", "move_to_end") and rest:
                self.item(x, rest[0])
            elif name not in _BLIND:
                self.content(x)
            again = name in _AGAIN and type(x) in (list, collections.deque)
            self.puts(x, (name, [list(rest[0])] if name.startswith("extend") and again and not isinstance(
                rest[0], pure.ITERATORS) else list(rest)) if again and not isinstance(rest[0], pure.ITERATORS) else None)
        elif isinstance(x, dict) and name in ("get", "__getitem__", "__contains__") and rest:
            self.item(x, rest[0])
        elif name == "__len__":
            if self.is_outside(x):
                self.note(Length(x), len(x))
        elif name != "__class_getitem__":
            self.content(x)
        return True


def _whole(x):
    """Arguments of the library's functions: floats may stay symbols, ints are sizes and the like."""
    if isinstance(x, symbols.SymInt):
        return x.fix()
    if x.__class__ in (tuple, list):
        return symbols.settled(x) if symbols.any_in(x) else x
    return x


def _lookup(cls, name):
    for c in cls.__mro__:
        if name in c.__dict__:
            return c.__dict__[name]
    return ABSENT


def _table(x):
    """The dict of an object's own attributes, or None."""
    try:
        table = object.__getattribute__(x, "__dict__")
    except AttributeError:
        return None
    return table if table.__class__ is dict else None


def _mapping_of(view):
    return gc.get_referents(view)[0]


def _of_library(f, owner):
    module = getattr(f, "__module__", None) or getattr(type(owner), "__module__", "")
    return isinstance(module, str) and module.partition(".")[0] == "numbagrad"


def _named(f):
    module, name = getattr(f, "__module__", None), getattr(f, "__qualname__", None) or type(f).__qualname__
    owner = getattr(f, "__self__", None)
    if module is None and owner is not None and not isinstance(owner, types.ModuleType):
        module = type(owner).__module__
    return f"{module}.{name}()" if module not in (None, "builtins") else f"{name}()"


def _getattr(self, args, kwargs):
    self.attribute(*args[:2])
    return getattr(*args)


def _hasattr(self, args, kwargs):
    self.attribute(*args)
    return hasattr(*args)


def _setattr(self, args, kwargs):
    self.writes(*args[:2])
    return setattr(*args)


def _delattr(self, args, kwargs):
    self.writes(*args[:2])
    return delattr(*args)


def _next(self, args, kwargs):
    x = args[0]
    if len(args) == 1 and isinstance(x, pure.ITERATORS) and self.is_outside(x) and not self._is_new(x):
        return self.draw(next, args, kwargs)
    self.iterated(x, False)
    return next(*args)


def _iter(self, args, kwargs):
    if len(args) == 2:
        self._argument(args[0])
    else:
        self.iterated(args[0], False)
    return self.own(iter(*args))


def _len(self, args, kwargs):
    x, = args
    if isinstance(x, CONTAINERS):
        if self.is_outside(x):
            self.note(Length(x), len(x))
        self.meet(type(x))
    else:
        self.content(x)
    return len(x)


def _vars(self, args, kwargs):
    return vars(*args)


def _isinstance(self, args, kwargs):
    for cls in args[1] if isinstance(args[1], tuple) else (args[1],):
        self.meet(type(cls))
    return isinstance(*args)


def _sum(self, args, kwargs):
    self._look(args, kwargs)
    self.iterated(args[0], False)
    if self.numbers is None:
        return sum(*args, **kwargs)
    total = args[1] if len(args) > 1 else kwargs.get("start", 0)
    for x in args[0]:
        total = _arithmetic(self, "Add", total, x, BINARY)
    return total


def _reduce(self, args, kwargs):
    self._look(args, kwargs)
    for a in args:
        self.iterated(a, False)
    return functools.reduce(*args)


_SPECIAL = {getattr: _getattr, hasattr: _hasattr, setattr: _setattr, delattr: _delattr, next: _next, iter: _iter, len: _len,
            vars: _vars, isinstance: _isinstance, functools.reduce: _reduce, sum: _sum}
_HEAP = 1 << 9
_C_CALLABLES = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
                types.ClassMethodDescriptorType)
_SIMPLE = frozenset((*PLAIN, tuple().__class__, types.EllipsisType, range, slice)) - {tuple}
_SIMPLE = _SIMPLE | {dtypes.float32.__class__, symbols.SymFloat, symbols.SymInt}
_VIEWS = tuple([type(v) for d in ({}, collections.OrderedDict()) for v in (d.keys(), d.values(), d.items())])
_SEQUENCE_ITEMS = (list.__getitem__, collections.deque.__getitem__, bytearray.__getitem__)
_ARRAY_CHANGES = ("fill", "sort", "put", "itemset", "partition", "resize", "setfield", "setflags", "__setitem__", "byteswap")
# Methods that look at nothing of their container, and those of them that a replay can call again.
_BLIND = ("append", "appendleft", "extend", "extendleft", "add", "update", "discard", "__setitem__", "__iadd__", "__ior__",
          "difference_update")
_AGAIN = ("append", "appendleft", "extend", "extendleft")
_NEW = (list, dict, set, collections.deque, bytearray, *pure.ITERATORS, collections.OrderedDict, collections.defaultdict)
_PURE_MODULES = ("_abc", "_operator", "math", "cmath", "_functools_pure", "_struct", "_statistics", "unicodedata", "_string")


# --- the hooks: each does its operation, noted where the thread's run is observed

def _watching():
    """The observer of the run that the hook's caller belongs to, or None."""
    o = WATCHING.get(get_ident())
    return None if o is None or o.quiet and id(sys._getframe(2)) in o.quiet else o


def _hooked(note):
    def make(do):
        def hook(*args):
            o = _watching()
            if o is not None:
                note(o, *args)
            return do(*args)
        return hook
    return make


def _call(f, /, *args, **kwargs):
    o = _watching()
    return f(*args, **kwargs) if o is None else o.call(f, args, kwargs)


def _first(x, *rest):
    return x


def _renewed(do):
    def hook(*args):
        o = _watching()
        if o is None:
            return do(*args)
        x, i = args
        i = symbols.settled(i) if o.numbers else i
        o.item(x, i)
        out = do(x, i)
        return o.new(out)
    return hook


def _nobody():
    """The reference count, seen from ``Observer.new``, of an object that only its caller holds."""
    class Probe:
        def new(self, x):
            return sys.getrefcount(x)

        def call(self):
            out = [1]
            return self.new(out)
    return Probe().call()


_NOBODY = _nobody()


def _arithmetic(o, op, x, y, table):
    """The result of an operator, after a look at its operands; symbols before all, as floats would take them for ints."""
    if o.numbers and (isinstance(x, symbols.Symbol) or isinstance(y, symbols.Symbol)):
        if isinstance(x, (list, tuple, str, bytes, bytearray)) or isinstance(y, (list, tuple, str, bytes, bytearray)):
            return table[op](symbols.settled(x), symbols.settled(y))
        found = symbols.arithmetic(op, x, y)
        if found is not NotImplemented:
            return found
    o.content(x)
    o.content(y)
    return table[op](x, y)


def _update(op, x, y):
    o = _watching()
    if o is None:
        return UPDATES[op](x, y)
    if isinstance(x, CONTAINERS):
        o.content(x)
        o.puts(x)
    return _arithmetic(o, op, x, y, UPDATES)


def _update_item(op, x, i, value, later):
    o = _watching()
    if o is not None:
        i = symbols.settled(i)
        o.item(x, i)
    old = x[i]
    if later:
        value = value()
    if o is not None:
        new = _update(op, old, value) if not isinstance(old, CONTAINERS) else None
        if isinstance(old, CONTAINERS):
            o.content(old)
            o.puts(old)
            new = UPDATES[op](old, value)
        o.puts(x)
        x[i] = new
    else:
        x[i] = UPDATES[op](old, value)


def _update_attribute(op, x, name, value, later):
    o = _watching()
    if o is not None:
        o.attribute(x, name)
    old = getattr(x, name)
    if later:
        value = value()
    if o is None:
        new = UPDATES[op](old, value)
    else:
        if isinstance(old, CONTAINERS):
            o.content(old)
            o.puts(old)
        new = _arithmetic(o, op, old, value, UPDATES)
        o.writes(x, name)
    setattr(x, name, new)


def _binary(op, x, y):
    o = _watching()
    if o is None:
        return BINARY[op](x, y)
    return o.new(_arithmetic(o, op, x, y, BINARY))


def _compared(op, x, y):
    o = _watching()
    return COMPARED[op](x, y) if o is None else _arithmetic(o, op, x, y, COMPARED)


def _puts(o, x):
    o.puts(x)


def _name(o, table, name, value):
    found = table.get(name, ABSENT)
    o.note(Entry(table, name, "globals"), found)
    if found is ABSENT:
        builtins = table["__builtins__"]
        builtins = builtins if isinstance(builtins, dict) else vars(builtins)
        o.note(Entry(builtins, name, "globals"), builtins.get(name, ABSENT))


def _free(o, closure, i, name, value):
    o.note(Cell(closure[i], name), value)


def _binds_name(o, table, name, reads):
    place = Entry(table, name, "globals")
    if reads:
        o.note(place, place.get())
    o.write(place)


def _binds_free(o, closure, i, name, reads):
    place = Cell(closure[i], name)
    if reads:
        o.note(place, place.get())
    o.write(place)


def _context(o, x):
    o.meet(type(x))
    if isinstance(x, contextlib._GeneratorContextManager) and o.is_outside(x):
        o.refuse("enters a context that was made before: it can be entered once, not in every call")
    if type(x).__flags__ & _HEAP or _of_library(None, x) or type(x).__module__ == "numbagrad":
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


HOOKS = {
    "attribute": _hooked(Observer.attribute)(getattr),
    "item": _renewed(operator.getitem),
    "contains": _hooked(Observer.contains)(lambda item, x: item in x),
    "content": _hooked(Observer.content)(_first),
    "iterated": _hooked(Observer.iterated)(_first),
    "name": _hooked(_name)(lambda table, name, value: value),
    "free": _hooked(_free)(lambda closure, i, name, value: value),
    "binds_name": _hooked(_binds_name)(_ignore),
    "binds_free": _hooked(_binds_free)(_ignore),
    "imported": _hooked(_imported)(_ignore),
    "writes": _hooked(Observer.writes)(_first),
    "puts": _hooked(_puts)(_first),
    "made": _hooked(Observer.own)(_first),
    "context": _hooked(_context)(_first),
    "of_the_frame": _hooked(_of_the_frame)(_first),
    "call": _call,
    "update": _update,
    "update_item": _update_item,
    "update_attribute": _update_attribute,
    "binary": _binary,
    "compared": _compared,
    "handled": _handled,
    "slice": slice,
    "index": lambda i: symbols.settled(i) if _watching() is not None else i,
}
