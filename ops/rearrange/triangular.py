"""Triangles and diagonals of matrices, and the cross product."""

from __future__ import annotations

import numpy as np

from numbagrad import linalg
from numbagrad.base import dtypes as dt
from numbagrad.base.device import resolve_device
from numbagrad.base.shapes import wrap_dim
from numbagrad.base.user_code import caller_level
from numbagrad.core import storage
from numbagrad.core.broadcast import broadcast_shapes, sum_to_size
from numbagrad.core.copying import contiguous_copy, copy_into, set_all
from numbagrad.core.creation import arange, from_numpy, full
from numbagrad.core.out import write_out
from numbagrad.core.tensor import contiguous_strides
from numbagrad.extend import REGISTRY, Sample, T, custom, function, load, store
from numbagrad.kernel.jit import kernel, lanes

from ..index.access import write
from ..index.kernels import moved
from ..index.plans import flat_plan_of_mask, scalar_like
from ..product.gemm import conj
from ..view.shape import expanded
from ..view.slicing import diagonal, diagonal_geometry, embed, region


@kernel
def keep_lower(x: "*T", out: "*T", rows: int, columns: int, k: int, start: int, stop: int):
    """Elements of x (matrices rows, columns) on and below diagonal k, zeros elsewhere, into out of the same shape."""
    for row in range(start, stop):
        r = row - row // rows * rows
        n = min(max(r + k + 1, 0), columns)
        a = row * columns
        for i in range(n):
            out[a + i] = x[a + i]
        for i in range(n, columns):
            out[a + i] = 0


@kernel
def keep_upper(x: "*T", out: "*T", rows: int, columns: int, k: int, start: int, stop: int):
    """Elements of x (matrices rows, columns) on and above diagonal k, zeros elsewhere, into out of the same shape."""
    for row in range(start, stop):
        r = row - row // rows * rows
        n = min(max(r + k, 0), columns)
        a = row * columns
        for i in range(n):
            out[a + i] = 0
        for i in range(n, columns):
            out[a + i] = x[a + i]


