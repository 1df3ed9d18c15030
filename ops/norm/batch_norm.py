"""Batch normalization: statistics of each channel over the batch and all positions."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.tensor import make, numel
from numbagrad.extend import Sample, T, custom, function, load, store
from numbagrad.kernel.jit import STRIP, kernel, strip, wide_strip

from ..reduce.row_folds import deviations, product_of, sum_of
from ..refusal import constant

F8 = storage.kind_of(dt.float64)


# ``aux`` holds the means of the channels and then their inverse standard deviations.

@kernel
def bn_forward(x: "*T", w: "*T", b: "*T", rm: "*T", rv: "*T", out: "*T", aux: "*f8", n: int, channels: int, inner: int,
               training: int, scaled: int, shifted: int, tracked: int, momentum: float, eps: float, start: int,
               stop: int):
    """Normalize x (n, channels, inner) by its channels into out, scaled by w, shifted by b, with running mean rm and
    variance rv, all (channels,) or 0, and the statistics into float64 aux (2, channels)."""
    for c in range(start, stop):
        if training:
            count = n * inner
            total = 0.0
            for row in range(n):
                base = (row * channels + c) * inner
                total += sum_of(x, base, base + inner)
            center = T(total / count)
            off = 0.0
            total = 0.0
            for row in range(n):
                base = (row * channels + c) * inner
                d, square = deviations(x, base, base + inner, center, 0.0)
                off += d
                total += square
            # What the first pass has rounded off: equal elements have no deviations.
            mean = np.float64(center) + off / count
            total = max(total - off * off / count, 0.0)
            var = total / count
            if tracked:
                rm[c] = store(T((1.0 - momentum) * load(rm[c]) + momentum * mean))
                rv[c] = store(T((1.0 - momentum) * load(rv[c]) + momentum * (total / (count - 1))))
        else:
            mean = float(load(rm[c]))
            var = float(load(rv[c]))
        inverse = 1.0 / (var + eps) ** 0.5
        aux[c] = mean
        aux[channels + c] = inverse
        scale = inverse * load(w[c]) if scaled else inverse
        center = T(mean)
        factor = T(scale)
        offset = load(b[c]) if shifted else T(0)
        for row in range(n):
            base = (row * channels + c) * inner
            for i in range(base, base + inner):
                out[i] = store((load(x[i]) - center) * factor + offset)


@kernel
def bn_forward_flat(x: "*T", w: "*T", b: "*T", rm: "*T", rv: "*T", out: "*T", aux: "*f8", n: int, channels: int,
                    inner: int, training: int, scaled: int, shifted: int, tracked: int, momentum: float, eps: float,
                    start: int, stop: int):
    """``bn_forward`` for inner 1, strips of channels together: x (n, channels) into out, w, b, rm and rv (channels,) or 0,
    the statistics into float64 aux (2, channels)."""
    mean, var = wide_strip(), wide_strip()
    center, factor, offset = strip(), strip(), strip()
    whole = n - n % 4
    for tile in range(start, stop):
        left = tile * STRIP
        width = min(STRIP, channels - left)
        for k in range(width):
            mean[k] = 0.0 if training else float(load(rm[left + k]))
            var[k] = 0.0 if training else float(load(rv[left + k]))
        if training:
            # Four rows are added in the compute type before they go into float64.
            for row in range(0, whole, 4):
                r0 = row * channels + left
                r1 = r0 + channels
                r2 = r1 + channels
                r3 = r2 + channels
                for k in range(width):
                    mean[k] = mean[k] + ((load(x[r0 + k]) + load(x[r1 + k])) + (load(x[r2 + k]) + load(x[r3 + k])))
            for row in range(whole, n):
                base = row * channels + left
                for k in range(width):
                    mean[k] = mean[k] + load(x[base + k])
            for k in range(width):
                mean[k] = mean[k] / n
                center[k] = T(mean[k])
            for row in range(0, whole, 4):
                r0 = row * channels + left
                r1 = r0 + channels
                r2 = r1 + channels
                r3 = r2 + channels
                for k in range(width):
                    d0 = load(x[r0 + k]) - center[k]
                    d1 = load(x[r1 + k]) - center[k]
                    d2 = load(x[r2 + k]) - center[k]
                    d3 = load(x[r3 + k]) - center[k]
                    var[k] = var[k] + ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3))
            for row in range(whole, n):
                base = row * channels + left
                for k in range(width):
                    d0 = load(x[base + k]) - center[k]
                    var[k] = var[k] + d0 * d0
            for k in range(width):
                c = left + k
                if tracked:
                    rm[c] = store(T((1.0 - momentum) * load(rm[c]) + momentum * mean[k]))
                    rv[c] = store(T((1.0 - momentum) * load(rv[c]) + momentum * (var[k] / (n - 1))))
                var[k] = var[k] / n
        for k in range(width):
            c = left + k
            inverse = 1.0 / (var[k] + eps) ** 0.5
            aux[c] = mean[k]
            aux[channels + c] = inverse
            center[k] = T(mean[k])
            factor[k] = T(inverse * load(w[c]) if scaled else inverse)
            offset[k] = load(b[c]) if shifted else T(0)
        for row in range(n):
            base = row * channels + left
            for k in range(width):
                out[base + k] = store((load(x[base + k]) - center[k]) * factor[k] + offset[k])


@kernel
def bn_gradient(g: "*T", x: "*T", w: "*T", aux: "*f8", dx: "*T", dw: "*T", db: "*T", n: int, channels: int, inner: int,
                training: int, scaled: int, wants: int, start: int, stop: int):
    """Gradients of ``bn_forward`` from g and x (n, channels, inner), w (channels,) or 0 and float64 aux (2, channels): dx
    (``wants`` has bit 0) like x, dw (bit 1) and db (bit 2) (channels,)."""
    for c in range(start, stop):
        count = n * inner
        mean = T(aux[c])
        inverse = aux[channels + c]
        sum_g = 0.0
        dot = 0.0
        if training or wants > 1:
            for row in range(n):
                base = (row * channels + c) * inner
                sum_g += sum_of(g, base, base + inner)
                dot += product_of(g, x, base, base + inner, mean)
        if wants & 2:
            dw[c] = store(T(dot * inverse))
        if wants & 4:
            db[c] = store(T(sum_g))
        if wants & 1:
            scale = T(inverse * load(w[c]) if scaled else inverse)
            shift = T(sum_g / count)
            slope = T(inverse * inverse * dot / count)
            for row in range(n):
                base = (row * channels + c) * inner
                if training:
                    for i in range(base, base + inner):
                        dx[i] = store((load(g[i]) - shift - (load(x[i]) - mean) * slope) * scale)
                else:
                    for i in range(base, base + inner):
                        dx[i] = store(load(g[i]) * scale)


@kernel
def bn_gradient_flat(g: "*T", x: "*T", w: "*T", aux: "*f8", dx: "*T", dw: "*T", db: "*T", n: int, channels: int,
                     inner: int, training: int, scaled: int, wants: int, start: int, stop: int):
    """``bn_gradient`` for inner 1, strips of channels together: g, x and dx (n, channels), w, dw and db (channels,), float64
    aux (2, channels)."""
    sum_g, dot = wide_strip(), wide_strip()
    mean, scale, shift, slope = strip(), strip(), strip(), strip()
    whole = n - n % 4
    for tile in range(start, stop):
        left = tile * STRIP
        width = min(STRIP, channels - left)
        for k in range(width):
            sum_g[k] = 0.0
            dot[k] = 0.0
            mean[k] = T(aux[left + k])
        if training or wants > 1:
            for row in range(0, whole, 4):
                r0 = row * channels + left
                r1 = r0 + channels
                r2 = r1 + channels
                r3 = r2 + channels
                for k in range(width):
                    g0 = load(g[r0 + k])
                    g1 = load(g[r1 + k])
                    g2 = load(g[r2 + k])
                    g3 = load(g[r3 + k])
                    m = mean[k]
                    sum_g[k] = sum_g[k] + ((g0 + g1) + (g2 + g3))
                    dot[k] = dot[k] + ((g0 * (load(x[r0 + k]) - m) + g1 * (load(x[r1 + k]) - m))
                                       + (g2 * (load(x[r2 + k]) - m) + g3 * (load(x[r3 + k]) - m)))
            for row in range(whole, n):
                base = row * channels + left
                for k in range(width):
                    g0 = load(g[base + k])
                    sum_g[k] = sum_g[k] + g0
                    dot[k] = dot[k] + g0 * (load(x[base + k]) - mean[k])
        for k in range(width):
            c = left + k
            inverse = aux[channels + c]
            if wants & 2:
                dw[c] = store(T(dot[k] * inverse))
            if wants & 4:
                db[c] = store(T(sum_g[k]))
            scale[k] = T(inverse * load(w[c]) if scaled else inverse)
            shift[k] = T(sum_g[k] / n)
            slope[k] = T(inverse * inverse * dot[k] / n)
        if wants & 1:
            for row in range(n):
                base = row * channels + left
                if training:
                    for k in range(width):
                        dx[base + k] = store((load(g[base + k]) - shift[k] - (load(x[base + k]) - mean[k]) * slope[k])
                                             * scale[k])
                else:
                    for k in range(width):
                        dx[base + k] = store(load(g[base + k]) * scale[k])


def _channel_reference(x, mean=None, var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    axes = (0, *range(2, x.ndim))
    shape = [1, -1] + [1] * (x.ndim - 2)
    if training:
        mean, var = x.mean(axes), x.var(axes)
    y = (x - np.reshape(mean, shape)) / np.sqrt(np.reshape(var, shape) + eps)
    return y * (1 if weight is None else np.reshape(weight, shape)) + (0 if bias is None else np.reshape(bias, shape))


def _address(t):
    return 0 if t is None else t._ptr


@custom(private=True, node="NativeBatchNormBackward0", reference=None)
def batch_norm_fused(input, weight, bias, running_mean, running_var, *, training: bool, momentum: float, eps: float):
    """Normalized channels; the second output holds their means and inverse standard deviations."""
    return [(input._shape, input._kind), ((2 * input._shape[1],), storage.kind_of(dt.float64, input._kind.device))]


@batch_norm_fused.cpu
def _(outs, input, weight, bias, running_mean, running_var, training, momentum, eps):
    out, aux = outs
    shape = input._shape
    n, channels = shape[0], shape[1]
    inner = numel(shape[2:])
    flat = inner == 1
    tracked = training and running_mean is not None
    (bn_forward_flat if flat else bn_forward).run(input._kind, (
        input._ptr, _address(weight), _address(bias), _address(running_mean), _address(running_var), out._ptr, aux._ptr,
        n, channels, inner, training, weight is not None, bias is not None, tracked, momentum, eps),
        -(-channels // STRIP) if flat else channels, out._n)


@batch_norm_fused.gradient
def _(g, input, weight, y1, needs, training, eps):
    if g._rg or input._rg or (weight is not None and weight._rg):
        return _composed_gradient(g, input, weight, y1, needs, training, eps)
    g, input, weight = (t if t is None or t._strides is None else t.contiguous() for t in (g, input, weight))
    shape = input._shape
    n, channels = shape[0], shape[1]
    inner = numel(shape[2:])
    flat = inner == 1
    dx = make(shape, input._kind) if needs[0] else None
    dw = make((channels,), input._kind) if needs[1] else None
    db = make((channels,), input._kind) if needs[2] else None
    (bn_gradient_flat if flat else bn_gradient).run(input._kind, (
        g._ptr, input._ptr, _address(weight), y1._ptr, _address(dx), _address(dw), _address(db), n, channels, inner,
        training, weight is not None, needs[0] + 2 * needs[1] + 4 * needs[2]),
        -(-channels // STRIP) if flat else channels, input._n)
    return dx, dw, db, None, None


def _composed_gradient(g, input, weight, aux, needs, training, eps):
    """The same gradients from differentiable ops."""
    channels = input._shape[1]
    shape = (1, channels, *[1] * (len(input._shape) - 2))
    dims = (0, *range(2, len(input._shape)))
    if training:
        centered = input - input.mean(dims, True)
        inverse = ((centered * centered).mean(dims, True) + eps).rsqrt()
    else:
        aux = aux.detach().to(dtype=input.dtype)
        centered, inverse = input - aux[:channels].reshape(shape), aux[channels:].reshape(shape)
    normal = centered * inverse
    dx = dw = db = None
    if needs[0]:
        scale = inverse if weight is None else inverse * weight.reshape(shape)
        dx = g * scale
        if training:
            dx = (g - g.mean(dims, True) - normal * (g * normal).mean(dims, True)) * scale
    if needs[1]:
        dw = (g * normal).sum(dims)
    if needs[2]:
        db = g.sum(dims)
    return dx, dw, db, None, None


def check_channels(input, channels, **tensors):
    """Every given per-channel tensor has one entry per channel."""
    for name, t in tensors.items():
        if t is not None and t._n != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {t._n}")


@function(kinds={"running_mean": "tensor?", "running_var": "tensor?"}, namespaces=("nn.functional",), method=False,
          reference=_channel_reference,
          samples=(Sample((4, 3), None, None, (3,), (3,), training=True),
                   Sample((2, 3, 4, 2), None, None, training=True),
                   Sample((4, 3, 2), np.array([0.1, 0.2, 0.3]), np.array([1.1, 0.9, 1.3]), (3,), (3,))))
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05):
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel of (N, C, ...).

    With ``training`` mean and variance are those of the batch, and the running ones move towards them by ``momentum``
    in place (the variance without bias); otherwise the running ones are used."""
    if eps <= 0.0 if training else eps < 0.0:
        raise ValueError(f"batch_norm eps must be {'positive during training' if training else 'non-negative'}, but got {eps}")
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _constants(running_mean, running_var):
    for name, t in (("running_mean", running_mean), ("running_var", running_var)):
        if t is not None:
            constant("native_batch_norm", name, t)


