"""Extrema with their positions: max, min, argmax, argmin, aminmax."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make, numel, raw
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function, load, store
from numbagrad.kernel.jit import LANES, STRIP, fmaximum, fminimum, kernel, lanes, strip, wide_strip

from ..index.kernels import check_saved
from ..index.sort import result
from .sums import amax, amin, max_all, min_all, shared_gradient

BLOCK = 8 * LANES
MaxResult, MinResult = result("max", "values", "indices"), result("min", "values", "indices")
AminmaxResult = result("aminmax", "min", "max")


# Rows are searched by blocks: the extremum of a block comes from independent lanes, and only a block that improves on
# what was found before is looked through for the position. NaN beats every number, the first one counts.

@kernel(fast=())
def extremum_rows(x: "*T", values: "*T", indices: "*i8", n: int, largest: int, wants: int, start: int, stop: int):
    """Extrema of the rows of x (rows, n) into values (rows,) (``wants`` has bit 0), positions into int64 indices (rows,)
    (bit 1)."""
    s = lanes()
    whole = n - n % BLOCK
    for row in range(start, stop):
        base = row * n
        best = load(x[base])
        at = 0
        nan = best != best
        first = 0
        while first < whole and not nan:
            for k in range(LANES):
                s[k] = load(x[base + first + k])
            if largest:
                for i in range(base + first + LANES, base + first + BLOCK, LANES):
                    for k in range(LANES):
                        v = load(x[i + k])
                        s[k] = v if (v > s[k] or v != v) else s[k]
            else:
                for i in range(base + first + LANES, base + first + BLOCK, LANES):
                    for k in range(LANES):
                        v = load(x[i + k])
                        s[k] = v if (v < s[k] or v != v) else s[k]
            better = 0
            for k in range(LANES):
                v = s[k]
                # A NaN that was followed by a number in its lane is still there: no comparison with it holds.
                better += 1 if (v != v or (v > best if largest else v < best)) else 0
            if better > 0:
                for i in range(first, first + BLOCK):
                    v = load(x[base + i])
                    if v != v:
                        if not nan:
                            best = v
                            at = i
                            nan = True
                    elif not nan and (v > best if largest else v < best):
                        best = v
                        at = i
            first += BLOCK
        if not nan:
            for i in range(first, n):
                v = load(x[base + i])
                if v != v:
                    best = v
                    at = i
                    break
                if v > best if largest else v < best:
                    best = v
                    at = i
        if wants & 1:
            values[row] = store(best)
        if wants & 2:
            indices[row] = at


@kernel(fast=())
def extremum_columns(x: "*T", values: "*T", indices: "*i8", n: int, inner: int, largest: int, wants: int, start: int,
                     stop: int):
    """Extrema over the middle of x (outer, n, inner) into values (``wants`` has bit 0) and their positions into int64
    indices (bit 1), both (outer, inner)."""
    best, at = strip(), wide_strip()
    tiles = (inner + STRIP - 1) // STRIP
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * STRIP
        width = min(STRIP, inner - left)
        base = row * n * inner + left
        for k in range(width):
            best[k] = load(x[base + k])
            at[k] = 0.0
        if largest:
            for i in range(1, n):
                base += inner
                for k in range(width):
                    v = load(x[base + k])
                    b = best[k]
                    better = (v > b or v != v) and b == b
                    best[k] = v if better else b
                    at[k] = i if better else at[k]
        else:
            for i in range(1, n):
                base += inner
                for k in range(width):
                    v = load(x[base + k])
                    b = best[k]
                    better = (v < b or v != v) and b == b
                    best[k] = v if better else b
                    at[k] = i if better else at[k]
        base = row * inner + left
        for k in range(width):
            if wants & 1:
                values[base + k] = store(best[k])
            if wants & 2:
                indices[base + k] = int(at[k])


@kernel(fast=())
def place_rows(g: "*T", indices: "*i8", out: "*T", n: int, inner: int, start: int, stop: int):
    """g (outer, inner) in zeros at the positions int64 indices (outer, inner) along the middle of out (outer, n, inner)."""
    for row in range(start, stop):
        base = row * n * inner
        for i in range(base, base + n * inner):
            out[i] = store(T(0))
        for k in range(inner):
            out[base + indices[row * inner + k] * inner + k] = g[row * inner + k]


@kernel(fast=())
def pick_rows(x: "*T", indices: "*i8", out: "*T", n: int, inner: int, start: int, stop: int):
    """Elements of x (outer, n, inner) at the positions int64 indices (outer, inner) along its middle, into out (outer,
    inner)."""
    for row in range(start, stop):
        for k in range(inner):
            out[row * inner + k] = x[(row * n + indices[row * inner + k]) * inner + k]


def _split(shape, dim):
    return (numel(shape[:dim]), shape[dim], numel(shape[dim + 1:])) if shape else (1, 1, 1)


def _reduced(shape, dim, keepdim):
    return (*shape[:dim], *((1,) if keepdim else ()), *shape[dim + 1:]) if shape else ()


def _check(name, input):
    d = input._kind.dtype
    if d.is_complex:
        raise NotImplementedError(f"\"{name}\" not implemented for '{dt.scalar_name(d)}'")


@custom(private=True, node="MaxBackward0", dtypes="any", reference=None)
def extremum(input, *, dim: int, keepdim: bool, largest: bool, name: str):
    """Largest or smallest element along a dimension, and its index."""
    _check(name, input)
    if input._shape and input._shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    shape = _reduced(input._shape, dim, keepdim)
    return [(shape, input._kind), (shape, storage.kind_of(dt.int64, input._kind.device))]


def run_extremum(input, values, indices, dim, largest):
    """Fill ``values`` and ``indices`` (either may be None)."""
    outer, n, inner = _split(input._shape, dim)
    if not outer * inner:
        return
    wants = (values is not None) + 2 * (indices is not None)
    v, i = 0 if values is None else values._ptr, 0 if indices is None else indices._ptr
    if inner == 1:
        extremum_rows.run(input._kind, (input._ptr, v, i, n, largest, wants), outer, input._n)
    else:
        extremum_columns.run(input._kind, (input._ptr, v, i, n, inner, largest, wants), outer * -(-inner // STRIP),
                             input._n)


@extremum.cpu
def _(outs, input, dim, keepdim, largest, name):
    run_extremum(input, outs[0], outs[1], dim, largest)


@extremum.gradient
def _(gs, shape, y1, dim, keepdim):
    return place_along.call(gs[0], y1, shape=shape, dim=dim)


_by_name: dict = {}


def _node_for(params):
    name = params[3]
    if name not in _by_name:
        _by_name[name] = type(name.capitalize() + "Backward0", (extremum.node_class,),
                              {"__slots__": (), "__module__": "numbagrad"})
    return _by_name[name]


extremum.node_for = _node_for


@custom(private=True, node="ValueSelectingReductionBackward0", reference=None)
def place_along(upstream, indices, *, shape: tuple, dim: int):
    """Zeros of ``shape`` with ``upstream`` at the indices along ``dim``."""
    return shape, upstream._kind


@place_along.cpu
def _(out, upstream, indices, shape, dim):
    outer, n, inner = _split(shape, dim)
    check_saved(indices, n, dim)
    place_rows.run(out._kind, (upstream._ptr, indices._ptr, out._ptr, n, inner), outer, out._n)


@place_along.gradient
def _(g, indices, dim):
    return pick_along.call(g, indices, dim=dim), None


@custom(private=True, node="GatherBackward0", reference=None)
def pick_along(input, indices, *, dim: int):
    """The elements at the indices along ``dim``, one each."""
    return indices._shape, input._kind


@pick_along.cpu
def _(out, input, indices, dim):
    outer, n, inner = _split(input._shape, dim)
    check_saved(indices, n, dim)
    pick_rows.run(out._kind, (input._ptr, indices._ptr, out._ptr, n, inner), outer, out._n)


@pick_along.gradient
def _(g, shape, indices, dim):
    return place_along.call(g, indices, shape=shape, dim=dim), None


def _both_out(name, out, found, input, cls):
    """Write a pair of results into ``out=`` (a pair of tensors)."""
    if out is None:
        return cls(*found)
    return cls(*write_outs(name, out, found, (input,)))


def _extreme(name, largest, full, cls, other_op):
    def call(input, dim=None, keepdim=False, *, other=None, out=None, axis=None, keepdims=None):
        if not isinstance(input, Tensor):
            raise arguments.wrong(input, "Tensor", name, "input", 1)
        if isinstance(dim, Tensor) and keepdim is not False:
            dim = arguments.check_int(dim, name, "dim", 2)  # what goes with keepdim is no second operand
        other = dim if isinstance(dim, Tensor) else other
        if other is not None:
            return REGISTRY[other_op].callable(input, other, out=out)
        dim, keepdim = dim if axis is None else axis, keepdim if keepdims is None else keepdims
        if dim is None:
            if input._n == 0:
                raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                                   "Specify the reduction dim with the 'dim' argument.")
            _check(name + "_all", input)
            value = full.call(input)
            return value if out is None else write_out(name, out, value, (input,), True)
        dim = wrap_dim(dim, len(input._shape))
        found = extremum.call(input, dim=dim, keepdim=bool(keepdim), largest=largest, name=name)
        return _both_out(name, out, found, input, cls)
    word = "Largest" if largest else "Smallest"
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = (f"{word} element: of all (``{name}(input)``), along a dimension with its index "
                    f"(``{name}(input, dim, keepdim)``), or of two tensors (``{name}(input, other)``).")
    np_values = np.max if largest else np.min
    np_places = np.argmax if largest else np.argmin

    def reference(x, dim=None, keepdim=False):
        if dim is None:
            return np_values(x)
        return np_values(x, axis=dim, keepdims=keepdim), np_places(x, axis=dim, keepdims=keepdim)
    return function(call, kinds={"dim": "any"}, reference=reference, dtypes="any",  # two tensors are its arguments too
                    samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), 1, True)))


_max = _extreme("max", True, max_all, MaxResult, "maximum")
_min = _extreme("min", False, min_all, MinResult, "minimum")


@custom(private=True, dtypes="any", reference=None, differentiable=False)
def place_of(input, *, dim: object, keepdim: bool, largest: bool):
    """Index of the largest or smallest element, of the flattened tensor or along a dimension."""
    shape = input._shape
    if dim is None:
        shape = (1,) * len(shape) if keepdim else ()
    else:
        shape = _reduced(shape, wrap_dim(dim, len(shape)), keepdim)
    return shape, storage.kind_of(dt.int64, input._kind.device)


@place_of.cpu
def _(out, input, dim, keepdim, largest):
    if dim is None:
        input = raw(input._buf, input._ptr, input._n, (input._n,), None, input._kind, input._ver)
    run_extremum(input, None, out, 0 if dim is None else wrap_dim(dim, len(input._shape)), largest)


def _arg(name, largest):
    def call(input, dim=None, keepdim=False, *, out=None, axis=None, keepdims=None):
        dim, keepdim = dim if axis is None else axis, keepdim if keepdims is None else keepdims
        _check(name, input)
        if input._kind.dtype is dt.bool_:
            raise RuntimeError(f"{name}(): does not support bool input")
        shape = input._shape
        if dim is None:
            if input._n == 0:
                raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        elif shape and shape[wrap_dim(dim, len(shape))] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {wrap_dim(dim, len(shape))} to have non-zero size.")
        indices = place_of.call(input, dim=dim, keepdim=keepdim, largest=largest)
        return indices if out is None else write_out(name, out, indices, (input,))
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = (f"Index of the {'largest' if largest else 'smallest'} element: of the flattened tensor, or along "
                    "``dim``; the first of equal ones.")
    np_places = np.argmax if largest else np.argmin
    return function(call, differentiable=False, dtypes="any", samples=(Sample((3, 4)), Sample((3, 4), 1),
                                                                       Sample((2, 3, 4), 0, True)),
                    reference=lambda x, dim=None, keepdim=False: np_places(x, axis=dim, keepdims=keepdim))


argmax = _arg("argmax", True)
argmin = _arg("argmin", False)


@custom(private=True, contiguous=False, dtypes="any", reference=None, node="AminmaxBackward0")
def aminmax_fused(input, *, dim: object, keepdim: bool):
    """The smallest and the largest element, of all or along a dimension."""
    return [amin.infer(input, dim, keepdim)] * 2


@kernel
def extremes_of_blocks(x: "*T", low: "*T", high: "*T", n: int, start: int, stop: int):
    """The smallest and the largest of each 8192 elements of x (n,), into low and high (blocks,)."""
    for block in range(start, stop):
        a = b = load(x[8192 * block])
        for i in range(8192 * block, min(n, 8192 * block + 8192)):
            v = load(x[i])
            a, b = fminimum(a, v), fmaximum(b, v)
        low[block], high[block] = store(a), store(b)


@aminmax_fused.cpu
def _(outs, input, dim, keepdim):
    if dim is None and input._n > 8192 and input._strides is None and input._kind.cpu and input._kind.dtype.category == 2:
        blocks = -(-input._n // 8192)
        low, high = make((blocks,), input._kind), make((blocks,), input._kind)
        extremes_of_blocks.run(input._kind, (input._ptr, low._ptr, high._ptr, input._n), blocks, input._n)
        amin.fold(outs[0], low, None, False)
        amax.fold(outs[1], high, None, False)
        return
    amin.fold(outs[0], input, dim, keepdim)
    amax.fold(outs[1], input, dim, keepdim)


@aminmax_fused.gradient
def _(gs, input, y0, y1, dim, keepdim):
    return (shared_gradient(gs[0], input, y0, dim, keepdim, False)
            + shared_gradient(gs[1], input, y1, dim, keepdim, False))


@function(reference=lambda x, dim=None, keepdim=False: (np.min(x, axis=dim, keepdims=keepdim),
                                                        np.max(x, axis=dim, keepdims=keepdim)),
          samples=(Sample((3, 4)), Sample((3, 4), dim=1), Sample((3, 4), dim=0, keepdim=True)), dtypes="any")
def aminmax(input, *, dim=None, keepdim=False, out=None):
    """The smallest and the largest element, of all or along a dimension."""
    if dim is None and not input._n:
        raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity.")
    found = aminmax_fused.call(input, dim=dim, keepdim=bool(keepdim))
    if out is None:
        return AminmaxResult(*found)
    return AminmaxResult(*write_outs("aminmax", out, found, (input,)))
