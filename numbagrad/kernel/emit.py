"""Kernels generated from scalar expressions.

``Pointwise`` describes a loop over elements: named inputs with their dtype codes, scalar parameters, output expressions.
It is emitted once per combination of dtypes, for operands that are row-major and of one shape; ``strided`` brings operands of
any strides into that form, block by block. The same text serves for both devices: only the loop around the body differs.

The variables of an expression keep their names, which are those of an op's parameters; every other name ends in an underscore,
as no parameter does.
"""

from __future__ import annotations

import inspect
import math

import numpy as np

from . import expr, inlined, native, repeated, scalars, strided
from .casts import cast
from .define import define
from .fastmath import FAST, loop_flags
from .guard import guarded

# Float32 to the nearest number of a half type, as ``casts`` stores and loads it.
ROUNDED = {
    "as_bf": ("def as_bf(v):\n    x = np.float32(v)\n    u = x.view(np.uint32)\n"
              "    r = np.uint32((u + np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000))\n"
              "    nan = np.uint32(u & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)\n"
              "    return np.uint32(u if nan else r).view(np.float32)\n"),
    "as_f2": ("def as_f2(v):\n    x = np.float32(v)\n    u = x.view(np.uint32)\n    a = np.uint32(u & np.uint32(0x7FFFFFFF))\n"
              "    r = np.uint32((a + np.uint32(0xFFF) + ((a >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000))\n"
              "    tiny = np.float32(np.float32(a.view(np.float32) + np.float32(0.5)) - np.float32(0.5))\n"
              "    r = np.uint32(tiny.view(np.uint32)) if a < np.uint32(0x38800000) else r\n"
              "    r = np.uint32(0x7F800000) if a >= np.uint32(0x477FF000) else r\n"
              "    return x if x != x else np.uint32(r | (u & np.uint32(0x80000000))).view(np.float32)\n"),
}
# Functions with a cheaper form for arguments (of two: their quotient) that are not huge.
NEAR = ("sin", "cos", "tan", "floor_divide", "fmod", "remainder")
# Scalar functions that are neither arithmetic nor vecmath, as source; {code}-independent except through T.
HELPERS = {
    "sign": "def sign(x):\n    return T(1) if x > 0 else (T(-1) if x < 0 else T(0))\n",
    "ipow": ("def ipow(x, n):\n    r = T(1)\n    if n < 0:\n        if x == 1:\n            return T(1)\n"
             "        if x == -1:\n            return T(1) if n % 2 == 0 else T(-1)\n        return T(0)\n"
             "    b = x\n    while n > 0:\n        if n & 1:\n            r = T(r * b)\n        b = T(b * b)\n"
             "        n >>= 1\n    return r\n"),
    # The smallest integer has no absolute value and no quotient by -1.
    "remainder_int": ("def remainder(a, b):\n    if b == -1:\n        return T(0)\n"
                      "    return T(a - b * (a // b)) if b != 0 else T(-1)\n"),
    "fmod_int": ("def fmod(a, b):\n    if b == 0 or b == -1:\n        return T(a) if b == 0 else T(0)\n"
                 "    r = T(a - b * (a // b))\n"
                 "    return T(r - b) if r != 0 and (r < 0) != (a < 0) else r\n"),
    "floor_divide_int": "def floor_divide(a, b):\n    return a // b\n",
    **ROUNDED,
    "floor_int": "def floor(x):\n    return x\n", "ceil_int": "def ceil(x):\n    return x\n",
    "trunc_int": "def trunc(x):\n    return x\n", "round_int": "def round(x):\n    return x\n",
}
HELPERS.update(scalars.FUNCTIONS)
_helpers: dict = {}
# What the text names besides, whatever an op's parameters are called.
BUILTINS = {f.__name__ + "_": f for f in (abs, complex, float, min, range)} | {"inf_": math.inf, "nan_": math.nan}