def _of_nothing(input, weight, bias):
    """The result for no elements: PyTorch looks at no statistics then, and depends on scale and shift all the same."""
    scaled = input.clone() if weight is None else input * weight.select(0, 0)
    return scaled if bias is None else scaled + bias.select(0, 0)


def _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps):
    shape = input._shape
    if not input._n and len(shape) < 2:
        return _of_nothing(input, weight, bias)
    if len(shape) < 2:
        check_channels(input, 0, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
        raise IndexError("Dimension out of range (expected to be in range of "
                         f"[{-max(len(shape), 1)}, {max(len(shape), 1) - 1}], but got 1)")
    channels = shape[1]
    if training and numel((shape[0], *shape[2:])) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    if not input._n:
        return _of_nothing(input, weight, bias)
    if training:
        if (running_mean is None) != (running_var is None):
            raise ValueError("running_mean and running_var must either both be None or neither be None")
    elif running_mean is None or running_var is None:
        raise RuntimeError(f"{'running_mean' if running_mean is None else 'running_var'} must be defined in evaluation "
                           "mode")
    kind = input._kind
    if kind.dtype.category != 2:
        raise NotImplementedError(f"\"batch_norm\" not implemented for '{dt.scalar_name(kind.dtype)}'")
    check_channels(input, channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    _constants(running_mean, running_var)
    for t in (weight, bias, running_mean, running_var):
        if t is not None and t._kind is not kind:
            if kind.dtype.code in ("f2", "bf") and t._kind.dtype is dt.float32:
                wide = _batch_norm(input.to(dtype=dt.float32), running_mean, running_var, weight, bias, training,
                                  momentum, eps)
                return wide.to(dtype=kind.dtype)
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
    out = batch_norm_fused.call(input, weight, bias, running_mean, running_var, training=bool(training),
                                momentum=dt.as_float(momentum), eps=dt.as_float(eps))[0]
    if training and running_mean is not None:
        running_mean._ver[0] += 1
        running_var._ver[0] += 1
    return out
