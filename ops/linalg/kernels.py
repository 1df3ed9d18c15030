"""Factorisations by LAPACK, a batch of matrices after one another, and what is computed of their factors.

LAPACK has matrices by columns: they are turned on the way there and back, which keeps its choice of signs and pivots. A factor
that is needed by kernels alone stays as LAPACK left it. ``bad`` gets the number of a matrix that has no factors and what is
wrong with it; then the rest is left.
"""

from __future__ import annotations

import math

from numbagrad.extend import T, inline
from numbagrad.kernel.jit import U, V, kernel
from numbagrad.kernel.lapack import (
    ADJOINT,
    ALL,
    LEFT,
    LOWER,
    NONE,
    PLAIN,
    RIGHT,
    SOME,
    TURNED,
    UNIT,
    UPPER,
    VECTORS,
    geev,
    gemm,
    geqrf,
    gesdd,
    getrf,
    getri,
    orgqr,
    past,
    potrf,
    potri,
    syevd,
    trsm,
)

TILE = 16  # rows and columns of a matrix that are turned together


# --- parts ---

@inline
def turn(a, a0, b, b0, rows, columns):
    """Matrix (rows, columns) from ``a[a0]`` transposed into ``b[b0]``."""
    for top in range(0, rows, TILE):
        for left in range(0, columns, TILE):
            for j in range(left, min(left + TILE, columns)):
                for i in range(top, min(top + TILE, rows)):
                    b[b0 + j * rows + i] = a[a0 + i * columns + j]


@inline
def turn_square(a, a0, n):
    """Matrix (n, n) at ``a[a0]`` transposed in its place."""
    for top in range(0, n, TILE):
        for left in range(0, top + 1, TILE):
            for i in range(top, min(top + TILE, n)):
                for j in range(left, min(left + TILE, i)):
                    x, y = a[a0 + i * n + j], a[a0 + j * n + i]
                    a[a0 + i * n + j], a[a0 + j * n + i] = y, x


@inline
def finite(a, a0, n):
    """Whether n elements from ``a[a0]`` are finite."""
    others = 0  # (a sum of differences in any order would be folded to 0, whatever is in it)
    for i in range(a0, a0 + n):
        others += 0 if (abs(a[i].real) < math.inf) & (abs(a[i].imag) < math.inf) else 1
    return others == 0


@inline
def has_nan(a, a0, n):
    """Whether one of n elements from ``a[a0]`` is NaN."""
    found = False
    for i in range(a0, a0 + n):
        found = found or a[i] != a[i]
    return found


@inline
def set_all(a, a0, n, value):
    """n elements from ``a[a0]`` become ``value``."""
    for i in range(a0, a0 + n):
        a[i] = value


@inline
def conjugate_all(a, a0, n):
    """n elements from ``a[a0]`` become their conjugates."""
    for i in range(a0, a0 + n):
        a[i] = a[i].conjugate()


# --- QR, eigenvalues, singular values ---

@kernel(nogil=True)
def orthogonal_factors(a: "*T", q: "*T", r: "*T", scratch: "*T", m: int, n: int, width: int, tall: int, lwork: int, start: int,
                       stop: int):
    """q (m, width) and r (tall, n) of each a (m, n); without a width r alone.

    scratch (m max(n, width) + min(m, n) + lwork,)."""
    k = min(m, n)
    tau = m * max(n, width)
    work = past(scratch, tau + k)
    for b in range(start, stop):
        turn(a, b * m * n, scratch, 0, m, n)
        geqrf((m, n, scratch, m, past(scratch, tau), work, lwork))
        for i in range(tall):
            for j in range(min(i, n)):
                r[(b * tall + i) * n + j] = T(0)
            for j in range(i, n):
                r[(b * tall + i) * n + j] = scratch[j * m + i]
        if width > 0:
            orgqr((m, width, k, scratch, m, past(scratch, tau), work, lwork))
            turn(scratch, 0, q, b * m * width, width, m)


