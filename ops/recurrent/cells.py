"""The walk through time of one direction of one recurrent layer: one op with one kernel, and so is its gradient.

The product of the inputs with their weights is one for all time steps and comes before (``recurrent_layers.py``).
"""

from __future__ import annotations

import functools

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base import modes
from numbagrad.core import storage
from numbagrad.core.tensor import make
from numbagrad.extend import REGISTRY, custom

from ..product.gemm import gemm
from ..product.linear import linear
from . import kernels

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
SAVED = {"LSTM": 5, "GRU": 4, "RNN_TANH": 0, "RNN_RELU": 0}  # values a step leaves for the gradient, per hidden unit


def _op(name):
    return REGISTRY[name].callable


def _at(t):
    return 0 if t is None else t._ptr


@functools.cache
def _offsets(sizes):
    """The first row of each time step, and one after the last."""
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


@functools.cache
def _table(sizes):
    """The address of ``_offsets``."""
    return storage.table(_offsets(sizes))


def _few(weight, batch):
    """Whether the products of a step are so small that loops of our own beat BLAS: measured at 32 x 128 x 512, where BLAS
    takes 1.7 times as long. A weight that does not stay in the second-level cache is BLAS's."""
    return batch <= 128 and weight._n * weight._kind.itemsize <= 1 << 19


