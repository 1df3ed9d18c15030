"""From a Python loop to a native function with the raw ABI: every argument an int64 address or size, or a float64.

A *kernel* is a plain Python function whose parameters are annotated with strings:

    @kernel
    def scale(x: "*T", out: "*T", alpha: float, start: int, stop: int):
        a = T(alpha)
        for i in range(start, stop):
            out[i] = a * x[i]

``"*T"`` is a pointer to the dtype that the kernel is specialised for, ``"*i8"`` (any dtype code) a pointer to that
type, ``int`` and ``float`` are scalars. ``scale[dtype]`` compiles once (or loads from the disk cache) and gives a
callable that takes addresses. Inside, ``T`` is the dtype's scalar constructor and the names of ``vecmath`` are the
functions of that width; both are placeholders that importing modules take from here.
"""

from __future__ import annotations

import functools
import linecache
import re
import types as pytypes
import weakref
from functools import partial

from ..base import dtypes as dt
from ..base import requires
from . import inlined, progress, threads, trampoline
from .guard import guarded
from .tape import TAPE, active

# Left out on purpose: nnan and ninf, as NaN and infinity must come out right; arcp, as x * (1 / d) is not x / d; reassoc,
# as (x - top) - shift is not x - (top + shift). Only ``accumulate`` has the last one, which SIMD needs in sums.
FAST = ("contract", "afn", "nsz")
ACCUMULATE = (*FAST, "reassoc")


def loop_flags(compute):
    """Fast-math flags of a loop by its compute type: none for complex numbers, whose branch cuts follow the sign of a zero and
    where a fused product would leave ``z * conj(z)`` an imaginary part."""
    return () if compute[0] == "c" else FAST


POINTEE = {"b1": "uint8", "f2": "uint16", "bf": "uint16", "u1": "uint8", "i1": "int8", "i2": "int16", "i4": "int32",
           "i8": "int64", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128", "u4": "uint32",
           "u8": "uint64"}

# Elements behind ``lanes()``: enough independent accumulators to keep four vector registers of any width busy.
LANES = 64
# Elements behind ``strip()``: columns that are worked on together, few enough for several strips in the first-level cache
# and many enough for long stretches of each row.
STRIP = 512
_nb = None
STARTS = []  # called once Numba has started, with a native reader of an int64 at an address


class _Numba:
    """What the rest needs of Numba, imported on first use."""

    def __init__(self):
        numba = requires.load_numba()
        from numba import types
        from numba.extending import intrinsic

        self.numba, self.types = numba, types
        self.njit = numba.njit
        self.i8, self.f8 = types.int64, types.float64
        self.pointers = {}

        def make(code, pointee):
            @intrinsic
            def pointer(typingctx, addr):
                sig = types.CPointer(pointee)(types.int64)

                def codegen(context, builder, signature, args):
                    return builder.inttoptr(args[0], context.get_value_type(signature.return_type))
                return sig, codegen
            return pointer

        self.stacks = {}
        for code, name in POINTEE.items():
            self.pointers[code] = make(code, getattr(types, name))
        self.accumulate = _accumulate(types, intrinsic)

    def stack(self, code, size):
        """A kernel function without arguments: pointer to ``size`` elements of a dtype code on the stack, not set.

        Such memory belongs to one call, so kernels that use it may run on several threads, and LLVM knows that
        nothing else points to it. Take it once per kernel, outside of loops."""
        found = self.stacks.get((code, size))
        if found is None:
            pointee = getattr(self.types, POINTEE[code])
            pointer = self.types.CPointer(pointee)
            from numba.extending import intrinsic

            @intrinsic
            def stack(typingctx):
                def codegen(context, builder, signature, args):
                    from llvmlite import ir
                    with builder.goto_entry_block():  # (Numba's own helper would fill it with zeros)
                        slot = builder.alloca(ir.ArrayType(context.get_value_type(pointee), size))
                    return builder.bitcast(slot, context.get_value_type(signature.return_type))
                return pointer(), codegen
            found = self.stacks[code, size] = stack
        return found


