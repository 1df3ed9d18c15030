"""Grid sampling of images, a block of places at a time: what is one loop over places is vector code."""

from __future__ import annotations

from numbagrad.extend import T, inline, load, store
from numbagrad.kernel.jit import floor, kernel, rint, strip, wide_strip

from .grid_kernels import bounded, far, near

BLOCK = 128  # a strip holds four taps of that many places
OUTSIDE = -1e18  # an offset, whatever is added to it


@inline
def offset(position, size, unit):
    """Where a position lies in memory; far below 0 if it is none of the axis."""
    return float(position) * unit if position >= T(0) and position < T(size) else -1e18


@inline
def block_axis(at, ws, ds, grid, first, count, which, size, unit, mode, padding, align):
    """Taps of ``count`` places of a grid from the first one on, for its number ``which``: offsets into ``at``, weights into
    ``ws``, the slopes of these into ``ds``."""
    scale = T(0.5) * T(size - 1) if align else T(0.5) * T(size)
    shift = T(0) if align else T(-0.5)
    for p in range(count):
        ws[p] = (load(grid[2 * (first + p) + which]) + T(1)) * scale + shift
        ds[p] = scale
    if mode != 2 and padding != 0:
        for p in range(count):
            x, slope = bounded(ws[p], size, padding, align, True)
            ws[p] = x
            ds[p] = scale * slope
    if mode == 1:
        for p in range(count):
            at[p] = offset(rint(ws[p]), size, unit)
            ws[p] = T(1)
    elif mode == 0:
        for p in range(count):
            left = floor(ws[p])
            r = ws[p] - left
            at[p] = offset(left, size, unit)
            at[p + 128] = offset(left + T(1), size, unit)
            ws[p] = T(1) - r
            ws[p + 128] = r
            ds[p + 128] = ds[p]
            ds[p] = -ds[p]
    else:
        for p in range(count):
            left = floor(ws[p])
            r = ws[p] - left
            for i in range(4):
                place = left + T(i - 1)
                if padding != 0:
                    place, _ = bounded(place, size, padding, align, True)
                at[p + 128 * i] = offset(place, size, unit)
            w, slope, _ = far(T(1) + r)
            ws[p], ds[p] = w, slope * scale
            w, slope, _ = near(r)
            ws[p + 128], ds[p + 128] = w, slope * scale
            w, slope, _ = near(T(1) - r)
            ws[p + 256], ds[p + 256] = w, -slope * scale
            w, slope, _ = far(T(2) - r)
            ws[p + 384], ds[p + 384] = w, -slope * scale


@inline
def read(x, base, at):
    """The element of x at an offset, 0 outside."""
    found = load(x[base + (int(at) if at >= 0.0 else 0)])
    return found if at >= 0.0 else T(0)


@kernel
def image_values(x: "*T", grid: "*T", y: "*T", channels: int, h: int, w: int, points: int, mode: int, padding: int,
                 align: int, start: int, stop: int):
    """x (n, channels, h, w) at the places of grid (n, points, 2), into y (n, channels, points); start and stop count blocks
    of places of all images."""
    xs, ys, total = wide_strip(), wide_strip(), strip()
    wx, wy, ds, both = strip(), strip(), strip(), strip()
    taps = 1 if mode == 1 else 2 if mode == 0 else 4
    blocks = (points + 127) // 128
    for item in range(start, stop):
        image = item // blocks
        first = (item - image * blocks) * 128
        count = min(128, points - first)
        block_axis(xs, wx, ds, grid, image * points + first, count, 0, w, 1, mode, padding, align)
        block_axis(ys, wy, ds, grid, image * points + first, count, 1, h, w, mode, padding, align)
        if mode == 0:  # the four taps of a place are the same in all channels
            for p in range(count):
                a, b, u, v = xs[p], xs[p + 128], ys[p], ys[p + 128]
                xs[p], xs[p + 128], xs[p + 256], xs[p + 384] = u + a, u + b, v + a, v + b
                both[p], both[p + 128] = wy[p] * wx[p], wy[p] * wx[p + 128]
                both[p + 256], both[p + 384] = wy[p + 128] * wx[p], wy[p + 128] * wx[p + 128]
        for channel in range(image * channels, (image + 1) * channels):
            base = channel * h * w
            q = channel * points + first
            if mode == 0:
                for p in range(count):
                    # Into memory of the kernel's own: that y is not x is not known.
                    total[p] = (both[p] * read(x, base, xs[p]) + both[p + 128] * read(x, base, xs[p + 128])
                                + both[p + 256] * read(x, base, xs[p + 256]) + both[p + 384] * read(x, base, xs[p + 384]))
            else:
                for p in range(count):
                    total[p] = T(0)
                for j in range(0, 128 * taps, 128):
                    for k in range(0, 128 * taps, 128):
                        for p in range(count):
                            total[p] += wy[p + j] * wx[p + k] * read(x, base, ys[p + j] + xs[p + k])
            for p in range(count):
                y[q + p] = store(total[p])


