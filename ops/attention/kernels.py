"""Attention, a block of query rows at a time, so that the weights of one block are all that is ever held.

``meta`` describes the call: BATCH, heads of the queries and of the keys, rows L of the queries and S of the keys, sizes E
and EV of a row, and then (batch, head, row) strides of each operand and (batch, head, row, column) strides of the mask.
Several query heads may share one head of the keys. A kernel is cut into pieces, each with scratch memory of its own.
"""

from __future__ import annotations

from numbagrad.extend import T, accumulate, exp, inline, log
from numbagrad.kernel.blas_kernels import NO, YES
from numbagrad.kernel.jit import kernel

from ..product.inner_products import gemm
from ..reduce.row_folds import largest_of

BLOCK = 64  # query rows that are worked on together


@inline
def add_mask(scores, at, mask, first, step, n):
    """n elements of mask from ``first``, ``step`` apart, are added to those of scores from ``at``."""
    if step == 1:
        for j in range(n):
            scores[at + j] += mask[first + j]
    else:
        for j in range(n):
            scores[at + j] += mask[first + j * step]


@kernel
def attention_forward(mask: "*T", out: "*T", lse: "*T", scratch: "*T", meta: "*i8", q_at: "*", k_at: "*", v_at: "*",
                      out_at: "*", scratch_at: "*", scale: float, size: int, masked: int, causal: int, pieces: int,
                      start: int, stop: int):
    """softmax(scale q k^T + mask) v into out, and the logarithms of the sums into lse (B, H, L), by int64 meta; mask (0 for
    none), q, k, v and out lie as meta says, scratch (pieces, BLOCK, S) takes the weights."""
    heads, shared, rows_q, rows_k, e, ev = meta[1], meta[1] // meta[2], meta[3], meta[4], meta[5], meta[6]
    qb, qh, qr = meta[7], meta[8], meta[9]
    kb, kh, kr = meta[10], meta[11], meta[12]
    vb, vh, vr = meta[13], meta[14], meta[15]
    ob, oh, ors = meta[16], meta[17], meta[18]
    mb, mh, mr, mc = meta[19], meta[20], meta[21], meta[22]
    blocks = (rows_q + BLOCK - 1) // BLOCK
    tasks = meta[0] * heads * blocks
    for piece in range(start, stop):
        own = piece * BLOCK * rows_k
        for task in range(tasks * piece // pieces, tasks * (piece + 1) // pieces):
            b = task // (heads * blocks)
            h = task // blocks - b * heads
            top_row = (task - (b * heads + h) * blocks) * BLOCK
            rows = min(BLOCK, rows_q - top_row)
            cols = min(rows_k, top_row + rows) if causal else rows_k
            k_head = h // shared
            o = b * ob + h * oh + top_row * ors
            gemm(q_at + (b * qb + h * qh + top_row * qr) * size, k_at + (b * kb + k_head * kh) * size,
                 scratch_at + own * size, rows, cols, e, qr, kr, cols, NO, YES, scale, 0.0)
            for r in range(rows):
                at = own + r * cols
                seen = min(cols, top_row + r + 1) if causal else cols
                if masked:
                    add_mask(scratch, at, mask, b * mb + h * mh + (top_row + r) * mr, mc, seen)
                top = largest_of(scratch, at, at + seen)
                if top == T(-float("inf")):
                    for i in range(at, at + cols):
                        scratch[i] = T(0)
                    lse[(b * heads + h) * rows_q + top_row + r] = T(0)
                    continue
                total = T(0)
                for i in range(at, at + seen):
                    p = exp(scratch[i] - top)
                    scratch[i] = p
                    total = accumulate(total, p)
                share = T(1) / total
                for i in range(at, at + seen):
                    scratch[i] *= share
                for i in range(at + seen, at + cols):
                    scratch[i] = T(0)
                lse[(b * heads + h) * rows_q + top_row + r] = top + log(total)
            gemm(scratch_at + own * size, v_at + (b * vb + k_head * vh) * size, out_at + o * size, rows, ev, cols, cols, vr,
                 ors, NO, NO, 1.0, 0.0)


@kernel
def attention_backward(mask: "*T", g: "*T", out: "*T", lse: "*T", dk: "*T", dv: "*T", scratch: "*T", meta: "*i8", q_at: "*",
                       k_at: "*", v_at: "*", g_at: "*", dq_at: "*", dk_at: "*", dv_at: "*", scratch_at: "*", scale: float,
                       size: int, masked: int, causal: int, pieces: int, start: int, stop: int):
    """Gradients of ``attention_forward`` of q, k and v from g, its out and lse (B, H, L), by int64 meta: dq, dk and dv, lying
    as meta says like q, k, v, mask (0 for none), g and out; scratch (pieces, 2, BLOCK, S) takes weights and slopes."""
    heads, few, shared, rows_q, rows_k = meta[1], meta[2], meta[1] // meta[2], meta[3], meta[4]
    e, ev = meta[5], meta[6]
    qb, qh, qr = meta[7], meta[8], meta[9]
    kb, kh, kr = meta[10], meta[11], meta[12]
    vb, vh, vr = meta[13], meta[14], meta[15]
    ob, oh, ors = meta[16], meta[17], meta[18]
    mb, mh, mr, mc = meta[19], meta[20], meta[21], meta[22]
    gb, gh, gr = meta[23], meta[24], meta[25]
    dqb, dqh, dqr = meta[26], meta[27], meta[28]
    dkb, dkh, dkr = meta[29], meta[30], meta[31]
    dvb, dvh, dvr = meta[32], meta[33], meta[34]
    tasks = meta[0] * few
    for piece in range(start, stop):
        own = piece * 2 * BLOCK * rows_k
        for task in range(tasks * piece // pieces, tasks * (piece + 1) // pieces):
            b = task // few
            k_head = task - b * few
            key = k_at + (b * kb + k_head * kh) * size
            value = v_at + (b * vb + k_head * vh) * size
            into_k, into_v = b * dkb + k_head * dkh, b * dvb + k_head * dvh
            for j in range(rows_k):
                for i in range(into_k + j * dkr, into_k + j * dkr + e):
                    dk[i] = T(0)
                for i in range(into_v + j * dvr, into_v + j * dvr + ev):
                    dv[i] = T(0)
            for h in range(k_head * shared, (k_head + 1) * shared):
                for top_row in range(0, rows_q, BLOCK):
                    rows = min(BLOCK, rows_q - top_row)
                    cols = min(rows_k, top_row + rows) if causal else rows_k
                    other = own + rows * cols
                    query = q_at + (b * qb + h * qh + top_row * qr) * size
                    upper = b * gb + h * gh + top_row * gr
                    gemm(query, key, scratch_at + own * size, rows, cols, e, qr, kr, cols, NO, YES, scale, 0.0)
                    gemm(g_at + upper * size, value, scratch_at + other * size, rows, cols, ev, gr, vr, cols, NO, YES, 1.0, 0.0)
                    for r in range(rows):
                        at, ds = own + r * cols, other + r * cols
                        seen = min(cols, top_row + r + 1) if causal else cols
                        if masked:
                            add_mask(scratch, at, mask, b * mb + h * mh + (top_row + r) * mr, mc, seen)
                        level = lse[(b * heads + h) * rows_q + top_row + r]
                        o, u = b * ob + h * oh + (top_row + r) * ors, upper + r * gr
                        mean = T(0)
                        for i in range(ev):
                            mean = accumulate(mean, out[o + i] * g[u + i])
                        for i in range(seen):
                            p = exp(scratch[at + i] - level)
                            scratch[at + i] = p
                            scratch[ds + i] = p * (scratch[ds + i] - mean)
                        for i in range(seen, cols):
                            scratch[at + i] = T(0)
                            scratch[ds + i] = T(0)
                    weights, slopes = scratch_at + own * size, scratch_at + other * size
                    gemm(weights, g_at + upper * size, dv_at + into_v * size, cols, ev, rows, cols, gr, dvr, YES, NO, 1.0, 1.0)
                    gemm(slopes, key, dq_at + (b * dqb + h * dqh + top_row * dqr) * size, rows, e, cols, cols, kr, dqr, NO, NO,
                         scale, 0.0)
                    gemm(slopes, query, dk_at + into_k * size, cols, e, rows, cols, qr, dkr, YES, NO, scale, 1.0)
