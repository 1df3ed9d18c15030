"""Scalar expressions: trace a function of scalars, differentiate it to any order, simplify it, print it.

An expression is an immutable, hash-consed node: equal expressions are the same object, so common subexpressions are
found by identity and an expression can be compared with ``is``. ``trace`` calls an ordinary Python function with
variables in place of numbers; ``adjoints`` runs reverse-mode differentiation on the resulting graph, and its result is
again an expression. ``lines`` prints a list of expressions as straight-line Python that Numba compiles for any device.
"""

from __future__ import annotations

import math

from .expr_nodes import PRIMS, Expr, Prim, apply, const, is_const, lift, prim, topological, var  # noqa: F401
from .expr_prims import *  # noqa: F403 (a function for each primitive)
from .expr_prims import STEPS, where
from .expr_text import lines, takes_complex  # noqa: F401


def trace(fn, names):
    """The expression(s) of ``fn`` called with variables of the given names; always a tuple."""
    out = fn(*[var(n) for n in names])
    return tuple(None if o is None else lift(o) for o in (out if isinstance(out, tuple) else (out,)))


def adjoints(y, seed, names, complex_=False):
    """Reverse-mode derivatives of ``y`` times ``seed`` with respect to the named variables.

    Returns one expression per name: the constant 0 where ``y`` depends on it in steps only (through ``floor``), None where
    it depends on it not at all or through truth values alone. With ``complex_`` the partials are conjugated, which is
    PyTorch's convention for holomorphic functions of complex tensors."""
    adj, zero = {y: lift(seed)}, const(0)
    for e in reversed(topological([y])):
        g = adj.get(e)
        if g is None or not e.args:
            continue
        if e.op == "where":
            c, a, b = e.args
            parts = (None, where(c, g, 0), where(c, 0, g))
        elif PRIMS[e.op].boolean or e.op in STEPS:
            continue
        elif g is zero:
            parts = (zero,) * len(e.args)
        elif e.op == "conj":
            parts = (apply("conj", g),)
        elif e.op == "real":
            parts = (g,)
        elif e.op == "imag":
            parts = (g * const(1j),)
        elif e.op == "abs" and complex_:
            parts = (apply("real", g) * apply("sgn", e.args[0]),)
        else:
            partials = PRIMS[e.op].partials
            if partials is None:
                raise NotImplementedError(f"no derivative is defined for the scalar function '{e.op}'")
            parts = []
            for d in partials(*e.args, e):
                d = lift(d)
                if is_const(d, 0):
                    parts.append(zero)
                elif complex_ and d.op == "div" and d.args[0].op == "const":
                    # A quotient as a whole, as above: an infinity times a complex one would be NaN.
                    parts.append(g * d.args[0].value.conjugate() / apply("conj", d.args[1]))
                else:
                    parts.append(_times(g, apply("conj", d) if complex_ and d.op != "const" else d))
        for arg, part in zip(e.args, parts):
            if part is not None and arg.op != "const":
                old = adj.get(arg)
                adj[arg] = part if old is None else old + part
    return tuple(adj.get(var(n)) for n in names)


def _times(g, d):
    # Where nothing was chosen the result is zero, however large the other factor is.
    if d.op == "where" and all(is_const(x) for x in d.args[1:]):
        return where(d.args[0], *[_times(g, x) if not is_const(x, 0) else const(0) for x in d.args[1:]])
    if g.op == "where" and any(is_const(x, 0) for x in g.args[1:]):
        return where(g.args[0], *[_times(x, d) if not is_const(x, 0) else const(0) for x in g.args[1:]])
    # A quotient keeps its division last: g * (1 / a) costs a rounding more than g / a.
    if d.op == "div" and is_const(d.args[0], 1):
        return g / d.args[1]
    return g * d


def substitute(outputs, table):
    """The outputs with every expression that is a key of ``table`` replaced by its value."""
    outputs = tuple(outputs)
    return _remembered((tuple(map(id, outputs)), *[(id(a), id(b)) for a, b in table.items()]), _substituted, outputs, table)


_results: dict = {}  # ids of expressions -> (what was made of them, the expressions, which live as long)
MOST = 4096


def _remembered(key, make, outputs, table=None):
    found = _results.get(key)
    if found is None:
        if len(_results) >= MOST:
            _results.clear()
        found = _results[key] = make(outputs, table), outputs, table and tuple(table.items())
    return found[0]


def _substituted(outputs, table):
    new = dict(table)
    for e in topological(outputs):
        if e not in new:
            new[e] = apply(e.op, *[new[a] for a in e.args]) if e.args else e
    return tuple([new[o] for o in outputs])


def in_dtype(outputs, code):
    """The outputs with numbers as memory of a dtype holds them (``held``): rounded to it once more where it is a half type."""
    found = {}
    for e in topological(list(outputs)):
        if e.op == "held":
            inner, = substitute((e.args[0],), found)  # one may stand in another
            found[e] = apply("as_" + code, inner) if code in ("f2", "bf") else inner
    return substitute(outputs, found)


def variables(outputs):
    """Names of the variables that the outputs depend on, in order of first use."""
    outputs = tuple(outputs)
    return list(_remembered(tuple(map(id, outputs)), _variables, outputs))


def _variables(outputs, _):
    return tuple([e.value for e in topological([o for o in outputs if o is not None]) if e.op == "var"])


def evaluate(outputs, values, functions):
    """Evaluate on arbitrary objects: ``functions[op](*args)`` for every primitive, plain numbers for constants."""
    done = {}
    for e in topological(list(outputs)):
        if e.op == "var":
            done[e] = values[e.value]
        elif e.op == "const":
            done[e] = e.value
        else:
            done[e] = functions(e.op)(*[done[a] for a in e.args])
    return tuple(done[o] for o in outputs)


def number(op, *args):
    """The value of a primitive of plain numbers."""
    value = PRIMS[op].value
    if value is None:
        import numpy as np
        name = {"max": "maximum", "min": "minimum", "pow": "float_power", "abs": "absolute", "and": "logical_and",
                "or": "logical_or", "xor": "logical_xor", "not": "logical_not", "asin": "arcsin", "acos": "arccos",
                "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
                "round": "rint"}.get(op, op)
        value = {"rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
                 "normal_cdf": lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), "log1pexp": lambda x: np.logaddexp(0, x),
                 "gelu_slope": lambda x: (0.5 * math.erfc(-x / math.sqrt(2))
                                          + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
                 "erf": math.erf, "erfc": math.erfc, "lgamma": math.lgamma, "cast": lambda x: x}.get(op)
        value = value or getattr(np, name, None)
        if value is None:
            raise NotImplementedError(f"the scalar function '{op}' of plain numbers")
        with np.errstate(all="ignore"):
            result = value(*args)
        return result.item() if hasattr(result, "item") else result
    try:
        return value(*args)
    except ZeroDivisionError:
        return math.nan if args[0] == 0 or args[0] != args[0] else math.copysign(math.inf, args[0])
