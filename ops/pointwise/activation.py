"""Smooth activation functions, and how one with an ``inplace`` argument is declared."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.autograd import inplace as inplace_ops
from numbagrad.base import dtypes as dt
from numbagrad.extend import REGISTRY, UNARY, Sample, elementwise, function
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where

INF, NAN = math.inf, math.nan
POINTS = (0.0, -0.0, 30.0, -30.0, INF, -INF, NAN)
FUNCTIONAL = ("nn.functional",)
BOTH = ("torch", "nn.functional")


def in_place(name):
    """What ``inplace=True`` does: the op writes into its input."""
    def run(input, *args, out=None, inplace=False):
        op = REGISTRY[name]
        *args, flag = args
        if flag and out is not None:
            raise TypeError(f"{name}() got an unexpected keyword argument 'out' beside inplace=True")
        return inplace_ops.apply(op, input, args) if flag else op.call(input, *args, out=out)
    return {"inplace": (False, run)}


def activation(**options):
    """An elementwise op of ``nn.functional`` with an ``inplace`` argument, no integer kernel and a ``..._backward``."""
    def declare(fn):
        options.setdefault("namespaces", FUNCTIONAL)
        options.setdefault("method", False)
        options.setdefault("accepts", "realfloat")
        options.setdefault("samples", UNARY)
        options.setdefault("points", POINTS)
        options.setdefault("fused", True)
        return elementwise(fn, keywords=in_place(fn.__name__), inplace=False, dtypes="float", **options)
    return declare


def in_place_function(name, namespaces):
    """The module-level function ``name_``."""
    op = REGISTRY[name]

    def fn(input, *args):
        return inplace_ops.apply(op, input, args)
    fn.__signature__ = op.signature
    fn.__name__ = fn.__qualname__ = name + "_"
    fn.__module__ = op.fn.__module__
    fn.__doc__ = f"In-place form of ``{name}``."
    return function(fn, namespaces=namespaces, method=False, differentiable=False, kinds=op.kinds)


def _ndtr(x):
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-np.asarray(x) / math.sqrt(2))


def _softplus(x, beta=1.0, threshold=20.0):
    return np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta)


def _gelu_reference(x, approximate="none"):
    if approximate == "none":
        return x * _ndtr(x)
    return x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_form(input, approximate, out=None, inplace=False):
    if approximate == "none":
        return gelu.call(input, out=out)
    if approximate != "tanh":
        raise RuntimeError("approximate argument must be either none or tanh.")
    return gelu_tanh(input, out=out)


def _part(name, reference, doc):
    """A scalar function of its own: what recorded gradients are evaluated with."""
    def fn(input):
        return getattr(s, name)(input)
    fn.__name__ = fn.__qualname__ = name
    fn.__module__, fn.__doc__ = __name__, doc
    return elementwise(fn, private=True, accepts="realfloat", inplace=False, samples=UNARY, reference=reference,
                       dtypes="float", domain=(-7.0, 7.0), points=(NAN, 0.0))


_part("normal_cdf", _ndtr, "Normal distribution function.")
_part("gelu_slope", lambda x: _ndtr(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi), "Derivative of ``gelu``.")
_part("log1pexp", lambda x: np.logaddexp(0, x), "``log(1 + exp(input))``.")


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), dtypes="float",
             points=(0.0, -0.0, 10.0, -1.0, NAN), reference=_gelu_reference, keywords={"approximate": ("none", _gelu_form)},
             samples=(*UNARY, Sample((3, 4), approximate="tanh")))
def gelu(input):
    """``input * Phi(input)`` with the normal distribution function Phi; ``approximate="tanh"`` uses its tanh form."""
    return input * s.normal_cdf(input)


@gelu.gradient
def _(g, input):
    return g * s.gelu_slope(input)


@elementwise(private=True, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), names="GeluBackward0", dtypes="float",
             points=(0.0, -0.0, 10.0, -10.0, NAN), reference=lambda x: _gelu_reference(x, "tanh"), samples=UNARY)
def gelu_tanh(input):
    """``input / 2 * (1 + tanh(sqrt(2 / pi) * (input + 0.044715 * input ** 3)))``."""
    return input * s.sigmoid(_twice(input))  # (1 + tanh(x) is 2 sigmoid(2 x), in which nothing cancels)


def _twice(input):
    return 2 * math.sqrt(2 / math.pi) * (input + 0.044715 * (input * input * input))


@gelu_tanh.gradient
def _(g, input):
    y = s.sigmoid(_twice(input))
    slope = 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * (input * input))
    return g * (y + input * ((y * (1 - y)) * slope))


@activation(reference=lambda x: x / (1 + np.exp(-x)), domain=(-4.0, 4.0), accepts="inexact",
             points=(0.0, -0.0, 90.0, -90.0, INF, NAN))
def silu(input):
    """``input * sigmoid(input)``."""
    return input * s.sigmoid(input)


@silu.gradient
def _(g, input):
    y = s.sigmoid(input)
    return g * (y * (1 + input * (1 - y)))


def _mish_tanh(x):
    """tanh(softplus(x)) from one exponential: n / (n + 2) with n = e^x (e^x + 2)."""
    e = s.exp(s.minimum(x, 20))
    n = e * (e + 2)
    return n / (n + 2)


@activation(reference=lambda x: x * np.tanh(_softplus(x)), domain=(-4.0, 4.0), points=(0.0, -0.0, 90.0, -80.0, INF, NAN))
def mish(input):
    """``input * tanh(softplus(input))``."""
    return input * _mish_tanh(input)


@mish.gradient
def _(g, input):
    t = _mish_tanh(input)
    return g * (t + input * ((1 - t * t) * s.sigmoid(input)))


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), dtypes="float",
             points=(*POINTS, 19.9, 20.1), reference=_softplus, fused=True, samples=(*UNARY, Sample((3, 4), 2.0, 3.0)))
def softplus(input, beta: float = 1.0, threshold: float = 20.0):
    """``log(1 + exp(beta * input)) / beta``, and ``input`` itself where ``beta * input > threshold``."""
    return where(input * beta > threshold, input, s.log1pexp(input * beta) / beta)


@softplus.gradient
def _(g, input, beta, threshold):
    return where(input * beta > threshold, g, g * s.sigmoid(input * beta))


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), dtypes="float",
             points=(0.0, 30.0, -30.0, 100.0, -100.0, INF, -INF, NAN), reference=lambda x: -np.logaddexp(0, -x),
             samples=UNARY, names="LogSigmoidBackward0")
def logsigmoid(input):
    """``log(sigmoid(input))``."""
    return -s.log1pexp(-input)


@logsigmoid.gradient
def _(g, input):
    return g * s.sigmoid(-input)


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="float", inplace=False, samples=UNARY, points=(0.0, 7.0, NAN),
             reference=lambda x: x / (1 + np.abs(x)), names="DivBackward0")
def softsign(input):
    """``input / (1 + |input|)``."""
    return input / (1 + s.absolute(input))


@softsign.refuses
def _(args, compute):
    d = args[0]._kind.dtype
    if d is dt.bool_ or d.barebones:
        raise NotImplementedError(f"\"abs_cpu\" not implemented for '{dt.scalar_name(d)}'{' (in softsign)' * (not d.category)}")


@softsign.gradient
def _(g, input):
    d = 1 + s.absolute(input)
    return g / (d * d)


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="float", inplace=False, samples=UNARY, points=POINTS[:5],
             reference=lambda x: x - np.tanh(x), names="SubBackward0")
def tanhshrink(input):
    """``input - tanh(input)``."""
    return input - s.tanh(input)


@tanhshrink.refuses
def _(args, compute):
    REGISTRY["sub"].check((args[0], 1.0), compute)


@tanhshrink.gradient
def _(g, input):
    t = s.tanh(input)
    return g * (t * t)


@activation(reference=lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
             samples=(*UNARY, Sample((3, 4), 0.5)))
def elu(input, alpha: float = 1.0):
    """``input`` where positive, else ``alpha * (exp(input) - 1)``."""
    return where(input < 0, alpha * s.expm1(input), input)


def _below(x):
    """x up to 0, with a slope of 0 from there on."""
    return where(x >= 0, 0, x)


@elu.gradient
def _(g, input, alpha):
    return where(input <= 0, g * (alpha * s.exp(_below(input))), g)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@activation(namespaces=BOTH, names="EluBackward0",
             reference=lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))))
def selu(input):
    """``1.0507 * elu(input, 1.6733)``: the self-normalising constants of Klambauer et al. (2017)."""
    return where(input <= 0, (SELU_SCALE * SELU_ALPHA) * s.expm1(input), SELU_SCALE * input)


@selu.gradient
def _(g, input):
    return where(input <= 0, g * ((SELU_SCALE * SELU_ALPHA) * s.exp(_below(input))), g * SELU_SCALE)


@elementwise(private=True, accepts="realfloat", points=POINTS, samples=(Sample((3, 4), 1.0), Sample((3, 4), 0.5)),
             names="CeluBackward0", dtypes="float", torch_name="celu", fused=True, fits=("alpha",),
             reference=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)))
def celu_kernel(input, alpha: float):
    """``celu`` after the check of its parameter."""
    return where(input < 0, alpha * s.expm1(input / alpha), input)


@celu_kernel.gradient
def _(g, input, alpha):
    return where(input <= 0, g * s.exp(_below(input) / alpha), g)


def _nonzero(alpha):
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")


@function(namespaces=BOTH, method=False, points=POINTS, samples=(*UNARY, Sample((3, 4), 0.5)),
          reference=lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)))
def celu(input, alpha=1.0, inplace=False):
    """``max(0, input) + min(0, alpha * (exp(input / alpha) - 1))``."""
    _nonzero(alpha)
    return inplace_ops.apply(celu_kernel, input, (alpha,)) if inplace else celu_kernel(input, alpha)


@function(namespaces=BOTH, method=False, differentiable=False)
def celu_(input, alpha=1.0):
    """In-place form of ``celu``."""
    return celu(input, alpha, True)


in_place_function("elu", FUNCTIONAL)
in_place_function("selu", BOTH)
