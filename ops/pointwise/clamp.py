"""Clamps: elements brought between bounds that are numbers or tensors."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.extend import REGISTRY, Sample, Tensor, elementwise, function
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where

from .activation import POINTS
from .piecewise_linear import between


def _clip(x, min=None, max=None):
    y = x if min is None else np.maximum(x, min)
    return y if max is None else np.minimum(y, max)


@elementwise(private=True, accepts="real", names="ClampBackward1", points=(*POINTS, 1.0, -1.0), torch_name="clamp",
             samples=(Sample((3, 4), -1.0, 1.0),), reference=_clip, fits=("min", "max"), holds_back=("min", "max"))
def clamp_numbers(input, min: float, max: float):
    """``clamp`` of a floating-point tensor between two numbers."""
    return between(input, min, max)


@clamp_numbers.gradient
def _(g, input, min, max):
    return where((input >= min) & (input <= max), g, 0)


@elementwise(private=True, accepts="real", names={"ttt": "ClampBackward0", "tss": "ClampBackward1"}, torch_name="clamp",
             samples=(Sample((3, 4), (4,), (3, 1)), Sample((3, 4), -1, 1)), reference=_clip, fits=("min", "max"),
             holds_back=("min", "max"))
def clamp_between(input, min, max):
    """``clamp`` between two tensors, or two numbers."""
    return s.minimum(s.maximum(input, min), max)


@clamp_between.gradient
def _(g, input, min, max):
    return (where((input >= min) & (input <= max), g, 0), where((min < max) & (input < min), g, 0),
            where((input > max) | (max < min), g, 0))


def _one_sided(name, private, suffix):
    """Clamping on one side; ``clamp`` with one bound and ``clamp_min`` differ in the node's name only."""
    low = "min" in name or "low" in name

    def fn(input, min):
        return s.maximum(min, input)  # at a tie ``input``: -0 stays -0

    def fn_max(input, max):
        return s.minimum(max, input)
    chosen = fn if low else fn_max
    chosen.__name__ = chosen.__qualname__ = name
    chosen.__module__ = __name__
    chosen.__doc__ = f"``{'max(input, min)' if low else 'min(input, max)'}``, elementwise; NaN stays NaN."
    op = elementwise(chosen, numbers="any" if private else "later", private=private, accepts="real", fits=("min", "max"),
                     holds_back=("min", "max"), names=suffix, reference=np.maximum if low else np.minimum,
                     points=(*POINTS, 0.5), samples=(Sample((3, 4), 0.5), Sample((3, 4), (4,)), Sample((), -0.5)))
    if low:
        @op.gradient
        def _(g, input, min):
            return where(input >= min, g, 0), where(input < min, g, 0)
    else:
        @op.gradient
        def _(g, input, max):
            return where(input <= max, g, 0), where(input > max, g, 0)
    return op


clamp_min = _one_sided("clamp_min", False, {"ts": "ClampMinBackward0", "tt": "ClampMinBackward1"})
clamp_max = _one_sided("clamp_max", False, {"ts": "ClampMaxBackward0", "tt": "ClampMaxBackward1"})
clamp_low = _one_sided("clamp_low", True, {"ts": "ClampBackward1", "tt": "ClampBackward0"})
clamp_high = _one_sided("clamp_high", True, {"ts": "ClampBackward1", "tt": "ClampBackward0"})


@function(inplace="into", aliases=("clip",), points=(*POINTS, 1.0, -1.0), reference=_clip, dtypes="any",
          samples=(Sample((3, 4), -1.0, 1.0), Sample((3, 4), (4,), (3, 1)), Sample((3, 4), min=0.25),
                   Sample((3, 4), max=(4,)), Sample((0, 3), 0.0, 1.0)))
def clamp(input, min=None, max=None, *, out=None):
    """``input`` brought into [min, max]: numbers or tensors, either may be None; ``max`` wins where they cross.

    At a bound the gradient goes to ``input``; beyond it, to the bound if that is a tensor."""
    if not isinstance(input, Tensor):
        raise arguments.wrong(input, "Tensor", "clamp", "input", 1)
    if max is None:
        if min is None:
            raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
        return clamp_low(input, min, out=out)
    if min is None:
        return clamp_high(input, max, out=out)
    if isinstance(min, Tensor) != isinstance(max, Tensor):
        min, max = (b.item() if arguments.single(b) else b for b in (min, max))  # a 0-d tensor stands for a number too
    if isinstance(min, Tensor) != isinstance(max, Tensor):
        raise TypeError("clamp() received an invalid combination of arguments - got (Tensor, "
                        f"{type(min).__name__}, {type(max).__name__}): 'min' and 'max' must both be Tensors or both be "
                        "Numbers")
    if input._kind.dtype.category == 2 and (min.__class__ is float or min.__class__ is int):
        if min.__class__ is int:
            dt.check_long(min)
        if max.__class__ is int:
            dt.check_long(max)
        return clamp_numbers(input, min, max, out=out)
    return clamp_between(input, min, max, out=out)


def _loop_of(input, min=None, max=None):
    """The elementwise op that a call comes to, with its arguments."""
    if max is None or min is None:
        return (clamp_low, (input, min)) if max is None else (clamp_high, (input, max))
    op = clamp_numbers if input._kind.dtype.category == 2 and not isinstance(min, Tensor) else clamp_between
    return op, (input, min, max)


REGISTRY["clamp"].loop_of = _loop_of
