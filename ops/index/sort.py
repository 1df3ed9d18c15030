"""Order: sort, argsort, topk, kthvalue, msort.

Up to 32-bit dtypes are sorted as 64-bit keys: the value's bits, made monotone, above the position. One sort of plain
integers then gives a stable order, NaN counts as the largest value, and -0.0 equals 0.0.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy, copy_into, set_all
from numbagrad.core.launch import bits
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make, raw, raw_view
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel import threads
from numbagrad.kernel.jit import kernel

from .along import give, take
from .select_kernels import STACK, first_rows, kth_rows, short_rows


def result(name, *fields):
    """A named tuple that prints as PyTorch's ``torch.return_types.<name>``."""
    base = namedtuple(name, fields)

    def show(self):
        parts = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self))
        return f"torch.return_types.{name}(\n{parts})"

    def make(cls, first, *others):
        # PyTorch's take one sequence, too.
        if not others and len(fields) > 1:
            first, *others = found = tuple(first)
            if len(found) != len(fields):
                raise TypeError(f"torch.return_types.{name}() takes a {len(fields)}-sequence ({len(found)}-sequence given)")
        return tuple.__new__(cls, (first, *others))
    return type(name, (base,), {"__slots__": (), "__repr__": show, "__new__": make, "__module__": "numbagrad"})


SortResult, TopkResult, KthResult = (result(n, "values", "indices") for n in ("sort", "topk", "kthvalue"))


