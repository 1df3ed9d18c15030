"""Loops of the recurrent layers: all time steps of one direction of one layer, over a range of batch rows.

Rows of the sequences lie one time step after the other: step t owns rows ``offsets[t]`` to ``offsets[t + 1]``, and the
batch only shrinks with t (a batch of equal lengths is the special case of equal steps). Batch rows do not meet, so a
kernel takes a range of them and can be cut over threads. An address of 0 stands for zeros.

Each step is one product with the weight and one pass over the gates; loops are split so that each has few pointers,
because LLVM gives up on vectorising a loop whose pointers need many checks for overlap. What a step owns and its product
are written out in each kernel: as functions that the kernels share they ran 2 to 4 % slower and compiled 0.3 s longer.

What depends on addresses is found in the kernels, so that the same launches serve other memory: what a step leaves for
the gradient begins at a cache line, a turned weight at another place of a page than the sums.
"""

from __future__ import annotations

from numbagrad.extend import T, inline, sigmoid, tanh
from numbagrad.kernel.blas_kernels import NO, YES
from numbagrad.kernel.jit import STRIP, kernel, strip
from numbagrad.kernel.lapack import past

from ..product.inner_products import clear, gemm, rows_product

# Where the state before a step lies. Walking forwards every row of step t had a step t - 1; walking backwards only the
# rows that are as long as step t + 1 did, the others begin here.

@inline
def to_line(at, size):
    """Elements from the address ``at`` to the first cache line behind it, one at least."""
    return 64 // size - at % 64 // size


