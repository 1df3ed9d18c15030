"""Histograms: counts or weights of elements in bins."""

from __future__ import annotations

import math
import struct

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.arguments import check_int
from numbagrad.core.copying import contiguous_copy, set_all
from numbagrad.core.creation import linspace
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.storage import kind_of
from numbagrad.core.tensor import make
from numbagrad.core.underived import underived
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function, inline, load
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.tape import Flag, refuse

from .sort import result

Histogram = result("histogram", "hist", "bin_edges")
FLOAT64 = kind_of(dt.float64)


# --- ranges by values ---

@kernel(fast=())
def whole_range(x: "*T", found: "*f8", apart: float, start: int, stop: int):
    """The least and the largest of x (n,), moved apart where they are the same, into float64 found (2,); [0, 1] where there is
    nothing, no numbers where one of x is none."""
    found[0], found[1] = 0.0, 1.0
    if start == stop:
        return
    low = high = load(x[start])
    none = False
    for i in range(start, stop):
        v = load(x[i])
        low = v if v < low else low
        high = v if v > high else high
        none = none or v != v
    found[0], found[1] = np.float64(low), np.float64(high)
    if none:
        found[0] = found[1] = math.nan
    elif low == high:
        found[0] -= apart
        found[1] += apart


@kernel(fast=())
def unfit(found: "*f8", bad: "*i8", bins: int, most: float, which: int):
    """What is wrong with the range in float64 found (2,), into int64 bad (5,): ``which``, where it is not finite, 2 where that
    times bins is more than most; then the range in bits, bins and 0."""
    low, high = found[0], found[1]
    if not (abs(low) < math.inf and abs(high) < math.inf):
        bad[0] = which
    elif (high - low) * bins > most:
        bad[0] = 2
    if bad[0] != -1:
        bad[1], bad[2] = np.float64(low).view(np.int64), np.float64(high).view(np.int64)
        bad[3], bad[4] = bins, int(most > 1e39)


def _refused(which, low, high, bins, wide):
    low, high = struct.unpack("2d", struct.pack("2q", low, high))
    raise RuntimeError((
        "torch.histogramdd: dimension 0's range [{low:g}, {high:g}] is not finite",
        "torch.histc: range of [{low:g}, {high:g}] is not finite",
        "histc(): {bins} times the range of [{low:g}, {high:g}] overflows in {dtype}")[which].format(
            low=low, high=high, bins=bins, dtype=dt.float64 if wide else dt.float32))


UNFIT = Flag(_refused, 5)
HISTOGRAM, HISTC = 0, 1


def _range_of(input, which, bins, apart):
    """The range of a tensor's values in two float64 numbers, after its check."""
    found, words = make((2,), FLOAT64), UNFIT.take()
    most = dt.finfo(input._kind.dtype).max if which == HISTC else math.inf
    whole_range[input._kind](input._ptr, found._ptr, apart, 0, input._n)
    unfit[input._kind](found._ptr, words.address, bins, most, which)
    words.check()
    return found


# --- histc ---

@inline
def counted_within(x: "*T", out: "*T", bins, a, b, start, stop):
    """Counts of x (n,) added to out (bins,), between a and b."""
    n = T(bins)
    for i in range(start, stop):
        v = load(x[i])
        if v >= a and v <= b:
            k = np.int64((v - a) * n / (b - a))
            out[min(k, bins - 1)] += T(1)


@kernel
def equal_bins(x: "*T", out: "*T", bins: int, low: float, high: float, start: int, stop: int):
    """Counts of x (n,) added to out (bins,), equal bins between low and high, the last one closed; others do not count."""
    counted_within(x, out, bins, T(low), T(high), start, stop)


@kernel
def bins_of_range(x: "*T", found: "*f8", out: "*T", bins: int, start: int, stop: int):
    """``equal_bins`` of x (n,) between float64 found (2,), into out (bins,)."""
    counted_within(x, out, bins, T(found[0]), T(found[1]), start, stop)


@custom(private=True, reference=None, differentiable=False)
def counted(input, bins: int, low: float, high: float):
    """Counts in equal bins."""
    return (bins,), input._kind


