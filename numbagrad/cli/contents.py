"""The index of the catalogue, ``ops/contents.py``: which file has which names. ``python -m numbagrad contents`` writes it."""

from __future__ import annotations

import os
import textwrap

from .. import ops
from ..core.registry import REGISTRY, name_of
from ..public.namespace import places

PATH = os.path.join(ops.HERE, "contents.py")
HEAD = '''"""Which file has which ops ("ops": all names in the registry), and where users find them: see `ops/__init__.py`.

Written by `python -m numbagrad contents`."""

CONTENTS = {
'''


def contents():
    """{file of the catalogue: {place: names}} of what its run declares."""
    REGISTRY.modules[:] = ops.modules()  # those that are there, whatever the index says
    found = {module: {} for module in REGISTRY.modules}
    for name, op in REGISTRY.items():
        if op.module in found:
            found[op.module].setdefault("ops", set()).add(name)
            for place, attribute, _ in places(op, op.callable):
                found[op.module].setdefault(name_of(place), set()).add(attribute)
    for module, place, names in REGISTRY.attached:
        found[module].setdefault(name_of(place), set()).update(names)
        properties = {n for n, value in names.items() if isinstance(value, property)}
        if properties:
            found[module].setdefault("properties", set()).update(properties)
    return {module.removeprefix(ops.__name__ + "."): {place: " ".join(sorted(names)) for place, names in sorted(there.items())}
            for module, there in found.items()}


def text(found):
    """The file."""
    lines = [HEAD]
    for module, there in found.items():
        lines.append(f'    "{module}": {{\n')
        for place, names in there.items():
            parts = [f'            "{part}"\n' for part in textwrap.wrap(names, 110, drop_whitespace=False)]
            lines += [f'        "{place}":\n', *parts[:-1], parts[-1][:-1] + ",\n"]
        lines.append("    },\n")
    return "".join([*lines, "}\n"])


def write():
    """Bring the index up to date."""
    with open(PATH, "w", encoding="utf-8") as f:
        f.write(text(contents()))
