"""Quantiles of all elements or along a dimension."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.creation import tensor
from numbagrad.core.out import write_out
from numbagrad.extend import REGISTRY, Sample, Tensor, function

WAYS = ("linear", "lower", "higher", "midpoint", "nearest")


def _order(name, input, q, interpolation):
    """The quantiles asked for as a tensor like ``input``; refuses what cannot be."""
    if not input._n:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if input._kind.dtype not in (dt.float32, dt.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if len(q._shape) > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q._kind.dtype is not input._kind.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        if q._kind is not input._kind:
            raise RuntimeError(f"{name}() q tensor must be on the same device as the input tensor")
    if interpolation not in WAYS:
        raise RuntimeError(f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
                           f"{interpolation}")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        return tensor(float(q), dtype=input.dtype, device=input.device)
    if q.device.type == "cpu" and not bool(((q >= 0) & (q <= 1)).all()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return q


def _quantile(name, input, q, dim, keepdim, interpolation, out, skip_nan):
    q = _order(name, input, q, interpolation)
    shape = list(input._shape)
    if dim is None:
        rows, shape = input.flatten().unsqueeze(0), [1] * len(shape) if keepdim else []
    else:
        at = wrap_dim(dim, len(shape))
        if shape:
            rows = input.movedim(at, -1)
            shape[at:at + 1] = [1] if keepdim else []
        else:
            rows = input.unsqueeze(0)
    ordered = REGISTRY["sort"].callable(rows)[0]
    last, missing = ordered._shape[-1] - 1, ordered.isnan()
    if skip_nan:
        ranks = (q * (missing.logical_not().sum(-1, keepdim=True) - 1)).clamp(min=0)
    else:  # a row with a NaN has it at its end
        ranks = (q * last).expand(*ordered._shape[:-1], q._n).masked_fill(missing.any(-1, keepdim=True), last)
    ranks = {"lower": ranks.floor, "higher": ranks.ceil, "nearest": ranks.round}.get(interpolation, lambda: ranks)()
    below = ranks.long()
    values = ordered.gather(-1, below)
    if interpolation in ("linear", "midpoint"):
        weight = (ranks - below).detach() if interpolation == "linear" else 0.5
        if isinstance(q, Tensor) and q._rg and interpolation == "linear":
            weight = ranks - below
        values = values.lerp(ordered.gather(-1, ranks.ceil().long()), weight)
    # (The quantiles come first.)
    values = values.movedim(-1, 0).reshape(([q._n] if q._shape else []) + shape)
    return values if out is None else write_out(name, out, values, (input, q))


def _reference(x, q, dim=None, keepdim=False, *, interpolation="linear"):
    return np.quantile(x, q, axis=dim, keepdims=keepdim, method=interpolation)


SAMPLES = (Sample((3, 4), 0.3), Sample((3, 4), 0.6, 1), Sample((2, 5), 0.25, 0, True), Sample((7,), 0.4, interpolation="lower"),
           Sample((3, 5), 0.7, 1, interpolation="higher"), Sample((3, 5), 0.7, 1, interpolation="midpoint"),
           Sample((6,), 0.33, interpolation="nearest"))


@function(kinds={"q": "any", "interpolation": "str"}, samples=SAMPLES, reference=_reference)
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear", out=None):
    """The ``q``-th quantiles (one, or a vector of them, which comes first) of all elements or along ``dim``.

    Between two elements by ``interpolation``; NaN where a NaN is."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, out, False)


@function(kinds={"q": "any", "interpolation": "str"}, samples=SAMPLES, reference=_reference)
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear", out=None):
    """``quantile`` of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, out, True)
