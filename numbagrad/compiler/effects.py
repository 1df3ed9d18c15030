"""Which pointer arguments a hand-written kernel reads and which it writes, from its source and that of what it calls."""

from __future__ import annotations

import ast
import inspect
import textwrap

from ..kernel.tape import Untraced

_known: dict = {}


def effects(fn):
    """(names read, names written) of a kernel function's parameters.

    A pointer that gets a second name, or is passed on to anything but a function declared with ``jit.inline`` or one that
    says what it does with its arguments (``effects``: "r", "w", "b" for both), counts as both."""
    key = fn.__code__
    found = _known.get(key)
    if found is None:
        with Untraced():
            source = getattr(fn, "__source__", None) or inspect.getsource(fn)
            tree = ast.parse(textwrap.dedent(source))
            found = _known[key] = _scan(tree, set(_parameters(fn)), fn.__globals__)
    return found


def _parameters(fn):
    return fn.__code__.co_varnames[:fn.__code__.co_argcount]


def _scan(tree, names, space):
    reads, writes, known = set(), set(), set()
    for node in ast.walk(tree):
        declared = space.get(node.func.id) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
        called, letters = getattr(declared, "fn", None), getattr(declared, "effects", None)
        if letters is not None:
            for given, letter in zip(node.args, letters):
                if isinstance(given, ast.Name) and given.id in names:
                    known.add(id(given))
                    reads.update({given.id} if letter in "rb" else ())
                    writes.update({given.id} if letter in "wb" else ())
        if called is not None:
            read, written = effects(called)
            for given, name in zip(node.args, _parameters(called)):
                if isinstance(given, ast.Name) and given.id in names:
                    known.add(id(given))
                    reads.update({given.id} if name in read else ())
                    writes.update({given.id} if name in written else ())
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in names:
            known.add(id(node.value))
            if isinstance(node.ctx, ast.Store):
                writes.add(node.value.id)
            else:
                reads.add(node.value.id)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript) and isinstance(
                node.target.value, ast.Name):
            reads.add(node.target.value.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and id(node) not in known and isinstance(
                node.ctx, ast.Load):
            reads.add(node.id)
            writes.add(node.id)
    return reads & names, writes & names
