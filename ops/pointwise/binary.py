"""Elementwise operations of two and more operands, rounding to decimals, signs."""

from __future__ import annotations

import builtins
import math

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.launch import launch
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, elementwise, function
from numbagrad.extend import scalar as expr
from numbagrad.extend import scalar as s
from numbagrad.kernel import emit
from numbagrad.kernel.expr import where

from .arithmetic import BINARY, INF, NAN, UNARY, pow


@elementwise(numbers="none", reference=np.fmax, samples=BINARY[:4], accepts="real", inplace=False, points=(NAN, 0.5))
def fmax(input, other):
    """Larger of two elements; a number wins over NaN."""
    return s.fmax(input, other)


@elementwise(numbers="none", reference=np.fmin, samples=BINARY[:4], accepts="real", inplace=False, points=(NAN, 0.5))
def fmin(input, other):
    """Smaller of two elements; a number wins over NaN."""
    return s.fmin(input, other)


def _decimals(input, decimals, out=None, inplace=False):
    """``round`` to a number of decimals: scaled by a power of ten, exact for powers that the dtype holds."""
    if input._kind.dtype.category < 2:
        raise NotImplementedError(f"\"round_cpu\" not implemented for '{dt.scalar_name(input._kind.dtype)}' "
                                  "with decimals")
    decimals = arguments.check_int(decimals, "round", "decimals", 0)
    op = round_up if decimals > 0 else round_down
    scale = 10.0 ** builtins.abs(decimals) if builtins.abs(decimals) < 309 else INF
    if inplace:
        from numbagrad.autograd.inplace import apply
        return apply(op, input, (scale,))
    return op.call(input, scale, out=out)


@elementwise(reference=lambda x, decimals=0: np.round(x, decimals), accepts="ordered", points=(0.5, 1.5, -2.5, -0.0, INF, NAN),
             samples=(*UNARY, Sample((3, 4), decimals=1), Sample((3, 4), decimals=-1)), names="RoundBackward0",
             keywords={"decimals": (0, _decimals)}, namespaces=("torch", "special"))
def round(input):
    """Nearest integer, halves to the even one; ``decimals`` rounds to that many decimal places."""
    return s.rint(input)


@elementwise(private=True, accepts="realfloat", reference=lambda x, scale: np.rint(x * scale) / scale, dtypes="float",
             samples=(Sample((3, 4), 10.0),), names="RoundBackward1")
def round_up(input, scale: float):
    """Rounded to a multiple of ``1 / scale``."""
    return s.rint(input * scale) / scale


@elementwise(private=True, accepts="realfloat", reference=lambda x, scale: np.rint(x / scale) * scale, dtypes="float",
             samples=(Sample((3, 4), 10.0),), names="RoundBackward1")
def round_down(input, scale: float):
    """Rounded to a multiple of ``scale``."""
    return s.rint(input / scale) * scale


@elementwise(reference=lambda x: x - np.trunc(x), accepts="realfloat", samples=UNARY, points=(-1.5, 2.0))
def frac(input):
    """Fraction ``input - trunc(input)``, with the sign of ``input``."""
    return input - s.trunc(input)


@elementwise(numbers="none", accepts="realfloat", reference=np.hypot, samples=BINARY[:4], points=(0.0, 1e30, INF, NAN))
def hypot(input, other):
    """Length ``sqrt(input^2 + other^2)`` without overflow in between."""
    a, b = s.absolute(input), s.absolute(other)
    large, small = s.maximum(a, b), s.minimum(a, b)
    ratio = where(large == 0, 0, small / large)
    return where((a == INF) | (b == INF), INF, large * s.sqrt(1 + ratio * ratio))


@hypot.gradient
def _(g, y, input, other):
    return g * (input / y), g * (other / y)


@elementwise(numbers="later", accepts="float", reference=np.copysign, samples=BINARY, fused=True,
             names={"tt": "CopysignBackward0", "ts": "CopysignBackward1"})
