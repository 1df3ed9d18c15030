"""Reads and writes of the places that a plan names (``plans``)."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import expanded_strides
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.core.overlap import is_several
from numbagrad.core.tensor import contiguous_strides, make, numel, raw, raw_view
from numbagrad.kernel.threads import LIMIT, get_num_threads

from . import joined as joins
from .kernels import (
    add_one,
    add_places,
    add_rows,
    add_shares,
    moved,
    offsets,
    put_one,
    put_places,
    put_rows,
    put_shares,
    row,
    take_one,
    take_rows,
)


def _merged(sizes, strides):
    """The one stride of several dimensions taken as one, or None."""
    step, expect = 0, None
    for s, k in zip(reversed(sizes), reversed(strides)):
        if s == 1:
            continue
        if expect is None:
            step = k
        elif k != expect:
            return None
        expect = s * k
    return step


def steps_of(t, plan):
    """(outer, indexed, inner) strides of ``t`` seen through a plan, or None where its memory has no such strides."""
    if t._strides is None and plan.order is None:
        return plan.total * plan.inner, plan.inner, 1
    sizes, strides = plan.in_shape, t._strides or contiguous_strides(t._shape)
    if t._shape != sizes:
        return None
    if plan.order is not None:
        sizes, strides = [sizes[d] for d in plan.order], [strides[d] for d in plan.order]
    b, e = plan.before, plan.before + plan.indexed
    parts = _merged(sizes[:b], strides[:b]), _merged(sizes[b:e], strides[b:e]), _merged(sizes[e:], strides[e:])
    return None if None in parts else parts


def _arranged(t, plan):
    """A contiguous copy of ``t`` in the plan's order of dimensions."""
    if t._shape != plan.in_shape:
        return contiguous_copy(t)
    return contiguous_copy(t if plan.order is None else raw_view(t, plan.order))


def read(out, t, plan):
    """out = t[plan] for a contiguous ``out``."""
    if out._n == 0:
        return
    steps = steps_of(t, plan)
    if steps is None:
        t, steps = _arranged(t, plan), (plan.total * plan.inner, plan.inner, 1)
    kind = moved(t._kind)
    if plan.outer == 1 and plan.inner == 1:
        take_one.run(kind, (t._ptr, plan.address, out._ptr, steps[1]), plan.n, out._n)
    else:
        take_rows.run(kind, (t._ptr, plan.address, out._ptr, plan.n, steps[0], steps[1], plan.inner, steps[2]),
                      plan.outer * plan.n, out._n)


def _row(kind, sizes, strides, numbers=None, count=None):
    """int64 memory with the places that element numbers (all of them without) have in dimensions: (owner, address)."""
    n = numel(sizes) if numbers is None else count
    lin, where = row(n, kind)
    key = (tuple(sizes), tuple(strides))
    meta = _geometries.get(key)
    if meta is None:
        if len(_geometries) >= 1024:
            _geometries.clear()
        array = np.array((*(sizes or (1,)), *(strides or (0,))), np.int64)
        meta = _geometries[key] = (array, storage.table(array))
    offsets[storage.kind_of(dt.int64, kind.device)](where if numbers is None else numbers, where, meta[1], len(sizes) or 1,
                                                    0 if numbers is None else 1, 0, n)
    return lin, where


_geometries: dict = {}


def places(t, plan):
    """Places in memory of the (outer, indexed, inner) elements of ``t`` that a plan names: three (owner, address) pairs.

    For tensors whose dimensions do not merge. Nothing is copied, so elements that are one in memory stay one."""
    sizes, strides = t._shape, t._strides or contiguous_strides(t._shape)
    b, e = plan.before, plan.before + plan.indexed
    if sizes != plan.in_shape:  # a plan that takes all dimensions as one
        b, e = 0, len(sizes)
    elif plan.order is not None:
        sizes, strides = tuple([sizes[d] for d in plan.order]), tuple([strides[d] for d in plan.order])
    kind = t._kind
    return (_row(kind, sizes[:b], strides[:b]), _row(kind, sizes[b:e], strides[b:e], plan.address, plan.n),
            _row(kind, sizes[e:], strides[e:]))