def _accumulate(types, intrinsic):
    """The kernel function ``accumulate(total, x)``: ``total + x``, of which the order of additions is free."""
    def add(context, builder, kind, total, x):
        if isinstance(kind, types.Complex):
            a, b = context.make_complex(builder, kind, total), context.make_complex(builder, kind, x)
            a.real = builder.fadd(a.real, b.real, flags=ACCUMULATE)
            a.imag = builder.fadd(a.imag, b.imag, flags=ACCUMULATE)
            return a._getvalue()
        if isinstance(kind, types.Float):
            return builder.fadd(total, x, flags=ACCUMULATE)
        return builder.add(total, x)

    @intrinsic
    def accumulate(typingctx, total, x):
        kind = typingctx.unify_types(types.unliteral(total), types.unliteral(x))

        def codegen(context, builder, signature, args):
            total, x = [context.cast(builder, a, t, kind) for a, t in zip(args, signature.args)]
            return add(context, builder, kind, total, x)
        return kind(total, x), codegen
    return accumulate


def nb():
    return _nb or _start()


@guarded
def _start():
    global _nb
    if _nb is None:
        # Other threads and a later call see it when all of it is there.
        numba = _Numba()
        peek = compile_source("def peek(address_):\n    return ptr_i8(address_)[0]\n", "peek", "i", returns=True, numba=numba)
        for begin in STARTS:
            begin(peek.entry)
        _nb = numba
    return _nb


class Native:
    """A compiled kernel: ``entry`` is callable from Python with raw arguments; ``address`` is its C function."""

    __slots__ = ("entry", "cres", "dispatcher", "source", "_address")

    def __init__(self, dispatcher, cres, source):
        self.dispatcher, self.cres, self.source = dispatcher, cres, source
        self.entry, self._address = cres.entry_point, None

    @property
    def address(self):
        """Address of the C function with the same arguments."""
        return self._address or self._find_address()

    @guarded
    def _find_address(self):
        self._address = c_address(self.cres)
        return self._address


@guarded
def c_address(cres):
    """Address of the C function of a compiled one."""
    return cres.library.get_pointer_to_function(cres.fndesc.llvm_cfunc_wrapper_name)


_counter = iter(range(1 << 60))


def define(source, name, env, title=None):
    """Execute generated source so that tracebacks and inspection show its lines; ``title`` says of which op and part it is."""
    code, filename = _code(source, title or name)
    fn = _executed(code, name, env, source)
    weakref.finalize(fn, linecache.cache.pop, filename, None)
    return fn


def _code(source, title):
    filename = f"<numbagrad {title} {next(_counter)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    return compile(source, filename, "exec"), filename


def _executed(code, name, env, source):
    env.setdefault("__name__", "numbagrad.generated")
    exec(code, env)
    fn = env[name]
    fn.__source__ = source
    return fn


_codes: dict = {}  # source -> (code, file name): the last ones that were shared
SHARED = 256


def define_again(source, name, env):
    """``define`` for text that is likely to come again with other objects in ``env``: it is compiled once."""
    found = _codes.pop(source, None) or _code(source, name)
    _codes[source] = found  # (the newest comes last)
    if len(_codes) > SHARED:
        linecache.cache.pop(_codes.pop(next(iter(_codes)))[1], None)
    return _executed(found[0], name, env, source)


@guarded
def compile_source(source, name, args, env=None, key="", fast=FAST, returns=False, nogil=False, numba=None):
    """Compile generated source text; ``args`` has one letter per parameter ("i" int64, "f" float64).

    Every global name the text may use is in ``env`` (vecmath functions, constants); ``key`` is the text that pins
    what those names mean, for the disk cache."""
    numba = numba or nb()
    namespace = {"ptr_" + code: p for code, p in numba.pointers.items()}
    namespace["accumulate"] = numba.accumulate
    namespace.update(env or {})
    namespace["__name__"] = "numbagrad.kernel.generated"
    fn = define(source, name, namespace, f"{name} kernel")
    return _compile(fn, args, source + "\n#" + key, fast, returns, nogil, source, numba)


