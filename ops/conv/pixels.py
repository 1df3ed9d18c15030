"""Bilinear grid sampling in vectors: of images whose channels lie side by side a tap is one vector of eight channels, of few
channels the taps of eight places, two pixels of a row at once, are gathered."""

from __future__ import annotations

from numbagrad.extend import T, inline, store
from numbagrad.kernel.jit import floor, kernel, strip, wide_strip
from numbagrad.kernel.lanes import Number, Piece

from .grid_blocks import block_axis
from .grid_kernels import bounded


def eight(pen):
    """The pen for vectors of eight, whatever the processor's are."""
    ir = pen.ir
    pen.lanes, pen.name = 8, f"v8f{8 * pen.size}"
    pen.vector, pen.mask = ir.VectorType(pen.real, 8), ir.VectorType(ir.IntType(1), 8)
    return pen


def _turned(some):
    def make(pen, x, at, plane, out, to, channels, count):
        """Eight numbers of each of eight channels of x, ``plane`` apart, as eight pixels of out; of so many ``channels`` and
        ``count`` pixels where there are not eight, zeros for other channels."""
        b, lines = eight(pen).builder, []
        inside = pen.below(b, count) if some else None
        for c in range(8):
            mask = b.and_(pen.when(b, b.icmp_signed("<", pen.n(c), channels)), inside) if some else None
            lines.append(pen.row(x, pen.plus(at, pen.times(plane, c)), mask).value)
        for i, pixel in enumerate(pen.transposed(b, lines)):
            mask = pen.when(b, b.icmp_signed("<", pen.n(i), count)) if some else None
            pen.put(out, pen.plus(to, pen.n(8 * i)), Number(pen, pixel), mask)
    return Piece(make, "riiwiii")


def _blended(pen, x, base, above, below, weights, at, found, to):
    """Eight places from ``at`` on: sums of four pixels of x, ``base`` before them, into rows of found, 64 apart, one of each
    channel. The pixels' numbers are in ``above`` and ``below``, each two 128 apart, their weights four 128 apart."""
    b, places = eight(pen).builder, []
    for i in range(8):
        total = None
        for k in range(4):
            place = pen.plus(at, pen.n(i + 128 * (k % 2)))
            pixel = b.fptosi(b.load(b.gep(above if k < 2 else below, [place])), pen.word)
            term = pen.row(x, pen.times(pen.plus(base, pixel), 8)) * pen.number(weights, pen.plus(at, pen.n(i + 128 * k)))
            total = term if total is None else total + term
        places.append(total.value)
    for c, line in enumerate(pen.transposed(b, places)):
        pen.put(found, pen.plus(to, pen.n(64 * c)), Number(pen, line))


def _pairs(pen, x, base, at, first, found, to):
    """Eight elements of x and the ones behind them, into found from ``to`` on and 128 further: they begin ``base`` and the
    numbers in ``at`` from ``first`` on after x."""
    b, ir, word = eight(pen).builder, pen.ir, pen.word
    words, doubles = ir.VectorType(word, 8), ir.VectorType(ir.DoubleType(), 8)
    starts = b.load(b.bitcast(b.gep(at, [first]), doubles.as_pointer()), align=8)
    places = b.add(b.fptosi(starts, words), pen.spread(b, base, words))
    places = b.add(b.mul(places, ir.Constant(words, [pen.size] * 8)), pen.spread(b, b.ptrtoint(x, word), words))
    for k, value in enumerate(_gathered(pen, b, places)):
        pen.put(found, pen.plus(to, pen.n(128 * k)), Number(pen, value))


def _gathered(pen, b, places):
    """The vectors of the elements at eight addresses and of those behind them."""
    ir = pen.ir
    if pen.size == 8:
        behind = b.add(places, ir.Constant(places.type, [8] * 8))
        return [_gather(pen, b, at, pen.vector, pen.name) for at in (places, behind)]
    both = b.bitcast(_gather(pen, b, places, places.type, "v8i64"), ir.VectorType(pen.real, 16))
    return [pen.chosen(b, both, both, list(range(k, 16, 2))) for k in (0, 1)]


