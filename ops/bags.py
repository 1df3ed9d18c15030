"""``embedding_bag``: sums, means or maxima of bags of rows of a table."""

from __future__ import annotations

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import modes, storage
from numbagrad.kernel.jit import T, kernel, load, store
from numbagrad.op import REGISTRY, Sample, custom, function
from numbagrad.op.custom import invoke
from numbagrad.tensor import from_array

from .embedding import INDICES, SPACES, check_indices, renormalise, rows_of, sum_rows
from .gemm import reshape
from .pool import to_places

INT64 = storage.kind_of(dt.int64)


class Bags:
    """Where the bags lie in the flat indices: bounds (n + 1), the bag of every index, sizes without the padding."""

    def __init__(self, at, bounds, skip):
        self.bounds = np.array(bounds, np.int64)
        self.count = len(bounds) - 1
        self.of = np.repeat(np.arange(self.count), np.diff(self.bounds)).astype(np.int64)
        self.skip = skip
        used = np.ones(len(at), np.int64) if skip < 0 else (at != skip).astype(np.int64)
        self.sizes = np.bincount(self.of, used, self.count).astype(np.int64)


@kernel
def sum_bags(w: "*T", at: "*i8", scale: "*T", y: "*T", bounds: "*i8", sizes: "*i8", skip: int, width: int, scaled: int,
             mean: int, start: int, stop: int):
    for b in range(start, stop):
        for j in range(width):
            acc = T(0)
            for i in range(bounds[b], bounds[b + 1]):
                if at[i] != skip:
                    v = load(w[at[i] * width + j])
                    acc = T(acc + (v * load(scale[i]) if scaled != 0 else v))
            y[b * width + j] = store(acc / T(sizes[b]) if mean != 0 and sizes[b] > 0 else acc)


@kernel
def max_bags(w: "*T", at: "*i8", y: "*T", where: "*i8", bounds: "*i8", skip: int, width: int, start: int, stop: int):
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
def bag_sums(weight, input, scale=None, bags: object = None, mean: bool = False, freq: bool = False):
    """Sums or means of the bags of rows, each row times its element of ``scale``."""
    return (bags.count, weight._shape[1]), weight._kind


@bag_sums.cpu
def _(out, weight, input, scale, bags, mean, freq):
    check_range(weight, input)
    sum_bags[weight._kind.dtype](weight._ptr, input._ptr, weight._ptr if scale is None else scale._ptr, out._ptr,
                                 storage.address(bags.bounds), storage.address(bags.sizes), bags.skip, weight._shape[1],
                                 int(scale is not None), int(mean), 0, bags.count)


def check_range(weight, input, name="sum"):
    """PyTorch's errors of an index outside the table: one text for maxima, one for the rest."""
    a, rows = input.array(), weight._shape[0]
    if a.size and (a.min() < 0 or a.max() >= rows):
        i = int(np.argmax((a < 0) | (a >= rows)))
        if name == "max":
            raise RuntimeError(f"embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be {a[i]}")
        raise RuntimeError(f"Index {i} of input takes value {a[i]} which is not in the valid range [0, {rows})")


def _bounds(input, offsets, include_last_offset):
    """Where the bags of a 1-D input begin and end."""
    if len(offsets._shape) != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    check_indices(offsets, "embedding_bag")
    bounds = [int(v) for v in offsets.tolist()]
    if not bounds:
        if include_last_offset:
            raise RuntimeError("include_last_offset: numBags should be at least 1")
        return [0]
    if bounds[0] != 0:
        raise RuntimeError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                           f"However, got {bounds[0]}")
    if bounds[-1] > input._n:
        raise RuntimeError(f"offsets[-1] can not be greater than input's length {input._n} but got offsets[-1] of "
                           f"{bounds[-1]}")
    if not include_last_offset:
        bounds.append(input._n)
    elif bounds[-1] != input._n:
        raise RuntimeError(f"embedding_bag: with include_last_offset the last offset has to be the number of indices, "
                           f"{input._n}, but got {bounds[-1]}")
    if any(b < a for a, b in zip(bounds, bounds[1:])):
        if min(bounds) < 0:
            raise IndexError("index out of range in self")
        raise RuntimeError(f"embedding_bag: offsets have to ascend, but got {offsets.tolist()}")
    return bounds


