"""Gradients of bilinear grid sampling in vectors, of images whose channels lie side by side (``channels_last``)."""

from __future__ import annotations

from numbagrad.extend import T, store
from numbagrad.kernel.jit import kernel, strip, wide_strip
from numbagrad.kernel.lanes import Number, Piece

from .grid_blocks import block_axis
from .pixels import eight, four_pixels, some_turned, turned


def _spread(images, places):
    def make(pen, g, rows, x, dx, base, above, below, wx, wy, both, at, sums):
        """Eight places from ``at`` on, whose gradients are rows of eight channels in g from ``rows`` on. With ``images`` they
        are added to four pixels of dx each, ``base`` before them, times the weights in ``both``; with ``places`` what the
        gradients are along an axis, but for how far it goes, is added to ``sums``, 128 apart."""
        b, found = eight(pen).builder, ([], [])
        for i in range(8):
            here, there = pen.plus(at, pen.n(i)), pen.plus(at, pen.n(i + 128))
            upstream, pixels = pen.row(g, pen.plus(rows, pen.n(8 * i))), []
            for numbers in (above, below):
                for place in (here, there):
                    pixel = b.fptosi(b.load(b.gep(numbers, [place])), pen.word)
                    pixels.append(pen.times(pen.plus(base, pixel), 8))
            for k, pixel in enumerate(pixels if images else ()):
                weight = pen.number(both, pen.plus(at, pen.n(i + 128 * k)))
                pen.put(dx, pixel, pen.row(dx, pixel) + weight * upstream)
            if places:
                left, right, left_below, right_below = [pen.row(x, pixel) for pixel in pixels]
                along = (right - left) * pen.number(wy, here) + (right_below - left_below) * pen.number(wy, there)
                down = (left_below - left) * pen.number(wx, here) + (right_below - right) * pen.number(wx, there)
                found[0].append((along * upstream).value)
                found[1].append((down * upstream).value)
        for k in (0, 1) if places else ():
            to = pen.plus(at, pen.n(128 * k))
            total = pen.row(sums, to)
            for line in pen.transposed(b, found[k]):
                total = total + Number(pen, line)
            pen.put(sums, to, total)
    return Piece(make, "rirbirrrrrib")


spread_both, spread_images, spread_places = _spread(True, True), _spread(True, False), _spread(False, True)


@kernel
def bilinear_pixel_gradients(g: "*T", x: "*T", grid: "*T", dx: "*T", dgrid: "*T", channels: int, h: int, w: int, points: int,
                             padding: int, align: int, images: int, places: int, start: int, stop: int):
    """Gradients of ``bilinear_pixels`` of g (n, channels, points) by images x of h by w pixels into dx, laid out alike, if
    ``images``, and by grid (n, points, 2) into dgrid, if ``places``; items are images."""
    xs, ys = wide_strip(), wide_strip()
    wx, wy, sx, sy, both, sums, rows = strip(), strip(), strip(), strip(), strip(), strip(), strip()
    plane, groups = h * w, (channels + 7) // 8
    nothing = float(plane)
    for image in range(start, stop):
        if images:
            for i in range(image * groups * (plane + 1) * 8, (image + 1) * groups * (plane + 1) * 8):
                dx[i] = store(T(0))
        for first in range(0, points, 128):
            count = min(128, points - first)
            block_axis(xs, wx, sx, grid, image * points + first, count, 0, w, 1, 0, padding, align)
            block_axis(ys, wy, sy, grid, image * points + first, count, 1, h, w, 0, padding, align)
            four_pixels(xs, ys, wx, wy, both, count, nothing)
            for p in range(256):
                sums[p] = T(0)
            for group in range(groups):
                base, many = (image * groups + group) * (plane + 1), min(8, channels - 8 * group)
                q = (image * channels + 8 * group) * points + first
                for p in range(0, count, 8):
                    if many == 8 and p + 8 <= count:
                        turned(g, q + p, points, rows, 0, 8, 8)
                    else:
                        some_turned(g, q + p, points, rows, 0, many, count - p)
                    if images and places:
                        spread_both(rows, 0, x, dx, base, xs, ys, wx, wy, both, p, sums)
                    elif images:
                        spread_images(rows, 0, x, dx, base, xs, ys, wx, wy, both, p, sums)
                    else:
                        spread_places(rows, 0, x, dx, base, xs, ys, wx, wy, both, p, sums)
            if places:
                for p in range(count):
                    at = 2 * (image * points + first + p)
                    dgrid[at], dgrid[at + 1] = store(sx[p + 128] * sums[p]), store(sy[p + 128] * sums[p + 128])


def _apart(pen, x, at, out, to, plane):
    """Eight pixels of eight channels each, side by side in x, into eight channels of out, ``plane`` apart."""
    b = eight(pen).builder
    lines = [pen.row(x, pen.plus(at, pen.n(8 * i))).value for i in range(8)]
    for c, line in enumerate(pen.transposed(b, lines)):
        pen.put(out, pen.plus(to, pen.times(plane, c)), Number(pen, line))


apart = Piece(_apart, "riwii")


@kernel
def channels_apart(x: "*T", out: "*T", channels: int, plane: int, start: int, stop: int):
    """x as ``channels_last`` lays images out, (n, groups, plane + 1, 8), as out (n, channels, plane); items are groups."""
    groups = (channels + 7) // 8
    for group in range(start, stop):
        image = group // groups
        channel = (group - image * groups) * 8
        many = min(8, channels - channel)
        q, p = group * (plane + 1) * 8, (image * channels + channel) * plane
        whole = plane - plane % 8 if many == 8 else 0
        for i in range(0, whole, 8):
            apart(x, q + 8 * i, out, p + i, plane)
        for c in range(many):
            for i in range(whole, plane):
                out[p + c * plane + i] = x[q + 8 * i + c]
