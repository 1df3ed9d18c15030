"""Plans of gather and scatter: an index of the tensor's rank, which names places along one dimension.

Large tensors are read and added to without a list of element numbers, in one pass over the index."""

from __future__ import annotations

import numpy as np

from numbagrad.core import storage
from numbagrad.core.tensor import contiguous_strides, numel
from numbagrad.extend import inline, load, store
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.tape import TAPE, active

from . import access
from .kernels import moved, row
from .plans import Plan, as_index, checked_row, out_of_bounds, range_flag, several

ROW = 1024
LISTED = 1 << 12  # elements up to which a list of numbers is made, for forward and backward

# In the kernels meta holds the index's sizes, then the strides of the indexed tensor; rows of the last dimension are looped.
# found (2,) gets (1, the first index out of range) where there is one; both are int64.


@inline
def first_place(meta, nd, dim, item):
    """Where a row's places begin by its coordinates but ``dim`` and the last; int64 meta (2 nd,): see above."""
    left = item
    base = 0
    for d in range(nd - 2, -1, -1):
        s = meta[d]
        up = left // s
        if d != dim:
            base += (left - up * s) * meta[nd + d]
        left = up
    return base


@inline
def wrong_ones(index, size, first, last):
    """Not 0 if one of index[first:last] is out of range."""
    bad = 0
    for i in range(first, last):
        bad |= (1 if index[i] < 0 else 0) | (1 if index[i] >= size else 0)
    return bad


@inline
def report(index, found, size, first, last):
    """Put the first of index[first:last] that is out of range into found."""
    for i in range(first, last):
        v = index[i]
        if found[0] < 1 and (v < 0 or v >= size):
            found[0] = 1
            found[1] = v


@kernel
def resolve_along(index: "*i8", out: "*i8", found: "*i8", meta: "*i8", nd: int, dim: int, size: int, start: int, stop: int):
    """Offsets for gather and scatter: the position of each element of index with coordinate ``dim`` replaced, into out.

    meta and found: see above; all are int64."""
    inner = meta[nd - 1]
    step = 0 if dim == nd - 1 else meta[2 * nd - 1]
    along = meta[nd + dim]
    bad = 0
    for item in range(start, stop):
        base = first_place(meta, nd, dim, item)
        first = item * inner
        for i in range(inner):
            v = index[first + i]
            wrong = (1 if v < 0 else 0) | (1 if v >= size else 0)
            bad |= wrong
            out[first + i] = base + i * step + (0 if wrong else v * along)
    if bad != 0 and found[0] < 1:
        report(index, found, size, start * inner, stop * inner)


@kernel
def take_along(x: "*T", index: "*i8", out: "*T", found: "*i8", meta: "*i8", nd: int, dim: int, size: int, start: int,
               stop: int):
    """Elements of x at the places of int64 index, into out like index; int64 meta and found: see above."""
    inner = meta[nd - 1]
    step = 0 if dim == nd - 1 else meta[2 * nd - 1]
    along = meta[nd + dim]
    for item in range(start, stop):
        base = first_place(meta, nd, dim, item)
        first = item * inner
        if wrong_ones(index, size, first, first + inner) != 0:
            report(index, found, size, first, first + inner)
        elif step == 0 and along == 1:
            for i in range(inner):
                out[first + i] = x[base + index[first + i]]
        else:
            for i in range(inner):
                out[first + i] = x[base + i * step + index[first + i] * along]


@kernel
def add_along(v: "*T", index: "*i8", x: "*T", found: "*i8", meta: "*i8", nd: int, dim: int, size: int, rows: int, start: int,
              stop: int):
    """Elements of v, like int64 index, added to x at the places of index; int64 meta and found: see above. With ``rows`` items
    are columns of so many rows."""
    inner = meta[nd - 1]
    step = 0 if dim == nd - 1 else meta[2 * nd - 1]
    along = meta[nd + dim]
    low, high = (start, stop) if rows > 0 else (0, inner)
    for item in range(0 if rows > 0 else start, rows if rows > 0 else stop):
        base = first_place(meta, nd, dim, item)
        first = item * inner
        if wrong_ones(index, size, first + low, first + high) != 0:
            report(index, found, size, first + low, first + high)
        else:
            for i in range(low, high):
                p = base + i * step + index[first + i] * along
                x[p] = store(load(x[p]) + load(v[first + i]))


