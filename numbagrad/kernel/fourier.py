"""Pieces of Fourier transforms of as many lines at once as a vector has elements.

Working memory holds the points of a bundle of lines: two vectors each, of real and of imaginary parts, one element for each
line. So every step of a transform is arithmetic of whole vectors whatever the length, with its factors spread over them. The
pieces move lines in and out (turned as squares of a vector's side, where the points of a line lie in a row) and do the
butterflies, all reads of one before its writes: LLVM's own vectoriser would have to ask which of the strided legs overlap."""

from __future__ import annotations

import math

import numpy as np

from .lanes import Complex, Number, Piece

EXACT = 1 << 16  # numbers up to which roundings of angles are avoided
PI = np.longdouble("3.14159265358979323846264338327950288")


def circle(k, n):
    """(cosines, sines) of 2 pi k / n for whole k, of angles up to an eighth of the circle."""
    k = 8 * (np.asarray(k, np.int64) % n)
    octant = k // n
    small = np.where(octant % 2 == 0, k - octant * n, k - (octant + 1) * n)
    small = small * (PI / 4) / n if small.size <= EXACT else small * (np.pi / 4 / n)
    quarter, c, s = (octant + 1) // 2 % 4, np.cos(small).astype(np.float64), np.sin(small).astype(np.float64)
    return np.choose(quarter, (c, -s, -c, s)), np.choose(quarter, (s, c, -s, -c))


def transformed(pen, x):
    """The transform of a few points."""
    n = len(x)
    if n == 2:
        return [x[0] + x[1], x[0] - x[1]]
    if n == 4:
        (a, b), (c, d) = transformed(pen, x[::2]), transformed(pen, x[1::2])
        return [a + c, Complex(b.re + d.im, b.im - d.re), a - c, Complex(b.re - d.im, b.im + d.re)]
    if n == 8:
        even, odd = transformed(pen, x[::2]), transformed(pen, x[1::2])
        half = pen.constant(math.sqrt(0.5))
        a, b = odd[1], odd[3]
        odd = [odd[0], Complex(a.re + a.im, a.im - a.re) * half, odd[2].turned(),
               Complex(b.im - b.re, -(b.re + b.im)) * half]
        return [e + o for e, o in zip(even, odd)] + [e - o for e, o in zip(even, odd)]
    half = n // 2
    sums, differences = [x[q] + x[n - q] for q in range(1, half + 1)], [x[q] - x[n - q] for q in range(1, half + 1)]
    out = [x[0]] + [None] * (n - 1)
    for s in sums:
        out[0] = out[0] + s
    for p in range(1, half + 1):
        a, b = x[0], None
        for q, (s, d) in enumerate(zip(sums, differences), 1):
            cosine, sine = map(float, circle(p * q, n))
            a = a + s * pen.constant(cosine)
            term = d * pen.constant(sine)
            b = term if b is None else b + term
        out[p], out[n - p] = Complex(a.re + b.im, a.im - b.re), Complex(a.re - b.im, a.im + b.re)
    return out


# --- butterflies ------------------------------------------------------------------------------------------------------

def _butterfly(radix, with_factors):
    def make(pen, work, at, swap, step, factors, first):
        """The transform of ``radix`` points of work, ``step`` elements apart from ``at`` on, in their places; all but the first
        result times factors from ``first`` on."""
        places = [pen.plus(at, pen.times(step, q)) for q in range(radix)]
        out = transformed(pen, [pen.point(work, place, swap) for place in places])
        for q, (place, z) in enumerate(zip(places, out)):
            if q and with_factors:
                here = pen.plus(first, pen.n(2 * q - 2))
                z = z * Complex(pen.number(factors, here), pen.number(factors, pen.plus(here, pen.n(1))))
            pen.put_point(work, place, swap, z)
    return Piece(make, "biiiri")


