"""Kernels of the pooling ops: every output is the mean or the maximum of a box given by one window per axis."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from numbagrad.core import storage
from numbagrad.extend import T, inline, load, store
from numbagrad.kernel.box_maximum import MOST
from numbagrad.kernel.jit import box_maximum, kernel

# A plan is an int64 array: (input, output) sizes of depth, height, width, then the step inside a window per axis, then
# (start, stop, count) of every window of each axis in turn. Windows are clipped; ``count`` is what a mean divides by.
HEAD = 9
AHEAD = 8  # elements that a maximum looks at in one go: most are not larger
WIDE = 4  # elements of a row of a window


@kernel
def box_mean(x: "*T", y: "*T", t: "*i8", divisor: int, start: int, stop: int):
    """Means of boxes of x (planes, d, h, w) into y (planes, od, oh, ow), by the int64 plan t; they divide by ``divisor``, or
    by the plan's counts if that is 0."""
    d, h, w, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5]
    hs, ws = 9 + 3 * od, 9 + 3 * od + 3 * oh
    for plane in range(start, stop):
        q = plane * od * oh * ow
        for z in range(od):
            top, bottom = t[9 + 3 * z], t[10 + 3 * z]
            for r in range(oh):
                upper, lower = t[hs + 3 * r], t[hs + 1 + 3 * r]
                for c in range(ow):
                    left, right = t[ws + 3 * c], t[ws + 1 + 3 * c]
                    acc = T(0)
                    for i in range(top, bottom):
                        for j in range(upper, lower):
                            p = ((plane * d + i) * h + j) * w
                            for k in range(p + left, p + right):
                                acc = T(acc + load(x[k]))
                    n = divisor if divisor != 0 else t[11 + 3 * z] * t[hs + 2 + 3 * r] * t[ws + 2 + 3 * c]
                    y[q] = store(acc / T(n))
                    q += 1


@kernel
def even_mean(x: "*T", y: "*T", t: "*i8", divisor: int, first: int, width: int, step: int, start: int, stop: int):
    """``box_mean`` of x into y, both stored as they are computed, by the int64 plan t: along rows all windows have ``width``
    elements and lie ``step``, 1 or 2, apart from ``first`` on, so that a row of means is summed up side by side."""
    d, h, w, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5]
    hs = 9 + 3 * od
    for plane in range(start, stop):
        for z in range(od):
            for r in range(oh):
                q = ((plane * od + z) * oh + r) * ow
                for c in range(ow):
                    y[q + c] = T(0)
                for i in range(t[9 + 3 * z], t[10 + 3 * z]):
                    for j in range(t[hs + 3 * r], t[hs + 1 + 3 * r]):
                        for k in range(width):
                            p = ((plane * d + i) * h + j) * w + first + k
                            if step == 2:
                                for c in range(ow):
                                    y[q + c] += x[p + 2 * c]
                            else:
                                for c in range(ow):
                                    y[q + c] += x[p + c]
                n = T(divisor if divisor != 0 else t[11 + 3 * z] * t[hs + 2 + 3 * r] * width)
                for c in range(ow):
                    y[q + c] /= n


@kernel
def box_mean_back(g: "*T", x: "*T", t: "*i8", divisor: int, start: int, stop: int):
    """Gradient of ``box_mean``: g (planes, od, oh, ow) spread over its boxes in x (planes, d, h, w), by the int64 plan t."""
    d, h, w, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5]
    hs, ws = 9 + 3 * od, 9 + 3 * od + 3 * oh
    for plane in range(start, stop):
        for i in range(plane * d * h * w, (plane + 1) * d * h * w):
            x[i] = store(T(0))
        q = plane * od * oh * ow
        for z in range(od):
            for r in range(oh):
                for c in range(ow):
                    n = divisor if divisor != 0 else t[11 + 3 * z] * t[hs + 2 + 3 * r] * t[ws + 2 + 3 * c]
                    part = T(load(g[q]) / T(n))
                    q += 1
                    for i in range(t[9 + 3 * z], t[10 + 3 * z]):
                        for j in range(t[hs + 3 * r], t[hs + 1 + 3 * r]):
                            p = ((plane * d + i) * h + j) * w
                            for k in range(t[ws + 3 * c], t[ws + 1 + 3 * c]):
                                x[p + k] = store(load(x[p + k]) + part)


@inline
def larger(x, at, best):
    """How many of the next AHEAD elements of x are not at most ``best``."""
    found = 0
    for i in range(AHEAD):
        found += 0 if load(x[at + i]) <= best else 1
    return found


@kernel
def box_max(x: "*T", y: "*T", where: "*i8", t: "*i8", start: int, stop: int):
    """Maxima of boxes of x (planes, d, h, w) into y and their places in a plane into int64 where, both (planes, od, oh, ow),
    by the int64 plan t."""
    d, h, w, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5]
    hs, ws = 9 + 3 * od, 9 + 3 * od + 3 * oh
    down, over, step = t[6], t[7], t[8]
    for plane in range(start, stop):
        q = plane * od * oh * ow
        base = plane * d * h * w
        for z in range(od):
            top, bottom = t[9 + 3 * z], t[10 + 3 * z]
            for r in range(oh):
                upper, lower = t[hs + 3 * r], t[hs + 1 + 3 * r]
                for c in range(ow):
                    left, right = t[ws + 3 * c], t[ws + 1 + 3 * c]
                    at = (top * h + upper) * w + left
                    best = load(x[base + at])
                    i = top
                    while i < bottom:
                        j = upper
                        while j < lower:
                            k = left
                            p = (i * h + j) * w
                            while step == 1 and k + AHEAD <= right:
                                if larger(x, base + p + k, best) != 0:
                                    for e in range(k, k + AHEAD):
                                        v = load(x[base + p + e])
                                        # The last NaN wins, as everywhere in PyTorch's pooling.
                                        new = (v > best) | (v != v)
                                        best = v if new else best
                                        at = p + e if new else at
                                k += AHEAD
                            while k < right:
                                v = load(x[base + p + k])
                                new = (v > best) | (v != v)
                                best = v if new else best
                                at = p + k if new else at
                                k += step
                            j += over
                        i += down
                    y[q] = store(best)
                    where[q] = at
                    q += 1


