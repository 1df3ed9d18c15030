"""Counting and searching: bincount, unique, searchsorted, bucketize, isin."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.arguments import MOST, name_of
from numbagrad.base.shapes import numel, wrap_dim
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy, row_major, set_all
from numbagrad.core.creation import from_numpy
from numbagrad.core.out import write_out
from numbagrad.core.promotion import is_number
from numbagrad.core.tensor import from_array, make
from numbagrad.core.underived import underived
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function, load
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.tape import TAPE, active

from ..refusal import refusal
from . import access
from . import plans as ix


@kernel
def count_values(x: "*i8", out: "*i8", start: int, stop: int):
    """How often each number occurs in int64 x (n,), added to int64 out (largest + 1,)."""
    for i in range(start, stop):
        out[x[i]] += 1


@kernel
def extremes(x: "*i8", out: "*i8", start: int, stop: int):
    """The least and the largest of int64 x (n,) into int64 out (2,), which holds bounds of them before."""
    least, largest = out[0], out[1]
    for i in range(start, stop):
        least = min(least, x[i])
        largest = max(largest, x[i])
    out[0] = least
    out[1] = largest


_bounds = np.array((MOST, ~MOST), np.int64)


def _extremes(index):
    """The least and the largest of a row of int64 numbers, 0 and -1 if there is none."""
    if not index._n:
        return 0, -1
    if not index._kind.cpu:
        a = index.cpu().array()
        return int(a.min()), int(a.max())
    found = _bounds.copy()
    extremes[index._kind](index._ptr, storage.address(found), 0, index._n)
    return found.tolist()


@function(differentiable=False, dtypes="int", reference=np.bincount,
          samples=(Sample(("int64", (20,), 0, 6)), Sample(("int64", (5,), 0, 3), ("float64", (5,)), 7)))
def bincount(input, weights=None, minlength=0):
    """How often each of 0, 1, 2 ... occurs in a 1-D integer tensor, or the sum of its weights."""
    d = input._kind.dtype
    if d.category != 1:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{dt.scalar_name(d)}'")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    index = ix.as_index(input)
    least, largest = (0, 0) if len(input._shape) != 1 else _extremes(index)
    if len(input._shape) != 1 or least < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and (len(weights._shape) != 1 or weights._n != input._n):
        raise RuntimeError("weights should be 1-d and have the same length as input")
    n = max(minlength, largest + 1)
    if weights is None:
        out = make((n,), index._kind, True)
        count_values[index._kind](index._ptr, out._ptr, 0, index._n)
        return out
    kind = storage.kind_of(dt.float32 if weights.dtype is dt.float32 else dt.float64, weights._kind.device)
    out = make((n,), kind)
    set_all(out, 0)
    access.add(out, weights.detach().to(dtype=kind.dtype), ix.plan_along((n,), 0, index))
    return underived(out, (weights,), "bincount")


# --- distinct values --------------------------------------------------------------------------------------------------

def _plain(t):
    """(array of the values, function from such an array back to a tensor)."""
    d, device = t._kind.dtype, t._kind.device
    t = t.detach().cpu()
    if d.itemsize == 2 and d.category == 2:
        return t.float().array(), lambda a: from_array(np.ascontiguousarray(a)).to(dtype=d, device=device)
    return (t if t._strides is None else contiguous_copy(t)).array(), lambda a: from_array(np.ascontiguousarray(a)).to(
        device=device)


@kernel(fast=())
def changes(x: "*T", out: "*T", found: "*i8", n: int, start: int, stop: int):
    """The elements of x (n,) that differ from the one before into out, which may be x, and their number into int64 found."""
    k = 1
    before = x[0]
    out[0] = before
    for i in range(1, n):  # without a branch: what is no change, the next one overwrites
        v = x[i]
        out[k] = v
        k += 1 if load(v) != load(before) else 0
        before = v
    found[0] = k


@kernel(fast=())
def count_changes(x: "*T", found: "*i8", n: int, start: int, stop: int):
    """How many elements of x (n,) differ from the one before, with the first, and the end of the last of them, into int64
    found."""
    k, end = 1, n
    for i in range(1, n):
        k += 1 if load(x[i]) != load(x[i - 1]) else 0
    while end > 1 and load(x[end - 1]) == load(x[end - 2]):
        end -= 1
    found[0] = k
    found[1] = end


COUNTED = 1 << 14  # elements above which changes are counted first, so that there is memory for them alone


def _changes(kind, size, row, into=None):
    """The row at an address without elements that equal the one before, as a tensor; ``into`` is memory to use, if any."""
    found = _none.copy()
    if into is None and size > COUNTED:
        count_changes[kind](row, storage.address(found), size, 0, 1)
        n, end = found.tolist()
        out = make((n,), kind)
        changes[kind](row, out._ptr, storage.address(found), end, 0, 1)
        return out
    if size:
        into = np.empty(size, kind.np) if into is None else into
        changes[kind](row, storage.address(into), storage.address(found), size, 0, 1)
    n = found.item(0)
    out = make((n,), kind)
    if size:
        out._buf[...] = into if n == size else into[:n]
    return out


_none = np.zeros(2, np.int64)


def _alone(input, return_inverse, return_counts, dim):
    """Whether only the values are asked for, of a tensor in this process's memory."""
    kind = input._kind
    return dim is None and not return_inverse and not return_counts and kind.cpu and (
        kind.dtype.category < 3 and kind.itemsize > 1 and not (kind.itemsize == 2 and kind.dtype.category == 2)) and not (
        TAPE and active() is not None)


