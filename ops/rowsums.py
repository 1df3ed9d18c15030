"""Sums over a stretch of memory for kernels: in the compute type over a block, in float64 over the blocks."""

from __future__ import annotations

from numbagrad.kernel.jit import T, accumulate, inline, load

BLOCK = 1024


@inline
def sum_of(x, first, last):
    total = 0.0
    for a in range(first, last, BLOCK):
        part = T(0)
        for i in range(a, min(a + BLOCK, last)):
            part = accumulate(part, load(x[i]))
        total += part
    return total


@inline
def squares_of(x, first, last, mean):
    """Sum of ``(x - mean) ** 2``."""
    total = 0.0
    for a in range(first, last, BLOCK):
        part = T(0)
        for i in range(a, min(a + BLOCK, last)):
            d = load(x[i]) - mean
            part = accumulate(part, d * d)
        total += part
    return total


@inline
def product_of(g, x, first, last, mean):
    """Sum of ``g * (x - mean)``."""
    total = 0.0
    for a in range(first, last, BLOCK):
        part = T(0)
        for i in range(a, min(a + BLOCK, last)):
            part = accumulate(part, load(g[i]) * (load(x[i]) - mean))
        total += part
    return total
