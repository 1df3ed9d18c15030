"""Which Python frames a captured run enters.

A trace function in Python would do, but the interpreter then asks about every line, too, which makes a capture take twice as
long. So a native profile function, called by the interpreter with each frame, looks the frame's code up in a table and comes
back to Python only for what the table does not have. Where it cannot stand (another interpreter, a profiler of the user's), the
trace function does the same."""

from __future__ import annotations

import ctypes
import functools
import sys
from array import array
from threading import get_ident

import numpy as np

from ..core import storage
from ..kernel import jit, objects, tape

# Words of the table: functions of CPython (the code of a frame, release an object, call an object with one argument), what is
# called at an unknown frame and at the end of each, whether ends are asked for, mask and address of the codes; the thread's
# state, functions of CPython that hold tracing back and let it go, how often it is held back.
TEXT = """def entered(given, frame, what, value):
    t = ptr_i8(ptr_i8(given + {field})[0])
    what = what & 0xffffffff
    if what == 3:
        if t[5] == 0:
            return 0
        asked = t[4]
    elif what == 0:
        code = call_one(t[0], frame)
        call_none(t[1], code)
        codes, i = ptr_i8(t[7]), code >> 4 & t[6]
        while codes[i] != 0:
            if codes[i] == code:
                return 0
            i = i + 1 & t[6]
        asked = t[3]
    else:
        return 0
    out = call_two(t[2], asked, frame)
    if out == 0:
        return -1
    call_none(t[1], out)
    return 0
"""
FEW = 1 << 11  # places for codes to begin with


def nothing(on):
    return None


