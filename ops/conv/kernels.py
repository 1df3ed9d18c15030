"""Kernels of the convolutions: patches are laid out as columns of a matrix, BLAS multiplies it with the weights.

All three products (output, gradient of the input, gradient of the weight) see data as (sample, group, channel, depth,
height, width); lower-dimensional ones have sizes 1. Forms, chosen per geometry:

* POINT: kernel 1, stride 1, no padding: the data is that matrix already.
* FLAT: stride 1 in two dimensions. Rows of the (padded) input are seen as one line, on which an offset in the kernel is
  a shift; a column block is then one long copy, at the price of a few outputs between the rows that are dropped.
* TAPS: as FLAT, for enough channels: one product per kernel offset, on the shifted lines themselves, with no copies.
* GENERAL: everything else, row by row.

Outputs of enough channels, and the gradients of such inputs at stride 1, are computed without columns (``tiles.py``).

Each kernel is ``fn(table, start, stop)`` over units; a unit is a range of samples with scratch memory of its own.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.tensor import make
from numbagrad.kernel import jit, threads
from numbagrad.kernel.blas_kernels import FLIP, NO, YES
from numbagrad.kernel.tape import capturing

from . import tiles, weight_tiles
from .columns import PIECES, compress, embed, extract, fill, gather, pack, product, scatter, shift, spread, transpose, unshift

POINT, FLAT, GENERAL, TAPS = 0, 1, 2, 3
# Placeholders that each specialisation replaces: pointer constructors, BLAS's product, bytes per element.
ptr = ptr_i8 = one = None
SIZE = 0


# --- the three products ---
# Table: x, w, b, y, scratch, its bytes per unit, units, samples, groups, channels and outputs per group; then triples
# (depth, height, width) of input, kernel, output, stride, padding, dilation; form; padded height and width, line length;
# size of blocks of a product, whether the weight's gradient is made transposed.

def output(table, start, stop):
    """y = w * x + b."""
    t = ptr_i8(table)
    n_, groups, c, o = t[7], t[8], t[9], t[10]
    plane, taps, p = t[11] * t[12] * t[13], t[14] * t[15] * t[16], t[17] * t[18] * t[19]
    k, form, hp, wp, ld = c * taps, t[29], t[30], t[31], t[32]
    padded = (form == 1 or form == 3) and hp * wp != plane
    bias = t[2] != 0
    for unit in range(start, stop):
        cols = t[4] + unit * t[5]
        edge = cols + SIZE * k * (groups * o if form == 3 else ld)
        res = edge + (SIZE * c * hp * wp if padded else 0)
        if form == 3:
            for g in range(groups):
                pack(ptr(t[1] + SIZE * g * o * k), ptr(cols + SIZE * g * o * k), o, c, taps, NO)
        for item in range(n_ * unit // t[6] * groups, n_ * (unit + 1) // t[6] * groups):
            g = item % groups
            x, y, w, b = t[0] + SIZE * item * c * plane, t[3] + SIZE * item * o * p, t[1] + SIZE * g * o * k, t[2]
            b += SIZE * g * o if bias else y
            if form == 1 or form == 3:
                source = x
                if padded:
                    embed(ptr(x), ptr(edge), c, t[12], t[13], t[24], t[25], hp, wp)
                    source = edge
                if form == 1:
                    shift(ptr(source), ptr(cols), c, hp * wp, wp, t[15], t[16], t[27], t[28], ld, ld)
                    product(w, cols, res, o, ld, k, k, ld, ld, NO, 0.0, t[33])
                else:
                    w = cols + SIZE * g * o * k
                    for i in range(t[15]):
                        for j in range(t[16]):
                            product(w, source + SIZE * (i * t[27] * wp + j * t[28]), res, o, ld, c, c, hp * wp, ld, NO,
                                    1.0 if i + j > 0 else 0.0, t[33])
                            w += SIZE * o * c
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
                product(w, source, y, o, p, k, k, p, p, NO, 1.0 if bias else 0.0, t[33])


def input_gradient(table, start, stop):
    """x = the gradient that y sends back through w."""
    t = ptr_i8(table)
    n_, groups, c, o = t[7], t[8], t[9], t[10]
    plane, taps, p = t[11] * t[12] * t[13], t[14] * t[15] * t[16], t[17] * t[18] * t[19]
    k, form, hp, wp, ld = c * taps, t[29], t[30], t[31], t[32]
    padded = (form == 1 or form == 3) and hp * wp != plane
    for unit in range(start, stop):
        cols = t[4] + unit * t[5]
        edge = cols + SIZE * k * (groups * o if form == 3 else ld)
        res = edge + (SIZE * c * hp * wp if padded else 0)
        if form == 3:
            for g in range(groups):
                pack(ptr(t[1] + SIZE * g * o * k), ptr(cols + SIZE * g * o * k), o, c, taps, FLIP)
        for item in range(n_ * unit // t[6] * groups, n_ * (unit + 1) // t[6] * groups):
            g = item % groups
            x, y, w = t[0] + SIZE * item * c * plane, t[3] + SIZE * item * o * p, t[1] + SIZE * g * o * k
            if form == 1 or form == 3:
                spread(ptr(y), ptr(res), o, t[18], t[19], wp, ld)
                source = edge if padded else x
                fill(ptr(source), c * hp * wp)
                if form == 1:
                    product(w, res, cols, k, ld, o, k, ld, ld, FLIP, 0.0, t[33])
                    unshift(ptr(cols), ptr(source), c, hp * wp, wp, t[15], t[16], t[27], t[28], ld, ld)
                else:
                    w = cols + SIZE * g * o * k
                    for i in range(t[15]):
                        for j in range(t[16]):
                            product(w, res, source + SIZE * (i * t[27] * wp + j * t[28]), c, ld, o, o, ld, hp * wp, NO, 1.0,
                                    t[33])
                            w += SIZE * o * c
                if padded:
                    extract(ptr(edge), ptr(x), c, t[12], t[13], t[24], t[25], hp, wp)
            elif form == 2:
                product(w, y, cols, k, p, o, k, p, p, FLIP, 0.0, t[33])
                fill(ptr(x), c * plane)
                scatter(ptr(cols), ptr(x), t)
            else:
                product(w, y, x, k, p, o, k, p, p, FLIP, 0.0, t[33])


def weight_gradient(table, start, stop):
    """One partial sum per unit, at b: the products of what y sends back with the columns of x.

    Where the small kernels of ``product`` pay, y is transposed first: they have no form for a transposed right side.
    The partial sums are then transposed, (c taps, o), in the form TAPS (taps, c, o)."""
    t = ptr_i8(table)
    n_, groups, c, o = t[7], t[8], t[9], t[10]
    plane, taps, p = t[11] * t[12] * t[13], t[14] * t[15] * t[16], t[17] * t[18] * t[19]
    k, form, hp, wp, ld = c * taps, t[29], t[30], t[31], t[32]
    padded = (form == 1 or form == 3) and hp * wp != plane
    for unit in range(start, stop):
        cols = t[4] + unit * t[5]
        edge = cols + (SIZE * k * ld if form == 1 or form == 2 else 0)
        res = edge + (SIZE * c * hp * wp if padded else 0)
        total = t[2] + SIZE * unit * groups * o * k
        fill(ptr(total), groups * o * k)
        for item in range(n_ * unit // t[6] * groups, n_ * (unit + 1) // t[6] * groups):
            g = item % groups
            x, y, w = t[0] + SIZE * item * c * plane, t[3] + SIZE * item * o * p, total + SIZE * g * o * k
            source, width = x, p
            if form == 1 or form == 3:
                width = ld
                if padded:
                    embed(ptr(x), ptr(edge), c, t[12], t[13], t[24], t[25], hp, wp)
                    source = edge
            if form == 1:
                shift(ptr(source), ptr(cols), c, hp * wp, wp, t[15], t[16], t[27], t[28], ld, ld)
                source = cols
            elif form == 2:
                gather(ptr(x), ptr(cols), t)
                source = cols
            if form == 3:
                transpose(ptr(y), ptr(res), o, t[18], t[19], wp)
                for i in range(t[15]):
                    for j in range(t[16]):
                        product(source + SIZE * (i * t[27] * wp + j * t[28]), res, w, c, o, ld, hp * wp, o, o, NO, 1.0, t[33])
                        w += SIZE * o * c
            elif t[34] != 0:
                if form == 1:
                    transpose(ptr(y), ptr(res), o, t[18], t[19], wp)
                else:
                    transpose(ptr(y), ptr(res), o, YES, p, p)
                product(source, res, w, k, o, width, width, o, o, NO, 1.0, t[33])
            else:
                if form == 1:
                    spread(ptr(y), ptr(res), o, t[18], t[19], wp, ld)
                    y = res
                one(y, source, w, o, k, width, width, width, k, NO, FLIP, 1.0, 1.0)


# --- specialisation and launch ---

_made: dict = {}


def native(fn, code):
    """Address of a product kernel compiled for a dtype code; during a capture, what will compile it with others."""
    found = _made.get((fn, code))
    if found is None:
        later = _maker(fn, code)
        return later if capturing() else later()
    return found


@lru_cache(None)
def _maker(fn, code):
    def make_():
        from numbagrad.kernel import cache
        env, key = _pieces(code)
        key = [*key, cache.fingerprint(fn, {name: name for name in env})]
        made = jit.compile_function(tiles.specialised(fn, env), "iii", "\n".join(key), jit.FAST, False, True, "")
        _made[fn, code] = made.address
        return made.address
    return make_


@lru_cache(8)
def _pieces(code):
    """({name: what the kernels of a dtype call}, texts that pin its meaning)."""
    from numbagrad.kernel import blas, blas_kernels, cache, inlined
    n = jit.nb()
    blas._load()
    one_ = blas_kernels.inner(code)
    env = {"ptr": n.pointers[code], "ptr_i8": n.pointers["i8"], "one": one_, "SIZE": np.dtype(code).itemsize,
           "NO": NO, "YES": YES, "FLIP": FLIP}
    key = [code, cache.fingerprint(one_.py_func)]
    for piece in PIECES:
        key.append(cache.fingerprint(piece, {name: name for name in env}))
        env[piece.__name__] = inlined.njit(jit.FAST, error_model="numpy")(tiles.specialised(piece, env))
    return env, key


class Plan:
    """What a launch needs beside addresses: the form, the table without them, the size of the scratch memory."""

    __slots__ = ("form", "table", "scratch", "units", "turned", "sizes")

    def __init__(self, fn, code, itemsize, xs, ws, ys, geometry, count):
        groups, stride, padding, dilation = geometry
        samples, channels, outputs = xs[0], xs[1] // groups, ws[0] // groups
        size, kernel, out = _three(xs[2:]), _three(ws[2:]), _three(ys[2:])
        padded, ld = (size[1], size[2]), out[0] * out[1] * out[2]
        limit = _blocks(code)
        if kernel == (1, 1, 1) == stride and padding == (0, 0, 0) and size == out:
            self.form = POINT
        elif stride == (1, 1, 1) and size[0] == kernel[0] == out[0] == 1 and not padding[0]:
            padded = tuple([out[i] + (kernel[i] - 1) * dilation[i] for i in (1, 2)])
            ld = (out[1] - 1) * padded[1] + out[2]
            # A product per offset is as long as there are channels: below this the copies cost less.
            enough = channels >= 8 if fn is weight_gradient else (outputs if fn is input_gradient else channels) >= 16
            self.form = TAPS if enough and limit < UNLIMITED and kernel != (1, 1, 1) else FLAT
            if self.form == FLAT and channels * kernel[1] * kernel[2] <= outputs:
                # Few columns: to copy them without gaps costs less than to spread or compress the outputs.
                self.form, padded, ld = GENERAL, size[1:], out[1] * out[2]
        else:
            self.form = GENERAL
        taps = kernel[0] * kernel[1] * kernel[2]
        self.turned = (fn is weight_gradient and code[0] == "f"
                       and (self.form == TAPS or (limit < UNLIMITED and channels * taps > 12 and outputs > 8)))
        lines = self.form in (FLAT, TAPS)
        scratch = 0 if self.form == POINT else channels * taps * (groups * outputs if self.form == TAPS else ld)
        scratch += outputs * ld if lines or self.turned else 0
        scratch += channels * padded[0] * padded[1] if lines else 0
        self.scratch = (scratch * itemsize + 127) // 64 * 64
        work = samples * groups * outputs * channels * taps * ld
        self.units = max(1, min(count, samples)) if work > threads.SERIAL_BELOW["gemm"] else 1
        self.sizes = (channels, taps, outputs, 0, groups)
        self.table = np.array((0, 0, 0, 0, 0, self.scratch, self.units, samples, groups, channels, outputs, *size, *kernel,
                               *out, *stride, *padding, *dilation, self.form, *padded, ld, limit, int(self.turned)),
                              np.int64)


_plans: dict = {}
BYTES = storage.kind_of(dt.uint8)


def launch(fn, x, w, b, y, geometry):
    """Run a product: x (n, groups*c, d, h, w), w (groups*o, c, kernel), y (n, groups*o, out) row-major, b an address or 0.

    ``geometry`` is (groups, stride, padding, dilation), triples; for the weight gradient ``w`` receives the result."""
    kind = y._kind
    key = (fn, kind, x._shape, w._shape, y._shape, geometry, threads.get_num_threads())
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) > 4096:
            _plans.clear()
        found = (weight_tiles.plan(kind.dtype.code, *key[2:]) if fn is weight_gradient else
                 tiles.plan(kind.dtype.code, fn is input_gradient, *key[2:]))
        plan = _plans[key] = found or Plan(fn, kind.dtype.code, kind.itemsize, *key[2:])
    if plan.__class__ is tiles.Plan:
        return tiles.launch(plan, BYTES, *((y, w, b, x) if plan.turned else (x, w, b, y)))
    if plan.__class__ is weight_tiles.Plan:
        return weight_tiles.launch(plan, BYTES, x, w, y)
    memory, scratch = BYTES.alloc(plan.units * plan.scratch + 64)
    parts = None
    if fn is weight_gradient:
        b = w._ptr
        if plan.units > 1 or plan.turned:
            parts = make((plan.units, w._n), kind)
            b = parts._ptr
    table = plan.table.copy()
    table[:5] = (x._ptr, w._ptr, b, y._ptr, (scratch + 63) // 64 * 64)
    threads.parallel_for(native(fn, kind.dtype.code), storage.address(table), plan.units, 1, range(5))
    if plan.turned:
        if plan.units > 1:
            add_rows[kind](parts._ptr, parts._ptr, plan.units, w._n, 0, w._n)
        turn = turn_taps if plan.form == TAPS else turn_groups
        turn[kind](parts._ptr, w._ptr, *plan.sizes)
    elif parts is not None:
        add_rows[kind](parts._ptr, w._ptr, plan.units, w._n, 0, w._n)
    del memory  # held until here


UNLIMITED = 1 << 62


@lru_cache(4)
def _blocks(code):
    """Multiply-adds up to which BLAS has small kernels worth cutting products for."""
    from numbagrad.kernel import blas
    known = blas.core_type() in ("SkylakeX", "Cooperlake", "SapphireRapids")
    return 1_000_000 if known and code in ("f4", "f8") else UNLIMITED


@jit.kernel
def turn_groups(x: "*T", out: "*T", channels: int, taps: int, outputs: int, start: int, stop: int):
    """Each group's (channels taps, outputs) of x as (outputs, channels taps) of out."""
    rows = channels * taps
    for g in range(start, stop):
        base = g * rows * outputs
        for j in range(outputs):
            for i in range(rows):
                out[base + j * rows + i] = x[base + i * outputs + j]


