"""The loops behind indexing: element numbers from indices, reads and writes of blocks, positions of nonzero elements."""

from __future__ import annotations

import functools

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.extend import T, load, store
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.tape import Flag, capturing

# Kernels that only move elements are compiled per width, not per dtype.
MOVE = {1: dt.uint8, 2: dt.int16, 4: dt.int32, 8: dt.int64, 16: dt.complex128}


@functools.cache
def moved(kind):
    """The kind for which a kernel that only moves elements of ``kind`` is compiled: any of their width."""
    return storage.kind_of(MOVE[kind.itemsize], kind.device)


def row(n, kind):
    """Memory for n numbers on the device of a kind, or of a step that is being captured: (owner, address)."""
    return storage.kind_of(dt.int64, kind.device).alloc(n)


# --- kernels ----------------------------------------------------------------------------------------------------------

# The loops over indices collect errors without branching, so that they run as vector code; only then is the first
# index out of range looked for. Its place becomes 0, as what reads there may run before anyone looks (on a device, in a
# compiled step).

@kernel
def resolve(index: "*i8", out: "*i8", found: "*i8", size: int, stride: int, more: int, negative: int, start: int, stop: int):
    """int64 out (n,) (+)= wrapped index (n,) * stride; int64 found (2,) gets (1, the first index out of range) if there is
    one."""
    wrap = size if negative != 0 else 0
    bad = 0
    if more == 0:
        for i in range(start, stop):
            v = index[i]
            w = v + wrap if v < 0 else v
            wrong = (1 if w < 0 else 0) | (1 if w >= size else 0)
            bad |= wrong
            out[i] = 0 if wrong else w * stride
    else:
        for i in range(start, stop):
            v = index[i]
            w = v + wrap if v < 0 else v
            wrong = (1 if w < 0 else 0) | (1 if w >= size else 0)
            bad |= wrong
            out[i] += 0 if wrong else w * stride
    if bad != 0 and found[0] < 1:
        for i in range(start, stop):
            v = index[i]
            w = v + wrap if v < 0 else v
            if found[0] < 1 and (w < 0 or w >= size):
                found[0] = 1
                found[1] = v


@kernel
def outside(index: "*T", found: "*i8", size: int, ignore: int, start: int, stop: int):
    """int64 found (2,) gets (1, the first number of index (n,) out of range) if there is one; ``ignore`` is in range."""
    bad = 0
    for i in range(start, stop):
        v = int(index[i])
        bad |= (0 if v == ignore else 1) & ((1 if v < 0 else 0) | (1 if v >= size else 0))
    if bad != 0:
        for i in range(start, stop):
            v = int(index[i])
            if found[0] < 1 and v != ignore and (v < 0 or v >= size):
                found[0] = 1
                found[1] = v


def index_error(index, dim, size):
    """The error of gather's and scatter's kernels."""
    raise RuntimeError(f"index {index} is out of bounds for dimension {dim} with size {size}")


@functools.lru_cache(1024)
def index_flag(fail, dim, size):
    """Where kernels leave (1, an index out of range), for ``fail`` to be raised."""
    return Flag(lambda _, index: fail(index, dim, size), 2)


def check_saved(index, size, dim=0, fail=index_error, ignore=0):
    """Check a row-major index tensor that was saved for backward again: writes through ``.data`` are not counted."""
    if capturing():  # a captured step runs as one call: nobody writes in between
        return
    found = index_flag(fail, dim, size).take(index._kind)
    outside[index._kind](index._ptr, found.address, size, ignore, 0, index._n)
    found.check()


@kernel
def put_row(x: "*T", out: "*T", n: int, at: int):
    """x (n,) into row ``at`` of out (rows, n)."""
    for i in range(n):
        out[at * n + i] = x[i]


@kernel
def take_one(x: "*T", lin: "*i8", out: "*T", step: int, start: int, stop: int):
    """Elements of x at int64 lin (n,) times step, into out (n,)."""
    for i in range(start, stop):
        out[i] = x[lin[i] * step]


@kernel
def take_rows(x: "*T", lin: "*i8", out: "*T", n: int, outer_step: int, step: int, inner: int, inner_step: int, start: int,
              stop: int):
    """Blocks of x at int64 lin (n,) times step, of every outer part, into out (outer, n, inner)."""
    b = start // n
    j = start - b * n
    row = start
    while row < stop:
        base, many = b * outer_step, 1
        if inner == 1:  # all of an outer part in one loop
            many = min(n - j, stop - row)
            for k in range(many):
                out[row + k] = x[base + lin[j + k] * step]
        else:
            base += lin[j] * step
            to = row * inner
            if inner_step == 1:
                for a in range(inner):
                    out[to + a] = x[base + a]
            else:
                for a in range(inner):
                    out[to + a] = x[base + a * inner_step]
        row += many
        j += many
        if j == n:
            j = 0
            b += 1


