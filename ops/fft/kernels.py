"""The kernel of all Fourier transforms: bundles of lines, each by butterflies of mixed radices in their places.

A step of radix r makes of each block of points r blocks that are shorter by r, so that results lie in an order that a table
tells. Lines go in and out as they lie, points in a row or lines side by side."""

from __future__ import annotations

from numbagrad.extend import T, inline, kernel
from numbagrad.kernel.fourier import (
    butterfly_2,
    butterfly_3,
    butterfly_4,
    butterfly_5,
    butterfly_7,
    butterfly_8,
    cleared,
    columns_in,
    columns_out,
    ends,
    folded,
    halves,
    joined,
    last_2,
    last_3,
    last_4,
    last_5,
    last_7,
    last_8,
    results_1,
    results_2,
    results_3,
    results_4,
    row_in,
    row_out,
    scaled,
    some_columns_in,
    some_columns_out,
    some_turned_in,
    some_turned_out,
    split,
    start_of,
    turned_in,
    turned_out,
    turned_reals_out,
    twisted,
)
from numbagrad.kernel.lanes import lanes

# Words of a transform's table (``tables.py``): lines; those of a group; strides of groups, of lines in one and of points, where
# they come from and where they go; bundles; units that do them, and working memory of each; points of the complex transform,
# its steps; where places and the order of results begin; points that come and that go, numbers of one; whether parts change
# places; what is done before and after the steps; where factors of real numbers, of a longer transform begin; first step.
(LINES, GROUP, X_GROUP, X_LINE, X_POINT, Y_GROUP, Y_LINE, Y_POINT, BUNDLES, UNITS, ROOM, POINTS, STEPS, PLACES, ORDER, IN, OUT,
 X_PARTS, Y_PARTS, SWAP, BEFORE, AFTER, REALS, TWIST, TWIST_LINE, FIRST) = range(26)
STEP = 3  # words of a step: radix, where its factors begin, where the waves of an odd one do
NOTHING, PAIRED, HERMITIAN, WHOLE, SINGLE = range(5)  # before and after


@inline
def fetched(x, work, table, w, first, held):
    """The lines x from ``first`` on into work from ``w`` on; table (at least FIRST,): int64."""
    n = lanes()
    parts, group, step, count = table[X_PARTS], table[GROUP], table[X_POINT], table[IN]
    spread = 2 * n // parts  # from number to number
    if table[BEFORE] == PAIRED:
        spread = n
    g = first // group
    i = first - g * group
    at = g * table[X_GROUP] + i * table[X_LINE]
    line = table[X_LINE] if group > 1 else table[X_GROUP]
    if parts == 1 and table[BEFORE] == SINGLE:
        for k in range(count):
            cleared(work, w + (2 * k + 1) * n)
    if step == parts:
        for k in range(0, count * parts, n):
            to = w + k * spread
            if held == n and k + n <= count * parts:
                turned_in(x, at + k, line, work, to, spread, held, n)
            else:
                some_turned_in(x, at + k, line, work, to, spread, held, count * parts - k)
    elif held == n and parts == 2 and i + held <= group:
        for k in range(count):
            columns_in(x, at + k * step, work, w + 2 * k * n)
    else:
        low = 0
        while low < held:  # the neighbours of each group
            g = (first + low) // group
            i = first + low - g * group
            at = g * table[X_GROUP] + (i - low) * parts
            high = min(held, low + group - i)
            if parts == 1:
                for k in range(count):
                    row_in(x, at + k * step, work, w + k * spread, low, high)
            else:
                for k in range(count):
                    some_columns_in(x, at + k * step, work, w + 2 * k * n, low, high)
            low = high


