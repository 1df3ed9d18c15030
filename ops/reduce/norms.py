"""Vector norms of any order."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.arguments import check_number
from numbagrad.core.copying import copy_into
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make
from numbagrad.dispatch.reduction import normalize_dims
from numbagrad.dispatch.reduction_rules import expand_back
from numbagrad.extend import Sample, T, custom, function, load, reduction, store
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where
from numbagrad.kernel.jit import kernel

from .sums import shared_gradient
from .variance import Fold, reduced_shape

INF = math.inf


def _norm_op(name, fn, gradient, reference, **options):
    fn.__name__, fn.__module__ = name, __name__
    fn.__doc__ = "A vector norm over all or the given dimensions."
    op = reduction(fn, accepts="real", dtypes="float", names=("LinalgVectorNormBackward0",) * 2, private=True,
                   domain=(0.2, 2.0), samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), (0, 2), True)),
                   reference=lambda x, dim=None, keepdim=False: reference(x, dim, keepdim), **options)
    op.gradient(gradient)
    return op


@kernel
def scale_rows(x: "*T", g: "*T", y: "*T", out: "*T", count: int, inner: int, start: int, stop: int):
    """x (outer, count, inner) times g / y (outer, inner), zero where y is, into out like x."""
    for row in range(start, stop):
        if inner == 1:
            top = load(y[row])
            scale = load(g[row]) / top if top != T(0) else T(0)
            for i in range(row * count, (row + 1) * count):
                out[i] = store(load(x[i]) * scale)
        else:
            small = row * inner
            for i in range(count):
                base = (row * count + i) * inner
                for k in range(inner):
                    top = load(y[small + k])
                    out[base + k] = store(load(x[base + k]) * load(g[small + k]) / top if top != T(0) else T(0))


def _two_gradient(g, input, y, shape, dim, keepdim):
    if not g._rg and not input._rg and input._kind.cpu and input._n:
        out = make(shape, input._kind)
        f = Fold(input, dim)
        target, g = f.output(out), g.contiguous()
        scale_rows.run(input._kind, (f.t._ptr, g._ptr, y._ptr, target._ptr, f.count, f.inner), f.outer, input._n)
        f.finish(target, out)
        return out
    # Zero vectors get a zero gradient.
    zero = (y.detach() == 0).to(dtype=y.dtype)
    return input * expand_back(g * (1 - zero) / (y + zero), shape, dim, keepdim)


def _one_gradient(g, input, shape, dim, keepdim):
    return input.sign() * expand_back(g, shape, dim, keepdim)


def _inf_gradient(g, input, y, dim, keepdim):
    return shared_gradient(g, input.abs(), y, dim, keepdim, True) * input.sign()


norm_two = _norm_op("norm_two", lambda acc, x: acc + x, _two_gradient, start=0.0, wide=True, map=lambda x: x * x,
                    finish=lambda acc, n: s.sqrt(acc),
                    reference=lambda x, dim, keep: np.sqrt((x * x).sum(axis=dim, keepdims=keep)))
norm_one = _norm_op("norm_one", lambda acc, x: acc + x, _one_gradient, start=0.0, wide=True, map=s.absolute,
                    reference=lambda x, dim, keep: np.abs(x).sum(axis=dim, keepdims=keep))
norm_inf = _norm_op("norm_inf", lambda acc, x: s.maximum(x, acc), _inf_gradient, start=0.0, map=s.absolute,
                    reference=lambda x, dim, keep: np.abs(x).max(axis=dim, keepdims=keep))
norm_low = _norm_op("norm_low", lambda acc, x: s.minimum(x, acc), _inf_gradient, start=INF, map=s.absolute, empty=False,
                    reference=lambda x, dim, keep: np.abs(x).min(axis=dim, keepdims=keep))
norm_zero = _norm_op("norm_zero", lambda acc, x: acc + x, lambda g: None, start=0.0, wide=True,
                     map=lambda x: where(s.apply("ne", x, 0), 1, 0),
                     reference=lambda x, dim, keep: (x != 0).sum(axis=dim, keepdims=keep).astype(float))
_norms = {2.0: norm_two, 1.0: norm_one, INF: norm_inf, -INF: norm_low, 0.0: norm_zero}


@custom(private=True, contiguous=False, joins=True, reference=None, node="LinalgVectorNormBackward0")
def norm_p(input, *, p: float, dim: object, keepdim: bool):
    """(sum |x| ** p) ** (1 / p)."""
    return reduced_shape(input._shape, dim, keepdim), input._kind


@norm_p.cpu
def _(out, input, p, dim, keepdim):
    t = input.detach().abs().pow(p).sum(dim, keepdim).pow(1.0 / p)
    copy_into(out, t)


@norm_p.gradient
def _(g, input, y, shape, p, dim, keepdim):
    if input._kind.dtype in dt.HALF:  # powers are soon beyond a half type
        g, x, y = (t.to(dtype=dt.float32) for t in (g, input, y))
        return _p_gradient(g, x, y, shape, p, dim, keepdim).to(dtype=input.dtype)
    return _p_gradient(g, input, y, shape, p, dim, keepdim)


def _p_gradient(g, input, y, shape, p, dim, keepdim):
    zero = (y.detach() == 0).to(dtype=y.dtype)
    scale = expand_back(g * (1 - zero) * (y + zero).pow(1.0 - p), shape, dim, keepdim)
    size = input.abs()
    if p < 1:
        none = (input.detach() == 0).to(dtype=input.dtype)
        return input.sign() * (size + none).pow(p - 1.0) * (1 - none) * scale
    return (input * size if p == 3 else input.sign() * size.pow(p - 1.0)) * scale


def _check_identity(shape, ord, dim):
    """Refuse norms of no elements of which there is no smallest or largest."""
    if dim is None or dim == ():
        raise RuntimeError(f"linalg.vector_norm cannot compute the {ord:g} norm on an empty tensor because the operation does "
                           "not have an identity")
    for i in normalize_dims(dim, len(shape)):
        if not shape[i]:
            raise RuntimeError(f"linalg.vector_norm cannot compute the {ord:g} norm on the dimension {i} because this "
                               "dimension is empty and the operation does not have an identity")


def vector_norm_of(input, ord, dim, keepdim):
    """The norm of a real or complex tensor for any order."""
    if isinstance(dim, list):
        dim = tuple(dim)
    if input._kind.dtype.is_complex:
        input = input.abs()
    if not input._n and (ord < 0 or ord == INF):
        _check_identity(input._shape, float(ord), dim)
    op = _norms.get(float(ord))
    if op is None and input._n and all([input._shape[i] == 1 for i in normalize_dims(dim, input.ndim)]):
        op = norm_inf  # of one element, whatever the order; powers might overflow
    if op is not None:
        return _of_one(op.call(input, dim, keepdim), input, ord)
    return _of_one(norm_p.call(input, p=float(ord), dim=dim, keepdim=bool(keepdim)), input, ord)


def _of_one(y, input, ord):
    """The norm ``y``; where each is of one element it is the size of that, whose power may not be a number of the dtype."""
    if y._n == input._n and ord and y._n:
        copy_into(y, input.detach().abs().reshape(y._shape))
    return y


def _np_norm(x, ord=2, dim=None, keepdim=False):
    a = np.abs(x)
    if ord == INF:
        return a.max(axis=dim, keepdims=keepdim)
    if ord == -INF:
        return a.min(axis=dim, keepdims=keepdim)
    if ord == 0:
        return (a != 0).sum(axis=dim, keepdims=keepdim).astype(x.dtype)
    return (a**ord).sum(axis=dim, keepdims=keepdim) ** (1.0 / ord)


NORMS = (Sample((3, 4)), Sample((3, 4), 1), Sample((3, 4), 3, 1), Sample((2, 3, 4), INF, (0, 2), True),
         Sample((3, 4), -INF, 0), Sample((3, 4), 0), Sample((3, 4), 1.5, 1))


def in_dtype(name, input, dtype):
    """The input of a norm in the ``dtype`` that was asked for, which must not be narrower, nor real for complex numbers."""
    given = input._kind.dtype
    if dtype.category < 2:
        raise RuntimeError(f"linalg.{name}: dtype should be floating point or complex, but got {dt.scalar_name(dtype)}")
    if dtype.is_complex is not given.is_complex:
        sort = "complex" if given.is_complex else "real"
        raise RuntimeError(f"linalg.{name}: dtype should be {sort} for {sort} inputs, but got {dt.scalar_name(dtype)}")
    if dt.promote_types(given, dtype) is not dtype:
        raise RuntimeError(f"linalg.{name}: the dtype of the input ({dt.scalar_name(given)}) should be convertible without "
                           f"narrowing to the specified dtype ({dt.scalar_name(dtype)})")
    return input.to(dtype=dtype)


def check_inexact(x):
    """PyTorch's error for a vector norm of integers or bools."""
    if x._kind.dtype.category < 2:
        raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                           f"{dt.scalar_name(x._kind.dtype)}")


