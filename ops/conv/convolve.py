"""Three private ops that are each other's gradients: the output, input gradient and weight gradient of a convolution."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.copying import copy_into, set_all
from numbagrad.core.tensor import make, numel
from numbagrad.extend import Sample, T, custom, load, store
from numbagrad.kernel.jit import kernel

from ..product.product import BLAS_CODES, converted
from ..view.shape import expand, view
from . import column_product, kernels


def _run(fn, result, x, w, b, y, geometry):
    """Launch a product in the type it computes in; ``result`` is the one of x, w, y that is written."""
    d = result._kind.dtype
    if d.code in BLAS_CODES and not result._kind.cpu:
        getattr(column_product, fn.__name__)(x, w, b, y, geometry)
        if b is not None:
            _add_bias(y, b)
        return None
    if d.code in BLAS_CODES:
        return kernels.launch(fn, x, w, 0 if b is None else b._ptr, y, geometry)
    if d.category < 2:
        return _integers(fn, x, w, b, y, geometry)
    kind = storage.kind_of(dt.float32, result._kind.device)
    wide = [make(t._shape, kind) if t is result else converted(t, kind) for t in (x, w, y)]
    to = wide[0] if result is x else wide[1] if result is w else wide[2]
    _run(fn, to, *wide[:2], None if b is None else converted(b, kind), wide[2], geometry)
    return copy_into(result, wide[0] if result is x else wide[1] if result is w else wide[2])


@kernel
def direct(x: "*T", w: "*T", y: "*T", t: "*i8", start: int, stop: int):
    """Integer convolution of samples start to stop of x (N, groups c, d, h, w) with w (groups o, c, kd, kh, kw), added to y
    (N, groups o, od, oh, ow); int64 t (21,) holds these sizes, strides, padding and dilation."""
    groups, c, o, d, h, wd = t[0], t[1], t[2], t[3], t[4], t[5]
    kd, kh, kw, od, oh, ow = t[6], t[7], t[8], t[9], t[10], t[11]
    for item in range(start * groups, stop * groups):
        g = item % groups
        for f in range(o):
            for z in range(od):
                for r in range(oh):
                    for e in range(ow):
                        q = (((item * o + f) * od + z) * oh + r) * ow + e
                        acc = T(y[q])
                        for ch in range(c):
                            for i in range(kd):
                                for j in range(kh):
                                    for k in range(kw):
                                        iz = z * t[12] + i * t[18] - t[15]
                                        iy = r * t[13] + j * t[19] - t[16]
                                        ix = e * t[14] + k * t[20] - t[17]
                                        if 0 <= iz < d and 0 <= iy < h and 0 <= ix < wd:
                                            a = x[(((item * c + ch) * d + iz) * h + iy) * wd + ix]
                                            v = w[((((g * o + f) * c + ch) * kd + i) * kh + j) * kw + k]
                                            acc = T(acc + T(a * v))
                        y[q] = acc


@kernel
def spread(x: "*T", w: "*T", y: "*T", t: "*i8", start: int, stop: int):
    """The transpose of ``direct``, with its int64 t (21,): y times w, added to x."""
    groups, c, o, d, h, wd = t[0], t[1], t[2], t[3], t[4], t[5]
    kd, kh, kw, od, oh, ow = t[6], t[7], t[8], t[9], t[10], t[11]
    for item in range(start * groups, stop * groups):
        g = item % groups
        for f in range(o):
            for place in range(od * oh * ow):
                z, r, e = place // (oh * ow), place // ow % oh, place % ow
                a = y[(item * o + f) * od * oh * ow + place]
                for ch in range(c):
                    for i in range(kd):
                        for j in range(kh):
                            for k in range(kw):
                                iz = z * t[12] + i * t[18] - t[15]
                                iy = r * t[13] + j * t[19] - t[16]
                                ix = e * t[14] + k * t[20] - t[17]
                                if 0 <= iz < d and 0 <= iy < h and 0 <= ix < wd:
                                    q = (((item * c + ch) * d + iz) * h + iy) * wd + ix
                                    x[q] = T(x[q] + T(a * w[((((g * o + f) * c + ch) * kd + i) * kh + j) * kw + k]))


def _integers(fn, x, w, b, y, geometry):
    d = y._kind.dtype
    if fn is kernels.weight_gradient or d.category == 0:
        raise NotImplementedError(f"\"slow_conv2d_cpu\" not implemented for '{dt.scalar_name(d)}'")
    groups, stride, padding, dilation = geometry
    three = kernels._three
    result, run = (y, direct) if fn is kernels.output else (x, spread)
    result.array()[:] = 0 if b is None else b.array().reshape(-1, *[1] * (len(result._shape) - 2))
    table = np.array((groups, x._shape[1] // groups, w._shape[0] // groups, *three(x._shape[2:]), *three(w._shape[2:]),
                      *three(y._shape[2:]), *stride, *padding, *dilation), np.int64)
    run[d](x._ptr, w._ptr, y._ptr, storage.address(table), 0, x._shape[0])


def _geometry(stride, padding, dilation, groups):
    n = len(stride)
    return groups, (1,) * (3 - n) + stride, (0,) * (3 - n) + padding, (1,) * (3 - n) + dilation


@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 3, 6), (4, 3, 3), (4,), (1,), (0,), (1,), 1, (4,)),
                 Sample((2, 4, 5, 6), (6, 2, 3, 2), None, (2, 1), (1, 1), (1, 2), 2, (3, 6))),
        save_for={"input": ("weight",), "weight": ("input",)})
def convolve_output(input, weight, bias=None, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1),
                    groups: int = 1, size: tuple = ()):
    """Convolution of checked arguments; ``size`` is the spatial shape of the result."""
    return (input._shape[0], weight._shape[0], *size), input._kind


@convolve_output.cpu
def _(out, input, weight, bias, stride, padding, dilation, groups, size):
    if out._n:
        _run(kernels.output, out, input, weight, bias, out, _geometry(stride, padding, dilation, groups))


@convolve_output.gradient
def _(g, input, weight, stride, padding, dilation, groups, needs, shapes):
    p, q = shapes[0][2:], shapes[1][2:]
    return (convolve_input(g, weight, None, stride, padding, dilation, groups, p) if needs[0] else None,
            convolve_weight(g, input, stride, padding, dilation, groups, q) if needs[1] else None,
            channel_sum(g) if needs[2] else None)


@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 4, 4), (4, 3, 3), (3,), (1,), (0,), (1,), 1, (6,)),
                 Sample((2, 6, 3, 6), (6, 2, 3, 2), None, (2, 1), (1, 1), (1, 2), 2, (5, 6))),
        save_for={"output": ("weight",), "weight": ("output",)})
def convolve_input(output, weight, bias=None, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1),
                   groups: int = 1, size: tuple = ()):
    """Gradient of ``convolve_output`` by its input of spatial shape ``size``; with a bias, a transposed convolution."""
    return (output._shape[0], weight._shape[1] * groups, *size), output._kind


@convolve_input.cpu
def _(out, output, weight, bias, stride, padding, dilation, groups, size):
    if not out._n:
        return
    if not output._n:
        set_all(out, 0)
    else:
        _run(kernels.input_gradient, out, out, weight, None, output, _geometry(stride, padding, dilation, groups))
    if bias is not None:
        _add_bias(out, bias)


@convolve_input.gradient
def _(g, output, weight, stride, padding, dilation, groups, needs, shapes):
    size, q = shapes[0][2:], shapes[1][2:]
    return (convolve_output(g, weight, None, stride, padding, dilation, groups, size) if needs[0] else None,
            convolve_weight(output, g, stride, padding, dilation, groups, q) if needs[1] else None,
            channel_sum(g) if needs[2] else None)


@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 4, 4), (2, 3, 6), (1,), (0,), (1,), 1, (3,)),
                 Sample((2, 6, 3, 6), (2, 4, 5, 6), (2, 1), (1, 1), (1, 2), 2, (3, 2))),
        save_for={"output": ("input",), "input": ("output",)})
def convolve_weight(output, input, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1),
                    groups: int = 1, size: tuple = ()):
    """Gradient of ``convolve_output`` by its weight of spatial shape ``size``."""
    return (output._shape[1], input._shape[1] // groups, *size), output._kind


@convolve_weight.cpu
def _(out, output, input, stride, padding, dilation, groups, size):
    if not output._n or not input._n:
        set_all(out, 0)
    elif out._n:
        _run(kernels.weight_gradient, out, input, out, None, output, _geometry(stride, padding, dilation, groups))


@convolve_weight.gradient
def _(g, output, input, stride, padding, dilation, groups, needs, shapes):
    return (convolve_output(input, g, None, stride, padding, dilation, groups, shapes[0][2:]) if needs[0] else None,
            convolve_input(output, g, None, stride, padding, dilation, groups, shapes[1][2:]) if needs[1] else None)


def _add_bias(y, bias):
    """Add an element per channel to y (n, channels, ...)."""
    add_channels.run(y._kind, (y._ptr, bias._ptr, bias._n, numel(y._shape[2:])), y._shape[0], y._n)


@kernel
def add_channels(y: "*T", b: "*T", channels: int, plane: int, start: int, stop: int):
    """y (N, channels, plane) += b (channels,), in place."""
    for i in range(start * channels, stop * channels):
        add = load(b[i % channels])
        for j in range(i * plane, i * plane + plane):
            y[j] = store(load(y[j]) + add)


@custom(private=True, reference=lambda x: x.sum((0, *range(2, x.ndim))), samples=(Sample((2, 3, 4)), Sample((2, 3, 4, 5))),
        node="SumBackward1")
def channel_sum(input):
    """Sum over all dimensions but the second."""
    return (input._shape[1],), input._kind


@channel_sum.cpu
def _(out, input):
    d = input._kind.dtype
    plane = numel(input._shape[2:])
    if d.code in ("f2", "bf"):
        kind = storage.kind_of(dt.float32, input._kind.device)
        wide = make(out._shape, kind)
        channel_sums(converted(input, kind), wide, plane)
        copy_into(out, wide)
    else:
        channel_sums(input, out, plane)


def channel_sums(x, out, plane):
    if x._n:
        kernels.channel_sums.run(x._kind, (x._ptr, out._ptr, x._shape[0], x._shape[1], plane), x._shape[1], x._n)
    else:
        set_all(out, 0)


@channel_sum.gradient
def _(g, shape):
    return expand(view(g, (shape[1], *[1] * (len(shape) - 2))), shape)
