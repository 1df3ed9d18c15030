"""Recurrent networks: ``rnn_tanh``, ``rnn_relu``, ``lstm``, ``gru`` and their cells.

The product of the inputs with their weights is one for all time steps; what is left of one direction of one layer, the
walk through time, is one op (``recurrent``) with one kernel, and so is its gradient.
"""

from __future__ import annotations

import functools

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import modes, storage
from numbagrad.copying import copy_into
from numbagrad.op import REGISTRY, Sample, custom, function
from numbagrad.tensor import Tensor, make, raw

from . import recurrent_kernels as kernels
from .dropout import dropout
from .gemm import gemm, reshape
from .linear import linear
from .product import transposed

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
SAVED = {"LSTM": 5, "GRU": 4, "RNN_TANH": 0, "RNN_RELU": 0}  # values a step leaves for the gradient, per hidden unit


def _op(name):
    return REGISTRY[name].callable


def _at(t):
    return 0 if t is None else t._ptr


@functools.cache
def _offsets(sizes):
    """(array, address) of the first row of each time step, and one after the last."""
    array = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    return array, storage.address(array)


def _few(weight, batch):
    """Whether the products of a step are so small that loops of our own beat BLAS: measured at 32 x 128 x 512, where BLAS
    takes 1.7 times as long. A weight that does not stay in the second-level cache is BLAS's."""
    return batch <= 128 and weight._n * weight._kind.itemsize <= 1 << 19


def _aligned(saved):
    """The first cache line in what a step leaves for the gradient."""
    return (saved._ptr + 63) // 64 * 64


