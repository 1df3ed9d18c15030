"""``histogramdd``: counts of points in boxes, by one pass over them."""

from __future__ import annotations

import math
import struct

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core.copying import set_all
from numbagrad.core.storage import kind_of
from numbagrad.core.tensor import make
from numbagrad.core.underived import underived
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function, load
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.tape import Flag

from .histograms import place_among, spread_evenly
from .sort import result

Histogramdd = result("histogramdd", "hist", "bin_edges")
FLOAT64, INT64 = kind_of(dt.float64), kind_of(dt.int64)
GIVEN, TOLD, SEEN = 0, 1, 2  # where edges come from: tensors of them, a range, the points' least and largest


# --- kernels ---

@kernel(fast=())
def ranges_seen(x: "*T", found: "*f8", bad: "*i8", dims: int, start: int, stop: int):
    """The least and the largest of each column of x (n, dims) into float64 found (dims, 2), 0 and 1 where there are no points;
    int64 bad (3,) gets a column where they are not finite, and them in bits."""
    for d in range(dims):
        low, high, none = T(0), T(1), False
        if start < stop:
            low = high = load(x[start * dims + d])
        for i in range(start, stop):
            v = load(x[i * dims + d])
            low = v if v < low else low
            high = v if v > high else high
            none = none or v != v
        found[2 * d], found[2 * d + 1] = np.float64(low), np.float64(high)
        if none:
            found[2 * d] = found[2 * d + 1] = math.nan
        if bad[0] < 0 and not (abs(found[2 * d]) < math.inf and abs(found[2 * d + 1]) < math.inf):
            bad[0], bad[1] = d, np.float64(found[2 * d]).view(np.int64)
            bad[2] = np.float64(found[2 * d + 1]).view(np.int64)


@kernel(fast=("contract",))
def edges_along(given: "*T", found: "*f8", edges: "*T", together: "*T", counts: "*i8", dim: int, at: int, n: int, way: int,
                low: float, high: float):
    """The n edges of a dimension into edges (n,) and into together, at its place there, their number less one into its place of
    int64 counts (dims,): those of given, at their place there, or even ones from low to high or over the range in its row of
    float64 found (dims, 2), which gets their beginning and how many there are to a unit of length."""
    counts[dim] = n - 1
    if way == GIVEN:
        for i in range(n):
            edges[i] = given[at + i]
    else:
        if way == SEEN:
            low, high = found[2 * dim], found[2 * dim + 1]
        if low == high:
            low, high = low - 0.5, high + 0.5
        spread_evenly(edges, T(low), T(high), n)
        found[2 * dim] = np.float64(edges[0])
        found[2 * dim + 1] = np.float64(n - 1) / (np.float64(edges[n - 1]) - np.float64(edges[0]))
    for i in range(n):
        together[at + i] = edges[i]


@kernel(fast=())
def boxed_up(x: "*T", w: "*T", edges: "*T", scales: "*f8", counts: "*i8", out: "*T", dims: int, weighted: int, even: int,
             start: int, stop: int):
    """Ones, or weights w (n,) where weighted is not 0, of points x (n, dims) added to their boxes in out, whose sides are int64
    counts (dims,): edges are those of all dimensions together, one more for each; with ``even`` they begin and are as dense as
    float64 scales (dims, 2) say. Points that lie outside do not count."""
    for i in range(start, stop):
        place, at, inside = 0, 0, True
        for d in range(dims):
            v, bins = x[i * dims + d], counts[d]
            if v >= edges[at] and v <= edges[at + bins]:
                place = place * bins + place_among(edges, at, bins, v, even, scales[2 * d], scales[2 * d + 1])
            else:
                inside = False
            at += bins + 1
        if inside:
            out[place] += w[i] if weighted else T(1)