@bag_sums.gradient
def _(g, weight, input, scale, bags, mean, freq, needs, shapes):
    if mean:
        sizes = np.maximum(bags.sizes, 1).astype(np.float64)
        g = g / from_array(sizes[:, None]).to(device=g.device, dtype=g.dtype)
    rows = rows_of(g, from_array(bags.of))
    gw = gs = None
    if needs[0]:
        gw = sum_rows(rows if scale is None else rows * reshape(scale, (-1, 1)), input, shapes[0][0], bags.skip, freq)
    if needs[2]:
        gs = REGISTRY["sum"].callable(rows * rows_of(weight, input), 1)
        if bags.skip >= 0:
            gs = gs * REGISTRY["ne"].callable(input, bags.skip).to(gs.dtype)
    return gw, None, gs


@custom(private=True, node="EmbeddingBagBackward0", reference=None)
def bag_maxima(weight, input, bags: object = None):
    """Maxima of the bags of rows, and the row each comes from."""
    shape = (bags.count, weight._shape[1])
    return [(shape, weight._kind), (shape, INT64)]


@bag_maxima.cpu
def _(outs, weight, input, bags):
    check_range(weight, input, "max")
    max_bags[weight._kind.dtype](weight._ptr, input._ptr, outs[0]._ptr, outs[1]._ptr, storage.address(bags.bounds), bags.skip,
                                 weight._shape[1], 0, bags.count)


@bag_maxima.gradient
def _(g, y1, shape):
    transpose = REGISTRY["transpose"].callable
    where = y1.detach()
    empty = REGISTRY["lt"].callable(where, 0)
    g = g * (1 - empty.to(g.dtype))
    # A plane per column of the table; an empty bag adds its zero to row 0.
    return transpose(to_places(transpose(g, 0, 1), transpose(where.clamp(0), 0, 1), (shape[0],)), 0, 1), None


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
    if len(weight._shape) != 2:
        raise ValueError(f"embedding_bag(): 'weight' must be 2-D, but got {list(weight._shape)}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum or mean")
    if sparse:
        raise NotImplementedError("embedding_bag(): sparse=True is not available: numbagrad has no sparse gradients")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError("embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
                                      f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub.")
        if per_sample_weights._shape != input._shape:
            raise ValueError(f"embedding_bag: If per_sample_weights ({list(per_sample_weights._shape)}) is not None, then it "
                             f"must have the same shape as the input ({list(input._shape)})")
    check_indices(input, "embedding_bag")
    if len(input._shape) == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed "
                             f"length sequences. However, found offsets of type {type(offsets)}")
        count, length = input._shape
        bounds = [i * length for i in range(count + 1)]
    elif len(input._shape) == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        bounds = _bounds(input, offsets, include_last_offset)
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(input._shape)}")
    skip = -1
    if padding_idx is not None:
        if not -weight._shape[0] <= padding_idx < weight._shape[0]:
            raise AssertionError("padding_idx must be within the number of embeddings")
        skip = padding_idx % weight._shape[0]
    flat = reshape(input, (input._n,))
    flat = flat if flat._kind is INT64 else flat.to(dtype=dt.int64)
    if max_norm is not None:
        with modes.no_grad():
            renormalise(weight, flat, max_norm, norm_type)
    bags = Bags(flat.numpy(), bounds, skip)
    if mode == "max":
        return invoke(bag_maxima, (weight, flat), (bags,))[0]
    scale = None if per_sample_weights is None else reshape(per_sample_weights, (input._n,))
    return invoke(bag_sums, (weight, flat, scale), (bags, mode == "mean", scale_grad_by_freq))
