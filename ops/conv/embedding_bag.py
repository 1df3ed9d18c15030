"""``embedding_bag``: sums, means or maxima of bags of rows of a table."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base import modes
from numbagrad.base.user_code import caller_level
from numbagrad.core import storage
from numbagrad.core.creation import zeros
from numbagrad.dispatch.custom import invoke
from numbagrad.extend import REGISTRY, Sample, T, custom, function, load, store
from numbagrad.kernel import tape
from numbagrad.kernel.jit import STRIP, kernel, strip
from numbagrad.kernel.lanes import SIZES

from ..index.embedding import INDICES, SPACES, check_indices, outside_table, renormalise, rows_for_few, rows_of, sum_rows
from ..index.kernels import check_saved
from ..product.gemm import reshape
from .bag_rows import sum_whole_bags
from .pool import to_places


@kernel
def lay_out(at: "*i8", offsets: "*i8", bounds: "*i8", of: "*i8", sizes: "*i8", n: int, bags: int, given: int, last: int,
            skip: int, rows: int, bad: "*i8", start: int, stop: int):
    """Of indices at (n,): bounds (bags + 1,) from offsets (bags + last,) (equal parts with ``given`` 0), the bag of each
    index in of (n,), sizes (bags,) without the padding, all int64.

    int64 bad (5,) gets (kind, a number, its place, n, rows): 0 the first offset, 1 the last one, 2 the last one with
    ``last``, 3 offsets that fall, 4 one below zero, 5 an index outside the table."""
    kind = -1
    if given == 0:
        for b in range(bags + 1):
            bounds[b] = b * (n // max(bags, 1))
    else:
        for b in range(bags + last):
            bounds[b] = offsets[b]
        if bags + last > 0:
            end = offsets[bags + last - 1]
            if offsets[0] != 0:
                kind = 0
                bad[1] = offsets[0]
            elif end > n:
                kind = 1
                bad[1] = end
            elif last != 0 and end != n:
                kind = 2
                bad[1] = end
            else:
                for b in range(1, bags + last):
                    if offsets[b] < offsets[b - 1]:
                        kind = max(kind, 3)
                    if offsets[b] < 0:
                        kind = 4
        if last == 0:
            bounds[bags] = n if bags > 0 else 0
    if kind < 0:
        wrong = 0
        for i in range(n):
            of[i] = 0
            wrong += 1 if at[i] < 0 or at[i] >= rows else 0
        for i in range(n if wrong > 0 else 0):
            if kind < 0 and (at[i] < 0 or at[i] >= rows):
                kind = 5
                bad[1] = at[i]
                bad[2] = i
        for b in range(bags):
            used = bounds[b + 1] - bounds[b]
            for i in range(bounds[b], bounds[b + 1]):
                of[i] = b
            if skip >= 0:
                for i in range(bounds[b], bounds[b + 1]):
                    used -= 1 if at[i] == skip else 0
            sizes[b] = used
    if kind >= 0:
        bad[0] = kind
        bad[3] = n
        bad[4] = rows


@custom(private=True, reference=None, dtypes="int", differentiable=False)
def layout(input, offsets=None, bags: int = 0, last: bool = False, skip: int = -1, rows: int = 0, mode: str = "sum"):
    """Where the bags lie in flat indices: bounds (bags + 1), the bag of every index, sizes without the padding."""
    kind = storage.kind_of(dt.int64, input._kind.device)
    return [((bags + 1,), kind), (input._shape, kind), ((bags,), kind)]


@layout.cpu
def _(outs, input, offsets, bags, last, skip, rows, mode):
    bounds, of, sizes = outs
    bad = _flags[mode == "max"].take(input._kind)
    lay_out[input._kind](input._ptr, input._ptr if offsets is None else offsets._ptr, bounds._ptr, of._ptr, sizes._ptr,
                         input._n, bags, int(offsets is not None), int(last), skip, rows, bad.address, 0, 1)
    bad.check()


def _refuse(kind, value, place, length, rows, mode):
    if kind == 0:
        raise RuntimeError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                           f"However, got {value}")
    if kind == 1:
        raise RuntimeError(f"offsets[-1] can not be greater than input's length {length} but got offsets[-1] of {value}")
    if kind == 2:
        raise RuntimeError(f"embedding_bag: with include_last_offset the last offset has to be the number of indices, "
                           f"{length}, but got {value}")
    if kind == 3:
        raise RuntimeError("embedding_bag: offsets have to ascend")
    if kind == 4:
        raise IndexError("index out of range in self")
    if mode == "max":
        raise RuntimeError(f"embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be {value}")
    raise RuntimeError(f"Index {place} of input takes value {value} which is not in the valid range [0, {rows})")


_flags = tuple([tape.Flag(partial(_refuse, mode=mode), 5) for mode in ("sum", "max")])


@kernel
def sum_bags(w: "*T", at: "*i8", scale: "*T", y: "*T", bounds: "*i8", sizes: "*i8", skip: int, width: int, scaled: int,
             mean: int, start: int, stop: int):
    """Sums (means with ``mean``) of the rows at (n,) of w (rows, width), each times its scale (n,) with ``scaled``, over the
    bags ``bounds[b]:bounds[b + 1]`` into y (bags, width); at, bounds (bags + 1,) and sizes (bags,) are int64."""
    total = strip()
    for b in range(start, stop):
        divisor = T(sizes[b]) if mean != 0 and sizes[b] > 0 else T(1)
        for first in range(0, width, STRIP):
            many = min(STRIP, width - first)
            for j in range(many):
                total[j] = T(0)
            begin = bounds[b]
            whole = bounds[b + 1] if scaled == 0 and sizes[b] == bounds[b + 1] - begin else begin
            while begin + 8 <= whole:
                p, q = at[begin] * width + first, at[begin + 1] * width + first
                r, s = at[begin + 2] * width + first, at[begin + 3] * width + first
                p_, q_ = at[begin + 4] * width + first, at[begin + 5] * width + first
                r_, s_ = at[begin + 6] * width + first, at[begin + 7] * width + first
                for j in range(many):  # eight rows, one after the other, while the sum is in a register
                    v = T(T(T(T(total[j] + load(w[p + j])) + load(w[q + j])) + load(w[r + j])) + load(w[s + j]))
                    total[j] = T(T(T(T(v + load(w[p_ + j])) + load(w[q_ + j])) + load(w[r_ + j])) + load(w[s_ + j]))
                begin += 8
            while scaled == 0 and begin + 4 <= bounds[b + 1] and (
                    at[begin] != skip and at[begin + 1] != skip and at[begin + 2] != skip and at[begin + 3] != skip):
                p, q = at[begin] * width + first, at[begin + 1] * width + first
                r, s = at[begin + 2] * width + first, at[begin + 3] * width + first
                for j in range(many):
                    total[j] = T(T(T(T(total[j] + load(w[p + j])) + load(w[q + j])) + load(w[r + j])) + load(w[s + j]))
                begin += 4
            for i in range(begin, bounds[b + 1]):
                if at[i] != skip:
                    p = at[i] * width + first
                    if scaled != 0:
                        for j in range(many):
                            total[j] = T(total[j] + load(w[p + j]) * load(scale[i]))
                    else:
                        for j in range(many):
                            total[j] = T(total[j] + load(w[p + j]))
            for j in range(many):
                y[b * width + first + j] = store(total[j] / divisor)


@kernel
def max_bags(w: "*T", at: "*i8", y: "*T", where: "*i8", bounds: "*i8", skip: int, width: int, start: int, stop: int):
    """Maxima of the rows at (n,) of w (rows, width) over the bags ``bounds[b]:bounds[b + 1]`` into y, and their rows (-1 for
    none) into where, both (bags, width); at, bounds (bags + 1,) and where are int64."""
    for b in range(start, stop):
        for j in range(width):
            best, row = T(0), -1
            for i in range(bounds[b], bounds[b + 1]):
                if at[i] != skip:
                    v = load(w[at[i] * width + j])
                    if row < 0 or v > best:
                        best, row = v, at[i]
            y[b * width + j] = store(best)
            where[b * width + j] = row


@custom(private=True, node="EmbeddingBagBackward0", reference=None, save_for={"weight": ("scale",)})
def bag_sums(weight, input, scale=None, bounds=None, of=None, sizes=None, skip: int = -1, mean: bool = False,
             freq: bool = False):
    """Sums or means of the bags of rows, each row times its element of ``scale``."""
    return (*sizes._shape, weight._shape[1]), weight._kind


@bag_sums.cpu
def _(out, weight, input, scale, bounds, of, sizes, skip, mean, freq):
    if scale is None and skip < 0 and weight._kind.cpu and weight._kind.dtype.code in SIZES:
        n, width = input._n, weight._shape[1]
        sum_whole_bags.run(weight._kind, (weight._ptr, input._ptr, out._ptr, bounds._ptr, n, width, int(mean)), sizes._n,
                           n * width)
        return
    sum_bags.run(weight._kind, (weight._ptr, input._ptr, weight._ptr if scale is None else scale._ptr, out._ptr, bounds._ptr,
                                sizes._ptr, skip, weight._shape[1], int(scale is not None), int(mean)), sizes._n,
                 input._n * weight._shape[1])


@bag_sums.gradient
def _(g, weight, input, scale, of, sizes, skip, mean, freq, needs, shapes):
    if mean:
        g = g / reshape(sizes.clamp(min=1), (-1, 1)).to(device=g.device, dtype=g.dtype)
    gw = gs = None
    if needs[0] and scale is None and not freq:
        return (add_bags(g, input, of, shapes[0][0], skip), *[None] * 5)
    rows = rows_of(g, of)
    if needs[0]:
        gw = sum_rows(rows if scale is None else rows * reshape(scale, (-1, 1)), input, shapes[0][0], skip, freq)
    if needs[2]:
        gs = REGISTRY["sum"].callable(rows * rows_of(weight, input), 1)
        if skip >= 0:
            gs = gs * REGISTRY["ne"].callable(input, skip).to(gs.dtype)
    return gw, None, gs, None, None, None


@kernel
def add_bags_to_rows(g: "*T", at: "*i8", of: "*i8", w: "*T", rows: int, width: int, skip: int, start: int, stop: int):
    """Row ``of[i]`` of g (bags, width) added to zeros at row ``at[i]`` of w (rows, width), but for row ``skip``; int64 at and
    of (n,)."""
    for i in range(rows * width):
        w[i] = store(T(0))
    for i in range(start, stop):
        p, q = at[i] * width, of[i] * width
        if at[i] != skip:
            for j in range(width):
                w[p + j] = store(load(w[p + j]) + load(g[q + j]))


@custom(private=True, joins=True, node="EmbeddingBagBackwardBackward0", reference=None)
def add_bags(g, input, of, rows: int, skip: int = -1):
    """Zeros (rows, e) with the row of each index's bag added at the index: without a row for each index, which are many."""
    return (rows, g._shape[1]), g._kind