@guarded
def _compile(fn, args, key, fast, returns, nogil, source, numba=None):
    from . import cache
    n = numba or nb()
    dispatcher = n.njit(fastmath=set(fast) if fast else False, error_model="numpy", nogil=nogil,
                        pipeline_class=inlined.kernels())(fn)
    cache.attach(dispatcher, key + repr((args, tuple(sorted(fast)), returns, nogil)))
    sig = (n.i8 if returns else n.types.void)(*[n.i8 if a == "i" else n.f8 for a in args])
    progress.compile_signature(dispatcher, sig)
    cres = dispatcher.overloads[tuple(sig.args)]
    return Native(dispatcher, cres, source)


@functools.cache
@guarded
def through(letters, ranged=True):
    """Address of a function ``(table, start, stop)`` that calls the kernel whose address is the table's first word.

    ``letters`` are the kinds of the other words ("i" int64, "f" float64): the kernel's arguments, of which the last two are its
    range and come from the caller, if it is ``ranged``."""
    text, kinds = trampoline.source(letters, ranged)
    return compile_source(text, "through", "iii", {"invoke": trampoline.invoke(kinds)}, "invoke " + kinds).address


class Placeholder:
    """A name that kernels use and each specialisation replaces (``T``, ``exp``...)."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<kernel name {self.name}>"

    def __call__(self, *args):
        raise RuntimeError(f"{self.name} has a meaning only inside a compiled kernel")


T = Placeholder("T")          # constructor of the compute type
load = Placeholder("load")    # storage -> compute type (identity except for half types and bool)
store = Placeholder("store")  # compute -> storage type
lanes = Placeholder("lanes")  # lanes(): pointer to LANES elements of the compute type on the stack
strip = Placeholder("strip")  # strip(): pointer to STRIP elements of the compute type on the stack
wide_strip = Placeholder("wide_strip")  # the same of float64
accumulate = Placeholder("accumulate")  # accumulate(total, x): total + x, of which the order of additions is free
MATH = ("exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh asin acos atan atan2 asinh acosh atanh erf "
        "erfc erfinv pow sqrt rsqrt sigmoid floor ceil trunc round fabs").split()
_placeholders = {name: Placeholder(name) for name in MATH}
globals().update({name: p for name, p in _placeholders.items() if name not in ("pow", "round")})
power = Placeholder("pow")
rint = Placeholder("round")


class _Cast:
    """Conversions between storage and compute types as njit functions, with their source for the cache key."""

    _made: dict = {}

    @classmethod
    def get(cls, kind, code):
        """``kind`` is "load", "store" or "T"; returns (callable for kernels, source text)."""
        key = (kind, code)
        if key not in cls._made:
            cls._made[key] = cls._make(kind, code)
        return cls._made[key]

    @staticmethod
    def _make(kind, code):
        import numpy as np
        compute = {"f2": "f4", "bf": "f4"}.get(code, code)
        scalar = {"b1": np.bool_, "u1": np.uint8, "i1": np.int8, "i2": np.int16, "i4": np.int32, "i8": np.int64,
                  "f4": np.float32, "f8": np.float64, "c8": np.complex64, "c16": np.complex128}[compute]
        if kind == "T":
            return scalar, scalar.__name__
        if code == "b1":
            text = ("def f(v):\n    return v != 0\n" if kind == "load"
                    else "def f(v):\n    return np.uint8(1) if v else np.uint8(0)\n")
        elif code == "bf":
            text = BF_LOAD if kind == "load" else BF_STORE
        elif code == "f2":
            text = F2_LOAD if kind == "load" else F2_STORE
        elif kind == "load":
            text = "def f(v):\n    return v\n"
        elif code in ("u1", "i1", "i2"):
            # LLVM leaves floats that small integers cannot hold undefined (they came out saturated, or 0, by their place in
            # a vector); through 32 bits they wrap around, as in PyTorch.
            text = "def f(v):\n    return S(np.int32(v))\n"
        else:
            text = "def f(v):\n    return S(v)\n"
        fn = define(text, "f", {"np": np, "S": scalar, "__name__": "numbagrad.kernel.generated"})
        return inlined.njit((), forceinline=True, error_model="numpy")(fn), text + scalar.__name__


# bfloat16 is the upper half of a float32; rounding is to nearest even and NaN stays NaN.
BF_LOAD = """def f(v):
    return np.uint32(np.uint32(v) << np.uint32(16)).view(np.float32)
