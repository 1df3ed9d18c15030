"""Softmax and its relatives: one pass over a row for the maximum, one for the exponentials, one to scale."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.copying import copy_into
from numbagrad.core.tensor import make, numel
from numbagrad.extend import Sample, T, Tensor, accumulate, custom, exp, function, load, log, store
from numbagrad.kernel.jit import LANES, kernel, lanes

from .row_folds import largest_of

ROWS = (Sample((3, 4), 1), Sample((3, 4), 0), Sample((2, 3, 4), -2), Sample((5,), 0), Sample((), 0), Sample((2, 70), 1))


def geometry(shape, dim):
    """(outer, size, inner) of a dimension of a row-major tensor."""
    if not shape:
        return 1, 1, 1
    dim = wrap_dim(dim, len(shape))
    return numel(shape[:dim]), shape[dim], numel(shape[dim + 1:])


@kernel
def softmax_rows(x: "*T", out: "*T", n: int, start: int, stop: int):
    """Softmax of the rows of x (rows, n), into out (rows, n)."""
    for row in range(start, stop):
        base = row * n
        top = largest_of(x, base, base + n)
        total = T(0)
        for i in range(base, base + n):
            e = exp(load(x[i]) - top)
            out[i] = store(e)
            total = accumulate(total, e)
        scale = T(1) / total
        for i in range(base, base + n):
            out[i] = store(load(out[i]) * scale)


@kernel
def log_softmax_rows(x: "*T", out: "*T", n: int, start: int, stop: int):
    """Logarithm of the softmax of the rows of x (rows, n), into out (rows, n)."""
    for row in range(start, stop):
        base = row * n
        top = largest_of(x, base, base + n)
        total = T(0)
        for i in range(base, base + n):
            total = accumulate(total, exp(load(x[i]) - top))
        shift = log(total)
        for i in range(base, base + n):
            out[i] = store((load(x[i]) - top) - shift)


@kernel
def softmax_columns(x: "*T", out: "*T", n: int, inner: int, logarithm: int, start: int, stop: int):
    """Softmax over the middle of x (outer, n, inner), its logarithm with ``logarithm``, into out like x."""
    top, total = lanes(), lanes()
    tiles = (inner + LANES - 1) // LANES
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * LANES
        width = min(LANES, inner - left)
        first = row * n * inner + left
        for k in range(width):
            top[k] = load(x[first + k])
            total[k] = T(0)
        for i in range(n):
            base = first + i * inner
            for k in range(width):
                v = load(x[base + k])
                top[k] = v if v > top[k] else top[k]
        if logarithm:
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    total[k] = total[k] + exp(load(x[base + k]) - top[k])
            for k in range(width):
                total[k] = log(total[k])
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    out[base + k] = store((load(x[base + k]) - top[k]) - total[k])
        else:
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    e = exp(load(x[base + k]) - top[k])
                    total[k] = total[k] + e
                    out[base + k] = store(e)
            for k in range(width):
                total[k] = T(1) / total[k]
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    out[base + k] = store(load(out[base + k]) * total[k])


@kernel
def softmax_gradient(g: "*T", y: "*T", out: "*T", n: int, inner: int, logarithm: int, start: int, stop: int):
    """Gradient of softmax (of log_softmax with ``logarithm``) from g and its result y, into out, all (outer, n, inner)."""
    total = lanes()
    if inner == 1:
        for row in range(start, stop):
            base = row * n
            sum_ = T(0)
            if logarithm:
                for i in range(base, base + n):
                    sum_ = accumulate(sum_, load(g[i]))
                for i in range(base, base + n):
                    out[i] = store(load(g[i]) - exp(load(y[i])) * sum_)
            else:
                for i in range(base, base + n):
                    sum_ = accumulate(sum_, load(g[i]) * load(y[i]))
                for i in range(base, base + n):
                    out[i] = store(load(y[i]) * (load(g[i]) - sum_))
        return
    tiles = (inner + LANES - 1) // LANES
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * LANES
        width = min(LANES, inner - left)
        first = row * n * inner + left
        for k in range(width):
            total[k] = T(0)
        if logarithm:
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    total[k] = total[k] + load(g[base + k])
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    out[base + k] = store(load(g[base + k]) - exp(load(y[base + k])) * total[k])
        else:
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    total[k] = total[k] + load(g[base + k]) * load(y[base + k])
            for i in range(n):
                base = first + i * inner
                for k in range(width):
                    out[base + k] = store(load(y[base + k]) * (load(g[base + k]) - total[k]))


def _forward(out, input, dim, logarithm):
    outer, n, inner = geometry(input._shape, dim)
    if not out._n:
        return
    d = input._kind.dtype
    if d.compute != d.code and not logarithm:
        # The exponentials wait in the output for their sum; in a half type they would be rounded twice.
        kind = storage.kind_of(dt.float32, input._kind.device)
        wide, result = make(input._shape, kind), make(input._shape, kind)
        copy_into(wide, input)
        _forward(result, wide, dim, logarithm)
        copy_into(out, result)
    elif inner == 1:
        (log_softmax_rows if logarithm else softmax_rows).run(input._kind, (input._ptr, out._ptr, n), outer, out._n)
    else:
        softmax_columns.run(input._kind, (input._ptr, out._ptr, n, inner, logarithm), outer * -(-inner // LANES), out._n)


def _backward(out, g, y, dim, logarithm):
    outer, n, inner = geometry(y._shape, dim)
    if out._n:
        items = outer if inner == 1 else outer * -(-inner // LANES)
        softmax_gradient.run(y._kind, (g._ptr, y._ptr, out._ptr, n, inner, logarithm), items, out._n)


def _same(input, dim, name):
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"{name}\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    wrap_dim(dim, len(input._shape))
    return input._shape, input._kind


def _softmax_reference(x, dim):
    e = np.exp(x - x.max(axis=dim, keepdims=True)) if x.ndim else np.exp(x - x)
    return e / e.sum(axis=dim, keepdims=True) if x.ndim else e


def _log_softmax_reference(x, dim):
    return np.log(_softmax_reference(x, dim))


@custom(private=True, samples=ROWS, reference=_softmax_reference, node="SoftmaxBackward0")
def softmax_forward(input, dim: int):
    """exp(input) divided by its sum along ``dim``."""
    return _same(input, dim, "softmax_lastdim_kernel_impl")


@softmax_forward.cpu
def _(out, input, dim):
    _forward(out, input, dim, 0)


@softmax_forward.gradient
def _(g, y, dim):
    return softmax_backward(g, y, dim)


@custom(private=True, samples=(Sample((3, 4), (3, 4), 1), Sample((2, 3, 4), (2, 3, 4), 1)),
        reference=lambda g, y, dim: y * (g - (g * y).sum(axis=dim, keepdims=True)), node="SoftmaxBackwardDataBackward0")
def softmax_backward(upstream, y, dim: int):
    """Gradient of softmax from its output: ``y * (g - sum(g * y))``."""
    return y._shape, y._kind


@softmax_backward.cpu
def _(out, upstream, y, dim):
    _backward(out, upstream, y, dim, 0)


@softmax_backward.gradient
def _(g, upstream, y, dim, needs):
    u = upstream
    return (softmax_backward(g, y, dim) if needs[0] else None,
            g * (u - (u * y).sum(dim, True)) - u * (g * y).sum(dim, True) if needs[1] else None)


@custom(private=True, samples=ROWS, reference=_log_softmax_reference, node="LogSoftmaxBackward0")
def log_softmax_forward(input, dim: int):
    """input - log(sum(exp(input))) along ``dim``."""
    return _same(input, dim, "log_softmax_lastdim_kernel_impl")


@log_softmax_forward.cpu
def _(out, input, dim):
    _forward(out, input, dim, 1)


@log_softmax_forward.gradient
def _(g, y, dim):
    return log_softmax_backward(g, y, dim)


@custom(private=True, samples=(Sample((3, 4), (3, 4), 1), Sample((2, 3, 4), (2, 3, 4), 1)),
        reference=lambda g, y, dim: g - np.exp(y) * g.sum(axis=dim, keepdims=True),
        node="LogSoftmaxBackwardDataBackward0")
def log_softmax_backward(upstream, y, dim: int):
    """Gradient of log_softmax from its output: ``g - exp(y) * sum(g)``."""
    return y._shape, y._kind


@log_softmax_backward.cpu
def _(out, upstream, y, dim):
    _backward(out, upstream, y, dim, 1)


@log_softmax_backward.gradient
def _(g, upstream, y, dim, needs):
    e = y.exp()
    return (g - (g * e).sum(dim, True) if needs[0] else None, -g * e * upstream.sum(dim, True) if needs[1] else None)


def _arguments(name, input, dim, _stacklevel, dtype):
    """(input in the wanted dtype, dim) of the three public functions."""
    if isinstance(_stacklevel, dt.dtype):
        dtype = _stacklevel  # torch.softmax takes the dtype as its third argument
    if dim is None:
        level = _stacklevel if isinstance(_stacklevel, int) else 3
        warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as "
                      "an argument.", stacklevel=level + 1)
        dim = 0 if len(input._shape) in (0, 1, 3) else 1
    return (input if dtype is None or dtype is input._kind.dtype else input.to(dtype=dtype)), dim


SPACES = ("torch", "nn.functional", "special")
PUBLIC = (Sample((3, 4), 1), Sample((2, 3, 4), 0), Sample((3, 4), dim=-1))


@function(out="same", namespaces=SPACES, reference=_softmax_reference, samples=PUBLIC)
def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """Softmax ``exp(input) / sum(exp(input))`` along ``dim``, after conversion to ``dtype`` if one is given."""
    if dim is None or dtype is not None or _stacklevel.__class__ is not int:
        input, dim = _arguments("softmax", input, dim, _stacklevel, dtype)
    return softmax_forward.call(input, dim)


@function(out="same", namespaces=SPACES, reference=_log_softmax_reference, samples=PUBLIC)
def log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """Logarithm of softmax along ``dim``, without the loss of digits of computing it in two steps."""
    if dim is None or dtype is not None or _stacklevel.__class__ is not int:
        input, dim = _arguments("log_softmax", input, dim, _stacklevel, dtype)
    return log_softmax_forward.call(input, dim)


@function(namespaces=("nn.functional",), method=False, reference=lambda x, dim: _softmax_reference(-x, dim),
          samples=PUBLIC)
def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """Softmax of ``-input`` along ``dim``."""
    if not isinstance(input, Tensor):
        raise arguments.wrong(input, "Tensor", "softmin", "input", 1)
    input, dim = _arguments("softmin", -input, dim, _stacklevel, dtype)
    return softmax_forward.call(input, dim)