def _halves(pen, work, at, swap, step, count, room):
    """For an odd radix 2 count + 1: the first point of work, then sums and differences of points q and radix - q, into work
    from ``room`` on; the first result in its place."""
    first = pen.point(work, at, swap)
    pen.put(work, room, first.re)
    pen.put(work, pen.plus(room, pen.n(pen.lanes)), first.im)
    last = pen.plus(at, pen.times(step, pen.times(count, 2)))

    def body(q, re, im):
        offset = pen.times(step, q)
        a = pen.point(work, pen.plus(at, step, offset), swap)
        b = pen.point(work, pen.builder.sub(last, offset), swap)
        s, d, here = a + b, a - b, pen.plus(room, pen.times(q, 4 * pen.lanes))
        for i, value in enumerate((s.re, s.im, d.re, d.im), 2):
            pen.put(work, pen.plus(here, pen.n(i * pen.lanes)), value)
        return re + s.re, im + s.im
    pen.put_point(work, at, swap, Complex(*pen.loop(count, body, first.re, first.im)))


def _results(pairs):
    def make(pen, work, at, swap, step, count, room, p, numbers, waves, factors):
        """Results p + 1 to p + ``pairs`` of an odd radix 2 count + 1, and those that mirror them, from what ``halves`` left in
        work at ``room``; cosines and sines in numbers from ``waves`` on, what results are multiplied by from ``factors`` on."""
        first = Complex(pen.row(work, room), pen.row(work, pen.plus(room, pen.n(pen.lanes))))
        zero = pen.constant(0.0)

        def body(q, *totals):
            here, wave = pen.plus(room, pen.times(q, 4 * pen.lanes)), pen.plus(waves, pen.times(q, 2 * pairs))
            sr, si, dr, di = [pen.row(work, pen.plus(here, pen.n(i * pen.lanes))) for i in range(2, 6)]
            found = []
            for i in range(pairs):
                c, s = [pen.number(numbers, pen.plus(wave, pen.n(2 * i + j))) for j in range(2)]
                ar, ai, br, bi = totals[4 * i:4 * i + 4]
                found += [ar + sr * c, ai + si * c, br + dr * s, bi + di * s]
            return found
        totals = pen.loop(count, body, *[first.re, first.im, zero, zero] * pairs)
        for i in range(pairs):
            ar, ai, br, bi = totals[4 * i:4 * i + 4]
            low = pen.plus(p, pen.n(i + 1))
            for q, z in ((low, Complex(ar + bi, ai - br)),
                         (pen.builder.sub(pen.plus(pen.times(count, 2), pen.n(1)), low), Complex(ar - bi, ai + br))):
                here = pen.plus(factors, pen.times(q, 2))
                z = z * Complex(pen.number(numbers, pen.builder.sub(here, pen.n(2))),
                                pen.number(numbers, pen.builder.sub(here, pen.n(1))))
                pen.put_point(work, pen.plus(at, pen.times(step, q)), swap, z)
    return Piece(make, "biiiiiirii")


butterfly_2, butterfly_3, butterfly_4, butterfly_5, butterfly_7, butterfly_8 = [
    _butterfly(r, True) for r in (2, 3, 4, 5, 7, 8)]
last_2, last_3, last_4, last_5, last_7, last_8 = [_butterfly(r, False) for r in (2, 3, 4, 5, 7, 8)]
halves = Piece(_halves, "biiiii")
results_1, results_2, results_3, results_4 = map(_results, (1, 2, 3, 4))


# --- real numbers -----------------------------------------------------------------------------------------------------

def _split(pen, work, a, b, c, s, weight):
    """Points k (at a) and n/2 - k (at b) of work as those of a real line, whose even and odd elements are the parts that were
    transformed: c and s are the cosine and the sine of 2 pi k / n, ``weight`` is half of what they count for."""
    swap = pen.n(0)
    w = pen.every(weight)
    x, y = pen.point(work, a, swap) * w, pen.point(work, b, swap).conj() * w
    even, odd = x + y, (x - y).turned()
    odd = odd * Complex(pen.every(c), -pen.every(s))
    pen.put_point(work, a, swap, even + odd)
    pen.put_point(work, b, swap, (even - odd).conj())


def _joined(pen, work, a, b, c, s, weight, sign):
    """The reverse of ``split``; imaginary parts of work are read times ``sign``."""
    swap, w = pen.n(0), pen.every(weight)
    x, y, signed = pen.point(work, a, swap), pen.point(work, b, swap), w * pen.every(sign)
    x, y = Complex(x.re * w, x.im * signed), Complex(y.re * w, y.im * signed).conj()
    even, odd = x + y, (x - y) * Complex(pen.every(c), pen.every(s))
    pen.put_point(work, a, swap, Complex(even.re - odd.im, even.im + odd.re))
    pen.put_point(work, b, swap, Complex(even.re + odd.im, odd.re - even.im))


