"""Normalization of one sample by itself: layer, RMS and group normalization."""

from __future__ import annotations

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import storage
from numbagrad.kernel.jit import REDUCE, STRIP, T, kernel, load, store, strip, wide_strip
from numbagrad.op import Sample, custom, function
from numbagrad.tensor import make, numel

from .norm import _address
from .rowsums import product_of, squares_of, sum_of

FLUSH = 32  # rows whose weight gradients are added in the compute type before they go into float64


# ``aux`` holds (mean, inverse deviation) of each row; without centering the mean counts as zero (RMS).

@kernel
def ln_forward(x: "*T", w: "*T", b: "*T", out: "*T", aux: "*f8", n: int, centered: int, scaled: int, shifted: int,
               eps: float, start: int, stop: int):
    for row in range(start, stop):
        base = row * n
        mean = 0.0
        if centered:
            mean = sum_of(x, base, base + n) / n
        center = T(mean)
        inverse = 1.0 / (squares_of(x, base, base + n, center) / n + eps) ** 0.5
        aux[2 * row] = mean
        aux[2 * row + 1] = inverse
        scale = T(inverse)
        if scaled and shifted:
            for i in range(n):
                out[base + i] = store((load(x[base + i]) - center) * scale * load(w[i]) + load(b[i]))
        elif scaled:
            for i in range(n):
                out[base + i] = store((load(x[base + i]) - center) * scale * load(w[i]))
        elif shifted:
            for i in range(n):
                out[base + i] = store((load(x[base + i]) - center) * scale + load(b[i]))
        else:
            for i in range(n):
                out[base + i] = store((load(x[base + i]) - center) * scale)


@kernel(fast=REDUCE)
def ln_gradient(g: "*T", x: "*T", w: "*T", aux: "*f8", dx: "*T", n: int, centered: int, scaled: int, start: int,
                stop: int):
    for row in range(start, stop):
        base = row * n
        mean = T(aux[2 * row])
        inverse = T(aux[2 * row + 1])
        total = 0.0
        dot = 0.0
        for first in range(0, n, 1024):
            a = T(0)
            d = T(0)
            if scaled:
                for i in range(first, min(first + 1024, n)):
                    v = load(g[base + i]) * load(w[i])
                    a += v
                    d += v * (load(x[base + i]) - mean)
            else:
                for i in range(first, min(first + 1024, n)):
                    v = load(g[base + i])
                    a += v
                    d += v * (load(x[base + i]) - mean)
            total += a
            dot += d
        shift = T(total / n) if centered else T(0)
        slope = T(dot * aux[2 * row + 1] * aux[2 * row + 1] / n)
        if scaled:
            for i in range(n):
                dx[base + i] = store((load(g[base + i]) * load(w[i]) - shift - (load(x[base + i]) - mean) * slope)
                                     * inverse)
        else:
            for i in range(n):
                dx[base + i] = store((load(g[base + i]) - shift - (load(x[base + i]) - mean) * slope) * inverse)


@kernel
def ln_weights(g: "*T", x: "*T", aux: "*f8", dw: "*T", db: "*T", n: int, rows: int, wants: int, start: int, stop: int):
    """Gradients of weight (``wants`` bit 1) and bias (bit 2): tiles of columns summed down the rows."""
    sum_w, sum_b = wide_strip(), wide_strip()
    part_w, part_b = strip(), strip()
    for tile in range(start, stop):
        left = tile * STRIP
        width = min(STRIP, n - left)
        for k in range(width):
            sum_w[k] = 0.0
            sum_b[k] = 0.0
        for first in range(0, rows, FLUSH):
            for k in range(width):
                part_w[k] = T(0)
                part_b[k] = T(0)
            for row in range(first, min(first + FLUSH, rows)):
                base = row * n + left
                mean = T(aux[2 * row])
                inverse = T(aux[2 * row + 1])
                for k in range(width):
                    v = load(g[base + k])
                    part_w[k] = part_w[k] + v * ((load(x[base + k]) - mean) * inverse)
                    part_b[k] = part_b[k] + v
            for k in range(width):
                sum_w[k] = sum_w[k] + part_w[k]
                sum_b[k] = sum_b[k] + part_b[k]
        if wants & 2:
            for k in range(width):
                dw[left + k] = store(T(sum_w[k]))
        if wants & 4:
            for k in range(width):
                db[left + k] = store(T(sum_b[k]))


@kernel
def gn_forward(x: "*T", w: "*T", b: "*T", out: "*T", aux: "*f8", groups: int, size: int, inner: int, scaled: int,
               shifted: int, eps: float, start: int, stop: int):
    """A row is one group of one sample: ``size`` channels of ``inner`` positions."""
    n = size * inner
    for row in range(start, stop):
        base = row * n
        mean = sum_of(x, base, base + n) / n
        center = T(mean)
        inverse = 1.0 / (squares_of(x, base, base + n, center) / n + eps) ** 0.5
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
    """``sums`` takes, per sample and channel, the sums of ``g * normalized`` and of ``g``."""
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


