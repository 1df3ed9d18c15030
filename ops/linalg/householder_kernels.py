"""Householder reflections by LAPACK, a batch of matrices after one another, and the parts of what blocks of them do."""

from __future__ import annotations

from numbagrad.extend import T, accumulate, inline
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.lapack import ADJOINT, LEFT, PLAIN, RIGHT, gemm, geqrf, orgqr, ormqr, past

from .kernels import TILE, turn


@kernel(nogil=True)
def reflect(a: "*T", found: "*T", tau: "*T", scratch: "*T", m: int, n: int, lwork: int, start: int, stop: int):
    """R of each a (m, n) above the vectors of its reflections into found (m, n), their factors into tau (min(m, n),). scratch
    (m n + lwork,)."""
    for b in range(start, stop):
        turn(a, b * m * n, scratch, 0, m, n)
        geqrf((m, n, scratch, m, past(tau, b * min(m, n)), past(scratch, m * n), lwork))
        turn(scratch, 0, found, b * m * n, n, m)


@kernel(nogil=True)
def multiply(a: "*T", tau: "*T", q: "*T", scratch: "*T", m: int, n: int, k: int, lwork: int, start: int, stop: int):
    """The first columns q (m, n) of the product of k reflections, the vectors of each a (m, n) with factors tau (k,).

    scratch (m n + lwork,)."""
    for b in range(start, stop):
        turn(a, b * m * n, scratch, 0, m, n)
        orgqr((m, n, k, scratch, m, past(tau, b * k), past(scratch, m * n), lwork))
        turn(scratch, 0, q, b * m * n, n, m)


@kernel(nogil=True)
def apply(a: "*T", tau: "*T", c: "*T", out: "*T", scratch: "*T", m: int, columns: int, k: int, rows: int, width: int, left: int,
          way: int, lwork: int, start: int, stop: int):
    """Each c (rows, width) times the product of k reflections, the vectors of a (m, columns) with factors tau (k,), from one
    side, into out (rows, width); with a PLAIN way, its adjoint. scratch (k (m + 1) + lwork,)."""
    # By columns c is transposed, and Q^T is the adjoint of the conjugate of Q.
    side = RIGHT if left != 0 else LEFT
    factors = past(scratch, k * m)
    work = past(factors, k)
    for b in range(start, stop):
        for top in range(0, m, TILE):
            for j in range(k):
                for i in range(top, min(top + TILE, m)):
                    scratch[j * m + i] = a[(b * m + i) * columns + j].conjugate()
        for j in range(k):
            factors[j] = tau[b * k + j].conjugate()
        for i in range(b * rows * width, (b + 1) * rows * width):
            out[i] = c[i]
        ormqr((side, way, width, rows, k, scratch, m, factors, past(out, b * rows * width), width, work, lwork))


# --- blocks: the product of c reflections is I - V T V^H, V (m, c), T (c, c) ---

@inline
def triangle(s, tau, t, c):
    """T by rows into t (c, c), from s, which is V^H V by columns, and the factors tau (c,)."""
    for i in range(c):
        for r in range(i):
            total = T(0)
            for j in range(r, i):
                total = accumulate(total, t[r * c + j] * s[i * c + j])
            t[r * c + i] = -tau[i] * total
            t[i * c + r] = T(0)
        t[i * c + i] = tau[i]


@inline
def block(x, tau, v, t, s, m, c, across, down):
    """V^T into v (c, m) and T into t (c, c), of vectors in x that lie ``across``, their elements ``down`` places apart, with
    factors tau (c,); s (c, c) is scratch."""
    for top in range(0, m, TILE):
        for i in range(c):
            for r in range(top, min(top + TILE, m)):
                v[i * m + r] = x[i * across + r * down]
    for i in range(c):
        for r in range(i):
            v[i * m + r] = T(0)
        v[i * m + i] = T(1)
    gemm((ADJOINT, PLAIN, c, c, m, 1.0, v, m, v, m, 0.0, s, c))
    triangle(s, tau, t, c)


