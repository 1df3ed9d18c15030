"""Sums of the rows of bags, a row at a time while the sums of many columns stay in registers, in LLVM's vectors."""

from __future__ import annotations

from numbagrad.kernel.jit import T, kernel
from numbagrad.kernel.lanes import Piece, lanes

AHEAD = 2  # rows: one is fetched while those before it are added


def _added(vectors, some):
    def make(pen, w, width, at, begin, count, last, first, y, to, divisor, many):
        """The sum of the rows at[begin:begin + count] of w (rows, width), which are one at least, divided, from column
        ``first`` on into y from ``to`` on: of as many columns as there are in some vectors, or of ``many``."""
        b = pen.builder
        inside = pen.below(b, many) if some else None

        def start(i):
            return pen.plus(pen.times(b.load(b.gep(at, [i])), width), first)

        def body(i, *totals):
            later = pen.plus(begin, i, pen.n(AHEAD))
            after = start(b.select(b.icmp_signed("<", later, last), later, last))
            for k in range(vectors):
                pen.fetch(w, pen.plus(after, pen.n(k * pen.lanes)))
            row = start(pen.plus(begin, i))
            return [t + pen.row(w, pen.plus(row, pen.n(k * pen.lanes)), inside) for k, t in enumerate(totals)]
        for k, total in enumerate(pen.loop(count, body, *[pen.constant(0.0)] * vectors)):
            pen.put(y, pen.plus(to, pen.n(k * pen.lanes)), total / pen.every(divisor), inside)
    return Piece(make, "ritiiiiwifi")


sixteen, four, some = _added(16, False), _added(4, False), _added(1, True)


@kernel
def sum_whole_bags(w: "*T", at: "*i8", y: "*T", bounds: "*i8", n: int, width: int, mean: int, start: int, stop: int):
    """Sums (means with ``mean``) of the rows at (n,) of w (rows, width) over the bags ``bounds[b]:bounds[b + 1]`` into y
    (bags, width); at and bounds (bags + 1,) are int64."""
    v = lanes()
    for b in range(start, stop):
        begin, count = bounds[b], bounds[b + 1] - bounds[b]
        if count == 0:
            for j in range(b * width, (b + 1) * width):
                y[j] = T(0)
            continue
        divisor = T(count) if mean != 0 else T(1)
        j = 0
        while j + 16 * v <= width:
            sixteen(w, width, at, begin, count, n - 1, j, y, b * width + j, divisor, 0)
            j += 16 * v
        while j + 4 * v <= width:
            four(w, width, at, begin, count, n - 1, j, y, b * width + j, divisor, 0)
            j += 4 * v
        while j < width:
            some(w, width, at, begin, count, n - 1, j, y, b * width + j, divisor, width - j)
            j += v
