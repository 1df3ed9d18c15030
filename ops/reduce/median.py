"""Order statistics along a dimension: median, nanmedian, mode."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.copying import copy_into, row_major
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make, raw_view
from numbagrad.extend import Sample, custom, function, load
from numbagrad.kernel.jit import kernel

from ..index.kernels import check_saved
from ..index.select_kernels import STACK, quick_select, sort_rows
from ..index.sort import result
from .extremum import _both_out, _check, _reduced, _split, pick_along, pick_rows, place_along
from .sums import shared_gradient

MedianResult, NanmedianResult = result("median", "values", "indices"), result("nanmedian", "values", "indices")
ModeResult = result("mode", "values", "indices")


def _ranked(name, input, dim, keepdim, skip_nan):
    """Positions of the lower median along ``dim``, on the input's device."""
    if input._kind.cpu:
        return _positions.call(input, dim, keepdim, skip_nan, name)
    return _positions.call(input.cpu(), dim, keepdim, skip_nan, name).to(device=input.device)


@custom(private=True, contiguous=False, reference=None, dtypes="any", differentiable=False)
def _positions(input, dim: int, keepdim: bool, skip_nan: bool, name: str):
    """Positions of the lower median along ``dim``."""
    if input._shape and input._shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    return _reduced(input._shape, dim, keepdim), storage.kind_of(dt.int64, input._kind.device)


@kernel(fast=())
def median_rows(x: "*T", q: "*i8", out: "*i8", n: int, skip: int, start: int, stop: int):
    """Position of the lower median of each row of x (rows, n), into out (rows,): that of the first NaN where there is one,
    unless they are skipped; of equal elements the one that a stable sort would put there. q (n,) is scratch; both are int64."""
    for row in range(start, stop):
        base = row * n
        missing = 0
        at = 0
        for i in range(n):
            v = load(x[base + i])
            if v != v:
                if missing == 0:
                    at = i
                missing += 1
        if missing == 0 or skip != 0 and missing < n:
            k = (n - missing - 1) // 2
            for i in range(n):
                q[i] = base + i
            quick_select(x, q, k, n)
            middle = load(x[q[k]])
            for i in range(n):
                k -= 1 if load(x[base + i]) < middle else 0
            for i in range(n):
                if load(x[base + i]) == middle:
                    if k == 0:
                        at = i
                    k -= 1
        out[row] = at