@inline
def apart(w_at, sums_at, size):
    """Elements from ``w_at`` to where a turned weight begins: the cache line 1 KiB after the sums, modulo a page.

    A processor tells loads from earlier stores by the address within a page: where weight and sums have the same, a
    product takes half as long again."""
    return ((sums_at + 1087) // 64 * 64 - w_at) % 4096 // size


@kernel
def turn(weight: "*T", w: "*T", w_at: "*", sums_at: "*", rows: int, columns: int, size: int, start: int, stop: int):
    """The transpose of weight (rows, columns), columns ``start`` to ``stop``, into w, at the place for it apart from
    sums."""
    first = apart(w_at, sums_at, size)
    for top in range(0, rows, 16):
        for i in range(start, stop):
            for j in range(top, min(top + 16, rows)):
                w[first + i * rows + j] = weight[j * columns + i]


@kernel
def lstm_forward(gates: "*T", h0: "*T", c0: "*T", w: "*T", y: "*T", hn: "*T", cn: "*T", saved: "*T", offsets: "*i8",
                 h0_at: "*", c0_at: "*", w_at: "*", y_at: "*", saved_at: "*", few: int, rows: int, steps: int, n: int,
                 size: int, reverse: int, start: int, stop: int):
    """All steps of an LSTM: of gates (rows, 4 n), the inputs' part, h0 and c0 (batch, n), w (4 n, n) (turned with
    ``few``) and int64 offsets (steps + 1,), into y (rows, n), hn and cn (batch, n), and saved: how far on the rest is, acts
    (rows, 4 n) and cells (rows, n)."""
    wide, skip = 4 * n, to_line(saved_at, size)
    saved[0] = T(skip)
    acts, acts_at, cells = past(saved, skip), saved_at + skip * size, past(saved, skip + rows * wide)
    if few:
        w = past(w, apart(w_at, saved_at, size))
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        top = offsets[t]
        last = min(stop, offsets[t + 1] - top)
        if last <= start:
            continue
        before, carried = 0, start
        if s > 0:
            before = offsets[t + 1] if reverse else offsets[t - 1]
            carried = max(start, min(last, offsets[t + 2] - before)) if reverse else last
        if few:
            clear(acts, (top + start) * wide, last - start, wide, wide)
            if carried > start:
                rows_product(y, (before + start) * n, w, acts, (top + start) * wide, carried - start, wide, n, wide)
            if last > carried and h0_at != 0:
                rows_product(h0, carried * n, w, acts, (top + carried) * wide, last - carried, wide, n, wide)
        else:
            if carried > start:
                gemm(y_at + (before + start) * n * size, w_at, acts_at + (top + start) * wide * size, carried - start,
                     wide, n, n, n, wide, NO, YES, 1.0, 0.0)
            if last > carried and h0_at != 0:
                gemm(h0_at + carried * n * size, w_at, acts_at + (top + carried) * wide * size, last - carried, wide,
                     n, n, n, wide, NO, YES, 1.0, 0.0)
        for b in range(start, last):
            row = (top + b) * n
            a = (top + b) * wide
            old = (before + b) * n
            if b >= carried:
                old = row
                if h0_at == 0:
                    for k in range(a, a + wide):
                        acts[k] = T(0)
                if c0_at == 0:
                    for k in range(row, row + n):
                        cells[k] = T(0)
                else:
                    for k in range(n):
                        cells[row + k] = c0[b * n + k]
            for k in range(a, a + 2 * n):
                acts[k] = sigmoid(acts[k] + gates[k])
            for k in range(a + 2 * n, a + 3 * n):
                acts[k] = tanh(acts[k] + gates[k])
            for k in range(a + 3 * n, a + wide):
                acts[k] = sigmoid(acts[k] + gates[k])
            for k in range(n):
                cells[row + k] = acts[a + n + k] * cells[old + k] + acts[a + k] * acts[a + 2 * n + k]
            for k in range(n):
                y[row + k] = acts[a + 3 * n + k] * tanh(cells[row + k])
        ends = 0
        if reverse:
            ends = last if t > 0 else 0
        elif t + 1 < steps:
            ends = offsets[t + 2] - offsets[t + 1]
        for b in range(max(start, ends), last):
            row = (top + b) * n
            for k in range(n):
                hn[b * n + k] = y[row + k]
            for k in range(n):
                cn[b * n + k] = cells[row + k]


@kernel
def lstm_gradient(gy: "*T", w: "*T", ghn: "*T", gcn: "*T", c0: "*T", saved: "*T", dgates: "*T", dh0: "*T", dc0: "*T",
                  offsets: "*i8", c0_at: "*", w_at: "*", dgates_at: "*", dh0_at: "*", few: int, rows: int, steps: int, n: int,
                  size: int, reverse: int, start: int, stop: int):
    """Gradients of ``lstm_forward``: of gy (rows, n), ghn and gcn (batch, n), w (4 n, n), c0 (batch, n), saved and int64
    offsets (steps + 1,), into dgates (rows, 4 n), dh0 and dc0 (batch, n)."""
    wide, skip = 4 * n, int(saved[0])
    acts, cells = past(saved, skip), past(saved, skip + rows * wide)
    of_c, of_o = strip(), strip()
    # The gradients of the initial states hold those of the running states on the way.
    for k in range(start * n, stop * n):
        dh0[k] = ghn[k]
    for k in range(start * n, stop * n):
        dc0[k] = gcn[k]
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        top = offsets[t]
        last = min(stop, offsets[t + 1] - top)
        if last <= start:
            continue
        before, carried = 0, start
        if s < steps - 1:
            before = offsets[t + 1] if reverse else offsets[t - 1]
            carried = max(start, min(last, offsets[t + 2] - before)) if reverse else last
        for b in range(start, last):
            old, previous, keep = (before + b) * n, cells, T(1)
            if b >= carried:
                old, previous = b * n, c0
                if c0_at == 0:
                    old, previous, keep = (top + b) * n, cells, T(0)
            for left in range(0, n, STRIP):
                width = min(STRIP, n - left)
                row = (top + b) * n + left
                run = b * n + left
                i = (top + b) * wide + left
                f, g, o = i + n, i + 2 * n, i + 3 * n
                for k in range(width):
                    c = tanh(cells[row + k])
                    h = dh0[run + k] + gy[row + k]
                    out = acts[o + k]
                    of_c[k] = dc0[run + k] + h * out * (T(1) - c * c)
                    of_o[k] = h * c * out * (T(1) - out)
                for k in range(width):
                    dgates[o + k] = of_o[k]
                for k in range(width):
                    v = acts[i + k]
                    dgates[i + k] = of_c[k] * acts[g + k] * v * (T(1) - v)
                for k in range(width):
                    v = acts[f + k]
                    dgates[f + k] = of_c[k] * (previous[old + left + k] * keep) * v * (T(1) - v)
                for k in range(width):
                    v = acts[g + k]
                    dgates[g + k] = of_c[k] * acts[i + k] * (T(1) - v * v)
                for k in range(width):
                    dc0[run + k] = of_c[k] * acts[f + k]
        if few:
            clear(dh0, start * n, last - start, n, n)
            rows_product(dgates, (top + start) * wide, w, dh0, start * n, last - start, n, wide, n)
        else:
            gemm(dgates_at + (top + start) * wide * size, w_at, dh0_at + start * n * size, last - start, n, wide, wide, n, n,
                 NO, NO,
                 1.0, 0.0)


# ``acts`` of a GRU holds r, z, n and the product with the weight that r scales.

@kernel
def gru_forward(gates: "*T", h0: "*T", w: "*T", bias: "*T", y: "*T", hn: "*T", saved: "*T", offsets: "*i8", h0_at: "*",
                w_at: "*", bias_at: "*", y_at: "*", saved_at: "*", few: int, steps: int, n: int, size: int, reverse: int,
                start: int, stop: int):
    """All steps of a GRU: of gates (rows, 3 n), the inputs' part, h0 (batch, n), w (3 n, n) (turned with ``few``), bias
    (3 n,) and int64 offsets (steps + 1,), into y (rows, n), hn (batch, n), and saved: how far on acts (rows, 4 n) are."""
    wide, skip = 4 * n, to_line(saved_at, size)
    saved[0] = T(skip)
    acts, acts_at = past(saved, skip), saved_at + skip * size
    if few:
        w = past(w, apart(w_at, saved_at, size))
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        top = offsets[t]
        last = min(stop, offsets[t + 1] - top)
        if last <= start:
            continue
        before, carried = 0, start
        if s > 0:
            before = offsets[t + 1] if reverse else offsets[t - 1]
            carried = max(start, min(last, offsets[t + 2] - before)) if reverse else last
        if few:
            clear(acts, (top + start) * wide, last - start, 3 * n, wide)
            if carried > start:
                rows_product(y, (before + start) * n, w, acts, (top + start) * wide, carried - start, 3 * n, n, wide)
            if last > carried and h0_at != 0:
                rows_product(h0, carried * n, w, acts, (top + carried) * wide, last - carried, 3 * n, n, wide)
        else:
            if carried > start:
                gemm(y_at + (before + start) * n * size, w_at, acts_at + (top + start) * wide * size, carried - start,
                     3 * n, n, n, n, wide, NO, YES, 1.0, 0.0)
            if last > carried and h0_at != 0:
                gemm(h0_at + carried * n * size, w_at, acts_at + (top + carried) * wide * size, last - carried, 3 * n,
                     n, n, n, wide, NO, YES, 1.0, 0.0)
        for b in range(start, last):
            row = (top + b) * n
            a = (top + b) * wide
            x = (top + b) * 3 * n
            old = (before + b) * n
            if b >= carried:
                old = row
                if h0_at == 0:
                    for k in range(a, a + 3 * n):
                        acts[k] = T(0)
                    for k in range(row, row + n):
                        y[k] = T(0)
                else:
                    for k in range(n):
                        y[row + k] = h0[b * n + k]
            if bias_at != 0:
                for k in range(3 * n):
                    acts[a + k] += bias[k]
            for k in range(2 * n):
                acts[a + k] = sigmoid(acts[a + k] + gates[x + k])
            for k in range(n):
                acts[a + 3 * n + k] = acts[a + 2 * n + k]
            for k in range(n):
                acts[a + 2 * n + k] = tanh(gates[x + 2 * n + k] + acts[a + k] * acts[a + 3 * n + k])
            for k in range(n):
                v = acts[a + 2 * n + k]
                y[row + k] = v + acts[a + n + k] * (y[old + k] - v)
        ends = 0
        if reverse:
            ends = last if t > 0 else 0
        elif t + 1 < steps:
            ends = offsets[t + 2] - offsets[t + 1]
        for b in range(max(start, ends), last):
            for k in range(n):
                hn[b * n + k] = y[(top + b) * n + k]


@kernel
def gru_gradient(gy: "*T", w: "*T", ghn: "*T", h0: "*T", y: "*T", saved: "*T", dgates: "*T", dhidden: "*T", dh0: "*T",
                 offsets: "*i8", h0_at: "*", w_at: "*", dhidden_at: "*", dh0_at: "*", few: int, steps: int, n: int, size: int,
                 reverse: int, start: int, stop: int):
    """Gradients of ``gru_forward``: of gy (rows, n), ghn (batch, n), w (3 n, n), h0 (batch, n), y (rows, n), saved and int64
    offsets (steps + 1,), into dgates and dhidden (rows, 3 n) and dh0 (batch, n)."""
    wide, acts = 4 * n, past(saved, int(saved[0]))
    of_h, of_n = strip(), strip()
    for k in range(start * n, stop * n):
        dh0[k] = ghn[k]
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        top = offsets[t]
        last = min(stop, offsets[t + 1] - top)
        if last <= start:
            continue
        before, carried = 0, start
        if s < steps - 1:
            before = offsets[t + 1] if reverse else offsets[t - 1]
            carried = max(start, min(last, offsets[t + 2] - before)) if reverse else last
        for b in range(start, last):
            old, previous, keep = (before + b) * n, y, T(1)
            if b >= carried:
                old, previous = b * n, h0
                if h0_at == 0:
                    old, previous, keep = (top + b) * n, y, T(0)
            for left in range(0, n, STRIP):
                width = min(STRIP, n - left)
                row = (top + b) * n + left
                run = b * n + left
                r = (top + b) * wide + left
                z, m, p = r + n, r + 2 * n, r + 3 * n
                x = (top + b) * 3 * n + left
                for k in range(width):
                    v = acts[m + k]
                    of_h[k] = dh0[run + k] + gy[row + k]
                    of_n[k] = of_h[k] * (T(1) - acts[z + k]) * (T(1) - v * v)
                for k in range(width):
                    v = acts[z + k]
                    dgates[x + n + k] = of_h[k] * (previous[old + left + k] * keep - acts[m + k]) * v * (T(1) - v)
                for k in range(width):
                    v = acts[r + k]
                    dgates[x + k] = of_n[k] * acts[p + k] * v * (T(1) - v)
                for k in range(width):
                    dgates[x + 2 * n + k] = of_n[k]
                for k in range(width):
                    dhidden[x + k] = dgates[x + k]
                for k in range(width):
                    dhidden[x + n + k] = dgates[x + n + k]
                for k in range(width):
                    dhidden[x + 2 * n + k] = of_n[k] * acts[r + k]
                for k in range(width):
                    dh0[run + k] = of_h[k] * acts[z + k]
        if few:
            rows_product(dhidden, (top + start) * 3 * n, w, dh0, start * n, last - start, n, 3 * n, n)
        else:
            gemm(dhidden_at + (top + start) * 3 * n * size, w_at, dh0_at + start * n * size, last - start, n, 3 * n, 3 * n, n,
                 n, NO, NO,
                 1.0, 1.0)


@kernel
def rnn_forward(gates: "*T", h0: "*T", w: "*T", y: "*T", hn: "*T", offsets: "*i8", h0_at: "*", w_at: "*", y_at: "*", few: int,
                steps: int, n: int, size: int, rectified: int, reverse: int, start: int, stop: int):
    """All steps of a plain network: of gates (rows, n), the inputs' part, h0 (batch, n), w (n, n) (turned with ``few``)
    and int64 offsets (steps + 1,), into y (rows, n) and hn (batch, n)."""
    if few:
        w = past(w, apart(w_at, y_at, size))
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        top = offsets[t]
        last = min(stop, offsets[t + 1] - top)
        if last <= start:
            continue
        before, carried = 0, start
        if s > 0:
            before = offsets[t + 1] if reverse else offsets[t - 1]
            carried = max(start, min(last, offsets[t + 2] - before)) if reverse else last
        if few:
            clear(y, (top + start) * n, last - start, n, n)
            if carried > start:
                rows_product(y, (before + start) * n, w, y, (top + start) * n, carried - start, n, n, n)
            if last > carried and h0_at != 0:
                rows_product(h0, carried * n, w, y, (top + carried) * n, last - carried, n, n, n)
        else:
            if carried > start:
                gemm(y_at + (before + start) * n * size, w_at, y_at + (top + start) * n * size, carried - start,
                     n, n, n, n, n, NO, YES, 1.0, 0.0)
            if last > carried and h0_at != 0:
                gemm(h0_at + carried * n * size, w_at, y_at + (top + carried) * n * size, last - carried, n,
                     n, n, n, n, NO, YES, 1.0, 0.0)
            elif last > carried:
                clear(y, (top + carried) * n, last - carried, n, n)
        if rectified:
            for k in range((top + start) * n, (top + last) * n):
                v = y[k] + gates[k]
                y[k] = T(0) if v < T(0) else v
        else:
            for k in range((top + start) * n, (top + last) * n):
                y[k] = tanh(y[k] + gates[k])
        ends = 0
        if reverse:
            ends = last if t > 0 else 0
        elif t + 1 < steps:
            ends = offsets[t + 2] - offsets[t + 1]
        for b in range(max(start, ends), last):
            for k in range(n):
                hn[b * n + k] = y[(top + b) * n + k]


@kernel
def rnn_gradient(gy: "*T", w: "*T", ghn: "*T", y: "*T", dgates: "*T", dh0: "*T", offsets: "*i8", w_at: "*", dgates_at: "*",
                 dh0_at: "*", few: int, steps: int, n: int, size: int, rectified: int, reverse: int, start: int, stop: int):
    """Gradients of ``rnn_forward``: of gy (rows, n), ghn (batch, n), w (n, n), y (rows, n) and int64 offsets (steps + 1,),
    into dgates (rows, n) and dh0 (batch, n)."""
    for k in range(start * n, stop * n):
        dh0[k] = ghn[k]
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        top = offsets[t]
        last = min(stop, offsets[t + 1] - top)
        if last <= start:
            continue
        row = (top + start) * n
        run = start * n
        if rectified:
            for k in range((last - start) * n):
                dgates[row + k] = T(0) if y[row + k] <= T(0) else dh0[run + k] + gy[row + k]
        else:
            for k in range((last - start) * n):
                v = y[row + k]
                dgates[row + k] = (dh0[run + k] + gy[row + k]) * (T(1) - v * v)
        if few:
            clear(dh0, start * n, last - start, n, n)
            rows_product(dgates, row, w, dh0, start * n, last - start, n, n, n)
        else:
            gemm(dgates_at + row * size, w_at, dh0_at + start * n * size, last - start, n, n, n, n, n, NO, NO,
                 1.0, 0.0)