def _layer_reference(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def _rms_reference(x, normalized_shape, weight=None, eps=None):
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    eps = np.finfo(x.dtype).eps if eps is None else eps
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * (1 if weight is None else weight)


@custom(private=True, node="NativeLayerNormBackward0", reference=None,
        samples=(Sample((3, 4), (4,), (4,), n=4, centered=True, eps=1e-5),
                 Sample((3, 4), (4,), None, n=4, centered=False, eps=1e-5)))
def layer_norm_fused(input, weight, bias, *, n: int, centered: bool, eps: float):
    """Normalized rows of ``n`` elements; the second output holds (mean, inverse deviation) of each."""
    return [(input._shape, input._kind), ((2 * (input._n // n),), storage.kind_of(dt.float64, input._kind.device))]


@layer_norm_fused.cpu
def _(outs, input, weight, bias, n, centered, eps):
    out, aux = outs
    ln_forward[input._kind.dtype](input._ptr, _address(weight), _address(bias), out._ptr, aux._ptr, n, centered,
                                  weight is not None, bias is not None, eps, 0, input._n // n)


@layer_norm_fused.gradient
def _(g, input, weight, y1, needs, n, centered, eps):
    if g._rg or input._rg or (weight is not None and weight._rg):
        return _composed_layer(g, input, weight, needs, n, centered, eps)
    if not input._kind.cpu:
        raise NotImplementedError(f"layer_norm has no gradient kernel for device '{input.device}'")
    g, input = g.contiguous(), input.contiguous()
    d, rows = input._kind.dtype, input._n // n
    dx = dw = db = None
    if needs[0]:
        dx = make(input._shape, input._kind)
        ln_gradient[d](g._ptr, input._ptr, _address(weight), y1._ptr, dx._ptr, n, centered, weight is not None, 0, rows)
    if needs[1] or needs[2]:
        tail = _tail(input._shape, n)
        dw = make(tail, input._kind) if needs[1] else None
        db = make(tail, input._kind) if needs[2] else None
        ln_weights[d](g._ptr, input._ptr, y1._ptr, _address(dw), _address(db), n, rows, 2 * needs[1] + 4 * needs[2], 0,
                      -(-n // STRIP))
    return dx, dw, db


def _tail(shape, n):
    """The trailing dimensions of ``shape`` that hold ``n`` elements (all of size one in front of them left out)."""
    k, size = len(shape), 1
    while size < n:
        k -= 1
        size *= shape[k]
    return shape[k:]


def _composed_layer(g, input, weight, needs, n, centered, eps):
    """The same gradients from differentiable ops."""
    shape = (input._n // n, n)
    x, u = input.reshape(shape), g.reshape(shape)
    if centered:
        x = x - x.mean(1, True)
    normal = x * ((x * x).mean(1, True) + eps).rsqrt()
    dx = dw = db = None
    if needs[0]:
        v = u if weight is None else u * weight.reshape((n,))
        dx = v - normal * (v * normal).mean(1, True)
        if centered:
            dx = dx - v.mean(1, True)
        dx = (dx * ((x * x).mean(1, True) + eps).rsqrt()).reshape(input._shape)
    if needs[1]:
        dw = (u * normal).sum(0).reshape(weight._shape)
    if needs[2]:
        db = u.sum(0).reshape(_tail(input._shape, n) if weight is None else weight._shape)
    return dx, dw, db


def _normalized(name, input, normalized_shape, weight, bias):
    """``normalized_shape`` as a tuple, after PyTorch's checks."""
    tail = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not tail:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
                           f"element, but got normalized_shape = {list(tail)}")
    for t, what in ((weight, "weight"), (bias, "bias")):
        if t is not None and t._shape != tail:
            raise RuntimeError(f"Expected {what} to be of same shape as normalized_shape, but got {what} of shape "
                               f"{list(t._shape)} and normalized_shape = {list(tail)}")
    shape = input._shape
    if len(shape) < len(tail) or shape[len(shape) - len(tail):] != tail:
        raise RuntimeError(f"Given normalized_shape={list(tail)}, expected input with shape "
                           f"[*, {', '.join(map(str, tail))}], but got input of size{list(shape)}")
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"LayerNormKernelImpl\" not implemented for "
                                  f"'{dt.scalar_name(input._kind.dtype)}'")
    return tail


def _mixed(input, *parameters):
    """Whether half-precision input meets float32 parameters; RuntimeError for any other mix of dtypes."""
    mixed = False
    for t in parameters:
        if t is not None and t._kind is not input._kind:
            if input._kind.dtype.code not in ("f2", "bf") or t._kind.dtype is not dt.float32:
                raise RuntimeError(f"expected scalar type {dt.scalar_name(input._kind.dtype)} but found "
                                   f"{dt.scalar_name(t._kind.dtype)}")
            mixed = True
    return mixed


@function(namespaces=("torch", "nn.functional"), method=False, reference=_layer_reference,
          samples=(Sample((3, 4), (4,)), Sample((2, 3, 4), [3, 4], (3, 4), (3, 4)), Sample((5, 70), [70], (70,), (70,))))
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True):
    """``(input - mean) / sqrt(var + eps) * weight + bias`` over the trailing dimensions ``normalized_shape``."""
    tail = _normalized("layer_norm", input, normalized_shape, weight, bias)
    if _mixed(input, weight, bias):
        return layer_norm(input.to(dtype=dt.float32), tail, weight, bias, eps).to(dtype=input.dtype)
    return layer_norm_fused.call(input, weight, bias, n=numel(tail), centered=True, eps=float(eps))[0]


class _Rms:
    """RMS normalization prints as the multiplication that PyTorch ends it with."""

    made: list = []

    @classmethod
    def node_for(cls, params):
        if params[1]:
            return layer_norm_fused.node_class
        if not cls.made:
            cls.made.append(type("MulBackward0", (layer_norm_fused.node_class,),
                                 {"__slots__": (), "__module__": "numbagrad"}))
        return cls.made[0]


layer_norm_fused.node_for = _Rms.node_for


@function(namespaces=("torch", "nn.functional"), method=False, reference=_rms_reference,
          samples=(Sample((3, 4), (4,)), Sample((2, 3, 4), [3, 4], (3, 4))))
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """``input / sqrt(mean(input ** 2) + eps) * weight`` over the trailing dimensions ``normalized_shape``.

    ``eps`` is the dtype's machine epsilon unless given."""
    tail = _normalized("rms_norm", input, normalized_shape, weight, None)
    if _mixed(input, weight):
        return rms_norm(input.to(dtype=dt.float32), tail, weight, eps).to(dtype=input.dtype)
    if eps is None:
        eps = dt.finfo(dt.float32 if input._kind.dtype.code in ("f2", "bf") else input._kind.dtype).eps
    return layer_norm_fused.call(input, weight, None, n=numel(tail), centered=False, eps=float(eps))[0]


# --- group normalization -------------------------------------------------------------------------------------------------

@custom(private=True, node="NativeGroupNormBackward0", reference=None,
        samples=(Sample((2, 4, 3), (4,), (4,), groups=2, eps=1e-5),))
def group_norm_fused(input, weight, bias, *, groups: int, eps: float):
    """Normalized groups of channels; the second output holds (mean, inverse deviation) of each."""
    return [(input._shape, input._kind),
            ((2 * input._shape[0] * groups,), storage.kind_of(dt.float64, input._kind.device))]


@group_norm_fused.cpu
def _(outs, input, weight, bias, groups, eps):
    out, aux = outs
    shape = input._shape
    gn_forward[input._kind.dtype](input._ptr, _address(weight), _address(bias), out._ptr, aux._ptr, groups,
                                  shape[1] // groups, numel(shape[2:]), weight is not None, bias is not None, eps, 0,
                                  shape[0] * groups)


@group_norm_fused.gradient
def _(g, input, weight, y1, needs, groups, eps):
    if g._rg or input._rg or (weight is not None and weight._rg):
        return _composed_group(g, input, weight, needs, groups, eps)
    if not input._kind.cpu:
        raise NotImplementedError(f"group_norm has no gradient kernel for device '{input.device}'")
    g, input = g.contiguous(), input.contiguous()
    shape, kind, d = input._shape, input._kind, input._kind.dtype
    samples, channels = shape[:2]
    wants = needs[0] + 2 * needs[1] + 4 * needs[2]
    sums = make((2 * samples * channels,), storage.kind_of(dt.float64))
    dx = make(shape, kind) if needs[0] else None
    gn_gradient[d](g._ptr, input._ptr, _address(weight), y1._ptr, _address(dx), sums._ptr, groups, channels // groups,
                   numel(shape[2:]), weight is not None, wants, 0, samples * groups)
    dw = make((channels,), kind) if needs[1] else None
    db = make((channels,), kind) if needs[2] else None
    if wants & 6:
        gn_weights[d](sums._ptr, _address(dw), _address(db), samples, channels, wants)
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
            raise RuntimeError(f"Expected {what} to be a vector of size equal to the number of channels in input, but got "
                               f"{what} of shape {list(t._shape)} and input of shape {list(shape)}")
    if _mixed(input, weight, bias):
        return group_norm(input.to(dtype=dt.float32), num_groups, weight, bias, eps).to(dtype=input.dtype)
    return group_norm_fused.call(input, weight, bias, groups=num_groups, eps=float(eps))[0]
