"""Values combined with what is at the places that an index names: sums, products, means, extrema."""

from __future__ import annotations

from functools import partial

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy, copy_into, set_all
from numbagrad.core.tensor import make
from numbagrad.extend import T, anew, custom, load, store
from numbagrad.kernel.jit import kernel

from . import access, along
from . import plans as ix
from .places import number_at, piled, taken


@kernel
def multiply_rows(x: "*T", lin: "*i8", v: "*T", n: int, outer_step: int, inner: int, start: int, stop: int):
    """x *= v (outer, n, inner) at the rows int64 lin (n,) of every outer part, in place."""
    for b in range(start, stop):
        for j in range(n):
            p, q = b * outer_step + lin[j] * inner, (b * n + j) * inner
            for a in range(inner):
                x[p + a] = store(load(x[p + a]) * load(v[q + a]))


@kernel
def largest_rows(x: "*T", lin: "*i8", v: "*T", n: int, outer_step: int, inner: int, start: int, stop: int):
    """x = max(x, v) with v (outer, n, inner) at the rows int64 lin (n,) of every outer part, in place; NaN is the largest."""
    for b in range(start, stop):
        for j in range(n):
            p, q = b * outer_step + lin[j] * inner, (b * n + j) * inner
            for a in range(inner):
                new, old = load(v[q + a]), load(anew(x[p + a]))
                x[p + a] = store(new if (new > old) | (new != new) else old)


@kernel
def smallest_rows(x: "*T", lin: "*i8", v: "*T", n: int, outer_step: int, inner: int, start: int, stop: int):
    """x = min(x, v) with v (outer, n, inner) at the rows int64 lin (n,) of every outer part, in place; NaN is the smallest."""
    for b in range(start, stop):
        for j in range(n):
            p, q = b * outer_step + lin[j] * inner, (b * n + j) * inner
            for a in range(inner):
                new, old = load(v[q + a]), load(anew(x[p + a]))
                x[p + a] = store(new if (new < old) | (new != new) else old)


@kernel
def divide_counts(x: "*T", count: "*i8", start: int, stop: int):
    """x (n,) /= int64 count (n,) where that is more than 1, in place."""
    for i in range(start, stop):
        if count[i] > 1:
            x[i] = store(load(x[i]) / T(count[i]))


@kernel
def divide_whole(x: "*T", count: "*i8", start: int, stop: int):
    """x (n,) //= int64 count (n,) where that is more than 1, in place."""
    for i in range(start, stop):
        if count[i] > 1:
            x[i] = store(load(x[i]) // T(count[i]))


ROWS = {"prod": multiply_rows, "amax": largest_rows, "amin": smallest_rows}
REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _identity(reduce, d):
    """The value that does not change a reduction."""
    if reduce == "prod":
        return 1
    if reduce in ("sum", "mean"):
        return 0
    if d is dt.bool_:
        return reduce == "amin"
    if d.category == 1:
        return int(np.iinfo(d.np).min if reduce == "amax" else np.iinfo(d.np).max)
    return float("-inf") if reduce == "amax" else float("inf")


def counts_of(plan, like, start):
    """How many values meet in each place, as int64, plus ``start``."""
    out = make(like._shape, storage.kind_of(dt.int64, like._kind.device))
    set_all(out, start)
    one = ix.scalar_like(1, out)
    access.add(out, one, plan)
    return out


def _combine(rows, t, source, plan):
    s = source if source._strides is None else contiguous_copy(source)
    rows[t._kind](t._ptr, plan.address, s._ptr, plan.n, plan.total * plan.inner, plan.inner, 0, plan.outer)


_multiply = partial(_combine, multiply_rows)


def _reduce_into(t, source, plan, reduce, include_self):
    """Combine values into contiguous ``t``."""
    if not include_self:
        access.write(t, ix.scalar_like(_identity(reduce, t._kind.dtype), t), plan)
    if source._n:
        if reduce in ("sum", "mean"):
            if not along.add(t, source, plan):
                access.add(t, source, plan)
        elif reduce != "prod" or not access.joined(t, source, plan, _multiply, True):
            _combine(ROWS[reduce], t, source, plan)
    if reduce == "mean" and t._n:
        counts = counts_of(plan, t, 1 if include_self else 0)
        (divide_counts if t._kind.dtype.category >= 2 else divide_whole)[t._kind](t._ptr, counts._ptr, 0, t._n)


@custom(private=True, contiguous=False, node="ScatterReduceBackward0", dtypes="any", reference=None)
def reduced_at(input, source, index, where: object, dim: int, reduce: str, include_self: bool):
    """A copy of ``input`` with values combined into the places that an index names."""
    where(input._shape, dim, index, input._kind, source)
    return input._shape, input._kind


@reduced_at.cpu
def _(out, input, source, index, where, dim, reduce, include_self):
    plan = ix.Plan(*where(input._shape, dim, index))
    copy_into(out, input)
    _reduce_into(out, source, plan, reduce, include_self)


def _counts(like, plan, include_self):
    counts = counts_of(plan, like, 1 if include_self else 0)
    return counts.clamp(min=1).to(dtype=like.dtype)


@reduced_at.gradient
def _(g, input, source, index, y, needs, where, dim, reduce, include_self):
    def at(x):
        return taken.call(x, index, where, dim)

    def back(x):
        return piled.call(x, index, where, dim, input._shape)

    def again(x, values):
        return reduced_at.call(x, values, index, where, dim, reduce, include_self)

    if reduce == "sum":
        own, other = g, at(g) if needs[1] else None
    elif reduce == "mean":
        share = g / _counts(g, ix.Plan(*where(input._shape, dim, index)), include_self)
        own, other = share, at(share) if needs[1] else None
    elif reduce == "prod":
        filled = input.masked_fill(input == 0, 1)
        own = g * again(filled, source) / filled if needs[0] else None
        other = None
        if needs[1]:
            # A place with a single zero among its values: that value's gradient is the product of the others.
            zero = source.detach() == 0
            many = at(back(zero.to(dtype=g.dtype)))
            single = zero.logical_and(many == 1)
            others = again(input, source.masked_fill(single, 1))
            other = (at(g * y) / source.masked_fill(zero, 1)).masked_fill(single, 0) + at(g * others).masked_fill(
                single.logical_not(), 0)
    else:
        mine = (input.detach() == y.detach()).to(dtype=g.dtype)
        theirs = (source.detach() == at(y.detach())).to(dtype=g.dtype)
        if not include_self:
            mine = number_at.call(mine, index, where, dim, 0)
        # A place whose result is NaN equals none of its values: 0 / 0 is NaN for all of them, as in PyTorch.
        share = g / (mine + back(theirs))
        own, other = share * mine, theirs * at(share) if needs[1] else None
    if needs[0] and not include_self:
        own = number_at.call(own, index, where, dim, 0)
    return own if needs[0] else None, other, None


def reduce_in_place(t, source, index, where, dim, reduce, include_self, name):
    """In-place form without history beyond what ``replace`` makes of the out-of-place op."""
    from numbagrad.autograd import inplace
    from numbagrad.core import graph
    inplace.check(t, name)
    old = inplace.old_self(t)
    if t._rg and inplace.modes.is_grad_enabled():
        old._node, old._rg = graph.edge(t), True
    return inplace.replace(t, reduced_at.call(old, source, index, where, dim, reduce, include_self), name)
