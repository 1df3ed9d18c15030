"""Imports run one way: downwards between floors, and no file imports, at its top or inside a function, one that imports it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numbagrad

ROOT = Path(numbagrad.__file__).parent
DESIGN = Path(__file__).parent.parent / "docs" / "design.md"
# From the ground up: a file imports files of its own floor and of those below.
FLOORS = ("base", "special linalg fft", "kernel", "random", "core", "dispatch", "autograd", "public", "extend",
          *("ops." + family for family in ("refusal", *numbagrad.ops.FAMILIES)), "ops", "amp",
          "cuda cpu distributed xpu mps mtia", "nn", "ao", "func", "distributions", "utils", "optim", "profiler", "sparse",
          "signal masked", "saving serialization", "overrides",
          "testing backends accelerator version jit hub onnx fx storage multiprocessing types futures quasirandom _C export",
          "_lowrank _tensor _tensor_str _utils _subclasses _higher_order_ops",
          "library", "utils.flop_counter", "utils.model_zoo", "compiler", "_dynamo", "cli", "__main__ __config__ __future__")
# What stands beside the folders: modules that PyTorch has, the face for authors, and what Python itself asks for.
TOP = {"overrides", "accelerator", "__future__", "masked", "backends", "sparse", "hub", "version", "linalg", "random",
       "serialization", "special", "fft", "storage", "multiprocessing", "types", "_C", "xpu", "mps", "mtia", "futures",
       "quasirandom", "__config__", "testing", "_lowrank", "_tensor", "_tensor_str", "_utils", "_subclasses",
       "_higher_order_ops", "export", "extend", "__init__", "__main__"}


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


def floor(name, floors=FLOORS):
    """The number of a module's floor: that of the longest name in the table that it begins with."""
    fits = [(len(entry), i) for i, row in enumerate(floors) for entry in row.split()
            if name == entry or name.startswith(entry + ".")]
    assert fits, f"{name} has no floor"
    return max(fits)[1]


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert circles(edges) == {"b", "c"}


def test_floors_are_found():
    assert [floor(n, ("a", "b.c d", "b")) for n in ("a", "a.x", "b.c.y", "d", "b.z")] == [0, 0, 1, 1, 2]


def test_imports_run_one_way():
    known = files()
    edges = {name: set(imported(name, path, known)) for name, path in known.items()}
    assert len(edges) > 250 and "kernel.jit" in edges["dispatch.elementwise_fast"]
    assert not circles(edges)
    up = [f"{name} -> {to}" for name, all_ in edges.items() for to in all_ if floor(to) > floor(name)]
    assert not up, sorted(up)


def test_a_top_level_file_is_a_module_of_pytorch():
    assert {p.stem for p in ROOT.glob("*.py")} == TOP


def test_the_catalogue_lists_its_families():
    folders = {p.name for p in Path(numbagrad.ops.__file__).parent.iterdir() if (p / "__init__.py").exists()}
    assert folders == set(numbagrad.ops.FAMILIES)


def test_design_says_the_same():
    listed = re.search(r"<!-- floors -->\n(.*?)\n<!-- end -->", DESIGN.read_text(), re.S)[1]
    rows = tuple(" ".join(re.findall(r"`([\w.]+)`", line.partition(":")[0])) for line in listed.split("\n"))
    assert rows == FLOORS
