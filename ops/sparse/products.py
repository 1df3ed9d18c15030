"""Products of a matrix given by coordinates and a dense one, and products of chosen rows: each is in the other's gradient."""

from __future__ import annotations

import numpy as np

from numbagrad.extend import REGISTRY, Sample, T, custom, kernel, load, store
from numbagrad.kernel import tape


@kernel
def add_multiples(rows: "*i8", cols: "*i8", v: "*T", x: "*T", y: "*T", bad: "*i8", m: int, k: int, n: int, count: int,
                  start: int, stop: int):
    """Columns ``start`` to ``stop`` of y (m, n): zeros, to whose rows at rows (count,) those of x (k, n) at cols (count,) are
    added, times v (count,). The first coordinate outside goes to int64 bad (1,) and ends the work."""
    for i in range(m):
        for j in range(start, stop):
            y[i * n + j] = store(T(0))
    for e in range(count):
        r, c, a = rows[e], cols[e], load(v[e])
        if r < 0 or r >= m or c < 0 or c >= k:
            bad[0] = e
            return
        for j in range(start, stop):
            y[r * n + j] = store(load(y[r * n + j]) + a * load(x[c * n + j]))


@kernel
def row_products(rows: "*i8", cols: "*i8", x: "*T", y: "*T", out: "*T", bad: "*i8", m: int, k: int, n: int, start: int,
                 stop: int):
    """Sums of the products of rows of x (m, n) at rows (count,) and of y (k, n) at cols (count,), into out (count,). The first
    coordinate outside goes to int64 bad (1,) and ends the work."""
    for e in range(start, stop):
        r, c = rows[e], cols[e]
        if r < 0 or r >= m or c < 0 or c >= k:
            bad[0] = e
            return
        total = load(store(T(0)))
        for j in range(n):
            total += load(x[r * n + j]) * load(y[c * n + j])
        out[e] = store(total)


def outside(*_):
    raise RuntimeError("a coordinate of a sparse tensor lies outside of it: its indices were changed since it was made")


_coordinate = tape.Flag(outside)


def check(rows, cols, x, y, name):
    """RuntimeError unless coordinates are vectors of one length and the others of one dtype."""
    for at in (rows, cols):
        if at._kind.dtype.code != "i8" or at._shape != rows._shape or len(at._shape) != 1:
            raise RuntimeError(f"{name}: coordinates have to be int64 vectors of one length, but got {at._kind.dtype} of "
                               f"{list(at._shape)} beside {list(rows._shape)}")
    if x._kind is not y._kind:
        raise RuntimeError(f"{name}: expected values and matrix to have the same dtype and device, but got: {x._kind.dtype} != "
                           f"{y._kind.dtype}")


def _reference(rows, cols, v, x, m):
    out = np.zeros((m, x.shape[1]), x.dtype)
    np.add.at(out, rows, v[:, None] * x[cols])
    return out


def _conj(t):
    return REGISTRY["conj"].callable(t) if t._kind.dtype.is_complex else t


AT = ("int64", (5,), 0, 3)


@custom(private=True, joins=True, reference=_reference, node="SparseAddmmBackward0", samples=(Sample(AT, AT, (5,), (3, 4), 3),))
def sparse_times_dense(rows, cols, v, x, m: int):
    """The matrix of ``m`` rows with elements ``v`` at (rows, cols), equal ones added up, times the matrix ``x``."""
    check(rows, cols, v, x, "sparse_times_dense()")
    return (m, x._shape[1]), x._kind


@sparse_times_dense.cpu
def _(out, rows, cols, v, x, m):
    k, n = x._shape
    bad = _coordinate.take(x._kind)
    add_multiples.run((x._kind,), (rows._ptr, cols._ptr, v._ptr, x._ptr, out._ptr, bad.address, m, k, n, v._n), n, v._n * n)
    bad.check()


@sparse_times_dense.gradient
def _(g, rows, cols, v, x, needs):
    return (None, None, products_of_rows(rows, cols, g, _conj(x)) if needs[2] else None,
            sparse_times_dense(cols, rows, _conj(v), g, x._shape[0]) if needs[3] else None)


@custom(private=True, reference=lambda rows, cols, x, y: (x[rows] * y[cols]).sum(1), node="SparseSampledAddmmBackward0",
        samples=(Sample(AT, AT, (3, 4), (3, 4)),))
def products_of_rows(rows, cols, x, y):
    """Dot products of rows of ``x`` at ``rows`` and rows of ``y`` at ``cols``."""
    check(rows, cols, x, y, "products_of_rows()")
    return rows._shape, x._kind


@products_of_rows.cpu
def _(out, rows, cols, x, y):
    (m, n), k = x._shape, y._shape[0]
    bad = _coordinate.take(x._kind)
    row_products.run((x._kind,), (rows._ptr, cols._ptr, x._ptr, y._ptr, out._ptr, bad.address, m, k, n), rows._n, rows._n * n)
    bad.check()


@products_of_rows.gradient
def _(g, rows, cols, x, y, needs):
    return (None, None, sparse_times_dense(rows, cols, g, _conj(y), x._shape[0]) if needs[2] else None,
            sparse_times_dense(cols, rows, g, _conj(x), y._shape[0]) if needs[3] else None)
