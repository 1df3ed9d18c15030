"""Layer and RMS normalization: statistics of each row."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.tensor import make, numel
from numbagrad.extend import Sample, T, accumulate, custom, function, load, store
from numbagrad.kernel.jit import STRIP, kernel, strip, wide_strip

from ..reduce.row_folds import deviations, moments_of
from .batch_norm import _address

FLUSH = 32  # rows whose weight gradients are added in the compute type before they go into float64


# ``aux`` holds (mean, inverse deviation) of each row; without centering the mean counts as zero (RMS).

@kernel
def ln_forward(x: "*T", w: "*T", b: "*T", out: "*T", aux: "*f8", n: int, centered: int, scaled: int, shifted: int,
               eps: float, start: int, stop: int):
    """Normalize the rows of x (rows, n) into out, scaled by w and shifted by b, both (n,) or 0, and the statistics into
    float64 aux (rows, 2)."""
    for row in range(start, stop):
        base = row * n
        if centered:
            mean, squares = moments_of(x, base, base + n, 0.0)
        else:
            mean, squares = 0.0, deviations(x, base, base + n, T(0), 0.0)[1]
        center = T(mean)
        inverse = 1.0 / (squares / n + eps) ** 0.5
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


@kernel
def ln_gradient(g: "*T", x: "*T", w: "*T", aux: "*f8", dx: "*T", n: int, centered: int, scaled: int, start: int,
                stop: int):
    """Gradient of ``ln_forward`` by x, from g and x (rows, n), w (n,) or 0 and float64 aux (rows, 2), into dx (rows, n)."""
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
                    a = accumulate(a, v)
                    d = accumulate(d, v * (load(x[base + i]) - mean))
            else:
                for i in range(first, min(first + 1024, n)):
                    v = load(g[base + i])
                    a = accumulate(a, v)
                    d = accumulate(d, v * (load(x[base + i]) - mean))
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
    """Gradients of weight, dw (``wants`` has bit 1), and bias, db (bit 2), both (n,), from g and x (rows, n) and float64 aux
    (rows, 2): tiles of columns summed down the rows."""
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


def _layer_reference(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def _rms_reference(x, normalized_shape, weight=None, eps=None):
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    eps = np.finfo(x.dtype).eps if eps is None else eps
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * (1 if weight is None else weight)


@custom(private=True, node="NativeLayerNormBackward0", reference=None)
def layer_norm_fused(input, weight, bias, *, n: int, centered: bool, eps: float, dims: int):
    """Normalized rows of ``n`` elements in the last ``dims`` dimensions; the second output holds (mean, inverse deviation) of
    each."""
    return [(input._shape, input._kind), ((2 * (input._n // n),), storage.kind_of(dt.float64, input._kind.device))]


@layer_norm_fused.cpu
def _(outs, input, weight, bias, n, centered, eps, dims):
    out, aux = outs
    ln_forward.run(input._kind, (input._ptr, _address(weight), _address(bias), out._ptr, aux._ptr, n, centered,
                                 weight is not None, bias is not None, eps), input._n // n, input._n)


@layer_norm_fused.gradient
def _(g, input, weight, y1, needs, n, centered, eps, dims):
    if g._rg or input._rg or (weight is not None and weight._rg):
        return _composed_layer(g, input, weight, needs, n, dims, centered, eps)
    g, input, weight = (t if t is None or t._strides is None else t.contiguous() for t in (g, input, weight))
    rows = input._n // n
    dx = dw = db = None
    if needs[0]:
        dx = make(input._shape, input._kind)
        ln_gradient.run(input._kind, (g._ptr, input._ptr, _address(weight), y1._ptr, dx._ptr, n, centered, weight is not None),
                        rows, input._n)
    if needs[1] or needs[2]:
        tail = input._shape[-dims:]
        dw = make(tail, input._kind) if needs[1] else None
        db = make(tail, input._kind) if needs[2] else None
        ln_weights.run(input._kind, (g._ptr, input._ptr, y1._ptr, _address(dw), _address(db), n, rows,
                                     2 * needs[1] + 4 * needs[2]), -(-n // STRIP), input._n)
    return dx, dw, db


def _composed_layer(g, input, weight, needs, n, dims, centered, eps):
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
        db = u.sum(0).reshape(input._shape[-dims:])
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
    if name == "rms_norm" and len(shape) < len(tail):
        raise ValueError(f"Input tensor must have at least {len(tail)} dimensions, but got {len(shape)}")
    if len(shape) < len(tail) or shape[len(shape) - len(tail):] != tail:
        comma = "" if name == "rms_norm" else ", "
        raise RuntimeError(f"Given normalized_shape={list(tail)}, expected input with shape "
                           f"[*{comma}{', '.join(map(str, tail))}], but got input of size{list(shape)}")
    if input._kind.dtype.category != (3 if name == "rms_norm" and input._kind.dtype.is_complex else 2):
        raise NotImplementedError(f"\"LayerNormKernelImpl\" not implemented for "
                                  f"'{dt.scalar_name(input._kind.dtype)}'")
    return tail


def mixed(input, *parameters):
    """Whether half-precision input meets float32 parameters; RuntimeError for any other mix of dtypes."""
    mixed = False
    for t in parameters:
        if t is not None and t._kind is not input._kind:
            if input._kind.dtype.code not in ("f2", "bf") or t._kind.dtype is not dt.float32:
                raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
            mixed = True
    return mixed


def _of_nothing(input, weight, bias=None):
    """The result for rows of no elements, with the history of all that takes part."""
    out = input * 1 if weight is None else input * weight
    return out if bias is None else out + bias


@function(namespaces=("torch", "nn.functional"), method=False, reference=_layer_reference,
          samples=(Sample((3, 4), (4,)), Sample((2, 3, 4), [3, 4], (3, 4), (3, 4)),
                   Sample((3, 70), [70], (70,), (70,))))
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True):
    """``(input - mean) / sqrt(var + eps) * weight + bias`` over the trailing dimensions ``normalized_shape``."""
    tail = _normalized("layer_norm", input, normalized_shape, weight, bias)
    if mixed(input, weight, bias):
        return layer_norm(input.to(dtype=dt.float32), tail, weight, bias, eps).to(dtype=input.dtype)
    if not numel(tail):
        return _of_nothing(input, weight, bias)
    return layer_norm_fused.call(input, weight, bias, n=numel(tail), centered=True, eps=dt.as_float(eps), dims=len(tail))[0]


class _Rms:
    """RMS normalization prints as the multiplication that PyTorch ends it with."""

    made: list = []

    @classmethod
    def node_for(cls, params):
        if params[1]:
            return layer_norm_fused.node_class
        if not cls.made:
            cls.made.append(type("MulBackward0", (layer_norm_fused.node_class,),
                                 {"__slots__": (), "__module__": "numbagrad", "order": (1, 0, 2)}))
        return cls.made[0]


layer_norm_fused.node_for = _Rms.node_for


@function(namespaces=("torch", "nn.functional"), method=False, reference=_rms_reference,
          samples=(Sample((3, 4), (4,)), Sample((2, 3, 4), [3, 4], (3, 4))))
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """``input / sqrt(mean(input ** 2) + eps) * weight`` over the trailing dimensions ``normalized_shape``.

    ``eps`` is the dtype's machine epsilon unless given."""
    tail = _normalized("rms_norm", input, normalized_shape, weight, None)
    if weight is not None and weight._kind is not input._kind:  # as PyTorch composes it, in the dtype of the input
        x = input.to(dtype=dt.float32) if input._kind.dtype.code in ("f2", "bf") else input
        return (rms_norm(x, tail, None, eps) * weight).to(dtype=input.dtype)
    if eps is None:
        eps = dt.finfo(dt.float32 if input._kind.dtype.code in ("f2", "bf") else input._kind.dtype).eps
    if not numel(tail):
        return _of_nothing(input, weight)
    if input._kind.dtype.is_complex:
        # As PyTorch composes it: the square is that of the complex number, not of its absolute value.
        dims = tuple(range(len(input._shape) - len(tail), len(input._shape)))
        result = input * (input.pow(2).mean(dims, True) + dt.as_float(eps)).rsqrt()
        return result if weight is None else result * weight
    return layer_norm_fused.call(input, weight, None, n=numel(tail), centered=False, eps=dt.as_float(eps), dims=len(tail))[0]
