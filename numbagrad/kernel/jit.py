"""From a Python loop to a native function with the raw ABI: every argument an int64 address or size, or a float64.

A *kernel* is a plain Python function whose parameters are annotated with strings:

    @kernel
    def scale(x: "*T", out: "*T", alpha: float, start: int, stop: int):
        a = T(alpha)
        for i in range(start, stop):
            out[i] = a * x[i]

``"*T"`` is a pointer to the dtype that the kernel is specialised for, ``"*i8"`` (any dtype code) a pointer to that
type, ``int`` and ``float`` are scalars, ``"*"`` is an integer that is an address. ``scale[dtype]`` compiles once (or
loads from the disk cache) and gives a callable that takes addresses. Inside, ``T`` is the dtype's scalar constructor and the
names of ``vecmath`` are the functions of that width; both are placeholders that importing modules take from here.
"""

from __future__ import annotations

import types as pytypes
from functools import cached_property, partial

from ..base import dtypes as dt
from . import casts, inlined, threads, trampoline
from .define import define, define_again  # noqa: F401 (what is not used here is what files above call by ``jit``)
from .fastmath import ACCUMULATE, FAST, loop_flags  # noqa: F401
from .guard import guarded
from .intrinsics import POINTEE  # noqa: F401
from .native import compile_function, compile_source, each, nb, through  # noqa: F401
from .placeholders import *  # noqa: F403
from .placeholders import LANES, MATH, STRIP, Placeholder
from .tape import TAPE, active


def environment(code):
    """(names -> values for kernels specialised to a dtype code, key text maker)."""
    from . import box_maximum, vecmath
    compute = dt.BY_CODE[code].compute
    env, texts = {}, {}
    for kind in ("T", "acc", "load", "store"):
        env[kind], texts[kind] = casts.cast(kind, code)
    env["lanes"], texts["lanes"] = nb().stack(compute, LANES), f"lanes {LANES} {compute}, not set"
    env["strip"], texts["strip"] = nb().stack(compute, STRIP), f"strip {STRIP} {compute}, not set"
    env["wide_strip"], texts["wide_strip"] = nb().stack("f8", STRIP), f"strip {STRIP} f8, not set"
    total = casts.accumulated(code)
    env["acc_strip"], texts["acc_strip"] = nb().stack(total, STRIP), f"strip {STRIP} {total}, not set"
    env["anew"], texts["anew"] = nb().anew, "anew"
    for name in ("fmaximum", "fminimum"):
        env[name], texts[name] = getattr(nb(), name), name
    env["accumulate"], texts["accumulate"] = nb().accumulate, f"accumulate {ACCUMULATE}"
    if code in ("f4", "f8"):
        env["box_maximum"], texts["box_maximum"] = partial(box_maximum.box_maximum, code), box_maximum.key(code)
    math_code = {"c8": None, "c16": None}.get(compute, compute if compute in ("f4", "f8") else "f8")
    return env, texts, math_code, vecmath


DEVICES: dict = {}  # type of a device -> class of what launches kernels there
COMPILED = len.__class__  # the class of a compiled kernel's entry; on other devices it is a launcher


def dtypes_of(key):
    """The dtype, or the tuple of them, of what a kernel is indexed with."""
    if key.__class__ is tuple:
        return tuple([getattr(k, "dtype", k) for k in key])
    return getattr(key, "dtype", key)


def device_of(key):
    """The device of what a kernel is indexed with; None for the CPU."""
    for k in key if key.__class__ is tuple else (key,):
        if not getattr(k, "cpu", True):
            return k.device
    return None