@kernel(nogil=True)
def hermitian_factors(a: "*T", values: "*U", vectors: "*T", scratch: "*T", n: int, upper: int, step: int, lwork: int,
                      lrwork: int, bad: "*i8", start: int, stop: int):
    """Eigenvalues (n,), ascending, and vectors (n, n) of each Hermitian a (n, n), of which one triangle is read; with a step of
    0 the values (real, of U) alone. bad (2,): int64, which matrix and what LAPACK says of it.

    scratch (lwork + lrwork + 5 n + 3,)."""
    rwork = past(scratch, lwork)
    iwork = past(scratch, lwork + lrwork)
    for b in range(start, stop):
        own = b * step
        good = True
        for i in range(n):
            first = i if upper != 0 else 0
            good = good and finite(a, (b * n + i) * n + first, n - i if upper != 0 else i + 1)
        if not good:
            bad[0], bad[1] = b, 0
            return
        turn(a, b * n * n, vectors, own, n, n)
        info = syevd((VECTORS if step > 0 else NONE, UPPER if upper != 0 else LOWER, n, past(vectors, own), n,
                      past(values, b * n), scratch, lwork, rwork, lrwork, iwork, 3 + 5 * n))
        if info > 0:
            bad[0], bad[1] = b, info
            return
        if step > 0:
            turn_square(vectors, own, n)


@kernel(nogil=True)
def general_factors(a: "*T", values: "*U", vectors: "*U", scratch: "*T", n: int, several: int, apart: int, lwork: int,
                    bad: "*i8", start: int, stop: int):
    """Eigenvalues (n,) of each a (n, n), and vectors (n, n) if there are ``several``, as complex numbers, whose real and
    imaginary parts LAPACK leaves ``apart`` for real a, into values and vectors of the complex U. bad (2,): int64,
    which matrix and what LAPACK says of it. scratch (2 n n + 4 n + lwork,)."""
    found, first = 2 * n * n, n * n
    work = found + 2 * n
    job = VECTORS if several != 0 else NONE
    for b in range(start, stop):
        if not finite(a, b * n * n, n * n):
            bad[0], bad[1] = b, 0
            return
        turn(a, b * n * n, scratch, 0, n, n)
        info = geev((NONE, job, n, scratch, n, past(scratch, found), past(scratch, found + n), scratch, n, past(scratch, first),
                     n, past(scratch, work), lwork, past(scratch, work + lwork)))
        if info > 0:
            bad[0], bad[1] = b, info
            return
        for j in range(n):
            imaginary = scratch[found + n + j].real if apart != 0 else scratch[found + j].imag
            values[b * n + j] = U(complex(scratch[found + j].real, imaginary))
            # Of a pair of conjugate values the vectors' parts are two columns.
            p = j - 1 if apart != 0 and imaginary < 0 else j
            sign = 0 if imaginary == 0 else (1 if imaginary > 0 else -1)
            if several != 0:
                for i in range(n):
                    x = scratch[first + p * n + i]
                    y = sign * scratch[first + (p + abs(sign)) * n + i].real if apart != 0 else x.imag
                    vectors[(b * n + i) * n + j] = U(complex(x.real, y))


@kernel(nogil=True)
def singular_factors(a: "*T", u: "*T", s: "*U", vh: "*T", scratch: "*T", m: int, n: int, wide: int, tall: int, lwork: int,
                     lrwork: int, nan: float, bad: "*i8", start: int, stop: int):
    """u (m, wide), s (k,) of the real U, descending, and vh (tall, n), that is V^H, of each a (m, n); without a width s alone,
    NaN where a has infinities. bad (2,): int64, which matrix and what LAPACK says of it.

    scratch (m n + m wide + tall n + lwork + lrwork + 8 k,)."""
    k = min(m, n)
    left = m * n
    right = left + m * wide
    work = right + tall * n
    job = NONE if wide == 0 else (SOME if wide == k and tall == k else ALL)
    for b in range(start, stop):
        if not finite(a, b * m * n, m * n):  # LAPACK does not return from infinities
            if has_nan(a, b * m * n, m * n):
                bad[0], bad[1] = b, 0
                return
            set_all(u, b * m * wide, m * wide, T(nan))
            set_all(s, b * k, k, nan)
            set_all(vh, b * tall * n, tall * n, T(nan))
            continue
        turn(a, b * m * n, scratch, 0, m, n)
        info = gesdd((job, m, n, scratch, m, past(s, b * k), past(scratch, left), m, past(scratch, right), max(tall, 1),
                      past(scratch, work), lwork, past(scratch, work + lwork), past(scratch, work + lwork + lrwork)))
        if info > 0:
            bad[0], bad[1] = b, info
            return
        turn(scratch, left, u, b * m * wide, wide, m)
        turn(scratch, right, vh, b * tall * n, n, tall)


