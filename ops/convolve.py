"""Kernels of the convolutions: patches are laid out as columns of a matrix, BLAS multiplies it with the weights.

All three products (output, gradient of the input, gradient of the weight) see data as (sample, group, channel, depth,
height, width); lower-dimensional ones have sizes 1. Forms, chosen per geometry:

* POINT: kernel 1, stride 1, no padding: the data is that matrix already.
* FLAT: stride 1 in two dimensions. Rows of the (padded) input are seen as one line, on which an offset in the kernel is
  a shift; a column block is then one long copy, at the price of a few outputs between the rows that are dropped.
* GENERAL: everything else, row by row.

Each kernel is ``fn(table, start, stop)`` over units; a unit is a range of samples with scratch memory of its own.
"""

from __future__ import annotations

import types

import numpy as np

from numbagrad import storage
from numbagrad.kernel import jit, threads
from numbagrad.tensor import make

POINT, FLAT, GENERAL = 0, 1, 2
# Placeholders that each specialisation replaces: pointer constructors, BLAS's product, bytes per element.
ptr = ptr_i8 = one = None
SIZE = 0


# --- pieces ---

def fill(p, n):
    """Zeros."""
    for i in range(n):
        p[i] = 0


def embed(x, out, channels, rows, width, top, left, height, columns):
    """Copy (channels, rows, width) into the zero-bordered (channels, height, columns)."""
    for c in range(channels):
        for r in range(height):
            q = (c * height + r) * columns
            s = r - top
            if s < 0 or s >= rows:
                for j in range(columns):
                    out[q + j] = 0
            else:
                for j in range(left):
                    out[q + j] = 0
                p = (c * rows + s) * width
                w = min(width, columns - left)
                for j in range(w):
                    out[q + left + j] = x[p + j]
                for j in range(left + w, columns):
                    out[q + j] = 0


def extract(x, out, channels, rows, width, top, left, height, columns):
    """The reverse of ``embed``: the part that came from the unpadded array; zero where the border cut it off."""
    for c in range(channels):
        for r in range(rows):
            p = (c * rows + r) * width
            s = r + top
            if s >= height:
                for j in range(width):
                    out[p + j] = 0
            else:
                q = (c * height + s) * columns + left
                w = min(width, columns - left)
                for j in range(w):
                    out[p + j] = x[q + j]
                for j in range(w, width):
                    out[p + j] = 0


def spread(x, out, channels, rows, width, step, ld):
    """Rows of ``width`` put ``step`` apart on lines of ``ld``, zeros between."""
    for c in range(channels):
        for r in range(rows):
            p, q = (c * rows + r) * width, c * ld + r * step
            for j in range(width):
                out[q + j] = x[p + j]
            for j in range(width, min(step, ld - r * step)):
                out[q + j] = 0


def compress(x, out, b, bias, channels, rows, width, step, ld):
    """The reverse of ``spread``, with the bias of each channel added."""
    for c in range(channels):
        add = b[c] if bias else b[0] * 0
        for r in range(rows):
            p, q = (c * rows + r) * width, c * ld + r * step
            if bias:
                for j in range(width):
                    out[p + j] = x[q + j] + add
            else:
                for j in range(width):
                    out[p + j] = x[q + j]


def shift(x, cols, channels, plane, width, kh, kw, dh, dw, length, ld):
    """FLAT columns: one shifted copy of each channel's line per kernel offset."""
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                p = c * plane + i * dh * width + j * dw
                q = ((c * kh + i) * kw + j) * ld
                for k in range(length):
                    cols[q + k] = x[p + k]


def unshift(cols, x, channels, plane, width, kh, kw, dh, dw, length, ld):
    """Add FLAT columns back to the lines they were copied from."""
    for c in range(channels):
        for i in range(kh):
            for j in range(kw):
                p = c * plane + i * dh * width + j * dw
                q = ((c * kh + i) * kw + j) * ld
                for k in range(length):
                    x[p + k] += cols[q + k]