class Kernel:
    """A hand-written kernel; index it with a kind to get the callable for raw arguments."""

    _plain = None  # parameters whatever the dtype

    def __init__(self, fn, fast=FAST, nogil=False):
        self.fn, self.fast, self.nogil = fn, fast, nogil
        self.name = fn.__name__
        self.natives = {}
        self.entries = {}

    def __getitem__(self, key):
        """What takes addresses and numbers: ``key`` is a kind (a dtype and a device) or, on the CPU, a dtype; a tuple for
        kernels with ``*T`` and ``*U``."""
        if TAPE:
            recorder = active()
            if recorder is not None:
                return recorder.kernel(self, dtypes_of(key))
        try:
            return self.entries[key]
        except KeyError:
            return self._entry(key)

    def _entry(self, key):
        device = device_of(key)
        if device is None:
            found = self.native(dtypes_of(key)).entry
        else:
            found = DEVICES[device.type](self, dtypes_of(key), device.index)
        self.entries[key] = found
        return found

    def native(self, dtype):
        """The compiled form for ``dtype`` (one dtype, or a tuple for kernels with ``*T`` and ``*U``)."""
        return self.natives.get(dtype) or self._make(dtype, dtype)

    @guarded
    def _make(self, key, dtype, wrap=None):
        """The compiled form under ``key``, built by the first thread that asks."""
        if key not in self.natives:
            self.natives[key] = self._build(dtype, wrap)
        return self.natives[key]

    def run(self, key, arguments, items, work):
        """Call the kernel (``key`` as in ``kernel[key]``) on ``range(items)``, on several threads where ``work`` (in elements)
        is worth it.

        For kernels that end in ``start, stop`` and whose items do not meet in memory."""
        if TAPE:
            recorder = active()
            if recorder is not None:
                return recorder.run(self, dtypes_of(key), arguments, items, work)
        entry = self.entries.get(key) or self._entry(key)
        if entry.__class__ is not COMPILED:
            return entry.run(arguments, items, work)
        limit = threads.LIMIT[0]
        if work < limit or items < 2:
            return entry(*arguments, 0, items)
        words = [float(a) if kind == "f" else int(a) for a, (_, kind) in zip(arguments, self.parameters({}))]
        threads.parallel_call(through(self.letters(True)), (self.native(dtypes_of(key)).address, *words), items,
                              max(1, items * (limit // 2) // work))

    def run_apart(self, key, calls):
        """Call the kernel with each of several (arguments, start, stop), at once on as many threads: for kernels with scratch
        memory."""
        if len(calls) < 2 or device_of(key) is not None:
            entry = self[key]
            for arguments, start, stop in calls:
                entry(*arguments, start, stop)
            return
        address = self.native(dtypes_of(key)).address
        tables = [[start, stop, address, *arguments] for arguments, start, stop in calls]
        words = [through(self.letters(True)), len(tables[0]), *[w for table in tables for w in table]]
        if TAPE and active() is not None:  # (who writes it down looks into the table)
            pointers = [i for i, (name, kind) in enumerate(self.parameters({})) if kind not in "if" or name in self.addresses]
            places = [5 + k * len(tables[0]) + i for k in range(len(tables)) for i in pointers]
            threads.parallel_for(each(), trampoline.table(words), len(calls), 1, places)
        else:
            threads.parallel_call(each(), words, len(calls), 1)

    def letters(self, ranged):
        """The kinds of the arguments, without the two of a range."""
        kinds = "".join(k if k in "if" else "i" for _, k in self.parameters({}))
        return kinds[:-2] if ranged else kinds

    def flags(self, letters):
        """Fast-math flags for dtype codes by letter."""
        return () if any(code[0] == "c" for code in letters.values()) else self.fast

    def _build(self, dtype, wrap=None):
        from . import cache
        nb()
        dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
        letters = dict(zip("TUV", (d.code for d in dtypes)))
        env, texts, math_code, vecmath = environment(letters["T"])
        for letter in "UV":
            if letter in letters:
                env[letter], texts[letter] = casts.cast("T", letters[letter])
        overrides = {}
        if math_code is None and any(isinstance(self.fn.__globals__.get(n), Placeholder) and self.fn.__globals__[n].name
                                     in MATH for n in _names(self.fn.__code__)):
            raise self.refusal(letters)
        for name, value in self.fn.__globals__.items():
            if isinstance(value, Placeholder):
                if value.name in env:
                    overrides[name] = env[value.name]
                elif value.name in MATH:
                    if math_code is not None:
                        overrides[name] = partial(vecmath.device_function, value.name, math_code)
            elif isinstance(value, Inline):
                overrides[name] = partial(value.specialise, letters)
        used = set(_names(self.fn.__code__))
        key = [cache.fingerprint(self.fn, {k: k for k in overrides}), repr(sorted(letters.items())),
               repr(sorted(self.flags(letters)))]
        for name in sorted(used & set(overrides)):
            value = self.fn.__globals__[name]
            if isinstance(overrides[name], partial):
                overrides[name] = overrides[name]()
            if isinstance(value, Inline):
                key.append(value.key(letters))
            elif value.name in texts:
                key.append(texts[value.name])
            else:
                key.append(vecmath.sources(value.name, math_code))
        body = pytypes.FunctionType(self.fn.__code__, {**self.fn.__globals__,
                                                       **{k: v for k, v in overrides.items() if k in used}},
                                    self.fn.__name__)
        key.append("optimised twice")
        divide = None
        if any(code[0] == "c" for code in letters.values()):
            from . import complexmath
            divide = complexmath.divide()
            key.append(complexmath.key())
        inner = inlined.njit(self.flags(letters), optimized=True, divide=divide, forceinline=True, error_model="numpy")(body)
        if divide is None:
            return (wrap or self._wrap)(inner, letters, "\n".join(key))
        from numba.core.errors import NumbaError
        try:
            return (wrap or self._wrap)(inner, letters, "\n".join(key))
        except NumbaError as error:  # an order of numbers, for one, which complex ones do not have
            raise self.refusal(letters) from error

    def refusal(self, letters):
        """The error of a kernel that has no meaning for complex numbers."""
        d = next(dt.BY_CODE[code] for code in letters.values() if code[0] == "c")
        return NotImplementedError(f"\"{self.name}\" not implemented for '{dt.scalar_name(d)}'")

    def parameters(self, letters):
        """[(name, kind)] with kind "i", "f" or a pointer dtype code."""
        if letters or self._plain is None:
            found = self._parameters(letters)
            if letters:
                return found
            self._plain = found
        return self._plain

    @cached_property
    def addresses(self):
        """The names of those of its integers that are addresses; a capture takes no others for such, whatever their value."""
        return frozenset([name for name, note in self.fn.__annotations__.items() if isinstance(note, str) and (
            note.strip("'\"") == "*")])

    def _parameters(self, letters):
        notes = self.fn.__annotations__
        out = []
        for name in self.fn.__code__.co_varnames[:self.fn.__code__.co_argcount]:
            note = notes[name]
            note = note.strip("'\"") if isinstance(note, str) else note
            if note in (int, "int", "*"):
                out.append((name, "i"))
            elif note in (float, "float"):
                out.append((name, "f"))
            else:
                code = note[1:]
                out.append((name, letters.get(code, code)))
        return out

    def _wrap(self, inner, letters, key):
        params = self.parameters(letters)
        names = ", ".join(p for p, _ in params)
        call = ", ".join(p if k in "if" else f"ptr_{k}({p})" for p, k in params)
        source = f"def {self.name}({names}):\n    body({call})\n"
        args = "".join(k if k in "if" else "i" for _, k in params)
        return compile_source(source, self.name, args, {"body": inner}, key, self.flags(letters), nogil=self.nogil)


class Inline:
    """A device function that kernels call; specialised together with the kernel that uses it."""

    def __init__(self, fn, fast=FAST):
        self.fn, self.fast, self.made = fn, fast, {}

    def specialise(self, letters):
        sub = tuple(sorted(letters.items()))
        if sub not in self.made:
            k = Kernel(self.fn, self.fast)
            k._wrap = lambda inner, letters, key: (inner, key)
            self.made[sub] = k._build(tuple(dt.BY_CODE[c] for _, c in sub))
        return self.made[sub][0]

    def key(self, letters):
        self.specialise(letters)
        return self.made[tuple(sorted(letters.items()))][1]


def _names(code):
    yield from code.co_names
    for const in code.co_consts:
        if hasattr(const, "co_names"):
            yield from _names(const)


def kernel(fn=None, *, fast=FAST, nogil=False):
    """Declare a hand-written kernel (see the module text)."""
    if fn is None:
        return lambda f: Kernel(f, fast, nogil)
    return Kernel(fn, fast, nogil)


def inline(fn=None, *, fast=FAST):
    """Declare a device function for use inside kernels; the same placeholders work in it."""
    if fn is None:
        return lambda f: Inline(f, fast)
    return Inline(fn, fast)
