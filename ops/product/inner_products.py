"""Matrix products for use inside kernels: BLAS, and loops of our own for few rows."""

from __future__ import annotations

from numbagrad.extend import T, inline
from numbagrad.kernel import blas, blas_kernels, cache
from numbagrad.kernel.jit import FAST, Inline, nb


class Called(Inline):
    """A function that kernels call and LLVM compiles by itself; ``make(code)`` gives its dispatcher for a dtype."""

    def __init__(self, make):
        self.make, self.made = make, {}

    def specialise(self, letters):
        code = letters["T"]
        if code not in self.made:
            self.made[code] = self.make(code)
        return self.made[code]

    def key(self, letters):
        return "called " + letters["T"] + cache.fingerprint(self.specialise(letters).py_func)


@Called
def gemm(code):
    """``C = alpha op(A) op(B) + beta C`` by BLAS, of addresses."""
    blas._load()
    return blas_kernels.inner(code)


@Called
def rows_product(code):
    # Inlined into the loop over time, the same text comes out a third slower.
    """``C += A W`` for few rows of a with w, into c: ``add_product``."""
    dispatcher = nb().njit(fastmath=set(FAST), error_model="numpy")(add_product)
    return cache.attach(dispatcher, "rows_product " + code + cache.fingerprint(add_product))


def add_product(a, a0, w, c, c0, rows, n, k, ldc):
    """``C += A W`` for few rows (rows, k) at ``a[a0]`` and row-major W (k, n), C at ``c[c0]`` with rows ``ldc`` apart.

    BLAS would first copy W into its own order, which for 32 rows costs as much as the product."""
    whole, deep = rows - rows % 4, k - k % 4
    for r in range(0, whole, 4):
        r0 = c0 + r * ldc
        r1 = r0 + ldc
        r2 = r1 + ldc
        r3 = r2 + ldc
        for p in range(0, deep, 4):
            q0 = a0 + r * k + p
            q1 = q0 + k
            q2 = q1 + k
            q3 = q2 + k
            a00, a01, a02, a03 = a[q0], a[q0 + 1], a[q0 + 2], a[q0 + 3]
            a10, a11, a12, a13 = a[q1], a[q1 + 1], a[q1 + 2], a[q1 + 3]
            a20, a21, a22, a23 = a[q2], a[q2 + 1], a[q2 + 2], a[q2 + 3]
            a30, a31, a32, a33 = a[q3], a[q3 + 1], a[q3 + 2], a[q3 + 3]
            w0 = p * n
            w1 = w0 + n
            w2 = w1 + n
            w3 = w2 + n
            for j in range(n):
                v0, v1, v2, v3 = w[w0 + j], w[w1 + j], w[w2 + j], w[w3 + j]
                s0 = c[r0 + j] + a00 * v0 + a01 * v1 + a02 * v2 + a03 * v3
                s1 = c[r1 + j] + a10 * v0 + a11 * v1 + a12 * v2 + a13 * v3
                s2 = c[r2 + j] + a20 * v0 + a21 * v1 + a22 * v2 + a23 * v3
                s3 = c[r3 + j] + a30 * v0 + a31 * v1 + a32 * v2 + a33 * v3
                c[r0 + j] = s0
                c[r1 + j] = s1
                c[r2 + j] = s2
                c[r3 + j] = s3
        for p in range(deep, k):
            q0 = a0 + r * k + p
            b0, b1, b2, b3 = a[q0], a[q0 + k], a[q0 + 2 * k], a[q0 + 3 * k]
            w0 = p * n
            for j in range(n):
                v0 = w[w0 + j]
                s0 = c[r0 + j] + b0 * v0
                s1 = c[r1 + j] + b1 * v0
                s2 = c[r2 + j] + b2 * v0
                s3 = c[r3 + j] + b3 * v0
                c[r0 + j] = s0
                c[r1 + j] = s1
                c[r2 + j] = s2
                c[r3 + j] = s3
    for r in range(whole, rows):
        r0 = c0 + r * ldc
        for p in range(0, deep, 4):
            q0 = a0 + r * k + p
            a00, a01, a02, a03 = a[q0], a[q0 + 1], a[q0 + 2], a[q0 + 3]
            w0 = p * n
            for j in range(n):
                c[r0 + j] += a00 * w[w0 + j] + a01 * w[w0 + n + j] + a02 * w[w0 + 2 * n + j] + a03 * w[w0 + 3 * n + j]
        for p in range(deep, k):
            b0 = a[a0 + r * k + p]
            for j in range(n):
                c[r0 + j] += b0 * w[p * n + j]


@inline
def clear(c, c0, rows, n, ldc):
    """Zeros into ``rows`` rows of n elements of c, ldc apart, from c0 on."""
    for r in range(rows):
        for j in range(c0 + r * ldc, c0 + r * ldc + n):
            c[j] = T(0)