@kernel
def wide_box_max(x: "*T", y: "*T", where: "*i8", t: "*i8", start: int, stop: int):
    """``box_max`` of x into y and int64 where, by the int64 plan t, for rows of boxes of elements side by side."""
    d, h, w, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5]
    hs, ws = 9 + 3 * od, 9 + 3 * od + 3 * oh
    for plane in range(start, stop):
        q = plane * od * oh * ow
        base = plane * d * h * w
        for z in range(od):
            i, planes = t[9 + 3 * z], (t[10 + 3 * z] - t[9 + 3 * z] + t[6] - 1) // t[6]
            for r in range(oh):
                j, rows = t[hs + 3 * r], (t[hs + 1 + 3 * r] - t[hs + 3 * r] + t[7] - 1) // t[7]
                for c in range(ow):
                    k = t[ws + 3 * c]
                    at = box_maximum(x, base, (i * h + j) * w + k, planes, t[6] * h * w, rows, t[7] * w, t[ws + 1 + 3 * c] - k)
                    y[q] = x[base + at]
                    where[q] = at
                    q += 1


@kernel
def max_pairs(x: "*T", y: "*T", where: "*i8", h: int, w: int, start: int, stop: int):
    """``box_max`` of 2 x 2 boxes of x (planes, h, w) that do not overlap, into y and int64 where (planes, h // 2, w // 2):
    the usual case, without window tables."""
    oh, ow = h // 2, w // 2
    for plane in range(start, stop):
        for r in range(oh):
            p, q = (plane * h + 2 * r) * w, (plane * oh + r) * ow
            row = 2 * r * w
            for c in range(ow):
                a, b = load(x[p + 2 * c]), load(x[p + 2 * c + 1])
                d, e = load(x[p + w + 2 * c]), load(x[p + w + 2 * c + 1])
                # Without branches; a later NaN wins over an earlier number or NaN, at a tie the first wins.
                right, right_below = (b > a) | (b != b), (e > d) | (e != e)
                upper, lower = (b if right else a), (e if right_below else d)
                below = (lower > upper) | (lower != lower)
                i, j = (1 if right else 0), (1 if right_below else 0)
                y[q + c] = store(lower if below else upper)
                where[q + c] = row + 2 * c + (w + j if below else i)


@kernel
def scatter_planes(g: "*T", where: "*i8", x: "*T", outputs: int, inputs: int, start: int, stop: int):
    """g (planes, outputs) added to zeros at the places int64 where (planes, outputs), into x (planes, inputs)."""
    for plane in range(start, stop):
        base = plane * inputs
        for i in range(base, base + inputs):
            x[i] = store(T(0))
        for i in range(plane * outputs, (plane + 1) * outputs):
            p = base + where[i]
            x[p] = store(load(x[p]) + load(g[i]))


@kernel
def gather_planes(x: "*T", where: "*i8", y: "*T", outputs: int, inputs: int, start: int, stop: int):
    """Elements of x (planes, inputs) at the places int64 where (planes, outputs), into y (planes, outputs)."""
    for plane in range(start, stop):
        for i in range(plane * outputs, (plane + 1) * outputs):
            y[i] = x[plane * inputs + where[i]]


# --- plans ---

def sliding(size, out, kernel_, stride, padding, dilation, clip_count):
    """Windows of a sliding box; counted with the padding unless ``clip_count``."""
    found = []
    for o in range(out):
        first = o * stride - padding
        last = first + dilation * (kernel_ - 1) + 1
        count = min(last, size + padding) - first
        while first < 0:
            first += dilation
        last = min(last, size)
        found.append((first, last, last - first if clip_count else count))
    return found


def adaptive(size, out):
    """``out`` windows that cover ``size`` as evenly as integers allow."""
    found = []
    for o in range(out):
        first, last = o * size // out, -((-(o + 1) * size) // out)
        found.append((first, last, last - first))
    return found


@lru_cache(1024)
def plan(axes):
    """(array, address) of a plan; ``axes`` has (input size, output size, rule, its arguments) for three axes."""
    sizes, outs, steps, windows = [], [], [], []
    for size, out, rule, args in axes:
        sizes.append(size)
        outs.append(out)
        steps.append(args[3] if args else 1)
        windows += [v for window in rule(size, out, *args) for v in window]
    table = np.array([*sizes, *outs, *steps, *windows], np.int64)
    return table, storage.table(table)


@lru_cache(1024)
def even(axis):
    """(first place, width, distance) of the windows of an axis, if all lie alike, inside and close together; or None."""
    size, out, rule, args = axis
    windows = [tuple(v) for v in rule(size, out, *args)]
    first, end, count = windows[0]
    step = windows[1][0] - first if out > 1 else 1
    if step not in (1, 2) or (args[3] if args else 1) != 1 or count != end - first or windows != [
            (first + i * step, end + i * step, count) for i in range(out)]:
        return None
    return first, count, step


def wide(axes):
    """Whether rows of windows are worth vectors, and their places fit them."""
    size, out, rule, args = axes[-1]
    width, step = (args[0], args[3]) if args else (size // out, 1)
    return width >= WIDE and step == 1 and math.prod([a[0] for a in axes]) <= MOST