@kernel(nogil=True)
def reflect_panel(x: "*T", tau: "*T", v: "*T", t: "*T", s: "*T", m: int, rows: int, c: int, lwork: int):
    """Reflections of columns x (c, rows), m places apart, in their place, and factors tau (c,); V^T into v (c, rows) and the
    conjugate of T into t (c, c). s (c max(c, lwork),) is scratch."""
    geqrf((rows, c, x, m, tau, s, lwork))
    block(x, tau, v, t, s, rows, c, m, 1)
    for i in range(c * c):
        t[i] = t[i].conjugate()


@kernel(nogil=True)
def take_block(x: "*T", tau: "*T", v: "*T", t: "*T", s: "*T", m: int, c: int, across: int, down: int, flip: int):
    """V^T, or V^H if ``flip``, into v (c, m), and T into t (c, c), of vectors in x and factors tau (c,), as in ``block``, with
    s (c, c) for scratch."""
    block(x, tau, v, t, s, m, c, across, down)
    if flip != 0:
        for i in range(c * m):
            v[i] = v[i].conjugate()


@kernel(nogil=True)
def from_rows(x: "*T", v: "*T", t: "*T", w: "*T", others: int, m: int, c: int, apart: int, chunk: int, way: int, start: int,
              stop: int):
    """From rows x (others, m), that lie ``apart``, take x v^H T v, for v (c, m) and t (c, c), which its ``way`` may transpose;
    an item is a chunk of rows, which stays in the second-level cache. w (2 others, c) is scratch."""
    for item in range(start, stop):
        first = item * chunk
        n = min(chunk, others - first)
        own, p, q = past(x, first * apart), past(w, first * c), past(w, (others + first) * c)
        gemm((ADJOINT, PLAIN, c, n, m, 1.0, v, m, own, apart, 0.0, p, c))
        gemm((way, PLAIN, c, n, c, 1.0, t, c, p, c, 0.0, q, c))
        gemm((PLAIN, PLAIN, m, n, c, -1.0, v, m, q, c, 1.0, own, apart))


@kernel(nogil=True)
def from_columns(x: "*T", v: "*T", t: "*T", w: "*T", others: int, m: int, c: int, chunk: int, way: int, start: int, stop: int):
    """From columns x (m, others) take v^H T v x, for v (c, m) and t (c, c), with its way, items and w as in ``from_rows``."""
    for item in range(start, stop):
        first = item * chunk
        n = min(chunk, others - first)
        own, p, q = past(x, first), past(w, first * c), past(w, (others + first) * c)
        gemm((PLAIN, PLAIN, n, c, m, 1.0, own, others, v, m, 0.0, p, n))
        gemm((PLAIN, way, n, c, c, 1.0, p, n, t, c, 0.0, q, n))
        gemm((PLAIN, ADJOINT, n, m, c, -1.0, q, n, v, m, 1.0, own, others))


@kernel(nogil=True)
def multiply_panel(x: "*T", tau: "*T", work: "*T", m: int, first: int, c: int, lwork: int):
    """Columns ``first`` to first + c of x (n, m), which is by columns: from vectors of reflections with factors tau (c,) to the
    first columns of their product, zeros above. work (lwork,)."""
    at = first * m
    orgqr((m - first, c, c, past(x, at + first), m, tau, work, lwork))
    for i in range(c):
        for r in range(first):
            x[at + i * m + r] = T(0)


@kernel(nogil=True)
def unit_columns(x: "*T", m: int, first: int, last: int):
    """Columns ``first`` to last of x (n, m), which is by columns, become those of the identity."""
    for i in range(first, last):
        for r in range(m):
            x[i * m + r] = T(0)
        x[i * m + i] = T(1)


@kernel(nogil=True)
def turned(a: "*T", b: "*T", rows: int, columns: int, start: int, stop: int):
    """Matrix a (rows, columns) transposed into b (columns, rows); an item is as many rows as are turned together."""
    for item in range(start, stop):
        top = item * TILE
        for left in range(0, columns, TILE):
            for j in range(left, min(left + TILE, columns)):
                for i in range(top, min(top + TILE, rows)):
                    b[j * rows + i] = a[i * columns + j]


@kernel
def copied(a: "*T", b: "*T", start: int, stop: int):
    """Elements of a (n,) into b (n,)."""
    for i in range(start, stop):
        b[i] = a[i]
