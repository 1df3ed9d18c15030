"""Activations with more to them than a function of one element: ``rrelu`` draws slopes, ``glu`` gates by the other half."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.autograd import inplace as inplace_ops
from numbagrad.base import dtypes as dt
from numbagrad.base import modes
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import creation
from numbagrad.extend import REGISTRY, Sample, T, custom, elementwise, function, load, sigmoid, store
from numbagrad.kernel.expr import where
from numbagrad.kernel.jit import kernel

from .activation import BOTH, FUNCTIONAL, POINTS, UNARY


@kernel
def spread_noise(x: "*T", draws: "*f8", noise: "*T", n: int, start: int, stop: int):
    """The next of float64 draws (count,) where x (n,) is not positive, else 1, into noise (n,)."""
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
    """How many elements of x (n,) are not positive, into int64 out (1,)."""
    for _ in range(start, stop):
        k = 0
        for i in range(n):
            if load(x[i]) <= T(0):
                k += 1
        out[0] = k


@elementwise(private=True, accepts="realfloat", names="RreluWithNoiseBackward0", dtypes="float", fused=True,
             samples=(Sample((3, 4), (3, 4)),), domain=(0.1, 2.0), reference=np.multiply)
def rrelu_with_noise(input, noise):
    """``input * noise``: the slopes of ``rrelu`` come as a tensor that gets no gradient of its own."""
    return input * noise


@function(kinds={"upper": "number"},
          namespaces=BOTH, method=False, samples=(*UNARY, Sample((3, 4), 0.1, 0.5)), points=POINTS[:4],
          reference=lambda x, lower=1 / 8, upper=1 / 3: np.where(x > 0, x, x * (lower + upper) / 2))
def rrelu(input, lower=1 / 8, upper=1 / 3, training=False, inplace=False):
    """``input`` where positive, else times a slope: uniform in [lower, upper] while training, else their mean."""
    if isinstance(lower, complex) or isinstance(upper, complex):
        raise RuntimeError("value cannot be converted to type double without overflow")
    if not (math.isfinite(lower) and math.isfinite(upper)):
        raise RuntimeError(f"rrelu: the bounds must be finite, got {lower} and {upper}")
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound (rrelu with {lower} and {upper})")
    if not training:
        slope = (lower + upper) / 2
        if inplace:
            return inplace_ops.apply(rrelu_kernel, input, (slope,))
        return rrelu_kernel(input, slope)
    x = input.detach().contiguous()
    count = np.zeros(1, np.int64)
    count_negative[x._kind](x._ptr, x._kind.host(count), x._n, 0, 1)
    with modes.no_grad():
        draws = creation.empty(int(count[0]), dtype=dt.float64, device=x.device).uniform_(lower, upper)
        noise = creation.empty(x._shape, dtype=x.dtype, device=x.device)
        spread_noise[x._kind](x._ptr, draws._ptr, noise._ptr, x._n, 0, 1)
    return inplace_ops.apply(rrelu_with_noise, input, (noise,)) if inplace else rrelu_with_noise(input, noise)


@elementwise(private=True, accepts="realfloat", names="RreluWithNoiseBackward0", dtypes="float", fused=True,
             fits=("slope",), samples=(Sample((3, 4), 0.25),), reference=lambda x, slope: np.where(x > 0, x, slope * x))
def rrelu_kernel(input, slope: float):
    """``input`` where positive, else ``slope * input``."""
    return where(input > 0, input, slope * input)


@rrelu_kernel.gradient
def _(g, input, slope):
    return where(input > 0, g, g * slope)


@function(kinds={"upper": "number"}, namespaces=BOTH, method=False, differentiable=False)
def rrelu_(input, lower=1 / 8, upper=1 / 3, training=False):
    """In-place form of ``rrelu``."""
    return rrelu(input, lower, upper, training, True)


@kernel
def glu_forward(x: "*T", out: "*T", half: int, start: int, stop: int):
    """The first halves of x (rows, 2, half) times the sigmoid of the second ones, into out (rows, half)."""
    for row in range(start, stop):
        a, b, o = 2 * row * half, (2 * row + 1) * half, row * half
        for i in range(half):
            out[o + i] = store(load(x[a + i]) * sigmoid(load(x[b + i])))


@kernel
def glu_gradient(g: "*T", x: "*T", out: "*T", half: int, start: int, stop: int):
    """Gradient of ``glu_forward`` from g (rows, half) and x (rows, 2, half), into out (rows, 2, half)."""
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
    glu_forward.run(input._kind, (input._ptr, out._ptr, half), outer, out._n)


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
    glu_gradient.run(input._kind, (g_out._ptr, input._ptr, out._ptr, half), outer, out._n)


@glu_backward.gradient
def _(g, g_out, input, dim):
    n = input._shape[dim] // 2
    a, b = input.narrow(dim, 0, n), input.narrow(dim, n, n)
    ga, gb = g.narrow(dim, 0, n), g.narrow(dim, n, n)
    y = b.sigmoid()
    d = y * (1 - y)
    of_b = g_out * (ga * d + gb * (a * (d * (1 - 2 * y))))
    return ga * y + gb * (a * d), REGISTRY["cat"].callable((gb * (g_out * d), of_b), dim)
