"""Kernels of grid sampling: an image, read at the places of a grid between its pixels."""

from __future__ import annotations

from numbagrad.extend import T, inline, load, store
from numbagrad.kernel.jit import floor, kernel, lanes, rint, trunc, wide_strip

BILINEAR, NEAREST, BICUBIC = 0, 1, 2
ZEROS, BORDER, REFLECTION = 0, 1, 2

# Taps of one axis lie in 16 elements of ``t``: up to 4 positions, weights, and first and second derivatives of the weights by
# the grid's number. Those of a place are products over the axes: their offsets in a plane, their weights in the first 16
# elements of ``ws``, and the derivatives of these by x, y and z in the next three.


@inline
def bounded(x, size, padding, align, flat):
    """A position brought into an axis, and its derivative by the one that came."""
    slope, last = T(1), T(size - 1)
    if padding == 2:
        low = T(0) if align else T(-0.5)
        span = T(2 * (size - 1)) if align else T(2 * size)
        slope = T(-1) if x < low else T(1)
        x = abs(x - low)
        x = x - trunc(x / span) * span
        slope = -slope if x > span - x else slope
        x = (span - x if x > span - x else x) + low
    x = (T(0) if flat else last) if x != x else x
    slope = slope if x > T(0) and x < last else T(0)
    return T(0) if x <= T(0) else last if x >= last else x, slope


@inline
def near(x):
    """Keys' cubic with A = -0.75 for distances up to 1, and its two derivatives."""
    return (T(1.25) * x - T(2.25)) * x * x + T(1), (T(3.75) * x - T(4.5)) * x, T(7.5) * x - T(4.5)


@inline
def far(x):
    """Keys' cubic with A = -0.75 for distances from 1 to 2, and its two derivatives."""
    return (((T(-0.75) * x + T(3.75)) * x - T(6)) * x + T(3), (T(-2.25) * x + T(7.5)) * x - T(6), T(-4.5) * x + T(7.5))


@inline
def tap(t, k, position, size, w, slope, curve):
    """Write a tap that lies inside the axis to element k of t; the number of taps then."""
    if position >= T(0) and position < T(size):
        t[k] = position
        t[k + 4] = w
        t[k + 8] = slope
        t[k + 12] = curve
        return k + 1
    return k


@inline
def axis_taps(t, first, c, size, mode, padding, align, flat):
    """The taps of grid number c on an axis, from element ``first`` of t on; how many there are."""
    scale = T(0.5) * T(size - 1) if align else T(0.5) * T(size)
    x = (c + T(1)) * scale if align else (c + T(1)) * scale - T(0.5)
    if mode != 2 and padding != 0:
        x, slope = bounded(x, size, padding, align, flat)
        scale = scale * slope
    if mode == 1:
        return tap(t, first, rint(x), size, T(1), T(0), T(0)) - first
    left = floor(x)
    r = x - left
    if r != r:
        # As in PyTorch, which makes NaN of what is no place in an image, and nothing of what is none in a volume.
        return tap(t, first, T(0), size if flat else 0, r, r, r) - first
    if mode == 0:
        k = tap(t, first, left, size, T(1) - r, -scale, T(0))
        return tap(t, k, left + T(1), size, r, scale, T(0)) - first
    k = first
    for i in range(4):
        if i == 0:
            w, slope, curve = far(T(1) + r)
        elif i == 1:
            w, slope, curve = near(r)
        elif i == 2:
            w, slope, curve = near(T(1) - r)
        else:
            w, slope, curve = far(T(2) - r)
        if i > 1:
            slope = -slope
        place = left + T(i - 1)
        if padding != 0:
            place, _ = bounded(place, size, padding, align, flat)
        k = tap(t, k, place, size, w, slope * scale, curve * scale * scale)
    return k - first


@inline
def place_taps(t, at, ws, grid, p, d, h, w, mode, padding, align, flat, slopes):
    """The taps of place p of the grid: those of its axes into ``t``, their offsets in a plane into ``at``, their weights into
    ``ws``, with ``slopes`` the derivatives of these too; how many there are."""
    n = 2 if flat else 3
    tw = axis_taps(t, 0, load(grid[p * n]), w, mode, padding, align, flat)
    th = axis_taps(t, 16, load(grid[p * n + 1]), h, mode, padding, align, flat)
    if flat:
        td = tap(t, 32, T(0), 1, T(1), T(0), T(0)) - 32
    else:
        td = axis_taps(t, 32, load(grid[p * n + 2]), d, mode, padding, align, flat)
    m = 0
    for i in range(32, 32 + td):
        for j in range(16, 16 + th):
            row = (int(t[i]) * h + int(t[j])) * w
            for k in range(tw):
                at[m] = row + int(t[k])
                ws[m] = t[i + 4] * t[j + 4] * t[k + 4]
                if slopes:
                    ws[m + 16] = t[i + 4] * t[j + 4] * t[k + 8]
                    ws[m + 32] = t[i + 4] * t[j + 8] * t[k + 4]
                    ws[m + 48] = t[i + 8] * t[j + 4] * t[k + 4]
                m += 1
    return m


