"""Householder reflections of large matrices in blocks, which chunks of what they are multiplied by meet in the second-level
cache and on all threads; LAPACK's meet all of it, on one."""

from __future__ import annotations

from numbagrad.core.tensor import make
from numbagrad.kernel.lapack import ADJOINT, PLAIN, TURNED

from . import householder_kernels as kernels
from .kernels import TILE

WIDTH = 32  # reflections of a block
FEWEST, MOST_TWICE = 64, 384  # rows or columns that are multiplied together, and those of two such chunks: their number is even
LEAST = 48  # reflections from which on blocks are worth it
WIDER = 512  # reflections from which on blocks are twice as wide, if none has to be made
PRODUCTS = 32  # multiplications and additions that take as long as a number that is passed over
MOST = 256  # blocks of a call, which is written down as a program


def worth(reflections, others, count):
    """Whether blocks are worth it, for ``count`` matrices, of so many reflections of so many others each."""
    return reflections >= LEAST and others >= FEWEST and count * -(-reflections // WIDTH) <= MOST


def worth_making(reflections, columns, count):
    """Whether they are where the reflections, or the columns of their product, are made one from another."""
    return worth(reflections, columns, count) and (reflections >= 2 * LEAST or columns >= 4 * reflections)


def chunk_of(others):
    """How many of so many rows or columns are multiplied together."""
    return max(-(-others // (-(-others // MOST_TWICE) * 2 * TILE)) * TILE, FEWEST)


class Blocks:
    """Memory for blocks of at most ``width`` reflections of m elements, which ``others`` columns or rows are multiplied by."""

    def __init__(self, kind, m, others, width=WIDTH):
        self.kind, self.size, self.others = kind, kind.np.itemsize, others
        self.held = [make(shape, kind) for shape in ((width, m), (width, width), (width, width), (2 * others, width))]
        self.v, self.t, self.s, self.w = [t._ptr for t in self.held]

    def call(self, kernel, x, others, m, c, *rest):
        chunk = chunk_of(others)
        given = x, self.v, self.t, self.w, others, m, c, *rest[:-1], chunk, int(rest[-1])
        kernel.run(self.kind, given, -(-others // chunk), others * m * c // PRODUCTS)

    def rows(self, x, others, m, c, apart, way):
        self.call(kernels.from_rows, x, others, m, c, apart, way)

    def columns(self, x, m, c, way):
        self.call(kernels.from_columns, x, self.others, m, c, way)


def pieces(k, backwards=False, width=WIDTH):
    """[(first reflection, how many)] of the blocks."""
    found = [(j, min(width, k - j)) for j in range(0, k, width)]
    return found[::-1] if backwards else found


def turn(kind, a, b, rows, columns):
    kernels.turned.run(kind, (a, b, rows, columns), -(-rows // TILE), rows * columns)


def decompose(kind, a, found, tau, m, n):
    """R above vectors into found (m, n) and factors into tau, of one a (m, n)."""
    x, blocks = make((n, m), kind), Blocks(kind, m, n)
    turn(kind, a, x._ptr, m, n)
    for j, c in pieces(min(m, n)):
        at = x._ptr + (j * m + j) * blocks.size
        kernels.reflect_panel[kind](at, tau + j * blocks.size, blocks.v, blocks.t, blocks.s, m, m - j, c, c * WIDTH)
        if n > j + c:
            blocks.rows(at + c * m * blocks.size, n - j - c, m - j, c, m, PLAIN)
    turn(kind, x._ptr, found, n, m)


def multiply_out(kind, a, tau, q, m, n, k):
    """The first columns q (m, n) of the product of the k reflections of one a (m, n)."""
    x, blocks = make((n, m), kind), Blocks(kind, m, n)
    turn(kind, a, x._ptr, m, n)
    kernels.unit_columns[kind](x._ptr, m, k, n)
    for j, c in pieces(k, True):
        at, factors = x._ptr + (j * m + j) * blocks.size, tau + j * blocks.size
        if n > j + c:
            kernels.take_block[kind](at, factors, blocks.v, blocks.t, blocks.s, m - j, c, m, 1, 0)
            blocks.rows(at + c * m * blocks.size, n - j - c, m - j, c, m, TURNED)
        kernels.multiply_panel[kind](x._ptr, factors, blocks.s, m, j, c, c * WIDTH)
    turn(kind, x._ptr, q, n, m)


def apply(kind, a, tau, other, out, m, columns, k, rows, width, left, adjoint):
    """One other (rows, width) times the product of the k reflections of a (m, columns), or its adjoint, from one side."""
    together = 2 * WIDTH if k >= WIDER else WIDTH
    blocks = Blocks(kind, m, width if left else rows, together)
    size, way = blocks.size, ADJOINT if adjoint else PLAIN
    kernels.copied.run(kind, (other, out), rows * width, rows * width)
    for j, c in pieces(k, left != adjoint, together):
        at, factors = a + (j * columns + j) * size, tau + j * size
        kernels.take_block[kind](at, factors, blocks.v, blocks.t, blocks.s, m - j, c, 1, columns, 1)
        if left:
            blocks.columns(out + j * width * size, m - j, c, way)
        else:
            blocks.rows(out + j * size, rows, m - j, c, width, way)
