"""Distances and similarities of vectors, normalization to unit length, and the losses built on them."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.node import renamed
from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY, Sample, custom, function, load, store
from numbagrad.kernel.jit import kernel

from ..reduce.norms import vector_norm_of
from .losses import SIGNS, SPACE, _reduce, _reference, at_least
from .reductions import finish, legacy, reduction_code


def _np_cosine(a, b, dim=1, eps=1e-8):
    na, nb = (np.maximum(np.sqrt((v * v).sum(axis=dim, keepdims=True)), eps) for v in (a, b))
    return (a / na * (b / nb)).sum(axis=dim)


@function(namespaces=("torch", "nn.functional"), method=False, reference=_np_cosine,
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (3, 4), 0), Sample((2, 3, 4), (3, 4), -1)))
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along ``dim``."""
    common = dt.promote_types(x1._kind.dtype, x2._kind.dtype)
    if common.category != 2:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {dt.scalar_name(common)}")
    x1, x2 = (v if v._kind.dtype is common else v.to(dtype=common) for v in (x1, x2))
    if x1._shape != x2._shape:
        from numbagrad import broadcast_tensors
        x1, x2 = broadcast_tensors(x1, x2)
    if not eps >= 0:
        raise RuntimeError(f"cosine_similarity: eps must be non-negative, got: {eps}")
    dim = wrap_dim(dim, len(x1._shape))
    n1, n2 = (at_least(vector_norm_of(v, 2, dim, True), eps) for v in (x1, x2))
    return (x1 / n1 * (x2 / n2)).sum(dim)


def _np_distance(a, b, p=2.0, eps=1e-6, keepdim=False):
    d = np.abs(a - b + eps)
    if p == math.inf:
        return d.max(-1, keepdims=keepdim)
    return (d**p).sum(-1, keepdims=keepdim) ** (1 / p)


@function(namespaces=("torch", "nn.functional"), method=False, reference=_np_distance,
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (3, 4), 1.0), Sample((3, 4), (3, 4), 3.0, 1e-6, True)))
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """The p-norm of ``x1 - x2 + eps`` over the last dimension."""
    return renamed(vector_norm_of(x1 - x2 + eps, p, -1, keepdim), "NormBackward1")


def _np_normalize(x, p=2.0, dim=1, eps=1e-12):
    return x / np.maximum((np.abs(x) ** p).sum(axis=dim, keepdims=True) ** (1 / p), eps)


@function(kinds={"dim": "ints?"}, namespaces=("nn.functional",), method=False, reference=_np_normalize,
          samples=(Sample((3, 4)), Sample((3, 4), 1.0, 0), Sample((2, 3, 4), 3.0, -1)))
