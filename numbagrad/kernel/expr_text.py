"""Scalar expressions printed as straight-line Python."""

from __future__ import annotations

import math

from .expr_nodes import PRIMS, topological

# Comparisons of size: of complex numbers only those that are real, a norm for one, have one.
ORDER = ("lt", "le", "gt", "ge")


ARITHMETIC = {"add", "sub", "mul", "neg", "conj", "real", "imag", "cast", "held", "where", "eq", "ne", "and", "or", "xor",
              "not"}


def takes_complex(outputs):
    """Whether the expressions have a meaning for complex variables."""
    from .complexmath import NAMES
    real = {}
    for e in topological(list(outputs)):
        real[e] = (e.op in ("abs", "real", "imag") or e.op == "const" and not isinstance(e.value, complex)
                   or bool(e.args) and all(real[a] for a in (e.args[1:] if e.op == "where" else e.args)))
        if e.args and not (e.op in ARITHMETIC or e.op in NAMES or e.op in ORDER and all(real[a] for a in e.args)):
            return False
    return True


def lines(outputs, code, prefix="t", constant="k", rename=None):
    """Straight-line Python for the outputs in compute type ``code``.

    Returns (constants, body, results, functions): constant definitions ``name = T_(value)`` to hoist out of the loop,
    assignment lines, the result names, and the vecmath names used. ``prefix`` and ``constant`` begin the names of
    temporaries and constants, which end in an underscore like the functions and types they call: no variable does;
    ``rename`` maps a function's name to another one's."""
    order = topological(list(outputs))
    constants, body, functions, names = [], [], [], {}
    integer = code[0] in "iu"
    for e in order:
        if e.op == "var":
            names[e] = e.value
        elif e.op == "const":
            names[e] = f"{constant}{len(constants)}_"
            constants.append(f"{names[e]} = {_constant(e.value, code)}")
        else:
            p = PRIMS[e.op]
            args = [names[a] for a in e.args]
            called = _called(e.op, code)
            if called:
                text = f"{(rename or {}).get(called, called)}_({', '.join(args)})"
                if called != "abs" or code[0] in "fc":  # of integers it is Python's
                    functions.append(called)
            elif e.op == "abs" or code[0] != "c" and e.op in ("real", "conj"):
                text = args[0]
            else:
                text = p.text.format(*[a + ".real" for a in args] if code[0] == "c" and e.op in ORDER else args)
            if integer and not p.boolean and e.op != "where":
                text = f"T_({text})"
            names[e] = f"{prefix}{len(body)}_"
            body.append(f"{names[e]} = {text}")
    return constants, body, [names[o] for o in outputs], sorted(set(functions))


def _called(op, code):
    """The function that computes a primitive in compute type ``code``, or None where an operator does."""
    if op == "abs":
        return None if code[0] == "u" else op
    if op == "pow" and code[0] in "iu":
        return "ipow"
    if op == "div" and code[0] == "c":  # Numba's division of complex numbers raises inside the kernel, whatever the error model
        return op
    return op if PRIMS[op].text.startswith(op + "(") else None


def _constant(value, code):
    if isinstance(value, bool):
        return repr(value)
    if isinstance(value, complex):
        return f"T_(complex_({value.real!r}, {value.imag!r}))"
    if isinstance(value, float):
        if math.isnan(value):
            return "T_(nan_)" if code[0] in "fc" else "T_(0)"
        if math.isinf(value):
            return "T_(inf_)" if value > 0 else "T_(-inf_)"
    return f"T_({value!r})"
