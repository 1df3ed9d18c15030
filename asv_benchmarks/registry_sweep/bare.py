"""The floor of a large case: a loop of ours that reads and writes as many bytes, and computes nothing."""

from __future__ import annotations

import numpy as np

from numbagrad.core import storage
from numbagrad.kernel.jit import kernel

BLOCK = 4096  # words of 8 bytes that one thread takes at a time


@kernel
def pass_over(x: "*i8", y: "*i8", reads: int, writes: int, block: int, start: int, stop: int):
    """Read ``reads`` words of int64 x and write ``writes`` of int64 y, in blocks start to stop of ``block`` words."""
    first, last, both, seen = start * block, stop * block, min(reads, writes), 0
    for i in range(first, min(last, both)):
        y[i] = x[i]
    for i in range(max(first, both), min(last, writes)):
        y[i] = 1
    for i in range(max(first, both), min(last, reads)):
        seen |= x[i]
    if seen != 0:  # (x holds zeros: the loop cannot be left out, and this is never done)
        y[0] = seen


def loop(read, written):
    """A function that passes over so many bytes."""
    reads, writes = read // 8, written // 8
    x, y = np.zeros(reads + 1, np.int64), np.zeros(writes + 1, np.int64)
    given = storage.address(x), storage.address(y), reads, writes, BLOCK
    blocks = -(-max(reads, writes) // BLOCK)

    def run(x=x, y=y):  # (which have to stay)
        pass_over.run(storage.F4, given, blocks, read + written)
    return run