def copysign(input, other):
    """``|input|`` with the sign of ``other``, that of a zero included."""
    return s.copysign(input, other)


@copysign.gradient
def _(g, y, input):
    return where(input == 0, 0, g * (y / input)), 0


@elementwise(reference=lambda a, b, w: a + w * (b - a), accepts="inexact", fits=("weight",),
             samples=(Sample((3, 4), (3, 4), 0.3), Sample((3, 4), (3, 4), 0.8), Sample((3, 4), (4,), (3, 1))),
             names={"tts": "LerpBackward0", "ttt": "LerpBackward1"}, dtypes="float")
def lerp(input, end, weight):
    """Linear interpolation ``input + weight * (end - input)``, exact at both ends."""
    d = end - input
    return where(s.absolute(weight) < 0.5, input + weight * d, end - d * (1 - weight))


@lerp.refuses
def _(args, compute):
    arguments.check_tensor(args[0], "lerp", "input", 1)
    arguments.check_tensor(args[1], "lerp", "end", 2)
    for name, a in zip(("end", "weight"), args[1:]):
        if isinstance(a, Tensor) and (a._shape or name == "end") and a._kind.dtype is not args[0]._kind.dtype:
            raise RuntimeError(f"lerp(): expected dtype {args[0].dtype} for `{name}` but got dtype {a.dtype}")
    if args[0]._kind.dtype.category < 2:
        raise NotImplementedError(f"\"lerp_kernel_scalar\" not implemented for '{dt.scalar_name(args[0]._kind.dtype)}'")


@lerp.gradient
def _(g, input, end, weight):
    return g * (1 - weight), g * weight, g * (end - input)


@elementwise(numbers="none", reference=lambda a, b, c, value=1: a + value * b * c, accepts="number", dtypes="float",
             samples=(Sample((3, 4), (3, 4), (3, 4)), Sample((3, 4), (4,), (3, 1), value=0.5)))
def addcmul(input, tensor1, tensor2, value: float = 1):
    """``input + value * tensor1 * tensor2``."""
    return input + value * tensor1 * tensor2


@addcmul.gradient
def _(g, tensor1, tensor2, value):
    return g, g * (tensor2 * value), g * (tensor1 * value)


@elementwise(numbers="none", reference=lambda a, b, c, value=1: a + value * b / c, accepts="inexact", dtypes="float",
             domain=(0.4, 2.0),
             samples=(Sample((3, 4), (3, 4), (3, 4)), Sample((3, 4), (4,), (3, 1), value=0.5)))
def addcdiv(input, tensor1, tensor2, value: float = 1):
    """``input + value * tensor1 / tensor2``."""
    return input + value * tensor1 / tensor2


@addcdiv.refuses
def _(args, compute):
    if all([isinstance(a, Tensor) and a._kind.dtype.category < 2 for a in args[1:3]]):
        raise RuntimeError("Integer division with addcdiv is no longer supported: divide tensor1 by tensor2 first, rounded as "
                           "you want it, and add that")


@addcdiv.gradient
def _(g, tensor1, tensor2, value):
    d = g * (value / tensor2)
    return g, d, -(d * (tensor1 / tensor2))


@elementwise(numbers="none", reference=np.heaviside, samples=BINARY[:4], accepts="real", differentiable=False, underived=True,
             points=(0.0,))
def heaviside(input, values):
    """0 below zero, 1 above, ``values`` at zero."""
    return where(input == 0, values, where(input > 0, 1, 0))


@heaviside.refuses
def _(args, compute):
    _of_one_dtype(args)


def _of_one_dtype(args, out=None):
    found = {a._kind.dtype for a in (*args, out) if isinstance(a, Tensor)}
    if any([d.is_complex for d in found]):
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if len(found) > 1:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


heaviside.check_out = _of_one_dtype