def write(t, values, plan, body=put_rows, one=put_one, typed=False):
    """t[plan] = values with a kernel of rows or of single elements; ``values`` broadcasts to the plan's shape."""
    if plan.n == 0 or plan.outer == 0 or plan.inner == 0:
        return
    values, parts = _parts(values, plan)
    steps = steps_of(t, plan)
    kind = t._kind if typed else moved(t._kind)
    if steps is None:
        outer, lines_, inner = places(t, plan)
        body = add_places if typed else put_places
        body[kind](t._ptr, outer[1], lines_[1], inner[1], values._ptr, plan.n, plan.inner, *parts, 0, plan.outer * plan.n)
    elif plan.outer == 1 and plan.inner == 1:
        one[kind](t._ptr, plan.address, values._ptr, steps[1], parts[1], 0, plan.n)
    elif kind.cpu and steps[2] == parts[2] == 1 and plan.outer * plan.n * plan.inner >= LIMIT[0] and (
            plan.inner >= NARROW or plan.outer >= get_num_threads()):
        _write_shares(add_shares if typed else put_shares, kind, t, values, plan, steps, parts)
    else:
        arguments, rows = (t._ptr, plan.address, values._ptr, plan.n, steps[0], steps[1], plan.inner, steps[2], *parts), (
            plan.outer * plan.n)
        if values._n == 1 and kind.cpu and not typed:  # one number may be written to a place by several threads
            body.run(kind, arguments, rows, rows * plan.inner)
        else:
            body[kind](*arguments, 0, rows)


NARROW = 64  # elements of a row from which looking for it takes little of the time


def _write_shares(body, kind, t, values, plan, steps, parts):
    """Threads share the outer parts and their places, as indices may name a place several times: each looks at all of them."""
    shares = -(-get_num_threads() // plan.outer)
    body.run(kind, (t._ptr, plan.address, values._ptr, plan.n, steps[0], steps[1], plan.inner, plan.total, shares, *parts[:2]),
             plan.outer * shares, plan.outer * plan.n * plan.inner)


def _parts(values, plan):
    """Values and their (outer, indexed, inner) strides where they are broadcast to the plan's shape."""
    if values._n == 1:
        return values, (0, 0, 0)
    if values._strides is None and values._shape == plan.shape:
        return values, (plan.n * plan.inner, plan.inner, 1)
    return _spaced(values, plan)


def _spaced(values, plan):
    """Values broadcast to the plan's shape and their (outer, indexed, inner) strides; a copy where there are none."""
    strides = expanded_strides(values, plan.shape)
    b, e = plan.before if plan.order is None else 0, len(plan.shape) - (len(plan.in_shape) - plan.before - plan.indexed)
    parts = (_merged(plan.shape[:b], strides[:b]), _merged(plan.shape[b:e], strides[b:e]),
             _merged(plan.shape[e:], strides[e:]))
    if None in parts:
        values = contiguous_copy(raw(values._buf, values._ptr, numel(plan.shape), plan.shape, strides, values._kind,
                                     values._ver))
        parts = plan.n * plan.inner, plan.inner, 1
    return values, parts


def add(t, values, plan):
    """t[plan] += values, places that occur several times adding up."""
    if not joined(t, values, plan, add_up):
        add_up(t, values, plan)


def add_up(t, values, plan):
    """``add`` in the type of ``t``."""
    write(t, values, plan, add_rows, add_one, True)


def are_many(plan):
    """Whether converting all places of a plan is quicker than numbering those that occur: for single values, not blocks."""
    return plan.inner < 16 and plan.total <= 16 * plan.n or plan.n >= 1 << 31


def joined(t, values, plan, change, times=False):
    """Whether ``t`` is of a half type: what meets in a place of the plan was then added (multiplied with ``times``) in float32
    and rounded once, by ``change`` of float32 tensors where the values are many."""
    kind = t._kind
    if kind.itemsize != 2 or kind.dtype.category != 2 or is_several(t):
        return False
    if are_many(plan):
        single = storage.kind_of(dt.float32, kind.device)
        wide, given = make(t._shape, single), make(values._shape, single)
        copy_into(wide, t)
        copy_into(given, values)
        change(wide, given, plan)
        copy_into(t, wide)
    elif plan.n and plan.outer and plan.inner:
        values, parts = _parts(values, plan)
        steps = steps_of(t, plan)
        if steps is None:
            joins.in_a_copy(t, plan, lambda whole, steps: joins.join(whole, values, plan, steps, parts, times))
        else:
            joins.join(t, values, plan, steps, parts, times)
    return True
