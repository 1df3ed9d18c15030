"""Elimination of large matrices in blocks of columns, which chunks of those behind them meet in the second-level cache and on
all threads; LAPACK's meet all of them, on one."""

from __future__ import annotations

from numbagrad.extend import inline
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.lapack import LEFT, LOWER, PLAIN, UNIT, gemm, getrf, past, trsm

from .householder_blocks import PRODUCTS, chunk_of, turn

WIDTH = 64  # columns of a block
LEAST = 512  # columns from which on blocks are worth it
MOST = 256  # blocks of a call, which is written down as a program


def worth(n, count):
    """Whether blocks are worth it for ``count`` matrices of n columns."""
    return n >= LEAST and count * -(-n // WIDTH) <= MOST


@inline
def exchange(lu, pivots, n, column, first, last):
    """Exchange rows ``first`` to last of a column of lu (n, n), which is by columns, with those that pivots (n,) say."""
    for i in range(first, last):
        p, q = column * n + i, column * n + pivots[i] - 1
        lu[p], lu[q] = lu[q], lu[p]


@kernel(nogil=True)
def eliminate_panel(lu: "*T", pivots: "*i4", n: int, j: int, c: int, matrix: int, bad: "*i8"):
    """The factors of columns j to j + c of lu (n, n), which is by columns, from row j on, in their place, with the rows that
    were exchanged in int32 pivots (n,); int64 bad (2,), where there is none yet, gets the matrix's number and a column that is
    singular."""
    info = getrf((n - j, c, past(lu, j * n + j), n, past(pivots, j)))
    for i in range(j, j + c):
        pivots[i] += j
    if info > 0 and bad[0] < 0:
        bad[0], bad[1] = matrix, info + j


@kernel(nogil=True)
def eliminate_behind(lu: "*T", pivots: "*i4", n: int, j: int, c: int, chunk: int, start: int, stop: int):
    """Columns behind j + c of lu (n, n), which is by columns, after elimination of c columns from j on, whose rows were
    exchanged as int32 pivots (n,) say; an item is a chunk of columns."""
    for item in range(start, stop):
        first = j + c + item * chunk
        columns = min(chunk, n - first)
        for k in range(first, first + columns):
            exchange(lu, pivots, n, k, j, j + c)
        own, below = past(lu, first * n + j), past(lu, first * n + j + c)
        trsm((LEFT, LOWER, PLAIN, UNIT, c, columns, 1.0, past(lu, j * n + j), n, own, n))
        gemm((PLAIN, PLAIN, n - j - c, columns, c, -1.0, past(lu, j * n + j + c), n, own, n, 1.0, below, n))


@kernel(nogil=True)
def exchange_before(lu: "*T", pivots: "*i4", n: int, width: int, start: int, stop: int):
    """Rows of blocks of ``width`` columns of lu (n, n), which is by columns, exchanged as the int32 pivots (n,) of those behind
    say; an item is a block."""
    for item in range(start, stop):
        behind = min((item + 1) * width, n)
        for k in range(item * width, behind):
            exchange(lu, pivots, n, k, behind, n)


def eliminate(kind, a, lu, pivots, n, matrix, bad):
    """The factors of a (n, n), by columns, into lu, as ``kernels.eliminate``."""
    turn(kind, a, lu, n, n)
    for j in range(0, n, WIDTH):
        c = min(WIDTH, n - j)
        eliminate_panel[kind](lu, pivots, n, j, c, matrix, bad)
        behind = n - j - c
        if behind:
            chunk = chunk_of(behind)
            eliminate_behind.run(kind, (lu, pivots, n, j, c, chunk), -(-behind // chunk), behind * (n - j) * c // PRODUCTS)
    exchange_before.run(kind, (lu, pivots, n, WIDTH), -(-n // WIDTH), n * n // 2)
