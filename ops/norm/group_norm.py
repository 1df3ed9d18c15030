"""Group normalization: statistics of groups of channels of each sample."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.tensor import make, numel
from numbagrad.extend import Sample, T, custom, function, load, store
from numbagrad.kernel.jit import kernel

from ..reduce.row_folds import moments_of, product_of, sum_of
from .batch_norm import _address
from .layer_norm import mixed

# ``aux`` holds (mean, inverse deviation) of each group.

@kernel
def gn_forward(x: "*T", w: "*T", b: "*T", out: "*T", aux: "*f8", groups: int, size: int, inner: int, scaled: int,
               shifted: int, eps: float, start: int, stop: int):
    """Normalize x (samples groups, size, inner), a row being one group of one sample, into out, scaled by w and shifted by
    b, both (groups size,) or 0, and the statistics into float64 aux (samples groups, 2)."""
    n = size * inner
    for row in range(start, stop):
        base = row * n
        mean, squares = moments_of(x, base, base + n, 0.0)
        center = T(mean)
        inverse = 1.0 / (squares / n + eps) ** 0.5
        aux[2 * row] = mean
        aux[2 * row + 1] = inverse
        first = (row % groups) * size
        for c in range(size):
            scale = T(inverse * load(w[first + c]) if scaled else inverse)
            offset = load(b[first + c]) if shifted else T(0)
            for i in range(base, base + inner):
                out[i] = store((load(x[i]) - center) * scale + offset)
            base += inner


@kernel
def gn_gradient(g: "*T", x: "*T", w: "*T", aux: "*f8", dx: "*T", sums: "*f8", groups: int, size: int, inner: int,
                scaled: int, wants: int, start: int, stop: int):
    """Gradient dx (``wants`` has bit 0) of ``gn_forward`` from g and x (samples groups, size, inner), w (groups size,) or 0
    and aux (samples groups, 2); sums (samples groups size, 2) takes those of ``g * normalized`` and of ``g``; both are
    float64."""
    n = size * inner
    for row in range(start, stop):
        mean = T(aux[2 * row])
        inverse = aux[2 * row + 1]
        first = (row % groups) * size
        total = 0.0
        dot = 0.0
        for c in range(size):
            base = (row * size + c) * inner
            a = sum_of(g, base, base + inner)
            d = product_of(g, x, base, base + inner, mean) * inverse
            sums[2 * (row * size + c)] = d
            sums[2 * (row * size + c) + 1] = a
            share = float(load(w[first + c])) if scaled else 1.0
            total += a * share
            dot += d * share
        if wants & 1:
            shift = T(total / n)
            slope = T(dot * inverse / n)
            scale = T(inverse)
            for c in range(size):
                base = (row * size + c) * inner
                share = load(w[first + c]) if scaled else T(1)
                for i in range(base, base + inner):
                    dx[i] = store((load(g[i]) * share - shift - (load(x[i]) - mean) * slope) * scale)


@kernel
def gn_weights(sums: "*f8", dw: "*T", db: "*T", samples: int, channels: int, wants: int):
    """Gradients dw (``wants`` has bit 1) and db (bit 2), both (channels,), from float64 sums (samples, channels, 2)."""
    for c in range(channels):
        d = 0.0
        a = 0.0
        for s in range(samples):
            d += sums[2 * (s * channels + c)]
            a += sums[2 * (s * channels + c) + 1]
        if wants & 2:
            dw[c] = store(T(d))
        if wants & 4:
            db[c] = store(T(a))


@custom(private=True, node="NativeGroupNormBackward0", reference=None)
def group_norm_fused(input, weight, bias, groups: int, eps: float):
    """Normalized groups of channels; the second output holds (mean, inverse deviation) of each."""
    return [(input._shape, input._kind),
            ((2 * input._shape[0] * groups,), storage.kind_of(dt.float64, input._kind.device))]


@group_norm_fused.cpu
def _(outs, input, weight, bias, groups, eps):
    out, aux = outs
    shape = input._shape
    gn_forward.run(input._kind, (input._ptr, _address(weight), _address(bias), out._ptr, aux._ptr, groups, shape[1] // groups,
                                 numel(shape[2:]), weight is not None, bias is not None, eps), shape[0] * groups, input._n)


@group_norm_fused.gradient
def _(g, input, weight, y1, needs, groups, eps):
    if g._rg or input._rg or (weight is not None and weight._rg):
        return _composed_group(g, input, weight, needs, groups, eps)
    g, input, weight = (t if t is None or t._strides is None else t.contiguous() for t in (g, input, weight))
    shape, kind = input._shape, input._kind
    samples, channels = shape[:2]
    wants = needs[0] + 2 * needs[1] + 4 * needs[2]
    sums = make((2 * samples * channels,), storage.kind_of(dt.float64, kind.device))
    dx = make(shape, kind) if needs[0] else None
    gn_gradient.run(kind, (g._ptr, input._ptr, _address(weight), y1._ptr, _address(dx), sums._ptr, groups, channels // groups,
                           numel(shape[2:]), weight is not None, wants), samples * groups, input._n)
    dw = make((channels,), kind) if needs[1] else None
    db = make((channels,), kind) if needs[2] else None
    if wants & 6:
        gn_weights[kind](sums._ptr, _address(dw), _address(db), samples, channels, wants)
    return dx, dw, db


def _composed_group(g, input, weight, needs, groups, eps):
    """The same gradients from differentiable ops."""
    samples, channels = input._shape[:2]
    size, inner = channels // groups, numel(input._shape[2:])
    shape, dims = (samples, groups, size, inner), (2, 3)
    x, u = input.reshape(shape), g.reshape(shape)
    x = x - x.mean(dims, True)
    inverse = ((x * x).mean(dims, True) + eps).rsqrt()
    normal = x * inverse
    dx = dw = db = None
    if needs[0]:
        v = u if weight is None else u * weight.reshape((1, groups, size, 1))
        dx = ((v - v.mean(dims, True) - normal * (v * normal).mean(dims, True)) * inverse).reshape(input._shape)
    if needs[1]:
        dw = (u * normal).sum((0, 3)).reshape((channels,))
    if needs[2]:
        db = u.sum((0, 3)).reshape((channels,))
    return dx, dw, db


def _group_reference(x, num_groups, weight=None, bias=None, eps=1e-5):
    y = x.reshape(x.shape[0], num_groups, -1)
    y = ((y - y.mean(2, keepdims=True)) / np.sqrt(y.var(2, keepdims=True) + eps)).reshape(x.shape)
    shape = [1, -1] + [1] * (x.ndim - 2)
    return y * (1 if weight is None else np.reshape(weight, shape)) + (0 if bias is None else np.reshape(bias, shape))


@function(namespaces=("torch", "nn.functional"), method=False, reference=_group_reference,
          samples=(Sample((2, 4, 3), 2), Sample((2, 6, 2, 2), 3, (6,), (6,))))
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-05, cudnn_enabled=True):
    """``(input - mean) / sqrt(var + eps) * weight + bias``: statistics over ``num_groups`` groups of the channels of
    (N, C, ...)."""
    shape = input._shape
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"GroupNormKernelImpl\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if shape[0] * shape[1] // num_groups * numel(shape[2:]) == 1:
        raise ValueError("Expected more than 1 value per channel when training, got input size "
                         f"{[shape[0] * shape[1] // num_groups, num_groups, *shape[2:]]}")
    if shape[1] % num_groups:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, but got input of shape "
                           f"{list(shape)} and num_groups={num_groups}")
    for t, what in ((weight, "weight"), (bias, "bias")):
        if t is not None and t._shape != (shape[1],):
            raise RuntimeError(f"Expected {what} to be a vector of size equal to the number of channels in input, but "
                               f"got {what} of shape {list(t._shape)} and input of shape {list(shape)}")
    if mixed(input, weight, bias):
        return group_norm(input.to(dtype=dt.float32), num_groups, weight, bias, eps).to(dtype=input.dtype)
    return group_norm_fused.call(input, weight, bias, num_groups, dt.as_float(eps))[0]