@kernel
def put_rows(x: "*T", lin: "*i8", v: "*T", n: int, outer_step: int, step: int, inner: int, inner_step: int, v_outer: int,
             v_step: int, v_inner: int, start: int, stop: int):
    """Blocks of v (outer, n, inner) into x at int64 lin (n,) times step, in every outer part."""
    b = start // n
    j = start - b * n
    row = start
    while row < stop:
        base, src, many = b * outer_step, b * v_outer, 1
        if inner == 1:
            many = min(n - j, stop - row)
            for k in range(j, j + many):
                x[base + lin[k] * step] = v[src + k * v_step]
        else:
            base, src = base + lin[j] * step, src + j * v_step
            if inner_step == 1 and v_inner == 1:
                for a in range(inner):
                    x[base + a] = v[src + a]
            else:
                for a in range(inner):
                    x[base + a * inner_step] = v[src + a * v_inner]
        row += many
        j += many
        if j == n:
            j = 0
            b += 1


@kernel
def put_one(x: "*T", lin: "*i8", v: "*T", step: int, v_step: int, start: int, stop: int):
    """Elements of v (n,) into x at int64 lin (n,) times step."""
    if v_step == 1:
        for i in range(start, stop):
            x[lin[i] * step] = v[i]
    else:
        for i in range(start, stop):
            x[lin[i] * step] = v[i * v_step]


@kernel
def add_one(x: "*T", lin: "*i8", v: "*T", step: int, v_step: int, start: int, stop: int):
    """Elements of v (n,) added to x at int64 lin (n,) times step."""
    for i in range(start, stop):
        p = lin[i] * step
        x[p] = store(load(x[p]) + load(v[i * v_step]))


@kernel
def add_rows(x: "*T", lin: "*i8", v: "*T", n: int, outer_step: int, step: int, inner: int, inner_step: int, v_outer: int,
             v_step: int, v_inner: int, start: int, stop: int):
    """Blocks of v (outer, n, inner) added to x at int64 lin (n,) times step, in every outer part."""
    b = start // n
    j = start - b * n
    row = start
    while row < stop:
        base, src, many = b * outer_step, b * v_outer, 1
        if inner == 1:
            many = min(n - j, stop - row)
            for k in range(j, j + many):
                p = base + lin[k] * step
                x[p] = store(load(x[p]) + load(v[src + k * v_step]))
        else:
            base, src = base + lin[j] * step, src + j * v_step
            if inner_step == 1 and v_inner == 1:
                for a in range(inner):
                    x[base + a] = store(load(x[base + a]) + load(v[src + a]))
            else:
                for a in range(inner):
                    x[base + a * inner_step] = store(load(x[base + a * inner_step]) + load(v[src + a * v_inner]))
        row += many
        j += many
        if j == n:
            j = 0
            b += 1


@kernel
def put_shares(x: "*T", lin: "*i8", v: "*T", n: int, outer_step: int, step: int, inner: int, total: int, shares: int,
               v_outer: int, v_step: int, start: int, stop: int):
    """``put_rows`` of v into x at lin for elements that lie side by side; an item is a share of the ``total`` places in an
    outer part, so that none meet."""
    for item in range(start, stop):
        b = item // shares
        share = item - b * shares
        first = total * share // shares
        last = total * (share + 1) // shares
        if shares == 1 and inner == 1:
            for j in range(n):
                x[b * outer_step + lin[j] * step] = v[b * v_outer + j * v_step]
            continue
        for j in range(n):
            if lin[j] >= first and lin[j] < last:
                base = b * outer_step + lin[j] * step
                src = b * v_outer + j * v_step
                for a in range(inner):
                    x[base + a] = v[src + a]


@kernel
def add_shares(x: "*T", lin: "*i8", v: "*T", n: int, outer_step: int, step: int, inner: int, total: int, shares: int,
               v_outer: int, v_step: int, start: int, stop: int):
    """``add_rows`` of v to x at lin for elements that lie side by side; an item is a share of the ``total`` places in an
    outer part, so that none meet."""
    for item in range(start, stop):
        b = item // shares
        share = item - b * shares
        first = total * share // shares
        last = total * (share + 1) // shares
        if shares == 1 and inner == 1:
            for j in range(n):
                p = b * outer_step + lin[j] * step
                x[p] = store(load(x[p]) + load(v[b * v_outer + j * v_step]))
            continue
        for j in range(n):
            if lin[j] >= first and lin[j] < last:
                base = b * outer_step + lin[j] * step
                src = b * v_outer + j * v_step
                for a in range(inner):
                    x[base + a] = store(load(x[base + a]) + load(v[src + a]))