def _callers():
    """Kernel functions that call C functions with one or two words, and with or without a result."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    word = ir.IntType(64)

    def made(count, returns):
        result = word if returns else ir.VoidType()
        kinds = [types.int64] * (count + 1)

        def codegen(context, builder, signature, args):
            out = builder.call(builder.inttoptr(args[0], ir.FunctionType(result, [word] * count).as_pointer()), args[1:])
            return out if returns else context.get_dummy_value()
        return (types.int64 if returns else types.void)(*kinds), codegen

    @intrinsic
    def call_one(typingctx, fn, a):
        return made(1, True)

    @intrinsic
    def call_none(typingctx, fn, a):
        return made(1, False)

    @intrinsic
    def call_two(typingctx, fn, a, b):
        return made(2, True)
    return {"call_one": call_one, "call_none": call_none, "call_two": call_two}


@functools.cache
def _native():
    """(address of the profile function, addresses of what it calls, CPython's functions that set it and that tell the thread's
    state, addresses of those that hold tracing back and let it go, ``aside``), or None."""
    if sys.implementation.name != "cpython" or hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled():
        return None
    jit.nb()
    if storage._peek is None:
        return None
    try:
        api = ctypes.pythonapi
        found = [ctypes.cast(f, ctypes.c_void_p).value for f in (api.PyFrame_GetCode, api.Py_DecRef, api.PyObject_CallOneArg)]
        put = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.py_object)(("PyEval_SetProfile", api))
        own = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThreadState_Get", api))
    except AttributeError:
        return None
    hold = [ctypes.cast(getattr(api, f"PyThreadState_{n}Tracing"), ctypes.c_void_p).value
            if hasattr(api, "PyThreadState_EnterTracing") else 0 for n in ("Enter", "Leave")]
    text, env = TEXT.format(field=storage.DATA_FIELD), _callers()
    made = jit.compile_source(text, "entered", "iiii", env, "frames 1", returns=True, entry=False)
    return made.address, found, put, own, hold, _aside(), made


def _aside():
    """``aside(table, on)``: hold tracing back once more, or once less."""
    w = objects.Writer("aside")
    table, on = [w.made(w.call(objects.c_api("PyNumber_AsSsize_t"), w.argument(i), id(ValueError)), -1) for i in range(2)]
    state, hold, release, held = [w.load(table, 8 * i) for i in range(8, 12)]
    none, is_ = w.value(0), w.builder.icmp_signed
    with w.builder.if_then(is_("!=", hold, none)):
        with w.builder.if_then(is_("!=", on, none)):
            w.store(w.builder.add(held, w.value(1)), table, 88)
            w.call(hold, state)
        with w.builder.if_then(w.builder.and_(is_("==", on, none), is_(">", held, none))):
            w.store(w.builder.sub(held, w.value(1)), table, 88)
            w.call(release, state)
    return w.finish(w.hold(id(None)), (ValueError,))


class Codes:
    """A set of ids of code objects that native code can look into: a table with open addressing."""

    def __init__(self, other=None):
        if other is None:
            self.known, self.words = set(), array("q", bytes(8 * FEW))
        else:
            self.known, self.words = set(other.known), other.words[:]

    def add(self, code):
        if code in self.known:
            return False
        self.known.add(code)
        if 2 * len(self.known) > len(self.words):
            self.words = array("q", bytes(16 * len(self.words)))
            for c in self.known:
                self._put(c)
            return True
        self._put(code)
        return False

    def _put(self, code):
        words, mask = self.words, len(self.words) - 1
        i = code >> 4 & mask
        while words[i]:
            i = i + 1 & mask
        words[i] = code


class Frames:
    """Calls ``asked(frame)`` at each frame whose code is not among those that were ``add``ed, and ``left(frame)`` at the end of
    every frame while ``ends`` is set; for the thread that starts it."""

    def __init__(self, asked, left, codes):
        self.asked, self.left, self.codes = asked, left, Codes(codes)
        self.native, self.aside, self.ends = None, nothing, False

    def add(self, code):
        """Do not ask about a code (of this id) any more."""
        if self.codes.add(code) and self.native is not None:
            self._moved()

    def want_ends(self, wanted):
        self.ends = wanted
        if self.native is not None:
            self.table[5] = wanted

    def _moved(self):
        self.table[6], self.table[7] = len(self.codes.words) - 1, self.codes.words.buffer_info()[0]

    def _fill_table(self):
        """The table for the native function."""
        _, found, _, own, hold, aside, _ = self.native
        self.table = np.array((*found, id(self.asked), id(self.left), self.ends, 0, 0, own(), *hold, 0), np.int64)
        self._moved()
        # Hold back for what the observer itself does (1), which is cheaper than to look away, and no longer (0).
        self.aside = functools.partial(aside, self.table.ctypes.data)

    # --- on and off

    def start(self):
        """Look at what this thread enters from now on."""
        self.outer, self.trace = tape.WATCHES.get(get_ident()), sys.gettrace()
        if self.trace is not None:
            sys.settrace(None)
        self.native = _native() if sys.getprofile() is None else None
        if self.native is not None:
            self._fill_table()
        tape.WATCHES[get_ident()] = self
        self.resume()

    def stop(self):
        """Look no more; the trace function is the one from before."""
        self.pause()
        if self.outer is None:
            del tape.WATCHES[get_ident()]
        else:
            tape.WATCHES[get_ident()] = self.outer
        if self.trace is not None:
            sys.settrace(self.trace)

    def pause(self):
        """Look away for a while."""
        if self.native is None:
            sys.settrace(None)
        else:
            while self.table[11]:  # an interrupt may come between any two instructions
                self.aside(0)
            self.native[2](None, ctypes.py_object())

    def resume(self):
        """Look again."""
        if self.native is None:
            sys.settrace(self._traced)
        else:
            self.native[2](self.native[0], self.table)

    def _traced(self, frame, event, arg):
        if id(frame.f_code) in self.codes.known:
            return None
        self.asked(frame)
        return self._ended if self.ends else None

    def _ended(self, frame, event, arg):
        if event == "return":
            self.left(frame)
        return self._ended