@inline
def largest(s, s0, k):
    """The largest absolute value of k elements from ``s[s0]``; NaN if one is."""
    most = abs(T(0))
    for i in range(s0, s0 + k):
        size = abs(s[i])
        most = size if size > most or size != size else most
    return most


@kernel
def invert_values(s: "*U", rows: "*T", atol: "*V", rtol: "*V", least: float, share: float, k: int, n: int, atol_step: int,
                  rtol_step: int, start: int, stop: int):
    """Each row (n,) of rows (k, n) divided by its element of s (k,) of U, or 0 where that is not above the tolerances atol and
    rtol of V, which are ``least`` and ``share`` for steps below 0."""
    for b in range(start, stop):
        most = largest(s, b * k, k)
        absolute = V(least) if atol_step < 0 else atol[b * atol_step]
        relative = (V(share) if rtol_step < 0 else rtol[b * rtol_step]) * most
        for i in range(k):
            size = abs(s[b * k + i])
            if size > absolute and size > relative:
                factor = T(U(1) / s[b * k + i])
                for j in range((b * k + i) * n, (b * k + i + 1) * n):
                    rows[j] = rows[j] * factor
            else:
                set_all(rows, (b * k + i) * n, n, T(0))


@kernel
def count_above(s: "*T", atol: "*U", rtol: "*U", out: "*i8", least: float, share: float, k: int, atol_step: int,
                rtol_step: int, start: int, stop: int):
    """How many elements of each s (k,) are above the tolerances atol and rtol of U, as in ``invert_values``, into int64 out."""
    for b in range(start, stop):
        most = largest(s, b * k, k)
        absolute = U(least) if atol_step < 0 else atol[b * atol_step]
        relative = (U(share) if rtol_step < 0 else rtol[b * rtol_step]) * most
        found = 0
        for i in range(b * k, (b + 1) * k):
            found += 1 if abs(s[i]) > absolute and abs(s[i]) > relative else 0
        out[b] = found


# --- triangles ---

@kernel(nogil=True)
def definite_factors(a: "*T", out: "*T", n: int, bad: "*i8", start: int, stop: int):
    """Lower triangular L (n, n), into out, with ``L L^H`` each a (n, n), of which the lower triangle is read.

    bad (2,): int64, which matrix and what LAPACK says of it."""
    for b in range(start, stop):
        at = b * n * n
        for i in range(n):
            for j in range(i + 1):
                out[at + i * n + j] = a[at + i * n + j]
            for j in range(i + 1, n):
                out[at + i * n + j] = T(0)
        # By columns this is the transpose, the conjugate of the matrix: its upper factor by columns is L by rows.
        info = potrf((UPPER, n, past(out, at), n))
        if info == 0:  # NaN, which LAPACK hands through, is not definite
            for i in range(n):
                if info == 0 and has_nan(out, at + i * n, i + 1):
                    info = i + 1
        if info > 0:
            bad[0], bad[1] = b, info
            return


@kernel(nogil=True)
def inverses_by_factors(a: "*T", out: "*T", n: int, upper: int, start: int, stop: int):
    """The inverse (n, n) of each matrix whose lower, or ``upper``, triangular factor is a (n, n), into out."""
    for b in range(start, stop):
        at = b * n * n
        turn(a, at, out, at, n, n)
        potri((UPPER if upper != 0 else LOWER, n, past(out, at), n))
        for i in range(n):
            for j in range(i):
                low, high = at + i * n + j, at + j * n + i
                source, target = (low, high) if upper != 0 else (high, low)
                out[target] = out[source]
                conjugate_all(out, source, 1)


@kernel(nogil=True)
def solve_triangles(a: "*T", b: "*T", x: "*T", n: int, m: int, upper: int, unit: int, left: int, adjoint: int, a_step: int,
                    b_step: int, start: int, stop: int):
    """x (n, m) with ``op(a) x = b`` of triangular a (n, n), or, not ``left``, x (m, n) with ``x op(a) = b``."""
    # By columns all are transposed: (x^T) (op(a)^T) = b^T.
    side, rows, columns = (RIGHT, m, n) if left != 0 else (LEFT, n, m)
    triangle, turned = LOWER if upper != 0 else UPPER, ADJOINT if adjoint != 0 else PLAIN
    diagonal = UNIT if unit != 0 else PLAIN
    for i in range(start, stop):
        at = i * n * m
        for j in range(n * m):
            x[at + j] = b[i * b_step + j]
        trsm((side, triangle, turned, diagonal, rows, columns, 1.0, past(a, i * a_step), n, past(x, at), rows))