"""
BF_STORE = """def f(v):
    x = np.float32(v)
    u = x.view(np.uint32)
    r = np.uint32(u + np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(0x7FC0) if x != x else np.uint16(r)
"""
# float16 by exponent arithmetic on float32 bits (the multiplication normalises denormals exactly).
F2_LOAD = """def f(v):
    h = np.uint32(v)
    sign = np.uint32((h & np.uint32(0x8000)) << np.uint32(16))
    bits = np.uint32((h & np.uint32(0x7FFF)) << np.uint32(13))
    small = np.float32(bits.view(np.float32) * np.float32(5.192296858534828e+33))
    m = np.uint32(small.view(np.uint32))
    special = np.uint32(bits | np.uint32(0x7F800000))
    r = special if (h & np.uint32(0x7C00)) == np.uint32(0x7C00) else m
    return np.uint32(r | sign).view(np.float32)
"""
F2_STORE = """def f(v):
    x = np.float32(v)
    u = x.view(np.uint32)
    sign = np.uint32((u >> np.uint32(16)) & np.uint32(0x8000))
    a = np.uint32(u & np.uint32(0x7FFFFFFF))
    normal = np.uint32(a + np.uint32(0xC8000FFF) + ((a >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
    shifted = np.float32(a.view(np.float32) + np.float32(0.5))
    tiny = np.uint32(shifted.view(np.uint32) - np.uint32(0x3F000000))
    r = tiny if a < np.uint32(0x38800000) else np.uint32(normal)
    r = np.uint32(0x7C00) if a >= np.uint32(0x477FF000) else r
    r = np.uint32(0x7E00) if a > np.uint32(0x7F800000) else r
    return np.uint16(r | sign)
"""


def environment(code):
    """(names -> values for kernels specialised to a dtype code, key text maker)."""
    from . import vecmath
    compute = {"f2": "f4", "bf": "f4"}.get(code, code)
    env, texts = {}, {}
    for kind in ("T", "load", "store"):
        env[kind], texts[kind] = _Cast.get(kind, code)
    env["lanes"], texts["lanes"] = nb().stack(compute, LANES), f"lanes {LANES} {compute}, not set"
    env["strip"], texts["strip"] = nb().stack(compute, STRIP), f"strip {STRIP} {compute}, not set"
    env["wide_strip"], texts["wide_strip"] = nb().stack("f8", STRIP), f"strip {STRIP} f8, not set"
    env["accumulate"], texts["accumulate"] = nb().accumulate, f"accumulate {ACCUMULATE}"
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
                env[letter] = _Cast.get("T", letters[letter])[0]
        overrides = {}
        if math_code is None and any(isinstance(self.fn.__globals__.get(n), Placeholder) and self.fn.__globals__[n].name
                                     in _placeholders for n in _names(self.fn.__code__)):
            raise self.refusal(letters)
        for name, value in self.fn.__globals__.items():
            if isinstance(value, Placeholder):
                if value.name in env:
                    overrides[name] = env[value.name]
                elif value.name in _placeholders:
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

    def _parameters(self, letters):
        notes = self.fn.__annotations__
        out = []
        for name in self.fn.__code__.co_varnames[:self.fn.__code__.co_argcount]:
            note = notes[name]
            note = note.strip("'\"") if isinstance(note, str) else note
            if note in (int, "int"):
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


IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