def _turned(weight, sums):
    """New memory with the transposed weight in it, at the place that kernels find for these sums."""
    rows, columns = weight._shape
    size = weight._kind.itemsize
    w = make((weight._n + 4096 // size,), weight._kind)
    kernels.turn.run(weight._kind.dtype, (weight._ptr, w._ptr, w._ptr, sums, rows, columns, size), columns, weight._n)
    return w


def _work(rows, n, mode):
    """Work of a walk in the elements that threads are counted in: some 32 multiply-adds each."""
    return rows * GATES[mode] * n * (1 + n // 32)


def _reserved(mode, shape, kind):
    # Bytes, because what is no number gets no gradient; up to a cache line is skipped.
    rows, n = shape
    return (rows * n * SAVED[mode] * kind.itemsize + 64,), storage.kind_of(dt.uint8, kind.device)


@custom(private=True, reference=None, node="RnnLayerBackward0")
def recurrent(gates, h0, c0, weight, bias, *, mode: str, sizes: tuple, reverse: bool):
    """All time steps of one direction of one layer: (outputs, last h, last c, what the gradient needs).

    ``gates`` (rows, G n) is the inputs' part of the gates, ``weight`` (G n, n) gives the states' part, to which ``bias``
    is added; step t has the next ``sizes[t]`` rows. States (batch, n) are zeros where None. ``c`` is empty but for LSTM."""
    rows, wide = gates._shape
    n = wide // GATES[mode]
    kind = gates._kind
    return [((rows, n), kind), ((sizes[0], n), kind), ((sizes[0], n) if mode == "LSTM" else (0,), kind),
            _reserved(mode, (rows, n), kind)]


@recurrent.cpu
def _(outs, gates, h0, c0, weight, bias, mode, sizes, reverse):
    y, hn, cn, saved = outs
    rows, n = y._shape
    d, size = gates._kind.dtype, gates._kind.itemsize
    batch, steps, offsets = sizes[0], len(sizes), _table(sizes)
    h, acts, few = _at(h0), saved._ptr, _few(weight, batch)
    turned = _turned(weight, y._ptr if mode[:3] == "RNN" else acts) if few else weight
    w = turned._ptr
    if mode == "LSTM":
        args = (gates._ptr, h, _at(c0), w, y._ptr, hn._ptr, cn._ptr, acts, offsets, h, _at(c0), w, y._ptr, acts, few, rows,
                steps, n, size, reverse)
        kernels.lstm_forward.run(d, args, batch, _work(rows, n, mode))
    elif mode == "GRU":
        args = (gates._ptr, h, w, _at(bias), y._ptr, hn._ptr, acts, offsets, h, w, _at(bias), y._ptr, acts, few, steps, n,
                size, reverse)
        kernels.gru_forward.run(d, args, batch, _work(rows, n, mode))
    else:
        args = (gates._ptr, h, w, y._ptr, hn._ptr, offsets, h, w, y._ptr, few, steps, n, size, mode == "RNN_RELU", reverse)
        kernels.rnn_forward.run(d, args, batch, _work(rows, n, mode))


@recurrent.gradient
def _(gs, gates, h0, c0, weight, bias, y0, y3, needs, mode, sizes, reverse):
    dgates, dhidden, dh0, dc0 = recurrent_gradient(gs[0], gs[1], gs[2], gates, h0, c0, weight, bias, y0, y3, mode=mode,
                                                   sizes=sizes, reverse=reverse)
    if mode != "GRU":
        dhidden = dgates
    dw = _weight_gradient(dhidden, h0, y0, sizes, reverse) if needs[3] else None
    db = _op("sum")(dhidden, 0) if needs[4] else None
    return dgates if needs[0] else None, dh0 if needs[1] else None, dc0 if needs[2] else None, dw, db


recurrent.node_class.order = 4, 3, 1, 2, 0  # as of PyTorch's layers of hidden states


def _weight_gradient(dhidden, h0, y, sizes, reverse):
    """``dhidden^T`` times the states before each step: one product over all steps."""
    batch, rows, n = sizes[0], y._shape[0], y._shape[1]
    narrow = _op("narrow")
    if rows == batch * len(sizes):
        here, before, first = (0, batch, rows - batch) if reverse else (batch, 0, 0)
        total = None
        if rows > batch:
            total = gemm(narrow(dhidden, 0, here, rows - batch), narrow(y, 0, before, rows - batch), 1, 0)
        if h0 is not None:
            part = gemm(narrow(dhidden, 0, first, batch), h0, 1, 0)
            total = part if total is None else total + part
        return total if total is not None else y.new_zeros((dhidden._shape[1], n))
    start = y.new_zeros((batch, n)) if h0 is None else h0
    states = _op("index_select")(_op("cat")((start, y), 0), 0, _before(sizes, reverse))
    return gemm(dhidden, states, 1, 0)


@functools.lru_cache(maxsize=64)
def _before(sizes, reverse):
    """For each row the row of (initial states, outputs) that holds the state before it."""
    from numbagrad.core.creation import tensor
    offsets, batch, out = _offsets(sizes), sizes[0], []
    for t, size in enumerate(sizes):
        s = t + 1 if reverse else t - 1
        for b in range(size):
            out.append(batch + int(offsets[s]) + b if 0 <= s < len(sizes) and b < sizes[s] else b)
    return tensor(out, dtype=dt.int64)


@custom(private=True, reference=None, node="RnnLayerBackwardBackward0")
def recurrent_gradient(gy, ghn, gcn, gates, h0, c0, weight, bias, y, saved, *, mode: str, sizes: tuple, reverse: bool):
    """Gradients of ``recurrent``: of the inputs' and of the states' part of the gates (GRU; elsewhere they are the same
    and the second is empty), and of the initial states."""
    rows, n = y._shape
    kind = y._kind
    state = (sizes[0], n)
    return [(gates._shape, kind), (gates._shape if mode == "GRU" else (0,), kind), (state, kind),
            (state if mode == "LSTM" else (0,), kind)]


@recurrent_gradient.cpu
def _(outs, gy, ghn, gcn, gates, h0, c0, weight, bias, y, saved, mode, sizes, reverse):
    dgates, dhidden, dh0, dc0 = outs
    rows, n = y._shape
    d, size = y._kind.dtype, y._kind.itemsize
    batch, steps, offsets = sizes[0], len(sizes), _table(sizes)
    acts, few = saved._ptr, _few(weight, batch)
    if mode == "LSTM":
        args = (gy._ptr, weight._ptr, ghn._ptr, gcn._ptr, _at(c0), acts, dgates._ptr, dh0._ptr, dc0._ptr, offsets, _at(c0),
                weight._ptr, dgates._ptr, dh0._ptr, few, rows, steps, n, size, reverse)
        kernels.lstm_gradient.run(d, args, batch, _work(rows, n, mode))
    elif mode == "GRU":
        args = (gy._ptr, weight._ptr, ghn._ptr, _at(h0), y._ptr, acts, dgates._ptr, dhidden._ptr, dh0._ptr, offsets, _at(h0),
                weight._ptr, dhidden._ptr, dh0._ptr, few, steps, n, size, reverse)
        kernels.gru_gradient.run(d, args, batch, _work(rows, n, mode))
    else:
        args = (gy._ptr, weight._ptr, ghn._ptr, y._ptr, dgates._ptr, dh0._ptr, offsets, weight._ptr, dgates._ptr, dh0._ptr,
                few, steps, n, size, mode == "RNN_RELU", reverse)
        kernels.rnn_gradient.run(d, args, batch, _work(rows, n, mode))


@recurrent_gradient.gradient
def _(gs, gy, ghn, gcn, gates, h0, c0, weight, bias, needs, mode, sizes, reverse):
    # The walk in ordinary ops, differentiated twice: second derivatives of recurrent networks are rare.
    from numbagrad.autograd import grad
    given = [gy, ghn, gcn, gates, h0, c0, weight, bias]
    further = any(t is not None and t._rg for t in (*given, *gs))
    with modes.enable_grad():
        given = [None if t is None else t.view_as(t) if t._rg else t.detach().requires_grad_() for t in given]
        gy, ghn, gcn, gates, h0, c0, weight, bias = given
        if h0 is None:
            h0 = gates.new_zeros((sizes[0], weight._shape[1])).requires_grad_()
        if c0 is None and mode == "LSTM":
            c0 = gates.new_zeros((sizes[0], weight._shape[1])).requires_grad_()
        probe = gates.new_zeros(gates._shape).requires_grad_() if mode == "GRU" else None
        outs = composed(gates, h0, c0, weight, bias, mode, sizes, reverse, probe)
        wanted = [(gates, gs[0]), (probe, gs[1]), (h0, gs[2]), (c0, gs[3])]
        wanted = [(t, g) for t, g in wanted if t is not None]
        pairs = [(o, g) for o, g in zip(outs, (gy, ghn, gcn)) if o is not None]
        first = grad([o for o, _ in pairs], [t for t, _ in wanted], [g for _, g in pairs], create_graph=True)
        targets = [t for t, need in zip(given, needs) if need]
        second = iter(grad(first, targets, [g for _, g in wanted], create_graph=further, allow_unused=True))
    # y and saved are functions of the others, through which their part is counted.
    return (*(next(second) if need else None for need in needs[:8]), None, None)


def composed(gates, h, c, weight, bias, mode, sizes, reverse, probe=None, projection=None):
    """``recurrent`` in ordinary ops; ``probe`` is added to the states' part of the gates, ``projection`` shortens states."""
    narrow, cat = _op("narrow"), _op("cat")
    offsets = _offsets(sizes).tolist()
    n = weight._shape[0] // GATES[mode]
    order = range(len(sizes) - 1, -1, -1) if reverse else range(len(sizes))
    outputs, ended = {}, []  # ended: states of the rows that were over at earlier steps, last rows first
    full_h, full_c = h, c
    size = sizes[order[0]]
    h = narrow(h, 0, 0, size)
    c = c if c is None else narrow(c, 0, 0, size)
    for t in order:
        if sizes[t] < size:
            left = sizes[t]
            ended.append((narrow(h, 0, left, size - left), c if c is None else narrow(c, 0, left, size - left)))
            h, c = narrow(h, 0, 0, left), c if c is None else narrow(c, 0, 0, left)
        elif sizes[t] > size:
            h = cat((h, narrow(full_h, 0, size, sizes[t] - size)), 0)
            c = c if c is None else cat((c, narrow(full_c, 0, size, sizes[t] - size)), 0)
        size = sizes[t]
        x, u = narrow(gates, 0, offsets[t], size), linear(h, weight, bias)
        if probe is not None:
            u = u + narrow(probe, 0, offsets[t], size)
        h, c = _cell(x, u, h, c, n, mode)
        h = h if projection is None else linear(h, projection)
        outputs[t] = h
    if ended:
        h = cat((h, *[a for a, _ in reversed(ended)]), 0)
        c = c if c is None else cat((c, *[a for _, a in reversed(ended)]), 0)
    return cat([outputs[t] for t in range(len(sizes))], 0), h, c


def _cell(x, u, h, c, n, mode):
    """One step from the inputs' part ``x`` and the states' part ``u`` of the gates."""
    if mode == "LSTM":
        i, f, g, o = (x + u).split(n, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if mode == "GRU":
        r, z = (x.narrow(1, 0, 2 * n) + u.narrow(1, 0, 2 * n)).sigmoid().split(n, 1)
        m = (x.narrow(1, 2 * n, n) + r * u.narrow(1, 2 * n, n)).tanh()
        return m + z * (h - m), c
    return (x + u).tanh() if mode == "RNN_TANH" else (x + u).relu(), c
