"""The multi-label hinge loss."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.node import renamed
from numbagrad.extend import Sample, function

from ..refusal import refusal
from .cross_entropy import legacy
from .losses import SPACE, _reduce, finish

_refuse_target = refusal(RuntimeError, "argument #2 'target' is out of range")
LABELS = np.array([[3, 0, -1, 1], [1, -1, 2, 3], [-1, 0, 0, 0]])


def _np_multilabel_margin(x, target, reduction="mean"):
    values = []
    for row, labels in zip(x, np.asarray(target)):
        end = list(labels).index(-1) if -1 in labels else len(labels)
        own = list(labels[:end])
        others = [i for i in range(len(row)) if i not in own]
        values.append(sum(max(0.0, 1 - row[j] + row[i]) for j in own for i in others) / len(row))
    return _reduce(np.array(values), reduction)


@function(**SPACE, reference=_np_multilabel_margin,
          samples=(Sample((3, 4), LABELS), Sample((3, 4), LABELS, reduction="none")))
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """Sum of max(0, 1 - input[label] + input[other]) over labels and other classes, divided by the number of classes.

    The labels of a row are those of ``target`` before its first -1."""
    from numbagrad import arange, where
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    shape, d = input._shape, input._kind.dtype
    if len(shape) > 2 or shape and shape[-1] == 0:
        raise RuntimeError(f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(shape)}")
    if target._shape != shape and (len(shape) > 1 or target._n != input._n or len(target._shape) > 1):
        raise RuntimeError(f"inconsistent target size: {list(target._shape)} for input of size: {list(shape)}")
    if target._kind.dtype is not dt.int64:
        raise RuntimeError(f"expected scalar type Long but found {dt.scalar_name(target._kind.dtype)}")
    if d.name not in ("float32", "float64"):
        raise NotImplementedError(f"\"multilabel_margin_loss_forward_out_frame\" not implemented for '{dt.scalar_name(d)}'")
    n = shape[-1] if shape else 1
    x, t = input.reshape((-1, n)) if input._n else input, target.reshape((-1, n)) if input._n else target
    _refuse_target(((t < -1) | (t >= n)).any())
    labels = (t < 0).cumsum(1) == 0
    classes = arange(n, device=x.device)
    own = ((t.unsqueeze(2) == classes) & labels.unsqueeze(2)).any(1)
    z = 1 - x.gather(1, t.clamp_min(0)).unsqueeze(2) + x.unsqueeze(1)
    counted = (z > 0) & labels.unsqueeze(2) & ~own.unsqueeze(1)
    values = where(counted, z, 0.0).sum((1, 2)) / n
    values = values if len(shape) == 2 else values.reshape(())
    return renamed(finish(values, reduction), "MultilabelMarginLossBackward0")
