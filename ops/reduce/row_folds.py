"""Sums and maxima over a stretch of memory for kernels; sums in the compute type over a block, in float64 over the blocks."""

from __future__ import annotations

import numpy as np

from numbagrad.extend import T, accumulate, inline, load
from numbagrad.kernel.jit import LANES, lanes

BLOCK = 1024


@inline
def sum_of(x, first, last):
    """The sum of x[first:last] as float64."""
    total = 0.0
    for a in range(first, last, BLOCK):
        part = T(0)
        for i in range(a, min(a + BLOCK, last)):
            part = accumulate(part, load(x[i]))
        total += part
    if total - total != 0.0:
        # A block may overflow where the mean of its elements does not.
        total = 0.0
        for i in range(first, last):
            total += np.float64(load(x[i]))
    return total


@inline
def deviations(x, first, last, center, small):
    """Sums of ``d`` and ``d ** 2`` with ``d = x[first:last] - center``; in float64 where the squares overflow or add up to
    less than ``small``."""
    total, squares = 0.0, 0.0
    for a in range(first, last, BLOCK):
        part, square = T(0), T(0)
        for i in range(a, min(a + BLOCK, last)):
            d = load(x[i]) - center
            part = accumulate(part, d)
            square = accumulate(square, d * d)
        total += part
        squares += square
    if squares - squares != 0.0 or squares < small:
        total, squares = 0.0, 0.0
        for i in range(first, last):
            e = np.float64(load(x[i])) - np.float64(center)
            total += e
            squares += e * e
    return total, squares


@inline
def moments_of(x, first, last, small):
    """(mean, sum of squared deviations from it) of x[first:last]: what the first pass has rounded off the second one finds,
    so that equal elements have no deviations."""
    n = last - first
    center = T(sum_of(x, first, last) / n)
    total, squares = deviations(x, first, last, center, small)
    return np.float64(center) + total / n, max(squares - total * total / n, 0.0)


@inline
def product_of(g, x, first, last, mean):
    """Sum of ``g * (x - mean)`` over [first, last)."""
    total = 0.0
    for a in range(first, last, BLOCK):
        part = T(0)
        for i in range(a, min(a + BLOCK, last)):
            part = accumulate(part, load(g[i]) * (load(x[i]) - mean))
        total += part
    return total


@inline
def largest_of(x, first, last):
    """The largest of x[first:last], by LANES running maxima; NaN where one is the only element."""
    s = lanes()  # (given by the kernel it would not be known to lie apart from x: softmax took 4, cross entropy 14 % longer)
    whole = last - (last - first) % LANES
    top = load(x[first])
    if whole > first:
        for k in range(LANES):
            s[k] = load(x[first + k])
        for i in range(first + LANES, whole, LANES):
            for k in range(LANES):
                v = load(x[i + k])
                s[k] = v if v > s[k] else s[k]
        for k in range(LANES):
            top = s[k] if s[k] > top else top
    for i in range(whole, last):
        v = load(x[i])
        top = v if v > top else top
    return top
