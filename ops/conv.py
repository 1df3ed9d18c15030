"""Convolutions: three private ops that are each other's gradients, and the public functions over them."""

from __future__ import annotations

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import storage
from numbagrad.copying import copy_into
from numbagrad.kernel.jit import T, kernel
from numbagrad.op import REGISTRY, Sample, custom, function
from numbagrad.op.custom import CustomNode, invoke
from numbagrad.tensor import Tensor, make, numel

from . import convolve
from .gemm import node_class, reshape
from .product import BLAS_CODES, converted
from .shape import view

KIND = {"f4": "float", "f8": "double", "f2": "c10::Half", "bf": "c10::BFloat16", "i8": "long int", "i4": "int",
        "i2": "short int", "i1": "signed char", "u1": "unsigned char", "b1": "bool", "c8": "c10::complex<float>",
        "c16": "c10::complex<double>"}


def _run(fn, result, x, w, b, y, geometry):
    """Launch a product in the type it computes in; ``result`` is the one of x, w, y that is written."""
    d = result._kind.dtype
    if d.code in BLAS_CODES:
        return convolve.launch(fn, x, w, 0 if b is None else b._ptr, y, geometry)
    if d.category < 2:
        return _integers(fn, x, w, b, y, geometry)
    kind = storage.kind_of(dt.float32)
    wide = [make(t._shape, kind) if t is result else converted(t, kind) for t in (x, w, y)]
    bias = None if b is None else converted(b, kind)
    convolve.launch(fn, *wide[:2], 0 if b is None else bias._ptr, wide[2], geometry)
    return copy_into(result, wide[0] if result is x else wide[1] if result is w else wide[2])


@kernel
def direct(x: "*T", w: "*T", y: "*T", t: "*i8", start: int, stop: int):
    """Integer convolution of samples start to stop, added to y."""
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


def _integers(fn, x, w, b, y, geometry):
    d = y._kind.dtype
    if fn is not convolve.output or d.category == 0:
        raise NotImplementedError(f"\"slow_conv2d_cpu\" not implemented for '{dt.scalar_name(d)}'")
    groups, stride, padding, dilation = geometry
    three = convolve._three
    y.array()[:] = 0 if b is None else b.array().reshape(-1, *[1] * (len(y._shape) - 2))
    table = np.array((groups, x._shape[1] // groups, w._shape[0] // groups, *three(x._shape[2:]), *three(w._shape[2:]),
                      *three(y._shape[2:]), *stride, *padding, *dilation), np.int64)
    direct[d](x._ptr, w._ptr, y._ptr, storage.address(table), 0, x._shape[0])


def _geometry(stride, padding, dilation, groups):
    n = len(stride)
    return groups, (1,) * (3 - n) + stride, (0,) * (3 - n) + padding, (1,) * (3 - n) + dilation


# --- the three ops -------------------------------------------------------------------------------------------------------

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
        _run(convolve.output, out, input, weight, bias, out, _geometry(stride, padding, dilation, groups))


@convolve_output.gradient
def _(g, input, weight, stride, padding, dilation, groups, needs, shapes):
    p, q = shapes[0][2:], shapes[1][2:]
    return (convolve_input(g, weight, None, stride, padding, dilation, groups, p) if needs[0] else None,
            convolve_weight(g, input, stride, padding, dilation, groups, q) if needs[1] else None,
            channel_sum(g) if needs[2] else None)


@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 4, 4), (4, 3, 3), (3,), (1,), (0,), (1,), 1, (6,)),
                 Sample((2, 6, 3, 6), (6, 2, 3, 2), None, (2, 1), (1, 1), (1, 2), 2, (5, 6))),
        save_for={"g": ("weight",), "weight": ("g",)})
def convolve_input(g, weight, bias=None, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1),
                   groups: int = 1, size: tuple = ()):
    """Gradient of ``convolve_output`` by its input of spatial shape ``size``; with a bias, a transposed convolution."""
    return (g._shape[0], weight._shape[1] * groups, *size), g._kind


@convolve_input.cpu
def _(out, g, weight, bias, stride, padding, dilation, groups, size):
    if not out._n:
        return
    if not g._n:
        out._buf[:] = 0
    else:
        _run(convolve.input_gradient, out, out, weight, None, g, _geometry(stride, padding, dilation, groups))
    if bias is not None:
        add_channels[out._kind.dtype](out._ptr, bias._ptr, bias._n, numel(size), 0, out._shape[0])


@convolve_input.gradient
def _gradient_of_input(h, g, weight, stride, padding, dilation, groups, needs, shapes):
    size, q = shapes[0][2:], shapes[1][2:]
    return (convolve_output(h, weight, None, stride, padding, dilation, groups, size) if needs[0] else None,
            convolve_weight(g, h, stride, padding, dilation, groups, q) if needs[1] else None,
            channel_sum(h) if needs[2] else None)


@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 4, 4), (2, 3, 6), (1,), (0,), (1,), 1, (3,)),
                 Sample((2, 6, 3, 6), (2, 4, 5, 6), (2, 1), (1, 1), (1, 2), 2, (3, 2))),
        save_for={"g": ("input",), "input": ("g",)})
def convolve_weight(g, input, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1), groups: int = 1,
                    size: tuple = ()):
    """Gradient of ``convolve_output`` by its weight of spatial shape ``size``."""
    return (g._shape[1], input._shape[1] // groups, *size), g._kind


@convolve_weight.cpu
def _(out, g, input, stride, padding, dilation, groups, size):
    if not g._n or not input._n:
        out._buf[:] = 0
    elif out._n:
        _run(convolve.weight_gradient, out, input, out, None, g, _geometry(stride, padding, dilation, groups))


@convolve_weight.gradient
def _gradient_of_weight(h, g, input, stride, padding, dilation, groups, needs, shapes):
    return (convolve_output(input, h, None, stride, padding, dilation, groups, shapes[0][2:]) if needs[0] else None,
            convolve_input(g, h, None, stride, padding, dilation, groups, shapes[1][2:]) if needs[1] else None)
