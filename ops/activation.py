"""Activation functions and clamps."""

from __future__ import annotations

import math

import numpy as np

from numbagrad import storage
from numbagrad.autograd import inplace as inplace_ops
from numbagrad.kernel import expr as s
from numbagrad.kernel.expr import where
from numbagrad.kernel.jit import T, exp, kernel, load, sigmoid, store  # noqa: F401
from numbagrad.op import REGISTRY, Sample, custom, elementwise, function
from numbagrad.tensor import Tensor, wrap_dim

INF, NAN = math.inf, math.nan
UNARY = (Sample((3, 4)), Sample(()), Sample((0, 3)))
POINTS = (0.0, -0.0, 30.0, -30.0, INF, -INF, NAN)
FUNCTIONAL = ("nn.functional",)
BOTH = ("torch", "nn.functional")


def _in_place(name):
    """What ``inplace=True`` does: the op writes into its input."""
    def run(input, *args, out=None, inplace=False):
        op = REGISTRY[name]
        *args, flag = args
        return inplace_ops.apply(op, input, args, {}) if flag else op.call(input, *args, out=out)
    return {"inplace": (False, run)}


def _activation(name=None, torch_name=None, **options):
    """An elementwise op of ``nn.functional`` with an ``inplace`` argument and no integer kernel."""
    def declare(fn):
        options.setdefault("namespaces", FUNCTIONAL)
        options.setdefault("method", False)
        options.setdefault("accepts", "realfloat")
        options.setdefault("samples", UNARY)
        options.setdefault("points", POINTS)
        return elementwise(fn, keywords=_in_place(fn.__name__), inplace=False, dtypes="float", **options)
    return declare


def _in_place_function(name, namespaces):
    """The module-level function ``name_``."""
    op = REGISTRY[name]

    def fn(input, *args, **kwargs):
        return inplace_ops.apply(op, input, args, kwargs)
    fn.__name__ = fn.__qualname__ = name + "_"
    fn.__module__ = __name__
    fn.__doc__ = f"In-place form of ``{name}``."
    return function(fn, namespaces=namespaces, method=False, differentiable=False)


# --- piecewise linear ----------------------------------------------------------------------------------------------------

@elementwise(namespaces=BOTH, accepts="ordered", samples=UNARY, points=POINTS, reference=lambda x: np.maximum(x, 0),
             keywords=_in_place("relu"))
def relu(input):
    """``max(input, 0)``; NaN stays NaN."""
    return where(input <= 0, 0, input)


@relu.gradient
def _(g, y):
    return where(y <= 0, 0, g)


@_activation(names="HardtanhBackward0", reference=lambda x: np.clip(x, 0, 6), domain=(-8.0, 8.0),
             points=(*POINTS, 6.0), accepts="ordered")
def relu6(input):
    """``min(max(input, 0), 6)``."""
    return s.minimum(s.maximum(input, 0), 6)


@relu6.gradient
def _(g, input):
    return where((input > 0) & (input < 6), g, 0)


@_activation(reference=lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
             samples=(*UNARY, Sample((3, 4), 0.2)))
def leaky_relu(input, negative_slope: float = 0.01):
    """``input`` where positive, else ``negative_slope * input``."""
    return where(input > 0, input, negative_slope * input)


@leaky_relu.gradient
def _(g, input, negative_slope):
    return where(input > 0, g, g * negative_slope)


@_activation(names="HardtanhBackward0", accepts="ordered", points=(*POINTS, 1.0, -1.0),
             reference=lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
             samples=(*UNARY, Sample((3, 4), -0.5, 1.5)))
def hardtanh(input, min_val: float = -1.0, max_val: float = 1.0):
    """``input`` brought into [min_val, max_val]."""
    return s.minimum(s.maximum(input, min_val), max_val)


@hardtanh.gradient
def _(g, input, min_val, max_val):
    return where((input > min_val) & (input < max_val), g, 0)


@_activation(reference=lambda x: np.clip(x + 3, 0, 6) / 6, domain=(-5.0, 5.0), points=(*POINTS, 3.0, -3.0))
def hardsigmoid(input):
    """``relu6(input + 3) / 6``."""
    return s.minimum(s.maximum(input + 3, 0), 6) / 6