@add_bags.cpu
def _(out, g, input, of, rows, skip):
    check_saved(input, rows, fail=outside_table)
    add_bags_to_rows[out._kind](g._ptr, input._ptr, of._ptr, out._ptr, *out._shape, skip, 0, input._n)


@add_bags.gradient
def _(g_, input, of, shape, skip):
    rows = rows_of(g_, input)
    if skip >= 0:
        rows = rows * reshape(REGISTRY["ne"].callable(input, skip).to(rows.dtype), (-1, 1))
    none = zeros(shape, dtype=rows.dtype, device=rows.device)
    return REGISTRY["index_add"].callable(none, 0, of, rows), None, None


@custom(private=True, node="EmbeddingBagBackward0", reference=None)
def bag_maxima(weight, input, bounds, skip: int):
    """Maxima of the bags of rows, and the row each comes from."""
    shape = (bounds._n - 1, weight._shape[1])
    return [(shape, weight._kind), (shape, bounds._kind)]


@bag_maxima.cpu
def _(outs, weight, input, bounds, skip):
    max_bags.run(weight._kind, (weight._ptr, input._ptr, outs[0]._ptr, outs[1]._ptr, bounds._ptr, skip, weight._shape[1]),
                 bounds._n - 1, input._n * weight._shape[1])


