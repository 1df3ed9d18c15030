"""Lengths of the slices of a weight, and the weight of given lengths and directions."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.node import renamed
from numbagrad.extend import Sample, function

from .norms import vector_norm_of


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


def _np_weight_norm(v, g, dim=0):
    return v * (g / _np_lengths(v, 2, dim))


@function(name="_weight_norm", kinds={"dim": "int"}, namespaces=("torch",), method=False, reference=_np_weight_norm,
          domain=(0.2, 2.0), samples=(Sample((3, 4), (3, 1)), Sample((2, 3, 4), (1, 3, 1), 1), Sample((3, 4), (1,), -1)))
def weight_norm(v, g, dim=0):
    """``g * v / |v|`` with the lengths along ``dim``, or one length for -1."""
    d, fused = v._kind.dtype, v._shape and dim in (0, len(v._shape) - 1)
    if fused and g._kind.dtype is not d:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(d)} but found {dt.scalar_name(g._kind.dtype)}")
    if fused and d.is_complex:
        raise NotImplementedError(f"\"weight_norm_kernel\" not implemented for '{dt.scalar_name(d)}'")
    found = v * (g / _lengths(v, 2, dim))
    return renamed(found, "WeightNormInterfaceBackward0") if fused else found