# --- elimination ---

@kernel(nogil=True)
def eliminate(a: "*T", lu: "*T", pivots: "*i4", n: int, strict: int, bad: "*i8", start: int, stop: int):
    """The factors of each a (n, n), by columns, into lu, with the rows that were swapped in int32 pivots (n,); if ``strict``,
    singular ones are told in bad (2,), int64: which matrix, and what LAPACK says of it."""
    for b in range(start, stop):
        turn(a, b * n * n, lu, b * n * n, n, n)
        info = getrf((n, n, past(lu, b * n * n), n, past(pivots, b * n)))
        if info > 0 and strict != 0:
            bad[0], bad[1] = b, info
            return


@inline
def swap(x, x0, pivots, p0, n, columns, row_step, step, backwards):
    """Rows of x (n, columns), ``row_step`` apart, in the order of the pivots, or out of it."""
    for k in range(n):
        i = n - 1 - k if backwards else k
        j = pivots[p0 + i] - 1
        if j != i:
            for c in range(columns):
                p, q = x0 + i * row_step + c * step, x0 + j * row_step + c * step
                x[p], x[q] = x[q], x[p]


@kernel(nogil=True)
def solve_factors(lu: "*T", pivots: "*i4", b: "*T", x: "*T", n: int, m: int, left: int, adjoint: int, lu_step: int,
                  pivots_step: int, b_step: int, start: int, stop: int):
    """x (n, m) with ``op(a) x = b``, or, not ``left``, x (m, n) with ``x op(a) = b``, by lu and int32 pivots of
    ``eliminate``."""
    side, rows, columns = (RIGHT, m, n) if left != 0 else (LEFT, n, m)
    row_step, step = (m, 1) if left != 0 else (1, n)
    # By columns x is transposed, and BLAS has no conjugate without a transpose: x is conjugated instead.
    first = (left != 0) == (adjoint == 0)
    turned = TURNED if adjoint == 0 else PLAIN
    for i in range(start, stop):
        at, own, p0 = i * n * m, past(lu, i * lu_step), i * pivots_step
        for j in range(n * m):
            x[at + j] = b[i * b_step + j]
        if adjoint != 0:
            conjugate_all(x, at, n * m)
        if first:
            swap(x, at, pivots, p0, n, m, row_step, step, False)
            trsm((side, LOWER, turned, UNIT, rows, columns, 1.0, own, n, past(x, at), rows))
            trsm((side, UPPER, turned, PLAIN, rows, columns, 1.0, own, n, past(x, at), rows))
        else:
            trsm((side, UPPER, turned, PLAIN, rows, columns, 1.0, own, n, past(x, at), rows))
            trsm((side, LOWER, turned, UNIT, rows, columns, 1.0, own, n, past(x, at), rows))
            swap(x, at, pivots, p0, n, m, row_step, step, True)
        if adjoint != 0:
            conjugate_all(x, at, n * m)


@kernel(nogil=True)
def invert(a: "*T", out: "*T", scratch: "*T", pivots: "*i4", n: int, strict: int, lwork: int, nan: float, bad: "*i8",
           start: int, stop: int):
    """The inverse of each a (n, n), into out; of singular ones NaN, or, if ``strict``, they are told in bad (2,), int64.

    scratch (n n + lwork,), int32 pivots (n,)."""
    for b in range(start, stop):
        turn(a, b * n * n, scratch, 0, n, n)
        info = getrf((n, n, scratch, n, pivots))
        if info > 0:
            if strict != 0:
                bad[0], bad[1] = b, info
                return
            set_all(out, b * n * n, n * n, T(nan))
        else:
            getri((n, scratch, n, pivots, past(scratch, n * n), lwork))
            turn(scratch, 0, out, b * n * n, n, n)