@kernel
def offsets(numbers: "*i8", out: "*i8", meta: "*i8", nd: int, given: int, start: int, stop: int):
    """Into out (n,) the places in memory of row-major element numbers (n,) (of 0, 1, 2... unless ``given``); meta holds
    sizes, then strides; all are int64."""
    for i in range(start, stop):
        left = numbers[i] if given != 0 else i
        place = 0
        for d in range(nd - 1, 0, -1):
            up = left // meta[d]
            place += (left - up * meta[d]) * meta[nd + d]
            left = up
        out[i] = place + left * meta[nd]


@kernel
def put_places(x: "*T", outer: "*i8", lin: "*i8", inside: "*i8", v: "*T", n: int, inner: int, v_outer: int, v_step: int,
               v_inner: int, start: int, stop: int):
    """``put_rows`` of v into x, whose elements lie where the int64 tables outer (outer,), lin (n,) and inside (inner,) say."""
    for row in range(start, stop):
        b = row // n
        j = row - b * n
        base = outer[b] + lin[j]
        src = b * v_outer + j * v_step
        for a in range(inner):
            x[base + inside[a]] = v[src + a * v_inner]


@kernel
def add_places(x: "*T", outer: "*i8", lin: "*i8", inside: "*i8", v: "*T", n: int, inner: int, v_outer: int, v_step: int,
               v_inner: int, start: int, stop: int):
    """``add_rows`` of v to x, whose elements lie where the int64 tables outer (outer,), lin (n,) and inside (inner,) say."""
    for row in range(start, stop):
        b = row // n
        j = row - b * n
        base = outer[b] + lin[j]
        src = b * v_outer + j * v_step
        for a in range(inner):
            p = base + inside[a]
            x[p] = store(load(x[p]) + load(v[src + a * v_inner]))


@kernel
def count_true(x: "*T", out: "*i8", start: int, stop: int):
    """How many elements of x (n,) are not 0, into int64 out (1,)."""
    c = 0
    for i in range(start, stop):
        c += 1 if load(x[i]) != T(0) else 0
    out[0] = c


@kernel
def find_true(x: "*T", out: "*i8", start: int, stop: int):
    """Numbers of the nonzero elements of x (n,), into int64 out (count,)."""
    while stop > start and load(x[stop - 1]) == T(0):
        stop -= 1
    c = 0
    for i in range(start, stop):  # stored without a branch: behind the last nonzero element it would be one too many
        out[c] = i
        c += 1 if load(x[i]) != T(0) else 0


@kernel
def find_coordinates(x: "*T", out: "*i8", sizes: "*i8", nd: int, start: int, stop: int):
    """Coordinates of the nonzero elements of x, of the int64 sizes (nd,), into int64 out (count, nd), row by row."""
    inner = sizes[nd - 1]
    c = 0
    for row in range(start, stop):
        last = (row + 1) * inner
        while last > row * inner and load(x[last - 1]) == T(0):
            last -= 1
        if nd == 2:  # without branches, as ``find_true``
            for i in range(last - row * inner):
                out[c] = row
                out[c + 1] = i
                c += 2 if load(x[row * inner + i]) != T(0) else 0
            continue
        count = 0
        for i in range(last - row * inner):
            out[c + count] = i
            count += 1 if load(x[row * inner + i]) != T(0) else 0
        final = c + (count - 1) * nd
        for k in range(count - 1, -1, -1):  # from the last one on, so that none is in the way of another
            i, left = out[c + k], row
            for d in range(nd - 2, -1, -1):
                if k == count - 1:
                    up = left // sizes[d]
                    out[final + d] = left - up * sizes[d]
                    left = up
                else:
                    out[c + k * nd + d] = out[final + d]
            out[c + k * nd + nd - 1] = i
        c += count * nd


@kernel
def list_true(x: "*T", out: "*i8", sizes: "*i8", nd: int, n: int, start: int, stop: int):
    """How many elements of x (n,) are not 0 into int64 out, then their coordinates in int64 sizes (nd,), each a row of nd."""
    c, k = 0, 1
    for i in range(n):
        if load(x[i]) != T(0):
            left = i
            for d in range(nd - 1, 0, -1):
                up = left // sizes[d]
                out[k + d] = left - up * sizes[d]
                left = up
            if nd > 0:
                out[k] = left
            k += nd
            c += 1
    out[0] = c