@counted.cpu
def _(out, input, bins, low, high):
    if low == high and input._n and input._kind.cpu:
        found = _range_of(input, HISTC, bins, 1.0)
        set_all(out, 0)
        return bins_of_range[input._kind](input._ptr, found._ptr, out._ptr, bins, 0, input._n)
    if low == high and input._n:
        a = input.cpu().array()
        low, high = float(a.min()), float(a.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError("torch.histc: max must be larger than min")
    if (high - low) * bins > dt.finfo(input._kind.dtype).max:
        raise RuntimeError(f"histc(): {bins} times the range of [{low:g}, {high:g}] overflows in {input.dtype}")
    set_all(out, 0)
    return equal_bins[input._kind](input._ptr, out._ptr, bins, low, high, 0, input._n)


@function(kinds={"min": "number", "max": "number"},
          differentiable=False, reference=lambda a, bins=100, min=0, max=0: np.histogram(
    a, bins, (min, max) if min != max else None)[0].astype(float), samples=(Sample((50,), 5), Sample((50,), 4, -1.0, 1.5)))
def histc(input, bins=100, min=0, max=0, *, out=None):
    """Counts in equal bins between ``min`` and ``max`` (when equal: the extremes of the data)."""
    d = input._kind.dtype
    if d.category != 2:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{dt.scalar_name(d)}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    min, max = dt.parameter(min, d), dt.parameter(max, d)
    x = input.detach()
    half, low, high = d.itemsize == 2, float(min), float(max)
    if half and low < high and math.isfinite(high - low):
        # As PyTorch, which finds the places in the dtype itself.
        place = ((x - low) * bins / (high - low)).float().trunc()
        x, low, high = REGISTRY["where"].callable((x >= low) & (x <= high), place, -1.0), 0.0, float(bins)
    x = x.float() if half else x if x._strides is None else contiguous_copy(x)
    result = counted.call(x, int(bins), low, high)
    result = result.to(dtype=d) if half else result
    return result if out is None else write_out("histc", out, result, (input.detach(),))


# --- histogram ---

@inline
def spread_evenly(edges, first, last, n):
    """n > 1 edges from first to last: the values of ``linspace``."""
    half = n // 2
    step = np.float64(T(T(last - first) / T(n - 1)))
    for i in range(half):
        edges[i] = T(np.float64(first) + np.float64(i) * step)
    for i in range(half, n):
        edges[i] = T(np.float64(last) - np.float64(n - 1 - i) * step)


@kernel(fast=("contract",))
def even_edges(found: "*f8", edges: "*T", n: int):
    """n > 1 edges over the range float64 found (2,), into edges (n,)."""
    spread_evenly(edges, T(found[0]), T(found[1]), n)


@inline
def place_among(edges, at, bins, v, even, a, scale):
    """The bin of v, which lies within them, between the bins + 1 edges that begin ``at`` a place; even ones begin at float64 a
    and are as dense as scale says."""
    k = bins - 1
    if even:
        k = max(min(np.int64((np.float64(v) - a) * scale), k), 0)  # (edges that are all the same have no density)
        while k > 0 and v < edges[at + k]:
            k -= 1
        while k + 1 < bins and v >= edges[at + k + 1]:
            k += 1
    elif v < edges[at + bins]:
        low, high = 0, bins  # edges[low] <= v < edges[high]
        while high - low > 1:
            k = (low + high) // 2
            low, high = (k, high) if v >= edges[at + k] else (low, k)
        k = low
    return k


@kernel(fast=())
def shared_out(x: "*T", w: "*T", edges: "*T", out: "*T", weighted: int, even: int, bins: int, start: int, stop: int):
    """Ones, or weights w (n,) where weighted is not 0, of x (n,) added to out (bins,), by bins between edges (bins + 1,), the
    last of them closed; even: these are about as far apart from each other."""
    a, b = np.float64(edges[0]), np.float64(edges[bins])
    scale = np.float64(bins) / (b - a)
    for i in range(start, stop):
        v = x[i]
        if v >= edges[0] and v <= edges[bins]:
            out[place_among(edges, 0, bins, v, even, a, scale)] += w[i] if weighted else T(1)


@custom(private=True, reference=None, differentiable=False)
def shared(input, weight=None, edges=None, *, bins: int, even: bool):
    """(counts or weights, edges) of elements in bins, by edges that may be ``even``, or of one width over all that there is."""
    return [((bins,), input._kind), ((bins + 1,), input._kind)]


@shared.cpu
def _(out, input, weight, edges, bins, even):
    kind, (hist, bounds) = input._kind, out
    if edges is None:
        found = _range_of(input, HISTOGRAM, bins, 0.5)
        even_edges[kind](found._ptr, bounds._ptr, bins + 1)
    set_all(hist, 0)
    w = input if weight is None else weight
    shared_out[kind](input._ptr, w._ptr, (bounds if edges is None else edges)._ptr, hist._ptr, int(weight is not None),
                     int(even), bins, 0, input._n)


def _edges(input, bins, range):
    """The edges of ``bins`` bins of one width over ``range``, or over all that there is: None where kernels find these."""
    bins = check_int(bins, "histogram", "bins", 2)
    if bins < 1:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if range is not None:
        low, high = map(float, range)
        if low > high:
            raise RuntimeError(f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for "
                               "dimension 0")
    elif input._kind.cpu:
        return None
    elif input._n:
        refuse("takes the range of a histogram from values: give it by range=")
        low, high = input.min().item(), input.max().item()
    else:
        low, high = 0.0, 1.0
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"torch.histogramdd: dimension 0's range [{low:g}, {high:g}] is not finite")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return linspace(low, high, bins + 1, dtype=input.dtype, device=input.device)


