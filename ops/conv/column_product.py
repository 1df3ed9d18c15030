"""Convolution as products of columns: the form for devices other than the CPU, whose own is in ``kernels.py``.

A column holds what one place of the kernel's window sees, so that a convolution of one group is ``weight (o, c k) @ columns
(c k, places)``, its gradients the two products with one operand transposed."""

from __future__ import annotations

import functools

import numpy as np

from numbagrad.core import storage
from numbagrad.core.copying import set_all
from numbagrad.core.tensor import make, numel
from numbagrad.extend import T, kernel, load, store
from numbagrad.kernel import blas

from ..index.kernels import moved


@kernel
def gather_columns(x: "*T", columns: "*T", t: "*i8", start: int, stop: int):
    """columns (planes, taps, od, oh, ow) of x (planes, d, h, w), zeros outside of it; t: sizes, steps, padding, dilation."""
    d, h, w, kd, kh, kw, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    taps = kd * kh * kw
    for item in range(start, stop):
        plane = item // taps
        left = item - plane * taps
        i = left // (kh * kw)
        j = left // kw - i * kh
        k = left - (i * kh + j) * kw
        for row in range(od * oh):
            z = row // oh
            iz = z * t[9] - t[12] + i * t[15]
            iy = (row - z * oh) * t[10] - t[13] + j * t[16]
            base = ((plane * d + iz) * h + iy) * w
            q = (item * od * oh + row) * ow
            inside = iz >= 0 and iz < d and iy >= 0 and iy < h
            for c in range(ow):
                ix = c * t[11] - t[14] + k * t[17]
                columns[q + c] = x[base + ix] if inside and ix >= 0 and ix < w else T(0)


@kernel
def add_columns(x: "*T", columns: "*T", t: "*i8", start: int, stop: int):
    """x (planes, d, h, w) is the sum of columns (planes, taps, od, oh, ow) at their places; t as for ``gather_columns``."""
    d, h, w, kd, kh, kw, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    for row in range(start, stop):
        plane = row // (d * h)
        z = row // h - plane * d
        y = row - (plane * d + z) * h
        for c in range(w):
            total = T(0)
            for i in range(kd):
                fz = z + t[12] - i * t[15]
                oz = fz // t[9]
                if fz >= 0 and oz < od and oz * t[9] == fz:
                    for j in range(kh):
                        fy = y + t[13] - j * t[16]
                        oy = fy // t[10]
                        if fy >= 0 and oy < oh and oy * t[10] == fy:
                            base = (((plane * kd + i) * kh + j) * kw * od + oz) * oh + oy
                            for k in range(kw):
                                fx = c + t[14] - k * t[17]
                                ox = fx // t[11]
                                if fx >= 0 and ox < ow and ox * t[11] == fx:
                                    total = T(total + load(columns[(base + k * od * oh) * ow + ox]))
            x[row * w + c] = store(total)


@functools.lru_cache(1024)
def _table(size, taps, out, stride, padding, dilation):
    array = np.array((*size, *taps, *out, *stride, *padding, *dilation), np.int64)
    return array, storage.table(array)


def to_columns(x, columns, size, taps, out, stride, padding, dilation):
    """Fill ``columns`` from planes of ``x``; sizes are triples."""
    planes = x._n // numel(size)
    gather_columns.run(moved(x._kind), (x._ptr, columns._ptr, _table(size, taps, out, stride, padding, dilation)[1]),
                       planes * numel(taps), columns._n)


def from_columns(x, columns, size, taps, out, stride, padding, dilation):
    """Fill planes of ``x`` with the sums of ``columns``; sizes are triples."""
    planes = x._n // numel(size)
    add_columns.run(x._kind, (x._ptr, columns._ptr, _table(size, taps, out, stride, padding, dilation)[1]),
                    planes * size[0] * size[1], columns._n)


class _Product:
    """A product's sizes: x (n, g c, size), w (g o, c, taps), y (n, g o, out)."""

    def __init__(self, x, w, y, geometry):
        groups, stride, padding, dilation = geometry
        three = [(1,) * (5 - len(t._shape)) + t._shape[2:] for t in (x, w, y)]
        self.geometry = (*three, stride, padding, dilation)
        self.samples, self.groups = x._shape[0], groups
        self.rows, self.inner, self.places = w._shape[0] // groups, w._n // w._shape[0], numel(three[2])
        self.code = y._kind.dtype.code
        self.columns = make((self.samples * groups * self.inner * self.places,), y._kind)

    def gemm(self, a, b, c, m, n, k, ta, tb, beta, batch, sa, sb, sc):
        """C = op(A) op(B) + beta C for ``batch`` row-major matrices at addresses."""
        blas.gemm(self.code, a, b, c, m, n, k, m if ta else k, k if tb else n, n, ta, tb, 1.0, beta, batch, sa, sb, sc)


def output(x, w, b, y, geometry):
    """y = x * w, plus the bias."""
    p = _Product(x, w, y, geometry)
    to_columns(x, p.columns, *p.geometry)
    block, step, item = p.inner * p.places, p.rows * p.places, y._kind.itemsize
    for g in range(p.groups):
        p.gemm(w._ptr + g * p.rows * p.inner * item, p.columns._ptr + g * block * item, y._ptr + g * step * item, p.rows,
               p.places, p.inner, 0, 0, 0.0, p.samples, 0, p.groups * block, p.groups * step)


def input_gradient(x, w, b, y, geometry):
    """x from the gradient y."""
    p = _Product(x, w, y, geometry)
    block, step, item = p.inner * p.places, p.rows * p.places, y._kind.itemsize
    for g in range(p.groups):
        p.gemm(w._ptr + g * p.rows * p.inner * item, y._ptr + g * step * item, p.columns._ptr + g * block * item, p.inner,
               p.places, p.rows, 1, 0, 0.0, p.samples, 0, p.groups * step, p.groups * block)
    from_columns(x, p.columns, *p.geometry)


def weight_gradient(x, w, b, y, geometry):
    """w from the gradient y: the samples are added one after the other, so that the order is always the same."""
    p = _Product(x, w, y, geometry)
    to_columns(x, p.columns, *p.geometry)
    block, step, item = p.inner * p.places, p.rows * p.places, y._kind.itemsize
    for n in range(p.samples):
        at = n * p.groups
        p.gemm(y._ptr + at * step * item, p.columns._ptr + at * block * item, w._ptr, p.rows, p.inner, p.places, 0, 1,
               float(n > 0), p.groups, step, block, p.rows * p.inner)
    if not p.samples:
        set_all(w, 0)
