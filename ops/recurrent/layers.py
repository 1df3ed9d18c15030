"""Recurrent networks: ``rnn_tanh``, ``rnn_relu``, ``lstm``, ``gru`` and their cells."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.extend import REGISTRY, Sample, Tensor, function

from ..product.gemm import reshape
from ..product.linear import linear
from ..random.dropout import dropout
from ..view.shape import tensor_list
from .cells import GATES, composed, recurrent


def _op(name):
    return REGISTRY[name].callable


def check(mode, x, states, params, batch):
    """RuntimeError unless the parameters of one direction fit the rows ``x`` and its states (batch, units)."""
    name, gates = mode.lower(), GATES[mode.removesuffix("_cell")]
    if x._kind.dtype.category != 2:
        raise RuntimeError(f"{name}: expected a floating-point input, but got {x._kind.dtype}")
    if len(params) > 4:
        return _check_projected(x, states, params, batch)
    hidden = params[1]._shape
    if len(hidden) != 2 or hidden[0] != gates * hidden[1]:
        raise RuntimeError(f"{name}: expected a hidden weight of shape ({gates} * units, units), but got {list(hidden)}")
    n = hidden[1]
    expected = {"input weight": (params[0], (gates * n, x._shape[1])), "hidden weight": (params[1], hidden),
                "input bias": (params[2], (gates * n,)), "hidden bias": (params[3], (gates * n,)),
                **{what: (t, (batch, n)) for what, t in states}}
    _compare(name, n, x, expected)


def _check_projected(x, states, params, batch):
    """RuntimeError unless the parameters of one direction with a projection fit the rows and the states."""
    w_ih, w_hh, b_ih, b_hh, w_hr = params
    p, n = w_hr._shape if len(w_hr._shape) == 2 else (0, 0)
    sizes = {"hx": p, "cx": n}
    _compare("lstm", n, x, {
        "input weight": (w_ih, (4 * n, x._shape[1])), "hidden weight": (w_hh, (4 * n, p)), "input bias": (b_ih, (4 * n,)),
        "hidden bias": (b_hh, (4 * n,)), "projection weight": (w_hr, (p, n)),
        **{what: (t, (batch, sizes[what])) for what, t in states}})


def _check_cell(x, w_ih, w_hh, *states):
    """PyTorch's complaints about the input and the states of a cell."""
    if x._shape[1] != w_ih._shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {x._shape[1]} expected {w_ih._shape[1]}") from None
    for i, t in enumerate(states):
        if t is not None and len(t._shape) == 2:
            if t._shape[0] != x._shape[0]:
                raise RuntimeError(f"Input batch size {x._shape[0]} doesn't match hidden{i} batch size {t._shape[0]}") from None
            if t._shape[1] != w_hh._shape[1]:
                raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {t._shape[1]}, expected "
                                   f"{w_hh._shape[1]}") from None