@kernel
def put_along(v: "*T", index: "*i8", x: "*T", found: "*i8", meta: "*i8", nd: int, dim: int, size: int, rows: int, start: int,
              stop: int):
    """Elements of v, like int64 index, into x at the places of index; int64 meta and found: see above. With ``rows`` items are
    columns of so many rows."""
    inner = meta[nd - 1]
    step = 0 if dim == nd - 1 else meta[2 * nd - 1]
    along = meta[nd + dim]
    low, high = (start, stop) if rows > 0 else (0, inner)
    for item in range(0 if rows > 0 else start, rows if rows > 0 else stop):
        base = first_place(meta, nd, dim, item)
        first = item * inner
        if wrong_ones(index, size, first + low, first + high) != 0:
            report(index, found, size, first + low, first + high)
        else:
            for i in range(low, high):
                x[base + i * step + index[first + i] * along] = v[first + i]


@kernel
def fill_along(v: "*T", index: "*i8", x: "*T", found: "*i8", meta: "*i8", nd: int, dim: int, size: int, rows: int, start: int,
               stop: int):
    """The one element of v into x at the places of index; int64 meta and found: see above. With ``rows`` items are columns of
    so many rows."""
    inner = meta[nd - 1]
    step = 0 if dim == nd - 1 else meta[2 * nd - 1]
    along = meta[nd + dim]
    low, high = (start, stop) if rows > 0 else (0, inner)
    for item in range(0 if rows > 0 else start, rows if rows > 0 else stop):
        base = first_place(meta, nd, dim, item)
        first = item * inner
        if wrong_ones(index, size, first + low, first + high) != 0:
            report(index, found, size, first + low, first + high)
        else:
            for i in range(low, high):
                x[base + i * step + index[first + i] * along] = v[0]


@kernel
def take_from_row(x: "*T", index: "*i8", out: "*T", found: "*i8", size: int, start: int, stop: int):
    """Elements of x (size,) at int64 index (n,), which counts from the end where it is negative, into out; found: see above."""
    for first in range(start, stop, ROW):  # (whose indices stay in the cache)
        last, low, bad = min(first + ROW, stop), 0, 0
        for i in range(first, last):
            low |= 1 if index[i] < 0 else 0
            bad |= (1 if index[i] < -size else 0) | (1 if index[i] >= size else 0)
        if bad != 0:
            for i in range(first, last):
                if found[0] < 1 and (index[i] < -size or index[i] >= size):
                    found[0] = 1
                    found[1] = index[i]
        elif low != 0:
            for i in range(first, last):
                out[i] = x[index[i] + (size if index[i] < 0 else 0)]
        else:
            for i in range(first, last):
                out[i] = x[index[i]]


@kernel
def add_to_row(v: "*T", index: "*i8", x: "*T", found: "*i8", size: int, start: int, stop: int):
    """Elements of v (n,) added to x (size,) at int64 index (n,), which counts from the end where it is negative; found: see
    above."""
    for first in range(start, stop, ROW):
        last, low, bad = min(first + ROW, stop), 0, 0
        for i in range(first, last):
            low |= 1 if index[i] < 0 else 0
            bad |= (1 if index[i] < -size else 0) | (1 if index[i] >= size else 0)
        if bad != 0:
            for i in range(first, last):
                if found[0] < 1 and (index[i] < -size or index[i] >= size):
                    found[0] = 1
                    found[1] = index[i]
        elif low != 0:
            for i in range(first, last):
                p = index[i] + (size if index[i] < 0 else 0)
                x[p] = store(load(x[p]) + load(v[i]))
        else:
            for i in range(first, last):
                p = index[i]
                x[p] = store(load(x[p]) + load(v[i]))


def _of_row(t, plan):
    """Whether the plan is one of a row, whose numbers nobody asked for, and large, and t is a row or is seen as one."""
    return (plan.n > LISTED and plan.numbers[0] is several and len(plan.tensors) == 1 and plan.in_shape == (plan.total,)
            and t._strides is None and t._n == plan.total)


def _in_row(kernel_, kind, x, out, plan, work):
    index, (_, _, fail) = as_index(plan.current()[0]), plan.numbers[1]
    words = range_flag(fail, 0, plan.total, index)
    kernel_.run(kind, (x._ptr, index._ptr, out._ptr, words.address, plan.total), plan.n, work)
    words.check()
    return True


def read(out, t, plan):
    """out = t[plan] in one pass, if the plan is one of gather or of a row, whose numbers nobody asked for, and large."""
    if _of_row(t, plan):
        return _in_row(take_from_row, moved(t._kind), t, out, plan, out._n)
    if not _unlisted(plan, t):
        return False
    _run(take_along, moved(t._kind), t, out, plan)
    return True


