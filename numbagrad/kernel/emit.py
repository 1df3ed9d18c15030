"""Kernels generated from scalar expressions.

``Pointwise`` describes a loop over elements: named inputs with their dtype codes, scalar parameters, output expressions.
It is emitted in two layouts per combination of dtypes: *contiguous* (all operands row-major and of one shape) and
*strided* (sizes and strides as arguments, stride 0 for broadcasting). The same text serves for both devices: only the
loop around the body differs.
"""

from __future__ import annotations

import math

import numpy as np

from . import expr, inlined, jit, scalars
from .guard import guarded

# Functions with a cheaper form for arguments that are not huge.
NEAR = ("sin", "cos", "tan")
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
    "floor_int": "def floor(x):\n    return x\n", "ceil_int": "def ceil(x):\n    return x\n",
    "trunc_int": "def trunc(x):\n    return x\n", "round_int": "def round(x):\n    return x\n",
}
HELPERS.update(scalars.TEXT)
_helpers: dict = {}


def functions(names, code):
    """({name: callable for kernels}, key text) of the scalar functions that an expression uses."""
    from . import complexmath, vecmath
    env, key = {}, []
    if code[0] == "c":
        for name in names:
            env[name] = complexmath.device_function(name, code)
            if env[name] is None:
                raise NotImplementedError(f"'{name}' is not implemented for dtype code '{code}'")
        return env, complexmath.key() if names else ""
    T, _ = jit._Cast.get("T", code)
    width = code if code in ("f4", "f8") else None
    for name in names:
        variant = name + ("_int" if code[0] in "iub" else "")
        text = HELPERS.get(variant) or HELPERS.get(name)
        if text is not None:
            made = _helpers.get((variant, code))
            if made is None:
                fn = jit.define(text, text[4:text.index("(")], {"T": T, "np": np, "math": math,
                                                               "__name__": "numbagrad.kernel.generated"})
                made = _helpers[variant, code] = inlined.njit(jit.FAST, forceinline=True, error_model="numpy")(fn)
            env[name] = made
            key.append(text + code)
        elif width is not None:
            env[name] = vecmath.device_function(name, width)
            if name in NEAR:
                env[name + "_near"] = vecmath.near_function(name, width)[0]
            key.append(vecmath.sources(name, width))
        else:
            raise NotImplementedError(f"'{name}' is not implemented for dtype code '{code}'")
    return env, "\n".join(key)