def functions(names, code):
    """({name in the text: callable for kernels}, key text) of the scalar functions that an expression uses."""
    from . import complexmath, vecmath
    env, key = dict(BUILTINS), []
    if code[0] == "c":
        for name in names:
            env[name + "_"] = complexmath.device_function(name, code)
            if env[name + "_"] is None:
                raise NotImplementedError(f"'{name}' is not implemented for dtype code '{code}'")
        return env, complexmath.key() if names else ""
    T, _ = cast("T", code)
    width = code if code in ("f4", "f8") else None
    for name in names:
        variant = name + ("_int" if code[0] in "iub" else "")
        text = HELPERS.get(variant) or HELPERS.get(name)
        text = inspect.getsource(text) if callable(text) else text
        if text is not None:
            made = _helpers.get((variant, code))
            if made is None:
                fn = define(text, text[4:text.index("(")], {"T": T, "np": np, "math": math,
                                                               "__name__": "numbagrad.kernel.generated"})
                made = _helpers[variant, code] = inlined.njit(FAST, forceinline=True, error_model="numpy")(fn)
            env[name + "_"] = made
            key.append(text + code)
        elif width is not None:
            env[name + "_"] = vecmath.device_function(name, width)
            if name in NEAR:
                env[name + "_near_"] = vecmath.near_function(name, width)[0]
            key.append(vecmath.sources(name, width))
        else:
            raise NotImplementedError(f"'{name}' is not implemented for dtype code '{code}'")
    return env, "\n".join(key)


