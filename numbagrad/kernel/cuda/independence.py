"""Whether the items of a kernel may run at the same time, read from its source: what is not seen to be so is taken not to be.

A kernel that is launched by ``run`` or ``launch`` has said so itself. For others this looks whether each item writes places
that grow with its number (a sum of products, without quotients and remainders), reads what it writes at these places only,
and takes nothing from the item before it. Parameters called ``found`` and ``bad`` are where kernels report bad input: any of
several reports will do."""

from __future__ import annotations

import ast
import functools

from .thread_form import SCRATCH, tree_of

REPORTS = ("found", "bad")


def independent(fn):
    """Whether the items of a kernel function are seen not to meet in memory."""
    return _independent(fn.__code__, fn)


@functools.cache
def elements_apart(fn):
    """Whether all loops of a kernel function are ``for i in range(n)`` over elements that are seen not to meet."""
    tree = tree_of(fn)
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For)]
    plain = all(isinstance(n.iter, ast.Call) and ast.unparse(n.iter) == "range(n)" for n in loops)
    return bool(loops) and plain and all(_apart(loop, tree, set(), set(), set()) for loop in loops)


@functools.cache
def _independent(code, fn):
    tree = tree_of(fn)
    loops = [n for n in ast.walk(tree) if _over_items(n)]
    own = _scratch(tree)
    inside = {id(n) for loop in loops for n in ast.walk(loop)}
    if not loops or any(id(t) not in inside and t.value.id not in own for t in _stores(tree)):
        return False
    begun = _begun(tree, inside)
    return all(_apart(loop, tree, begun, own, inside) for loop in loops)


def _over_items(node):
    return (isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and isinstance(node.target, ast.Name)
            and [ast.unparse(a) for a in node.iter.args] == ["start", "stop"] and ast.unparse(node.iter.func) == "range")


def _stores(tree):
    """Array elements that are stored."""
    return [n for n in ast.walk(tree) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)
            and isinstance(n.value, ast.Name)]


def _scratch(tree):
    """Names of memory that belongs to one call."""
    found = set()
    for n in ast.walk(tree):
        if isinstance(n, ast.Assign):
            for target, value in _pairs(n):
                if isinstance(target, ast.Name) and getattr(getattr(value, "func", None), "id", "") in SCRATCH:
                    found.add(target.id)
    return found


def _pairs(assign):
    for target in assign.targets:
        if isinstance(target, ast.Tuple) and isinstance(assign.value, ast.Tuple):
            yield from zip(target.elts, assign.value.elts)
        elif isinstance(target, ast.Tuple):
            yield from ((t, assign.value) for t in target.elts)
        else:
            yield target, assign.value


def _names(node, ctx=ast.Load):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ctx)}


def _begun(tree, inside):
    """Scalars that are set from ``start`` before the loop: they follow the item's number."""
    found = {"start"}
    for n in ast.walk(tree):
        if isinstance(n, ast.Assign) and id(n) not in inside and _names(n.value) & found:
            found |= {t.id for t, _ in _pairs(n) if isinstance(t, ast.Name)}
    return found


def _apart(loop, tree, begun, own, inside):
    """Whether the items of one loop write apart, and take nothing from each other."""
    growing = _growing(loop)
    written = {}
    for t in _stores(loop):
        name = t.value.id
        if name in own:
            continue
        if name in REPORTS and isinstance(t.slice, ast.Constant):
            continue
        if not _names(t.slice) & growing or not _polynomial(t.slice):
            return False
        written.setdefault(name, set()).add(ast.unparse(t.slice))
    for n in ast.walk(loop):
        if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load) and getattr(n.value, "id", None) in written and (
                ast.unparse(n.slice) not in written[n.value.id]):
            return False
    # Every element of an item's part is written by this item alone if all its places begin at one multiple of its number.
    return all(len(texts) == 1 or all(_same_base(t, texts) for t in texts) for texts in written.values()) and not (
        _carried(loop) - begun - _only_tested(tree, loop, inside))


def _same_base(text, texts):
    first = min(texts)
    return text.split("+")[0].strip() == first.split("+")[0].strip()


def _polynomial(node):
    """Whether an index is a sum of products of names and numbers."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Add, ast.Mult)) and _polynomial(node.left) and _polynomial(node.right)
    return isinstance(node, (ast.Name, ast.Constant))


def _growing(loop):
    """Names that grow with the item's number: the loop's variable, and sums and products with them that are set once."""
    found = {loop.target.id}
    set_ = [(t.id, v) for n in ast.walk(loop) if isinstance(n, ast.Assign) for t, v in _pairs(n) if isinstance(t, ast.Name)]
    others = {n.target.id for n in ast.walk(loop) if isinstance(n, (ast.AugAssign, ast.For)) and isinstance(n.target, ast.Name)
              and n is not loop}
    again = True
    while again:
        again = False
        for name, value in set_:
            if name not in found and name not in others and [s for s, _ in set_].count(name) == 1 and _polynomial(value) and (
                    _names(value) & found):
                found.add(name)
                again = True
    return found


def _carried(loop):
    """Scalars whose value may come into an item from the one before: read before they are set in its body."""
    found, assigned = set(), _names(loop, ast.Store)

    def read(node, known):
        found.update((_names(node) & assigned) - known)

    def walk(body, known):
        for s in body:
            if isinstance(s, ast.Assign):
                read(s.value, known)
                for t in s.targets:
                    read(t, known)
                    known |= _names(t, ast.Store)
            elif isinstance(s, ast.AugAssign):
                read(s.value, known)
                read(s.target, known)
                if isinstance(s.target, ast.Name) and s.target.id not in known:
                    found.add(s.target.id)
            elif isinstance(s, ast.If):
                read(s.test, known)
                first, second = set(known), set(known)
                walk(s.body, first)
                walk(s.orelse, second)
                known |= first & second
            elif isinstance(s, (ast.For, ast.While)):
                read(s.iter if isinstance(s, ast.For) else s.test, known)
                inner = set(known) | (_names(s.target, ast.Store) if isinstance(s, ast.For) else set())
                walk(s.body, inner)
            else:
                read(s, known)
    walk(loop.body, {loop.target.id})
    return found


def _only_tested(tree, loop, inside):
    """Scalars that gather what is wrong (``bad |= ...``) and are read by nothing else than tests outside of loops."""
    gathered = {n.target.id for n in ast.walk(loop) if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)
                and isinstance(n.op, ast.BitOr)}
    tests = {id(m) for n in ast.walk(tree) if isinstance(n, ast.If) and id(n) not in inside for m in ast.walk(n.test)}
    for n in ast.walk(tree):
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and n.id in gathered and id(n) not in tests:
            gathered.discard(n.id)
    return gathered
