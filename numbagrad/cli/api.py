"""The API page, from the op registry: ``python -m numbagrad api > docs/api.md``."""

from __future__ import annotations

import importlib
import inspect
import os
import re

from .. import ops
from ..dispatch.sampling import Case, flat
from ..extend import REGISTRY
from . import documented

HEAD = """# Operations

Generated from the op registry by `python -m numbagrad api > docs/api.md`; a test compares the two. One line per operation:
the call, `Tensor.name` where it is a method too (`name_`: its in-place form), other names, what it does, and the `grad_fn`
of its result where it records one. What PyTorch documents, and which of it is here: at the end, "PyTorch's names".
"""


def page():
    """The whole page as Markdown: one section per file of ``ops/``, one line per public op."""
    families = {}
    for op in REGISTRY.values():
        if not op.private and (op.namespaces or op.method):
            families.setdefault(op.family, []).append(op)
    parts = [HEAD]
    for family in sorted(families):
        doc = inspect.getdoc(importlib.import_module(f"numbagrad.ops.{family}")) or ""
        parts.append(f"\n## {family}\n\n{_first(doc)}\n\n")
        parts += [line(op) + "\n" for op in sorted(families[family], key=lambda op: op.name.strip("_"))]
    return "".join(parts) + documented.sections()


def write_page():
    """Bring the page and the README's count of names up to date."""
    root = os.path.dirname(os.path.realpath(ops.HERE))
    with open(os.path.join(root, "docs", "api.md"), "w", encoding="utf-8") as f:
        f.write(page())
    path = os.path.join(root, "README.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(counted(text))


def counted(text):
    """The README with the count of names as it is now."""
    made, n = re.subn(r"Of\s+the\s+[\d,]+\s+names\s+that\s+PyTorch\s+[\d.]+\s+documents([^()]*?)[\d,]+\s+are\s+here"
                      r"(?:,\s+[\d,]+\s+of\s+them\s+as\s+names\s+only)?",
                      lambda found: documented.sentence(), text)
    if n != 1:
        raise ValueError("README.md has no sentence that counts PyTorch's names")
    return made


def line(op):
    """One op as an item of a list."""
    names = [f"{'torch.' if space != 'torch' else ''}{space}.{op.name}" for space in op.namespaces]
    title = names[0] if names else f"Tensor.{op.method}"
    more = names[1:]
    if op.method and names:
        more.append(f"Tensor.{op.method}")
    if op.inplace:
        more.append(f"{op.method or op.name}_")
    more += op.aliases
    also = f" (also {', '.join(f'`{n}`' for n in more)})" if more else ""
    return f"- `{title}{signature(op)}`{also}: {op.summary.rstrip(',.')}. {gradient(op)}".rstrip()


def signature(op):
    """The call as text, without annotations and private parameters."""
    parameters = inspect.signature(op.callable).parameters.values()
    kept = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if not p.name.startswith("_")]
    return str(inspect.Signature(kept))


def gradient(op):
    """The names of the nodes that the first sample with a gradient records."""
    if op.differentiable:
        for index in range(len(op.samples)):
            case = Case(op, index)
            found = [type(t.grad_fn).__name__ for t in flat(case.call(case.tensors("float32", True)))
                     if t.grad_fn is not None]
            if found:
                return ", ".join(f"`{name}`" for name in dict.fromkeys(found))
    return ""


def _first(doc):
    return " ".join(doc.split("\n\n")[0].split())


if __name__ == "__main__":
    print(page(), end="")
