"""Transposed convolutions: the gradients of convolutions, as layers."""

from .. import functional as F
from .conv import _ConvNd, _tuple_of

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTransposeNd(_ConvNd):
    """What transposed convolutions have in common; ``output_size`` of a call chooses among the sizes that a convolution would
    shrink to this one."""

    def _output_padding(
        self, input, output_size, stride, padding, kernel_size, num_spatial_dims, dilation=None
    ):
        """The output padding that leads to an output of this size."""
        if output_size is None:
            return self.output_padding
        size, n = output_size, num_spatial_dims
        dilation = dilation or (1,) * n
        others = 2 if input.dim() == n + 2 else 1
        if len(size) == others + n:
            size = size[others:]
        if len(size) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {others + n} elements "
                f"(got {len(size)})"
            )
        least = [
            (input.size(d + others) - 1) * stride[d] - 2 * padding[d] + dilation[d] * (kernel_size[d] - 1) + 1
            for d in range(n)
        ]
        most = [low + step - 1 for low, step in zip(least, stride, strict=True)]
        if any(not low <= s <= high for low, s, high in zip(least, size, most, strict=True)):
            raise ValueError(
                f"requested an output size of {size}, but valid sizes range from {least} to {most} (for an input of "
                f"{input.size()[2:]})"
            )
        return [s - low for s, low in zip(size, least, strict=True)]

    def forward(self, input, output_size=None):
        size, stride, padding, dilation = self.kernel_size, self.stride, self.padding, self.dilation
        return getattr(F, self._op)(
            input,
            self.weight,
            self.bias,
            stride,
            padding,
            self._output_padding(input, output_size, stride, padding, size, len(size), dilation),
            self.groups,
            dilation,
        )


class _ConvTranspose(_ConvTransposeNd):
    """L_out = (L - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1 for each dimension."""

    _dims = 0
    _op = None

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        sizes = [_tuple_of(v, self._dims) for v in (kernel_size, stride, padding, dilation)]
        settings = True, _tuple_of(output_padding, self._dims), groups, bias, padding_mode
        super().__init__(in_channels, out_channels, *sizes, *settings, device, dtype)


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of (N, C_in, L) or (C_in, L) with (C_in, C_out / groups, K) kernels."""

    _dims = 1
    _op = "conv_transpose1d"


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of (N, C_in, H, W) or (C_in, H, W) with (C_in, C_out / groups, KH, KW) kernels."""

    _dims = 2
    _op = "conv_transpose2d"


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of (N, C_in, D, H, W) or (C_in, D, H, W); see :class:`ConvTranspose2d`."""

    _dims = 3
    _op = "conv_transpose3d"