@bag_maxima.gradient
def _(g, y1, shape):
    transpose = REGISTRY["transpose"].callable
    where = y1.detach()
    empty = REGISTRY["lt"].callable(where, 0)
    g = g * (1 - empty.to(g.dtype))
    # A plane per column of the table; an empty bag adds its zero to row 0.
    return transpose(to_places(transpose(g, 0, 1), transpose(where.clamp(0), 0, 1), (shape[0],)), 0, 1), None, None


def _of_few(weight, input, scale, of, sizes, count, skip, scale_grad_by_freq):
    """Sums of bags, or means where ``sizes`` are given, with a sparse gradient for ``weight``."""
    rows = invoke(rows_for_few, (weight, input), (skip, scale_grad_by_freq))
    kept = [] if scale is None else [scale]
    if skip >= 0:
        kept.append(REGISTRY["ne"].callable(input, skip).to(rows.dtype))
    for factor in kept:
        rows = rows * reshape(factor, (input._n, 1))
    sums = REGISTRY["index_add"].callable(zeros((count, weight._shape[1]), dtype=rows.dtype, device=rows.device), 0, of, rows)
    return sums if sizes is None else sums / reshape(sizes.clamp(1).to(rows.dtype), (count, 1))


def _bag_reference(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean",
                   sparse=False, per_sample_weights=None, include_last_offset=False, padding_idx=None):
    if offsets is None:
        bags = list(input)
        scales = [None] * len(bags) if per_sample_weights is None else list(per_sample_weights)
    else:
        ends = [*list(offsets)[1:], *([] if include_last_offset else [len(input)])]
        cuts = list(zip(offsets, ends))
        bags = [input[a:b] for a, b in cuts]
        scales = [None] * len(bags) if per_sample_weights is None else [per_sample_weights[a:b] for a, b in cuts]
    out = []
    for bag, scale in zip(bags, scales):
        keep = bag != padding_idx if padding_idx is not None else np.ones(len(bag), bool)
        rows = weight[bag[keep]]
        rows = rows if scale is None else rows * scale[keep][:, None]
        if not len(rows):
            out.append(np.zeros(weight.shape[1]))
        else:
            out.append({"sum": rows.sum, "mean": rows.mean, "max": rows.max}[mode](0))
    return np.stack(out)


