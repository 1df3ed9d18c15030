"""How a loop folds a scalar: sums, products, extrema and bits, whatever the way they are written."""

from __future__ import annotations

import ast

from .syntax import called, names

# how -> (text that joins two parts, the part of no turns; None where every part may begin with the value from before)
FOLDS = {"sum": ("{a} + {b}", 0), "prod": ("{a} * {b}", 1), "or": ("{a} | {b}", None),
         "max": ("{b} if {b} > {a} else {a}", None), "min": ("{b} if {b} < {a} else {a}", None)}
_OPERATORS = {ast.Add: "sum", ast.Sub: "sum", ast.Mult: "prod", ast.BitOr: "or"}


def fold_of(loop, name):
    """How a loop folds a scalar that its turns carry: a name of ``FOLDS``, or None when it does something else."""
    found, own = set(), set()
    for node in ast.walk(loop):
        how = None
        if isinstance(node, ast.AugAssign) and getattr(node.target, "id", None) == name:
            how = None if name in names(node.value) else _OPERATORS.get(type(node.op))
        elif isinstance(node, ast.Assign) and any(name in names(t, ast.Store) for t in node.targets):
            if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                how = _of_value(node.value, name)
        else:
            continue
        if how is None:
            return None
        found.add(how)
        own |= {id(n) for n in ast.walk(node)}
    # The value so far may be read for nothing else.
    if any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) and id(n) not in own
           for n in ast.walk(loop)):
        return None
    return found.pop() if len(found) == 1 else None


def _of_value(value, name):
    """How ``name = value`` folds."""
    if called(value) == "T" and len(value.args) == 1:
        value = value.args[0]
    if called(value) == "accumulate":
        first, second = value.args
        return "sum" if getattr(first, "id", None) == name and name not in names(second) else None
    if isinstance(value, ast.BinOp) and getattr(value.left, "id", None) == name and name not in names(value.right):
        return _OPERATORS.get(type(value.op)) if not isinstance(value.op, ast.Sub) else "sum"
    if isinstance(value, ast.IfExp) and isinstance(value.test, ast.Compare) and len(value.test.ops) == 1:
        return _extremum(value, name)
    return None


def _extremum(value, name):
    """"max" or "min" of ``v if v > name else name`` and its like."""
    body, other, left, right = (ast.unparse(e) for e in (value.body, value.orelse, value.test.left,
                                                         value.test.comparators[0]))
    above = isinstance(value.test.ops[0], (ast.Gt, ast.GtE))
    if not above and not isinstance(value.test.ops[0], (ast.Lt, ast.LtE)):
        return None
    if {body, other} != {left, right} or name not in (body, other) or value.test.left is None:
        return None
    # The value from before stays where the comparison fails (NaN): it must be the other branch.
    return ("max" if (body == left) == above else "min") if other == name else None