class Pointwise:
    """One pointwise loop, before dtypes are known.

    ``constant`` names the inputs for which the strided form has a loop of its own where they do not change along a row (all,
    if None): each is one more copy of the body to compile."""

    def __init__(self, name, inputs, scalars, outputs, constant=None):
        # The prefix keeps the loop's name apart from the scalar function it calls.
        self.name = "loop_" + name
        self.inputs, self.scalars, self.outputs = tuple(inputs), tuple(scalars), tuple(outputs)
        self.constant = self.inputs if constant is None else constant
        self.made = {}

    def native(self, compute, in_codes, out_codes, strided=False, table=False, inplace=False):
        """The compiled kernel for a compute type code, input codes and output codes.

        ``inplace`` is the contiguous form whose first output is its first input: LLVM vectorises the loop only when it
        sees one pointer, because two that turn out equal fail its overlap check."""
        key = (compute, in_codes, out_codes, strided, table, inplace)
        return self.made.get(key) or self._make(key)

    @guarded
    def _make(self, key):
        if key not in self.made:
            self.made[key] = self._build(*key)
        return self.made[key]

    def source(self, compute, in_codes, out_codes, strided=False, table=False, inplace=False):
        """(text, parameter letters, function names used)."""
        scalar = "i" if compute[0] in "iub" else "f"
        consts, body, results, used = expr.lines(self.outputs, compute)
        read = set(expr.variables(self.outputs))
        ins = [(n, c) for n, c in zip(self.inputs, in_codes)]
        names = [n + "_a" for n in self.inputs] + [f"o{i}_a" for i in range(len(self.outputs))]
        pointers = [f"{n}_p = ptr_{c}({n}_a)" for n, c in ins]
        pointers += [f"o{i}_p = " + (f"{self.inputs[0]}_p" if inplace and i == 0 else f"ptr_{c}(o{i}_a)")
                     for i, c in enumerate(out_codes)]
        scalars = []
        for s in self.scalars:
            if compute[0] == "c":
                scalars.append(f"{s} = T(complex({s}_r, {s}_i))")
            else:
                scalars.append(f"{s} = T({s}_s)")
        params = list(names)
        letters = "i" * len(names)
        for s in self.scalars:
            params += [s + "_r", s + "_i"] if compute[0] == "c" else [s + "_s"]
            letters += "ff" if compute[0] == "c" else scalar
        if strided:
            params.append("meta_a")
            letters += "i"
        params += ["start", "stop"]
        letters += "ii"
        head = pointers + scalars + consts

        def loads(index):
            return [f"{n} = load_{c}({n}_p[{index(k)}])" for k, (n, c) in enumerate(ins) if n in read]

        def stores(index):
            return [f"o{i}_p[{index(len(ins) + i)}] = store_{c}({r})" for i, (r, c) in enumerate(zip(results, out_codes))]

        near = [e for e in expr.topological(list(self.outputs)) if e.op in NEAR] if compute in ("f4", "f8") else ()
        if not strided and near:
            loop, more = self._near_loop(near, compute, loads, body, stores)
            head += more
        elif not strided:
            loop = ["for i in range(start, stop):"]
            loop += ["    " + s for s in loads(lambda k: "i") + body + stores(lambda k: "i")]
        else:
            copies = self.inputs == ("x",) and len(self.outputs) == 1 and self.outputs[0] is expr.var("x")
            loop = self._strided_loop(len(names), names, loads, body, stores, len(ins), bool(used), copies)
        if table:
            text = f"def {self.name}(table, start, stop):\n    args = ptr_i8(table)\n    fargs = ptr_f8(table)\n"
            for k, (p, letter) in enumerate(zip(params[:-2], letters)):
                text += f"    {p} = {'args' if letter == 'i' else 'fargs'}[{k}]\n"
            letters = "iii"
        else:
            text = f"def {self.name}({', '.join(params)}):\n"
        text += "".join(f"    {line}\n" for line in head + loop)
        return text, letters, used

    def _near_loop(self, near, compute, loads, body, stores):
        """Blocks of elements, each looked at first: sine, cosine and tangent of arguments up to a limit need no
        reduction by many digits of pi, which costs more than all the rest. Returns (loop, constants)."""
        from . import vecmath
        arguments = list(dict.fromkeys(e.args[0] for e in near))
        limit = min(vecmath.near_function(e.op, compute)[1] for e in near)
        consts, check, results, _ = expr.lines(arguments, compute, "a", "c")
        _, near_body, _, _ = expr.lines(self.outputs, compute, rename={n: n + "_near" for n in NEAR})
        test = " and ".join(f"abs({r}) <= limit" for r in results)

        def inner(lines):
            return ["        for i in range(block, end):", *["            " + s for s in lines]]
        at = loads(lambda k: "i")
        return ["for block in range(start, stop, 512):", "    end = min(block + 512, stop)", "    far = 0",
                *[line[4:] for line in inner(at + check + [f"far += 0 if {test} else 1"])],
                "    if far == 0:", *inner(at + near_body + stores(lambda k: "i")),
                "    else:", *inner(at + body + stores(lambda k: "i"))], [*consts, f"limit = T({limit!r})"]

    def _strided_loop(self, count, names, loads, body, stores, n_in, heavy, copies):
        """The innermost dimension as a plain loop, or unit- and zero-stride forms of it, inside one over the dimension
        before it; the others by index arithmetic. A copy that runs across the input's rows goes tile by tile."""
        short = [n[:-2] for n in names]
        out = ["meta = ptr_i8(meta_a)", "nd = meta[0]", "inner = meta[nd]", "rows = meta[nd - 1]"]
        for k, n in enumerate(short):
            # With one dimension there is one row, and the stride of rows is never used.
            out += [f"{n}_t = meta[{k + 2} * nd]", f"{n}_r = meta[{k + 2} * nd - 1]"]
        # The sum with a zero that LLVM does not know: it would bet on a stride of one, and leave all others scalar code.
        out += ["zero = nd >> 62", *[f"{n}_g = {n}_t + zero" for n in short]]
        out += ["row = start", "while row < stop:", "    left = row // rows", "    at = row - left * rows",
                "    count = rows - at if rows - at < stop - row else stop - row"]
        out += [f"    {n}_o = at * {n}_r" for n in short]
        out += ["    for d in range(nd - 3, -1, -1):", "        size = meta[1 + d]", "        left_up = left // size",
                "        at = left - left_up * size", "        left = left_up"]
        out += [f"        {n}_o += at * meta[1 + {k + 1} * nd + d]" for k, n in enumerate(short)]
        out += ["    row += count"]
        if copies:
            x, y = short
            out += [f"    if {x}_t != 1 and {x}_r == 1 and {y}_t == 1 and count >= 8 and inner >= 8:",
                    "        for j in range(0, count, 16):", "            for k in range(0, inner, 16):",
                    f"                {x}_q = {x}_o + j + k * {x}_t", f"                {y}_q = {y}_o + j * {y}_r + k",
                    "                for a in range(min(16, count - j)):",
                    "                    for b in range(min(16, inner - k)):"]
            out += ["                        " + s for s in loads(lambda k: f"{x}_q + a + b * {x}_t") + body
                    + stores(lambda k: f"{y}_q + a * {y}_r + b")]
            out += ["        continue"]
        out += ["    for at in range(count):"]
        unit = " and ".join(f"{n}_t == 1" for n in short)
        out += [f"        if {unit}:", "            for i in range(inner):"]
        out += ["                " + s for s in loads(lambda k: f"{short[k]}_o + i") + body
                + stores(lambda k: f"{short[k]}_o + i")]
        # One operand constant along the row: the usual row and column broadcasts.
        for z in range(n_in if n_in > 1 else 0):
            if self.inputs[z] not in self.constant:
                continue
            if heavy and not any(k != z and n != "g" for k, n in enumerate(short[:n_in])):
                # All that is left in the loop would be a product with g; LLVM takes minutes to find that out of a pow.
                continue
            cond = " and ".join(f"{n}_t == {0 if k == z else 1}" for k, n in enumerate(short))

            def at(k, z=z):
                return f"{short[k]}_o" if k == z else f"{short[k]}_o + i"
            out += [f"        elif {cond}:", "            for i in range(inner):"]
            out += ["                " + s for s in loads(at) + body + stores(at)]
        out += ["        else:", "            for i in range(inner):"]
        out += ["                " + s for s in loads(lambda k: f"{short[k]}_o + i * {short[k]}_g") + body
                + stores(lambda k: f"{short[k]}_o + i * {short[k]}_g")]
        out += [f"        {n}_o += {n}_r" for n in short]
        return out

    def _build(self, compute, in_codes, out_codes, strided, table, inplace):
        text, letters, used = self.source(compute, in_codes, out_codes, strided, table, inplace)
        env, key = functions(used, compute)
        more, keys = casts(compute, in_codes, out_codes)
        return jit.compile_source(text, self.name, letters, {**env, **more}, "\n".join([key, *keys]), jit.loop_flags(compute))


def casts(compute, in_codes, out_codes):
    """({name: kernel function}, key texts) of the compute type and of the loads and stores of a loop's operands."""
    env, keys = {}, []
    env["T"], k = jit._Cast.get("T", compute)
    keys.append(k)
    for kind, codes in (("load", in_codes), ("store", out_codes)):
        for code in sorted(set(codes)):
            env[f"{kind}_{code}"], k = jit._Cast.get(kind, code)
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


def plan(shape, strides):
    """Sizes and strides as one int64 array: adjacent dimensions that every operand walks alike are merged.

    ``strides`` has one tuple per operand, aligned with ``shape``. Returns (array, its address, rows)."""
    key = (shape, strides)
    found = _plans.get(key)
    if found is None:
        if len(_plans) > 8192:
            _plans.clear()
        sizes, steps = collapse(shape, strides)
        meta = [len(sizes), *sizes]
        for st in steps:
            meta += st
        array = np.array(meta, np.int64)
        rows = 1
        for s in sizes[:-1]:
            rows *= s
        found = _plans[key] = (array, array.ctypes.data, rows)
    return found