def gather(x, cols, t):
    """GENERAL columns of one sample and group; positions outside the input are zero."""
    channels, d, h, w = t[9], t[11], t[12], t[13]
    kd, kh, kw, od, oh, ow = t[14], t[15], t[16], t[17], t[18], t[19]
    sd, sh, sw, pd, ph, pw, dd, dh, dw = t[20], t[21], t[22], t[23], t[24], t[25], t[26], t[27], t[28]
    q = 0
    for c in range(channels):
        for i in range(kd):
            for j in range(kh):
                for k in range(kw):
                    at = k * dw - pw
                    low = min(ow, max(0, -(at // sw)))
                    high = max(low, min(ow, (w - 1 - at) // sw + 1))
                    for z in range(od):
                        iz = z * sd + i * dd - pd
                        for y in range(oh):
                            iy = y * sh + j * dh - ph
                            if iz < 0 or iz >= d or iy < 0 or iy >= h:
                                for e in range(ow):
                                    cols[q + e] = 0
                            else:
                                p = ((c * d + iz) * h + iy) * w + at
                                for e in range(low):
                                    cols[q + e] = 0
                                if sw == 1:
                                    for e in range(low, high):
                                        cols[q + e] = x[p + e]
                                else:
                                    for e in range(low, high):
                                        cols[q + e] = x[p + e * sw]
                                for e in range(high, ow):
                                    cols[q + e] = 0
                            q += ow


def scatter(cols, x, t):
    """Add GENERAL columns back to the positions they were copied from."""
    channels, d, h, w = t[9], t[11], t[12], t[13]
    kd, kh, kw, od, oh, ow = t[14], t[15], t[16], t[17], t[18], t[19]
    sd, sh, sw, pd, ph, pw, dd, dh, dw = t[20], t[21], t[22], t[23], t[24], t[25], t[26], t[27], t[28]
    q = 0
    for c in range(channels):
        for i in range(kd):
            for j in range(kh):
                for k in range(kw):
                    at = k * dw - pw
                    low = min(ow, max(0, -(at // sw)))
                    high = max(low, min(ow, (w - 1 - at) // sw + 1))
                    for z in range(od):
                        iz = z * sd + i * dd - pd
                        for y in range(oh):
                            iy = y * sh + j * dh - ph
                            if 0 <= iz < d and 0 <= iy < h:
                                p = ((c * d + iz) * h + iy) * w + at
                                if sw == 1:
                                    for e in range(low, high):
                                        x[p + e] += cols[q + e]
                                else:
                                    for e in range(low, high):
                                        x[p + e * sw] += cols[q + e]
                            q += ow


# --- the three products ---
# Table: x, w, b, y, scratch, its bytes per unit, units, samples, groups, channels and outputs per group; then triples
# (depth, height, width) of input, kernel, output, stride, padding, dilation; form; padded height and width, line length.

def output(table, start, stop):
    """y = w * x + b."""
    t = ptr_i8(table)
    n_, groups, c, o = t[7], t[8], t[9], t[10]
    plane, taps, p = t[11] * t[12] * t[13], t[14] * t[15] * t[16], t[17] * t[18] * t[19]
    k, form, hp, wp, ld = c * taps, t[29], t[30], t[31], t[32]
    padded = hp * wp != plane
    bias = t[2] != 0
    for unit in range(start, stop):
        cols = t[4] + unit * t[5]
        edge = cols + SIZE * k * ld
        res = edge + (SIZE * c * hp * wp if padded else 0)
        for item in range(n_ * unit // t[6] * groups, n_ * (unit + 1) // t[6] * groups):
            g = item % groups
            x, y, w, b = t[0] + SIZE * item * c * plane, t[3] + SIZE * item * o * p, t[1] + SIZE * g * o * k, t[2]
            b += SIZE * g * o if bias else y
            if form == 1:
                source = x
                if padded:
                    embed(ptr(x), ptr(edge), c, t[12], t[13], t[24], t[25], hp, wp)
                    source = edge
                shift(ptr(source), ptr(cols), c, hp * wp, wp, t[15], t[16], t[27], t[28], ld, ld)
                one(w, cols, res, o, ld, k, k, ld, ld, 0, 0, 1.0, 0.0)
                compress(ptr(res), ptr(y), ptr(b), bias, o, t[18], t[19], wp, ld)
            else:
                source = x
                if form == 2:
                    gather(ptr(x), ptr(cols), t)
                    source = cols
                if bias:
                    out, add = ptr(y), ptr(b)
                    for i in range(o):
                        for j in range(p):
                            out[i * p + j] = add[i]
                one(w, source, y, o, p, k, k, p, p, 0, 0, 1.0, 1.0 if bias else 0.0)


def input_gradient(table, start, stop):
    """x = the gradient that y sends back through w."""
    t = ptr_i8(table)
    n_, groups, c, o = t[7], t[8], t[9], t[10]
    plane, taps, p = t[11] * t[12] * t[13], t[14] * t[15] * t[16], t[17] * t[18] * t[19]
    k, form, hp, wp, ld = c * taps, t[29], t[30], t[31], t[32]
    padded = hp * wp != plane
    for unit in range(start, stop):
        cols = t[4] + unit * t[5]
        edge = cols + SIZE * k * ld
        res = edge + (SIZE * c * hp * wp if padded else 0)
        for item in range(n_ * unit // t[6] * groups, n_ * (unit + 1) // t[6] * groups):
            g = item % groups
            x, y, w = t[0] + SIZE * item * c * plane, t[3] + SIZE * item * o * p, t[1] + SIZE * g * o * k
            if form == 1:
                spread(ptr(y), ptr(res), o, t[18], t[19], wp, ld)
                one(w, res, cols, k, ld, o, k, ld, ld, 2, 0, 1.0, 0.0)
                source = edge if padded else x
                fill(ptr(source), c * hp * wp)
                unshift(ptr(cols), ptr(source), c, hp * wp, wp, t[15], t[16], t[27], t[28], ld, ld)
                if padded:
                    extract(ptr(edge), ptr(x), c, t[12], t[13], t[24], t[25], hp, wp)
            elif form == 2:
                one(w, y, cols, k, p, o, k, p, p, 2, 0, 1.0, 0.0)
                fill(ptr(x), c * plane)
                scatter(ptr(cols), ptr(x), t)
            else:
                one(w, y, x, k, p, o, k, p, p, 2, 0, 1.0, 0.0)


def weight_gradient(table, start, stop):
    """One partial sum per unit, at b: the products of what y sends back with the columns of x."""
    t = ptr_i8(table)
    n_, groups, c, o = t[7], t[8], t[9], t[10]
    plane, taps, p = t[11] * t[12] * t[13], t[14] * t[15] * t[16], t[17] * t[18] * t[19]
    k, form, hp, wp, ld = c * taps, t[29], t[30], t[31], t[32]
    padded = hp * wp != plane
    for unit in range(start, stop):
        cols = t[4] + unit * t[5]
        edge = cols + SIZE * k * ld
        res = edge + (SIZE * c * hp * wp if padded else 0)
        total = t[2] + SIZE * unit * groups * o * k
        fill(ptr(total), groups * o * k)
        for item in range(n_ * unit // t[6] * groups, n_ * (unit + 1) // t[6] * groups):
            g = item % groups
            x, y, w = t[0] + SIZE * item * c * plane, t[3] + SIZE * item * o * p, total + SIZE * g * o * k
            if form == 1:
                source = x
                if padded:
                    embed(ptr(x), ptr(edge), c, t[12], t[13], t[24], t[25], hp, wp)
                    source = edge
                shift(ptr(source), ptr(cols), c, hp * wp, wp, t[15], t[16], t[27], t[28], ld, ld)
                spread(ptr(y), ptr(res), o, t[18], t[19], wp, ld)
                one(res, cols, w, o, k, ld, ld, ld, k, 0, 2, 1.0, 1.0)
            elif form == 2:
                gather(ptr(x), ptr(cols), t)
                one(y, cols, w, o, k, p, p, p, k, 0, 2, 1.0, 1.0)
            else:
                one(y, x, w, o, k, p, p, p, k, 0, 2, 1.0, 1.0)


# --- specialisation and launch ---

PIECES = (fill, embed, extract, spread, compress, shift, unshift, gather, scatter)
_made: dict = {}


def native(fn, code):
    """A product kernel compiled for a dtype code."""
    found = _made.get((fn, code))
    if found is None:
        from numbagrad.kernel import blas, blas_kernels, cache
        n = jit.nb()
        blas._load()
        one_ = blas_kernels.gemm(code)
        env = {"ptr": n.pointers[code], "ptr_i8": n.pointers["i8"], "one": one_, "SIZE": np.dtype(code).itemsize}
        key = [code, cache.fingerprint(one_.py_func)]
        for piece in PIECES:
            env[piece.__name__] = n.njit(error_model="numpy", fastmath=set(jit.FAST))(_with(piece, {}))
            key.append(cache.fingerprint(piece))
        key.append(cache.fingerprint(fn, {name: name for name in env}))
        found = _made[fn, code] = jit._compile(_with(fn, env), "iii", "\n".join(key), jit.FAST, False, True, "")
    return found


def _with(fn, env):
    space = {"__name__": "numbagrad.kernel.generated", "__builtins__": __builtins__, "min": min, "max": max, **env}
    return types.FunctionType(fn.__code__, space, fn.__name__)


def launch(fn, x, w, b, y, geometry):
    """Run a product: x (n, groups*c, d, h, w), w (groups*o, c, kernel), y (n, groups*o, out) row-major, b an address or 0.

    ``geometry`` is (groups, stride, padding, dilation), triples; for the weight gradient ``w`` receives the result."""
    groups, stride, padding, dilation = geometry
    code = y._kind.dtype.code
    samples, channels = x._shape[0], x._shape[1] // groups
    outputs = w._shape[0] // groups
    size, kernel, out = _three(x._shape[2:]), _three(w._shape[2:]), _three(y._shape[2:])
    padded, ld = (size[1], size[2]), out[0] * out[1] * out[2]
    if kernel == (1, 1, 1) == stride and padding == (0, 0, 0) and size == out:
        form = POINT
    elif stride == (1, 1, 1) and size[0] == kernel[0] == out[0] == 1 and not padding[0]:
        form = FLAT
        padded = tuple([out[i] + (kernel[i] - 1) * dilation[i] for i in (1, 2)])
        ld = (out[1] - 1) * padded[1] + out[2]
    else:
        form = GENERAL
    taps = kernel[0] * kernel[1] * kernel[2]
    scratch = 0
    if form != POINT:
        scratch = channels * taps * ld
    if form == FLAT:
        scratch += outputs * ld + channels * padded[0] * padded[1]
    scratch = (scratch * x._kind.itemsize + 127) // 64 * 64
    units = 1
    work = samples * groups * outputs * channels * taps * ld
    if threads.get_num_threads() > 1 and work > threads.SERIAL_BELOW["gemm"]:
        units = max(1, min(threads.get_num_threads(), samples))
    memory = np.empty(units * scratch + 64, np.uint8)
    parts = None
    if fn is weight_gradient:
        b = w._ptr
        if units > 1:
            parts = make((units, w._n), w._kind)
            b = parts._ptr
    table = np.array((x._ptr, w._ptr, b, y._ptr, (storage.address(memory) + 63) // 64 * 64, scratch, units, samples,
                      groups, channels, outputs, *size, *kernel, *out, *stride, *padding, *dilation, form, *padded, ld),
                     np.int64)
    threads.parallel_for(native(fn, code).address, table, units, 1)
    if parts is not None:
        add_rows[w._kind.dtype](parts._ptr, w._ptr, units, w._n, 0, w._n)


def _three(sizes):
    return (1,) * (3 - len(sizes)) + tuple(sizes)


@jit.kernel
def add_rows(x: "*T", out: "*T", rows: int, n: int, start: int, stop: int):
    for j in range(start, stop):
        out[j] = x[j]
    for i in range(1, rows):
        for j in range(start, stop):
            out[j] += x[i * n + j]


@jit.kernel(fast=jit.REDUCE)
def channel_sums(g: "*T", out: "*T", samples: int, channels: int, plane: int, start: int, stop: int):
    for c in range(start, stop):
        total = jit_load(g[0]) * 0
        for n in range(samples):
            part = jit_load(g[0]) * 0
            p = (n * channels + c) * plane
            for i in range(plane):
                part += jit_load(g[p + i])
            total += part
        out[c] = jit_store(total)


jit_load, jit_store = jit.load, jit.store