class Pointwise:
    """One pointwise loop, before dtypes are known."""

    def __init__(self, name, inputs, scalars, outputs):
        self.name = "loop_" + name
        self.inputs, self.scalars, self.outputs = tuple(inputs), tuple(scalars), tuple(outputs)
        self.holds = any(e.op == "held" for e in expr.topological(list(self.outputs)))
        self.copies = self.inputs == ("x",) and len(self.outputs) == 1 and self.outputs[0] is expr.var("x")
        self.made, self.walks = {}, {}

    def native(self, compute, in_codes, out_codes, inplace=0, constant=0):
        """The compiled kernel for a compute type code, input codes and output codes.

        ``inplace``: number, from 1, of the input that the first output is. LLVM vectorises the loop only when it sees one
        pointer, because two that turn out equal fail its overlap check. ``constant`` has a bit for each input that is one
        element."""
        key = (compute, in_codes, out_codes, inplace, constant)
        return self.made.get(key) or self._make(key)

    @guarded
    def _make(self, key):
        if key not in self.made:
            self.made[key] = self._build(*key)
        return self.made[key]

    def expressions(self, in_codes, out_codes=()):
        """The outputs, for operands of these dtypes."""
        return expr.in_dtype(self.outputs, (*in_codes, *out_codes)[0]) if self.holds else self.outputs

    def letters(self, compute):
        """The kinds of the kernel's arguments, of which the range comes last and is left out."""
        numbers = "ff" if compute[0] == "c" else "i" if compute[0] in "iub" else "f"
        return "i" * (len(self.inputs) + len(self.outputs)) + numbers * len(self.scalars)

    def walked(self, compute, in_codes, out_codes, constant, inplace=0):
        """For operands of any strides: (entry, address of the walk, the first words of its table but for the plan).

        ``inplace`` is as for ``native``. Of bodies with function calls there is none for ``constant`` operands: LLVM may take
        minutes to find out what is left of them, and the copies cost nothing beside them."""
        key = (compute, in_codes, out_codes, constant, inplace)
        return self.walks.get(key) or self._walk(key)

    @guarded
    def _walk(self, key):
        compute, in_codes, out_codes, constant, inplace = key
        letters = self.letters(compute)
        if constant and expr.lines(self.expressions(in_codes, out_codes), compute)[3]:
            constant = 0
        called, numbers = (0, 0), 0
        if self.copies and in_codes == out_codes:
            inplace = 0
        else:
            count = len(in_codes) + len(out_codes)
            called = strided.rows(letters, count), self.native(compute, in_codes, out_codes, inplace, constant).address
            numbers = len(letters) - count
        self.walks[key] = (strided.enter(letters), strided.walk().address, called,
                           strided.operands(in_codes, out_codes, numbers, inplace), constant)
        return self.walks[key]

    def source(self, compute, in_codes, out_codes, inplace=0, constant=0):
        """(text, parameter letters, function names used)."""
        outputs = self.expressions(in_codes, out_codes)
        consts, body, results, used = expr.lines(outputs, compute)
        read = set(expr.variables(outputs))
        ins = [(n, c) for n, c in zip(self.inputs, in_codes)]
        params = [n + "_a_" for n in self.inputs] + [f"o{i}__a_" for i in range(len(self.outputs))]
        head = [f"{n}_p_ = ptr_{c}_({n}_a_)" for n, c in ins]
        head += [f"o{i}__p_ = " + (f"{self.inputs[inplace - 1]}_p_" if inplace and i == 0 else f"ptr_{c}_(o{i}__a_)")
                 for i, c in enumerate(out_codes)]
        for s in self.scalars:
            params += [s + "_r_", s + "_i_"] if compute[0] == "c" else [s + "_s_"]
            head.append(f"{s} = T_(complex_({s}_r_, {s}_i_))" if compute[0] == "c" else f"{s} = T_({s}_s_)")
        head += consts
        head += [f"{n} = load_{c}_({n}_p_[0])" for k, (n, c) in enumerate(ins) if n in read and constant >> k & 1]
        loads = [f"{n} = load_{c}_({f'anew_({n}_p_[i_])' if k + 1 == inplace else f'{n}_p_[i_]'})"
                 for k, (n, c) in enumerate(ins) if n in read and not constant >> k & 1]
        stores = [f"o{i}__p_[i_] = store_{c}_({r})" for i, (r, c) in enumerate(zip(results, out_codes))]
        near = [e for e in expr.topological(list(outputs)) if e.op in NEAR] if compute in ("f4", "f8") else ()
        if near:
            loop, more = self._near_loop(outputs, near, compute, loads, body, stores)
            head += more
        else:
            loop = ["for i_ in range_(start_, stop_):", *["    " + s for s in loads + body + stores]]
            if self._repeats(out_codes):
                least = repeated.LEAST // strided.SIZE[out_codes[0]]
                head += body + [f"if stop_ - start_ >= {least}:",
                                f"    start_ = repeat_(o0__p_, start_, stop_, store_{out_codes[0]}_({results[0]}))"]
            elif self._moves(in_codes, out_codes, inplace):
                head += [f"if stop_ - start_ >= {repeated.LEAST_COPY // strided.SIZE[out_codes[0]]}:",
                         "    start_ = move_(x_p_, o0__p_, start_, stop_)"]
        text = f"def {self.name}({', '.join(params)}, start_, stop_):\n" + "".join(f"    {line}\n" for line in head + loop)
        return text, self.letters(compute) + "ii", used

    def _repeats(self, out_codes):
        """Whether it is one value, which this processor stores by an instruction of its own."""
        return not self.inputs and len(self.outputs) == 1 and out_codes[0][0] != "c" and repeated.possible()

    def _moves(self, in_codes, out_codes, inplace):
        """The same of a copy."""
        return self.copies and in_codes == out_codes and not inplace and repeated.possible()

    def _near_loop(self, outputs, near, compute, loads, body, stores):
        """Blocks of elements, each looked at first: sine, cosine and tangent of arguments up to a limit need no
        reduction by many digits of pi, which costs more than all the rest, remainders no long division. Returns (loop,
        constants)."""
        from . import vecmath
        arguments = list(dict.fromkeys(e.args[0] / e.args[1] if len(e.args) > 1 else e.args[0] for e in near))
        limit = min(vecmath.near_function(e.op, compute)[1] for e in near)
        consts, check, results, _ = expr.lines(arguments, compute, "a", "c")
        _, near_body, _, _ = expr.lines(outputs, compute, rename={n: n + "_near" for n in NEAR})
        test = " and ".join(f"abs_({r}) <= limit_" for r in results)

        def inner(lines):
            return ["        for i_ in range_(block_, end_):", *["            " + s for s in lines]]
        return ["for block_ in range_(start_, stop_, 512):", "    end_ = min_(block_ + 512, stop_)", "    far_ = 0",
                *[line[4:] for line in inner(loads + check + [f"far_ += 0 if {test} else 1"])],
                "    if far_ == 0:", *inner(loads + near_body + stores),
                "    else:", *inner(loads + body + stores)], [*consts, f"limit_ = T_({limit!r})"]

    def _build(self, compute, in_codes, out_codes, inplace, constant):
        text, letters, used = self.source(compute, in_codes, out_codes, inplace, constant)
        env, key = functions(used, compute)
        more, keys = casts(compute, in_codes, out_codes)
        if inplace:
            env["anew_"] = native.nb().anew
        if self._repeats(out_codes):
            env["repeat_"] = repeated.function(strided.SIZE[out_codes[0]])
            keys += repeated.INSTRUCTION
        elif self._moves(in_codes, out_codes, inplace):
            env["move_"] = repeated.mover(strided.SIZE[out_codes[0]])
            keys += repeated.MOVE
        return native.compile_source(text, self.name, letters, {**env, **more}, "\n".join([key, *keys]), loop_flags(compute))


