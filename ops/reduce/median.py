"""Order statistics along a dimension: median, nanmedian, mode."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.copying import copy_into, row_major
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make, raw_view
from numbagrad.extend import Sample, custom, function, inline, load
from numbagrad.kernel.jit import kernel

from ..index.kernels import check_saved
from ..index.select_kernels import STACK, sort_range
from ..index.sort import result
from .extremum import _both_out, _check, _reduced, _split, pick_along, pick_rows, place_along
from .sums import shared_gradient

MedianResult, NanmedianResult = result("median", "values", "indices"), result("nanmedian", "values", "indices")
ModeResult = result("mode", "values", "indices")


def _ranked(name, input, dim, keepdim, skip_nan):
    """Positions of the lower median along ``dim``, on the input's device."""
    if input._kind.cpu or input._kind.meta:
        return _positions.call(input, dim, keepdim, skip_nan, name)
    return _positions.call(input.cpu(), dim, keepdim, skip_nan, name).to(device=input.device)


@custom(private=True, contiguous=False, reference=None, dtypes="any", differentiable=False)
def _positions(input, dim: int, keepdim: bool, skip_nan: bool, name: str):
    """Positions of the lower median along ``dim``."""
    if input._shape and input._shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    return _reduced(input._shape, dim, keepdim), storage.kind_of(dt.int64, input._kind.device)


SHORT, FEW, MANY = 48, 32, 512  # lengths: sorted at once; of samples of short rows and of long ones
PARTS = 16  # of rows, each with scratch memory


@inline(fast=())
def sorted_sample(x, p, step, q, at, n):
    """The n elements of x that are ``step`` apart, from p on, in order into q from ``at`` on."""
    for i in range(n):
        raw = x[p + i * step]
        v = load(raw)
        j = at + i
        while j > at and v < load(q[j - 1]):
            q[j] = q[j - 1]
            j -= 1
        q[j] = raw


@inline(fast=())
def count_outside(x, p, n, low, high):
    """How many of the n elements of x from p on are below ``low``, and how many above ``high``."""
    below = 0
    above = 0
    for i in range(p, p + n):
        v = load(x[i])
        below += 1 if v < low else 0
        above += 1 if v > high else 0
    return below, above


@inline(fast=())
def keep(x, p, n, q, held, low, high, side):
    """Those of the n elements of x from p on that are between low and high, or below (above) with a negative (positive)
    ``side``, into q from ``held`` on, which may be where they are."""
    for i in range(p, p + n):
        raw = x[i]
        v = load(raw)
        q[held] = raw
        if side == 0:
            held += 1 if v >= low and v <= high else 0
        elif side < 0:
            held += 1 if v < low else 0
        else:
            held += 1 if v > high else 0


