"""Philox 4x32-10, the counter-based generator for CUDA: one call maps (counter, key) to four random 32-bit words.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
The function is plain scalar Python: it runs as it is, under ``njit`` and under ``cuda.jit``.
"""

from __future__ import annotations

import numpy as np

# Everything is held in uint64 with the upper half clear: a product of two words then needs no carry handling, nothing
# overflows in NumPy scalars, and the compilers narrow it to 32-bit multiply-high and multiply-low.
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)  # golden ratio
_WEYL_1 = np.uint64(0xBB67AE85)  # sqrt(3) - 1
ROUNDS = 10


def philox4x32(c0, c1, c2, c3, k0, k1):
    """Four uint32 words for the 128-bit counter (c0 lowest) and the 64-bit key (k0 lowest); ten rounds."""
    x0 = np.uint64(c0) & _LOW
    x1 = np.uint64(c1) & _LOW
    x2 = np.uint64(c2) & _LOW
    x3 = np.uint64(c3) & _LOW
    key0 = np.uint64(k0) & _LOW
    key1 = np.uint64(k1) & _LOW
    for _ in range(ROUNDS):
        a = x0 * _MULTIPLIER_0
        b = x2 * _MULTIPLIER_1
        x0 = (b >> _HALF) ^ x1 ^ key0
        x1 = b & _LOW
        x2 = (a >> _HALF) ^ x3 ^ key1
        x3 = a & _LOW
        key0 = (key0 + _WEYL_0) & _LOW
        key1 = (key1 + _WEYL_1) & _LOW
    return np.uint32(x0), np.uint32(x1), np.uint32(x2), np.uint32(x3)
