"""Scalar expressions: trace a function of scalars, differentiate it to any order, simplify it, print it.

An expression is an immutable, hash-consed node: equal expressions are the same object, so common subexpressions are
found by identity and an expression can be compared with ``is``. ``trace`` calls an ordinary Python function with
variables in place of numbers; ``adjoints`` runs reverse-mode differentiation on the resulting graph, and its result is
again an expression. ``lines`` prints a list of expressions as straight-line Python that Numba compiles for any device.
"""

from __future__ import annotations

import math
import weakref

_table: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


class Expr:
    """One node: ``op`` is "var", "const" or the name of a primitive; ``value`` is the variable's name or the constant."""

    __slots__ = ("op", "args", "value", "__weakref__")

    def __add__(self, other):
        return apply("add", self, other)

    def __radd__(self, other):
        return apply("add", other, self)

    def __sub__(self, other):
        return apply("sub", self, other)

    def __rsub__(self, other):
        return apply("sub", other, self)

    def __mul__(self, other):
        return apply("mul", self, other)

    def __rmul__(self, other):
        return apply("mul", other, self)

    def __truediv__(self, other):
        return apply("div", self, other)

    def __rtruediv__(self, other):
        return apply("div", other, self)

    def __pow__(self, other):
        return apply("pow", self, other)

    def __rpow__(self, other):
        return apply("pow", other, self)

    def __neg__(self):
        return apply("neg", self)

    def __abs__(self):
        return apply("abs", self)

    def __lt__(self, other):
        return apply("lt", self, other)

    def __le__(self, other):
        return apply("le", self, other)

    def __gt__(self, other):
        return apply("gt", self, other)

    def __ge__(self, other):
        return apply("ge", self, other)

    # Sets and dictionaries find an expression by identity before they would ask for equality.
    __hash__ = object.__hash__

    def __eq__(self, other):
        return apply("eq", self, other)

    def __ne__(self, other):
        return apply("ne", self, other)

    def __and__(self, other):
        return apply("and", self, other)

    def __or__(self, other):
        return apply("or", self, other)

    def __xor__(self, other):
        return apply("xor", self, other)

    def __invert__(self):
        return apply("not", self)

    def __bool__(self):
        raise TypeError("a scalar expression has no truth value: use where(condition, a, b) instead of a branch")

    def __repr__(self):
        if self.op == "var":
            return self.value
        if self.op == "const":
            return repr(self.value)
        return f"{self.op}({', '.join(map(repr, self.args))})"


def _make(op, args=(), value=None):
    # The type is part of the key because 1 == 1.0 == True, and the sign because 0.0 == -0.0.
    key = (op, tuple(map(id, args)), type(value), repr(value) if op == "const" else value)
    found = _table.get(key)
    if found is None:
        found = object.__new__(Expr)
        found.op, found.args, found.value = op, args, value
        _table[key] = found
    return found


def var(name):
    return _make("var", (), name)


def const(value):
    return _make("const", (), value)


def lift(x):
    return x if isinstance(x, Expr) else const(x)


def is_const(e, value=None):
    return e.op == "const" and (value is None or e.value == value)


class Prim:
    """A primitive: how many arguments, its partial derivatives, how it prints, and its meaning on Python numbers."""

    def __init__(self, name, arity, partials, text=None, value=None, boolean=False):
        self.name, self.arity, self.partials = name, arity, partials
        self.text, self.value, self.boolean = text, value, boolean


PRIMS: dict[str, Prim] = {}


def prim(name, arity, partials=None, text=None, value=None, boolean=False):
    PRIMS[name] = Prim(name, arity, partials, text or name + "(" + ", ".join("{}" for _ in range(arity)) + ")", value,
                       boolean)


def apply(op, *args):
    args = tuple(lift(a) for a in args)
    p = PRIMS[op]
    if p.value is not None and all(a.op == "const" for a in args):
        try:
            return const(p.value(*[a.value for a in args]))
        except (ValueError, ZeroDivisionError, OverflowError):
            pass
    return _simplify(op, args)