@inline
def turned_taps(t, es, td, th, tw, a, b, c):
    """How weights and their derivatives, of the taps t of the axes, change where the grid moves by (a, b, c): into 16 elements
    of ``es`` each."""
    m = 0
    for i in range(32, 32 + td):
        for j in range(16, 16 + th):
            for k in range(tw):
                x, dx, ex = t[k + 4], t[k + 8], t[k + 12]
                y, dy, ey = t[j + 4], t[j + 8], t[j + 12]
                z, dz, ez = t[i + 4], t[i + 8], t[i + 12]
                es[m] = a * dx * y * z + b * x * dy * z + c * x * y * dz
                es[m + 16] = a * ex * y * z + b * dx * dy * z + c * dx * y * dz
                es[m + 32] = a * dx * dy * z + b * x * ey * z + c * x * dy * dz
                es[m + 48] = a * dx * y * dz + b * x * dy * dz + c * x * y * ez
                m += 1


@kernel
def sample_places(x: "*T", grid: "*T", y: "*T", channels: int, d: int, h: int, w: int, points: int, mode: int, padding: int,
                  align: int, flat: int, start: int, stop: int):
    """x (n, channels, d, h, w) at the places of grid (n, points, 2 or 3), into y (n, channels, points); start and stop count
    places of all images."""
    t, ws, at = lanes(), lanes(), wide_strip()
    plane = d * h * w
    for item in range(start, stop):
        m = place_taps(t, at, ws, grid, item, d, h, w, mode, padding, align, flat, False)
        image = item // points
        q = image * channels * points + item - image * points
        for channel in range(image * channels, (image + 1) * channels):
            total = T(0)
            base = channel * plane
            for k in range(m):
                total += ws[k] * load(x[base + int(at[k])])
            y[q] = store(total)
            q += points


@kernel
def sample_gradients(g: "*T", x: "*T", grid: "*T", dx: "*T", dgrid: "*T", channels: int, d: int, h: int, w: int, points: int,
                     mode: int, padding: int, align: int, flat: int, images: int, places: int, start: int, stop: int):
    """Gradients of ``sample_places``: of g (n, channels, points) by x (n, channels, d, h, w) into dx, if ``images``, and by
    grid (n, points, 2 or 3) into dgrid, if ``places``."""
    t, ws, at = lanes(), lanes(), wide_strip()
    plane = d * h * w
    n = 2 if flat else 3
    for image in range(start, stop):
        if images:
            for i in range(image * channels * plane, (image + 1) * channels * plane):
                dx[i] = store(T(0))
        for p in range(image * points, (image + 1) * points):
            m = place_taps(t, at, ws, grid, p, d, h, w, mode, padding, align, flat, True)
            q = image * channels * points + p - image * points
            by_x, by_y, by_z = T(0), T(0), T(0)
            for channel in range(image * channels, (image + 1) * channels):
                v = load(g[q])
                q += points
                base = channel * plane
                if images:
                    for k in range(m):
                        s = base + int(at[k])
                        dx[s] = store(load(dx[s]) + ws[k] * v)
                if places:
                    for k in range(m):
                        u = v * load(x[base + int(at[k])])
                        by_x += ws[k + 16] * u
                        by_y += ws[k + 32] * u
                        by_z += ws[k + 48] * u
            if places:
                dgrid[p * n] = store(by_x)
                dgrid[p * n + 1] = store(by_y)
                if not flat:
                    dgrid[p * n + 2] = store(by_z)


@kernel
def sample_second(g: "*T", x: "*T", grid: "*T", u: "*T", v: "*T", dg: "*T", dx: "*T", dgrid: "*T", channels: int, d: int,
                  h: int, w: int, points: int, mode: int, padding: int, align: int, flat: int, start: int, stop: int):
    """Gradients of ``sample_gradients``, of u (like x) and v (like grid): by g (n, channels, points) into dg, by x
    (n, channels, d, h, w) into dx, by grid (n, points, 2 or 3) into dgrid."""
    t, ws, es, at = lanes(), lanes(), lanes(), wide_strip()
    plane = d * h * w
    n = 2 if flat else 3
    for image in range(start, stop):
        for i in range(image * channels * plane, (image + 1) * channels * plane):
            dx[i] = store(T(0))
        for p in range(image * points, (image + 1) * points):
            tw = axis_taps(t, 0, load(grid[p * n]), w, mode, padding, align, flat)
            th = axis_taps(t, 16, load(grid[p * n + 1]), h, mode, padding, align, flat)
            td = 1
            third = T(0)
            if not flat:
                td = axis_taps(t, 32, load(grid[p * n + 2]), d, mode, padding, align, flat)
                third = load(v[p * n + 2])
            m = place_taps(t, at, ws, grid, p, d, h, w, mode, padding, align, flat, True)
            turned_taps(t, es, td, th, tw, load(v[p * n]), load(v[p * n + 1]), third)
            q = image * channels * points + p - image * points
            by_x, by_y, by_z = T(0), T(0), T(0)
            for channel in range(image * channels, (image + 1) * channels):
                came = load(g[q])
                total = T(0)
                base = channel * plane
                for k in range(m):
                    s = base + int(at[k])
                    a, b = load(x[s]), load(u[s])
                    total += ws[k] * b + es[k] * a
                    dx[s] = store(load(dx[s]) + es[k] * came)
                    by_x += came * (ws[k + 16] * b + es[k + 16] * a)
                    by_y += came * (ws[k + 32] * b + es[k + 32] * a)
                    by_z += came * (ws[k + 48] * b + es[k + 48] * a)
                dg[q] = store(total)
                q += points
            dgrid[p * n] = store(by_x)
            dgrid[p * n + 1] = store(by_y)
            if not flat:
                dgrid[p * n + 2] = store(by_z)
