"""Triangular factors by elimination with their row exchanges, and symmetric ones, as users get them: by rows, with LAPACK's
word on each matrix."""

from __future__ import annotations

from numbagrad.extend import T
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.lapack import LOWER, UPPER, getrf, hetrf, hetrs, past, potrf, sytrf, sytrs

from .kernels import has_nan, turn


@kernel(nogil=True)
def factors(a: "*T", lu: "*T", pivots: "*i4", info: "*i4", scratch: "*T", m: int, n: int, start: int, stop: int):
    """lu (m, n) of each a (m, n), its row exchanges in int32 pivots (min(m, n),), and what LAPACK says in int32 info (1,).

    scratch (m n,)."""
    k = min(m, n)
    for b in range(start, stop):
        turn(a, b * m * n, scratch, 0, m, n)
        info[b] = getrf((m, n, scratch, max(m, 1), past(pivots, b * k)))
        turn(scratch, 0, lu, b * m * n, n, m)


@kernel
def permutations(pivots: "*i4", p: "*T", order: "*i8", m: int, k: int, bad: "*i8", start: int, stop: int):
    """The matrix p (m, m) of the row exchanges pivots (k,), of int32; bad (1,), int64: whether one is out of range.

    int64 order (m,)."""
    for b in range(start, stop):
        for i in range(m):
            order[i] = i
        for i in range(k):
            j = pivots[b * k + i] - 1
            if j < 0 or j >= m:
                bad[0] = 1
                return
            order[i], order[j] = order[j], order[i]
        for i in range(b * m * m, (b + 1) * m * m):
            p[i] = T(0)
        for i in range(m):
            p[(b * m + order[i]) * m + i] = T(1)


@kernel
def exchanges_in_range(pivots: "*i4", n: int, bad: "*i8", start: int, stop: int):
    """Whether each of the row exchanges pivots (n,), of int32, is among 1 to n: int64 bad (2,) gets 0 and 1, or 2."""
    for i in range(start * n, stop * n):
        if pivots[i] < 1 or pivots[i] > n:
            bad[0], bad[1] = 0, 1 if pivots[i] < 1 else 2


@kernel
def blocks_in_range(pivots: "*i4", n: int, bad: "*i8", start: int, stop: int):
    """Whether each pivots (n,), of int32, is one that ``symmetric_factors`` can give: rows from 1, negative ones
    in pairs; int64 bad (1,) gets 1 if not."""
    for b in range(start, stop):
        single = True
        for i in range(b * n, (b + 1) * n):
            p = pivots[i]
            if p == 0 or abs(p) > n or p > 0 and not single:
                bad[0] = 1
            single = p > 0 or not single
        if not single:
            bad[0] = 1


@kernel
def triangles(lu: "*T", l: "*T", u: "*T", m: int, n: int, start: int, stop: int):  # noqa: E741
    """The lower triangle l (m, k), with ones on its diagonal, and the upper one u (k, n) of each lu (m, n), k = min(m, n)."""
    k = min(m, n)
    for b in range(start, stop):
        for i in range(m):
            for j in range(k):
                l[(b * m + i) * k + j] = lu[(b * m + i) * n + j] if j < i else T(1 if j == i else 0)
        for i in range(k):
            for j in range(n):
                u[(b * k + i) * n + j] = lu[(b * m + i) * n + j] if j >= i else T(0)


@kernel(nogil=True)
def symmetric_factors(a: "*T", ld: "*T", pivots: "*i4", info: "*i4", scratch: "*T", n: int, hermitian: int, lwork: int,
                      start: int, stop: int):
    """Factors ld (n, n) of each symmetric, or ``hermitian``, a (n, n), of which the lower triangle is read, with exchanges in
    int32 pivots (n,) and LAPACK's word in int32 info (1,). scratch (n n + lwork,)."""
    work = past(scratch, n * n)
    for b in range(start, stop):
        for i in range(n):
            for j in range(n):
                scratch[j * n + i] = a[(b * n + i) * n + j] if j <= i else T(0)
        if hermitian != 0:
            info[b] = hetrf((LOWER, n, scratch, max(n, 1), past(pivots, b * n), work, lwork))
        else:
            info[b] = sytrf((LOWER, n, scratch, max(n, 1), past(pivots, b * n), work, lwork))
        turn(scratch, 0, ld, b * n * n, n, n)


@kernel(nogil=True)
def solve_symmetric(ld: "*T", pivots: "*i4", b: "*T", x: "*T", scratch: "*T", n: int, m: int, hermitian: int, ld_step: int,
                    pivots_step: int, b_step: int, start: int, stop: int):
    """x (n, m) with ``a x = b`` by ld and int32 pivots of ``symmetric_factors``. scratch (n n + n m,)."""
    for i in range(start, stop):
        turn(ld, i * ld_step, scratch, 0, n, n)
        turn(b, i * b_step, scratch, n * n, n, m)
        own, swaps = past(scratch, n * n), past(pivots, i * pivots_step)
        if hermitian != 0:
            hetrs((LOWER, n, m, scratch, max(n, 1), swaps, own, max(n, 1)))
        else:
            sytrs((LOWER, n, m, scratch, max(n, 1), swaps, own, max(n, 1)))
        turn(scratch, n * n, x, i * n * m, m, n)


@kernel(nogil=True)
def definite_factors(a: "*T", out: "*T", info: "*i4", n: int, start: int, stop: int):
    """Lower triangular out (n, n) with ``out out^H`` each a (n, n), of which the lower triangle is read, as far as it can be
    found: int32 info (1,) says which minor is not positive."""
    for b in range(start, stop):
        at = b * n * n
        for i in range(n):
            for j in range(i + 1):
                out[at + i * n + j] = a[at + i * n + j]
            for j in range(i + 1, n):
                out[at + i * n + j] = T(0)
        found = potrf((UPPER, n, past(out, at), max(n, 1)))
        if found == 0:  # NaN, which LAPACK hands through, is not definite
            for i in range(n):
                if found == 0 and has_nan(out, at + i * n, i + 1):
                    found = i + 1
        info[b] = found
