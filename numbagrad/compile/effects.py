"""Which pointer arguments a hand-written kernel reads and which it writes, from its source."""

from __future__ import annotations

import ast
import inspect
import textwrap

_known: dict = {}


def effects(fn):
    """(names read, names written) of a kernel function's parameters.

    A pointer that is passed on to another function, or gets a second name, counts as both."""
    key = fn.__code__
    found = _known.get(key)
    if found is None:
        source = getattr(fn, "__source__", None) or inspect.getsource(fn)
        tree = ast.parse(textwrap.dedent(source))
        found = _known[key] = _scan(tree, set(fn.__code__.co_varnames[:fn.__code__.co_argcount]))
    return found


def _scan(tree, names):
    reads, writes, subscripted = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in names:
            subscripted.add(id(node.value))
            if isinstance(node.ctx, ast.Store):
                writes.add(node.value.id)
            else:
                reads.add(node.value.id)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript) and isinstance(
                node.target.value, ast.Name):
            reads.add(node.target.value.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and id(node) not in subscripted and isinstance(
                node.ctx, ast.Load):
            reads.add(node.id)
            writes.add(node.id)
    return reads & names, writes & names
