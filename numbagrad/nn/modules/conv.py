"""Convolutions."""

import math
from collections.abc import Iterable

import numbagrad as ng

from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module, Slot

__all__ = ["Conv1d", "Conv2d", "Conv3d"]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def _tuple_of(value, n):
    return tuple(value) if isinstance(value, Iterable) else (value,) * n


class _ConvNd(Module):
    """A convolution over the dimensions of ``kernel_size``, of which all settings are tuples; what layers of others extend."""

    weight = Slot()
    bias = Slot()

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        transposed,
        output_padding,
        groups,
        bias,
        padding_mode,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups != 0:
                raise ValueError(f"{name} must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
            if padding == "same" and any(step != 1 for step in stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            listed = ", ".join(map(repr, _PADDING_MODES))
            raise ValueError(f"padding_mode must be one of {{{listed}}}, but got padding_mode='{padding_mode}'")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.transposed, self.output_padding, self.padding_mode = transposed, output_padding, padding_mode
        self._reversed_padding_repeated_twice = self._pad_widths()
        channels = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
        weight = ng.empty((*channels, *kernel_size), device=device, dtype=dtype)
        self.weight = Parameter(weight)
        self.register_parameter("bias", Parameter(ng.empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _pad_widths(self):
        """The padding as ``F.pad`` takes it: (before, after) of the last dimension first."""
        widths = []
        for i in reversed(range(len(self.kernel_size))):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                widths += [total // 2, total - total // 2]
            else:
                widths += [0, 0] if self.padding == "valid" else [self.padding[i]] * 2
        return widths

    def reset_parameters(self):
        """Draw new starting values, uniform in +-1/sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * len(self.kernel_size):
            text += f", padding={self.padding}"
        if self.dilation != (1,) * len(self.kernel_size):
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * len(self.kernel_size):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_ConvNd):
    """A convolution over ``_dims`` spatial dimensions."""

    _dims = 0
    _op = None

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        kernel_size, stride, dilation = (_tuple_of(v, self._dims) for v in (kernel_size, stride, dilation))
        padding = padding if isinstance(padding, str) else _tuple_of(padding, self._dims)
        sizes = kernel_size, stride, padding, dilation, False, (0,) * self._dims
        super().__init__(in_channels, out_channels, *sizes, groups, bias, padding_mode, device, dtype)

    def _conv_forward(self, input, weight, bias):
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return getattr(F, self._op)(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input):
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Cross-correlation of an (N, C_in, L) or (C_in, L) input with (C_out, C_in / groups, K) kernels.

    L_out = (L + 2 * padding - dilation * (K - 1) - 1) // stride + 1.
    """

    _dims = 1
    _op = "conv1d"


class Conv2d(_Conv):
    """Cross-correlation of an (N, C_in, H, W) or (C_in, H, W) input with (C_out, C_in / groups, KH, KW) kernels.

    H_out = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1, and so for W.
    """

    _dims = 2
    _op = "conv2d"


class Conv3d(_Conv):
    """Cross-correlation of an (N, C_in, D, H, W) or (C_in, D, H, W) input; see :class:`Conv2d`."""

    _dims = 3
    _op = "conv3d"
