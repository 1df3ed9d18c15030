"""Elementwise arithmetic and elementary functions."""

from __future__ import annotations

import math
import numbers

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.creation import tensor
from numbagrad.core.promotion import common_dtype, is_number
from numbagrad.extend import BINARY, UNARY, Sample, Tensor, elementwise
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where

from ..refusal import refusal
from .multiples import scaled

INF, NAN = math.inf, math.nan


def _rounded(input, other, rounding_mode, out=None, inplace=False):
    """Division with ``rounding_mode``."""
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError("div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
                           f"'{rounding_mode}'")
    op = div_trunc if rounding_mode == "trunc" else div_floor
    both = (input, other)
    tensors = [a for a in both if isinstance(a, Tensor)]
    if not tensors and all(map(is_number, both)):  # (as in PyTorch)
        input = tensor(input)
        both, tensors = (input, other), [input]
    if op is div_trunc and tensors and all(isinstance(a, Tensor) or is_number(a) for a in both) and (
            common_dtype(tensors, [a for a in both if not isinstance(a, Tensor)]).category == 1):
        op = div_whole
    if inplace:
        from numbagrad.autograd.inplace import apply
        return apply(op, input, (other,))
    return op.call(input, other, out=out)


@elementwise(numbers="alone", reference=np.add, samples=BINARY, holds=("input", "other"),
             keywords={"alpha": (1, scaled("add"))})
def add(input, other):
    """Sum ``input + alpha * other``."""
    return input + other


@elementwise(numbers="alone", accepts="number", reference=np.subtract, samples=BINARY, aliases=("subtract",),
             holds=("input", "other"), keywords={"alpha": (1, scaled("sub"))})
def sub(input, other):
    """Difference ``input - alpha * other``."""
    return input - other


TRUTH = "If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."


def _no_bools(args, compute):
    """PyTorch's RuntimeErrors of a subtraction of bools."""
    bools = [a._kind.dtype.category == 0 if isinstance(a, Tensor) else isinstance(a, (bool, np.bool_)) for a in args]
    if all(bools):
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                           "`logical_xor()` operator instead.")
    if any(bools):
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. " + TRUTH)


sub.refuses(_no_bools)


@elementwise(numbers="later", accepts="number", reference=lambda a, b: np.subtract(b, a), samples=BINARY, inplace=False,
             names={"tt": "RsubBackward0", "ts": "RsubBackward1"}, holds=("input", "other"),
             keywords={"alpha": (1, scaled("sub", True))})
def rsub(input, other):
    """Difference ``other - input``."""
    return other - input


rsub.refuses(_no_bools)


@elementwise(numbers="alone", reference=np.multiply, samples=BINARY, aliases=("multiply",), unrounded="other")
def mul(input, other):
    """Product ``input * other``."""
    return input * other


@elementwise(numbers="alone", accepts="float", reference=np.divide, samples=BINARY, aliases=("divide", "true_divide"),
             domain=(0.5, 2.0), keywords={"rounding_mode": (None, _rounded)}, unrounded="other")
def div(input, other):
    """Quotient ``input / other``; ``rounding_mode`` "trunc" or "floor" rounds it."""
    return input / other


@elementwise(accepts="real", reference=lambda a, b: np.trunc(np.divide(a, b)), samples=BINARY, domain=(0.5, 4.0),
             private=True, second_order=False, names="DivBackward2")
def div_trunc(input, other):
    """Quotient rounded towards zero."""
    return s.trunc(input / other)


@elementwise(accepts="int", reference=lambda a, b: np.trunc(np.divide(a, b)),
             samples=(Sample(("int64", (3, 4), -9, 9), ("int64", (4,), 1, 5)),), private=True, differentiable=False,
             dtypes="int")
def div_whole(input, other):
    """Quotient of integers rounded towards zero, without the doubles that cannot hold all of them."""
    return s.floor_divide(input - s.fmod(input, other), other)


