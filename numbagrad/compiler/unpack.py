"""Taking a call's arguments apart in generated code: the structure that a variant was captured with, checked as it goes."""

from __future__ import annotations

import dataclasses

from .places import alike
from .structure import MISS, Record

SLOW = "        return self.slow(args, kwargs)"


def unpacked(structure, env):
    """Lines that name the tensors (a0, a1 ...) and changing numbers (n0 ...) in ``args`` and ``kwargs``, and go the slow way
    where anything else is not as in ``structure``; None where that cannot be written."""
    taken = _Taken(env)
    _, args, kwargs = structure
    lines = [f"    if len(args) != {len(args) - 1}:", SLOW]
    if len(kwargs) == 1:
        lines += ["    if kwargs:", SLOW]
    for i, part in enumerate(args[1:]):
        lines += taken.part(part, f"args[{i}]")
    if len(kwargs) > 1:
        lines += taken.keys([k for k, _ in kwargs[1:]], "kwargs")
        for k, part in kwargs[1:]:
            lines += taken.part(part, f"kwargs[{k!r}]")
    return None if taken.impossible else lines


class _Taken:
    def __init__(self, env):
        self.env, self.tensors, self.numbers, self.count, self.impossible = env, 0, 0, 0, False

    def name(self, value):
        """A name in the generated code for a value of now."""
        self.count += 1
        self.env[f"u{self.count}"] = value
        return f"u{self.count}"

    def keys(self, keys, at):
        return [f"    if [*{at}] != {self.name(keys)}:", SLOW]

    def part(self, s, at):
        """Lines for one part of a structure, which the expression ``at`` gives."""
        if s == "*":
            self.tensors += 1
            return [f"    a{self.tensors - 1} = {at}"]
        kind = s[0]
        if kind == "#":
            self.numbers += 1
            return [f"    n{self.numbers - 1} = {at}"]
        here = f"x{self.count}"
        self.count += 1
        lines = [f"    {here} = {at}"]
        if kind == "object":
            return [*lines, f"    if {here} is not {self.name(s[1].value)}:", SLOW]
        if isinstance(kind, str):
            self.env["alike"] = alike
            c = self.name(s[1].value)
            return [*lines, f"    if {here} is not {c} and not alike({here}, {c}):", SLOW]
        cls = s[1] if kind is Record else kind
        lines += [f"    if {here}.__class__ is not {self.name(cls)}:", SLOW]
        if kind is Record:
            for f, part in zip(dataclasses.fields(cls), s[2:]):
                lines += self.part(part, f"{here}.{f.name}")
                self.impossible |= part[0] == "object" and part[1].value is MISS  # a field without a value
        elif issubclass(kind, dict):
            if kind is not dict:
                self.impossible = True
            lines += self.keys([k for k, _ in s[1:]], here)
            for k, part in s[1:]:
                lines += self.part(part, f"{here}[{k!r}]" if isinstance(k, (str, int)) else f"{here}[{self.name(k)}]")
        else:
            lines += [f"    if len({here}) != {len(s) - 1}:", SLOW]
            for i, part in enumerate(s[1:]):
                lines += self.part(part, f"{here}[{i}]")
        return lines
