"""Sliding windows along a dimension: a view whose elements overlap, and the sums that are its gradient."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base.shapes import wrap_dim
from numbagrad.core.tensor import contiguous_strides
from numbagrad.extend import Sample, T, custom, load, store
from numbagrad.extend import view as view_op
from numbagrad.kernel.jit import kernel


def unfold_geometry(shape, strides, dimension, size, step):
    """Geometry of sliding windows; the window becomes the last dimension."""
    if not shape:
        if size > 1:
            raise RuntimeError(f"maximum size for tensor at dimension 0 is 1 but size is {size}")
        return (size,), (1,), 0
    d = wrap_dim(dimension, len(shape))
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > shape[d]:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {shape[d]} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (shape[d] - size) // step + 1
    return ((*shape[:d], count, *shape[d + 1:], size),
            (*strides[:d], strides[d] * step, *strides[d + 1:], strides[d]), 0)


@view_op(kinds={"size": "int"},
         namespaces=(), samples=(Sample((7, 2), 0, 3, 2), Sample((2, 6), 1, 2, 3)), reference=lambda a, d, size, step:
         np.lib.stride_tricks.sliding_window_view(a, size, d)[(slice(None),) * d + (slice(None, None, step),)])
def unfold(input, dimension, size, step):
    """Windows of ``size`` elements every ``step`` along a dimension; the window is a new last dimension."""
    shape = input._shape
    return unfold_geometry(shape, input._strides or contiguous_strides(shape), dimension, size, step)


@unfold.gradient
def _(g, shape, dimension, size, step):
    shape = tuple(shape)
    if not g._n:
        return g.new_zeros(shape)
    return windows_back.call(g, shape, wrap_dim(dimension, len(shape)), size, step) if shape else g.reshape(())


@kernel
def add_windows(g: "*T", out: "*T", n: int, inner: int, count: int, size: int, step: int, piece: int, start: int, stop: int):
    """out (outer, n, inner) from windows g (outer, count, inner, size); items are pieces of n, in each of outer."""
    pieces = (n + piece - 1) // piece
    for item in range(start, stop):
        o = item // pieces
        low = (item - o * pieces) * piece
        high = min(n, low + piece)
        base = o * n * inner
        for i in range(base + low * inner, base + high * inner):
            out[i] = store(T(0))
        first = max(0, (low - size) // step + 1)
        for w in range(first, min(count, (high + step - 1) // step)):
            at = w * step
            begin, end = max(low, at), min(high, at + size)
            p, q = (o * count + w) * inner * size + begin - at, base + begin * inner
            if inner == 1:
                for j in range(end - begin):
                    out[q + j] = store(load(out[q + j]) + load(g[p + j]))
            else:
                for j in range(end - begin):
                    for c in range(inner):
                        out[q + j * inner + c] = store(load(out[q + j * inner + c]) + load(g[p + j + c * size]))


def _reference(g, shape, dimension, size, step):
    out = np.zeros(shape)
    for w in range(g.shape[dimension]):
        part = out[(slice(None),) * dimension + (slice(w * step, w * step + size),)]
        part += np.moveaxis(np.take(g, w, dimension), -1, dimension)
    return out


@custom(private=True, joins=True, dtypes="any", node="UnfoldBackwardBackward0", reference=_reference, samples=(
    Sample((3, 2, 3), (7, 2), 0, 3, 2), Sample((2, 4, 3), (2, 6), 1, 3, 1), Sample((2, 3, 2, 2), (2, 9, 2), 1, 2, 3)))
def windows_back(g, shape: tuple, dimension: int, size: int, step: int):
    """The sum of windows at their places in zeros of ``shape``: the gradient of ``unfold``."""
    return shape, g._kind


PIECE = 512  # elements of an item, at least; devices have a thread for each place


@windows_back.cpu
def _(out, g, shape, dimension, size, step):
    n, inner = shape[dimension], math.prod(shape[dimension + 1:])
    count = (n - size) // step + 1
    piece = min(n, -(-PIECE // inner)) if out._kind.cpu else 1
    items = out._n // (n * inner) * -(-n // piece)
    add_windows.run(out._kind, (g._ptr, out._ptr, n, inner, count, size, step, piece), items, 2 * g._n + out._n)


@windows_back.gradient
def _(g_, dimension, size, step):
    return unfold.call(g_, dimension, size, step)