def _compare(name, n, x, expected):
    """RuntimeError for the first tensor that has not the shape, dtype and device it should."""
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
    w_ih, w_hh, b_ih, b_hh, *more = params
    check(mode, x, (("hx", h0), ("cx", c0)), params, sizes[0])
    if x._kind.dtype.compute != x._kind.dtype.code:
        kind = x._kind.dtype
        wide = [None if t is None else t.to(dt.float32) for t in (x, h0, c0, *params)]
        return tuple([None if t is None else t.to(kind) for t in direction(*wide[:3], wide[3:], mode, sizes, reverse)])
    if mode != "GRU" and b_ih is not None:
        b_ih, b_hh = b_ih + b_hh, None
    gates = linear(x, w_ih, b_ih)
    if more or not x._kind.cpu:
        widest = max(sizes)
        h0 = x.new_zeros((widest, w_hh._shape[1])) if h0 is None else h0
        c0 = x.new_zeros((widest, w_hh._shape[0] // 4)) if c0 is None and mode == "LSTM" else c0
        return composed(gates, h0, c0, w_hh, b_hh, mode, sizes, reverse, projection=more[0] if more else None)
    y, hn, cn, _ = recurrent.call(gates, h0, c0, w_hh, b_hh, mode=mode, sizes=sizes, reverse=reverse)
    return y, hn, cn if mode == "LSTM" else None


def layers(mode, x, h0, c0, params, has_biases, num_layers, p, train, bidirectional, sizes):
    """All layers over rows ``x``: (outputs, [last h of each layer and direction], [last c])."""
    count, directions = (4 if has_biases else 2), 2 if bidirectional else 1
    projected = mode == "LSTM" and len(params) == (count + 1) * directions * num_layers
    if not projected and len(params) != count * directions * num_layers:
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
            if projected:
                own, at = (*own, params[at]), at + 1
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
        directions, n = 2 if bidirectional else 1, params[1]._shape[1]
        h = input.new_zeros((num_layers * directions, 0, n))
        for what, t in (("hx", h0), ("cx", c0)):
            if t is not None and t._shape != h._shape:
                raise RuntimeError(f"{mode.lower()}: expected {what} of shape {list(h._shape)} for an empty batch, but got "
                                   f"{list(t._shape)}")
        y, c = input.new_zeros((steps, 0, n * directions)), input.new_zeros((*h._shape[:2], params[1]._shape[0] // 4))
    return y.transpose(0, 1) if batch_first else y, h, c


def run_packed(mode, data, batch_sizes, h0, c0, params, has_biases, num_layers, p, train, bidirectional):
    """The layers on the rows of a packed batch: (y, h, c)."""
    sizes = tuple(batch_sizes.tolist())
    if not sizes or sum(sizes) != data._shape[0] or any(a < b for a, b in zip(sizes, sizes[1:])) or sizes[-1] <= 0:
        raise RuntimeError(f"{mode.lower()}: batch sizes {list(sizes)} do not fit {data._shape[0]} rows of data; they must be "
                           "positive, decreasing, and sum up to the rows")
    y, hs, cs = layers(mode, data, h0, c0, params, has_biases, num_layers, p, train, bidirectional, sizes)
    return y, _stacked(hs), _stacked(cs) if mode == "LSTM" else None


REST = (("has_biases", "bool"), ("num_layers", "int"), ("dropout", "float"), ("train", "bool"), ("bidirectional", "bool"),
        ("batch_first", "bool"))


def _checked_rest(name, rest, packed):
    """The options behind the tensors after the checks of their kinds; packed rows have no ``batch_first``."""
    wanted = REST[:-1] if packed else REST
    if len(rest) != len(wanted):
        raise TypeError(f"{name}(): expected the options {', '.join(n for n, _ in wanted)}, but got {len(rest)} of them")
    return [arguments.CHECKS[kind](v, name, n, i + 4) for i, ((n, kind), v) in enumerate(zip(wanted, rest))]


def _call(mode, input, second, third, rest):
    """Both forms of a call: (input, hx, params, ..., batch_first), and (data, batch_sizes, hx, params, ...)."""
    packed = isinstance(second, Tensor) and (isinstance(third, Tensor) or mode == "LSTM")
    if packed:
        hx, (params, *rest) = third, rest
    else:
        hx, params = second, third
    if mode == "LSTM":
        hx = tensor_list("lstm", (hx,), 1)
        if len(hx) != 2:
            raise RuntimeError("lstm expects two hidden states")
        h0, c0 = hx
    else:
        h0, c0 = arguments.check_tensor(hx, mode.lower(), "hx", 2), None
    params = tensor_list(mode.lower(), (params,), 2)
    rest = _checked_rest(mode.lower(), rest, packed)
    if packed:
        y, h, c = run_packed(mode, input, second, h0, c0, params, *rest)
    else:
        y, h, c = run_layers(mode, input, h0, c0, params, *rest)
    return (y, h, c) if mode == "LSTM" else (y, h)


# --- references and the public functions ---

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
        if mode == "LSTM":
            if not isinstance(hx, (tuple, list)):
                raise arguments.wrong(hx, "tuple of Tensors", "lstm_cell", "hx", 2)
            hx = tensor_list("lstm_cell", (hx,), 1)
            if len(hx) != 2:
                raise RuntimeError("lstm_cell expects two hidden states")
            h, c = hx
        else:
            h, c = arguments.check_tensor(hx, f"{name}_cell", "hx", 2), None
        if len(input._shape) != 2 or len(h._shape) != 2:
            raise RuntimeError(f"{name}_cell: expected an input and a state of 2 dimensions, but got shapes "
                               f"{list(input._shape)} and {list(h._shape)}")
        if (b_ih is None) != (b_hh is None):
            given = b_hh if b_ih is None else b_ih
            b_ih, b_hh = (given.new_zeros(given._shape) if b is None else b for b in (b_ih, b_hh))
        try:
            check(f"{mode}_cell", input, (("hx", h), ("cx", c)), (w_ih, w_hh, b_ih, b_hh), input._shape[0])
        except RuntimeError:
            if len(w_ih._shape) == len(w_hh._shape) == 2:
                _check_cell(input, w_ih, w_hh, h, c)  # has its own words for some of it
            raise
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
    kinds = {"hx": "any"}  # a pair of states for LSTMs, batch sizes for packed rows
    of_one = {"input": "tensor", "hx": "any" if mode == "LSTM" else "tensor"}
    return (function(layer, kinds=kinds, method=False, reference=_reference(mode), samples=_samples(mode), domain=domain),
            function(cell, kinds=of_one, method=False, reference=of_cell, samples=_cell_samples(mode), domain=domain))


rnn_tanh, rnn_tanh_cell = _make("RNN_TANH", "rnn_tanh", "``tanh`` units")
rnn_relu, rnn_relu_cell = _make("RNN_RELU", "rnn_relu", "``relu`` units")
lstm, lstm_cell = _make("LSTM", "lstm", "long short-term memory")
gru, gru_cell = _make("GRU", "gru", "gated recurrent units")
