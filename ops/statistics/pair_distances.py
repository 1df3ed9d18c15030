"""Distances of each two rows of one matrix."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, T, accumulate, custom, function, inline, kernel, load, power, sqrt, store

from ..linalg.common import op

# How the differences of two rows become a distance: by their number, by the sum of their sizes, by the largest, by powers.
WAYS = {0.0: 0, 1.0: 1, math.inf: 2}
POWERS = 3


@kernel
def distances(x: "*T", out: "*T", n: int, m: int, way: int, p: float, start: int, stop: int):
    """The p-norms of the differences of each row of x (n, m) from those behind it, into out (n * (n - 1) / 2,); an item is a
    row and the one as far from the end, so that all have as much to do; way is one of WAYS, or POWERS."""
    for item in range(start, stop):
        for half in range(1 if 2 * item == n - 1 else 2):
            i = item if half == 0 else n - 1 - item
            a, at = i * m, i * n - i * (i + 1) // 2
            for j in range(i + 1, n):
                b, total = j * m, T(0)
                if way == 1:
                    for c in range(m):
                        total = accumulate(total, abs(load(x[a + c]) - load(x[b + c])))
                elif way == 0:
                    for c in range(m):
                        total += T(1) if load(x[a + c]) != load(x[b + c]) else T(0)
                elif way == 2:
                    for c in range(m):
                        d = abs(load(x[a + c]) - load(x[b + c]))
                        total = d if d > total or d != d else total
                else:
                    for c in range(m):
                        total = accumulate(total, power(abs(load(x[a + c]) - load(x[b + c])), T(p)))
                    total = power(total, T(1.0 / p))
                out[at + j - i - 1] = store(total)


@kernel
def euclidean_distances(x: "*T", out: "*T", n: int, m: int, start: int, stop: int):
    """Euclidean distances of each row of x (n, m) from those behind it, into out (n * (n - 1) / 2,), four together; items as in
    ``distances``."""
    for item in range(start, stop):
        for half in range(1 if 2 * item == n - 1 else 2):
            i = item if half == 0 else n - 1 - item
            a, at = i * m, i * n - i * (i + 1) // 2 - i - 1
            for j in range(i + 1, n, 4):
                b0, b1, b2, b3 = j * m, min(j + 1, n - 1) * m, min(j + 2, n - 1) * m, min(j + 3, n - 1) * m
                t0, t1, t2, t3 = T(0), T(0), T(0), T(0)
                for c in range(m):
                    v = load(x[a + c])
                    d0, d1, d2, d3 = v - load(x[b0 + c]), v - load(x[b1 + c]), v - load(x[b2 + c]), v - load(x[b3 + c])
                    t0, t1 = accumulate(t0, d0 * d0), accumulate(t1, d1 * d1)
                    t2, t3 = accumulate(t2, d2 * d2), accumulate(t3, d3 * d3)
                out[at + j] = store(sqrt(t0))
                if j + 1 < n:
                    out[at + j + 1] = store(sqrt(t1))
                if j + 2 < n:
                    out[at + j + 2] = store(sqrt(t2))
                if j + 3 < n:
                    out[at + j + 3] = store(sqrt(t3))


@inline
def place(i, j, n):
    """Where the distance of rows i and j of n is, which are two."""
    low, high = min(i, j), max(i, j)
    return low * n - low * (low + 1) // 2 + high - low - 1


@kernel
def weights(y: "*T", g: "*T", out: "*T", start: int, stop: int):
    """Gradients g (n,) over distances y (n,), 0 where there is no distance, into out (n,)."""
    for i in range(start, stop):
        r, w = load(y[i]), load(g[i])
        out[i] = store(w / r if r != T(0) else T(0))


@inline
def weight(w, i, j, n):
    """The weight in w (n * (n - 1) / 2,) of rows i and j; 0 where these are not two."""
    return T(0) if j == i or j >= n else load(w[place(i, j, n)])


@kernel
def euclidean_slopes(x: "*T", w: "*T", out: "*T", n: int, m: int, start: int, stop: int):
    """Derivatives by rows of x (n, m), of start to stop, of the Euclidean distances with the weights w (n * (n - 1) / 2,), into
    out (n, m)."""
    for i in range(start, stop):
        a = i * m
        for c in range(m):
            out[a + c] = store(T(0))
        for j in range(0, n, 4):
            v0, v1, v2, v3 = weight(w, i, j, n), weight(w, i, j + 1, n), weight(w, i, j + 2, n), weight(w, i, j + 3, n)
            b0, b1, b2, b3 = j * m, min(j + 1, n - 1) * m, min(j + 2, n - 1) * m, min(j + 3, n - 1) * m
            for c in range(m):
                v = load(x[a + c])
                total = v0 * (v - load(x[b0 + c])) + v1 * (v - load(x[b1 + c]))
                total += v2 * (v - load(x[b2 + c])) + v3 * (v - load(x[b3 + c]))
                out[a + c] = store(load(out[a + c]) + total)


@kernel
def slopes(x: "*T", y: "*T", g: "*T", out: "*T", n: int, m: int, way: int, p: float, start: int, stop: int):
    """Derivatives by rows of x (n, m), of start to stop, of the sum of distances y times g, both (n * (n - 1) / 2,), into out
    (n, m); way and p as in ``distances``. Of no distance the derivative is zero."""
    for i in range(start, stop):
        a = i * m
        for c in range(m):
            out[a + c] = store(T(0))
        for j in range(n):
            if j == i or way == 0:
                continue
            k, b = place(i, j, n), j * m
            r, w = load(y[k]), load(g[k])
            if way == 1:
                for c in range(m):
                    d = load(x[a + c]) - load(x[b + c])
                    out[a + c] = store(load(out[a + c]) + (w if d > T(0) else -w if d < T(0) else T(0)))
            elif way == 2:
                for c in range(m):
                    d = load(x[a + c]) - load(x[b + c])
                    s = w if d > T(0) else -w if d < T(0) else T(0)
                    out[a + c] = store(load(out[a + c]) + (s if abs(d) == r else T(0)))
            elif r != T(0):
                w = w * power(r, T(1.0 - p))
                for c in range(m):
                    d = load(x[a + c]) - load(x[b + c])
                    s = power(abs(d), T(p - 1.0)) if d != T(0) else T(0)
                    out[a + c] = store(load(out[a + c]) + (w * s if d > T(0) else -w * s))


def _np_pdist(x, p=2.0):
    i, j = np.triu_indices(len(x), 1)
    d = np.abs(x[i] - x[j])
    if p == math.inf:
        return d.max(-1)
    return (d != 0).sum(-1) * 1.0 if p == 0 else (d**p).sum(-1) ** (1 / p)


@custom(private=True, node="PdistBackward0", reference=_np_pdist,
        samples=(Sample((4, 3)), Sample((4, 3), 1.0), Sample((3, 2), 3.0)))
def pair_norms(input, p: float = 2.0):
    """The ``p``-norms of the differences of each two rows."""
    n = input._shape[0]
    return (n * (n - 1) // 2,), input._kind


@pair_norms.cpu
def _(out, input, p):
    n, m = input._shape
    if p == 2:
        return euclidean_distances.launch(input, out, n, m, rows=(n + 1) // 2, work=out._n * m)
    return distances.launch(input, out, n, m, WAYS.get(p, POWERS), p, rows=(n + 1) // 2, work=out._n * m)


@pair_norms.gradient
def _(g, input, y, p):
    return pair_slopes.call(input, y.detach(), g, p)


@custom(private=True, joins=True, node="PdistBackwardBackward0", reference=None)
def pair_slopes(input, y, g, p: float):
    """Derivatives of the distances ``y`` times ``g``."""
    return input._shape, input._kind


@pair_slopes.cpu
def _(out, input, y, g, p):
    n, m = input._shape
    if p == 2:
        w = make(y._shape, y._kind)
        weights.launch(y, g, w, rows=w._n)
        euclidean_slopes.launch(input, w, out, n, m, rows=n, work=out._n * n)
    else:
        slopes.launch(input, y, g, out, n, m, WAYS.get(p, POWERS), p, rows=n, work=out._n * n)


@pair_slopes.gradient
def _(g_, input, g, p, needs):
    i, j = op("triu_indices")(input._shape[0], input._shape[0], 1, device=input.device)
    d, e = (t.index_select(0, i) - t.index_select(0, j) for t in (input, g_))
    y = pair_norms.call(input, p).unsqueeze(-1)
    same = (y.detach() == 0).to(dtype=y.dtype)
    size = d.abs()
    if p in (0.0, 1.0, math.inf):
        along = d.sign() if p else d * 0
        along = along * (size == y).to(dtype=y.dtype) if p == math.inf else along
    else:
        along = d.sign() * (size / (y + same)).pow(p - 1)
    straight = (along * e).sum(-1, keepdim=True)
    by_g = straight.squeeze(-1) if needs[2] else None
    if p in (0.0, 1.0, math.inf) or not needs[0]:
        return (input * 0 if needs[0] else None), None, by_g
    zero = (d.detach() == 0).to(dtype=y.dtype)
    curved = ((size + zero) / (y + same)).pow(p - 2) * (1 - zero if p != 2 else 1)
    pairs = (1 - same) * g.unsqueeze(-1) * (p - 1) / (y + same) * (curved * e - along * straight)
    return input.new_zeros(input._shape).index_add(0, i, pairs).index_add(0, j, -pairs), None, by_g


@function(namespaces=("torch", "nn.functional"), method=False, kinds={"p": "float"}, reference=_np_pdist,
          samples=(Sample((4, 3)), Sample((4, 3), 1.0), Sample((3, 2), 3.0), Sample((4, 3), 0.0), Sample((4, 3), math.inf),
                   Sample((4, 3), 1.5)))
def pdist(input, p=2.0):
    """The ``p``-norms of the differences of each two rows of ``input`` (N, M), as a vector of N (N - 1) / 2."""
    if len(input._shape) != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {len(input._shape)}D")
    if input._kind.dtype.category != 2:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if input._kind.itemsize < 4:
        raise NotImplementedError(f"\"pdist\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    if not p >= 0:
        raise RuntimeError("pdist only supports non-negative p values")
    return pair_norms.call(input, float(p))