def _simplify(op, args):
    """Local rewrites that keep IEEE results (signed zeros apart) for every input."""
    a = args[0]
    b = args[1] if len(args) > 1 else None
    if op == "add":
        if is_const(a, 0):
            return b
        if is_const(b, 0):
            return a
        if b.op == "neg":
            return apply("sub", a, b.args[0])
    elif op == "sub":
        if is_const(b, 0):
            return a
        if is_const(a, 0):
            return apply("neg", b)
        if b.op == "neg":
            return apply("add", a, b.args[0])
    elif op == "mul":
        if is_const(b) and not is_const(a):
            a, b = b, a
            args = (a, b)
        if is_const(a, 1):
            return b
        if is_const(a, -1):
            return apply("neg", b)
        if a.op == "neg" and b.op == "neg":
            return apply("mul", a.args[0], b.args[0])
    elif op == "div":
        if is_const(b, 1):
            return a
    elif op == "neg":
        if a.op == "neg":
            return a.args[0]
    elif op == "pow":
        if is_const(b, 1):
            return a
        if is_const(b, 2):
            return apply("mul", a, a)
    elif op == "where":
        if args[1] is args[2]:
            return args[1]
        if a.op == "const":
            return args[1] if a.value else args[2]
    elif op == "not" and a.op == "not":
        return a.args[0]
    elif op == "conj" and a.op == "conj":
        return a.args[0]
    return _make(op, args)


# --- functions for use in op definitions -------------------------------------------------------------------------------

def _function(name):
    def f(*args):
        return apply(name, *args)
    f.__name__ = name
    return f


def _tiny(a):
    """Whether |a| is so small that 1 / a may be infinite."""
    return apply("lt", apply("abs", a), 1e-30)


def where(condition, a, b):
    """``a`` where the condition holds, else ``b``; both sides are evaluated."""
    return apply("where", condition, a, b)


def _num(f):
    return f


prim("add", 2, lambda a, b, y: (1, 1), "({} + {})", lambda a, b: a + b)
prim("sub", 2, lambda a, b, y: (1, -1), "({} - {})", lambda a, b: a - b)
prim("mul", 2, lambda a, b, y: (b, a), "({} * {})", lambda a, b: a * b)
prim("div", 2, lambda a, b, y: (1 / b, -y / b), "({} / {})", lambda a, b: a / b)
prim("neg", 1, lambda a, y: (-1,), "(-{})", lambda a: -a)
prim("pow", 2, lambda a, b, y: (
    where(apply("eq", b, 0), 0, b * apply("pow", a, b - 1)) if not is_const(b) else b * apply("pow", a, b - 1),
    where(apply("and", apply("eq", a, 0), apply("ge", apply("real", b), 0)), 0, y * apply("log", a))), "pow({}, {})")