@kernel
def bilinear_values(x: "*T", grid: "*T", y: "*T", channels: int, h: int, w: int, points: int, padding: int, align: int,
                    start: int, stop: int):
    """``image_values`` of x (n, channels, h, w) at the places of grid (n, points, 2), into y (n, channels, points), for four
    taps: those of a place are read in eight channels while their offsets are in registers, of fewer they are gathered."""
    xs, ys = wide_strip(), wide_strip()
    wx, wy, ds, both = strip(), strip(), strip(), strip()
    blocks, plane = (points + 127) // 128, h * w
    for item in range(start, stop):
        image = item // blocks
        first = (item - image * blocks) * 128
        count = min(128, points - first)
        block_axis(xs, wx, ds, grid, image * points + first, count, 0, w, 1, 0, padding, align)
        block_axis(ys, wy, ds, grid, image * points + first, count, 1, h, w, 0, padding, align)
        for p in range(count):
            both[p], both[p + 128] = wy[p] * wx[p], wy[p] * wx[p + 128]
            both[p + 256], both[p + 384] = wy[p + 128] * wx[p], wy[p + 128] * wx[p + 128]
        if channels < 8:  # a channel at a time, whose taps are gathered for many places at once
            for p in range(count):
                a, b, c, d = xs[p], xs[p + 128], ys[p], ys[p + 128]
                xs[p], xs[p + 128], ys[p], ys[p + 128] = c + a, c + b, d + a, d + b
            for channel in range(image * channels, (image + 1) * channels):
                q, base = channel * points + first, channel * plane
                for p in range(count):
                    a, b, c, d = xs[p], xs[p + 128], ys[p], ys[p + 128]
                    e, f = load(x[base + int(max(a, 0.0))]), load(x[base + int(max(b, 0.0))])
                    g, o = load(x[base + int(max(c, 0.0))]), load(x[base + int(max(d, 0.0))])
                    e, f = e if a >= 0.0 else T(0), f if b >= 0.0 else T(0)
                    g, o = g if c >= 0.0 else T(0), o if d >= 0.0 else T(0)
                    ds[p] = both[p] * e + both[p + 128] * f + both[p + 256] * g + both[p + 384] * o
                for p in range(count):
                    y[q + p] = store(ds[p])
            continue
        for channel in range(image * channels, (image + 1) * channels, 8):
            many = min(8, (image + 1) * channels - channel)
            for p in range(count):
                q, base = channel * points + first + p, channel * plane
                a, b, c, d = ys[p] + xs[p], ys[p] + xs[p + 128], ys[p + 128] + xs[p], ys[p + 128] + xs[p + 128]
                r, s, u, v = both[p], both[p + 128], both[p + 256], both[p + 384]
                if max(a, b, c, d) < 0.0:
                    nothing = store((r + s + u + v) * T(0))  # NaN where the place is none
                    for _ in range(many):
                        y[q] = nothing
                        q += points
                elif many == 8:
                    i, j, k, m = int(max(a, 0.0)), int(max(b, 0.0)), int(max(c, 0.0)), int(max(d, 0.0))
                    for _ in range(8):  # (no branch: which taps are outside is no pattern)
                        e, f = load(x[base + i]), load(x[base + j])
                        g, o = load(x[base + k]), load(x[base + m])
                        e, f = e if a >= 0.0 else T(0), f if b >= 0.0 else T(0)
                        g, o = g if c >= 0.0 else T(0), o if d >= 0.0 else T(0)
                        y[q] = store(r * e + s * f + u * g + v * o)
                        base, q = base + plane, q + points
                else:
                    for _ in range(many):
                        y[q] = store(r * read(x, base, a) + s * read(x, base, b) + u * read(x, base, c) + v * read(x, base, d))
                        base, q = base + plane, q + points


@kernel
def image_gradients(g: "*T", x: "*T", grid: "*T", dx: "*T", dgrid: "*T", channels: int, h: int, w: int, points: int, mode: int,
                    padding: int, align: int, images: int, places: int, start: int, stop: int):
    """Gradients of ``image_values``: of g (n, channels, points) by x (n, channels, h, w) into dx, if ``images``, and by grid
    (n, points, 2) into dgrid, if ``places``."""
    xs, ys, by_x, by_y = wide_strip(), wide_strip(), strip(), strip()
    wx, wy, sx, sy = strip(), strip(), strip(), strip()
    taps = 1 if mode == 1 else 2 if mode == 0 else 4
    for image in range(start, stop):
        if images:
            for i in range(image * channels * h * w, (image + 1) * channels * h * w):
                dx[i] = store(T(0))
        for first in range(0, points, 128):
            count = min(128, points - first)
            block_axis(xs, wx, sx, grid, image * points + first, count, 0, w, 1, mode, padding, align)
            block_axis(ys, wy, sy, grid, image * points + first, count, 1, h, w, mode, padding, align)
            for p in range(count):
                by_x[p] = T(0)
                by_y[p] = T(0)
            for channel in range(image * channels, (image + 1) * channels):
                base = channel * h * w
                q = channel * points + first
                if images:
                    for p in range(count):
                        v = load(g[q + p])
                        for j in range(0, 128 * taps, 128):
                            for k in range(0, 128 * taps, 128):
                                s = ys[p + j] + xs[p + k]
                                if s >= 0.0:
                                    s_ = base + int(s)
                                    dx[s_] = store(load(dx[s_]) + wy[p + j] * wx[p + k] * v)
                if places and mode != 1:
                    for j in range(0, 128 * taps, 128):
                        for k in range(0, 128 * taps, 128):
                            for p in range(count):
                                u = load(g[q + p]) * read(x, base, ys[p + j] + xs[p + k])
                                by_x[p] += wy[p + j] * sx[p + k] * u
                                by_y[p] += sy[p + j] * wx[p + k] * u
            if places:
                for p in range(count):
                    dgrid[2 * (image * points + first + p)] = store(by_x[p])
                    dgrid[2 * (image * points + first + p) + 1] = store(by_y[p])
