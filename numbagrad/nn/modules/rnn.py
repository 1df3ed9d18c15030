"""Recurrent layers and their cells."""

import math
import numbers
import warnings

import numbagrad as ng

from ...base import modes
from ...ops import recurrent as _ops
from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .module import Module, Slot

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]


class RNNBase(Module):
    """What the recurrent layers share: parameters ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``,
    the same with ``_reverse`` for the second direction, and so for each layer.

    Layer k > 0 takes the outputs of layer k - 1, both directions side by side; ``dropout`` acts between layers.
    """

    def __init__(
        self,
        mode,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        proj_size=0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
                f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        for name, value, kind in (
            ("bias", bias, bool),
            ("batch_first", batch_first, bool),
            ("input_size", input_size, int),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
        if input_size <= 0:
            raise ValueError("input_size must be greater than zero")
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in _ops.layers.GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self._flat_weights_names, self._all_weights = [], []
        rows = _ops.layers.GATES[mode] * hidden_size
        directions, state = 2 if bidirectional else 1, proj_size or hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else state * directions
            for suffix in ("", "_reverse")[:directions]:
                shapes = {"weight_ih": (rows, width), "weight_hh": (rows, state)}
                if bias:
                    shapes.update(bias_ih=(rows,), bias_hh=(rows,))
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = []
                for name, shape in shapes.items():
                    names.append(f"{name}_l{layer}{suffix}")
                    self.register_parameter(names[-1], Parameter(ng.empty(shape, device=device, dtype=dtype)))
                self._flat_weights_names.extend(names)
                self._all_weights.append(names)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw new starting values, uniform in +-1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self):
        """Does nothing: the parameters need no common memory here."""

    @property
    def _flat_weights(self):
        return [getattr(self, name) for name in self._flat_weights_names]

    def __getstate__(self):
        return {**super().__getstate__(), "_flat_weights": self._flat_weights}  # (which PyTorch keeps, and reads)

    def __setstate__(self, state):
        super().__setstate__({name: value for name, value in state.items() if name != "_flat_weights"})
        self.__dict__.setdefault("proj_size", 0)  # of files from before it was there

    @property
    def all_weights(self):
        """The parameters as lists, one for each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def _check_input(self, input, dims):
        dtype = getattr(self, self._flat_weights_names[0]).dtype
        if input.dtype != dtype and modes.current().autocast is None:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). Convert input: "
                f"input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        if input.dim() != dims:
            raise RuntimeError(f"input must have {dims} dimensions, got {input.dim()}")
        if self.input_size != input._shape[-1]:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input._shape[-1]}"
            )

    def _check_hidden(self, state, batch, name="hidden"):
        size = self.hidden_size if name == "hidden[1]" else self.proj_size or self.hidden_size
        expected = self.num_layers * (2 if self.bidirectional else 1), batch, size
        if state._shape != expected:
            raise RuntimeError(f"Expected {name} size {expected}, got {list(state._shape)}")

    def check_input(self, input, batch_sizes):
        """Refuse an input of another dtype or shape; ``batch_sizes`` are those of a packed one."""
        self._check_input(input, 3 if batch_sizes is None else 2)

    def get_expected_hidden_size(self, input, batch_sizes):
        """The shape of states for an input."""
        batch = input.size(0 if self.batch_first else 1) if batch_sizes is None else int(batch_sizes[0])
        return self.num_layers * (2 if self.bidirectional else 1), batch, self.proj_size or self.hidden_size

    def check_hidden_size(self, hx, expected_hidden_size, msg="Expected hidden size {}, got {}"):
        """Refuse states of another shape."""
        if hx.size() != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input, hidden, batch_sizes):
        """Refuse an input and states that do not fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx, permutation):
        """States in another order of the batch; None leaves them."""
        return hx if permutation is None else hx.index_select(1, permutation)

    def _check_rank(self, input):
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead")

    def _settings(self):
        return self.bias, self.num_layers, self.dropout, self.training, self.bidirectional

    def _run(self, input, h, c):
        """(outputs, last h, last c) of a padded batch; the input has three dimensions."""
        return _ops.layers.run_layers(self.mode, input, h, c, self._flat_weights, *self._settings(), self.batch_first)

    def _run_packed(self, packed, h, c):
        self._check_input(packed.data, 2)
        batch = int(packed.batch_sizes[0])
        names = ("hidden[0]", "hidden[1]") if self.mode == "LSTM" else ("hidden",)
        order = packed.sorted_indices
        states = []
        for state, name in zip((h, c), names, strict=False):
            if state is not None:
                state = state if order is None else state.index_select(1, order)
                self._check_hidden(state, batch, name)
            states.append(state)
        y, *states = _ops.layers.run_packed(
            self.mode, packed.data, packed.batch_sizes, *(*states, None)[:2], self._flat_weights, *self._settings()
        )
        back = packed.unsorted_indices
        if back is not None:
            states = [s if s is None else s.index_select(1, back) for s in states]
        return PackedSequence(y, packed.batch_sizes, order, back), *states

    def forward(self, input, hx=None):
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx, None)[:2]
        if input.dim() not in (2, 3):
            tensor = "tensor " if self.mode[:3] == "RNN" else ""
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D {tensor}instead"
            )
        batched = input.dim() == 3
        if hx is not None and hx.dim() != input.dim():
            what, rank = ("batched", "3-D") if batched else ("unbatched", "2-D")
            raise RuntimeError(f"For {what} {rank} input, hx should also be {rank} but got {hx.dim()}-D tensor")
        dim = 0 if self.batch_first else 1
        if not batched:
            input, hx = input.unsqueeze(dim), hx if hx is None else hx.unsqueeze(1)
        self._check_input(input, 3)
        if hx is not None:
            self._check_hidden(hx, input._shape[dim])
        y, h, _ = self._run(input, hx, None)
        return (y, h) if batched else (y.squeeze(dim), h.squeeze(1))

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text