@_positions.cpu
def _(out, input, dim, keepdim, skip_nan, name):
    if out._n == 0:
        return
    t, d = input, len(input._shape)
    if dim < d - 1:
        t = raw_view(t, [i for i in range(d) if i != dim] + [dim])
    t = row_major(t)
    n = t._shape[-1] if d else 1
    scratch, q = storage.kind_of(dt.int64).alloc(n)
    median_rows[t._kind](t._ptr, q, out._ptr, n, int(skip_nan), 0, t._n // n)
    del scratch  # held until here


def _median(name, skip_nan, cls):
    def call(input, dim=None, keepdim=False, *, out=None):
        _check(name, input)
        if input._kind.dtype.category == 0:
            raise NotImplementedError(f"\"{'median_cpu' if dim is None else 'median_out'}\" not implemented for 'Bool'")
        if dim is None:
            if input._n == 0:
                if input._kind.dtype.category < 2:
                    raise RuntimeError(f"{name}() operation does not have an identity for empty input")
                return input.sum() * float("nan")
            flat = input.reshape((input._n,))
            index = _ranked(name, flat, 0, False, skip_nan)
            value = _full_median.call(input, pick_along.call(flat.detach(), index, dim=0), name=name)
            return value if out is None else write_out(name, out, value, (input,), True)
        at = wrap_dim(dim, len(input._shape))
        index = _ranked(name, input, at, bool(keepdim), skip_nan)
        values = _picked.call(input, index, dim=at, name=name)
        return _both_out(name, out, (values, index), input, cls)
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = ("The lower median" + (" of what is not NaN" if skip_nan else "")
                    + ": of all elements, or along a dimension with its index.")

    def reference(x, dim=None, keepdim=False):
        a = x.reshape(-1) if dim is None else x
        at = 0 if dim is None else dim
        order = np.argsort(a, axis=at, kind="stable")
        place = np.take(order, [(a.shape[at] - 1) // 2], axis=at)
        values = np.take_along_axis(a, place, at)
        if dim is None:
            return values[0]
        return (values, place) if keepdim else (values.squeeze(at), place.squeeze(at))
    return function(call, reference=reference, dtypes="any",
                    samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((3, 5), 0, True)))


def _named_nodes(op, at, pattern):
    """Give ``op`` a node class per value of its parameter number ``at``."""
    made = {}

    def node_for(params):
        name = params[at]
        if name not in made:
            made[name] = type(pattern.format(name.capitalize()), (op.node_class,),
                              {"__slots__": (), "__module__": "numbagrad"})
        return made[name]
    op.node_for = node_for


@custom(private=True, reference=None, dtypes="any")
def _picked(input, indices, *, dim: int, name: str):
    """The elements at the indices along ``dim``."""
    return indices._shape, input._kind


@_picked.cpu
def _(out, input, indices, dim, name):
    outer, n, inner = _split(input._shape, dim)
    check_saved(indices, n, dim)
    pick_rows.run(out._kind, (input._ptr, indices._ptr, out._ptr, n, inner), outer, out._n)


@_picked.gradient
def _(g, shape, indices, dim):
    return place_along.call(g, indices, shape=shape, dim=dim), None


_named_nodes(_picked, 1, "{}Backward1")


@custom(private=True, reference=None, contiguous=False, dtypes="any")
def _full_median(input, value, *, name: str):
    """``value``, as a function of ``input``: the elements that equal it share the gradient."""
    return (), input._kind


@_full_median.cpu
def _(out, input, value, name):
    copy_into(out, value)


@_full_median.gradient
def _(g, input, y):
    return shared_gradient(g, input, y, None, False, True), None


_named_nodes(_full_median, 0, "{}Backward0")

median = _median("median", False, MedianResult)
nanmedian = _median("nanmedian", True, NanmedianResult)


def _mode_reference(x, dim=-1, keepdim=False):
    order = np.sort(x, axis=dim)
    values = np.take(order, [0], axis=dim)
    places = x.shape[dim] - 1 - np.argmax(np.flip(x == values, dim), axis=dim, keepdims=True)
    return (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))


@kernel(fast=())
def mode_rows(x: "*T", order: "*i8", indices: "*i8", n: int, start: int, stop: int):
    """Last position of the most frequent value (the smallest of equally frequent ones) of each row of x (rows, n), whose
    elements order (rows, n) sorts, into indices (rows,), both int64."""
    for row in range(start, stop):
        base = row * n
        most = 0
        at = 0
        i = 0
        while i < n:
            v = load(x[order[base + i]])
            j = i + 1
            while j < n and load(x[order[base + j]]) == v:
                j += 1
            if j - i > most:
                most = j - i
                at = order[base + j - 1] - base
            i = j
        indices[row] = at


@custom(private=True, contiguous=False, reference=None, dtypes="any", differentiable=False)
def _most_frequent(input, dim: int):
    """Positions along ``dim`` of the most frequent values, which stays as a dimension of one."""
    return _reduced(input._shape, dim, True) or (1,), storage.kind_of(dt.int64, input._kind.device)


@_most_frequent.host
def _(out, input, dim):
    t = input.detach()
    t = t.transpose(dim, -1).contiguous() if dim < len(input._shape) - 1 else t.contiguous().reshape(input._shape or (1,))
    n = t._shape[-1]
    kind = storage.kind_of(dt.int64)
    order, stack = make((t._n,), kind), make((STACK,), kind)
    sort_rows[t._kind](t._ptr, stack._ptr, order._ptr, n, 2, 0, t._n // n)
    direct = dim == len(input._shape) - 1 or not input._shape
    index = out if direct else make((*t._shape[:-1], 1), out._kind)
    mode_rows[t._kind](t._ptr, order._ptr, index._ptr, n, 0, t._n // n)
    if not direct:
        copy_into(out, index.transpose(dim, -1))


@function(reference=_mode_reference, samples=(Sample((3, 4)), Sample((3, 4), 0, True)), dtypes="any")
def mode(input, dim=-1, keepdim=False, *, out=None):
    """The most frequent value along a dimension (the smallest of several), with its last index."""
    _check("mode", input)
    at = wrap_dim(dim, len(input._shape))
    if input._shape and input._shape[at] == 0:
        raise IndexError(f"mode(): Expected reduction dim {at} to have non-zero size.")
    index = _most_frequent.call(input, at).reshape(_reduced(input._shape, at, keepdim))
    values = _mode_picked.call(input, index, dim=at)
    return _both_out("mode", out, (values, index), input, ModeResult)


@custom(private=True, reference=None, dtypes="any", node="ModeBackward0")
def _mode_picked(input, indices, *, dim: int):
    """The elements at the indices along ``dim``."""
    return indices._shape, input._kind


_mode_picked.cpu(lambda out, input, indices, dim: _picked.cpu_launch(out, input, indices, dim, "mode"))
_mode_picked.gradient(lambda g, shape, indices, dim: (place_along.call(g, indices, shape=shape, dim=dim), None))