def _placed(x, edges, weight):
    """The histogram of a vector of a device, by ops."""
    count = edges._n - 1
    place = REGISTRY["searchsorted"].callable(edges, x, right=True) - 1
    place = REGISTRY["where"].callable(x == edges[-1], count - 1, place)
    inside = (x >= edges[0]) & (x <= edges[-1])
    place = REGISTRY["where"].callable(inside, place, count).clamp(0, count)  # what lies outside goes to a bin that is left out
    amounts = x.new_ones(x._shape) if weight is None else weight.detach().flatten()
    return x.new_zeros(count + 1).index_add(0, place, amounts)[:count]


def refuse_kernel(d, given, range):
    """Refuse dtypes of which PyTorch finds no range, or makes no edges; what it does not count is refused behind all checks."""
    if not given and range is None and d not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{dt.scalar_name(d)}'")
    if not given and d is dt.bool_:
        raise NotImplementedError("\"linspace_cpu\" not implemented for 'Bool'")


def _counts(x, edges, weight, count, bins):
    """(counts or weights, edges) of elements in ``count`` bins."""
    if not x._kind.cpu or count <= 0:
        return _placed(x.flatten(), edges, weight), edges
    hist, found = shared.call(x, weight, edges, bins=count, even=not isinstance(bins, Tensor))
    return hist, found if edges is None else edges


@function(kinds={"bins": "any", "range": "any", "weight": "tensor?"}, differentiable=False,
          reference=lambda x, bins, *, range=None, density=False: np.histogram(x, bins, range, density=density),
          samples=(Sample((20,), 5), Sample((4, 5), 4, range=(-1.0, 1.0)), Sample((20,), 4, density=True)))
def histogram(input, bins, *, range=None, weight=None, density=False, out=None):
    """(hist, bin_edges): how many elements, or what weight of them, lie in each bin.

    ``bins`` are a number of bins of one width, or their edges; the last bin has its right edge, too. ``density``: as a density
    with integral 1."""
    d = input._kind.dtype
    refuse_kernel(d, isinstance(bins, Tensor), range)
    if isinstance(bins, Tensor):
        if range is not None:
            raise TypeError("histogram() received an invalid combination of arguments: a tensor of bin edges and a range")
        if len(bins._shape) != 1:
            raise RuntimeError(f"torch.histogramdd(): bins tensor should have one dimension, but got {len(bins._shape)} "
                               "dimensions in the bins tensor for dimension 0")
        if not bins._n:
            raise RuntimeError("torch.histogramdd: bins tensor should have at least 1 element, but got 0 elements in the bins "
                               "tensor for dimension 0")
        if bins._kind.dtype is not d:
            raise RuntimeError("torch.histogramdd: input tensor and bins tensors should have the same dtype, but got input "
                               f"with dtype {dt.c_name(d)} and bins for dimension 0 with dtype {dt.c_name(bins._kind.dtype)}")
        edges, count = bins.detach().clone(), bins._n - 1
    else:
        edges, count = _edges(input, bins, range), int(bins)
    if weight is not None:
        if weight._shape != input._shape:
            raise RuntimeError(f"torch.histogramdd: if weight tensor is provided it should have the same shape as the input "
                               f"tensor excluding its innermost dimension, but got input with shape {[*input._shape, 1]} and "
                               f"weight with shape {list(weight._shape)}")
        if weight._kind.dtype is not d:
            raise RuntimeError("torch.histogramdd: if weight tensor is provided, input tensor and weight tensor should have "
                               f"the same dtype, but got input({dt.c_name(d)}), and weight({dt.c_name(weight._kind.dtype)})")
    if d.category != 2:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{dt.scalar_name(d)}'")
    x, given = input.detach(), None if weight is None else weight.detach()
    if d.itemsize == 2:  # counts that the dtype could not hold are rounded, once
        hist = _counts(x.float(), edges.float(), given if given is None else given.float(), count, bins)[0].to(dtype=d)
    else:
        hist, edges = _counts(x, edges, given, count, bins)
    if density:
        hist = hist / (hist.sum() * REGISTRY["diff"].callable(edges))
    if out is not None:
        return Histogram(*write_outs("histogram", out, (hist, edges), (input,)))
    return Histogram(*underived((hist, edges), (input, weight, bins if isinstance(bins, Tensor) else None), "histogram"))