prim("exp", 1, lambda a, y: (y,))
prim("exp2", 1, lambda a, y: (y * math.log(2),))
prim("expm1", 1, lambda a, y: (y + 1,))
prim("log", 1, lambda a, y: (1 / a,))
prim("log2", 1, lambda a, y: (1 / (a * math.log(2)),))
prim("log10", 1, lambda a, y: (1 / (a * math.log(10)),))
prim("log1p", 1, lambda a, y: (1 / (a + 1),))
prim("sin", 1, lambda a, y: (apply("cos", a),))
prim("cos", 1, lambda a, y: (-apply("sin", a),))
prim("tan", 1, lambda a, y: (1 + y * y,))
prim("sinh", 1, lambda a, y: (apply("cosh", a),))
prim("cosh", 1, lambda a, y: (apply("sinh", a),))
prim("tanh", 1, lambda a, y: (1 - y * y,))
prim("asin", 1, lambda a, y: (apply("rsqrt", 1 - a * a),))
prim("acos", 1, lambda a, y: (-apply("rsqrt", 1 - a * a),))
prim("atan", 1, lambda a, y: (1 / (1 + a * a),))
prim("asinh", 1, lambda a, y: (apply("rsqrt", a * a + 1),))
prim("acosh", 1, lambda a, y: (apply("rsqrt", a * a - 1),))
prim("atanh", 1, lambda a, y: (1 / (1 - a * a),))
prim("atan2", 2, lambda a, b, y: (b / (a * a + b * b), -a / (a * a + b * b)))
prim("erf", 1, lambda a, y: (2 / math.sqrt(math.pi) * apply("exp", -(a * a)),))
prim("erfc", 1, lambda a, y: (-2 / math.sqrt(math.pi) * apply("exp", -(a * a)),))
prim("erfinv", 1, lambda a, y: (math.sqrt(math.pi) / 2 * apply("exp", y * y),))
prim("sqrt", 1, lambda a, y: (0.5 / y,))
prim("rsqrt", 1, lambda a, y: (-0.5 * (y * (y * y)),))
prim("sigmoid", 1, lambda a, y: (y * (1 - y),))
prim("normal_cdf", 1, lambda a, y: (1 / math.sqrt(2 * math.pi) * apply("exp", -0.5 * (a * a)),))
prim("gelu_slope", 1, lambda a, y: ((2 - a * a) * (1 / math.sqrt(2 * math.pi)) * apply("exp", -0.5 * (a * a)),))
prim("log1pexp", 1, lambda a, y: (apply("sigmoid", a),))
prim("lgamma", 1, lambda a, y: (apply("digamma", a),))
prim("digamma", 1, lambda a, y: (apply("polygamma", 1, a),))
prim("polygamma", 2, lambda n, a, y: (0, apply("polygamma", n + 1, a)))
# Modified Bessel functions, the exponentially scaled ones as primitives.
prim("i0e", 1, lambda a, y: (apply("i1e", a) - apply("sign", a) * y,))
# Near 0, where 1 / a may be infinite, y / a is 0.5.
prim("i1e", 1, lambda a, y: (apply("i0e", a) - y * (apply("sign", a) + where(_tiny(a), 0, 1 / a)) - where(_tiny(a), 0.5, 0),))
prim("abs", 1, lambda a, y: (apply("sign", a),), "abs({})")
prim("sign", 1, lambda a, y: (0,))
# z / |z| of complex numbers, whose gradient is a matter of both parts: that of ``sgn_complex``.
prim("sgn", 1)
prim("floor", 1, lambda a, y: (0,))
prim("ceil", 1, lambda a, y: (0,))
prim("trunc", 1, lambda a, y: (0,))
prim("round", 1, lambda a, y: (0,))
# C's fmod and Python's remainder: a - b * trunc(a / b) and a - b * floor(a / b).
prim("fmod", 2, lambda a, b, y: (1, -apply("trunc", a / b)))
prim("remainder", 2, lambda a, b, y: (1, -apply("floor_divide", a, b)))
prim("copysign", 2, lambda a, b, y: (where(apply("eq", a, 0), 0, y / a), 0))
# NaN wins in min and max as in PyTorch; at a tie each side gets half the gradient.
prim("max", 2, lambda a, b, y: (where(apply("gt", a, b), 1, where(apply("eq", a, b), 0.5, 0)),
                                where(apply("gt", b, a), 1, where(apply("eq", a, b), 0.5, 0))),
     "({0} if ({0} > {1} or {0} != {0}) else {1})")
prim("min", 2, lambda a, b, y: (where(apply("lt", a, b), 1, where(apply("eq", a, b), 0.5, 0)),
                                where(apply("lt", b, a), 1, where(apply("eq", a, b), 0.5, 0))),
     "({0} if ({0} < {1} or {0} != {0}) else {1})")
# fmax and fmin prefer the number to the NaN; at a tie the first argument takes the gradient.
prim("fmax", 2, lambda a, b, y: (where(apply("or", apply("ge", a, b), apply("ne", b, b)), 1, 0),
                                 where(apply("or", apply("ge", a, b), apply("ne", b, b)), 0, 1)),
     "({0} if ({0} > {1} or {1} != {1}) else {1})")
