"""Sums and products of half types at the places of a plan: all that meet in a place are joined in float32 and rounded once.

Added one by one in float16, 60000 ones give 2048. What must be kept in float32 are the places that occur, not the tensor,
which may be a table of which few rows are used: the places get numbers in the order in which they first come."""

from __future__ import annotations

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.core.tensor import raw_view
from numbagrad.extend import load, store
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.threads import LIMIT, get_num_threads

MIXER = 0x9E3779B1  # spreads the high bits of a place over the table
NARROW = 64  # elements of a block from which looking for its place takes little of the time


@kernel
def number_places(lin: "*i8", table: "*i4", at: "*i4", of: "*i4", n: int, bits: int, start: int, stop: int):
    """Number the different ones of int64 lin (n,) in the order in which they come: int32 of (n + 1,) gets the number of each
    and how many there are, int32 at (n,) the position where each number first came; int32 table (2 ** bits,) is scratch."""
    mask = (1 << bits) - 1
    for i in range(mask + 1):
        table[i] = -1
    used = 0
    for j in range(start, stop):
        p = lin[j]
        h = (p + (p >> bits) * MIXER) & mask
        s = table[h]
        while s >= 0 and lin[at[s]] != p:
            h = (h + 1) & mask
            s = table[h]
        if s < 0:
            s = used
            table[h] = s
            at[s] = j
            used += 1
        of[j] = s
    of[n] = used


@kernel
def join_rows(x: "*T", lin: "*i8", at: "*i4", of: "*i4", v: "*T", wide: "*f4", n: int, outer_step: int, step: int, inner: int,
              inner_step: int, v_outer: int, v_step: int, v_inner: int, most: int, shares: int, times: int, start: int,
              stop: int):
    """Blocks of v (outer, n, inner) added to x (multiplied with ``times``) at int64 lin (n,) times step, in every outer part.

    int32 at and of say which blocks meet (``number_places``), float32 wide (outer, most, inner) is scratch; an item is a share
    of the places of an outer part."""
    for item in range(start, stop):
        b = item // shares
        share = item - b * shares
        used = of[n]
        first = used * share // shares
        last = used * (share + 1) // shares
        for s in range(first, last):
            p = b * outer_step + lin[at[s]] * step
            w = (b * most + s) * inner
            for a in range(inner):
                wide[w + a] = load(x[p + a * inner_step])
        for j in range(n):
            s = of[j]
            if s >= first and s < last:
                q = b * v_outer + j * v_step
                w = (b * most + s) * inner
                if times != 0:
                    for a in range(inner):
                        wide[w + a] = wide[w + a] * load(v[q + a * v_inner])
                elif v_inner == 1:
                    for a in range(inner):
                        wide[w + a] = wide[w + a] + load(v[q + a])
                else:
                    for a in range(inner):
                        wide[w + a] = wide[w + a] + load(v[q + a * v_inner])
        for s in range(first, last):
            p = b * outer_step + lin[at[s]] * step
            w = (b * most + s) * inner
            for a in range(inner):
                x[p + a * inner_step] = store(wide[w + a])


@kernel
def join_ones(x: "*T", lin: "*i8", at: "*i4", of: "*i4", v: "*T", wide: "*f4", n: int, step: int, v_step: int, start: int,
              stop: int):
    """Elements of v (n,) added to x at int64 lin (n,) times step; int32 at and of say which meet (``number_places``), float32
    wide is scratch for one number of each."""
    used = of[n]
    for s in range(used):
        wide[s] = load(x[lin[at[s]] * step])
    for j in range(start, stop):
        wide[of[j]] += load(v[j * v_step])
    for s in range(used):
        x[lin[at[s]] * step] = store(wide[s])


def join(t, values, plan, steps, parts, times=False):
    """t[plan] += values (*= with ``times``) for a half type; ``steps`` and ``parts`` are the (outer, indexed, inner) strides of
    the tensor and the values."""
    kind, n = t._kind, plan.n
    most = min(n, plan.total)
    bits = max(min(2 * n, plan.total) - 1, 1).bit_length()
    _scratch, table = storage.kind_of(dt.int32, kind.device).alloc((1 << bits) + 2 * n + 1 + plan.outer * most * plan.inner)
    at = table + (4 << bits)
    of = at + 4 * n
    wide = of + 4 * (n + 1)
    where = plan.address
    number_places[storage.kind_of(dt.int64, kind.device)](where, table, at, of, n, bits, 0, n)
    if plan.outer == plan.inner == 1 and not times:
        join_ones[kind](t._ptr, where, at, of, values._ptr, wide, n, steps[1], parts[1], 0, n)
        return
    work = plan.outer * n * plan.inner
    shares = -(-get_num_threads() // plan.outer) if kind.cpu and plan.inner >= NARROW and work >= LIMIT[0] else 1
    join_rows.run(kind, (t._ptr, where, at, of, values._ptr, wide, n, *steps[:2], plan.inner, steps[2], *parts, most,
                         shares, int(times)), plan.outer * shares, work)


def in_a_copy(t, plan, change):
    """Run ``change`` on a row-major copy of ``t`` in the plan's order of dimensions, whose strides no plan can take as three,
    and write it back."""
    view = t if plan.order is None or t._shape != plan.in_shape else raw_view(t, plan.order)
    whole = contiguous_copy(view)
    change(whole, (plan.total * plan.inner, plan.inner, 1))
    copy_into(view, whole)