def _without_projection(kwargs):
    if "proj_size" in kwargs:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNN(RNNBase):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu with ``nonlinearity="relu"``.

    ``rnn(input, hx=None)`` returns (outputs, last states): input (L, N, input_size), or (N, L, input_size) with
    ``batch_first``, or (L, input_size), or a PackedSequence; states (num_layers * directions, N, hidden_size).
    """

    def __init__(self, *args, **kwargs):
        _without_projection(kwargs)
        if len(args) > 3:
            nonlinearity, args = args[3], args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__("RNN_" + nonlinearity.upper(), *args, **kwargs)
        self.nonlinearity = nonlinearity


class GRU(RNNBase):
    """r, z = sigmoid(W x + b + W' h + b'), n = tanh(W x + b + r * (W' h + b')), h = (1 - z) * n + z * h.

    The rows of the weights are those of r, z, n. Inputs and outputs as those of :class:`RNN`.
    """

    def __init__(self, *args, **kwargs):
        _without_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


class LSTM(RNNBase):
    """i, f, o = sigmoid(W x + b + W' h + b'), g = tanh(the same), c = f * c + i * g, h = o * tanh(c).

    The rows of the weights are those of i, f, g, o. ``lstm(input, (h_0, c_0)=None)`` returns (outputs, (h_n, c_n)),
    shapes as those of :class:`RNN`. With ``proj_size`` h is multiplied by ``weight_hr_l0``, (proj_size, hidden_size), so
    that outputs and h have that size.
    """

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input, batch_sizes):
        """The shape of cells for an input: that of states without a projection."""
        layers, batch, _ = self.get_expected_hidden_size(input, batch_sizes)
        return layers, batch, self.hidden_size

    def check_forward_args(self, input, hidden, batch_sizes):
        """Refuse an input, states and cells that do not fit."""
        self.check_input(input, batch_sizes)
        for i, size in enumerate((self.get_expected_hidden_size(input, batch_sizes),
                                  self.get_expected_cell_size(input, batch_sizes))):
            self.check_hidden_size(hidden[i], size, f"Expected hidden[{i}] size {{}}, got {{}}")

    def permute_hidden(self, hx, permutation):
        """States and cells in another order of the batch; None leaves them."""
        return hx if permutation is None else tuple([t.index_select(1, permutation) for t in hx])

    def forward(self, input, hx=None):
        h, c = (None, None) if hx is None else hx
        if isinstance(input, PackedSequence):
            y, h, c = self._run_packed(input, h, c)
            return y, (h, c)
        self._check_rank(input)
        batched, dim = input.dim() == 3, 0 if self.batch_first else 1
        if hx is not None:
            rank = "3-D" if batched else "2-D"
            if h.dim() != input.dim() or c.dim() != input.dim():
                what = "batched" if batched else "unbatched"
                raise RuntimeError(
                    f"For {what} {rank} input, hx and cx should also be {rank} but got ({h.dim()}-D, {c.dim()}-D) tensors"
                )
        if not batched:
            input = input.unsqueeze(dim)
            h, c = (t if t is None else t.unsqueeze(1) for t in (h, c))
        self._check_input(input, 3)
        if hx is not None:
            self._check_hidden(h, input._shape[dim], "hidden[0]")
            self._check_hidden(c, input._shape[dim], "hidden[1]")
        y, h, c = self._run(input, h, c)
        return (y, (h, c)) if batched else (y.squeeze(dim), (h.squeeze(1), c.squeeze(1)))


class RNNCellBase(Module):
    """What the cells share: ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``."""

    weight_ih = Slot()
    weight_hh = Slot()
    bias_ih = Slot()
    bias_hh = Slot()

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(ng.empty((rows, input_size), device=device, dtype=dtype))
        self.weight_hh = Parameter(ng.empty((rows, hidden_size), device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            made = Parameter(ng.empty(rows, device=device, dtype=dtype)) if bias else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw new starting values, uniform in +-1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _parameters_of_call(self):
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _check_rank(self, t, what):
        if t.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected {what} to be 1D or 2D, got {t.dim()}D instead")

    def _step(self, function, input, hx):
        """The new state of a cell with one state."""
        self._check_rank(input, "input")
        if hx is not None:
            self._check_rank(hx, "hidden")
        batched = input.dim() == 2
        if not batched:
            input, hx = input.unsqueeze(0), hx if hx is None else hx.unsqueeze(0)
        if hx is None:
            hx = ng.zeros(input.size(0), self.hidden_size, dtype=input.dtype, device=input.device)
        h = function(input, hx, *self._parameters_of_call())
        return h if batched else h.squeeze(0)

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.__dict__.get("nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu with ``nonlinearity="relu"``: ``cell(x, h=None)``."""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(ng.rnn_tanh_cell if self.nonlinearity == "tanh" else ng.rnn_relu_cell, input, hx)


class GRUCell(RNNCellBase):
    """One step of :class:`GRU`: ``cell(x, h=None)`` returns the next h."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        return self._step(ng.gru_cell, input, hx)


class LSTMCell(RNNCellBase):
    """One step of :class:`LSTM`: ``cell(x, (h, c)=None)`` returns the next (h, c)."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        self._check_rank(input, "input")
        for i, t in enumerate(hx or ()):
            self._check_rank(t, f"hx[{i}]")
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
        if hx is None:
            zeros = ng.zeros(input.size(0), self.hidden_size, dtype=input.dtype, device=input.device)
            hx = zeros, zeros
        elif not batched:
            hx = hx[0].unsqueeze(0), hx[1].unsqueeze(0)
        h, c = ng.lstm_cell(input, hx, *self._parameters_of_call())
        return (h, c) if batched else (h.squeeze(0), c.squeeze(0))
