"""``histogramdd``: counts of points in boxes, made of a search along each dimension and one sum by place."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.creation import linspace
from numbagrad.extend import REGISTRY, Sample, Tensor, function
from numbagrad.kernel.tape import refuse

from .sort import result

Histogramdd = result("histogramdd", "hist", "bin_edges")


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


def _bins(bins, count):
    """The bins of each dimension: numbers of them, or tensors of their edges."""
    if isinstance(bins, int):
        return [bins] * count
    bins = list(bins)
    if len(bins) != count:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    return bins


def _edges(x, bins, low, high, at):
    """The edges of the bins along one dimension."""
    if isinstance(bins, Tensor):
        return bins.clone()
    if bins < 1:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension {at}")
    if low is None:
        low, high = (x.min().item(), x.max().item()) if x._n else (0.0, 1.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"torch.histogramdd: dimension {at}'s range [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError(f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for dimension {at}")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return linspace(low, high, bins + 1, dtype=x.dtype, device=x.device)


def _reference(x, bins, **kwargs):
    hist, edges = np.histogramdd(x.reshape(-1, x.shape[-1]), bins, **kwargs)
    return (hist, *edges)


@function(kinds={"bins": "any", "range": "any", "weight": "tensor?"}, differentiable=False, method=False,
          reference=_reference, samples=(Sample((20, 2), [3, 4]), Sample((20, 2), 3, density=True)))
def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """(hist, bin_edges): how many points (the last dimension of ``input``), or what weight of them, lie in each box."""
    refuse("takes the range of a histogram from values")
    _check(input, weight)
    count = input._shape[-1]
    bins = _bins(bins, count)
    if range is not None and len(range) != 2 * count:
        raise RuntimeError(f"torch.histogramdd: for a {count}-dimensional histogram range should have {2 * count} elements, "
                           f"but got {len(range)}")
    points = input.detach().reshape(-1, count)
    limits = [(None, None)] * count if range is None else list(zip(range[::2], range[1::2]))
    edges = [_edges(points[:, i], b, *limits[i], i) for i, b in enumerate(bins)]
    shape = tuple([e._n - 1 for e in edges])
    amounts = points.new_ones(len(points)) if weight is None else weight.detach().flatten()
    place = 0
    for i, e in enumerate(edges):
        x = points[:, i].contiguous()
        at = REGISTRY["searchsorted"].callable(e, x, right=True) - 1
        at = REGISTRY["where"].callable(x == e[-1], shape[i] - 1, at)
        amounts = REGISTRY["where"].callable((x >= e[0]) & (x <= e[-1]), amounts, 0)  # (infinite weights, too)
        place = place * shape[i] + at.clamp(0, max(shape[i] - 1, 0))
    hist = points.new_zeros(math.prod(shape)).index_add(0, place, amounts).reshape(shape)
    return Histogramdd(_density(hist, edges) if density else hist, tuple(edges))


def _density(hist, edges):
    hist = hist / hist.sum()
    for i, e in enumerate(edges):
        hist = hist / REGISTRY["diff"].callable(e).reshape(-1, *[1] * (len(edges) - 1 - i))
    return hist
