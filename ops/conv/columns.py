"""The steps that convolution's products are made of: copies between data and columns, and a product by BLAS.

They are compiled with the kernels of ``kernels.py`` that call them, which see the names of this module's functions.
"""

from __future__ import annotations

# Placeholders that each specialisation replaces: BLAS's product, bytes per element.
one = NO = None
SIZE = 0


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


def transpose(x, out, channels, rows, width, step):
    """Lines of ``spread`` as columns: out (line, channel), zeros between the rows."""
    plane = rows * width
    whole = channels - channels % 4
    for r in range(rows):
        q = r * step * channels
        p = r * width
        for c in range(0, whole, 4):
            for j in range(width):
                out[q + j * channels + c] = x[c * plane + p + j]
                out[q + j * channels + c + 1] = x[c * plane + plane + p + j]
                out[q + j * channels + c + 2] = x[c * plane + 2 * plane + p + j]
                out[q + j * channels + c + 3] = x[c * plane + 3 * plane + p + j]
        for c in range(whole, channels):
            for j in range(width):
                out[q + j * channels + c] = x[c * plane + p + j]
        if r + 1 < rows:
            for j in range(width * channels, step * channels):
                out[q + j] = 0


def pack(w, out, outputs, channels, taps, across):
    """Weights (o, c, tap) as (tap, o, c), or (tap, c, o) where ``across``."""
    for o in range(outputs):
        for c in range(channels):
            for q in range(taps):
                at = c * outputs + o if across else o * channels + c
                out[q * outputs * channels + at] = w[(o * channels + c) * taps + q]


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


def product(a, b, c, m, n, k, lda, ldb, ldc, ta, beta, small):
    """C = op(A) B + beta C, cut into blocks of at most ``small`` multiply-adds.

    OpenBLAS has kernels for small products that skip the copying of the operands and then run at full speed."""
    if m * n * k <= small:
        one(a, b, c, m, n, k, lda, ldb, ldc, ta, NO, 1.0, beta)
    else:
        kb, mb = even(k, 160), even(m, 64)
        nb = min(n, max(16, small // (mb * kb) // 16 * 16))
        for j in range(0, n, nb):
            for i in range(0, m, mb):
                for p in range(0, k, kb):
                    one(a + SIZE * (i * (lda if ta == 0 else 1) + p * (1 if ta == 0 else lda)), b + SIZE * (p * ldb + j),
                        c + SIZE * (i * ldc + j), min(mb, m - i), min(nb, n - j), min(kb, k - p), lda, ldb, ldc, ta, NO, 1.0,
                        beta if p == 0 else 1.0)


def even(n, most):
    """Size of the parts when n is cut evenly into parts of at most ``most``."""
    parts = (n + most - 1) // most
    return (n + parts - 1) // parts


# In the order in which they may call each other.
PIECES = (fill, embed, extract, spread, compress, transpose, pack, shift, unshift, gather, scatter, even, product)
