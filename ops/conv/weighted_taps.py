"""Tensors whose axes are mapped one by one: every output is a weighted sum of a few inputs, or one of them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from numbagrad.core import storage
from numbagrad.core.tensor import numel
from numbagrad.dispatch.custom import CustomNode
from numbagrad.extend import T, custom, load, store
from numbagrad.kernel.jit import STRIP, kernel, strip

from ..product.gemm import node_class

# A plan is (int64 sizes: 3 inputs, 3 outputs, 3 taps; then the input positions of every output of each axis in turn,
# taps together) and the float64 weights in the same order.


@kernel
def mix(x: "*T", y: "*T", t: "*i8", w: "*f8", start: int, stop: int):
    """Weighted sums of the taps of x (planes, 3 inputs) into y (planes, 3 outputs), by the int64 plan t and its float64
    weights w."""
    d, h, wd, od, oh, ow, td, th, tw = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    hs = 9 + od * td
    ws = hs + oh * th
    for plane in range(start, stop):
        q = plane * od * oh * ow
        for z in range(od):
            for r in range(oh):
                for c in range(ow):
                    acc = T(0)
                    for i in range(td):
                        for j in range(th):
                            p = ((plane * d + t[9 + z * td + i]) * h + t[hs + r * th + j]) * wd
                            outer = w[z * td + i] * w[hs - 9 + r * th + j]
                            for k in range(tw):
                                acc = T(acc + T(outer * w[ws - 9 + c * tw + k]) * load(x[p + t[ws + c * tw + k]]))
                    y[q] = store(acc)
                    q += 1


@kernel
def mix_two(x: "*T", y: "*T", t: "*i8", w: "*f8", start: int, stop: int):
    """``mix`` of two rows by two columns of x into y, by the int64 plan t and its float64 weights w."""
    h, wd, oh, ow = t[1], t[2], t[4], t[5]
    hs = 10
    ws = hs + 2 * oh
    for plane in range(start, stop):
        for r in range(oh):
            above = (plane * h + t[hs + 2 * r]) * wd
            below = (plane * h + t[hs + 2 * r + 1]) * wd
            a = T(w[hs - 9 + 2 * r])
            b = T(w[hs - 9 + 2 * r + 1])
            q = (plane * oh + r) * ow
            for c in range(ow):
                left, right = t[ws + 2 * c], t[ws + 2 * c + 1]
                u, v = T(w[ws - 9 + 2 * c]), T(w[ws - 9 + 2 * c + 1])
                y[q + c] = store(a * (u * load(x[above + left]) + v * load(x[above + right]))
                                 + b * (u * load(x[below + left]) + v * load(x[below + right])))


@kernel
def unmix(g: "*T", x: "*T", t: "*i8", w: "*f8", start: int, stop: int):
    """Gradient of ``mix``: g (planes, 3 outputs) into x (planes, 3 inputs), by the int64 plan t and its float64 weights w."""
    d, h, wd, od, oh, ow, td, th, tw = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    hs = 9 + od * td
    ws = hs + oh * th
    for plane in range(start, stop):
        for i in range(plane * d * h * wd, (plane + 1) * d * h * wd):
            x[i] = store(T(0))
        q = plane * od * oh * ow
        if td * th * tw == 1:
            for z in range(od):
                for r in range(oh):
                    p = ((plane * d + t[9 + z]) * h + t[hs + r]) * wd
                    for c in range(ow):
                        at = p + t[ws + c]
                        x[at] = store(load(x[at]) + load(g[q + c]))
                    q += ow
            continue
        for z in range(od):
            for r in range(oh):
                for c in range(ow):
                    v = load(g[q])
                    q += 1
                    for i in range(td):
                        for j in range(th):
                            p = ((plane * d + t[9 + z * td + i]) * h + t[hs + r * th + j]) * wd
                            outer = w[z * td + i] * w[hs - 9 + r * th + j]
                            for k in range(tw):
                                at = p + t[ws + c * tw + k]
                                x[at] = store(load(x[at]) + T(outer * w[ws - 9 + c * tw + k]) * v)


@kernel
def unmix_two(g: "*T", x: "*T", t: "*i8", w: "*f8", start: int, stop: int):
    """Gradient of ``mix_two``: g (planes, outputs) into x (planes, inputs), by the int64 plan t, whose places never fall, and
    its float64 weights w: rows of g are added up side by side, then columns in numbers that move along with their places."""
    total = strip()
    h, wd, oh, ow = t[1], t[2], t[4], t[5]
    hs = 10
    ws = hs + 2 * oh
    for plane in range(start, stop):
        low = 0  # the first row of g that goes to row i of x
        for i in range(h):
            p = (plane * h + i) * wd
            for c in range(wd):
                x[p + c] = store(T(0))
            while low < oh and t[hs + 2 * low + 1] < i:
                low += 1
            for first in range(0, ow, STRIP):
                many = min(STRIP, ow - first)
                for c in range(many):
                    total[c] = T(0)
                r = low
                while r < oh and t[hs + 2 * r] <= i:
                    upper = w[hs - 9 + 2 * r] if t[hs + 2 * r] == i else 0.0
                    lower = w[hs - 8 + 2 * r] if t[hs + 2 * r + 1] == i else 0.0
                    part, q = T(upper + lower), (plane * oh + r) * ow + first
                    for c in range(many):
                        total[c] = T(total[c] + part * load(g[q + c]))
                    r += 1
                at, here, after = t[ws + 2 * first], T(0), T(0)
                for c in range(many):
                    k = ws + 2 * (first + c)
                    while at < t[k]:
                        x[p + at] = store(load(x[p + at]) + here)
                        at, here, after = at + 1, after, T(0)
                    here = T(here + T(w[k - 9]) * total[c])
                    after = T(after + T(w[k - 8]) * total[c])
                x[p + at] = store(load(x[p + at]) + here)
                last = min(at + 1, wd - 1)  # (the last place is its own neighbour)
                x[p + last] = store(load(x[p + last]) + after)


@kernel
def pick(x: "*T", y: "*T", t: "*i8", start: int, stop: int):
    """``mix`` with one tap of weight 1: a copy of elements of x into y by the int64 plan t, for every dtype."""
    d, h, wd, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5]
    hs, ws = 9 + od, 9 + od + oh
    for plane in range(start, stop):
        q = plane * od * oh * ow
        for z in range(od):
            for r in range(oh):
                p = ((plane * d + t[9 + z]) * h + t[hs + r]) * wd
                for c in range(ow):
                    y[q + c] = x[p + t[ws + c]]
                q += ow


# --- maps of one axis: (positions, weights) per output ---

def _reflect(i, size):
    return -i if i < 0 else 2 * (size - 1) - i if i >= size else i


def padded(size, before, after, mode):
    """Positions of a padded axis."""
    positions = range(-before, size + after)
    if mode == "reflect":
        return [[_reflect(i, size)] for i in positions], None
    if mode == "circular":
        # What a negative number cuts does not come round again.
        first, kept = max(-before, 0), size + min(before, 0) + min(after, 0)
        return [[first + (i - first) % kept] for i in positions], None
    return [[min(max(i, 0), size - 1)] for i in positions], None


def nearest(size, out, scale, exact):
    """Positions of the nearest input; PyTorch computes them in float32."""
    f = np.float32(scale)
    shift = np.float32(0.5 if exact else 0.0)
    return [[min(int(np.floor((np.float32(i) + shift) * f)), size - 1)] for i in range(out)], None


def _source(i, size, out, scale, align):
    if align:
        return i * ((size - 1) / (out - 1) if out > 1 else 0.0)
    return (i + 0.5) * scale - 0.5


def linear(size, out, scale, align):
    """Two neighbours, weighted by distance."""
    positions, weights = [], []
    for i in range(out):
        s = max(_source(i, size, out, scale, align), 0.0)
        first = min(int(s), size - 1)
        part = min(max(s - first, 0.0), 1.0)
        positions.append([first, min(first + 1, size - 1)])
        weights.append([1 - part, part])
    return positions, weights


def cubic(size, out, scale, align):
    """Four neighbours, by Keys' cubic convolution with A = -0.75."""
    a = -0.75
    positions, weights = [], []

    def near(x):
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    for i in range(out):
        s = _source(i, size, out, scale, align)
        first = math.floor(s)
        part = s - first
        positions.append([min(max(first + k, 0), size - 1) for k in (-1, 0, 1, 2)])
        weights.append([far(1 + part), near(part), near(1 - part), far(2 - part)])
    return positions, weights


