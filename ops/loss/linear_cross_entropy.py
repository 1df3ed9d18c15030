"""Cross entropy of a linear function of the input."""

from __future__ import annotations

import math
import warnings

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.user_code import caller_level
from numbagrad.extend import REGISTRY, Sample, function

from ..product.linear import linear
from .losses import SPACE, _reduce


def _np_loss(x, w, target, reduction="mean"):
    z = x @ w.T
    z = z - z.max(-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return _reduce(-np.take_along_axis(log_p, np.asarray(target)[:, None], 1)[:, 0], reduction)


def _check(input, weight, bias):
    where = f"{tuple(weight._shape)}"
    if len(input._shape) not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(input._shape)}")
    if len(weight._shape) < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {len(weight._shape)}")
    if input._shape[-1] != weight._shape[-1]:
        raise RuntimeError("expected equal input and linear_weight last dimensions (in_features), got "
                           f"{input._shape[-1]} and {weight._shape[-1]}, respectively")
    if bias is not None and bias._shape != weight._shape[:-1]:
        raise RuntimeError(f"expected linear_bias shape {weight._shape[:-1]}, got {bias._shape}")
    if len(weight._shape) > 2 and len(input._shape) == 1:
        raise RuntimeError(f"K-dimensional loss defined by linear_weight shape {where} requires batched input, "
                           f"(N, {input._shape[-1]}), got unbatched input with shape {input._shape}")


@function(**SPACE, reference=_np_loss, samples=(Sample((3, 4), (5, 4), ("int64", (3,), 0, 5)),
                                                Sample((3, 4), (5, 4), ("int64", (3,), 0, 5), reduction="none")))
def linear_cross_entropy(input, linear_weight, target, *, linear_bias=None, weight=None, reduction="mean", ignore_index=None,
                         label_smoothing=0.0, options=None):
    """``cross_entropy(linear(input, linear_weight, linear_bias), target)``, for weights (C, in) and (C, d1, ..., in).

    ``options`` ask PyTorch to work through the batch in chunks, which changes the memory and not the value: here the
    logits are always made whole."""
    _check(input, linear_weight, linear_bias)
    *rows, n = input._shape
    sizes = linear_weight._shape[:-1]
    shape = (*rows, *sizes)
    if target._shape == shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    if options is not None:
        _warn_of_options(options, linear_weight, linear_bias, target, reduction, label_smoothing)
    if len(sizes) > 1:
        linear_weight = linear_weight.reshape((math.prod(sizes), n))
        linear_bias = linear_bias if linear_bias is None else linear_bias.reshape((math.prod(sizes),))
    logits = linear(input, linear_weight, linear_bias).reshape(shape)
    ignored = -100 if ignore_index is None else ignore_index
    return REGISTRY["cross_entropy"].callable(logits, target, weight=weight, ignore_index=ignored, reduction=reduction,
                                              label_smoothing=label_smoothing)


def _warn_of_options(options, weight, bias, target, reduction, smoothing):
    """PyTorch's warning where it would not work in chunks."""
    if len(weight._shape) == 2 and reduction in ("mean", "sum", "none") and smoothing == 0.0 and (
            target._kind.dtype is dt.int64):
        return
    warnings.warn("linear_cross_entropy: ``options`` ignored; chunked path needs reduction in {'mean','sum','none'}, "
                  "label_smoothing == 0, target.dtype == int64, out_features == (). Got "
                  f"reduction={reduction!r}, label_smoothing={smoothing}, target.dtype={target.dtype}, "
                  f"out_features={weight._shape[1:-1]}, tracing=False, linear_bias.shape="
                  f"{None if bias is None else bias._shape}.", stacklevel=caller_level())
