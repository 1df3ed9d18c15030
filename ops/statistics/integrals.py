"""Integrals by trapezoids, and derivatives by differences, of values on a grid."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.tensor import Tensor, numel
from numbagrad.extend import REGISTRY, Sample, T, custom, function, load, store
from numbagrad.kernel.jit import kernel


def _steps(name, y, x, dim):
    """The widths of the intervals along ``dim``, in a shape that fits the middles of ``y``."""
    if y._kind.dtype is dt.bool_ or x._kind.dtype is dt.bool_:
        raise RuntimeError(f"{name}: received a bool input for `x` or `y`, but bool is not supported")
    if len(x._shape) == 1 and len(y._shape) != 1:
        if x._shape[0] != y._shape[dim]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        x = x.reshape([-1 if i == dim else 1 for i in range(len(y._shape))])
    elif len(x._shape) < len(y._shape):
        x = x.reshape([1] * (len(y._shape) - len(x._shape)) + list(x._shape))
    return x.narrow(dim, 1, x._shape[dim] - 1) - x.narrow(dim, 0, x._shape[dim] - 1)


def _middles(y, dim):
    n = y._shape[dim]
    return y.narrow(dim, 0, n - 1) + y.narrow(dim, 1, n - 1)


def _checked(name, y, x, dx):
    if y._kind.dtype is dt.bool_:
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    if x is not None and dx is not None:
        raise TypeError(f"{name}() received an invalid combination of arguments: `x` and `dx` were both given")


def _np_trapezoid(y, x=None, dim=-1, *, dx=None):
    return getattr(np, "trapezoid", getattr(np, "trapz", None))(y, x, 1.0 if dx is None else dx, dim)


@function(kinds={"x": "tensor?", "dx": "number?"}, method=False, reference=_np_trapezoid, aliases=("trapz",),
          samples=(Sample((3, 4)), Sample((3, 4), (4,)), Sample((3, 4), dx=0.5, dim=0), Sample((3, 4), (3, 4), dim=0)))
def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of ``y`` along ``dim`` by trapezoids, at the points ``x`` or ``dx`` (1) apart."""
    _checked("trapezoid", y, x, dx)
    if not y._shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    at = wrap_dim(dim, len(y._shape))
    if not y._shape[at]:
        return y.new_zeros([n for i, n in enumerate(y._shape) if i != at])
    if x is not None:
        return (_middles(y, at) * _steps("trapezoid", y, x, at)).sum(at) / 2.0
    return (y.sum(at) - (y.select(at, 0) + y.select(at, -1)) * 0.5) * (1 if dx is None else dx)


def _np_cumulative(y, x=None, dim=-1, *, dx=None):
    y = np.moveaxis(y, dim, -1)
    steps = (1.0 if dx is None else dx) if x is None else np.diff(np.moveaxis(x, dim, -1) if x.ndim > 1 else x)
    return np.moveaxis(np.cumsum((y[..., 1:] + y[..., :-1]) * steps / 2, -1), -1, dim)


@function(kinds={"x": "tensor?", "dx": "number?"}, method=False, reference=_np_cumulative,
          samples=(Sample((3, 4)), Sample((3, 4), (4,)), Sample((3, 4), dx=0.5, dim=0), Sample((3, 4), (3, 4), dim=0)))