@inline(fast=())
def selected(x, p, n, k, q, s):
    """The k-th smallest (k from 0) of the n elements of x from p on, none NaN; q has n + 512 places of scratch from s on.

    Elements are compared with two of a sorted sample that the wanted one lies between but for bad luck, without branches that
    depend on them, and those between are looked at again; else with one, which leaves the smaller ones or the larger."""
    end, source, at = s + n, x, p
    while n > SHORT:
        m, near = (FEW, 6) if n < 16384 else (MANY, 34)
        sorted_sample(source, at, n // m, q, end, m)
        middle = k * m // n
        low, high = load(q[end + max(0, middle - near)]), load(q[end + min(m - 1, middle + near)])
        below, above = count_outside(source, at, n, low, high)
        if below <= k and k < n - above and 2 * (below + above) > n:
            keep(source, at, n, q, s, low, high, 0)
            n, k = n - below - above, k - below
        else:
            pivot = load(q[end + middle])
            below, above = count_outside(source, at, n, pivot, pivot)
            if k < below:
                keep(source, at, n, q, s, pivot, pivot, -1)
                n = below
            elif k >= n - above:
                keep(source, at, n, q, s, pivot, pivot, 1)
                n, k = above, k - (n - above)
            else:
                return pivot
        source, at = q, s
    sorted_sample(source, at, 1, q, end, n)
    return load(q[end + k])


@kernel(fast=())
def median_rows(x: "*T", q: "*T", out: "*i8", n: int, rows: int, units: int, skip: int, start: int, stop: int):
    """Position of the lower median of each row of x (rows, n), into out (rows,), int64: that of the first NaN where there is
    one, unless they are skipped; of equal elements the one that a stable sort would put there. q (units, 2 n + 512) is scratch
    for as many equal parts of the rows."""
    for unit in range(start, stop):
        for row in range(rows * unit // units, rows * (unit + 1) // units):
            base = row * n
            missing = 0
            for i in range(base, base + n):
                v = load(x[i])
                missing += 1 if v != v else 0
            at = 0
            if missing != 0 and (skip == 0 or missing == n):
                while load(x[base + at]) == load(x[base + at]):
                    at += 1
            else:
                s = unit * (n + MANY)
                source, begin, k = x, base, (n - missing - 1) // 2
                if missing != 0:
                    source, begin = q, s
                    held = s
                    for i in range(base, base + n):
                        q[held] = x[i]
                        held += 1 if load(x[i]) == load(x[i]) else 0
                middle = selected(source, begin, n - missing, k, q, s)
                for i in range(base, base + n):
                    k -= 1 if load(x[i]) < middle else 0
                i = base
                while True:
                    if load(x[i]) == middle:
                        if k == 0:
                            break
                        k -= 1
                    i += 1
                at = i - base
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
    rows = t._n // n
    units = min(rows, PARTS)
    scratch, q = t._kind.alloc(units * (n + MANY))
    median_rows.run(t._kind, (t._ptr, q, out._ptr, n, rows, units, int(skip_nan)), units, t._n)
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
def mode_rows(x: "*T", sorted: "*T", order: "*i8", stack: "*i8", indices: "*i8", n: int, known: int, start: int, stop: int):
    """Last position, in PyTorch's order of equal elements, of the most frequent value (the smallest of equally frequent ones)
    of each row of x (rows, n), into indices (rows,). sorted (rows, n) has the rows in order if ``known``: without equal
    elements that is enough. order (n,) and stack (STACK,) are scratch; the last three are int64."""
    for row in range(start, stop):
        base = row * n
        at = -1
        if known and load(sorted[base + n - 1]) == load(sorted[base + n - 1]):
            same = 0
            for i in range(base + 1, base + n):
                same += 1 if load(sorted[i]) == load(sorted[i - 1]) else 0
            if same == 0:
                at = 0
                while load(x[base + at]) != load(sorted[base]):
                    at += 1
        if at < 0:
            for i in range(n):
                order[i] = base + i
            sort_range(x, order, 0, n, 2, stack)
            most = 0
            i = 0
            while i < n:
                v = load(x[order[i]])
                j = i + 1
                while j < n and load(x[order[j]]) == v:
                    j += 1
                if j - i > most:
                    most = j - i
                    at = order[j - 1] - base
                i = j
        indices[row] = at


SORTED = 1 << 16  # elements that ``mode`` sorts at a time


@custom(private=True, contiguous=False, reference=None, dtypes="any", differentiable=False)
def _most_frequent(input, dim: int, keepdim: bool):
    """Positions along ``dim`` of the most frequent values."""
    return _reduced(input._shape, dim, keepdim), storage.kind_of(dt.int64, input._kind.device)


@_most_frequent.host
def _(out, input, dim, keepdim):
    t = input.detach()
    t = t.movedim(dim, -1).contiguous() if dim < len(input._shape) - 1 else t.contiguous().reshape(input._shape or (1,))
    n = t._shape[-1]
    kind, rows = storage.kind_of(dt.int64), t._n // n
    order, stack = make((n,), kind), make((STACK,), kind)
    known = n > 64 and t._kind.direct
    some = max(1, SORTED // n) if known else max(1, rows)
    for first in range(0, rows, some):
        last = min(first + some, rows)
        ordered = np.sort(t.array().reshape(rows, n)[first:last], axis=1) if known else None
        values = storage.address(ordered) - first * n * t._kind.itemsize if known else t._ptr
        mode_rows[t._kind](t._ptr, values, order._ptr, stack._ptr, out._ptr, n, int(known), first, last)


@function(reference=_mode_reference, samples=(Sample((3, 4)), Sample((3, 4), 0, True)), dtypes="any")
def mode(input, dim=-1, keepdim=False, *, out=None):
    """The most frequent value along a dimension (the smallest of several), with its last index."""
    _check("mode", input)
    at = wrap_dim(dim, len(input._shape))
    if input._shape and input._shape[at] == 0:
        raise IndexError(f"mode(): Expected reduction dim {at} to have non-zero size.")
    index = _most_frequent.call(input, at, bool(keepdim))
    values = _mode_picked.call(input, index, dim=at)
    return _both_out("mode", out, (values, index), input, ModeResult)


@custom(private=True, reference=None, dtypes="any", node="ModeBackward0")
def _mode_picked(input, indices, *, dim: int):
    """The elements at the indices along ``dim``."""
    return indices._shape, input._kind


_mode_picked.cpu(lambda out, input, indices, dim: _picked.cpu_launch(out, input, indices, dim, "mode"))
_mode_picked.gradient(lambda g, shape, indices, dim: (place_along.call(g, indices, shape=shape, dim=dim), None))