@hardsigmoid.gradient
def _(g, input):
    return where((input > -3) & (input < 3), g / 6, 0)


@_activation(reference=lambda x: x * np.clip(x + 3, 0, 6) / 6, domain=(-5.0, 5.0), points=(*POINTS[:4], NAN, 3.0, -3.0))
def hardswish(input):
    """``input * relu6(input + 3) / 6``."""
    return input * s.minimum(s.maximum(input + 3, 0), 6) / 6


@hardswish.gradient
def _(g, input):
    return where(input <= -3, 0, where(input < 3, g * (input / 3 + 0.5), g))


@elementwise(namespaces=BOTH, accepts="realfloat", inplace=False, points=(*POINTS, 0.5, -0.5),
             samples=(*UNARY, Sample((3, 4), 1.0)), dtypes="float",
             reference=lambda x, lambd=0.5: np.where((x >= -lambd) & (x <= lambd), 0, x))
def hardshrink(input, lambd: float = 0.5):
    """``input`` where ``|input| > lambd``, else 0."""
    return where((input >= -lambd) & (input <= lambd), 0, input)


@hardshrink.gradient
def _(g, input, lambd):
    return where((input > lambd) | (input < -lambd), g, 0)


@elementwise(private=True, accepts="realfloat", inplace=False, points=(*POINTS, 0.5, -0.5), names="SoftshrinkBackward0",
             samples=(Sample((3, 4), 0.5),), dtypes="float", torch_name="softshrink",
             reference=lambda x, lambd: np.sign(x) * np.maximum(np.abs(x) - lambd, 0))
def softshrink_kernel(input, lambd: float):
    """``softshrink`` after the check of its parameter."""
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0))


@softshrink_kernel.gradient
def _(g, input, lambd):
    return where((input > lambd) | (input < -lambd), g, 0)


@function(namespaces=FUNCTIONAL, method=False, samples=(*UNARY, Sample((3, 4), 1.0)), points=(*POINTS, 0.5, -0.5),
          reference=lambda x, lambd=0.5: np.where(x == x, np.sign(x) * np.maximum(np.abs(x) - lambd, 0), x))