NODES = {"_unique2": "Unique2Backward0", "unique_consecutive": "UniqueConsecutiveBackward0", "unique_dim": "UniqueDimBackward0"}


def _refused(values, input, name):
    """The distinct values of a tensor, behind a node that has no gradient for it."""
    return underived(values, (input,), name, NODES[name]) if input._rg or input._view is not None else values


@function(differentiable=False, dtypes="any", reference=lambda a: np.unique(a), samples=(Sample(("int64", (3, 4), 0, 5)),))
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements (slices along ``dim``) in ascending order; also where each element went, and how often each
    occurs."""
    if input._kind.dtype.is_complex:
        raise NotImplementedError(f"\"unique\" not implemented for '{dt.scalar_name(input.dtype)}'")
    if _alone(input, return_inverse, return_counts, dim):
        row = contiguous_copy(input)._buf
        row.sort()
        found = _changes(input._kind, row.size, storage.address(row), row)
        return found if not input._rg and input._view is None else _refused(found, input, "_unique2")
    a, to_tensor = _plain(input)
    if dim is not None:
        dim = wrap_dim(dim, a.ndim)
    found = np.unique(a, return_inverse=return_inverse, return_counts=return_counts, axis=dim, equal_nan=False)
    values, *rest = found if isinstance(found, tuple) else (found,)
    parts = [to_tensor(values)]
    if return_inverse:
        inverse = rest.pop(0)
        parts.append(from_numpy(inverse.reshape(a.shape if dim is None else (a.shape[dim],)).astype(np.int64, copy=False)))
    if return_counts:
        parts.append(from_numpy(rest.pop(0).astype(np.int64, copy=False)))
    _refused(parts[0], input, "_unique2" if dim is None else "unique_dim")
    return tuple(parts) if len(parts) > 1 else parts[0]


def _consecutive_reference(a):
    a = a.reshape(-1)
    return a[np.concatenate([[True], a[1:] != a[:-1]])] if a.size else a


@function(differentiable=False, dtypes="any", reference=_consecutive_reference, samples=(Sample(("int64", (12,), 0, 3)),))
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """``input`` without the elements (slices along ``dim``) that equal the one before."""
    if _alone(input, return_inverse, return_counts, dim):
        row = input if input._strides is None else contiguous_copy(input)
        return _refused(_changes(row._kind, row._n, row._ptr), input, "unique_consecutive")
    a, to_tensor = _plain(input)
    if dim is None:
        rows, shape = a.reshape(-1, 1), a.shape
    else:
        dim = wrap_dim(dim, a.ndim)
        moved = np.moveaxis(a, dim, 0)
        rows, shape = moved.reshape(moved.shape[0], numel(moved.shape[1:])), (moved.shape[0],)
    n = rows.shape[0]
    new = np.ones(n, bool)
    if n:
        new[1:] = (rows[1:] != rows[:-1]).any(1)
    starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, n))
    values = rows[starts, 0] if dim is None else np.moveaxis(moved[starts], 0, dim)
    inverse = (np.cumsum(new) - 1).reshape(shape)
    parts = [_refused(to_tensor(values), input, "unique_consecutive"), *([from_numpy(inverse)] if return_inverse else []),
             *([from_numpy(counts)] if return_counts else [])]
    return tuple(parts) if len(parts) > 1 else parts[0]


@function(out="same", kinds={"elements": "any", "test_elements": "any"}, differentiable=False, dtypes="any",
          samples=(Sample(("int64", (3, 4), 0, 5), ("int64", (3,), 0, 5)),),
          reference=np.isin, method=False)
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each element occurs among the test elements."""
    if elements.__class__ is Tensor and test_elements.__class__ is Tensor and elements._kind is test_elements._kind and (
            elements._kind.dtype.category in (1, 2)):
        return among.call(elements, test_elements, invert)
    if not (isinstance(elements, Tensor) and is_number(test_elements) or isinstance(test_elements, Tensor) and (
            isinstance(elements, Tensor) or is_number(elements))):
        raise TypeError(f"isin() received an invalid combination of arguments - got ({type(elements).__name__}, "
                        f"{type(test_elements).__name__}), but expected tensors, or one tensor and one number")
    for t in (elements, test_elements):
        d = t._kind.dtype if isinstance(t, Tensor) else dt.of_number(t)
        if d.category in (0, 3):
            raise RuntimeError(f"Unsupported input type encountered for isin(): {dt.scalar_name(d)}")
    if not isinstance(test_elements, Tensor):
        return REGISTRY["ne" if invert else "eq"].callable(elements, test_elements)
    a = elements if isinstance(elements, Tensor) else _number("isin", "elements", elements, test_elements)
    return among.call(a, test_elements, bool(invert))


