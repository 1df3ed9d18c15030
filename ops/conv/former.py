"""Functions that PyTorch keeps for scripts written before ``interpolate`` and ``conv1d``."""

from __future__ import annotations

import warnings

import numpy as np

import numbagrad
from numbagrad.base.user_code import user_level
from numbagrad.core.node import renamed
from numbagrad.extend import REGISTRY, Sample, function

from .interpolate import interpolate

SPACES = {"namespaces": ("nn.functional",), "method": False}


def _deprecated(name):
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=user_level())


@function(reference=lambda x, **options: interpolate.reference(x, **options), **SPACES,
          samples=(Sample((1, 2, 3, 4), scale_factor=2), Sample((1, 2, 3, 4), size=(5, 2), mode="bilinear")))
def upsample(input, size: object = None, scale_factor: object = None, mode: str = "nearest", align_corners: bool = None):
    """``interpolate``."""
    _deprecated("upsample")
    return interpolate.callable(input, size, scale_factor, mode, align_corners)


@function(reference=lambda x, **options: interpolate.reference(x, **options), **SPACES,
          samples=(Sample((1, 2, 3, 4), scale_factor=2),))
def upsample_nearest(input, size: object = None, scale_factor: object = None):
    """``interpolate`` by the nearest value."""
    _deprecated("upsample_nearest")
    return interpolate.callable(input, size, scale_factor)


@function(reference=lambda x, **options: interpolate.reference(x, mode="bilinear", align_corners=True, **options), **SPACES,
          samples=(Sample((1, 2, 3, 4), scale_factor=2),))
def upsample_bilinear(input, size: object = None, scale_factor: object = None):
    """Bilinear ``interpolate`` whose corners are those of the input."""
    _deprecated("upsample_bilinear")
    return interpolate.callable(input, size, scale_factor, "bilinear", True)


def _tbc_reference(x, weight, bias, pad=0):
    x = np.pad(x, ((pad, pad), (0, 0), (0, 0)))
    steps = len(x) - len(weight) + 1
    return sum(x[k:k + steps] @ w for k, w in enumerate(weight)) + bias


@function(namespaces=("torch", "nn.functional"), method=False, kinds={"pad": "int"}, reference=_tbc_reference,
          samples=(Sample((5, 2, 3), (3, 3, 4), (4,)), Sample((4, 1, 2), (2, 2, 3), (3,), 1)))
def conv_tbc(input, weight, bias, pad: int = 0):
    """Convolution along the first dimension of (time, batch, channels) with ``weight`` (width, channels, outputs)."""
    s, w = input._shape, weight._shape
    if len(s) != 3:
        raise RuntimeError("Input must have 3 dims: time, batch, in_channel")
    if len(w) != 3:
        raise RuntimeError("Weight tensor must have 3 dims: kernel_width, in_channels, out_channels.")
    if len(bias._shape) != 1:
        raise RuntimeError("Bias must be 1-D")
    if s[2] != w[1]:
        raise RuntimeError("Input dim 2 (input channels) is not == dim 1 in the weight tensor")
    if bias._n != w[2]:
        raise RuntimeError("Bias size must equal dim 2 in the weight tensor (output channels).")
    steps = s[0] + 2 * pad - w[0] + 1
    if steps < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {steps}: {[steps, s[1], w[2]]}")
    # The node saves copies, not views of what was given: programs can keep these, and backward needs them in rows.
    rows, taps = input.permute(1, 2, 0).contiguous(), weight.permute(2, 1, 0).contiguous()
    found = REGISTRY["conv1d"].callable(rows, taps, bias, 1, pad)
    return renamed(found.permute(2, 0, 1).clone(memory_format=numbagrad.contiguous_format), "ConvTbcBackward0")
