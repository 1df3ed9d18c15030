"""Activation functions of straight pieces: ``relu`` and its kin (``hardswish`` has a bent one)."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.extend import REGISTRY, UNARY, Sample, Tensor, elementwise, function
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where

from .activation import BOTH, FUNCTIONAL, INF, NAN, POINTS, activation, in_place, in_place_function


@elementwise(namespaces=BOTH, accepts="ordered", samples=UNARY, points=POINTS, reference=lambda x: np.maximum(x, 0),
             keywords=in_place("relu"), fused=True)
def relu(input):
    """``max(input, 0)``; NaN stays NaN, and -0 stays -0."""
    return where(input < 0, 0, input)


@relu.gradient
def _(g, y):
    return where(y <= 0, 0, g)


def between(x, low, high):
    """x brought between two numbers: NaN stays NaN, a zero keeps its sign at a zero, and a bound that is NaN wins.

    What is asked of the bounds alone costs a loop nothing."""
    x = where(low != low, low, where(low > x, low, x))
    return where(high != high, high, where(high < x, high, x))


@activation(names="HardtanhBackward0", reference=lambda x: np.clip(x, 0, 6), domain=(-8.0, 8.0),
             points=(*POINTS, 6.0), accepts="ordered")
def relu6(input):
    """``min(max(input, 0), 6)``."""
    return where(input > 6, 6, where(input < 0, 0, input))


@relu6.gradient
def _(g, input):
    return where((input <= 0) | (input >= 6), 0, g)


@activation(reference=lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
             samples=(*UNARY, Sample((3, 4), 0.2)))
def leaky_relu(input, negative_slope: float = 0.01):
    """``input`` where positive, else ``negative_slope * input``."""
    return where(input > 0, input, negative_slope * input)


@leaky_relu.gradient
def _(g, input, negative_slope):
    return where(input > 0, g, g * negative_slope)


@activation(names="HardtanhBackward0", accepts="ordered", usual="min_val <= max_val", points=(*POINTS, 1.0, -1.0),
             stored=("min_val", "max_val"),
             reference=lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
             samples=(*UNARY, Sample((3, 4), -0.5, 1.5)))
def hardtanh(input, min_val: float = -1.0, max_val: float = 1.0):
    """``input`` brought into [min_val, max_val]."""
    return between(input, min_val, max_val)


@hardtanh.refuses
def _(args, compute):
    if isinstance(args[1], complex) or isinstance(args[2], complex):
        raise NotImplementedError("\"hardtanh\" not implemented for complex bounds")
    if args[1] > args[2]:
        raise ValueError(f"min_val cannot be greater than max_val (hardtanh with {args[1]} and {args[2]})")
    if compute is dt.uint8 and args[1] < 0:
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")


@hardtanh.gradient
def _(g, input, min_val, max_val):
    return where((input <= min_val) | (input >= max_val), 0, g)


def sixth(x):
    """x / 6, rounded once, of a number from 0 to 6 that is not subnormal, in half the time of a division."""
    q = x * (1 / 6)
    return q + (x - q * 6) * (1 / 6)


@activation(reference=lambda x: np.clip(x + 3, 0, 6) / 6, domain=(-5.0, 5.0), points=(*POINTS, 3.0, -3.0))
def hardsigmoid(input):
    """``relu6(input + 3) / 6``."""
    return sixth(s.minimum(s.maximum(input + 3, 0), 6))


@hardsigmoid.gradient
def _(g, input):
    return where((input > -3) & (input < 3), g / 6, 0)


@activation(reference=lambda x: x * np.clip(x + 3, 0, 6) / 6, domain=(-5.0, 5.0), points=(*POINTS[:4], NAN, 3.0, -3.0))
def hardswish(input):
    """``input * relu6(input + 3) / 6``."""
    return input * sixth(s.minimum(s.maximum(input + 3, 0), 6))


@hardswish.gradient
def _(g, input):
    return where(input <= -3, 0, where(input < 3, g * (input / 3 + 0.5), g))


@elementwise(namespaces=BOTH, accepts="realfloat", inplace=False, fused=True, points=(*POINTS, 0.5, -0.5),
             samples=(*UNARY, Sample((3, 4), 1.0)), dtypes="float", holds=("lambd",),
             reference=lambda x, lambd=0.5: np.where((x >= -lambd) & (x <= lambd), 0, x))
def hardshrink(input, lambd: float = 0.5):
    """``input`` where ``|input| > lambd``, else 0."""
    return where((input >= -lambd) & (input <= lambd), 0, input)


@hardshrink.gradient
def _(g, input, lambd):
    return where((input >= -lambd) & (input <= lambd), 0, g)


@elementwise(private=True, accepts="realfloat", inplace=False, points=(*POINTS, 0.5, -0.5), names="SoftshrinkBackward0",
             fused=True, samples=(Sample((3, 4), 0.5),), dtypes="float", torch_name="softshrink",
             reference=lambda x, lambd: np.sign(x) * np.maximum(np.abs(x) - lambd, 0))
def softshrink_kernel(input, lambd: float):
    """``softshrink`` after the check of its parameter."""
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0))


@softshrink_kernel.gradient
def _(g, input, lambd):  # PyTorch rounds the number here, and not above
    return where((input >= -s.held(lambd)) & (input <= s.held(lambd)), 0, g)


@function(out="wider", namespaces=FUNCTIONAL, method=False, samples=(*UNARY, Sample((3, 4), 1.0)), points=(*POINTS, 0.5, -0.5),
          reference=lambda x, lambd=0.5: np.where(x == x, np.sign(x) * np.maximum(np.abs(x) - lambd, 0), x))
def softshrink(input, lambd=0.5):
    """``input`` moved towards zero by ``lambd``, zero between -lambd and lambd."""
    d = input._kind.dtype
    most = dt.finfo(d).max if d.category == 2 else INF
    if isinstance(lambd, complex):
        raise RuntimeError("value cannot be converted to type double without overflow")
    if not 0 <= lambd <= most:
        raise RuntimeError(f"lambda must be in range [0, {most:g}] for input dtype {dt.scalar_name(d)}, but found {lambd:g}")
    return softshrink_kernel(input, lambd)


@activation(namespaces=BOTH, accepts="ordered", stored=("value",), samples=(Sample((3, 4), 0.5, 20.0), Sample((), 0.25, -1.0)),
             points=(*POINTS, 0.5), reference=lambda x, threshold, value: np.where(x <= threshold, value, x))
def threshold(input, threshold: float, value: float):
    """``input`` where it is above ``threshold``, else ``value``."""
    return where(input <= threshold, value, input)


@threshold.gradient
def _(g, input, threshold):
    return where(input <= threshold, 0, g)


@elementwise(private=True, accepts="realfloat", inplace=False, names="PreluKernelBackward0", dtypes="float", fused=True,
             samples=(Sample((2, 3, 4), (3, 1)),), reference=lambda x, w: np.where(x > 0, x, w * x))
def prelu_kernel(input, weight):
    """``input`` where positive, else ``weight * input``, with plain broadcasting."""
    return where(input > 0, input, weight * input)


@prelu_kernel.gradient
def _(g, input, weight):
    return where(input > 0, g, weight * g), where(input >= 0, 0, input * g)


def _prelu_reference(x, w):
    shape = [1] * x.ndim
    if x.ndim > 1:
        shape[1] = w.size
    w = w.reshape(shape) if x.ndim else w.reshape(())
    return np.where(x > 0, x, w * x)


@function(namespaces=BOTH, samples=(Sample((2, 3, 4), (3,)), Sample((5, 4), (1,)), Sample((4,), (1,))),
          reference=_prelu_reference)
def prelu(input, weight):
    """``input`` where positive, else ``weight * input`` with one weight, or one for each channel (dimension 1)."""
    if not isinstance(input, Tensor):
        raise arguments.wrong(input, "Tensor", "prelu", "input", 1)
    if not isinstance(weight, Tensor):
        raise arguments.wrong(weight, "Tensor", "prelu", "weight", 2)
    shape = input._shape
    if weight._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {input.dtype} and {weight.dtype}")
    if weight._n != 1:
        if not shape:
            raise RuntimeError("prelu: Not allow zero-dim input tensor.")
        channels = shape[1] if len(shape) > 1 else 1
        if channels != weight._n:
            raise RuntimeError("Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                               f"{weight._n} and channel size = {channels} (prelu of shapes {list(shape)} and "
                               f"{list(weight._shape)}).")
    if len(weight._shape) > 1:
        raise RuntimeError("prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = "
                           f"{len(weight._shape)}")
    target = [1] * len(shape)
    if len(shape) > 1:
        target[1] = weight._n
    if weight._shape != tuple(target):
        weight = REGISTRY["view"].callable(weight.contiguous(), tuple(target))
    return prelu_kernel(input, weight)


for _name, _spaces in (("relu", BOTH), ("leaky_relu", FUNCTIONAL), ("hardtanh", FUNCTIONAL), ("threshold", BOTH)):
    in_place_function(_name, _spaces)