@kernel(fast=())
def over_volumes(out: "*T", edges: "*T", counts: "*i8", dims: int, n: int):
    """What boxes out (n,) hold as a density: divided by the sum of all and by their lengths along each dimension; edges and
    int64 counts (dims,) as in ``boxed_up``."""
    total = 0.0
    for i in range(n):
        total += np.float64(out[i])
    for i in range(n):
        out[i] = out[i] / T(total)
    inner, at = n, 0
    for d in range(dims):
        inner //= counts[d]
        for i in range(n):
            k = at + (i // inner) % counts[d]
            out[i] = out[i] / (edges[k + 1] - edges[k])
        at += counts[d] + 1


# --- the op ---

def _not_finite(dim, low, high):
    low, high = struct.unpack("2d", struct.pack("2q", low, high))
    raise RuntimeError(f"torch.histogramdd: dimension {dim}'s range [{low:g}, {high:g}] is not finite")


NOT_FINITE = Flag(_not_finite, 3)


@custom(private=True, reference=None, differentiable=False)
def boxes(input, weight=None, edges=None, *, bins: tuple, limits: tuple = None, density: bool = False):
    """[counts or weights of points in boxes, the edges of each dimension]: by edges, which are given one after another, or by
    numbers of bins, over ``limits`` (the bits of two numbers for each) or over all that there is."""
    return [(bins, input._kind), *[((b + 1,), input._kind) for b in bins]]


@boxes.host
def _(outs, input, weight, edges, bins, limits, density):
    (hist, *bounds), kind, dims = outs, input._kind, len(bins)
    points = input._n // dims
    together, found = make((sum(bins) + dims,), kind), make((dims, 2), FLOAT64)
    counts, way = make((dims,), INT64), GIVEN if edges is not None else TOLD if limits is not None else SEEN
    numbers = (0.0,) * 2 * dims if limits is None else struct.unpack(f"{2 * dims}d", struct.pack(f"{2 * dims}q", *limits))
    if way == SEEN:
        bad = NOT_FINITE.take(kind)
        ranges_seen[kind](input._ptr, found._ptr, bad.address, dims, 0, points)
        bad.check()
    at, given = 0, together if edges is None else edges
    for i, e in enumerate(bounds):
        low, high = numbers[2 * i:2 * i + 2]
        edges_along[kind](given._ptr, found._ptr, e._ptr, together._ptr, counts._ptr, i, at, e._n, way, low, high)
        at += e._n
    set_all(hist, 0)
    w = input if weight is None else weight
    boxed_up[kind](input._ptr, w._ptr, together._ptr, found._ptr, counts._ptr, hist._ptr, dims, int(weight is not None),
                   int(way != GIVEN), 0, points)
    if density:
        over_volumes[kind](hist._ptr, together._ptr, counts._ptr, dims, hist._n)


# --- arguments ---

def _check(input, weight):
    d = input._kind.dtype
    if d not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{dt.scalar_name(d)}'")
    if len(input._shape) < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    if weight is not None and weight._shape != input._shape[:-1]:
        raise RuntimeError("torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor "
                           f"excluding its innermost dimension, but got input with shape {list(input._shape)} and weight with "
                           f"shape {list(weight._shape)}")
    if weight is not None and weight._kind.dtype is not d:
        raise RuntimeError("torch.histogramdd: if weight tensor is provided, input tensor and weight tensor should have the "
                           f"same dtype, but got input({dt.c_name(d)}), and weight({dt.c_name(weight._kind.dtype)})")


def _check_edges(bins, input):
    count = input._shape[-1]
    for i, e in enumerate(bins):
        if not isinstance(e, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 1, but got {type(e).__name__}")
    if len(bins) != count:
        raise RuntimeError(f"torch.histogramdd: expected {count} sequences of bin edges for a {count}-dimensional histogram "
                           f"but got {len(bins)}")
    for i, e in enumerate(bins):
        if e._kind.dtype is not input._kind.dtype:
            raise RuntimeError("torch.histogramdd: input tensor and bins tensors should have the same dtype, but got input "
                               f"with dtype {dt.c_name(input._kind.dtype)} and bins for dimension {i} with dtype "
                               f"{dt.c_name(e._kind.dtype)}")
        if len(e._shape) != 1:
            raise RuntimeError(f"torch.histogramdd: bins tensor should have one dimension, but got {len(e._shape)} dimensions "
                               f"in the bins tensor for dimension {i}")
        if not e._n:
            raise RuntimeError("torch.histogramdd: bins tensor should have at least 1 element, but got 0 elements in the bins "
                               f"tensor for dimension {i}")


def _numbers(bins, count):
    """The number of bins of each dimension."""
    if bins.__class__ not in (list, tuple):
        return (arguments.check_int(bins, "histogramdd", "bins", 2),) * count
    bins = tuple(bins)
    if len(bins) != count:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    return bins


def _limits(range, count):
    """A range's bits, for each dimension two numbers."""
    if len(range) != 2 * count:
        raise RuntimeError(f"torch.histogramdd: for a {count}-dimensional histogram range should have {2 * count} elements, "
                           f"but got {len(range)}")
    limits = [float(x) for x in range]
    for at, (low, high) in enumerate(zip(limits[::2], limits[1::2])):
        if not (math.isfinite(low) and math.isfinite(high)):
            raise RuntimeError(f"torch.histogramdd: dimension {at}'s range [{low:g}, {high:g}] is not finite")
        if low > high:
            raise RuntimeError(f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for dimension "
                               f"{at}")
    return struct.unpack(f"{2 * count}q", struct.pack(f"{2 * count}d", *limits))


def _reference(x, bins, **kwargs):
    hist, edges = np.histogramdd(x.reshape(-1, x.shape[-1]), bins, **kwargs)
    return (hist, *edges)


@function(kinds={"bins": "any", "range": "any", "weight": "tensor?"}, differentiable=False, method=False,
          reference=_reference, samples=(Sample((20, 2), [3, 4]), Sample((20, 2), 3, density=True)))
def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """(hist, bin_edges): how many points (the last dimension of ``input``), or what weight of them, lie in each box."""
    _check(input, weight)
    count, edges = input._shape[-1], None
    if bins.__class__ in (list, tuple) and not all([b.__class__ is int for b in bins]):
        _check_edges(bins, input)
        edges, given = REGISTRY["cat"].callable([e.detach() for e in bins]), bins
        bins = tuple([e._n - 1 for e in bins])
    else:
        bins = _numbers(bins, count)
    limits = None if range is None else _limits(range, count)
    for i, b in enumerate(bins):
        if b < 1:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {b} for dimension {i}")
    if not count:
        return Histogramdd(input.new_zeros(()), ())
    hist, *found = boxes.call(input.detach(), None if weight is None else weight.detach(), edges, bins=bins,
                              limits=None if edges is not None else limits, density=bool(density))
    if edges is not None:  # those that were given
        return Histogramdd(underived(hist, (input, weight, *given), "_histogramdd_from_bin_tensors"), tuple(given))
    return Histogramdd(underived(hist, (input, weight), "_histogramdd_from_bin_cts"), tuple(
        [underived(e, (input, weight), "_histogramdd_bin_edges") for e in found]))
