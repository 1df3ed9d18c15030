"""Householder reflections by LAPACK, a batch of matrices after one another."""

from __future__ import annotations

from numbagrad.kernel.jit import kernel
from numbagrad.kernel.lapack import geqrf, orgqr, past

from .kernels import turn


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
