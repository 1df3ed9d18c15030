"""Nodes of scalar expressions: equal ones are one object, and simplified when they are made."""

from __future__ import annotations

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
