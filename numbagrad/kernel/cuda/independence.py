"""Whether the items of a kernel may run at the same time, read from its source: what is not seen to be so is taken not to be.

A kernel that is launched by ``run`` or ``launch`` has said so itself. For others this looks whether each item writes places
that grow with its number (a sum of products, without quotients and remainders), reads what it writes at these places only,
and takes nothing from the item before it. Parameters called ``found`` and ``bad`` are where kernels report bad input: any of
several reports will do."""

from __future__ import annotations

import ast
import functools

from .syntax import carried, growing, is_polynomial, names, over_items, pairs, scratch, stores, tree_of

REPORTS = ("found", "bad")


@functools.cache
def independent(fn):
    """Whether the items of a kernel function are seen not to meet in memory."""
    tree = tree_of(fn)
    loops = [n for n in ast.walk(tree) if over_items(n)]
    own = scratch(tree)
    inside = {id(n) for loop in loops for n in ast.walk(loop)}
    if not loops or any(id(t) not in inside and t.value.id not in own for t in stores(tree)):
        return False
    begun = _begun(tree, inside)
    return all(_apart(loop, tree, begun, own, inside) for loop in loops)


@functools.cache
def elements_apart(fn):
    """Whether all loops of a kernel function are ``for i in range(n)`` over elements that are seen not to meet."""
    tree = tree_of(fn)
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For)]
    plain = all(ast.unparse(n.iter) == "range(n)" for n in loops)
    return bool(loops) and plain and all(_apart(loop, tree, set(), set(), set()) for loop in loops)


def _begun(tree, inside):
    """Scalars that are set from ``start`` before the loop: they follow the item's number."""
    found = {"start"}
    for n in ast.walk(tree):
        if isinstance(n, ast.Assign) and id(n) not in inside and names(n.value) & found:
            found |= {t.id for t, _ in pairs(n) if isinstance(t, ast.Name)}
    return found


def _apart(loop, tree, begun, own, inside):
    """Whether the items of one loop write apart, and take nothing from each other."""
    grows, written = growing(loop), {}
    for t in stores(loop):
        name = t.value.id
        if name in own or name in REPORTS and isinstance(t.slice, ast.Constant):
            continue
        if not names(t.slice) & grows or not is_polynomial(t.slice):
            return False
        written.setdefault(name, set()).add(ast.unparse(t.slice))
    for n in ast.walk(loop):
        if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load) and getattr(n.value, "id", None) in written and (
                ast.unparse(n.slice) not in written[n.value.id]):
            return False
    # Every element of an item's part is written by this item alone if all its places begin at one multiple of its number.
    same_base = all(len({text.split("+")[0].strip() for text in texts}) == 1 for texts in written.values())
    return same_base and not carried(loop) - begun - _only_tested(tree, loop, inside)


def _only_tested(tree, loop, inside):
    """Scalars that gather what is wrong (``bad |= ...``) and are read by nothing else than tests outside of loops."""
    gathered = {n.target.id for n in ast.walk(loop) if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)
                and isinstance(n.op, ast.BitOr)}
    tests = {id(m) for n in ast.walk(tree) if isinstance(n, ast.If) and id(n) not in inside for m in ast.walk(n.test)}
    for n in ast.walk(tree):
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and n.id in gathered and id(n) not in tests:
            gathered.discard(n.id)
    return gathered