def _folded(pen, work, a, b):
    """The point of work at a becomes the mean of itself and of the conjugate of that at b."""
    swap = pen.n(0)
    half = pen.constant(0.5)
    pen.put_point(work, a, swap, pen.point(work, a, swap) * half + pen.point(work, b, swap).conj() * half)


def _scaled(pen, work, at, re, im):
    """The parts of a point of work times ``re`` and ``im``."""
    z = pen.point(work, at, pen.n(0))
    pen.put_point(work, at, pen.n(0), Complex(z.re * pen.every(re), z.im * pen.every(im)))


def _ends(pen, work, a, b):
    """Real and imaginary part of the point of work at a: their sum becomes that point, the difference the one at b."""
    z, zero = pen.point(work, a, pen.n(0)), pen.constant(0.0)
    pen.put_point(work, a, pen.n(0), Complex(z.re + z.im, zero))
    pen.put_point(work, b, pen.n(0), Complex(z.re - z.im, zero))


def _start(pen, work, a, b):
    """The reverse of ``ends``: real parts of the points of work at a and b, their sum and difference as one at a."""
    x, y = pen.point(work, a, pen.n(0)).re, pen.point(work, b, pen.n(0)).re
    pen.put_point(work, a, pen.n(0), Complex(x + y, x - y))


def _cleared(pen, work, at):
    """The vector of work at ``at`` becomes zeros."""
    pen.put(work, at, pen.constant(0.0))


def _twisted(pen, work, at, swap, table, first, held):
    """The point of work at ``at`` times complex numbers of its lines, whose parts lie in table from ``first`` on."""
    factors = _pair(pen, table, first, _masks(pen, pen.n(0), held, 2))
    pen.put_point(work, at, swap, pen.point(work, at, swap) * factors)


split, joined, folded = Piece(_split, "biifff"), Piece(_joined, "biiffff"), Piece(_folded, "bii")
scaled, ends, start_of, cleared = Piece(_scaled, "biff"), Piece(_ends, "bii"), Piece(_start, "bii"), Piece(_cleared, "wi")
twisted = Piece(_twisted, "biirii")


# --- lines in and out -------------------------------------------------------------------------------------------------

def _masks(pen, low, high, size):
    """For each of ``size`` vectors in a row whether its elements are those of lines from ``low`` to ``high``."""
    b, masks = pen.builder, []
    for i in range(size):
        until, since = [pen.below(b, b.sub(pen.times(edge, size), pen.n(i * pen.lanes))) for edge in (high, low)]
        masks.append(b.and_(until, b.not_(since)))
    return masks


def _pair(pen, x, at, masks=(None, None)):
    """Real and imaginary parts of neighbouring complex numbers."""
    a, b = [pen.row(x, pen.plus(at, pen.n(i * pen.lanes)), m).value for i, m in enumerate(masks)]
    return Complex(*[Number(pen, pen.chosen(pen.builder, a, b, list(range(i, 2 * pen.lanes, 2)))) for i in (0, 1)])


def _columns_in(pen, x, at, work, to):
    """A point of neighbouring lines of complex numbers x into work."""
    pen.put_point(work, to, pen.n(0), _pair(pen, x, at))


def _some_columns_in(pen, x, at, work, to, low, high):
    """A point of some neighbouring lines of complex numbers x, from ``low`` to ``high``, into work, which has zeros for them;
    zeros for all others where the first is among them."""
    z, b = _pair(pen, x, at, _masks(pen, low, high, 2)), pen.builder
    first = pen.when(b, b.icmp_signed("==", low, pen.n(0)))
    old = pen.point(work, to, pen.n(0))
    re, im = [b.select(first, new.value, (new + o).value) for new, o in ((z.re, old.re), (z.im, old.im))]
    pen.put_point(work, to, pen.n(0), Complex(Number(pen, re), Number(pen, im)))