def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The running integrals of ``y`` along ``dim`` by trapezoids, at the points ``x`` or ``dx`` (1) apart."""
    _checked("cumulative_trapezoid", y, x, dx)
    if not y._shape:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    at = wrap_dim(dim, len(y._shape))
    if x is not None:
        return (_middles(y, at) * _steps("cumulative_trapezoid", y, x, at)).cumsum(at) / 2.0
    return ((1 if dx is None else dx) / 2.0 * _middles(y, at)).cumsum(at)


# --- derivatives ---

def _edges(t, dim, first, last, middle):
    return REGISTRY["cat"].callable([first.unsqueeze(dim), middle, last.unsqueeze(dim)], dim)


# In both kernels a row of x (rows, n, inner) is n * inner elements, of which a range of all has parts.

@kernel
def slope_rows(x: "*T", out: "*T", n: int, inner: int, second: int, step: float, start: int, stop: int):
    """Derivatives of x (rows, n, inner) between neighbours along n, ``step`` apart, into out; at the edges of order 1 or 2."""
    size, h = n * inner, T(step)
    for base in range(start // size * size, stop, size):
        end = base + size
        for k in range(max(start, base), min(stop, base + inner)):
            a, b = load(x[k]), load(x[k + inner])
            d = T(-1.5) * a + T(2) * b - T(0.5) * load(x[k + 2 * inner]) if second else b - a
            out[k] = store(d / h)
        for k in range(max(start, base + inner), min(stop, end - inner)):
            out[k] = store((load(x[k + inner]) - load(x[k - inner])) / h / T(2))
        for k in range(max(start, end - inner), min(stop, end)):
            a, b = load(x[k]), load(x[k - inner])
            d = T(1.5) * a - T(2) * b + T(0.5) * load(x[k - 2 * inner]) if second else a - b
            out[k] = store(d / h)


@kernel
def slope_gradients(g: "*T", out: "*T", n: int, inner: int, second: int, step: float, start: int, stop: int):
    """The gradient of ``slope_rows`` into out (rows, n, inner), of g."""
    size, h = n * inner, T(step)
    for base in range(start // size * size, stop, size):
        last = base + (n - 1) * inner
        for k in range(max(start, base + 3 * inner), min(stop, last - 2 * inner)):
            out[k] = store((load(g[k - inner]) - load(g[k + inner])) / h / T(2))
        for edge in range(6):
            m = edge if edge < 3 else n - 6 + edge
            if m < n and (edge < 3 or m > 2):
                for k in range(max(start, base + m * inner), min(stop, base + (m + 1) * inner)):
                    i = (k - base) % inner
                    first, end = load(g[base + i]), load(g[last + i])
                    before = load(g[k - inner]) if m > 1 else T(0)
                    behind = load(g[k + inner]) if m < n - 2 else T(0)
                    d = T(0)
                    if second:
                        d += first * (T(-1.5) if m == 0 else T(2) if m == 1 else T(-0.5) if m == 2 else T(0))
                        d += end * (T(1.5) if m == n - 1 else T(-2) if m == n - 2 else T(0.5) if m == n - 3 else T(0))
                    else:
                        d += first * (T(-1) if m == 0 else T(1) if m == 1 else T(0))
                        d += end * (T(1) if m == n - 1 else T(-1) if m == n - 2 else T(0))
                    out[k] = store((before - behind) / h / T(2) + d / h)


@custom(private=True, reference=None, node="CatBackward0")
def slopes(input, dim: int, step: float, order: int):
    """Derivatives along ``dim`` of points ``step`` apart."""
    return input._shape, input._kind


@slopes.cpu
def _(out, input, dim, step, order):
    _walk(slope_rows, out, input, dim, step, order)


@slopes.gradient
def _(g, dim, step, order):
    return slope_gradient.call(g, dim, step, order)


@custom(private=True, reference=None)
def slope_gradient(g, dim: int, step: float, order: int):
    """The gradient of ``slopes``."""
    return g._shape, g._kind


@slope_gradient.cpu
def _(out, g, dim, step, order):
    _walk(slope_gradients, out, g, dim, step, order)


@slope_gradient.gradient
def _(g_, dim, step, order):
    return slopes.call(g_, dim, step, order)


def _walk(kernel_, out, x, dim, step, order):
    if out._n:
        inner = numel(out._shape[dim + 1:])
        kernel_.run(out._kind, (x._ptr, out._ptr, out._shape[dim], inner, order == 2, step), out._n, out._n)


def _even(t, dim, step, order):
    """Central differences of points ``step`` apart; at the edges differences of ``order`` + 1 points."""
    if step.__class__ in (int, float) and t._kind.dtype.category == 2:
        return slopes.call(t, dim, dt.as_float(step), order)
    n = t._shape[dim]
    at = [t.select(dim, i) for i in ((0, 1, -2, -1) if order == 1 else (0, 1, 2, -3, -2, -1))]
    if order == 1:
        first, last = (at[1] - at[0]) / step, (at[3] - at[2]) / step
    else:
        first = (-1.5 * at[0] + 2 * at[1] - 0.5 * at[2]) / step
        last = (0.5 * at[3] - 2 * at[4] + 1.5 * at[5]) / step
    middle = (t.narrow(dim, 2, n - 2) - t.narrow(dim, 0, n - 2)) / step / 2
    return _edges(t, dim, first, last, middle)


def _uneven(t, dim, points, order):
    """Differences at points of which neighbours are apart as they are."""
    n, steps = t._shape[dim], REGISTRY["diff"].callable(points)
    shape = [-1 if i == dim else 1 for i in range(len(t._shape))]
    a, b = steps[:-1].reshape(shape), steps[1:].reshape(shape)
    middle = (-b / (a * (a + b)) * t.narrow(dim, 0, n - 2) + (b - a) / (a * b) * t.narrow(dim, 1, n - 2) +
              a / (b * (a + b)) * t.narrow(dim, 2, n - 2))
    if order == 1:
        first = (t.select(dim, 1) - t.select(dim, 0)) / steps[0]
        last = (t.select(dim, -1) - t.select(dim, -2)) / steps[-1]
    else:
        a, b = steps[0], steps[1]
        first = (-(2.0 * a + b) / (a * (a + b)) * t.select(dim, 0) + (a + b) / (a * b) * t.select(dim, 1) -
                 a / (b * (a + b)) * t.select(dim, 2))
        a, b = steps[-2], steps[-1]
        last = (b / (a * (a + b)) * t.select(dim, -3) - (b + a) / (a * b) * t.select(dim, -2) +
                (2.0 * b + a) / (b * (a + b)) * t.select(dim, -1))
    return _edges(t, dim, first, last, middle)


def _dims(input, dim):
    if dim is None:
        return list(range(len(input._shape)))
    given = list(dim) if isinstance(dim, (tuple, list)) else [dim]
    if given and not input._shape:
        raise IndexError(f"Dimension specified as {given[0]} but tensor has no dimensions")
    found = [wrap_dim(d, len(input._shape)) for d in given]
    for i, d in enumerate(found):
        if d in found[:i]:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return found


@function(kinds={"spacing": "any", "dim": "any"}, method=False, differentiable=True,
          reference=lambda x, dim=None, spacing=1: (np.gradient(x, spacing, axis=dim),),
          samples=(Sample((3, 4), dim=1), Sample((4, 3), dim=0, spacing=0.5)))
def gradient(input, *, spacing=1, dim=None, edge_order=1):
    """Derivatives of a function given by values on a grid, one for each of ``dim``.

    By central differences in the middle and differences of ``edge_order`` at the edges; ``spacing``: distances of the points,
    or their coordinates."""
    if input._kind.dtype is dt.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = _dims(input, dim)
    spacing = 1 if spacing is None else spacing
    several = isinstance(spacing, (tuple, list))
    if several and len(spacing) != len(dims):
        if dim is not None:
            raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments "
                               f"to have the same length, but got a spacing argument of length {len(spacing)} and a dim "
                               f"argument of length {len(dims)}.")
        raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to "
                           f"'self.dim()' = {len(dims)}, but got a list of length {len(spacing)}")
    spacing = list(spacing) if several else [spacing] * len(dims)
    for d in dims:
        if input._shape[d] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    found = []
    for d, s in zip(dims, spacing):
        s = s.item() if isinstance(s, np.generic) else s
        if isinstance(s, Tensor) and s._shape:
            if s._shape != (input._shape[d],):
                raise RuntimeError(f"torch.gradient expected each element of 'spacing' to have the size of its dimension, "
                                   f"{input._shape[d]}, but got {list(s._shape)}")
            found.append(_uneven(input, d, s, edge_order))
        elif isinstance(s, (int, float, complex, Tensor)):
            found.append(_even(input, d, s, edge_order))
        else:
            raise arguments.wrong(s, "Number or Tensor", "gradient", "spacing", None)
    return tuple(found)