@elementwise(reference=np.deg2rad, samples=UNARY, accepts="float", complex=False,
             domain=(-180.0, 180.0), names="Deg2RadBackward0")
def deg2rad(input):
    """Degrees to radians."""
    return input * (math.pi / 180)


@elementwise(reference=np.rad2deg, samples=UNARY, accepts="float", complex=False, names="Rad2DegBackward0")
def rad2deg(input):
    """Radians to degrees."""
    return input * (180 / math.pi)


@elementwise(numbers="none", reference=lambda a, b: a * np.exp2(b), samples=BINARY[:4], accepts="float")
def ldexp(input, other):
    """``input * 2 ** other``."""
    return input * s.exp2(other)


@elementwise(reference=np.sign, samples=UNARY, accepts="real", points=(0.0, -3.0), complex="sgn_complex")
def sgn(input):
    """Sign; for complex tensors the unit number ``input / |input|``, 0 at 0."""
    return s.sign(input)


_size = emit.Pointwise("size", ("x",), (), (s.absolute(expr.var("x")),))
_unit = emit.Pointwise("unit", ("x",), (), (s.sgn(expr.var("x")),))


@custom(private=True, contiguous=False, node="AbsBackward0", dtypes="complex", reference=np.abs, samples=UNARY)
def abs_complex(input):
    """Absolute value of complex numbers, a real tensor."""
    return input._shape, storage.kind_of(input._kind.dtype.to_real(), input._kind.device)


@abs_complex.cuda
@abs_complex.cpu
def _(out, input):
    launch(_size, input._kind.dtype, (input,), (), (out,), out._shape)


@abs_complex.gradient
def _(g, input):
    return sgn_complex(input) * g


@custom(private=True, contiguous=False, node="SgnBackward0", dtypes="complex", reference=np.sign, samples=UNARY)
def sgn_complex(input):
    """``input / |input|``, 0 at 0."""
    return input._shape, input._kind


@sgn_complex.cuda
@sgn_complex.cpu
def _(out, input):
    launch(_unit, input._kind.dtype, (input,), (), (out,), out._shape)


@sgn_complex.gradient
def _(g, input, y):
    size = abs_complex(input)
    along = REGISTRY["real"].callable(g * REGISTRY["conj"].callable(y))
    return REGISTRY["where"].callable(size == 0, 0, (g - y * along) / size)


@function(reference=np.positive, samples=UNARY, dtypes="any")
def positive(input):
    """The tensor itself; bool tensors have no ``+``."""
    if input._kind.dtype.category == 0:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def _float_power(a, b):
    return np.float_power(a, b)


@function(out="wider", reference=_float_power, samples=(Sample((3, 4), (4,)), Sample((3, 4), 1.5), Sample(2.0, (3, 4))),
          domain=(0.3, 2.0), inplace=True)
def float_power(input, exponent):
    """Power computed in float64 (complex128 for complex arguments)."""
    def wide(x):
        if not isinstance(x, Tensor):
            return x
        return x.to(dtype=dt.complex128 if x._kind.dtype.is_complex else dt.float64)
    if not isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        raise arguments.wrong(input, "Tensor", "float_power", "input", 1)
    if isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        return pow(wide(input), exponent)
    return pow(wide(input), wide(exponent))


@elementwise(numbers="none", accepts="integer", differentiable=False, dtypes="int",
             reference=lambda a, b: np.gcd(a.astype(int), b.astype(int)),
             samples=(Sample(("int64", (3, 4), -30, 30), ("int64", (4,), -30, 30)),))
def gcd(input, other):
    """Greatest common divisor."""
    return s.gcd(input, other)


@elementwise(numbers="none", accepts="integer", differentiable=False, dtypes="int",
             reference=lambda a, b: np.lcm(a.astype(int), b.astype(int)),
             samples=(Sample(("int64", (3, 4), -30, 30), ("int64", (4,), -30, 30)),))
def lcm(input, other):
    """Least common multiple."""
    return s.lcm(input, other)