def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """``input / max(|input|_p, eps)`` with the p-norm over ``dim``."""
    if input._kind.dtype.category < 2:
        raise RuntimeError("normalize(): linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                           f"{dt.scalar_name(input._kind.dtype)}")
    result = input / vector_norm_of(input, p, dim, True).clamp_min(eps)
    if out is None:
        return result
    from numbagrad.core.out import write_out
    return write_out("div", out, result, [input], True)


def _np_response(x, size, alpha=1e-4, beta=0.75, k=1.0):
    pad = [(0, 0), (size // 2, (size - 1) // 2)] + [(0, 0)] * (x.ndim - 2)
    wide = np.pad(x * x, pad)
    mean = sum(wide[:, j:j + x.shape[1]] for j in range(size)) / size
    return x / (k + alpha * mean) ** beta


@kernel
def window_rows(x: "*T", out: "*T", channels: int, inner: int, back: int, ahead: int, start: int, stop: int):
    """Sums of rows of x (samples, channels, inner) over the channels from ``back`` before to ``ahead`` behind, into out."""
    for row in range(start, stop):
        c, at = row % channels, row * inner
        for i in range(at, at + inner):
            out[i] = x[i]
        for j in range(max(-back, -c), min(ahead, channels - 1 - c) + 1):
            if j != 0:
                for i in range(inner):
                    out[at + i] = store(load(out[at + i]) + load(x[at + j * inner + i]))


@custom(private=True, joins=True, reference=None)
def channel_sums(input, back: int, ahead: int):
    """Sums over neighbouring channels."""
    return input._shape, input._kind


@channel_sums.cpu
def _(out, input, back, ahead):
    shape = input._shape
    window_rows.run(out._kind, (input._ptr, out._ptr, shape[1], numel(shape[2:]), min(back, shape[1]), min(ahead, shape[1])),
                    shape[0] * shape[1], out._n)


@channel_sums.gradient
def _(g, back, ahead):
    return channel_sums.call(g, ahead, back)


@function(kinds={"size": "int", "k": "number"}, namespaces=("nn.functional",), method=False, reference=_np_response,
          samples=(Sample((2, 5, 3), 3), Sample((2, 4, 2, 2), 2, alpha=0.5, beta=0.5, k=2.0)))
def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """``input / (k + alpha * mean of squares) ** beta``, the mean over ``size`` neighbouring channels (zeros outside)."""
    if len(input._shape) < 3:
        raise ValueError(f"Expected 3D or higher dimensionality                          input (got {len(input._shape)} "
                         "dimensions)")
    if not input._kind.dtype.category:
        raise NotImplementedError(f"\"local_response_norm\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    if not input._n:
        return input
    if size < 1:
        raise RuntimeError(f"local_response_norm: expected a size greater than zero, but got {size}")
    total = channel_sums.call(input * input, size // 2, (size - 1) // 2)
    return input / (total * (alpha / size) + k).pow(beta)


# --- losses -----------------------------------------------------------------------------------------------------------

def _np_cosine_loss(a, b, t, margin=0.0):
    cos = (a * b).sum(1) / np.sqrt(((a * a).sum(1) + 1e-12) * ((b * b).sum(1) + 1e-12))
    return np.where(t == 1, 1 - cos, np.maximum(cos - margin, 0))


@function(**SPACE, reference=_reference(_np_cosine_loss),
          samples=(Sample((3, 4), (3, 4), SIGNS[:, 0]), Sample((3, 4), (3, 4), SIGNS[:, 1], 0.2, reduction="none")))
def cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if len(target._shape) > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    single = len(target._shape) == 0
    if {len(input1._shape), len(input2._shape)} != {1 if single else 2}:
        raise RuntimeError(("0D" if single else "1D") + " target tensor expects " + ("1D" if single else "2D")
                           + f" input tensors, but found inputs with sizes {list(input1._shape)} and "
                           f"{list(input2._shape)}.")
    dot = (input1 * input2).sum(-1)
    size1, size2 = (input1 * input1).sum(-1) + 1e-12, (input2 * input2).sum(-1) + 1e-12
    cos = dot / (size1 * size2).sqrt()
    from numbagrad import where
    return finish(where(target == 1, 1 - cos, 0.0) + where(target == -1, (cos - margin).clamp_min(0), 0.0), reduction)


def _np_triplet(a, p, n, margin=1.0, swap=False):
    near, far = _np_distance(a, p), _np_distance(a, n)
    if swap:
        far = np.minimum(far, _np_distance(p, n))
    return np.maximum(near - far + margin, 0)


def _same_rank(anchor, positive, negative):
    a, p, n = (len(t._shape) for t in (anchor, positive, negative))
    if a != p or a != n:
        raise RuntimeError("The anchor, positive, and negative tensors are expected to have the same number of dimensions, "
                           f"but got: anchor {a}D, positive {p}D, and negative {n}D inputs")


@function(**SPACE, reference=_reference(_np_triplet),
          samples=(Sample((3, 4), (3, 4), (3, 4)), Sample((3, 4), (3, 4), (3, 4), swap=True, reduction="none")))
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-06, swap=False, size_average=None,
                        reduce=None, reduction="mean"):
    """max(0, |anchor - positive| - |anchor - negative| + margin) with p-norms.

    With ``swap`` the negative's distance is the smaller of those from the anchor and from the positive."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    _same_rank(anchor, positive, negative)
    near = pairwise_distance.callable(anchor, positive, p, eps)
    far = pairwise_distance.callable(anchor, negative, p, eps)
    if swap:
        far = REGISTRY["minimum"].callable(far, pairwise_distance.callable(positive, negative, p, eps))
    return finish((near - far + margin).clamp_min(0), reduction)


@function(**SPACE, reference=_reference(_np_triplet), samples=(Sample((3, 4), (3, 4), (3, 4)),))
def triplet_margin_with_distance_loss(anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False,
                                      reduction="mean"):
    """Triplet loss with a distance of the caller's (default: ``pairwise_distance``)."""
    reduction_code(reduction)  # refuses what is none
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if distance_function is None:
        _same_rank(anchor, positive, negative)
    distance = distance_function or pairwise_distance.callable
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = REGISTRY["minimum"].callable(far, distance(positive, negative))
    return finish((near - far + margin).clamp_min(0), reduction)


def _np_multilabel(x, t, weight=None, reduction="mean"):
    v = t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)
    return _reduce((v if weight is None else v * weight).mean(-1), reduction)


@function(**SPACE, reference=_np_multilabel,
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (3, 4), np.array([0.5, 1.0, 2.0, 0.25]), reduction="none")))
def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Mean over the classes of -(target * log sigmoid(input) + (1 - target) * log sigmoid(-input)), weighted."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    log_sigmoid = REGISTRY["logsigmoid"].callable
    loss = -(target * log_sigmoid(input) + (1 - target) * log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    if not input._shape:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions")
    classes = len(input._shape) - 1  # counted in the input, as PyTorch does, where the target has more dimensions
    return finish(loss.sum(classes) / input._shape[classes], reduction)