@elementwise(accepts="ordered", reference=np.floor_divide, samples=BINARY, domain=(0.5, 4.0), private=True,
             second_order=False, names="DivBackward2")
def div_floor(input, other):
    """Quotient rounded towards minus infinity, with a gradient of zeros."""
    return s.floor_divide(input, other)


@elementwise(numbers="alone", accepts="ordered", reference=np.floor_divide, samples=BINARY, domain=(0.5, 4.0),
             differentiable=False, underived=True, holds=("input",), unrounded="other")
def floor_divide(input, other):
    """Quotient rounded towards minus infinity."""
    return s.floor_divide(input, other)


@elementwise(accepts="ordered", reference=np.remainder, samples=BINARY, domain=(0.5, 4.0),
             names={"tt": "RemainderBackward1", "ts": "RemainderBackward0"}, fused=True, holds=("input", "other"))
def remainder(input, other):
    """Remainder with the sign of the divisor: ``input - other * floor(input / other)``."""
    return s.remainder(input, other)


@elementwise(numbers="later", accepts="ordered", reference=np.fmod, samples=BINARY, domain=(0.5, 4.0),
             names={"tt": "FmodBackward1", "ts": "FmodBackward0"}, fused=True, holds=("input", "other"))
def fmod(input, other):
    """Remainder with the sign of the dividend: ``input - other * trunc(input / other)``."""
    return s.fmod(input, other)


_refuse_zeros = refusal(RuntimeError, "ZeroDivisionError")


def _no_zeros(args, compute):
    """RuntimeError for an integer division by zero."""
    other = args[1]
    if compute.category != 1:
        return
    if isinstance(other, Tensor):
        _refuse_zeros((other.detach() == 0).any())
    elif not int(other) % 256 ** compute.itemsize:
        raise RuntimeError("ZeroDivisionError")


for _op in (div_trunc, div_whole, div_floor, floor_divide, remainder, fmod):
    _op.refuses(_no_zeros)


@elementwise(counts_bool=True, private=True, reference=np.square, samples=UNARY, names="PowBackward0")
def pow_2(input):
    """Second power."""
    return input * input


@pow_2.gradient
def _(g, input):
    return g * (2 * input)


@elementwise(counts_bool=True, private=True, reference=lambda a: a**3, samples=UNARY, names="PowBackward0")
def pow_3(input):
    """Third power."""
    return input * input * input


@pow_3.gradient
def _(g, input):
    return g * (3 * (input * input))


@elementwise(private=True, accepts="float", reference=np.sqrt, samples=UNARY, domain=(0.1, 4.0), names="PowBackward0")
def pow_half(input):
    """Power one half."""
    return s.sqrt(input)


@pow_half.gradient
def _(g, y):
    return g * (0.5 / y)


@elementwise(private=True, accepts="float", reference=lambda a: a**-0.5, samples=UNARY, domain=(0.1, 4.0),
             names="PowBackward0")
def pow_minus_half(input):
    """Power minus one half."""
    return s.rsqrt(input)


@pow_minus_half.gradient
def _(g, y):
    return g * (-0.5 * (y * y * y))


@elementwise(reference=np.power, samples=(*BINARY, Sample((2, 3), 3), Sample((2, 3), -0.7)), domain=(0.3, 2.0),
             names={"ts": "PowBackward0", "tt": "PowBackward1", "st": "PowBackward2"},
             special={2: pow_2, 3: pow_3, 0.5: pow_half, -0.5: pow_minus_half}, accepts="number",
             holds=("input", "exponent"))
def pow(input, exponent):
    """Power ``input ** exponent``."""
    return s.power(input, exponent)


@pow.gradient
def _(g, y, input, exponent):
    return (where(exponent == 0, 0, g * (exponent * s.power(input, s.held(exponent - 1)))),
            g * where((input == 0) & (exponent >= 0), 0, y * s.log(input)))