def _gather(pen, b, places, kind, name):
    ir, align = pen.ir, pen.ir.IntType(32)
    pointers = b.inttoptr(places, ir.VectorType(kind.element.as_pointer(), 8))
    call = pen.declared(b, f"masked.gather.{name}.v8p0", kind, pointers.type, align, pen.mask, kind)
    return b.call(call, [pointers, align(pen.size), ir.Constant(pen.mask, [1] * 8), ir.Constant(kind, None)])


turned, some_turned, blended = _turned(False), _turned(True), Piece(_blended, "rirrriwi")
pairs = Piece(_pairs, "ririwi")


@kernel
def channels_last(x: "*T", out: "*T", channels: int, plane: int, start: int, stop: int):
    """x (n, channels, plane) as out (n, groups, plane + 1, 8): the channels of a pixel side by side, eight of a group, and a
    pixel of zeros behind the others; items are pieces of 256 pixels of each group."""
    groups, pieces = (channels + 7) // 8, plane // 256 + 1
    for item in range(start, stop):
        group = item // pieces
        first = (item - group * pieces) * 256
        count = min(256, plane - first)
        image = group // groups
        channel = (group - image * groups) * 8
        many = min(8, channels - channel)
        q, p = (group * (plane + 1) + first) * 8, (image * channels + channel) * plane + first
        for i in range(0, count, 8):
            if many == 8 and i + 8 <= count:
                turned(x, p + i, plane, out, q + 8 * i, 8, 8)
            else:
                some_turned(x, p + i, plane, out, q + 8 * i, many, count - i)
        if first + 256 > plane:
            for c in range(8):
                out[q + 8 * count + c] = store(T(0))


@inline
def four_pixels(xs, ys, wx, wy, both, count, nothing):
    """The numbers of the four pixels of ``count`` places, ``nothing`` where there is none, of the offsets in xs and ys,
    into these (the upper row into xs), two 128 apart; the products of its weights wx and wy into both, four."""
    for p in range(count):
        a, b, u, v = xs[p], xs[p + 128], ys[p], ys[p + 128]
        xs[p], xs[p + 128] = u + a if u + a >= 0.0 else nothing, u + b if u + b >= 0.0 else nothing
        ys[p], ys[p + 128] = v + a if v + a >= 0.0 else nothing, v + b if v + b >= 0.0 else nothing
        both[p], both[p + 128] = wy[p] * wx[p], wy[p] * wx[p + 128]
        both[p + 256], both[p + 384] = wy[p + 128] * wx[p], wy[p + 128] * wx[p + 128]
    for p in range(count, min(128, count + 7)):  # what fills the last eight
        xs[p] = xs[p + 128] = ys[p] = ys[p + 128] = nothing
        both[p] = both[p + 128] = both[p + 256] = both[p + 384] = T(0)


@kernel
def bilinear_pixels(x: "*T", grid: "*T", y: "*T", channels: int, h: int, w: int, points: int, padding: int, align: int,
                    start: int, stop: int):
    """Into y (n, channels, points) what lies at the points of grid (n, points, 2) in x, images of h by w pixels as
    ``channels_last`` made them: ``bilinear_values``."""
    xs, ys = wide_strip(), wide_strip()
    wx, wy, ds, both, found = strip(), strip(), strip(), strip(), strip()
    blocks, plane, groups = (points + 127) // 128, h * w, (channels + 7) // 8
    nothing = float(plane)
    for item in range(start, stop):
        image = item // blocks
        first = (item - image * blocks) * 128
        count = min(128, points - first)
        block_axis(xs, wx, ds, grid, image * points + first, count, 0, w, 1, 0, padding, align)
        block_axis(ys, wy, ds, grid, image * points + first, count, 1, h, w, 0, padding, align)
        four_pixels(xs, ys, wx, wy, both, count, nothing)
        for group in range(groups):
            base = (image * groups + group) * (plane + 1)
            q = (image * channels + 8 * group) * points + first
            for part in range(0, count, 64):
                some = min(64, count - part)
                for i in range(0, some, 8):
                    blended(x, base, xs, ys, both, part + i, found, i)
                for c in range(min(8, channels - 8 * group)):
                    for i in range(some):
                        y[q + c * points + part + i] = found[64 * c + i]


