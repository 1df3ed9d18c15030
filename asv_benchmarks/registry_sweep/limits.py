"""What the work of a case takes without all else, where that is not bytes: LAPACK's routine on matrices as it wants them, rows
that are gathered, arithmetic on numbers that stay in the first-level cache, multiply-adds of a product in registers."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.core import storage
from numbagrad.core.registry import REGISTRY
from numbagrad.kernel import blas
from numbagrad.kernel.jit import T, kernel, strip
from numbagrad.kernel.lanes import Piece, lanes, lanes_of
from numbagrad.kernel.lapack import LEFT, LOWER, PLAIN, TURNED, UNIT, UPPER, gemm, geqrf, getrf, orgqr, ormqr, trsm

KIND = storage.F4
SPACE = 65 * 64  # what ormqr takes beside a block of columns
FIRST_LEVEL = 32 << 10  # bytes


# --- LAPACK and BLAS ---

@kernel(nogil=True)
def decompose(a: "*T", x: "*T", tau: "*T", work: "*T", m: int, n: int, lwork: int):
    """``geqrf`` of a (m, n), which is copied into x, factors into tau (n,). work (lwork,)."""
    for i in range(m * n):
        x[i] = a[i]
    geqrf((m, n, x, m, tau, work, lwork))


@kernel(nogil=True)
def multiply_out(a: "*T", x: "*T", tau: "*T", work: "*T", m: int, n: int, lwork: int):
    """``orgqr`` of a (m, n), which is copied into x, and tau (n,). work (lwork,)."""
    for i in range(m * n):
        x[i] = a[i]
    orgqr((m, n, n, x, m, tau, work, lwork))


@kernel(nogil=True)
def multiply_by(a: "*T", tau: "*T", c: "*T", x: "*T", work: "*T", m: int, n: int, k: int, lwork: int):
    """``ormqr`` of a (m, k) and tau (k,) on c (m, n), which is copied into x. work (lwork,)."""
    for i in range(m * n):
        x[i] = c[i]
    ormqr((LEFT, PLAIN, m, n, k, a, m, tau, x, m, work, lwork))


@kernel(nogil=True)
def eliminate(a: "*T", b: "*T", x: "*T", y: "*T", pivots: "*i4", n: int):
    """``getrf`` of a (n, n), copied into x, and ``trsm`` twice on b (n,), copied into y. int32 pivots (n,)."""
    for i in range(n * n):
        x[i] = a[i]
    for i in range(n):
        y[i] = b[i]
    getrf((n, n, x, n, pivots))
    for i in range(n):
        y[i], y[pivots[i] - 1] = y[pivots[i] - 1], y[i]
    trsm((LEFT, LOWER, PLAIN, UNIT, n, 1, 1.0, x, n, y, n))
    trsm((LEFT, UPPER, PLAIN, PLAIN, n, 1, 1.0, x, n, y, n))


@kernel(nogil=True)
def product(a: "*T", b: "*T", c: "*T", m: int, n: int, k: int):
    """``gemm``: a (k, m) transposed times b (k, n) into c (m, n)."""
    gemm((TURNED, PLAIN, m, n, k, 1.0, a, k, b, k, 0.0, c, m))


def called(fn, arrays, *numbers):
    """A call of the kernel in float32 on arrays and numbers."""
    entry, addresses = fn[KIND], [storage.address(a) for a in arrays]
    return lambda arrays=arrays: entry(*addresses, *numbers)  # (which have to stay)


def space(*shapes):
    return [np.zeros(s, "float32") for s in shapes]


def by_columns(a):
    return np.ascontiguousarray(np.swapaxes(a, -2, -1))


def decomposed(a):
    (m, n), lwork = a.shape, a.shape[1] * 64
    return called(decompose, [by_columns(a), *space((n, m), n, lwork)], m, n, lwork)


def multiplied_out(a, tau):
    (m, n), lwork = a.shape, a.shape[1] * 64
    return called(multiply_out, [by_columns(a), *space((n, m)), tau, *space(lwork)], m, n, lwork)


def multiplied_by(a, tau, c):
    (m, n), k = c.shape, len(tau)
    lwork = n * 64 + SPACE
    return called(multiply_by, [by_columns(a), tau, by_columns(c), *space((n, m), lwork)], m, n, k, lwork)


def eliminated(a, b):
    n = b.size
    pivots = np.zeros(n, "int32")
    return called(eliminate, [by_columns(a.reshape(n, n)), b.ravel(), *space((n, n), n), pivots], n)


def distances(a, b):
    return called(product, [a, b, *space((len(b), len(a)))], len(a), len(b), a.shape[1])


ROUTINES = {"geqrf": decomposed, "orgqr": multiplied_out, "householder_product": multiplied_out, "ormqr": multiplied_by,
            "tensorsolve": eliminated, "cdist": distances}


def routine(case, measure, threads):
    """Seconds of the routine, on so many of the library's threads."""
    call = ROUTINES[case[0]](*case[2])

    def set_threads(n):
        blas._control(blas._load().__file__, "set_num_threads", n)
    set_threads(threads)
    try:
        return measure(call)
    finally:
        set_threads(1)


# --- rows of a table ---