@lru_cache(1024)
def plan(axes):
    """(positions array, weights array, their addresses, plain) of up to three axes (input size, output size, rule, args)."""
    found = [rule(size, *args) for size, _, rule, args in axes]
    found = [([[0]], None)] * (3 - len(axes)) + found
    sizes = (1,) * (3 - len(axes)) + tuple([a[0] for a in axes])
    table = [*sizes, *[len(p) for p, _ in found], *[len(p[0]) if p else 1 for p, _ in found]]
    weights = []
    for positions, w in found:
        table += [i for row in positions for i in row]
        weights += [1.0] * len(positions) if w is None else [v for row in w for v in row]
    t, f = np.array(table, np.int64), np.array(weights, np.float64)
    return t, f, storage.table(t), storage.table(f), all(w is None for _, w in found)


def two_by_two(t):
    """Whether every output of a plan has two rows and two columns of one plane."""
    return t[0] == 1 and (t[3], *t[6:9]) == (1, 1, 2, 2)


@custom(private=True, node="UpsampleNearest2DBackward0", reference=None, dtypes="any")
def map_axes(input, axes: tuple):
    """The last dimensions of ``input`` mapped to new positions, as ``axes`` says."""
    return (*input._shape[:-len(axes)], *[a[1] for a in axes]), input._kind


@map_axes.cpu
def _(out, input, axes):
    if out._n:
        t, f, ta, fa, plain = plan(axes)
        planes = numel(input._shape[:-len(axes)])
        if plain:
            pick.run(out._kind, (input._ptr, out._ptr, ta), planes, out._n)
        else:
            body = mix_two if two_by_two(t) else mix
            body.run(out._kind, (input._ptr, out._ptr, ta, fa), planes, out._n)


@map_axes.gradient
def _(g, axes):
    return unmap_axes(g, axes)


@custom(private=True, joins=True, node="UpsampleNearest2DBackwardBackward0", reference=None)
def unmap_axes(input, axes: tuple):
    """Every element added to the positions it came from: the gradient of ``map_axes``."""
    return (*input._shape[:-len(axes)], *[a[0] for a in axes]), input._kind


@unmap_axes.cpu
def _(out, input, axes):
    if out._n:
        t, f, ta, fa, _ = plan(axes)
        body = unmix_two if two_by_two(t) and out._kind.cpu else unmix  # (on a device places are shared out, not walked along)
        body.run(out._kind, (input._ptr, out._ptr, ta, fa), numel(input._shape[:-len(axes)]), input._n)


@unmap_axes.gradient
def _(g, axes):
    return map_axes(g, axes)


_nodes: dict = {}


def _node(name):
    # The gradient of a resized image depends on its size alone, that of a padded one is connected to the input.
    return _nodes.get(name) or _nodes.setdefault(name, node_class(name, CustomNode, map_axes, connected="Pad" in name))