def casts(compute, in_codes, out_codes):
    """({name: kernel function}, key texts) of the compute type and of the pointers, loads and stores of a loop's operands."""
    pointers = native.nb().pointers
    env, keys = {f"ptr_{code}_": pointers[code] for code in (*in_codes, *out_codes)}, []
    env["T_"], k = cast("T", compute)
    keys.append(k)
    for kind, codes in (("load", in_codes), ("store", out_codes)):
        for code in sorted(set(codes)):
            env[f"{kind}_{code}_"], k = cast(kind, code)
            keys.append(k)
    return env, keys


# --- strided plans -------------------------------------------------------------------------------------------------------

_plans: dict = {}


def collapse(shape, strides):
    """(sizes, strides of each operand) with adjacent dimensions merged that every operand walks alike."""
    merged = []
    for d, s in enumerate(shape):
        if s == 1:
            continue
        st = tuple([k[d] for k in strides])
        if merged and all([p == q * s for p, q in zip(merged[-1][1], st)]):
            merged[-1] = (merged[-1][0] * s, st)
        else:
            merged.append((s, st))
    if not merged:
        merged = [(1, (1,) * len(strides))]
    return [s for s, _ in merged], [[st[k] for _, st in merged] for k in range(len(strides))]


def cut(sizes, steps):
    """The same with the last dimension as several, for threads to share, if it is long and there are few rows."""
    n, rows = sizes[-1], math.prod(sizes[:-1])
    for parts in range(min(64 // rows, n // 8192), 1, -1):
        if n % parts == 0:
            return [*sizes[:-1], parts, n // parts], [[*st[:-1], st[-1] * (n // parts), st[-1]] for st in steps]
    return sizes, steps


def plan(shape, strides, whole=True):
    """Sizes and strides as one int64 array: adjacent dimensions that every operand walks alike are merged.

    ``strides`` has one tuple per operand, aligned with ``shape``. Returns (array, its address, rows, bits of the operands that
    are constant along a long row where all others run along it). ``whole``: very long rows are not cut."""
    key = (shape, strides, whole)
    found = _plans.get(key)
    if found is None:
        if len(_plans) > 8192:
            _plans.clear()
        sizes, steps = collapse(shape, strides)
        if not whole and sizes[-1]:
            sizes, steps = cut(sizes, steps)
        meta = [len(sizes), *sizes]
        for st in steps:
            meta += st
        array = np.array(meta, np.int64)
        rows = 1
        for s in sizes[:-1]:
            rows *= s
        last, constant = [st[-1] for st in steps], 0
        if sizes[-1] >= strided.LONG and set(last) <= {0, 1}:
            constant = sum([1 << k for k, t in enumerate(last) if t == 0])
        found = _plans[key] = (array, array.ctypes.data, rows, constant)
    return found