@kernel(fast=())
def float_keys(x: "*u4", keys: "*u8", n: int, down: int, start: int, stop: int):
    """Keys of float32 x (rows, n), given as bits, into uint64 keys (rows, n)."""
    for row in range(start, stop):
        for i in range(n):
            u = np.uint32(x[row * n + i])
            if (u & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
                u = np.uint32(0xFFFFFFFF)
            elif (u & np.uint32(0x7FFFFFFF)) == np.uint32(0):
                u = np.uint32(0x80000000)
            elif u >= np.uint32(0x80000000):
                u = np.uint32(~u)
            else:
                u = np.uint32(u | np.uint32(0x80000000))
            if down != 0:
                u = np.uint32(~u)
            keys[row * n + i] = (np.uint64(u) << np.uint64(32)) | np.uint64(i)


@kernel(fast=())
def integer_keys(x: "*T", keys: "*u8", n: int, down: int, low: int, start: int, stop: int):
    """Keys of integer x (rows, n), whose values are less than 2^32 above ``low``, into uint64 keys (rows, n)."""
    for row in range(start, stop):
        for i in range(n):
            u = np.uint32(np.int64(x[row * n + i]) - low)
            if down != 0:
                u = np.uint32(~u)
            keys[row * n + i] = (np.uint64(u) << np.uint64(32)) | np.uint64(i)


def rows_of(input, dim):
    """``input`` with ``dim`` last as contiguous memory outside the graph, and the order of its dimensions."""
    n = len(input._shape)
    order = [d for d in range(n) if d != dim] + ([dim] if n else [])
    t = raw_view(input, order) if n else input
    return (t if t._strides is None else contiguous_copy(t)), order


def keys_of(t, n, descending, keys=None):
    """uint64 keys of the rows of a contiguous tensor, shape (rows, n), in memory that may be given; None for 64-bit dtypes."""
    d = t._kind.dtype
    low = -(1 << 31) * d.is_signed
    if d.itemsize == 8:
        if d.category != 1 or t._n == 0:
            return None
        a = t.array()
        low, high = int(a.min()), int(a.max())
        if high - low >= 1 << 32:
            return None
    keys = np.empty(t._n, np.uint64) if keys is None else keys
    rows = t._n // n if n else 0
    if d.category == 2:
        t = t if d is dt.float32 else t.float()
        float_keys[dt.float32](t._ptr, storage.address(keys), n, int(descending), 0, rows)
    else:
        integer_keys[d](t._ptr, storage.address(keys), n, int(descending), bits(low), 0, rows)
    return keys.reshape(rows, n) if n else keys.reshape(0, 0)


def wide_order(t, n, descending):
    """Stable order of rows of a 64-bit dtype."""
    a = t.array().reshape(-1, n)
    if not descending:
        return np.argsort(a, axis=1, kind="stable")
    # Reversed twice, so that equal values keep their order and NaN comes first.
    return (n - 1 - np.argsort(a[:, ::-1], axis=1, kind="stable"))[:, ::-1]


def in_order_of(t, n, descending, keys=None):
    """(positions or keys, whether they are keys) of the elements of each row in the given order, which is stable."""
    keys = keys_of(t, n, descending, keys)
    if keys is None:
        return wide_order(t, n, descending), False
    keys.sort(axis=1)
    return keys, True


SHORT = 32  # elements of a row up to which it is sorted by insertion


def by_kernel(t, found, n, k, descending, in_order, alone, stable):
    """Positions of the k first elements of each row (of equal ones those that PyTorch's selection leaves, or with ``stable``
    those that come first) or, ``alone``, of the k-th smallest, into row-major int64 memory."""
    rows, kind = t._n // n, found._kind
    if stable and not alone:
        return short_rows.run(t._kind, (t._ptr, found._ptr, n, int(descending)), rows, t._n)
    size = n + STACK
    pieces = min(threads.get_num_threads(), rows) if t._n >= threads.LIMIT[0] else 1
    scratch, queue = kind.alloc(pieces * size)
    queues, cuts = range(queue, queue + 8 * pieces * size, 8 * size), [i * rows // pieces for i in range(pieces + 1)]
    if alone:
        calls = [(t._ptr, q, found._ptr, n, k - 1) for q in queues]
    else:
        calls = [(t._ptr, q, q + 8 * n, found._ptr, n, k, int(descending), int(in_order)) for q in queues]
    (kth_rows if alone else first_rows).run_apart(t._kind, list(zip(calls, cuts, cuts[1:])))
    del scratch  # held until here
    return None


@custom(private=True, contiguous=False, reference=None, dtypes="any", differentiable=False)
def positions(input, dim: int, k: int, descending: bool = False, in_order: bool = True, alone: bool = False,
              stable: bool = True, keepdim: bool = True):
    """int64 positions along ``dim`` of the ``k`` first elements; with ``alone`` of the ``k``-th smallest only."""
    shape, kept = input._shape, (1 if alone else k,) if keepdim else ()
    return (*shape[:dim], *kept, *shape[dim + 1:]) if shape else (), storage.kind_of(dt.int64, input._kind.device)


def _with_dim(t, shape, dim):
    """``t`` on the same memory with as many dimensions as ``shape``: ``dim`` may be left out where it has one element."""
    if len(t._shape) == len(shape):
        return t
    return raw(t._buf, t._ptr, t._n, (*shape[:dim], 1, *shape[dim + 1:]), None, t._kind, t._ver)


@positions.host
def _(out, input, dim, k, descending, in_order, alone, stable, keepdim):
    if out._n == 0:
        return
    out = _with_dim(out, input._shape, dim)
    t, order = rows_of(input, dim)
    n = input._shape[dim] if input._shape else 1
    to = raw_view(out, order) if len(order) > 1 and order[-1] != len(order) - 1 else out
    if alone or not stable or n <= SHORT:
        found = to if to._strides is None else make(to._shape, to._kind)
        by_kernel(t, found, n, k, descending, in_order, alone, stable)
        if found is not to:
            copy_into(to, found)
        return
    places = to.array()
    # Keys are as wide as positions: where these lie in rows, keys are sorted in their memory.
    found, packed = in_order_of(t, n, descending, places.reshape(-1).view(np.uint64) if to._strides is None else None)
    to, found = places, found.reshape(places.shape)
    if packed:
        np.bitwise_and(found, LOW, out=to.view(np.uint64))
    else:
        to[...] = found


LOW = np.uint64(0xFFFFFFFF)


@custom(private=True, reference=None, dtypes="any")
def ranked(input, indices, dim: int):
    """The elements at the indices along ``dim``, which is left out where the indices leave it out."""
    return indices._shape, input._kind


@ranked.cpu
def _(out, input, indices, dim):
    if out._n:
        shape = input._shape
        take(_with_dim(out, shape, dim), input, _with_dim(indices, shape, dim), dim)


@ranked.gradient
def _(g, shape, indices, dim):
    return put_back.call(g, indices, shape=shape, dim=dim), None


@custom(private=True, reference=None, dtypes="any")
def put_back(g, indices, *, shape: tuple, dim: int):
    """Zeros with ``g`` added at the indices along ``dim``: the gradient of ``ranked``."""
    return shape, g._kind


@put_back.cpu
def _(out, g, indices, shape, dim):
    set_all(out, 0)
    if g._n:
        give(out, _with_dim(g, shape, dim), _with_dim(indices, shape, dim), dim)


@put_back.gradient
def _(g_, indices, dim):
    return ranked.call(g_, indices, dim), None


def _check(name, input):
    if input._kind.dtype.is_complex:
        raise RuntimeError(" Sort does not support complex dtypes on CPU")


_sort, _topk, _kth = (ranked.recorded_as(n) for n in ("SortBackward0", "TopkBackward0", "KthvalueBackward0"))


def _reference(a, dim, descending):
    """(values, indices) by NumPy; a number counts as a row of one."""
    rows = np.atleast_1d(a)
    order = np.argsort(-rows if descending else rows, dim, kind="stable")
    return np.take_along_axis(rows, order, dim).reshape(a.shape), order.reshape(a.shape)


def _first_reference(a, places, dim, descending=False):
    return tuple([np.take(r, places, dim) for r in _reference(a, dim, descending)])


def sorted_order(input, dim, descending):
    """The int64 tensor of positions that sorts ``input`` along a wrapped ``dim``."""
    return positions.call(input, dim, input._shape[dim] if input._shape else 1, bool(descending))


@function(kinds={"stable": "bool"}, dtypes="any", reference=lambda a, dim=-1, descending=False: _reference(a, dim, descending),
          samples=(Sample((3, 4)), Sample((3, 4), 0), Sample((5,), 0, True), Sample(())))
def sort(input, dim=-1, descending=False, stable=False, *, out=None):
    """(values, indices) in ascending or descending order along ``dim``; equal elements keep their order, NaN is largest."""
    _check("sort", input)
    at = wrap_dim(dim, len(input._shape))
    indices = sorted_order(input, at, descending)
    values = _sort(input, indices, at)
    if out is not None:
        values, indices = write_outs("sort", out, (values, indices), (input,))
    return SortResult(values, indices)


@function(kinds={"stable": "bool"}, differentiable=False, dtypes="any", samples=(Sample((3, 4)), Sample((3, 4), 0, True)),
          reference=lambda a, dim=-1, descending=False: np.argsort(-a if descending else a, dim, kind="stable"))
def argsort(input, dim=-1, descending=False, stable=False):
    """The positions that sort ``input`` along ``dim``."""
    _check("argsort", input)
    return sorted_order(input.detach(), wrap_dim(dim, len(input._shape)), descending)


@function(dtypes="any", reference=lambda a: np.sort(a, 0), samples=(Sample((4, 3)), Sample((5,))))
def msort(input, *, out=None):
    """``input`` sorted along its first dimension."""
    values = sort.fn(input, 0).values
    return values if out is None else write_out("msort", out, values, (input,))


@function(dtypes="any", reference=lambda a, k, dim=-1, largest=True: _first_reference(a, range(k), dim, largest),
          samples=(Sample((3, 5), 2), Sample((3, 5), 2, 0), Sample((6,), 3, 0, False)))
def topk(input, k, dim=-1, largest=True, sorted=True, *, out=None):
    """(values, indices) of the ``k`` largest or smallest elements along ``dim``, in order if ``sorted``."""
    _check("topk", input)
    if input._kind.dtype.category == 0:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    at = wrap_dim(dim, len(input._shape))
    n = input._shape[at] if input._shape else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    indices = positions.call(input, at, k, bool(largest), bool(sorted), stable=False)
    values = _topk(input, indices, at)
    if out is not None:
        values, indices = write_outs("topk", out, (values, indices), (input,))
    return TopkResult(values, indices)


@function(dtypes="any", reference=lambda a, k, dim=-1, keepdim=False: _first_reference(
    a, [k - 1] if keepdim else k - 1, dim),
    samples=(Sample((3, 5), 2), Sample((3, 5), 1, 0, True)))
def kthvalue(input, k, dim=-1, keepdim=False, *, out=None):
    """(values, indices) of the ``k``-th smallest element along ``dim``."""
    _check("kthvalue", input)
    if input._kind.dtype.category == 0:
        raise NotImplementedError("\"kthvalue_cpu\" not implemented for 'Bool'")
    at = wrap_dim(dim, len(input._shape))
    n = input._shape[at] if input._shape else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {at}")
    indices = positions.call(input, at, k, alone=True, keepdim=bool(keepdim))
    values = _kth(input, indices, at)
    return KthResult(values, indices) if out is None else KthResult(
        *write_outs("kthvalue", out, (values, indices), (input,)))