@jit.kernel
def turn_taps(x: "*T", out: "*T", channels: int, taps: int, outputs: int, start: int, stop: int):
    """Each group's (taps, channels, outputs) of x as (outputs, channels, taps) of out."""
    for g in range(start, stop):
        base = g * taps * channels * outputs
        for j in range(outputs):
            for c in range(channels):
                for q in range(taps):
                    out[base + (j * channels + c) * taps + q] = x[base + (q * channels + c) * outputs + j]


def _three(sizes):
    return (1,) * (3 - len(sizes)) + tuple(sizes)


@jit.kernel
def add_rows(x: "*T", out: "*T", rows: int, n: int, start: int, stop: int):
    """The sum over the rows of x (rows, n), into out (n,)."""
    for j in range(start, stop):
        out[j] = x[j]
    for i in range(1, rows):
        for j in range(start, stop):
            out[j] += x[i * n + j]


@jit.kernel
def channel_sums(g: "*T", out: "*T", samples: int, channels: int, plane: int, start: int, stop: int):
    """Sums over samples and places of g (samples, channels, plane), into out (channels,)."""
    for c in range(start, stop):
        total = jit_load(g[0]) * 0
        for n in range(samples):
            part = jit_load(g[0]) * 0
            p = (n * channels + c) * plane
            for i in range(plane):
                part = accumulate(part, jit_load(g[p + i]))
            total += part
        out[c] = jit_store(total)


jit_load, jit_store, accumulate = jit.load, jit.store, jit.accumulate
