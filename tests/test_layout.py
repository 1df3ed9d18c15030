"""Imports run one way: no file imports, at its top or inside a function, one that imports it."""

from __future__ import annotations

import ast
from pathlib import Path

import numbagrad

ROOT = Path(numbagrad.__file__).parent


def files():
    """{name of a module below ``numbagrad``: path}; the package's own face is left out, as it imports everything."""
    ops = Path(numbagrad.ops.__file__).parent
    found = {}
    for root, prefix in ((ROOT, ()), (ops, ("ops",))):
        for path in root.rglob("*.py"):
            parts = (*prefix, *path.relative_to(root).with_suffix("").parts)
            if path.parent == ops and root == ROOT:
                continue
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found.pop("", None)
    return found


def imported(name, path, known):
    """Names of the modules that a module imports."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            wanted = [a.name.removeprefix("numbagrad.") for a in node.names if a.name.startswith("numbagrad.")]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".") if package else []
                above = above[:len(above) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            elif base.partition(".")[0] == "numbagrad":
                base = base.partition(".")[2]
            else:
                continue
            wanted = [full if (full := f"{base}.{a.name}".lstrip(".")) in known else base for a in node.names]
        else:
            continue
        yield from (w for w in wanted if w in known and w != name)


def circles(edges):
    """The modules that reach themselves."""
    found = set()
    for name, to in edges.items():
        seen, todo = set(), list(to)
        while todo:
            n = todo.pop()
            if n not in seen:
                seen.add(n)
                todo += edges[n]
        if name in seen:
            found.add(name)
    return found


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert circles(edges) == {"b", "c"}


def test_imports_run_one_way():
    known = files()
    edges = {name: set(imported(name, path, known)) for name, path in known.items()}
    assert len(edges) > 250 and "kernel.jit" in edges["op.elementwise"] and "ops.split" in edges["ops"]
    assert not circles(edges)
