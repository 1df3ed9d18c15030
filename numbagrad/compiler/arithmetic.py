"""Operators of a run: their operands are looked at, and numbers that change are followed."""

from __future__ import annotations

import operator

from ..core.tensor import Tensor
from . import symbols, texts

UPDATES = {"Add": operator.iadd, "Sub": operator.isub, "Mult": operator.imul, "MatMult": operator.imatmul,
           "Div": operator.itruediv, "FloorDiv": operator.ifloordiv, "Mod": operator.imod, "Pow": operator.ipow,
           "LShift": operator.ilshift, "RShift": operator.irshift, "BitOr": operator.ior, "BitXor": operator.ixor,
           "BitAnd": operator.iand}
BINARY = {n: getattr(operator, f.__name__.lstrip("i")) if n not in ("BitOr", "BitAnd") else f for n, f in UPDATES.items()}
BINARY.update(BitOr=operator.or_, BitAnd=operator.and_)
COMPARED = {"Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt,
            "GtE": operator.ge}


def arithmetic(o, op, x, y, table):
    """The result of an operator, after a look at its operands; symbols before all, as floats would take them for ints."""
    if op == "Mod" and isinstance(x, str):
        y = texts.numbers(x, y if y.__class__ is tuple else (y,), True) if y.__class__ is tuple or isinstance(y, Tensor) else y
    if o.numbers and (isinstance(x, symbols.Symbol) or isinstance(y, symbols.Symbol)):
        if isinstance(x, str) and op == "Add" and isinstance(y, str):
            return texts.added(x, y)
        if isinstance(x, str) and op == "Mod":
            return texts.percent(x, y)
        if isinstance(x, (list, tuple, str, bytes, bytearray)) or isinstance(y, (list, tuple, str, bytes, bytearray)):
            return table[op](symbols.settled(x), symbols.settled(y))
        found = symbols.arithmetic(op, x, y)
        if found is not NotImplemented:
            return found
    if o.numbers and op == "Mod" and isinstance(x, str) and y.__class__ is tuple and symbols.any_in(y):
        o.deep(y)
        return texts.percent(x, y)
    look = o.deep if table is COMPARED else o.content
    look(x)
    look(y)
    return table[op](x, y)