def _triangle(name, body, reference, doc):
    def fn(input, diagonal: int = 0):
        if len(input._shape) < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        return input._shape, input._kind
    fn.__name__ = fn.__qualname__ = name
    fn.__module__, fn.__doc__ = __name__, doc
    op = custom(fn, reference=reference, inplace=True, dtypes="any", out="same",
                samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 4, 3), -1)))

    @op.cpu
    def _(out, input, diagonal):
        rows, columns = input._shape[-2:]
        if input._n:
            diagonal = max(-rows, min(diagonal, columns))  # further ones might overflow
            body.run(moved(input._kind), (input._ptr, out._ptr, rows, columns, diagonal), input._n // columns, input._n)

    @op.gradient
    def _(g, diagonal):
        return op.call(g, diagonal)

    def zeros_only(t, diagonal=0):
        # PyTorch's in-place form writes nothing but zeros, whatever shares memory.
        kept = op.call(full(t._shape, True), diagonal)
        write(t, scalar_like(0, t), flat_plan_of_mask(REGISTRY["logical_not"].callable(kept)))
    op.write_several = zeros_only
    return op


tril = _triangle("tril", keep_lower, np.tril, "The elements on and below a diagonal, zeros elsewhere.")
triu = _triangle("triu", keep_upper, np.triu, "The elements on and above a diagonal, zeros elsewhere.")


def _corners(name, numpy, doc):
    def fn(row, col, offset=0, *, dtype=dt.int64, layout=None, device=None):
        if row < 0 or col < 0:
            which, value = ("row", row) if row < 0 else ("col", col)
            raise RuntimeError(f"{which} must be non-negative, got{value}")
        offset = max(-row, min(offset, col))
        t = from_numpy(np.ascontiguousarray(np.stack(numpy(row, offset, col))).astype(np.int64, copy=False))
        return t.to(device=resolve_device(device), dtype=dtype)
    fn.__name__ = fn.__qualname__ = name
    fn.__module__, fn.__doc__ = __name__, doc
    return function(fn, method=False, differentiable=False, dtypes="any")


tril_indices = _corners("tril_indices", np.tril_indices, "Rows and columns of the elements on and below a diagonal.")
triu_indices = _corners("triu_indices", np.triu_indices, "Rows and columns of the elements on and above a diagonal.")


# --- diagonals --------------------------------------------------------------------------------------------------------

@custom(private=True, contiguous=False, node="DiagonalBackward0_copy", dtypes="any", reference=np.diag,
        samples=(Sample((3, 4), 0),))
def diagonal_copy(input, offset: int):
    """A diagonal of a matrix as a copy."""
    shape = input._shape
    return diagonal_geometry(shape, contiguous_strides(shape), offset, 0, 1)[0], input._kind


@diagonal_copy.cpu
def _(out, input, offset):
    strides = input._strides or contiguous_strides(input._shape)
    copy_into(out, region(input, *diagonal_geometry(input._shape, strides, offset, 0, 1)))


@diagonal_copy.gradient
def _(g, shape, offset):
    return embed.call(g, shape, *diagonal_geometry(shape, contiguous_strides(shape), offset, 0, 1))


def _embed_reference(a, offset=0, dim1=-2, dim2=-1):
    n = a.shape[-1] + abs(offset)
    out = np.zeros((*a.shape[:-1], n, n))
    i = np.arange(a.shape[-1])
    out[..., i + max(-offset, 0), i + max(offset, 0)] = a
    return np.moveaxis(out, (-2, -1), (dim1, dim2))


@custom(contiguous=False, dtypes="any", reference=_embed_reference,
        samples=(Sample((3,)), Sample((2, 3), 1), Sample((2, 3), -1, 0, 2)))
def diag_embed(input, offset: int = 0, dim1: int = -2, dim2: int = -1):
    """Matrices of zeros with the last dimension of ``input`` on a diagonal of ``dim1`` and ``dim2``."""
    return _embedded(input._shape, offset, dim1, dim2), input._kind


def _embedded(shape, offset, dim1, dim2):
    ndim = len(shape) + 1
    i, j = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
    if i == j:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = shape[-1] + abs(offset)
    rest = iter(shape[:-1])
    return tuple([n if d in (i, j) else next(rest) for d in range(ndim)])


@diag_embed.cpu
def _(out, input, offset, dim1, dim2):
    set_all(out, 0)
    copy_into(region(out, *diagonal_geometry(out._shape, contiguous_strides(out._shape), offset, dim1, dim2)), input)


@diag_embed.gradient
def _(g, offset, dim1, dim2):
    return diagonal.call(g, offset, dim1, dim2)


@function(dtypes="any", reference=np.diag, samples=(Sample((3,)), Sample((3,), 1), Sample((3, 4), -1)))
def diag(input, diagonal=0, *, out=None):
    """A diagonal of a matrix, or the matrix with a vector on a diagonal."""
    n = len(input._shape)
    if n not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {n}D")
    result = diag_embed.call(input, diagonal) if n == 1 else diagonal_copy.call(input, diagonal)
    return result if out is None else write_out("diag", out, result, (input,))


@function(dtypes="any", reference=lambda a, offset=0: np.diag(a.reshape(-1), offset), samples=(Sample((3,)), Sample((2, 2), 1)))
def diagflat(input, offset=0):
    """The matrix with all elements of ``input`` on a diagonal."""
    return diag_embed.call(input.reshape(-1), offset)


@kernel
def trace_sum(x: "*T", out: "*T", step: int, n: int, start: int, stop: int):
    """The sum of n elements of x, ``step`` apart, into out (1,)."""
    for item in range(start, stop):
        total = 0.0
        for i in range(n):
            total += np.float64(load(x[i * step]))
        out[item] = store(T(total))


@custom(contiguous=False, dtypes="any", reference=np.trace, samples=(Sample((3, 3)), Sample((2, 4))))
def trace(input):
    """Sum of the main diagonal of a matrix."""
    if len(input._shape) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {len(input._shape)}")
    d = input._kind.dtype
    if d is dt.bool_:
        raise NotImplementedError("\"trace\" not implemented for 'Bool'")
    return (), input._kind if d.category >= 2 else storage.kind_of(dt.int64, input._kind.device)


@trace.cpu
def _(out, input):
    rows, columns = input._strides or contiguous_strides(input._shape)
    if input._kind.dtype.category == 2:
        trace_sum[input._kind](input._ptr, out._ptr, rows + columns, min(input._shape), 0, 1)
    else:
        line = region(input, *diagonal_geometry(input._shape, (rows, columns), 0, 0, 1))
        copy_into(out, REGISTRY["sum"].callable(line))


@trace.gradient
def _(g, shape):
    geometry = diagonal_geometry(shape, contiguous_strides(shape), 0, 0, 1)
    return embed.call(expanded.call(g, geometry[0]), shape, *geometry)


# --- cross product, Vandermonde matrix --------------------------------------------------------------------------------

@kernel
def cross_rows(a: "*T", b: "*T", out: "*T", inner: int, start: int, stop: int):
    """Cross products of a (outer, 3, inner) and b (outer, 3, inner), into out (outer, 3, inner)."""
    for o in range(start, stop):
        p = o * 3 * inner
        q, r = p + inner, p + 2 * inner
        for i in range(inner):
            a0, a1, a2 = load(a[p + i]), load(a[q + i]), load(a[r + i])
            b0, b1, b2 = load(b[p + i]), load(b[q + i]), load(b[r + i])
            out[p + i] = store(a1 * b2 - a2 * b1)
            out[q + i] = store(a2 * b0 - a0 * b2)
            out[r + i] = store(a0 * b1 - a1 * b0)


@custom(private=True, contiguous=False, node="LinalgCrossBackward0", dtypes="any", samples=(Sample((2, 3), (2, 3), 1),),
        reference=lambda a, b, dim: np.cross(a, b, axis=dim))
def crossed(input, other, dim: int):
    """Cross product along a dimension of size three."""
    shape = broadcast_shapes("linalg.cross", (input, other))
    if input._kind is not other._kind:
        raise RuntimeError(f"linalg.cross: expected both inputs to have one dtype, but got {input.dtype} and {other.dtype}")
    return shape, input._kind


@crossed.cpu
def _(out, input, other, dim):
    ins = []
    for t in (input, other):
        if t._shape != out._shape:
            t = expanded.call(t.detach(), out._shape)
        ins.append(t if t._strides is None else contiguous_copy(t))
    inner = 1
    for s in out._shape[dim + 1:]:
        inner *= s
    if out._n:
        cross_rows.run(out._kind, (ins[0]._ptr, ins[1]._ptr, out._ptr, inner), out._n // (3 * inner), out._n)


@crossed.gradient
def _(g, input, other, dim, needs):
    conj = REGISTRY["conj"].callable
    return (sum_to_size(crossed.call(conj(other), g, dim), input._shape) if needs[0] else None,
            sum_to_size(crossed.call(g, conj(input), dim), other._shape) if needs[1] else None)


@function(private=True, torch_name="linalg.cross", dtypes="any", reference=np.cross,
          samples=(Sample((2, 3), ("float64", (2, 3))),))
def linalg_cross(input, other, *, dim=-1, out=None):
    """Cross product of vectors of three along ``dim``; the inputs are broadcast together."""
    n, m = len(input._shape), len(other._shape)
    if n != m:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    at = wrap_dim(dim, n)
    if input._shape[at] != 3 or other._shape[at] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {input._shape[at]} and "
                           f"{other._shape[at]}")
    result = crossed.call(input, other, at)
    return result if out is None else write_out("linalg.cross", out, result, (input, other))


REGISTRY.attach(__name__, linalg, {"cross": linalg_cross})


@function(kinds={"other": "tensor"},
          dtypes="any", reference=lambda a, b, dim=None: np.cross(a, b, axis=-1 if dim is None else dim),
          samples=(Sample((2, 3), ("float64", (2, 3)), 1),))
def cross(input, other, dim=None, *, out=None):
    """Cross product along ``dim`` (default: the first dimension of size three)."""
    if dim is None:
        import warnings
        warnings.warn("Using torch.cross without specifying the dim arg is deprecated.\nPlease either pass the dim explicitly "
                      "or simply use torch.linalg.cross.\nThe default value of dim will change to agree with that of "
                      "linalg.cross in a future release.", UserWarning, stacklevel=caller_level())
        dim = next((d for d, s in enumerate(input._shape) if s == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    return linalg_cross(input, other, dim=dim, out=out)


ROWS = 16  # rows of powers that are made together


@kernel
def power_rows(x: "*T", out: "*T", n: int, increasing: int, start: int, stop: int):
    """The powers 0 to n - 1 of each x into the rows of out (., n), the highest first unless they are ``increasing``."""
    powers = lanes()
    for first in range(start, stop, ROWS):
        rows = min(ROWS, stop - first)
        for r in range(rows):
            powers[r] = T(1)
        for k in range(n):
            at = first * n + (k if increasing != 0 else n - 1 - k)
            for r in range(rows):
                y = store(powers[r])
                out[at + r * n] = y
                powers[r] = T(load(y) * load(x[first + r]))


@custom(private=True, node="FlipBackward0", dtypes="any", reference=lambda x, n, increasing: np.vander(x, n, increasing),
        samples=(Sample((4,), 3, True), Sample((3,), 4, False)))
def power_table(x, n: int, increasing: bool):
    """``vander`` of one column or more."""
    return (x._n, n), x._kind


@power_table.cpu
def _(out, x, n, increasing):
    if out._n:
        power_rows.run(out._kind, (x._ptr, out._ptr, n, int(increasing)), x._n, out._n)


@power_table.gradient
def _(g, y, n, increasing):
    if not increasing:
        g, y = (REGISTRY["flip"].callable(t, (1,)) for t in (g, y))
    narrow, factors = REGISTRY["narrow"].callable, arange(1, n, dtype=y.dtype.to_real(), device=y.device)
    return (narrow(g, 1, 1, n - 1) * (conj(narrow(y, 1, 0, n - 1)) * factors)).sum(1)


@function(method=False, dtypes="any", reference=lambda x, N=None, increasing=False: np.vander(x, N, increasing),
          samples=(Sample((4,)), Sample((4,), 3), Sample((3,), 5, True)))
def vander(x, N=None, increasing=False):
    """Rows of powers ``x**(N-1), ..., x, 1`` of each element (ascending if ``increasing``)."""
    if len(x._shape) != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x._n if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    if n == 0:
        return x.new_empty((x._n, 0))
    dt.promote_types(x._kind.dtype, dt.int64)
    x = x if x._kind.dtype.category > 1 else x.to(dt.int64)
    return power_table(x, int(n), bool(increasing))
