"""Resampling with a filter as wide as the pixels of the output, and of bytes, which PyTorch weighs with integers."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from numbagrad.core import storage
from numbagrad.core.tensor import make, numel
from numbagrad.extend import custom, kernel

from . import weighted_taps as taps

# --- filters: what the distance from the center of an output weighs ---

def triangle(x):
    return max(0.0, 1 - abs(x))


def keys(x):
    """Keys' cubic convolution with A = -0.5 (as in Pillow; without a filter of the output's width A is -0.75)."""
    x = abs(x)
    return (1.5 * x - 2.5) * x * x + 1 if x < 1 else ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def lanczos(x):
    def sinc(v):
        return math.sin(v) / v if v else 1.0
    return sinc(math.pi * x) * sinc(math.pi * x / 3) if abs(x) < 3 else 0.0


FILTERS = {"bilinear": (triangle, 1.0), "bicubic": (keys, 2.0), "lanczos": (lanczos, 3.0)}


def filtered(size, out, scale, align, mode):
    """Positions and weights (they sum up to 1) of an axis; ``scale`` is the number of inputs for an output."""
    weigh, radius = FILTERS[mode]
    if align:
        scale = (size - 1) / (out - 1) if out > 1 else 0.0
    wide = max(scale, 1.0)
    rows = []
    for i in range(out):
        center = scale * (i + 0.5)
        first, last = max(int(center - radius * wide + 0.5), 0), min(int(center + radius * wide + 0.5), size)
        first = min(first, size - 1)
        row = {p: weigh((p - center + 0.5) / wide) for p in range(first, max(last, first + 1))}
        total = sum(row.values())
        rows.append({p: w / total if total else w for p, w in row.items()})
    return _even(rows)


def _even(rows):
    """Rows of one length: the heaviest tap of a short one is shared out, as one of weight 0 would make NaN of infinity."""
    longest = max(map(len, rows))
    positions, weights = [], []
    for row in rows:
        heavy, more = max(row, key=lambda p: abs(row[p])), longest - len(row)
        row[heavy] /= more + 1
        positions.append([*row, *[heavy] * more])
        weights.append([*row.values(), *[row[heavy]] * more])
    return positions, weights


# --- one axis after the other: (taps + taps) products for an output instead of (taps * taps) ---

def _two(axes):
    """(axes of a pass along rows, axes of a pass along columns)."""
    (size, out, rule, args), row = axes
    wide = row[1]
    return (row,), ((size, out, rule, args), (wide, wide, identity, (wide,)))


def identity(size, _):
    return [[i] for i in range(size)], None


@custom(private=True, node="UpsampleBilinear2DAaBackward0", reference=None)
def map_rows_columns(input, axes: tuple):
    """The last two dimensions of ``input`` mapped to new positions, one after the other."""
    return (*input._shape[:-2], *[a[1] for a in axes]), input._kind


@map_rows_columns.cpu
def _(out, input, axes):
    if out._n:
        rows, columns = _two(axes)
        planes, between = numel(input._shape[:-2]), make((*input._shape[:-1], axes[1][1]), out._kind)
        _, _, t, w, _ = taps.plan(rows)
        taps.mix.run(out._kind, (input._ptr, between._ptr, t, w), planes * axes[0][0], between._n)
        _, _, t, w, _ = taps.plan(columns)
        taps.mix.run(out._kind, (between._ptr, out._ptr, t, w), planes, out._n)


@map_rows_columns.gradient
def _(g, axes):
    return unmap_rows_columns(g, axes)


@custom(private=True, node="UpsampleBilinear2DAaBackwardBackward0", reference=None)
def unmap_rows_columns(input, axes: tuple):
    """The gradient of ``map_rows_columns``."""
    return (*input._shape[:-2], *[a[0] for a in axes]), input._kind


@unmap_rows_columns.cpu
def _(out, input, axes):
    if out._n:
        rows, columns = _two(axes)
        planes, between = numel(input._shape[:-2]), make((*out._shape[:-1], axes[1][1]), out._kind)
        _, _, t, w, _ = taps.plan(columns)
        taps.unmix.run(out._kind, (input._ptr, between._ptr, t, w), planes, between._n)
        _, _, t, w, _ = taps.plan(rows)
        taps.unmix.run(out._kind, (between._ptr, out._ptr, t, w), planes * axes[0][0], out._n)


@unmap_rows_columns.gradient
def _(g, axes):
    return map_rows_columns(g, axes)


# --- bytes ---

@kernel
def mix_bytes(x: "*u1", y: "*u1", t: "*i8", size: int, out: int, apart: int, start: int, stop: int):
    """Bytes x (planes, size, apart) mixed along their second dimension into y (planes, out, apart), rounded; int64 t holds the
    number of taps, the binary digits of the weights after the point, positions and weights of every output."""
    n, digits = t[0], t[1]
    half = 1 << (digits - 1)
    for plane in range(start, stop):
        for i in range(out):
            for c in range(apart):
                total = half
                for k in range(n):
                    total += t[2 + i * n + k + out * n] * x[(plane * size + t[2 + i * n + k]) * apart + c]
                total >>= digits
                y[(plane * out + i) * apart + c] = 0 if total < 0 else 255 if total > 255 else total


@lru_cache(1024)
def whole_weights(axis):
    """The table that ``mix_bytes`` takes of an axis: weights with as many digits as 16 bits hold, as in PyTorch."""
    size, _, rule, args = axis
    positions, weights = rule(size, *args)
    rows = []
    for row, values in zip(positions, weights):  # a position that comes twice has one weight
        found = {}
        for p, w in zip(row, values):
            found[p] = found.get(p, 0.0) + w
        rows.append(found)
    most, digits = max(w for row in rows for w in row.values()), 0
    while digits < 22 and int(0.5 + most * (1 << (digits + 1))) < 1 << 15:
        digits += 1
    n = max(map(len, rows))
    places, whole = [], []
    for row in rows:
        places += [*row, *[0] * (n - len(row))]
        whole += [*[int(w * (1 << digits) + (0.5 if w >= 0 else -0.5)) for w in row.values()], *[0] * (n - len(row))]
    table = np.array([n, digits, *places, *whole], np.int64)
    storage.table(table)
    return table


@custom(private=True, differentiable=False, reference=None, dtypes="any")
def map_bytes(input, axes: tuple):
    """``map_axes`` of bytes: rows first, then columns, each rounded; an axis that keeps its size is left alone."""
    return (*input._shape[:-2], *[a[1] for a in axes]), input._kind


@map_bytes.cpu
def _(out, input, axes):
    (tall, height, *_), (wide, width, *_) = axes
    planes, source = numel(input._shape[:-2]), input
    if width != wide or height == tall:
        between = out if height == tall else make((*input._shape[:-1], width), out._kind)
        _mix(input, between, axes[1], planes * tall, 1)
        source = between
    if height != tall:
        _mix(source, out, axes[0], planes, width)


def _mix(x, y, axis, planes, apart):
    table = x._kind.host(whole_weights(axis))
    mix_bytes.run(x._kind, (x._ptr, y._ptr, table, axis[0], axis[1], apart), planes, 4 * y._n)