def softshrink(input, lambd=0.5):
    """``input`` moved towards zero by ``lambd``, zero between -lambd and lambd."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}. (softshrink of shape "
                           f"{list(input._shape)})")
    return softshrink_kernel(input, lambd)


@_activation(namespaces=BOTH, accepts="ordered", samples=(Sample((3, 4), 0.5, 20.0), Sample((), 0.25, -1.0)),
             points=(*POINTS, 0.5), reference=lambda x, threshold, value: np.where(x <= threshold, value, x))
def threshold(input, threshold: float, value: float):
    """``input`` where it is above ``threshold``, else ``value``."""
    return where(input <= threshold, value, input)


@threshold.gradient
def _(g, input, threshold):
    return where(input <= threshold, 0, g)


@elementwise(private=True, accepts="realfloat", inplace=False, names="PreluKernelBackward0", dtypes="float",
             samples=(Sample((2, 3, 4), (3, 1)),), reference=lambda x, w: np.where(x > 0, x, w * x))
def prelu_kernel(input, weight):
    """``input`` where positive, else ``weight * input``, with plain broadcasting."""
    return where(input > 0, input, weight * input)


@prelu_kernel.gradient
def _(g, input, weight):
    return where(input > 0, g, weight * g), where(input > 0, 0, input * g)


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
        raise TypeError(f"prelu(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if not isinstance(weight, Tensor):
        raise TypeError(f"prelu(): argument 'weight' (position 2) must be Tensor, not {type(weight).__name__}")
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


# --- clamps --------------------------------------------------------------------------------------------------------------

def _clip(x, min=None, max=None):
    y = x if min is None else np.maximum(x, min)
    return y if max is None else np.minimum(y, max)


@elementwise(private=True, accepts="real", names="ClampBackward1", points=(*POINTS, 1.0, -1.0), torch_name="clamp",
             samples=(Sample((3, 4), -1.0, 1.0),), reference=_clip)
def clamp_numbers(input, min: float, max: float):
    """``clamp`` of a floating-point tensor between two numbers."""
    return s.minimum(s.maximum(input, min), max)


@clamp_numbers.gradient
def _(g, input, min, max):
    return where((input >= min) & (input <= max), g, 0)


@elementwise(private=True, accepts="real", names={"ttt": "ClampBackward0", "tss": "ClampBackward1"}, torch_name="clamp",
             samples=(Sample((3, 4), (4,), (3, 1)), Sample((3, 4), -1, 1)), reference=_clip)
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
        return s.maximum(input, min)

    def fn_max(input, max):
        return s.minimum(input, max)
    chosen = fn if low else fn_max
    chosen.__name__ = chosen.__qualname__ = name
    chosen.__module__ = __name__
    chosen.__doc__ = f"``{'max(input, min)' if low else 'min(input, max)'}``, elementwise; NaN stays NaN."
    op = elementwise(chosen, private=private, accepts="real", names=suffix, reference=np.maximum if low else np.minimum,
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


@function(inplace=True, aliases=("clip",), points=(*POINTS, 1.0, -1.0), reference=_clip, dtypes="any",
          samples=(Sample((3, 4), -1.0, 1.0), Sample((3, 4), (4,), (3, 1)), Sample((3, 4), min=0.25),
                   Sample((3, 4), max=(4,)), Sample((0, 3), 0.0, 1.0)))
def clamp(input, min=None, max=None, *, out=None):
    """``input`` brought into [min, max]: numbers or tensors, either may be None; ``max`` wins where they cross.

    At a bound the gradient goes to ``input``; beyond it, to the bound if that is a tensor."""
    if not isinstance(input, Tensor):
        raise TypeError(f"clamp(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if max is None:
        if min is None:
            raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
        return clamp_low(input, min, out=out)
    if min is None:
        return clamp_high(input, max, out=out)
    if isinstance(min, Tensor) != isinstance(max, Tensor):
        raise TypeError("clamp() received an invalid combination of arguments - got (Tensor, "
                        f"{type(min).__name__}, {type(max).__name__}): 'min' and 'max' must both be Tensors or both be "
                        "Numbers")
    if input._kind.dtype.category == 2 and (min.__class__ is float or min.__class__ is int):
        return clamp_numbers(input, min, max, out=out)
    return clamp_between(input, min, max, out=out)


# --- smooth --------------------------------------------------------------------------------------------------------------

def _ndtr(x):
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-np.asarray(x) / math.sqrt(2))


def _softplus(x, beta=1.0, threshold=20.0):
    return np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta)


def _gelu_reference(x, approximate="none"):
    if approximate == "none":
        return x * _ndtr(x)
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_form(input, approximate, out=None, inplace=False):
    if approximate == "none":
        return gelu.call(input, out=out)
    if approximate != "tanh":
        raise RuntimeError("approximate argument must be either none or tanh.")
    return gelu_tanh(input, out=out)


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), dtypes="float",
             points=(0.0, -0.0, 10.0, -2.0, NAN), reference=_gelu_reference, keywords={"approximate": ("none", _gelu_form)},
             samples=(*UNARY, Sample((3, 4), approximate="tanh")))
def gelu(input):
    """``input * Phi(input)`` with the normal distribution function Phi; ``approximate="tanh"`` uses its tanh form."""
    return input * (0.5 * (1 + s.erf(input * math.sqrt(0.5))))


@gelu.gradient
def _(g, input):
    density = s.exp(-0.5 * (input * input)) * (1 / math.sqrt(2 * math.pi))
    return g * (0.5 * (1 + s.erf(input * math.sqrt(0.5))) + input * density)


@elementwise(private=True, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), names="GeluBackward0", dtypes="float",
             points=(0.0, -0.0, 10.0, -10.0, NAN), reference=lambda x: _gelu_reference(x, "tanh"), samples=UNARY)
def gelu_tanh(input):
    """``input / 2 * (1 + tanh(sqrt(2 / pi) * (input + 0.044715 * input ** 3)))``."""
    inner = math.sqrt(2 / math.pi) * (input + 0.044715 * (input * input * input))
    return 0.5 * input * (1 + s.tanh(inner))


@gelu_tanh.gradient
def _(g, input):
    t = s.tanh(math.sqrt(2 / math.pi) * (input + 0.044715 * (input * input * input)))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * (input * input))
    return g * (0.5 * (1 + t) + 0.5 * input * ((1 - t * t) * slope))


@_activation(reference=lambda x: x / (1 + np.exp(-x)), domain=(-4.0, 4.0), points=(0.0, -0.0, 90.0, -90.0, INF, NAN))
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


@_activation(reference=lambda x: x * np.tanh(_softplus(x)), domain=(-4.0, 4.0), points=(0.0, -0.0, 90.0, -80.0, INF, NAN))
def mish(input):
    """``input * tanh(softplus(input))``."""
    return input * _mish_tanh(input)


@mish.gradient
def _(g, input):
    t = _mish_tanh(input)
    return g * (t + input * ((1 - t * t) * s.sigmoid(input)))


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), dtypes="float",
             points=(*POINTS, 19.9, 20.1), reference=_softplus, samples=(*UNARY, Sample((3, 4), 2.0, 3.0)))
def softplus(input, beta: float = 1.0, threshold: float = 20.0):
    """``log(1 + exp(beta * input)) / beta``, and ``input`` itself where ``beta * input > threshold``."""
    return where(input * beta > threshold, input, s.log1p(s.exp(input * beta)) / beta)


@softplus.gradient
def _(g, input, beta, threshold):
    return where(input * beta > threshold, g, g * s.sigmoid(input * beta))


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="realfloat", inplace=False, domain=(-4.0, 4.0), dtypes="float",
             points=(0.0, 30.0, -30.0, 100.0, -100.0, INF, -INF, NAN), reference=lambda x: -np.logaddexp(0, -x),
             samples=UNARY, names="LogSigmoidBackward0")
def logsigmoid(input):
    """``log(sigmoid(input))``."""
    return s.minimum(input, 0) - s.log1p(s.exp(-s.absolute(input)))


@logsigmoid.gradient
def _(g, input):
    return g * s.sigmoid(-input)


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="float", inplace=False, samples=UNARY, points=(0.0, 7.0, NAN),
             reference=lambda x: x / (1 + np.abs(x)), names="DivBackward0")
def softsign(input):
    """``input / (1 + |input|)``."""
    return input / (1 + s.absolute(input))


@softsign.gradient
def _(g, input):
    d = 1 + s.absolute(input)
    return g / (d * d)


@elementwise(namespaces=FUNCTIONAL, method=False, accepts="float", inplace=False, samples=UNARY, points=POINTS[:5],
             reference=lambda x: x - np.tanh(x), names="SubBackward0")
def tanhshrink(input):
    """``input - tanh(input)``."""
    return input - s.tanh(input)


@tanhshrink.gradient
def _(g, input):
    t = s.tanh(input)
    return g * (t * t)


@_activation(reference=lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
             samples=(*UNARY, Sample((3, 4), 0.5)))
def elu(input, alpha: float = 1.0):
    """``input`` where positive, else ``alpha * (exp(input) - 1)``."""
    return where(input <= 0, alpha * s.expm1(input), input)


@elu.gradient
def _(g, input, alpha):
    return where(input <= 0, g * (alpha * s.exp(input)), g)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@_activation(namespaces=BOTH, names="EluBackward0",
             reference=lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))))
def selu(input):
    """``1.0507 * elu(input, 1.6733)``: the self-normalising constants of Klambauer et al. (2017)."""
    return where(input <= 0, (SELU_SCALE * SELU_ALPHA) * s.expm1(input), SELU_SCALE * input)


@selu.gradient
def _(g, input):
    return where(input <= 0, g * ((SELU_SCALE * SELU_ALPHA) * s.exp(input)), g * SELU_SCALE)


@elementwise(private=True, accepts="realfloat", points=POINTS, samples=(Sample((3, 4), 1.0), Sample((3, 4), 0.5)),
             names="CeluBackward0", dtypes="float", torch_name="celu",
             reference=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)))
def celu_kernel(input, alpha: float):
    """``celu`` after the check of its parameter."""
    return where(input <= 0, alpha * s.expm1(input / alpha), input)


@celu_kernel.gradient
def _(g, input, alpha):
    return where(input <= 0, g * s.exp(input / alpha), g)


def _nonzero(alpha):
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")


@function(namespaces=BOTH, method=False, points=POINTS, samples=(*UNARY, Sample((3, 4), 0.5)),
          reference=lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)))
def celu(input, alpha=1.0, inplace=False):
    """``max(0, input) + min(0, alpha * (exp(input / alpha) - 1))``."""
    _nonzero(alpha)
    return inplace_ops.apply(celu_kernel, input, (alpha,), {}) if inplace else celu_kernel(input, alpha)


@function(namespaces=BOTH, method=False, differentiable=False)
def celu_(input, alpha=1.0):
    """In-place form of ``celu``."""
    return celu(input, alpha, True)


# --- rrelu ---------------------------------------------------------------------------------------------------------------

@kernel
def spread_noise(x: "*T", draws: "*f8", noise: "*T", n: int, start: int, stop: int):
    for _ in range(start, stop):
        k = 0
        for i in range(n):
            if load(x[i]) <= T(0):
                noise[i] = store(T(draws[k]))
                k += 1
            else:
                noise[i] = store(T(1))


@kernel
def count_negative(x: "*T", out: "*i8", n: int, start: int, stop: int):
    for _ in range(start, stop):
        k = 0
        for i in range(n):
            if load(x[i]) <= T(0):
                k += 1
        out[0] = k


@elementwise(private=True, accepts="realfloat", names="RreluWithNoiseBackward0", dtypes="float",
             samples=(Sample((3, 4), (3, 4)),), domain=(0.1, 2.0), reference=np.multiply)
def rrelu_with_noise(input, noise):
    """``input * noise``: the slopes of ``rrelu`` come as a tensor that gets no gradient of its own."""
    return input * noise


@function(namespaces=BOTH, method=False, samples=(*UNARY, Sample((3, 4), 0.1, 0.5)), points=POINTS[:4],
          reference=lambda x, lower=1 / 8, upper=1 / 3: np.where(x > 0, x, x * (lower + upper) / 2))
def rrelu(input, lower=1 / 8, upper=1 / 3, training=False, inplace=False):
    """``input`` where positive, else times a slope: uniform in [lower, upper] while training, else their mean."""
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound (rrelu with {lower} and {upper})")
    if not training:
        slope = (lower + upper) / 2
        if inplace:
            return inplace_ops.apply(rrelu_kernel, input, (slope,), {})
        return rrelu_kernel(input, slope)
    from numbagrad import creation, modes
    x = input.detach().contiguous()
    count = np.zeros(1, np.int64)
    count_negative[x.dtype](x._ptr, storage.address(count), x._n, 0, 1)
    from numbagrad import dtypes as dt
    with modes.no_grad():
        draws = creation.empty(int(count[0]), dtype=dt.float64).uniform_(lower, upper)
        noise = creation.empty(x._shape, dtype=x.dtype)
        spread_noise[x.dtype](x._ptr, draws._ptr, noise._ptr, x._n, 0, 1)
    return inplace_ops.apply(rrelu_with_noise, input, (noise,), {}) if inplace else rrelu_with_noise(input, noise)


@elementwise(private=True, accepts="realfloat", names="RreluWithNoiseBackward0", dtypes="float",
             samples=(Sample((3, 4), 0.25),), reference=lambda x, slope: np.where(x > 0, x, slope * x))
def rrelu_kernel(input, slope: float):
    """``input`` where positive, else ``slope * input``."""
    return where(input > 0, input, slope * input)


@rrelu_kernel.gradient
def _(g, input, slope):
    return where(input > 0, g, g * slope)


@function(namespaces=BOTH, method=False, differentiable=False)
def rrelu_(input, lower=1 / 8, upper=1 / 3, training=False):
    """In-place form of ``rrelu``."""
    return rrelu(input, lower, upper, training, True)


# --- glu -----------------------------------------------------------------------------------------------------------------

@kernel
def glu_forward(x: "*T", out: "*T", half: int, start: int, stop: int):
    for row in range(start, stop):
        a, b, o = 2 * row * half, (2 * row + 1) * half, row * half
        for i in range(half):
            out[o + i] = store(load(x[a + i]) * sigmoid(load(x[b + i])))


@kernel
def glu_gradient(g: "*T", x: "*T", out: "*T", half: int, start: int, stop: int):
    for row in range(start, stop):
        a, b, o = 2 * row * half, (2 * row + 1) * half, row * half
        for i in range(half):
            y = sigmoid(load(x[b + i]))
            d = load(g[o + i]) * y
            out[a + i] = store(d)
            out[b + i] = store(d * ((T(1) - y) * load(x[a + i])))


def _half(shape, dim):
    """(rows before ``dim``, elements in half of ``dim`` and after it)."""
    outer = inner = 1
    for n in shape[:dim]:
        outer *= n
    for n in shape[dim:]:
        inner *= n
    return outer, inner // 2


def _glu_dim(input, dim):
    shape = input._shape
    if not shape:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    dim = wrap_dim(dim, len(shape))
    if shape[dim] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {shape[dim]} (glu of shape "
                           f"{list(shape)})")
    if input._kind.dtype.category != 2:
        from numbagrad import dtypes as dt
        raise RuntimeError(f"\"glu_cpu\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    return dim


def _glu_reference(x, dim=-1):
    a, b = np.split(x, 2, dim)
    return a / (1 + np.exp(-b))


@custom(namespaces=FUNCTIONAL, method=False, samples=(Sample((3, 4)), Sample((4, 3), 0), Sample((2, 6, 3), 1)),
        reference=_glu_reference)
def glu(input, dim: int = -1):
    """First half of ``input`` along ``dim`` times the sigmoid of the second half."""
    dim = _glu_dim(input, dim)
    shape = input._shape
    return (*shape[:dim], shape[dim] // 2, *shape[dim + 1:]), input._kind


@glu.cpu
def _(out, input, dim):
    outer, half = _half(input._shape, wrap_dim(dim, len(input._shape)))
    glu_forward[input.dtype](input._ptr, out._ptr, half, 0, outer)


@glu.gradient
def _(g, input, dim):
    return glu_backward(g, input, dim)


def _glu_backward_reference(g, x, dim):
    a, b = np.split(x, 2, dim)
    y = 1 / (1 + np.exp(-b))
    return np.concatenate([g * y, g * a * y * (1 - y)], dim)


@custom(private=True, samples=(Sample((3, 2), (3, 4), -1), Sample((2, 3), (4, 3), 0)), reference=_glu_backward_reference)
def glu_backward(g_out, input, dim: int):
    """Gradient of ``glu``."""
    return input._shape, input._kind


@glu_backward.cpu
def _(out, g_out, input, dim):
    outer, half = _half(input._shape, wrap_dim(dim, len(input._shape)))
    glu_gradient[input.dtype](g_out._ptr, input._ptr, out._ptr, half, 0, outer)


@glu_backward.gradient
def _(g, g_out, input, dim):
    n = input._shape[dim] // 2
    a, b = input.narrow(dim, 0, n), input.narrow(dim, n, n)
    ga, gb = g.narrow(dim, 0, n), g.narrow(dim, n, n)
    y = b.sigmoid()
    d = y * (1 - y)
    of_b = g_out * (ga * d + gb * (a * (d * (1 - 2 * y))))
    return ga * y + gb * (a * d), REGISTRY["cat"].callable((gb * (g_out * d), of_b), dim)


for _name, _spaces in (("relu", BOTH), ("leaky_relu", FUNCTIONAL), ("elu", FUNCTIONAL), ("hardtanh", FUNCTIONAL),
                       ("selu", BOTH), ("threshold", BOTH)):
    _in_place_function(_name, _spaces)