@inline
def positions(xs, grid, first, count, which, size, padding, align):
    """Into xs where ``count`` points of grid, from the first one on, lie on the axis of their number ``which``."""
    scale = T(0.5) * T(size - 1) if align else T(0.5) * T(size)
    shift = T(0) if align else T(-0.5)
    for p in range(count):
        xs[p] = (grid[2 * (first + p) + which] + T(1)) * scale + shift
    if padding != 0:
        for p in range(count):
            xs[p], _ = bounded(xs[p], size, padding, align, True)


@inline
def within(position, size):
    """1 for a pixel of the axis, else 0."""
    return T(1) if position >= T(0) and position < T(size) else T(0)


@inline
def nearest(position, last):
    """The number from 0 to ``last`` that is nearest, for NaN 0."""
    found = position if position > T(0) else T(0)
    return found if found < last else last


@kernel
def bilinear_pairs(x: "*T", grid: "*T", y: "*T", channels: int, h: int, w: int, points: int, padding: int, align: int,
                   start: int, stop: int):
    """Into y (n, channels, points) what lies at the points of grid (n, points, 2) in x (n, channels, h, w), for few channels:
    the two taps of a row are read together. ``w`` is 2 at least."""
    at = wide_strip()
    xs, ys, both, inside, found = strip(), strip(), strip(), strip(), strip()
    blocks, plane = (points + 127) // 128, h * w
    for item in range(start, stop):
        image = item // blocks
        first = (item - image * blocks) * 128
        count = min(128, points - first)
        positions(xs, grid, image * points + first, count, 0, w, padding, align)
        positions(ys, grid, image * points + first, count, 1, h, padding, align)
        for p in range(count):
            left, up = floor(xs[p]), floor(ys[p])
            s, v = xs[p] - left, ys[p] - up
            r, u = T(1) - s, T(1) - v
            a, b = within(left, w), within(left + T(1), w)
            c, d = within(up, h), within(up + T(1), h)
            # Where one of a row's taps is outside, the pair is the pixel inside and its neighbour: they change places.
            swapped = a != b
            a, b = b if swapped else a, a if swapped else b
            r, s = s if swapped else r, r if swapped else s
            both[p], both[p + 128], both[p + 256], both[p + 384] = u * r, u * s, v * r, v * s
            inside[p], inside[p + 128], inside[p + 256], inside[p + 384] = c * a, c * b, d * a, d * b
            begin = float(nearest(left, T(w - 2)))
            at[p] = begin + float(w) * float(nearest(up, T(h - 1)))
            at[p + 128] = begin + float(w) * float(nearest(up + T(1), T(h - 1)))
        for p in range(count, min(128, count + 7)):  # what fills the last eight
            at[p] = at[p + 128] = 0.0
        for channel in range(image * channels, (image + 1) * channels):
            for p in range(0, count, 8):
                pairs(x, channel * plane, at, p, found, p)
                pairs(x, channel * plane, at, p + 128, found, p + 256)
            for p in range(count):
                e, f = found[p] if inside[p] > T(0) else T(0), found[p + 128] if inside[p + 128] > T(0) else T(0)
                g, o = found[p + 256] if inside[p + 256] > T(0) else T(0), found[p + 384] if inside[p + 384] > T(0) else T(0)
                xs[p] = both[p] * e + both[p + 128] * f + both[p + 256] * g + both[p + 384] * o
            for p in range(count):
                y[channel * points + first + p] = xs[p]