@function(reference=_bag_reference, **SPACES, samples=(
    Sample(INDICES, (5, 4)), Sample(INDICES, (5, 4), mode="sum"), Sample(INDICES, (5, 4), mode="max"),
    Sample(INDICES, (5, 4), mode="sum", per_sample_weights=(2, 3))))
def embedding_bag(input, weight, offsets=None, max_norm: float = None, norm_type: float = 2, scale_grad_by_freq: bool = False,
                  mode: str = "mean", sparse: bool = False, per_sample_weights=None, include_last_offset: bool = False,
                  padding_idx: int = None):
    """Sums, means or maxima of bags of rows of ``weight``: rows of a 2-D ``input``, or 1-D parts that begin at ``offsets``.

    ``per_sample_weights`` scales the rows (mode "sum" only); ``padding_idx`` is left out of its bag."""
    if weight._kind.dtype is dt.int64 and input._kind.dtype.category == 2:
        warnings.warn("Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
                      "deprecated, and should now be `embedding_bag(input, weight, ...)`.", stacklevel=caller_level())
        weight, input = input, weight
    if len(weight._shape) != 2:
        raise ValueError(f"embedding_bag(): 'weight' must be 2-D, but got {list(weight._shape)}")
    if weight._kind.dtype.category != 2:
        raise RuntimeError("embedding_bag(): expected 'weight' to have a floating-point dtype, but got "
                           f"{dt.scalar_name(weight.dtype)}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum or mean")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError("embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
                                      f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub.")
        if per_sample_weights._shape != input._shape:
            raise ValueError(f"embedding_bag: If per_sample_weights ({list(per_sample_weights._shape)}) is not None, then it "
                             f"must have the same shape as the input ({list(input._shape)})")
        if per_sample_weights._kind is not weight._kind:
            raise RuntimeError("embedding_bag(): expected 'weight' and 'per_sample_weights' to have the same dtype and device, "
                               f"but got {weight.dtype} and {per_sample_weights.dtype}")
    check_indices(input, "embedding_bag")
    if len(input._shape) == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed "
                             f"length sequences. However, found offsets of type {type(offsets)}")
        count, places = input._shape[0], None
    elif len(input._shape) == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if len(offsets._shape) != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        check_indices(offsets, "embedding_bag")
        count = offsets._n - (1 if include_last_offset else 0)
        if count < 0:
            raise RuntimeError("include_last_offset: numBags should be at least 1")
        places = offsets if offsets.dtype is dt.int64 else offsets.to(dtype=dt.int64)
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(input._shape)}")
    skip = -1
    if padding_idx is not None:
        if not -weight._shape[0] <= padding_idx < weight._shape[0]:
            raise AssertionError("padding_idx must be within the number of embeddings")
        skip = padding_idx % weight._shape[0]
    flat = reshape(input, (input._n,))
    flat = flat if flat.dtype is dt.int64 else flat.to(dtype=dt.int64)
    if max_norm is not None:
        with modes.no_grad():
            renormalise(weight, flat, max_norm, norm_type)
    bounds, of, sizes = layout.call(flat, places, count, bool(include_last_offset), skip, weight._shape[0], mode)
    if mode == "max":
        return bag_maxima.call(weight, flat, bounds, skip)[0]
    scale = None if per_sample_weights is None else reshape(per_sample_weights, (input._n,))
    if sparse:
        return _of_few(weight, flat, scale, of, sizes if mode == "mean" else None, count, skip, scale_grad_by_freq)
    return bag_sums.call(weight, flat, scale, bounds, of, sizes, skip, mode == "mean", scale_grad_by_freq)
