"""Scratch memory of a planned call: one piece, in which buffers that are used one after the other have the same place."""

from __future__ import annotations

from .recorder import Address

ALIGNED = 64  # bytes


def layout(recorder, numbers):
    """({number of a buffer: its place}, bytes of all) for those of ``numbers`` that a launch uses.

    Each lies at the lowest place that is free from its first launch to its last, as if it were freed there."""
    places, used, most = {}, [], 0  # used: (place, end, last launch)
    for i, (first, last) in sorted(lives(recorder, numbers).items(), key=lambda item: item[1]):
        used = sorted([u for u in used if u[2] >= first])
        at, size = 0, -(-recorder.buffers[i].nbytes // ALIGNED) * ALIGNED
        for place, end, _ in used:
            if at + size <= place:
                break
            at = max(at, end)
        used.append((at, at + size, last))
        places[i], most = at, max(most, at + size)
    return places, most


def lives(recorder, numbers):
    """{number of a buffer: [first, last launch that uses it]}"""
    found = {}
    for step, (entry, values) in enumerate(recorder.steps):
        if entry is None:
            continue
        for v in values:
            for a in v if v.__class__ is tuple else (v,):  # (the words of a table)
                if a.__class__ is Address and a.index in numbers:
                    found.setdefault(a.index, [step, step])[1] = step
    return found
