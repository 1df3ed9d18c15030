"""CUDA kernels of pointwise loops: the scalar expressions of the CPU kernels inside a grid-stride loop.

There is one *contiguous* form per combination of dtypes, and one *strided* form per number of dimensions that are left
after merging: with that number fixed, index arithmetic is straight-line code on kernel parameters, and a launch copies
no table of strides to the device. Both exist with 32-bit indices (the rule: a 64-bit division costs tens of
instructions) and with 64-bit ones for large tensors.
"""

from __future__ import annotations

import numpy as np

from .. import casts, emit, expr
from ..vecmath import ALL
from .shim import Source

SMALL = 1 << 31  # elements, and reach of every operand, up to which indices have 32 bits


def plain(dispatcher):
    """The Python function behind a compiled one (itself when it is one)."""
    return getattr(dispatcher, "py_func", dispatcher)


def functions(names, code):
    """({name: plain function}, key text) of the scalar functions that an expression uses."""
    env, key = emit.functions(names, code)
    return {n: ALL[n[:-1]][code] if code in ("f4", "f8") and n[:-1] in ALL and n[:-1] not in emit.HELPERS else plain(f)
            for n, f in env.items()}, key


def cast(kind, code):
    """(plain function or type, key text) of ``load``, ``store`` or ``T`` for a dtype code."""
    value, text = casts.cast(kind, code)
    return plain(value), text


def portable(line):
    """Infinities and NaN as constants that device code can name."""
    for text, name in (('float("inf")', "np.inf"), ('float("-inf")', "-np.inf"), ('float("nan")', "np.nan")):
        line = line.replace(text, name)
    return line


def scalar_params(scalars, compute):
    """([(parameter, kind)], lines that make the scalars from them): numbers arrive in the width they are used in."""
    params, lines = [], []
    for s in scalars:
        if compute[0] == "c":
            kind = "f4" if compute == "c8" else "f8"
            params += [(s + "_r_", kind), (s + "_i_", kind)]
            lines.append(f"{s} = T_(complex_({s}_r_, {s}_i_))")
        else:
            params.append((s + "_s_", compute if compute in ("f4", "f8") else "i8"))
            lines.append(f"{s} = T_({s}_s_)")
    return params, lines


def index_env(small):
    """The index type: unsigned where 32 bits do, so that nothing is sign-extended."""
    return np.uint32 if small else np.int64


def pointwise(loop, compute, in_codes, out_codes, dims, small):
    """Source of a pointwise loop; ``dims`` is 0 for the contiguous form, else the number of dimensions."""
    outputs = loop.expressions(in_codes, out_codes)
    consts, body, results, used = expr.lines(outputs, compute)
    read = set(expr.variables(outputs))
    ins = list(zip(loop.inputs, in_codes))
    outs = [f"o{i}_" for i in range(len(out_codes))]
    operands = [*loop.inputs, *outs]
    params = [(n + "_p_", "*" + c) for n, c in zip(operands, (*in_codes, *out_codes))]
    more, head = scalar_params(loop.scalars, compute)
    index = "u4" if small else "i8"
    params += [*more, ("items_", index)]
    at = dict.fromkeys(operands, "i_")
    steps = []
    if dims:
        params += [(f"size{d}_", index) for d in range(1, dims)]
        params += [(f"{o}_t{d}_", index) for o in operands for d in range(dims)]
        # Strides of large tensors may be negative: the address is that of the lowest element, the first one lies behind it.
        params += [] if small else [(o + "_first_", index) for o in operands]
        left = "i_"
        for d in range(dims - 1, 0, -1):
            steps += [f"q{d}_ = U_({left} // size{d}_)", f"a{d}_ = U_({left} - q{d}_ * size{d}_)"]
            left = f"q{d}_"
        steps.append(f"a0_ = {left}")
        at = {o: " + ".join(f"a{d}_ * {o}_t{d}_" for d in range(dims)) for o in operands}
        at = at if small else {o: f"{o}_first_ + {text}" for o, text in at.items()}
    steps += [f"{n} = load_{c}_({n}_p_[{at[n]}])" for n, c in ins if n in read]
    steps += body
    steps += [f"{o}_p_[{at[o]}] = store_{c}_({r})" for o, c, r in zip(outs, out_codes, results)]
    lines = [*head, *consts, "i_ = U_(cuda_.grid(1))", "step_ = U_(cuda_.gridsize(1))", "while i_ < items_:",
             *("    " + s for s in steps), "    i_ = U_(i_ + step_)"]
    env, key = functions(used, compute)
    keys = [key]
    env["T_"], text = cast("T", compute)
    keys.append(text)
    for kind, codes in (("load", in_codes), ("store", out_codes)):
        for c in sorted(set(codes)):
            env[f"{kind}_{c}_"], text = cast(kind, c)
            keys.append(text)
    env["U_"] = index_env(small)
    return Source(loop.name, params, lines, env, "\n".join(keys))


def collapse(shape, strides):
    """(sizes, strides of each operand) with neighbouring dimensions merged that every operand walks alike."""
    meta = emit.plan(shape, strides)[0].tolist()
    d = meta[0]
    return meta[1:1 + d], [meta[1 + (k + 1) * d:1 + (k + 2) * d] for k in range(len(strides))]
