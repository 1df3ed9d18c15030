"""What transforms of a length need beside the numbers: radices, factors, places of results; and where their lines lie."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from numbagrad.core import storage
from numbagrad.kernel.fourier import circle
from numbagrad.kernel.lanes import SIZES, lanes_of
from numbagrad.kernel.threads import SERIAL_BELOW

from . import kernels as words

LARGEST = 1 << 14  # points of a line in working memory
LONGEST = 1 << 20  # points of a line that is cut into columns and rows
PRIME = 256  # the largest prime factor
NEAR = 1 << 20  # bytes of working memory that are in the second-level cache
# What points of columns and rows take of the time of points of whole lines; what one more call takes.
EXTRA, CALL = 0.8, 300
CALLS = 64  # for lines, at most
OWN = 2, 3, 4, 5, 7, 8  # radices with a butterfly of their own


@lru_cache(1024)
def radices(n):
    """Radices whose product is ``n``, those without a butterfly of their own last."""
    found, twos = [], 0
    while n % 2 == 0:
        n, twos = n // 2, twos + 1
    if twos % 3 == 1 and twos > 1:
        found, twos = [4, 4], twos - 4
    found = [8] * (twos // 3) + found + [4] * (twos % 3 == 2) + [2] * (twos % 3 == 1)
    p = 3
    while n > 1:
        if p * p > n:
            p = n
        while n % p == 0:
            found.append(p)
            n //= p
        p += 2
    return tuple(found)


def interleaved(c, s):
    return np.stack([c, s], -1).ravel()


class Length:
    """What is needed for complex transforms of ``points``, and for the real ones that they are half of."""

    __slots__ = ("array", "factors", "places", "reals", "steps")

    def __init__(self, code, points):
        parts, self.steps, size, length = [], [], 0, points
        places, inner, outer = np.zeros(points, np.int64), points, 1
        for radix in radices(points):
            m = length // radix
            c, s = circle(np.arange(m)[:, None] * np.arange(1, radix), length)
            waves = []
            if radix not in OWN:
                half = radix // 2
                for p in range(0, half, 4):
                    pq = np.arange(1, half + 1)[:, None] * np.arange(p + 1, min(p + 4, half) + 1)
                    waves.append(interleaved(*circle(pq, radix)))
            parts += [interleaved(c, -s), *waves]
            first, size = size, size + 2 * c.size
            self.steps += [radix, first, size]
            size += sum([len(w) for w in waves])
            inner //= radix
            places += np.arange(points) // outer % radix * inner
            outer, length = outer * radix, m
        self.places, self.reals = places, size
        parts.append(interleaved(*circle(np.arange(points // 2 + 1), 2 * points)))
        self.array = np.concatenate(parts).astype(code)
        self.factors = storage.table(self.array)


@lru_cache(64)
def length(code, points):
    return Length(code, points)


def allowed(n):
    """Whether the kernel has the radices of a length."""
    return max(radices(n), default=1) <= PRIME


def calls(code, lines, cut):
    """How often columns and rows are transformed: at once, if no vector is of two lines."""
    return lines if cut[0] % lanes_of(code) or cut[1] % lanes_of(code) else 1


@lru_cache(4096)
def way(code, lines, inner, points, whole=True):
    """How ``points`` of so many lines are transformed: () all at once, (a, b) first by columns of a and then by rows of b
    numbers, None if the kernel does not. Only a ``whole`` line whose points lie in a row has columns.

    A line alone would leave the other elements of vectors without work, very long ones the caches."""
    lanes = lanes_of(code)
    best, found = 1 << 62, None
    if points <= LARGEST and allowed(points):
        best, found = -(-lines // lanes) * lanes * points, ()
        best *= 1 if 2 * lanes * SIZES[code] * points <= NEAR else 2
    if inner == 1 and whole and points <= LONGEST and allowed(points):
        for a in range(4, int(points ** 0.5) + 1):
            for rows, columns in ((a, points // a), (points // a, a)) if points % a == 0 else ():
                apart = calls(code, lines, (rows, columns))
                if max(a, points // a) <= LARGEST and apart <= CALLS:
                    cost = lines * (-(-columns // lanes) * rows + -(-rows // lanes) * columns) * lanes * EXTRA + CALL * apart
                    if cost <= best:  # (the most even of equals)
                        best, found = cost, (rows, columns)
    return found


class Factors:
    """Complex numbers as a table."""

    __slots__ = ("address", "array")

    def __init__(self, code, c, s):
        self.array = interleaved(c, s).astype(code)
        self.address = storage.table(self.array)


@lru_cache(4)
def twists(code, rows, columns):
    """The factors between columns and rows."""
    c, s = circle(np.arange(rows)[:, None] * np.arange(columns), rows * columns)
    return Factors(code, c, -s)


@lru_cache(4)
def halves(code, points):
    """Cosines and sines of the first quarter of a circle of 2 ``points``."""
    return Factors(code, *circle(np.arange(points // 2 + 1), 2 * points))


class Plan:
    """The table of transforms of lines, and what else they need."""

    __slots__ = ("array", "factors", "length", "room", "table", "units", "work")

    def __init__(self, code, points, geometry, known, threads):
        """``geometry``: lines, lines of a group, strides of groups, lines and points from where and to where; ``known``: other
        words by number."""
        own = length(code, points)
        lanes, lines = lanes_of(code), geometry[0]
        radix = max(own.steps[::3], default=1)
        room = max(points + 1, known[words.IN]) + (0 if radix in OWN else radix) + lanes
        self.room = 2 * room * lanes
        bundles = -(-lines // lanes)
        self.work = 4 * bundles * lanes * points
        self.units = max(1, min(threads, bundles, self.work // SERIAL_BELOW["elementwise"]))
        table = np.zeros(words.FIRST, np.int64)
        table[:8] = geometry
        table[[words.BUNDLES, words.UNITS, words.ROOM, words.POINTS, words.STEPS]] = (
            bundles, self.units, self.room, points, len(own.steps) // 3)
        places = words.FIRST + len(own.steps)
        table[words.PLACES], table[words.ORDER], table[words.REALS] = places, places + points + 1, own.reals
        for word, value in known.items():
            table[word] = value
        ends = np.append(own.places, points)
        order = 2 * ends
        out = known[words.OUT]
        if out > points + 1:  # the second half of a real line's spectrum
            order = np.append(order, order[points - 1:0:-1] + 1)
        order = np.append(order[:out], np.zeros(lanes, np.int64))
        self.array = np.concatenate([table, own.steps, ends, order]).astype(np.int64)
        self.table, self.factors, self.length = storage.table(self.array), own.factors, own


def lines_of(shape, d, n, parts):
    """(lines of a group, strides of groups, of lines and of points) along dimension ``d`` of row-major memory, which has ``n``
    points of ``parts`` numbers there."""
    inner = 1
    for s in shape[d + 1:]:
        inner *= s
    return inner, n * inner * parts, parts if inner > 1 else 0, inner * parts


@lru_cache(1024)
def along(code, sort, shape, d, n, back, threads):
    """The plan of transforms along one dimension: ``sort`` is "c2c", "r2c", "whole r2c", "c2r" or "whole c2r"; ``n`` points,
    ``back`` whether the complex transforms are those of the other direction."""
    x_parts, y_parts = 1 if "r2c" in sort else 2, 1 if "c2r" in sort else 2
    half, even = n // 2 + 1, n % 2 == 0
    points = n // 2 if even and sort != "c2c" else n
    x_points, y_points = half if sort == "c2r" else n, half if sort == "r2c" else n
    x, y = lines_of(shape, d, x_points, x_parts), lines_of(shape, d, y_points, y_parts)
    lines = x[0]
    for s in shape[:d]:
        lines *= s
    before = after = words.NOTHING
    if x_parts == 1:
        before, after = (words.PAIRED, words.HERMITIAN) if even else (words.SINGLE, words.SINGLE)
    elif y_parts == 1 and even:
        before, after = words.WHOLE if sort == "whole c2r" else words.HERMITIAN, words.PAIRED
    elif sort == "c2r":
        before = words.SINGLE
    known = {words.IN: x_points, words.OUT: points if after == words.PAIRED else y_points, words.X_PARTS: x_parts,
             words.Y_PARTS: y_parts, words.SWAP: int(back), words.BEFORE: before, words.AFTER: after}
    return Plan(code, points, (lines, x[0], *x[1:], *y[1:]), known, threads)


@lru_cache(1024)
def columns_of(code, lines, rows, columns, back, threads):
    """The plan of the columns of lines that are rows and columns, with the factors between."""
    n = 2 * rows * columns
    known = {words.IN: rows, words.OUT: rows, words.X_PARTS: 2, words.Y_PARTS: 2, words.SWAP: int(back), words.TWIST: 1,
             words.TWIST_LINE: columns}
    return Plan(code, rows, (lines * columns, columns, n, 2, 2 * columns, n, 2, 2 * columns), known, threads)


@lru_cache(1024)
def rows_of(code, lines, rows, columns, back, threads):
    """The plan of what ``columns_of`` left, into places in the order of results."""
    n = 2 * rows * columns
    known = {words.IN: columns, words.OUT: columns, words.X_PARTS: 2, words.Y_PARTS: 2, words.SWAP: int(back)}
    return Plan(code, columns, (lines * rows, rows, n, 2 * columns, 2, n, 2, 2 * rows), known, threads)