def _turned(weight, target):
    """The transposed weight in new memory that lies 1 KiB after ``target`` modulo a page.

    A processor tells loads from earlier stores by the address within a page: where weight and sums have the same, a
    product takes half as long again."""
    rows, columns = weight._shape
    size = weight._kind.itemsize
    buffer = make((weight._n + 4096 // size,), weight._kind)
    start = buffer._ptr + (target + 1024 - buffer._ptr) % 4096
    turned = raw(buffer._buf, start, weight._n, (columns, rows), None, weight._kind, [0])
    copy_into(turned, transposed(weight))
    return turned


def _work(rows, n, mode):
    """Work of a walk in the elements that threads are counted in: some 32 multiply-adds each."""
    return rows * GATES[mode] * n * (1 + n // 32)


def _reserved(mode, shape, kind):
    # Bytes, because what is no number gets no gradient.
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
    batch, steps, offsets = sizes[0], len(sizes), _offsets(sizes)[1]
    h, acts, few = _at(h0), _aligned(saved), _few(weight, batch)
    turned = _turned(weight, y._ptr if mode[:3] == "RNN" else acts) if few else weight
    w = turned._ptr
    if mode == "LSTM":
        args = (gates._ptr, h, _at(c0), w, y._ptr, hn._ptr, cn._ptr, acts, acts + 4 * rows * n * size, offsets, h, _at(c0),
                weight._ptr, y._ptr, acts, few, steps, n, size, reverse)
        kernels.lstm_forward.run(d, args, batch, _work(rows, n, mode))
    elif mode == "GRU":
        args = (gates._ptr, h, w, _at(bias), y._ptr, hn._ptr, acts, offsets, h, weight._ptr, _at(bias), y._ptr, acts, few,
                steps, n, size, reverse)
        kernels.gru_forward.run(d, args, batch, _work(rows, n, mode))
    else:
        args = (gates._ptr, h, w, y._ptr, hn._ptr, offsets, h, weight._ptr, y._ptr, few, steps, n, size, mode == "RNN_RELU",
                reverse)
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
    from numbagrad.creation import tensor
    offsets, batch, out = _offsets(sizes)[0], sizes[0], []
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
    batch, steps, offsets = sizes[0], len(sizes), _offsets(sizes)[1]
    acts, few = _aligned(saved), _few(weight, batch)
    if mode == "LSTM":
        args = (gy._ptr, weight._ptr, ghn._ptr, gcn._ptr, _at(c0), acts, acts + 4 * rows * n * size, dgates._ptr, dh0._ptr,
                dc0._ptr, offsets, _at(c0), weight._ptr, dgates._ptr, dh0._ptr, few, steps, n, size, reverse)
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


def composed(gates, h, c, weight, bias, mode, sizes, reverse, probe=None):
    """``recurrent`` in ordinary ops; ``probe`` is added to the states' part of the gates."""
    narrow, cat = _op("narrow"), _op("cat")
    offsets = _offsets(sizes)[0].tolist()
    n = weight._shape[1]
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


# --- layers -----------------------------------------------------------------------------------------------------------

def check(mode, x, states, params, batch):
    """RuntimeError unless the parameters of one direction fit the rows ``x`` and its states (batch, units)."""
    name, gates = mode.lower(), GATES[mode.removesuffix("_cell")]
    hidden = params[1]._shape
    if len(hidden) != 2 or hidden[0] != gates * hidden[1]:
        raise RuntimeError(f"{name}: expected a hidden weight of shape ({gates} * units, units), but got {list(hidden)}")
    n = hidden[1]
    expected = {"input weight": (params[0], (gates * n, x._shape[1])), "hidden weight": (params[1], hidden),
                "input bias": (params[2], (gates * n,)), "hidden bias": (params[3], (gates * n,)),
                **{what: (t, (batch, n)) for what, t in states}}
    for what, (t, shape) in expected.items():
        if t is None:
            continue
        if t._shape != shape:
            raise RuntimeError(f"{name}: expected {what} of shape {list(shape)} for {n} units and input of shape "
                               f"{list(x._shape)}, but got {list(t._shape)}")
        if t._kind is not x._kind:
            raise RuntimeError(f"{name}: expected {what} to be {x._kind.dtype} on {x._kind.device} like the input, but got "
                               f"{t._kind.dtype} on {t._kind.device}")


def direction(x, h0, c0, params, mode, sizes, reverse=False):
    """One direction of one layer over rows ``x``: (outputs, last h, last c)."""
    w_ih, w_hh, b_ih, b_hh = params
    check(mode, x, (("hx", h0), ("cx", c0)), params, sizes[0])
    n = w_hh._shape[1]
    if x._kind.dtype.compute != x._kind.dtype.code:
        kind = x._kind.dtype
        wide = [None if t is None else t.to(dt.float32) for t in (x, h0, c0, *params)]
        return tuple([None if t is None else t.to(kind) for t in direction(*wide[:3], wide[3:], mode, sizes, reverse)])
    if mode != "GRU" and b_ih is not None:
        b_ih, b_hh = b_ih + b_hh, None
    gates = linear(x, w_ih, b_ih)
    if not x._kind.cpu:
        h0 = x.new_zeros((sizes[0], n)) if h0 is None else h0
        c0 = x.new_zeros((sizes[0], n)) if c0 is None and mode == "LSTM" else c0
        return composed(gates, h0, c0, w_hh, b_hh, mode, sizes, reverse)
    y, hn, cn, _ = recurrent.call(gates, h0, c0, w_hh, b_hh, mode=mode, sizes=sizes, reverse=reverse)
    return y, hn, cn if mode == "LSTM" else None


def layers(mode, x, h0, c0, params, has_biases, num_layers, p, train, bidirectional, sizes):
    """All layers over rows ``x``: (outputs, [last h of each layer and direction], [last c])."""
    count, directions = (4 if has_biases else 2), 2 if bidirectional else 1
    if len(params) != count * directions * num_layers:
        raise RuntimeError(f"{mode.lower()}: expected {count * directions * num_layers} parameters for {num_layers} layers of "
                           f"{directions} directions, but got {len(params)}")
    for what, t in (("hx", h0), ("cx", c0)):
        if t is not None and (len(t._shape) != 3 or t._shape[0] != directions * num_layers):
            raise RuntimeError(f"{mode.lower()}: expected {what} of shape [{directions * num_layers}, {sizes[0]}, units], but "
                               f"got {list(t._shape)}")
    hs, cs, at = [], [], 0
    for layer in range(num_layers):
        if layer and train and p:
            x = dropout.callable(x, p, True)
        outputs = []
        for k in range(directions):
            own = tuple(params[at:at + count]) if has_biases else (*params[at:at + count], None, None)
            at += count
            i = layer * directions + k
            y, h, c = direction(x, None if h0 is None else h0[i], None if c0 is None else c0[i], own, mode, sizes, k == 1)
            outputs.append(y)
            hs.append(h)
            cs.append(c)
        x = outputs[0] if directions == 1 else _op("cat")(outputs, 1)
    return x, hs, cs


def _stacked(states):
    return states[0].unsqueeze(0) if len(states) == 1 else _op("stack")(states, 0)


def run_layers(mode, input, h0, c0, params, has_biases, num_layers, p, train, bidirectional, batch_first):
    """The layers on a padded (L, N, I) input, (N, L, I) with ``batch_first``; states may be None: (y, h, c)."""
    if len(input._shape) != 3:
        raise RuntimeError(f"{mode.lower()}: expected an input of 3 dimensions, but got shape {list(input._shape)}")
    if batch_first:
        input = input.transpose(0, 1)
    steps, batch, width = input._shape
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    rows = reshape(input, (steps * batch, width))
    if batch:
        y, hs, cs = layers(mode, rows, h0, c0, params, has_biases, num_layers, p, train, bidirectional, (batch,) * steps)
        y, h, c = reshape(y, (steps, batch, y._shape[1])), _stacked(hs), _stacked(cs) if mode == "LSTM" else None
    else:
        n = params[1]._shape[1] * (2 if bidirectional else 1)
        y = input.new_zeros((steps, 0, n))
        h = input.new_zeros((num_layers * (2 if bidirectional else 1), 0, params[1]._shape[1]))
        c = h.clone()
    return y.transpose(0, 1) if batch_first else y, h, c


def run_packed(mode, data, batch_sizes, h0, c0, params, has_biases, num_layers, p, train, bidirectional):
    """The layers on the rows of a packed batch: (y, h, c)."""
    sizes = tuple(batch_sizes.tolist())
    if not sizes or sum(sizes) != data._shape[0] or any(a < b for a, b in zip(sizes, sizes[1:])) or sizes[-1] <= 0:
        raise RuntimeError(f"{mode.lower()}: batch sizes {list(sizes)} do not fit {data._shape[0]} rows of data; they must be "
                           "positive, decreasing, and sum up to the rows")
    y, hs, cs = layers(mode, data, h0, c0, params, has_biases, num_layers, p, train, bidirectional, sizes)
    return y, _stacked(hs), _stacked(cs) if mode == "LSTM" else None


def _call(mode, input, second, third, rest):
    """Both forms of a call: (input, hx, params, ..., batch_first), and (data, batch_sizes, hx, params, ...)."""
    packed = isinstance(second, Tensor) and (isinstance(third, Tensor) or mode == "LSTM")
    if packed:
        hx, (params, *rest) = third, rest
    else:
        hx, params = second, third
    h0, c0 = hx if mode == "LSTM" else (hx, None)
    if mode == "LSTM" and len(hx) != 2:
        raise RuntimeError("lstm expects two hidden states")
    if packed:
        y, h, c = run_packed(mode, input, second, h0, c0, params, *rest)
    else:
        y, h, c = run_layers(mode, input, h0, c0, params, *rest)
    return (y, h, c) if mode == "LSTM" else (y, h)


# --- references and the public functions --------------------------------------------------------------------------------

def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _cell_reference(mode, x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    n = w_hh.shape[1]
    a = x @ w_ih.T + (0 if b_ih is None else b_ih)
    u = h @ w_hh.T + (0 if b_hh is None else b_hh)
    if mode == "LSTM":
        i, f, g, o = np.split(a + u, 4, 1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(c), c
    if mode == "GRU":
        r, z = _sigmoid(a[:, :n] + u[:, :n]), _sigmoid(a[:, n:2 * n] + u[:, n:2 * n])
        m = np.tanh(a[:, 2 * n:] + r * u[:, 2 * n:])
        return (1 - z) * m + z * h, c
    return (np.tanh(a + u) if mode == "RNN_TANH" else np.maximum(a + u, 0)), c


def _reference(mode):
    def run(input, hx, params, has_biases, num_layers, p, train, bidirectional, batch_first):
        x = input.swapaxes(0, 1) if batch_first else input
        count, directions = (4 if has_biases else 2), 2 if bidirectional else 1
        hs, cs = [], []
        for layer in range(num_layers):
            outputs = []
            for k in range(directions):
                i = layer * directions + k
                own = params[i * count:(i + 1) * count]
                h, c = (hx[0][i], hx[1][i]) if mode == "LSTM" else (hx[i], None)
                out = [None] * len(x)
                for t in range(len(x)) if k == 0 else range(len(x) - 1, -1, -1):
                    h, c = _cell_reference(mode, x[t], h, c, *own)
                    out[t] = h
                outputs.append(np.stack(out))
                hs.append(h)
                cs.append(c)
            x = np.concatenate(outputs, 2)
        y = x.swapaxes(0, 1) if batch_first else x
        return (y, np.stack(hs), np.stack(cs)) if mode == "LSTM" else (y, np.stack(hs))
    return run


def _samples(mode):
    def params(i, n, *, biases=True, directions=1, layers=1):
        g = GATES[mode] * n
        out = []
        for layer in range(layers):
            for _ in range(directions):
                out += [(g, i if layer == 0 else directions * n), (g, n)] + ([(g,), (g,)] if biases else [])
        return out

    def hx(*shape):
        return [shape, shape] if mode == "LSTM" else shape
    return (Sample((3, 2, 2), hx(1, 2, 3), params(2, 3), True, 1, 0.0, False, False, False),
            Sample((2, 3, 2), hx(4, 2, 2), params(2, 2, biases=False, directions=2, layers=2), False, 2, 0.0, True, True,
                   True))


def _cell_samples(mode):
    g = GATES[mode] * 3
    hx = [(2, 3), (2, 3)] if mode == "LSTM" else (2, 3)
    return Sample((2, 2), hx, (g, 2), (g, 3), (g,), (g,)), Sample((2, 2), hx, (g, 2), (g, 3))


def _make(mode, name, text):
    def layer(input, hx, params, *rest):
        return _call(mode, input, hx, params, rest)

    def cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
        h, c = hx if mode == "LSTM" else (hx, None)
        if len(input._shape) != 2 or len(h._shape) != 2:
            raise RuntimeError(f"{name}_cell: expected an input and a state of 2 dimensions, but got shapes "
                               f"{list(input._shape)} and {list(h._shape)}")
        if (b_ih is None) != (b_hh is None):
            given = b_hh if b_ih is None else b_ih
            b_ih, b_hh = (given.new_zeros(given._shape) if b is None else b for b in (b_ih, b_hh))
        check(f"{mode}_cell", input, (("hx", h), ("cx", c)), (w_ih, w_hh, b_ih, b_hh), input._shape[0])
        if not input._shape[0]:
            return (h.clone(), c.clone()) if mode == "LSTM" else h.clone()
        _, h, c = direction(input, h, c, (w_ih, w_hh, b_ih, b_hh), mode, (input._shape[0],))
        return (h, c) if mode == "LSTM" else h

    layer.__name__, cell.__name__ = name, name + "_cell"
    layer.__doc__ = (f"Layers of {text} over a sequence.\n\n``{name}(input, hx, params, has_biases, num_layers, dropout, "
                     f"train, bidirectional, batch_first)``, or for packed rows ``{name}(data, batch_sizes, hx, params, "
                     "has_biases, num_layers, dropout, train, bidirectional)``.")
    cell.__doc__ = f"One step of {text}: the next state from an input (batch, in) and the state before."
    for fn in (layer, cell):
        fn.__qualname__, fn.__module__ = fn.__name__, __name__
    # For relu no argument may come out near its kink, where a difference quotient means nothing.
    domain = (-0.9, 1.1) if mode == "RNN_RELU" else (-1.0, 1.0)

    def of_cell(x, hx, *params):
        h, c = _cell_reference(mode, x, *(hx if mode == "LSTM" else (hx, None)), *params)
        return (h, c) if mode == "LSTM" else h
    return (function(layer, method=False, reference=_reference(mode), samples=_samples(mode), domain=domain),
            function(cell, method=False, reference=of_cell, samples=_cell_samples(mode), domain=domain))


rnn_tanh, rnn_tanh_cell = _make("RNN_TANH", "rnn_tanh", "``tanh`` units")
rnn_relu, rnn_relu_cell = _make("RNN_RELU", "rnn_relu", "``relu`` units")
lstm, lstm_cell = _make("LSTM", "lstm", "long short-term memory")
gru, gru_cell = _make("GRU", "gru", "gated recurrent units")
