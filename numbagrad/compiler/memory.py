"""The arena: every temporary gets a slot for the calls between its first and its last use."""

from __future__ import annotations

import threading

import numpy as np

from .ir import TEMPORARY

ALIGN = 64
# Arrays of equal size at distances of whole pages fall into the same sets of the first-level cache: a loop over a dozen of
# them would evict its own operands. A few cache lines between them spread them out.
PAGE, SKEW = 4096, 5 * 64


class Arena:
    """Memory that the programs of one function share; they run one at a time, under its lock.

    ``atomic`` is that of programs which run one at a time because they keep the GIL: others may be in their midst meanwhile."""

    def __init__(self, atomic=True):
        self.lock, self.array = threading.Lock(), np.empty(0, np.uint8)
        self.atomic = Arena(False) if atomic else None

    def take(self, n):
        """``n`` bytes, the same ones as for other programs where there are as many."""
        if self.array.size < n:
            # Sizes that grow step by step leave few arrays behind.
            self.array = np.empty(max(n, self.array.size * 3 // 2), np.uint8)
        return self.array[:n]


def plan(lifetimes):
    """(bytes, {buffer: offset}) for {buffer: (first call, last call)}: largest first, each at the lowest free place."""
    placed, offsets, top = [], {}, 0
    order = sorted(lifetimes.items(), key=lambda e: (-e[0].nbytes, e[1]))
    for b, (first, last) in order:
        size = max(ALIGN, -(-b.nbytes // ALIGN) * ALIGN)
        if size >= PAGE:
            size += SKEW
        at = 0
        for start, end, f, q in placed:
            if f <= last and first <= q:
                if at + size <= start:
                    break
                at = max(at, end)
        placed.append((at, at + size, first, last))
        placed.sort()
        offsets[b] = at
        top = max(top, at + size)
    return top, offsets


def peak(spans):
    """Most bytes alive at once."""
    events = []
    for b, (first, last) in spans.items():
        events += [(first, b.nbytes), (last + 1, -b.nbytes)]
    most = now = 0
    for _, change in sorted(events):
        now += change
        most = max(most, now)
    return most


def lifetimes(calls):
    """{temporary: (first, last)} over the positions of the calls that touch it."""
    found = {}
    for i, call in enumerate(calls):
        for b in call.buffers():
            if b.role == TEMPORARY:
                first, _ = found.get(b, (i, i))
                found[b] = (first, i)
    return found