def add(t, values, plan):
    """t[plan] += values in one pass, under the same conditions; a wrong index is found when others were added already."""
    row = t._kind.cpu and _of_row(t, plan)  # (on one thread: two would meet in a place)
    if not (row or _unlisted(plan, t)) or values._strides is not None or values._shape != plan.shape:
        return False
    if t._kind.itemsize == 2 and t._kind.dtype.category == 2:
        return access.are_many(plan) and access.joined(t, values, plan, add)
    if row:
        return _in_row(add_to_row, t._kind, values, t, plan, 0)
    _run(add_along, t._kind, values, t, plan)
    return True


def write(t, values, plan):
    """t[plan] = values in one pass, under the same conditions; a wrong index is found when others were written already."""
    if not _unlisted(plan, t) or values._strides is not None or values._shape != plan.shape:
        return False
    _run(put_along, moved(t._kind), values, t, plan)
    return True


def fill(t, value, plan):
    """t[plan] = value, one element, in one pass, under the same conditions as ``write``."""
    if value._n != 1 or value._kind is not t._kind or not _unlisted(plan, t):
        return False
    _run(fill_along, moved(t._kind), value, t, plan)
    return True


def take(out, t, index, dim):
    """out = t at the places of ``index`` along ``dim``, in one pass, for row-major t."""
    _along(take_along, moved(t._kind), t, out, index, t._shape, dim, out_of_bounds)


def give(t, values, index, dim):
    """t += values at the places of ``index`` along ``dim``, in one pass, for row-major t and values."""
    _along(add_along, t._kind, values, t, index, t._shape, dim, out_of_bounds)


def _unlisted(plan, t):
    return plan.n > LISTED and plan.numbers[0] is _within and t._strides is None and t._n == plan.total


def _run(kernel_, kind, x, out, plan):
    _along(kernel_, kind, x, out, as_index(plan.current()[0]), *plan.numbers[1])


def _along(kernel_, kind, x, out, index, shape, dim, fail):
    sizes, size = index._shape or (1,), shape[dim] if shape else 1
    words = range_flag(fail, dim, size, index)
    arguments = x._ptr, index._ptr, out._ptr, words.address, _meta(index._shape, shape), len(sizes), dim, size
    rows = index._n // sizes[-1]
    if kernel_ is take_along:
        kernel_.run(kind, arguments, rows, index._n)
    elif dim == len(sizes) - 1:  # no two rows of the index have a place in common, but a block's threads would meet in one
        kernel_.run(kind, (*arguments, 0), rows, index._n if kind.cpu else 0)
    elif kind.cpu:  # no two columns have
        kernel_.run(kind, (*arguments, rows), sizes[-1], index._n)
    else:
        kernel_[kind](*arguments, 0, 0, rows)
    words.check()


def _meta(index_shape, shape):
    """Address of the sizes of the index and the strides of the tensor."""
    key = (index_shape, shape)
    meta = _metas.get(key)
    if meta is None:
        if len(_metas) >= 1024:
            _metas.clear()
        array = np.array((*(index_shape or (1,)), *(contiguous_strides(shape) or (1,))), np.int64)
        meta = _metas[key] = (array, storage.table(array))
    return meta[1]


_metas: dict = {}


def named_within(shape, dim, index, fail):
    """What ``Plan`` is made of for gather and scatter: every element of ``index`` has a place in a tensor of ``shape``."""
    return (_within, (shape, dim, fail)), None, 0, 1, (numel(shape),), index._shape, (index,)


def plan_dim(*args):
    """The plan of ``named_within``."""
    return Plan(*named_within(*args))


def _within(tensors, shape, dim, fail):
    """Row-major numbers of the elements of a tensor of ``shape`` that an index along ``dim`` names: (array, address)."""
    index = as_index(tensors[0])
    n = index._n
    later = not index._kind.cpu or bool(TAPE) and active() is not None  # (not TAPE itself: other threads fill it)
    numbers = lin, where = row(n, index._kind) if later else checked_row(n)
    if n:
        sizes = index._shape or (1,)
        size = shape[dim] if shape else 1
        words = range_flag(fail, dim, size, index) if later else None
        found = words.address if later else where + 8 * n
        resolve_along[index._kind](index._ptr, where, found, _meta(index._shape, shape), len(sizes), dim, size, 0,
                                   n // sizes[-1])
        if later:
            words.check()
        elif lin[n]:
            fail(int(lin[n + 1]), dim, size)
    return numbers
