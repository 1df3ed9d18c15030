"""Source text and Python functions as native functions with the raw ABI: every argument an int64 or a float64."""

from __future__ import annotations

import functools
import weakref

import numpy as np

from . import inlined, objects, progress, startup, trampoline
from .define import define
from .fastmath import FAST
from .guard import guarded
from .intrinsics import Numba

_nb = None
STARTS = []  # called once Numba has started, with a native reader of an int64 at an address
# Where CPython's ndarray object keeps its data pointer: compared with ``ctypes.data`` before the native reader is put to use.
DATA_FIELD = 16
_peek = None


def nb():
    return _nb or _start()


@guarded
def _start():
    global _nb
    if _nb is None:
        # Other threads and a later call see it when all of it is there.
        numba = Numba()
        inlined.inline_overloads()
        startup.without_scipy_linalg()
        startup.with_known_calls()
        peek = _reader()
        for begin in STARTS:
            begin(peek)
        _nb = numba
    return _nb


def _reader():
    """The int64 at an address, for Python: Numba takes 30 ms for it."""
    w = objects.Writer("peek")
    at = w.made(w.call(objects.c_api("PyLong_AsSsize_t"), w.argument(0)), wrong=-1)
    return w.finish(w.call(objects.c_api("PyLong_FromSsize_t"), w.load(at)), ())


def _use_reader(peek):
    global _peek
    probe = np.empty(3, np.float32)
    if peek(id(probe) + DATA_FIELD) == probe.ctypes.data:
        _peek = peek


STARTS.append(_use_reader)


def address(array):
    """Address of a NumPy array's first byte (30 ns by the native reader, once Numba has started; 800 ns before)."""
    return array.ctypes.data if _peek is None else _peek(id(array) + DATA_FIELD)


class Native:
    """A compiled kernel: ``entry`` is callable from Python with raw arguments; ``address`` is its C function."""

    __slots__ = ("entry", "cres", "dispatcher", "source", "letters", "_address")

    def __init__(self, dispatcher, cres, source, letters):
        self.dispatcher, self.cres, self.source, self.letters = dispatcher, cres, source, letters
        self.entry, self._address = cres.entry_point, None  # (an entry that may be called if it was asked for)

    @property
    def address(self):
        """Address of the C function with the same arguments."""
        return self._address or self._find_address()

    @guarded
    def _find_address(self):
        self._address = c_address(self.cres)
        return self._address


# Entry that returns nothing -> (address of its C function, or its library and name; kinds of its arguments)
_behind, _released = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()  # (of those that hold the GIL, and others)


def behind(entry, short=False):
    """(address of the C function, the kinds of its arguments) of a compiled entry; None where a call would release the GIL,
    which a ``short`` one need not."""
    found = _behind.get(entry) or short and _released.get(entry) or None
    return found if found is None or found[0].__class__ is int else _find_behind(entry, *found)


def keep(made):
    """The entry of a compiled kernel that releases the GIL, which ``behind`` is then told of: whoever calls its C function has
    taken care of that."""
    _behind.setdefault(made.entry, ((made.cres.library, made.cres.fndesc.llvm_cfunc_wrapper_name), made.letters))
    return made.entry


@guarded
def _find_behind(entry, function, letters):
    found = function[0].get_pointer_to_function(function[1]), letters
    (_behind if entry in _behind else _released)[entry] = found
    return found


@guarded
def c_address(cres):
    """Address of the C function of a compiled one."""
    return cres.library.get_pointer_to_function(cres.fndesc.llvm_cfunc_wrapper_name)


@guarded
def compile_source(source, name, args, env=None, key="", fast=FAST, returns=False, nogil=False, numba=None, entry=True):
    """Compile generated source text; ``args`` has one letter per parameter ("i" int64, "f" float64). Without ``entry`` it is
    called by its address alone: what would call it from Python is a fifth of the work.

    Every global name the text may use is in ``env`` (vecmath functions, constants); ``key`` is the text that pins
    what those names mean, for the disk cache."""
    numba = numba or nb()
    namespace = {"ptr_" + code: p for code, p in numba.pointers.items()}
    namespace.update(accumulate=numba.accumulate, fmaximum=numba.fmaximum, fminimum=numba.fminimum)
    namespace.update(env or {})
    namespace["__name__"] = "numbagrad.kernel.generated"
    fn = define(source, name, namespace, f"{name} kernel")
    return compile_function(fn, args, source + "\n#" + key, fast, returns, nogil, source, numba, entry)


@guarded
def compile_function(fn, args, key, fast, returns, nogil, source, numba=None, entry=True):
    """Compile a Python function, whose text is ``source``; ``key`` is all that its machine code depends on."""
    from . import cache
    n = numba or nb()
    dispatcher = n.njit(fastmath=set(fast) if fast else False, error_model="numpy", nogil=nogil,
                        pipeline_class=inlined.kernels(), no_cpython_wrapper=not entry)(fn)
    cache.attach(dispatcher, key + repr((args, tuple(sorted(fast)), returns, nogil)))
    sig = (n.i8 if returns else n.types.void)(*[n.i8 if a == "i" else n.f8 for a in args])
    progress.compile_signature(dispatcher, sig)
    cres = dispatcher.overloads[tuple(sig.args)]
    if not returns and entry:
        (_released if nogil else _behind)[cres.entry_point] = (cres.library, cres.fndesc.llvm_cfunc_wrapper_name), args
    return Native(dispatcher, cres, source, args)


@functools.cache
def through(letters, ranged=True):
    """Address of a function ``(table, start, stop)`` that calls the kernel whose address is the table's first word.

    ``letters`` are the kinds of the other words ("i" int64, "f" float64): the kernel's arguments, of which the last two are its
    range and come from the caller, if it is ``ranged``. It is made in each process, in a twentieth of the time that Numba and
    a file in the cache would take the first time."""
    return trampoline.through(letters, ranged)


@functools.cache
@guarded
def each():
    """Address of a function ``(table, start, stop)`` that calls another one, the table's first word, with several tables, which
    have their range before them and lie one after the other."""
    text = ("def each(table, start, stop):\n    t = ptr_i8(table)\n    for i in range(start, stop):\n"
            "        at = 2 + i * t[1]\n        invoke(t[0], table + 8 * (at + 2), t[at], t[at + 1])\n")
    return compile_source(text, "each", "iii", {"invoke": trampoline.invoke("iii")}, "invoke iii", entry=False).address
