"""Lengths of the slices of a weight, and the weight of given lengths and directions."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.node import renamed
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, T, custom, function, load, store
from numbagrad.kernel.jit import kernel

from .norms import vector_norm_of
from .row_folds import deviations, product_of

FAINT = 1e-30  # sums of squares below it are added in float64


@kernel
def wn_forward(v: "*T", g: "*T", out: "*T", lengths: "*f8", n: int, start: int, stop: int):
    """Rows of v (rows, n) with the lengths g (rows,), into out; what their lengths were into float64 lengths (rows,)."""
    for row in range(start, stop):
        base = row * n
        length = deviations(v, base, base + n, T(0), FAINT)[1] ** 0.5
        lengths[row] = length
        scale = T(load(g[row]) / length)
        for i in range(base, base + n):
            out[i] = store(load(v[i]) * scale)


@kernel
def wn_gradient(u: "*T", v: "*T", g: "*T", lengths: "*f8", dv: "*T", dg: "*T", n: int, start: int, stop: int):
    """Gradients of ``wn_forward``, dv (rows, n) and dg (rows,), from that of its result, u (rows, n), and what it was given: v
    (rows, n), g and lengths (rows,)."""
    for row in range(start, stop):
        base = row * n
        length = lengths[row]
        along = product_of(u, v, base, base + n, T(0)) / length
        dg[row] = store(T(along))
        scale, slope = T(load(g[row]) / length), T(along / length)
        for i in range(base, base + n):
            dv[i] = store((load(u[i]) - load(v[i]) * slope) * scale)


def _np_lengths(v, pow=2, dim=0):
    axes = None if dim == -1 else tuple(i for i in range(v.ndim) if i != dim)
    return (np.abs(v) ** pow).sum(axis=axes, keepdims=dim != -1) ** (1 / pow)


def _lengths(v, p, dim):
    if dim == -1:
        return vector_norm_of(v, p, None, False)
    if not v._shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = wrap_dim(dim, len(v._shape))
    others = tuple([d for d in range(len(v._shape)) if d != dim])
    return vector_norm_of(v, p, others, True) if others else v.abs()


@function(kinds={"pow": "int", "dim": "int"}, namespaces=("torch",), method=False, reference=_np_lengths, domain=(0.2, 2.0),
          samples=(Sample((3, 4)), Sample((2, 3, 4), 1, 1), Sample((3, 4), 3, -1)))
def norm_except_dim(v, pow=2, dim=0):
    """The ``pow``-norms of the slices of ``v`` along ``dim``, the other dimensions having size 1; of all of it for -1."""
    n = len(v._shape)
    found = _lengths(v, pow, dim)
    return renamed(found, "NormBackward0" if dim == -1 else "ViewBackward0" if dim in (0, n - 1) else "TransposeBackward0")


@custom(private=True, node="WeightNormInterfaceBackward0", reference=None)
def rows_of_lengths(v, size):
    """Slices along the first dimension with given lengths; the second output holds the lengths that they had."""
    return [(v._shape, v._kind), (size._shape, storage.kind_of(dt.float64, v._kind.device))]


@rows_of_lengths.cpu
def _(outs, v, size):
    wn_forward.run(v._kind, (v._ptr, size._ptr, outs[0]._ptr, outs[1]._ptr, v._n // size._n), size._n, v._n)


@rows_of_lengths.gradient
def _(g, v, size, y1):
    if g._rg or v._rg or size._rg:
        lengths = _lengths(v, 2, 0)
        along = (g * v).sum(tuple(range(1, len(v._shape))), True) / lengths
        return (g - v * (along / lengths)) * (size / lengths), along
    g, v, size = (t if t._strides is None else t.contiguous() for t in (g, v, size))
    dv, dg = make(v._shape, v._kind), make(size._shape, size._kind)
    wn_gradient.run(v._kind, (g._ptr, v._ptr, size._ptr, y1._ptr, dv._ptr, dg._ptr, v._n // size._n), size._n, v._n)
    return dv, dg


def _one_for_each(g, shape, dim):
    """The lengths of slices as they lie in memory, whatever the shape of ``g``; PyTorch reads what is behind too few."""
    n = shape[dim]
    kept = (n, *[1] * (len(shape) - 1)) if dim == 0 else (*[1] * (len(shape) - 1), n)
    if g._n < n:
        raise RuntimeError(f"_weight_norm: g of {g._n} elements for {n} slices of v")
    return g if g._shape == kept else g.reshape(-1)[:n].reshape(kept)


def _np_weight_norm(v, g, dim=0):
    return v * (g / _np_lengths(v, 2, dim))


@function(name="_weight_norm", kinds={"g": "tensor", "dim": "int"}, namespaces=("torch",), method=False,
          reference=_np_weight_norm, domain=(0.2, 2.0),
          samples=(Sample((3, 4), (3, 1)), Sample((2, 3, 4), (1, 3, 1), 1), Sample((3, 4), (1,), -1)))
def weight_norm(v, g, dim=0):
    """``g * v / |v|`` with the lengths along ``dim``, or one length for -1."""
    d, fused = v._kind.dtype, v._shape and dim in (0, len(v._shape) - 1)
    if fused and g._kind.dtype is not d:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(d)} but found {dt.scalar_name(g._kind.dtype)}")
    if fused and d.is_complex:
        raise NotImplementedError(f"\"weight_norm_kernel\" not implemented for '{dt.scalar_name(d)}'")
    shape = v._shape
    if fused and dim == 0 and v._n and len(shape) > 1 and v._kind is g._kind and d.category == 2 and g._shape == (
            shape[0], *[1] * (len(shape) - 1)):
        return rows_of_lengths.call(v, g)[0]
    if fused:
        g = _one_for_each(g, shape, dim)
    found = v * (g / _lengths(v, 2, dim))
    return renamed(found, "WeightNormInterfaceBackward0") if fused else found