@function(kinds={"dim": "ints", "ord": "number"}, namespaces=("linalg",), method=False, reference=_np_norm,
          samples=NORMS, domain=(0.2, 2.0))
def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None, out=None):
    """(sum |x| ** ord) ** (1 / ord); the largest size for inf, the smallest for -inf, the count of non-zeros for 0."""
    check_inexact(x)
    if dtype is not None:
        x = in_dtype("vector_norm", x, dtype)
    result = vector_norm_of(x, ord, dim, keepdim)
    return result if out is None else write_out("linalg_vector_norm", out, result, [x])


def _np_torch_norm(x, p="fro", dim=None, keepdim=False):
    return _np_norm(x, 2 if p in ("fro", None) else p, dim, keepdim)


@function(kinds={"dim": "ints", "p": "any"}, reference=_np_torch_norm, domain=(0.2, 2.0),
          samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((3, 4), 2, 1, True), Sample((3, 4), "fro", (0, 1))))
def norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    """The vector norm of order ``p`` over all or the given dimensions; "fro" is 2, "nuc" the sum of singular values."""
    if dtype is not None and input._kind.dtype.category >= 2:
        input = in_dtype("matrix_norm" if p == "nuc" else "vector_norm", input, dtype)
    if p is not None and not isinstance(p, (int, float, str)):
        p = check_number(p, "linalg_vector_norm", "ord", 2)
    if p == "nuc":
        from numbagrad import linalg
        result = linalg.matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim)
    else:
        if isinstance(p, str) and p != "fro":
            raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
        check_inexact(input)
        result = vector_norm_of(input, 2 if p in ("fro", None) else p, dim, keepdim)
    return result if out is None else write_out("norm", out, result, [input])