@kernel
def look(table: "*i8", at: "*i8", seen: "*i8", width: int, start: int, stop: int):
    """One word of each cache line of the rows int64 at (n,) of int64 table (rows, width); all of a row together into int64
    seen (n,)."""
    for i in range(start, stop):
        found, row = 0, at[i] * width
        for c in range(0, width, 8):
            found |= table[row + c]
        seen[i] = found


def gathered(case, measure, threads):
    """Seconds of a look at each cache line of the rows that a bag gathers."""
    at, table = case[2]
    words, at = table.view(np.int64), at.ravel()
    seen = np.zeros(at.size, np.int64)
    arrays = [words, at, seen]
    given = *[storage.address(a) for a in arrays], words.shape[1]
    return measure(lambda: look.run(KIND, given, at.size, at.size * words.shape[1]))


# --- arithmetic ---

def alone(case, mode, sizes, cut, parts, lib, measure, threads):
    """Seconds that a call takes for each item more, of ``sizes`` items that are ``cut`` from the case."""
    short, long = [measure(parts(lib, cut(case, n))[mode]) for n in sizes]
    return (long - short) / (sizes[1] - sizes[0]) / threads


def pointwise(case, mode, *rest):
    """Seconds of the arithmetic of as many numbers, computed a block at a time that stays in the first-level cache."""
    name, names, arrays, *others = case
    if len({a.shape for a in arrays}) != 1:
        return None
    item = max(arrays[0].itemsize, 4)
    most = FIRST_LEVEL // (item * (len(arrays) + 1) * (mode + 1))

    def cut(case, n):
        return (name, names, [np.ascontiguousarray(a.ravel()[:n]) for a in arrays], *others)
    each = alone(case, mode, (most // 4, most), cut, *rest)
    return each * arrays[0].size


def labelled(case, mode, *rest):
    """Seconds of the chains of ``ctc_loss``: one sequence of few steps, for each step more."""
    name, names, (x, targets), args, kwargs, leaves = case
    steps, batch, _ = x.shape
    labels = targets.shape[1]

    def cut(case, n):
        return name, names, [x[:n, :1].copy(), targets[:1].copy()], [*args[:2], (n,), (labels,)], kwargs, leaves
    return alone(case, mode, (labels + 4, 2 * labels + 4), cut, *rest) * steps * batch


# --- multiply-adds ---

CHAINS = 12  # of multiply-adds that wait for one another: more than begin while one takes its time


def _chains(pen, out, factor, count):
    """``count`` multiply-adds of vectors in each of CHAINS chains, whose sum goes to ``out``."""
    x = pen.every(factor)
    total, *others = pen.loop(count, lambda i, *sums: [s * x + x for s in sums], *[pen.constant(k) for k in range(CHAINS)])
    for s in others:
        total = total + s
    pen.put(out, pen.n(0), total)


chains = Piece(_chains, "wfi")


@kernel(nogil=True)
def multiply_add(out: "*T", count: int):
    """Multiply-adds in registers alone, whose sum is written to out (a vector)."""
    s = strip()
    chains(s, T(0.5), count)
    for i in range(lanes()):
        out[i] = s[i]


def windows(x, w, *bias):
    return math.prod([a - k + 1 for a, k in zip(x[2:], w[2:])]) * x[0] * math.prod(w)


# The multiply-adds of a product by the shapes of its tensors, with what the sweep's own samples leave at their defaults.
PRODUCTS = {
    **dict.fromkeys(("mm", "matmul", "bmm", "tensordot"), lambda a, b: math.prod(a) * b[-1]),
    **dict.fromkeys(("addmm", "addbmm", "baddbmm"), lambda c, a, b: math.prod(a) * b[-1]),
    "linear": lambda x, w, *bias: math.prod(x) * w[0],
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), windows),
    **dict.fromkeys([f"conv_transpose{n}d" for n in (1, 2, 3)], lambda x, w, *bias: math.prod(x) * math.prod(w[1:])),
    "scaled_dot_product_attention": lambda q, k, v: math.prod(q) * k[-2] + math.prod(q[:-1]) * k[-2] * v[-1],
}


def at_greatest_rate(case, mode, measure, threads):
    """Seconds of a product's multiply-adds, with backward three times as many, at the rate of those in registers."""
    work = PRODUCTS[case[0]](*[a.shape for a in case[2]]) * (3 if mode else 1)
    out, count = np.zeros(64, "float32"), 10000
    call = called(multiply_add, [out], count)
    short, long = measure(call), measure(called(multiply_add, [out], 2 * count))
    return work * (long - short) / (count * CHAINS * lanes_of("f4")) / threads


def seconds(lib, case, mode, parts, measure, threads):
    """Seconds of the bare work of a case (``measure`` times a call, ``parts`` makes the calls of a case), or None."""
    name = case[0]
    if len(case) == 4:
        return None
    if name in ROUTINES or name == "embedding_bag":
        return None if mode else (routine if name in ROUTINES else gathered)(case, measure, threads)
    if name in PRODUCTS:
        return at_greatest_rate(case, mode, measure, threads)
    rest = parts, lib, measure, threads
    if name == "ctc_loss":
        return labelled(case, mode, *rest)
    return pointwise(case, mode, *rest) if REGISTRY[name].kind == "elementwise" else None
