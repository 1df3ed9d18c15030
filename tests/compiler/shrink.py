"""A smaller program with the same kind of finding."""

from __future__ import annotations

import dataclasses
import itertools
import time

from .draw import Part, Program
from .judge import judged

_count = itertools.count()


def shrunk(program, kind, found, folder, timed=False):
    """(kind, text of the finding, text) of a program without the parts that the finding does not need."""
    best = kind, found, program.text()
    going, end = True, time.monotonic() + 12
    while going:
        going = False
        for smaller in _smaller(program):
            if time.monotonic() > end:
                return best
            name = f"small{next(_count)}"
            text = smaller.text()
            now, what = judged(text, folder / f"{name}.py", name, timed)
            if now == kind:
                program, best, going = smaller, (kind, what, text), True
                break
    return best


def _smaller(program):
    if len(program.calls) > 1:
        yield Program([p for p in program.parts if p.at < len(program.calls) - 1], program.calls[:-1])
    for i, part in enumerate(program.parts):
        yield Program([p for j, p in enumerate(program.parts) if j != i], program.calls)
        if part.where == "body" and "\n" in part.text and part.text.endswith("\n" + part.text.rpartition("\n")[2]):
            inner = [line.strip() for line in part.text.splitlines() if line.startswith(" ")]
            if len(inner) == 1:
                yield _with(program, i, inner[0])
    for i in range(len(program.calls)):
        if not any(p.where == "between" and p.at == i for p in program.parts) and len(program.calls) > 1:
            moved = [dataclasses.replace(p, at=p.at - (p.at > i)) if p.where == "between" else p for p in program.parts]
            yield Program(moved, program.calls[:i] + program.calls[i + 1:])
        if program.calls[i] != "x=data(2)":
            yield Program(program.parts, [*program.calls[:i], "x=data(2)", *program.calls[i + 1:]])


def _with(program, i, text):
    parts = list(program.parts)
    parts[i] = Part("body", text, names=parts[i].names)
    return Program(parts, program.calls)