@pow.refuses
def _(args, compute):
    if compute.category == 1 and isinstance(args[1], numbers.Integral):
        if args[1] < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        dt.fit(args[1], compute)


@elementwise(reference=np.negative, samples=UNARY, aliases=("negative",), accepts="number")
def neg(input):
    """Negation ``-input``."""
    return -input


@neg.refuses
def _(args, compute):
    if compute.category == 0:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported. " + TRUTH)


@elementwise(accepts="number", reference=np.abs, samples=UNARY, aliases=("absolute",), points=(0.0, -0.0), result="real",
             complex="abs_complex")
def abs(input):
    """Absolute value."""
    return s.absolute(input)


@elementwise(reference=np.sign, samples=UNARY, accepts="real", points=(0.0, -3.0))
def sign(input):
    """Sign: -1, 0 or 1."""
    return s.sign(input)


@elementwise(counts_bool=True, reference=np.square, samples=UNARY, names="PowBackward0")
def square(input):
    """Second power ``input ** 2``."""
    return input * input


@square.gradient
def _(g, input):
    return g * (2 * input)


@elementwise(accepts="float", reference=np.reciprocal, samples=UNARY, domain=(0.3, 3.0))
def reciprocal(input):
    """Reciprocal ``1 / input``."""
    return 1 / input


@reciprocal.gradient
def _(g, y):
    return -(g * (y * y))


@elementwise(accepts="float", reference=np.sqrt, samples=UNARY, domain=(0.1, 4.0))
def sqrt(input):
    """Square root."""
    return s.sqrt(input)


@sqrt.gradient
def _(g, y):
    return g / (2 * y)


@elementwise(accepts="float", reference=lambda x: 1 / np.sqrt(x), samples=UNARY, domain=(0.1, 4.0))
def rsqrt(input):
    """Reciprocal square root ``1 / sqrt(input)``."""
    return s.rsqrt(input)


def _unary(name, reference, domain=(-2.0, 2.0), doc="", points=(), **options):
    """An op that is one scalar primitive."""
    prim = getattr(s, name)

    def fn(input):
        return prim(input)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    fn.__module__ = __name__
    return elementwise(fn, accepts=options.pop("accepts", "float"), reference=reference, domain=domain, samples=UNARY,
                       points=points, **options)


def _vector(f):
    """A NumPy function of a scalar function from ``math``."""
    return np.vectorize(f, otypes=[float])


def _erfinv(y):
    from scipy.special import erfinv
    return erfinv(y)


exp = _unary("exp", np.exp, doc="Exponential.", points=(0.0, -100.0, INF, -INF, NAN))
exp2 = _unary("exp2", np.exp2, doc="Power of two ``2 ** input``.", namespaces=("torch", "special"))
expm1 = _unary("expm1", np.expm1, doc="``exp(input) - 1``, accurate near zero.", points=(0.0, 1e-6),
               namespaces=("torch", "special"))
log = _unary("log", np.log, (0.1, 4.0), "Natural logarithm.", points=(INF, 1.0))
log2 = _unary("log2", np.log2, (0.1, 4.0), "Logarithm to base 2.")
log10 = _unary("log10", np.log10, (0.1, 4.0), "Logarithm to base 10.")
log1p = _unary("log1p", np.log1p, (-0.5, 4.0), "``log(1 + input)``, accurate near zero.", points=(0.0, 1e-6),
               namespaces=("torch", "special"), names="Log1PBackward0")
