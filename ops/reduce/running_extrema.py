"""Running extrema along a dimension, with the places they were met at: cummax, cummin."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.out import write_outs
from numbagrad.extend import T, custom, function, inline, load, store
from numbagrad.kernel.jit import kernel

from ..index.kernels import check_saved
from ..index.sort import result
from .scan import ALONG, split

CummaxResult, CumminResult = result("cummax", "values", "indices"), result("cummin", "values", "indices")
FEW, MANY = 8, 64  # elements that a running extremum looks at in one go


@inline
def better_ones(x, at, n, v, largest):
    """How many of x[at:at + n] do not come after ``v``."""
    found = 0
    if largest:
        for k in range(n):
            found += 0 if load(x[at + k]) < v else 1
    else:
        for k in range(n):
            found += 0 if load(x[at + k]) > v else 1
    return found


@kernel(fast=())
def extremum_along(x: "*T", values: "*T", indices: "*i8", n: int, inner: int, largest: int, few: int, many: int, start: int,
                   stop: int):
    """Running extrema along the middle of x (outer, n, inner) into values, their positions into int64 indices, both like x:
    later ones of equal elements win, and NaN beats every number. Looks at ``few`` or ``many`` elements in one go (numbers that
    are known only here, as NVVM has no sums over vectors)."""
    for row in range(start, stop):
        base = row * n * inner
        if inner == 1:  # a look at several whether any is better, mostly none: one by one each would wait for the last
            v = load(x[base])
            kept = 0
            first = 0
            while first < n:
                at = base + first
                if first + many <= n and better_ones(x, at, many, v, largest) == 0:
                    for k in range(many):
                        values[at + k] = store(v)
                        indices[at + k] = kept
                    first += many
                    continue
                last = first + many if first + many < n else n
                while first < last:
                    at = base + first
                    size = last - first if last - first < few else few
                    if size == few and better_ones(x, at, few, v, largest) == 0:
                        for k in range(few):
                            values[at + k] = store(v)
                            indices[at + k] = kept
                    else:
                        for k in range(size):
                            w = load(x[at + k])
                            if w != w or (w >= v if largest else w <= v):
                                v = w
                                kept = first + k
                            values[at + k] = store(v)
                            indices[at + k] = kept
                    first += size
            continue
        for k in range(inner):
            values[base + k] = x[base + k]
            indices[base + k] = 0
        for i in range(1, n):
            at = base + i * inner
            for k in range(inner):
                v = load(x[at + k])
                old = load(values[at - inner + k])
                better = v != v or (v >= old if largest else v <= old)
                values[at + k] = store(v if better else old)
                indices[at + k] = i if better else indices[at - inner + k]


@kernel(fast=())
def scatter_sum(g: "*T", indices: "*i8", out: "*T", n: int, inner: int, start: int, stop: int):
    """g added to zeros at the positions int64 indices along the middle, into out, all (outer, n, inner)."""
    for row in range(start, stop):
        base = row * n * inner
        for i in range(base, base + n * inner):
            out[i] = store(T(0))
        for i in range(n):
            for k in range(inner):
                at = base + indices[base + i * inner + k] * inner + k
                out[at] = store(load(out[at]) + load(g[base + i * inner + k]))


@kernel(fast=())
def gather_along(x: "*T", indices: "*i8", out: "*T", n: int, inner: int, start: int, stop: int):
    """Elements of x at the positions int64 indices along the middle, into out, all (outer, n, inner)."""
    for row in range(start, stop):
        base = row * n * inner
        for i in range(n):
            for k in range(inner):
                at = base + i * inner + k
                out[at] = x[base + indices[at] * inner + k]


@custom(private=True, node="CummaxBackward0", dtypes="any", reference=None)
def cumulative_extremum(input, *, dim: int, largest: bool):
    """Running maximum or minimum and where it was met."""
    if input._kind.dtype.is_complex:
        raise NotImplementedError(f"\"cummax_cummin\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    return [(input._shape, input._kind), (input._shape, storage.kind_of(dt.int64, input._kind.device))]


@cumulative_extremum.cpu
def _(outs, input, dim, largest):
    outer, n, inner = split(input._shape, dim)
    if input._n:
        extremum_along.run(input._kind, (input._ptr, outs[0]._ptr, outs[1]._ptr, n, inner, largest, FEW, MANY), outer, input._n)


@cumulative_extremum.gradient
def _(gs, y1, dim):
    return add_at.call(gs[0], y1, dim=dim)


_cummin_node = type("CumminBackward0", (cumulative_extremum.node_class,), {"__slots__": (), "__module__": "numbagrad"})
cumulative_extremum.node_for = lambda params: cumulative_extremum.node_class if params[1] else _cummin_node


@custom(private=True, joins=True, node="ScatterAddBackward0", reference=None)
def add_at(upstream, indices, *, dim: int):
    """Sums of ``upstream`` over the places that each index along ``dim`` names."""
    return upstream._shape, upstream._kind


@add_at.cpu
def _(out, upstream, indices, dim):
    outer, n, inner = split(out._shape, dim)
    if out._n:
        check_saved(indices, n, dim)
        scatter_sum.run(out._kind, (upstream._ptr, indices._ptr, out._ptr, n, inner), outer, out._n)


@add_at.gradient
def _(g, indices, dim):
    return take_at.call(g, indices, dim=dim), None


@custom(private=True, node="GatherBackward0", reference=None)
def take_at(input, indices, *, dim: int):
    """The elements at the indices along ``dim``."""
    return input._shape, input._kind


@take_at.cpu
def _(out, input, indices, dim):
    outer, n, inner = split(out._shape, dim)
    if out._n:
        check_saved(indices, n, dim)
        gather_along.run(out._kind, (input._ptr, indices._ptr, out._ptr, n, inner), outer, out._n)


@take_at.gradient
def _(g, indices, dim):
    return add_at.call(g, indices, dim=dim), None


def _cumulative(name, largest, cls):
    def call(input, dim, *, out=None):
        found = cumulative_extremum.call(input, dim=wrap_dim(dim, len(input._shape)), largest=largest)
        return cls(*found) if out is None else cls(*write_outs(name, out, found, [input]))
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = (f"Running {'maximum' if largest else 'minimum'} along ``dim``, with the index it was met at (the "
                    "last of equal ones).")

    def reference(x, dim):
        if not x.ndim:
            return x, np.zeros((), np.int64)
        values = (np.maximum if largest else np.minimum).accumulate(x, axis=dim)
        shape = [1] * x.ndim
        shape[dim] = -1
        places = np.where(x == values, np.arange(x.shape[dim]).reshape(shape), 0)
        return values, np.maximum.accumulate(places, axis=dim)
    return function(call, reference=reference, samples=ALONG, dtypes="any")


cummax = _cumulative("cummax", True, CummaxResult)
cummin = _cumulative("cummin", False, CumminResult)