def _columns_out(some):
    def make(pen, work, at, x, to, re, im, low, high):
        """A point of work, its parts times ``re`` and ``im``, to neighbouring lines of complex numbers x; those from ``low`` to
        ``high``, where there is not one each."""
        z = pen.point(work, at, pen.n(0))
        parts, n = ((z.re * pen.every(re)).value, (z.im * pen.every(im)).value), pen.lanes
        masks = _masks(pen, low, high, 2) if some else (None, None)
        for i, m in enumerate(masks):
            places = [(k + i * n) // 2 + (n if k % 2 else 0) for k in range(n)]
            pen.put(x, pen.plus(to, pen.n(i * n)), Number(pen, pen.chosen(pen.builder, *parts, places)), m)
    return Piece(make, "riwiffii")


def _row_in(pen, x, at, work, to, low, high):
    """A number of some neighbouring lines x, from ``low`` to ``high``, into work, which has zeros for them; zeros for all
    others where the first is among them."""
    new, b = pen.row(x, at, _masks(pen, low, high, 1)[0]), pen.builder
    first = pen.when(b, b.icmp_signed("==", low, pen.n(0)))
    pen.put(work, to, Number(pen, b.select(first, new.value, (new + pen.row(work, to)).value)))


def _row_out(pen, work, at, x, to, factor, low, high):
    """The vector of work times ``factor`` to neighbouring lines of real numbers x, from ``low`` to ``high``."""
    pen.put(x, to, pen.row(work, at) * pen.every(factor), _masks(pen, low, high, 1)[0])


def _turned_in(some):
    def make(pen, x, at, step, work, to, spread, lines, count):
        """Numbers in a row, as many as a vector has, of lines x that are ``step`` apart into vectors of work that are
        ``spread`` apart; of ``lines`` lines and ``count`` numbers, where there are not so many, zeros for other lines."""
        b, rows = pen.builder, []
        inside = pen.below(b, count) if some else None
        for i in range(pen.lanes):
            mask = b.and_(pen.when(b, b.icmp_signed("<", pen.n(i), lines)), inside) if some else None
            rows.append(pen.row(x, pen.plus(at, pen.times(step, i)), mask).value)
        for i, row in enumerate(pen.transposed(b, rows)):
            pen.put(work, pen.plus(to, pen.times(spread, i)), Number(pen, row))
    return Piece(make, "riiwiiii")


def _turned_out(some, parts):
    def make(pen, work, w, order, k, x, at, step, re, im, lines, count):
        """Points of work, as many as fill a vector with their ``parts``, to lines x that are ``step`` apart; order has from k
        on their places behind w, twice, and whether they are conjugated; of ``lines`` lines and ``count`` numbers, where there
        are not so many."""
        b, columns = pen.builder, []
        re, im = pen.every(re), pen.every(im)
        for i in range(pen.lanes // parts):
            word = b.load(b.gep(order, [pen.plus(k, pen.n(i))]))
            place = pen.plus(w, pen.times(b.ashr(word, pen.n(1)), 2 * pen.lanes))
            z = pen.point(work, place, pen.n(0)) if parts == 2 else Complex(pen.row(work, place), None)
            columns.append((z.re * re).value)
            if parts == 2:
                odd = pen.spread(b, b.trunc(word, pen.ir.IntType(1)), pen.mask)
                columns.append((Number(pen, b.select(odd, (-z.im).value, z.im.value)) * im).value)
        inside = pen.below(b, count) if some else None
        for i, row in enumerate(pen.transposed(b, columns)):
            mask = b.and_(pen.when(b, b.icmp_signed("<", pen.n(i), lines)), inside) if some else None
            pen.put(x, pen.plus(at, pen.times(step, i)), Number(pen, row), mask)
    return Piece(make, "ritiwiiffii")


columns_in, some_columns_in = Piece(_columns_in, "riwi"), Piece(_some_columns_in, "ribiii")
columns_out, some_columns_out = map(_columns_out, (False, True))
row_in, row_out = Piece(_row_in, "ribiii"), Piece(_row_out, "riwifii")
turned_in, some_turned_in = map(_turned_in, (False, True))
turned_out, some_turned_out = [_turned_out(some, 2) for some in (False, True)]
turned_reals_out = _turned_out(True, 1)