sin = _unary("sin", np.sin, (-4.0, 4.0), "Sine.", points=(0.0, 1000.0))
cos = _unary("cos", np.cos, (-4.0, 4.0), "Cosine.", points=(0.0, 1000.0))
tan = _unary("tan", np.tan, (-1.2, 1.2), "Tangent.")
asin = _unary("asin", np.arcsin, (-0.9, 0.9), "Inverse sine.", aliases=("arcsin",))
acos = _unary("acos", np.arccos, (-0.9, 0.9), "Inverse cosine.", aliases=("arccos",))
atan = _unary("atan", np.arctan, (-4.0, 4.0), "Inverse tangent.", aliases=("arctan",))
sinh = _unary("sinh", np.sinh, doc="Hyperbolic sine.")
cosh = _unary("cosh", np.cosh, doc="Hyperbolic cosine.")
tanh = _unary("tanh", np.tanh, (-4.0, 4.0), "Hyperbolic tangent.", points=(0.0, 50.0, -50.0),
              namespaces=("torch", "nn.functional"))
asinh = _unary("asinh", np.arcsinh, doc="Inverse hyperbolic sine.", aliases=("arcsinh",))
acosh = _unary("acosh", np.arccosh, (1.2, 4.0), "Inverse hyperbolic cosine.", aliases=("arccosh",))
atanh = _unary("atanh", np.arctanh, (-0.9, 0.9), "Inverse hyperbolic tangent.", aliases=("arctanh",))
erf = _unary("erf", _vector(math.erf), doc="Error function 2/sqrt(pi) * integral of exp(-t^2) from 0.",
             namespaces=("torch", "special"), points=(0.0, 6.0))
erfinv = _unary("erfinv", _erfinv, (-0.9, 0.9), "Inverse of the error function.", namespaces=("torch", "special"),
                points=(1.0, -1.0, 1.5))
erfc = _unary("erfc", _vector(math.erfc), doc="Complementary error function ``1 - erf(input)``.",
              namespaces=("torch", "special"))
floor = _unary("floor", np.floor, doc="Largest integer not above.", accepts="ordered", points=(-0.5, 2.0))
ceil = _unary("ceil", np.ceil, doc="Smallest integer not below.", accepts="ordered", points=(-0.5, 2.0))
trunc = _unary("trunc", np.trunc, doc="Integer part.", accepts="ordered", aliases=("fix",), points=(-0.5, 2.0))


@elementwise(accepts="float", reference=lambda x: 1 / (1 + np.exp(-x)), samples=UNARY, domain=(-4.0, 4.0),
             points=(0.0, 50.0, -50.0, 200.0, -200.0), namespaces=("torch", "nn.functional"))
def sigmoid(input):
    """Logistic function ``1 / (1 + exp(-input))``."""
    return s.sigmoid(input)


@sigmoid.gradient
def _(g, y):
    return g * (1 - y) * y


@elementwise(numbers="none", reference=np.maximum, samples=BINARY[:4], accepts="real", inplace=False, points=(NAN, 0.5))
def maximum(input, other):
    """Larger of two elements; NaN wins. At a tie each side takes half of the gradient."""
    return s.maximum(input, other)


@maximum.gradient
def _(g, input, other):
    half = where(input == other, 0.5 * g, g)
    return where(input < other, 0, half), where(other < input, 0, half)


@elementwise(numbers="none", reference=np.minimum, samples=BINARY[:4], accepts="real", inplace=False, points=(NAN, 0.5))
def minimum(input, other):
    """Smaller of two elements; NaN wins. At a tie each side takes half of the gradient."""
    return s.minimum(input, other)


@minimum.gradient
def _(g, input, other):
    half = where(input == other, 0.5 * g, g)
    return where(input > other, 0, half), where(other > input, 0, half)


@elementwise(numbers="none", accepts="float", reference=np.arctan2, samples=BINARY[:4], domain=(0.3, 2.0), aliases=("arctan2",),
             points=(0.0, -0.0, 1.0, INF), fused=True)
def atan2(input, other):
    """Angle of the point (other, input), in radians in [-pi, pi]."""
    return s.atan2(input, other)


@atan2.gradient
def _(g, input, other):
    square = input * input + other * other
    return where(square == 0, 0, g * (other / square)), where(square == 0, 0, -(g * (input / square)))