@inline
def eliminated(a, a0, scratch, pivots, n):
    """The factors of a (n, n) at ``a[a0]`` in scratch, swapped rows in pivots; -1 if they were an odd number, else 1."""
    turn(a, a0, scratch, 0, n, n)
    getrf((n, n, scratch, max(n, 1), pivots))
    odd = 1
    for i in range(n):
        odd = -odd if pivots[i] != i + 1 else odd
    return odd


@inline
def product_of(factors, odd, n):
    """The determinant by the factors of ``eliminated``."""
    det = T(odd)
    for i in range(n):
        det *= factors[i * (n + 1)]
    return det


@inline
def length(a, a0, n):
    """The Euclidean norm of n elements from ``a[a0]``."""
    total = abs(T(0))
    for i in range(a0, a0 + n):
        size = abs(a[i])
        total += size * size
    return math.sqrt(total)


@kernel(nogil=True)
def cofactors(a: "*U", out: "*U", scratch: "*T", values: "*V", pivots: "*i4", limit: float, n: int, lwork: int, lrwork: int,
              nan: float, bad: "*i8", start: int, stop: int):
    """conj(det a) a^-H of each a (n, n) of U, into out, in the wider T; by singular values where the condition number is not
    below ``limit``. bad (2,): int64, which matrix and what LAPACK says of it.

    scratch (4 n n + lwork + lrwork + 8 n,), values (2 n,) of the real V, int32 pivots (n,)."""
    size = n * n
    left, right, work = 2 * size, 3 * size, 4 * size
    space = past(scratch, work)
    for b in range(start, stop):
        turn(a, b * size, scratch, size, n, n)
        if not finite(scratch, size, size):  # LAPACK does not return from infinities
            set_all(out, b * size, size, U(nan))
            continue
        det = product_of(scratch, eliminated(a, b * size, scratch, pivots, n), n)
        if det != T(0):
            getri((n, scratch, n, pivots, space, lwork))
            if length(scratch, size, size) * length(scratch, 0, size) < limit:
                for i in range(size):
                    out[b * size + i] = U((det * scratch[i]).conjugate())
                continue
        info = gesdd((ALL, n, n, past(scratch, size), n, values, past(scratch, left), n, past(scratch, right), n, space, lwork,
                      past(space, lwork), past(space, lwork + lrwork)))
        if info > 0:
            bad[0], bad[1] = b, info
            return
        # conj(det U det V^H), for which both are turned: that has no influence.
        sign = product_of(scratch, eliminated(scratch, left, scratch, pivots, n), n)
        sign = (sign * product_of(scratch, eliminated(scratch, right, scratch, pivots, n), n)).conjugate()
        # Each column of U times all values but its own: those before it and those behind it.
        before = T(1).real
        for k in range(n):
            values[n + k] = before
            before *= values[k]
        behind = T(1).real
        for k in range(n - 1, -1, -1):
            for i in range(left + k * n, left + (k + 1) * n):
                scratch[i] = scratch[i] * (sign * T(values[n + k] * behind))
            behind *= values[k]
        gemm((PLAIN, PLAIN, n, n, n, 1.0, past(scratch, left), n, past(scratch, right), n, 0.0, scratch, n))
        turn(scratch, 0, out, b * size, n, n)


@kernel(nogil=True)
def determinants(a: "*T", out: "*T", scratch: "*T", pivots: "*i4", n: int, start: int, stop: int):
    """The determinant of each a (n, n), into out. scratch (n n,), int32 pivots (n,)."""
    for b in range(start, stop):
        out[b] = product_of(scratch, eliminated(a, b * n * n, scratch, pivots, n), n)


@kernel(nogil=True)
def log_determinants(a: "*T", sign: "*T", log: "*U", scratch: "*T", pivots: "*i4", n: int, signs: int, start: int, stop: int):
    """Sign, or phase, into sign, and logarithm of the absolute value, into log of the real U, of the determinant of each
    a (n, n); NaN has no sign where there are ``signs``. scratch (n n,), int32 pivots (n,)."""
    for b in range(start, stop):
        turned = T(eliminated(a, b * n * n, scratch, pivots, n))
        total = abs(T(0))
        for i in range(n):
            d = scratch[i * (n + 1)]
            size = abs(d)
            turned = turned * (d / T(size)) if size != 0 else T(0)
            total += math.log(size)
        sign[b] = T(0) if signs != 0 and total != total else turned
        log[b] = total