FEW = 32  # elements that are looked through for each


@kernel(fast=())
def find_among(x: "*T", others: "*T", out: "*u1", n: int, invert: int, start: int, stop: int):
    """Whether each of x (n,) is one of others (n,), or with ``invert`` none, into bool out."""
    for i in range(start, stop):
        v = load(x[i])
        found = 0
        for j in range(n):
            found |= 1 if load(others[j]) == v else 0
        out[i] = found ^ invert


@custom(private=True, contiguous=False, reference=None, dtypes="any", differentiable=False)
def among(input, others, invert: bool):
    """Whether each element occurs among the others."""
    return input._shape, storage.kind_of(dt.bool_, input._kind.device)


@among.host
def _(out, input, others, invert):
    if others._n <= FEW and others._kind is input._kind:
        x, others = row_major(input), row_major(others)
        find_among.run(x._kind, (x._ptr, others._ptr, out._ptr, others._n, int(invert)), x._n, x._n * (1 + others._n))
    elif out._n:
        out.array()[...] = np.isin(_plain(input)[0], _plain(others)[0], invert=invert)


# --- sorted sequences -------------------------------------------------------------------------------------------------

@kernel
def bisect(edges: "*T", x: "*T", out: "*i8", n: int, per_row: int, shared: int, right: int, start: int, stop: int):
    """Position of each value of x (rows, per_row) in its sorted row of edges (rows, n), one row for all with ``shared``,
    into int64 out (rows, per_row)."""
    for row in range(start, stop):
        base = 0 if shared != 0 else row * n
        for i in range(per_row):
            v = load(x[row * per_row + i])
            low, high = 0, n
            while low < high:
                middle = (low + high) // 2
                e = load(edges[base + middle])
                before = not (e > v) if right != 0 else not (e >= v)  # a NaN is before everything, as PyTorch has it
                if before:
                    low = middle + 1
                else:
                    high = middle
            out[row * per_row + i] = low


