"""Functions that PyTorch keeps for scripts written before ``interpolate`` and ``conv1d``."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.user_code import user_level
from numbagrad.core.copying import copy_into, set_all
from numbagrad.core.tensor import raw
from numbagrad.extend import REGISTRY, Sample, custom, function

from ..product.product import multiply
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


def _taps(t, y, width, pad):
    """For each tap of a window the rows of ``t`` and of ``y``, both by time, that it brings together, as matrices."""
    for k in range(width):
        first, last = max(0, pad - k), min(y._shape[0], t._shape[0] + pad - k)
        if last > first:
            yield k, _rows(t, first + k - pad, last + k - pad), _rows(y, first, last)


def _rows(t, start, stop):
    """Some slices of row-major ``t`` along its first dimension as a matrix of what its last holds."""
    step = t._n // t._shape[0]
    n = (stop - start) * step
    shape = n // t._shape[-1] if t._shape[-1] else 0, t._shape[-1]
    return raw(t._buf, t._ptr + start * step * t._kind.itemsize, n, shape, None, t._kind, t._ver)


@custom(private=True, node="ConvTbcBackward0", joins=True, reference=None, dtypes="any",
        save_for={"input": ("weight",), "weight": ("input",)})
def _tbc(input, weight, bias, pad: int):
    """``conv_tbc``: a product of matrices for each tap, added to the others where it lies."""
    s, w = input._shape, weight._shape
    return (s[0] + 2 * pad - w[0] + 1, s[1], w[2]), input._kind


@_tbc.cpu
def _(out, input, weight, bias, pad):
    copy_into(out, bias)
    for k, x, y in _taps(input, out, weight._shape[0], pad) if out._n and input._n else ():
        multiply(y, x, _rows(weight, k, k + 1), beta=1.0)


@_tbc.gradient
def _(g, needs, shapes, input, weight, pad):
    return (_tbc_back.call(g, weight, pad, shapes[0][0]) if needs[0] else None,
            _tbc_weight.call(input, g, pad, shapes[1][0]) if needs[1] else None,
            REGISTRY["sum"].callable(g, (0, 1)).view(shapes[2]) if needs[2] else None)


@custom(private=True, joins=True, reference=None, dtypes="any")
def _tbc_back(g, weight, pad: int, steps: int):
    """The gradient of ``_tbc``'s input, of so many steps."""
    return (steps, g._shape[1], weight._shape[1]), g._kind


@_tbc_back.cpu
def _(out, g, weight, pad, steps):
    set_all(out, 0)
    for k, x, y in _taps(out, g, weight._shape[0], pad) if out._n and g._n else ():
        multiply(x, y, _rows(weight, k, k + 1), tb=1, beta=1.0)


@_tbc_back.gradient
def _(g_, needs, shapes, g, weight, pad):
    return (_tbc.call(g_, weight, g_.new_zeros((shapes[1][2],)), pad) if needs[0] else None,
            _tbc_weight.call(g_, g, pad, shapes[1][0]) if needs[1] else None)


@custom(private=True, reference=None, dtypes="any")
def _tbc_weight(input, g, pad: int, width: int):
    """The gradient of ``_tbc``'s weight of so many taps."""
    return (width, input._shape[2], g._shape[2]), g._kind


@_tbc_weight.cpu
def _(out, input, g, pad, width):
    set_all(out, 0)
    for k, x, y in _taps(input, g, width, pad) if input._n and g._n else ():
        multiply(_rows(out, k, k + 1), x, y, ta=1)


@_tbc_weight.gradient
def _(g_, needs, shapes, input, g, pad):
    return (_tbc_back.call(g, g_, pad, shapes[0][0]) if needs[0] else None,
            _tbc.call(input, g_, g.new_zeros((shapes[1][2],)), pad) if needs[1] else None)


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
    if input._kind is not weight._kind:
        raise RuntimeError("self and mat2 must have the same dtype, but got "
                           f"{dt.scalar_name(input.dtype)} and {dt.scalar_name(weight.dtype)}")
    if input._kind.dtype.category == 0:
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    return _tbc.call(input, weight, bias, pad)