@inline
def stored(work, y, table, w, first, held, re, im):
    """Points of work, from ``w`` on, their parts times re and im, as the lines y from ``first`` on; table (at least FIRST,):
    int64, with their order."""
    n = lanes()
    parts, group, step, count, order = table[Y_PARTS], table[GROUP], table[Y_POINT], table[OUT], table[ORDER]
    g = first // group
    i = first - g * group
    at = g * table[Y_GROUP] + i * table[Y_LINE]
    line = table[Y_LINE] if group > 1 else table[Y_GROUP]
    paired = table[AFTER] == PAIRED  # the parts of a point are neighbouring real numbers
    numbers = 2 if paired else parts
    if step == parts:
        if numbers == 1:
            for k in range(0, count, n):
                turned_reals_out(work, w, table, order + k, y, at + k, line, re, im, held, count - k)
        else:
            for k in range(0, 2 * count, n):
                if held == n and k + n <= 2 * count:
                    turned_out(work, w, table, order + k // 2, y, at + k, line, re, im, held, n)
                else:
                    some_turned_out(work, w, table, order + k // 2, y, at + k, line, re, im, held, 2 * count - k)
    elif held == n and numbers == 2 and not paired and i + held <= group:
        for k in range(count):
            word = table[order + k]
            columns_out(work, w + (word >> 1) * 2 * n, y, at + k * step, re, -im if word & 1 else im, 0, n)
    else:
        low = 0
        while low < held:
            g = (first + low) // group
            i = first + low - g * group
            at = g * table[Y_GROUP] + (i - low) * parts
            high = min(held, low + group - i)
            for k in range(count):
                word = table[order + k]
                place = w + (word >> 1) * 2 * n
                if numbers == 1:
                    row_out(work, place, y, at + k * step, re, low, high)
                elif paired:
                    row_out(work, place, y, at + 2 * k * step, re, low, high)
                    row_out(work, place + n, y, at + (2 * k + 1) * step, im, low, high)
                else:
                    some_columns_out(work, place, y, at + k * step, re, -im if word & 1 else im, low, high)
            low = high


@inline
def odd_radix(work, factors, at, swap, step, radix, first, waves, room):
    """The transform of points of work for a radix without a butterfly of its own; factors (of results, waves)."""
    count = radix // 2
    halves(work, at, swap, step, count, room)
    p = 0
    while p + 4 <= count:
        results_4(work, at, swap, step, count, room, p, factors, waves + 2 * count * p, first)
        p += 4
    if count - p == 3:
        results_3(work, at, swap, step, count, room, p, factors, waves + 2 * count * p, first)
    elif count - p == 2:
        results_2(work, at, swap, step, count, room, p, factors, waves + 2 * count * p, first)
    elif count - p == 1:
        results_1(work, at, swap, step, count, room, p, factors, waves + 2 * count * p, first)


@inline
def steps(work, table, factors, w):
    """All steps of the complex transforms of the lines in work; table (FIRST and three words for each step,): int64, factors as
    it says."""
    n = lanes()
    points, swap = table[POINTS], table[SWAP] * n
    room = w + (points + 1) * 2 * n
    length = points
    for s in range(table[STEPS]):
        radix, own, waves = table[FIRST + STEP * s], table[FIRST + STEP * s + 1], table[FIRST + STEP * s + 2]
        m = length // radix
        leg, more = 2 * n * m, 2 * (radix - 1)
        for block in range(w, w + 2 * n * points, 2 * n * length):
            if m == 1:
                if radix == 8:
                    last_8(work, block, swap, leg, factors, own)
                elif radix == 4:
                    last_4(work, block, swap, leg, factors, own)
                elif radix == 3:
                    last_3(work, block, swap, leg, factors, own)
                elif radix == 2:
                    last_2(work, block, swap, leg, factors, own)
                elif radix == 5:
                    last_5(work, block, swap, leg, factors, own)
                elif radix == 7:
                    last_7(work, block, swap, leg, factors, own)
                else:
                    odd_radix(work, factors, block, swap, leg, radix, own, waves, room)
            elif radix == 8:
                for j in range(m):
                    butterfly_8(work, block + 2 * n * j, swap, leg, factors, own + more * j)
            elif radix == 4:
                for j in range(m):
                    butterfly_4(work, block + 2 * n * j, swap, leg, factors, own + more * j)
            elif radix == 3:
                for j in range(m):
                    butterfly_3(work, block + 2 * n * j, swap, leg, factors, own + more * j)
            elif radix == 2:
                for j in range(m):
                    butterfly_2(work, block + 2 * n * j, swap, leg, factors, own + more * j)
            elif radix == 5:
                for j in range(m):
                    butterfly_5(work, block + 2 * n * j, swap, leg, factors, own + more * j)
            elif radix == 7:
                for j in range(m):
                    butterfly_7(work, block + 2 * n * j, swap, leg, factors, own + more * j)
            else:
                for j in range(m):
                    odd_radix(work, factors, block + 2 * n * j, swap, leg, radix, own + more * j, waves, room)
        length = m


@inline
def prepared(work, table, factors, w, weight, sign):
    """What has to be done to the first half of a spectrum, or to a whole one, in work before its real numbers are made; table
    (FIRST,): int64, factors with those of real numbers. ``weight`` is half of what a number counts for that stands for two."""
    n = lanes()
    points, before, reals = table[POINTS], table[BEFORE], table[REALS]
    if before == SINGLE:  # an odd length: the others are zeros, as only real parts are wanted
        for k in range(1, table[IN]):
            scaled(work, w + 2 * n * k, weight * T(2), weight * T(2))
        scaled(work, w, T(1), T(0))
        for k in range(2 * table[IN], 2 * points):
            cleared(work, w + n * k)
    else:
        if before == WHOLE:
            for k in range(1, points):
                folded(work, w + 2 * n * k, w + 2 * n * (2 * points - k))
        start_of(work, w, w + 2 * n * points)
        for k in range(1, points // 2 + 1):
            c, s = factors[reals + 2 * k], factors[reals + 2 * k + 1]
            joined(work, w + 2 * n * k, w + 2 * n * (points - k), c, s, weight, sign)


@inline
def spectrum(work, table, factors, w, weight):
    """The spectrum of real lines in work of the transform of their even and odd elements; of an odd length, weights alone;
    table (FIRST,): int64, factors with those of real numbers. ``weight`` is half of what a number counts for that is a pair."""
    n = lanes()
    points, places, reals = table[POINTS], table[PLACES], table[REALS]
    if table[AFTER] == SINGLE:
        if weight != T(0.5):
            for k in range(1, table[OUT]):
                scaled(work, w + table[places + k] * 2 * n, weight * T(2), weight * T(2))
    else:
        ends(work, w, w + 2 * n * points)
        for k in range(1, points // 2 + 1):
            split(work, w + table[places + k] * 2 * n, w + table[places + points - k] * 2 * n, factors[reals + 2 * k],
                  factors[reals + 2 * k + 1], weight)


@kernel
def transform_lines(x: "*T", y: "*T", work: "*T", table: "*i8", factors: "*T", twists: "*T", scale: float, imaginary: float,
                    weight: float, sign: float, start: int, stop: int):
    """Units start to stop of the transforms of lines x into y, which may be x, times ``scale`` and ``imaginary``, by way of
    work (units, ROOM); table: int64, see above; factors of its steps and of real numbers; twists (POINTS, lines): complex
    numbers for columns of longer lines."""
    n = lanes()
    for unit in range(start, stop):
        w = unit * table[ROOM]
        for bundle in range(table[BUNDLES] * unit // table[UNITS], table[BUNDLES] * (unit + 1) // table[UNITS]):
            first = bundle * n
            held = min(n, table[LINES] - first)
            fetched(x, work, table, w, first, held)
            if table[BEFORE] >= HERMITIAN and table[Y_PARTS] == 1:
                prepared(work, table, factors, w, T(weight), T(sign))
            steps(work, table, factors, w)
            if table[X_PARTS] == 1:
                spectrum(work, table, factors, w, T(weight))
            if table[TWIST] != 0:
                at = first % table[GROUP]
                places, swap, line = table[PLACES], table[SWAP] * n, table[TWIST_LINE]
                for k in range(table[POINTS]):
                    twisted(work, w + table[places + k] * 2 * n, swap, twists, 2 * (k * line + at), held)
            stored(work, y, table, w, first, held, T(scale), T(imaginary))


CHUNK = 512  # points of an item


@kernel
def real_spectrum(z: "*T", y: "*T", factors: "*T", points: int, row: int, scale: float, imaginary: float, weight: float,
                  start: int, stop: int):
    """The spectra y (lines, row), complex, of real lines of which z (lines, points), complex, are the transforms of even and
    odd elements: points + 1 or all 2 points, with the cosines and sines in factors. An item is a chunk of a line. ``weight`` is
    half of what a number counts for that stands for two."""
    chunks = points // 2 // CHUNK + 1
    re, im, w = T(scale), T(imaginary), T(weight)
    for item in range(start, stop):
        line = item // chunks
        low = (item - line * chunks) * CHUNK
        high = min(low + CHUNK, points // 2 + 1)
        a, b = 2 * line * points, 2 * line * row
        if low == 0:
            y[b], y[b + 1] = (z[a] + z[a + 1]) * re, T(0)
            y[b + 2 * points], y[b + 2 * points + 1] = (z[a] - z[a + 1]) * re, T(0)
        for k in range(max(low, 1), high):
            j = points - k
            xr, xi, yr, yi = z[a + 2 * k] * w, z[a + 2 * k + 1] * w, z[a + 2 * j] * w, -z[a + 2 * j + 1] * w
            er, ei, dr, di = xr + yr, xi + yi, xr - yr, xi - yi
            c, s = factors[2 * k], factors[2 * k + 1]
            p, q = di * c - dr * s, -dr * c - di * s
            y[b + 2 * k], y[b + 2 * k + 1] = (er + p) * re, (ei + q) * im
            y[b + 2 * j], y[b + 2 * j + 1] = (er - p) * re, (q - ei) * im
            if row > points + 1:
                y[b + 4 * points - 2 * k], y[b + 4 * points - 2 * k + 1] = (er + p) * re, -(ei + q) * im
                y[b + 4 * points - 2 * j], y[b + 4 * points - 2 * j + 1] = (er - p) * re, -(q - ei) * im


@kernel
def spectrum_parts(x: "*T", z: "*T", factors: "*T", points: int, row: int, weight: float, sign: float, start: int, stop: int):
    """The reverse of ``real_spectrum``: z (lines, points), complex, whose transforms are even and odd elements, of spectra x
    (lines, row), complex, imaginary parts times ``sign``, with the cosines and sines in factors. Of all 2 points real parts are
    wanted. An item is a chunk of a line."""
    chunks = points // 2 // CHUNK + 1
    w, sign_ = T(weight), T(weight) * T(sign)
    for item in range(start, stop):
        line = item // chunks
        low = (item - line * chunks) * CHUNK
        high = min(low + CHUNK, points // 2 + 1)
        a, b = 2 * line * row, 2 * line * points
        if low == 0:
            z[b], z[b + 1] = x[a] + x[a + 2 * points], x[a] - x[a + 2 * points]
        for k in range(max(low, 1), high):
            j = points - k
            xr, xi, yr, yi = x[a + 2 * k], x[a + 2 * k + 1], x[a + 2 * j], x[a + 2 * j + 1]
            if row > points + 1:
                half, p, q = T(0.5), a + 2 * (2 * points - k), a + 2 * (2 * points - j)
                xr, xi = xr * half + x[p] * half, xi * half - x[p + 1] * half
                yr, yi = yr * half + x[q] * half, yi * half - x[q + 1] * half
            xr, xi, yr, yi = xr * w, xi * sign_, yr * w, -yi * sign_
            er, ei, dr, di = xr + yr, xi + yi, xr - yr, xi - yi
            c, s = factors[2 * k], factors[2 * k + 1]
            p_, q_ = dr * c - di * s, dr * s + di * c
            z[b + 2 * k], z[b + 2 * k + 1] = er - q_, ei + p_
            z[b + 2 * j], z[b + 2 * j + 1] = er + q_, p_ - ei