def _search(name, edges, x, out_int32, right, out):
    if edges._kind is not x._kind:
        d = dt.promote_types(edges.dtype, x.dtype) if x._shape or isinstance(x, Tensor) else edges.dtype
        edges, x = edges.to(dtype=d), x.to(dtype=d)
    edges, x = edges.detach(), x.detach()
    edges, v = (t if t._strides is None else contiguous_copy(t) for t in (edges, x))
    result = make(x._shape, storage.kind_of(dt.int64, v._kind.device))
    n = edges._shape[-1]
    shared = len(edges._shape) == 1
    per_row = v._shape[-1] if v._shape else 1
    if v._n:
        bisect.run(v._kind, (edges._ptr, v._ptr, result._ptr, n, per_row, int(shared), int(right)), v._n // per_row, v._n)
    result = result.to(dtype=dt.int32) if out_int32 else result
    return result if out is None else write_out(name, out, result, (edges, x))


def _number(name, argument, value, like):
    if isinstance(value, Tensor):
        return value
    if not is_number(value):
        raise TypeError(f"{name}(): argument '{argument}' must be Tensor or Number, not {name_of(value)}")
    d = like.dtype if like.dtype.category >= dt.of_number(value).category else dt.get_default_dtype()
    from numbagrad.core.creation import scalar_tensor
    return scalar_tensor(value, d)


_refuse_sorter = refusal(RuntimeError, "torch.searchsorted(): sorter index out of range")
EDGES = np.array([-1.0, 0.0, 0.0, 0.5, 1.5])


@function(differentiable=False, dtypes="any", method=False,
          reference=lambda edges, x, right=False: np.searchsorted(edges, x, "right" if right else "left"),
          samples=(Sample(EDGES, (3, 4)), Sample(EDGES, EDGES, right=True), Sample(EDGES, (0, 3))))
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, out=None, sorter=None):
    """Where each value would have to be inserted in its ascending row to keep the order; before equal ones unless
    ``right``."""
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
        if side == "left" and right:
            raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites, got side of left while right "
                               "was True")
        right = side == "right"
    x = _number("searchsorted", "input", input, sorted_sequence)
    a, b = sorted_sequence._shape, x._shape
    if not b and len(a) != 1:
        raise RuntimeError("torch.searchsorted(): input value can be a scalar only when boundaries tensor dimension is 1, but "
                           f"we got boundaries tensor dim({len(a)}) and input value's dim(0) numel(1)")
    if not a:
        raise RuntimeError("torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension")
    if len(a) != 1 and (len(a) != len(b) or a[:-1] != b[:-1]):
        raise RuntimeError("torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of "
                           f"boundaries tensor and input value tensor must match, but we got boundaries tensor {list(a)} and "
                           f"input value tensor {list(b)}")
    if sorter is not None:
        if sorter._shape != a:
            raise RuntimeError("torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                               f"{list(a)}and got sorter tensor {list(sorter._shape)}")
        if sorter._kind.dtype is not dt.int64:
            raise RuntimeError("torch.searchsorted(): sorter must be a tensor of long dtype but got dtype "
                               f"{dt.scalar_name(sorter.dtype)}")
        _refuse_sorter(((sorter < 0) | (sorter >= a[-1])).any())
        sorted_sequence = sorted_sequence.detach().gather(-1, sorter)
    return _search("searchsorted", sorted_sequence, x, out_int32, right, out)


@function(differentiable=False, dtypes="any", method=False,
          reference=lambda x, edges, right=False: np.searchsorted(edges, x, "right" if right else "left"),
          samples=(Sample((3, 4), EDGES), Sample(EDGES, EDGES, right=True)))
def bucketize(input, boundaries, *, out_int32=False, right=False, out=None):
    """The number of the bucket between ascending 1-D boundaries that each value falls into."""
    if len(boundaries._shape) != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({len(boundaries._shape)})")
    return _search("bucketize", boundaries, _number("bucketize", "input", input, boundaries), out_int32, right, out)