prim("fmin", 2, lambda a, b, y: (where(apply("or", apply("le", a, b), apply("ne", b, b)), 1, 0),
                                 where(apply("or", apply("le", a, b), apply("ne", b, b)), 0, 1)),
     "({0} if ({0} < {1} or {1} != {1}) else {1})")
prim("gcd", 2, lambda a, b, y: (0, 0))
prim("where", 3, None, "({1} if {0} else {2})")
prim("cast", 1, lambda a, y: (1,), "{0}")
prim("conj", 1, None, "{0}.conjugate()")
prim("real", 1, None, "{0}.real", lambda a: a.real)
prim("imag", 1, None, "{0}.imag", lambda a: a.imag)
prim("floor_divide", 2, lambda a, b, y: (0, 0), "({} // {})")
for _name, _sym, _f in (("lt", "<", lambda a, b: a < b), ("le", "<=", lambda a, b: a <= b),
                        ("gt", ">", lambda a, b: a > b), ("ge", ">=", lambda a, b: a >= b),
                        ("eq", "==", lambda a, b: a == b), ("ne", "!=", lambda a, b: a != b)):
    prim(_name, 2, lambda a, b, y: (0, 0), "({} " + _sym + " {})", _f, boolean=True)
prim("and", 2, lambda a, b, y: (0, 0), "({} & {})", boolean=True)
prim("or", 2, lambda a, b, y: (0, 0), "({} | {})", boolean=True)
prim("xor", 2, lambda a, b, y: (0, 0), "({} ^ {})", boolean=True)
prim("not", 1, lambda a, y: (0,), "(not {})", boolean=True)
# Integer bit operations print like the logical ones but keep the operand type.
prim("bitand", 2, lambda a, b, y: (0, 0), "({} & {})")
prim("bitor", 2, lambda a, b, y: (0, 0), "({} | {})")
prim("bitxor", 2, lambda a, b, y: (0, 0), "({} ^ {})")
prim("bitnot", 1, lambda a, y: (0,), "(~{})")
prim("shl", 2, lambda a, b, y: (0, 0), "({} << {})")
prim("shr", 2, lambda a, b, y: (0, 0), "({} >> {})")

# Functions of integers, which have no derivative.
STEPS = frozenset(("gcd", "bitand", "bitor", "bitxor", "bitnot", "shl", "shr"))

NAMED = [n for n in PRIMS if n.isidentifier() and n not in ("and", "or", "not", "where", "lambda")]
for _name in NAMED:
    if _name not in ("add", "sub", "mul", "div", "neg"):
        globals()[_name if _name not in ("max", "min", "abs", "pow", "round") else
                  {"max": "maximum", "min": "minimum", "abs": "absolute", "pow": "power", "round": "rint"}[_name]] = (
            _function(_name))


# --- tracing, differentiation ------------------------------------------------------------------------------------------

def trace(fn, names):
    """The expression(s) of ``fn`` called with variables of the given names; always a tuple."""
    out = fn(*[var(n) for n in names])
    return tuple(None if o is None else lift(o) for o in (out if isinstance(out, tuple) else (out,)))


def topological(outputs):
    """All nodes below the outputs, arguments before users, without recursion."""
    seen, order = set(), []
    stack = [(o, False) for o in reversed(outputs)]
    while stack:
        e, done = stack.pop()
        if done:
            order.append(e)
        elif e not in seen:
            seen.add(e)
            stack.append((e, True))
            stack.extend((a, False) for a in reversed(e.args) if a not in seen)
    return order


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


# --- printing ----------------------------------------------------------------------------------------------------------

# Comparisons of size: of complex numbers only those that are real, a norm for one, have one.
ORDER = ("lt", "le", "gt", "ge")


ARITHMETIC = {"add", "sub", "mul", "neg", "conj", "real", "imag", "cast", "where", "eq", "ne", "and", "or", "xor", "not"}


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
