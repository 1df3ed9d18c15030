"""Rows of a table by index: ``embedding``, ``embedding_bag``, ``one_hot``."""

from __future__ import annotations

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import modes, storage
from numbagrad.kernel.jit import T, kernel, load, store
from numbagrad.op import REGISTRY, Sample, custom, function
from numbagrad.op.custom import invoke
from numbagrad.tensor import Tensor, make, numel

SPACES = {"namespaces": ("nn.functional",), "method": False}


@kernel
def look_up(w: "*T", at: "*U", y: "*T", rows: int, width: int, bad: "*i8", start: int, stop: int):
    """Copy rows; the first position with an index outside the table goes to ``bad`` and ends the work."""
    for i in range(start, stop):
        p = int(at[i])
        if p < 0 or p >= rows:
            bad[0] = i
            return
        for j in range(width):
            y[i * width + j] = w[p * width + j]


@kernel
def add_to_rows(g: "*T", at: "*U", w: "*T", rows: int, width: int, skip: int, scale: int, count: "*i8", start: int,
                stop: int):
    """Add rows of ``g`` to the rows of ``w`` they came from, divided by their number of uses where ``scale``."""
    for i in range(rows * width):
        w[i] = store(T(0))
    if scale != 0:
        for i in range(rows):
            count[i] = 0
        for i in range(start, stop):
            count[int(at[i])] += 1
    for i in range(start, stop):
        p = int(at[i])
        if p != skip:
            part = T(1) / T(count[p]) if scale != 0 else T(1)
            for j in range(width):
                w[p * width + j] = store(load(w[p * width + j]) + load(g[i * width + j]) * part)


@custom(private=True, node="EmbeddingBackward0", reference=None, dtypes="any")
def rows_of(weight, input, padding_idx: int = -1, scale_grad_by_freq: bool = False):
    """Rows of ``weight (v, e)`` at the indices ``input``: shape (*input.shape, e)."""
    d = input._kind.dtype
    if d.code not in ("i4", "i8"):
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
                           f"but got torch.{dt.scalar_name(d)}Tensor instead (while checking arguments for embedding)")
    if len(weight._shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    return (*input._shape, weight._shape[1]), weight._kind


@rows_of.cpu
def _(out, weight, input, padding_idx, scale_grad_by_freq):
    if not input._n:
        return
    bad = np.full(1, -1, np.int64)
    look_up[weight._kind.dtype, input._kind.dtype](weight._ptr, input._ptr, out._ptr, *weight._shape, storage.address(bad), 0,
                                                   input._n)
    if bad[0] >= 0:
        raise IndexError("index out of range in self")


@rows_of.gradient
def _(g, input, shape, padding_idx, scale_grad_by_freq, needs):
    return sum_rows(g, input, shape[0], padding_idx, scale_grad_by_freq), None


@custom(private=True, node="EmbeddingDenseBackward0", reference=None)
def sum_rows(g_rows, input, rows: int, padding_idx: int = -1, scale_grad_by_freq: bool = False):
    """Zeros (rows, e) with the rows of ``g_rows`` added at the indices ``input``; nothing at ``padding_idx``."""
    return (rows, g_rows._shape[-1]), g_rows._kind


@sum_rows.cpu
def _(out, g_rows, input, rows, padding_idx, scale_grad_by_freq):
    width = out._shape[1]
    if out._kind.dtype.code in ("f2", "bf"):
        from .product import converted
        kind = storage.kind_of(dt.float32)
        wide = make(out._shape, kind)
        _add(wide, converted(g_rows, kind), input, rows, width, padding_idx, scale_grad_by_freq)
        from numbagrad.copying import copy_into
        copy_into(out, wide)
    else:
        _add(out, g_rows, input, rows, width, padding_idx, scale_grad_by_freq)


def _add(out, g, input, rows, width, skip, scale):
    count = np.empty(rows if scale else 1, np.int64)
    add_to_rows[out._kind.dtype, input._kind.dtype](g._ptr, input._ptr, out._ptr, rows, width, skip, int(scale),
                                                    storage.address(count), 0, input._n)


@sum_rows.gradient
def _(g, input, padding_idx, scale_grad_by_freq):
    rows = rows_of(g, input)
    if padding_idx >= 0:
        keep = REGISTRY["ne"].callable(input, padding_idx)
        rows = rows * REGISTRY["unsqueeze"].callable(keep, -1).to(rows.dtype)
    if scale_grad_by_freq:
        uses = np.bincount(input.numpy().ravel(), minlength=1)[input.numpy()]
        from numbagrad.tensor import from_array
        rows = rows / from_array(uses[..., None].astype(np.float64)).to(rows.dtype)
    return rows, None


def _embedding_reference(input, weight, padding_idx=None, *rest, **named):
    return weight[input]


INDICES = ("int64", (2, 3), 0, 5)


@function(reference=_embedding_reference, dtypes="any", **SPACES,
          samples=(Sample(INDICES, (5, 4)), Sample(INDICES, (5, 4), 2), Sample(INDICES, (5, 4), scale_grad_by_freq=True)))
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """Rows of ``weight (v, e)`` at integer indices: result (*input.shape, e).

    Row ``padding_idx`` gets no gradient; rows longer than ``max_norm`` are shortened in place first;
    ``scale_grad_by_freq`` divides a row's gradient by its number of uses. IndexError for an index outside the table."""
    for i, (name, t) in enumerate((("input", input), ("weight", weight))):
        if not isinstance(t, Tensor):
            raise TypeError(f"embedding(): argument '{name}' (position {i + 1}) must be Tensor, not {type(t).__name__}")
    if sparse:
        raise NotImplementedError("embedding(): sparse=True is not available: numbagrad has no sparse gradients")
    if padding_idx is not None:
        size = weight._shape[0]
        if not -size <= padding_idx < size:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= size
    else:
        padding_idx = -1
    if max_norm is not None:
        with modes.no_grad():
            _renormalise(weight, input, max_norm, norm_type)
    return invoke(rows_of, (weight, input), (padding_idx, scale_grad_by_freq))


@kernel
def shorten(w: "*T", at: "*i8", width: int, limit: float, p: float, start: int, stop: int):
    for i in range(start, stop):
        row = at[i] * width
        total = 0.0
        for j in range(width):
            v = abs(float(load(w[row + j])))
            total += v * v if p == 2.0 else v if p == 1.0 else v**p
        norm = total ** (1.0 / p)
        if norm > limit:
            scale = limit / (norm + 1e-7)
            for j in range(width):
                w[row + j] = store(load(w[row + j]) * T(scale))


def _renormalise(weight, input, max_norm, norm_type):
    """Shorten the rows that will be used to ``max_norm``, in place."""
    from numbagrad.autograd import inplace
    from numbagrad.tensor import bump_version
    rows = np.unique(input.numpy()).astype(np.int64)
    if rows.size and (rows[0] < 0 or rows[-1] >= weight._shape[0]):
        raise IndexError("index out of range in self")
    if weight._strides is not None:
        raise RuntimeError("embedding(): max_norm needs a contiguous weight")
    inplace.check(weight, "embedding_renorm_")
    shorten[weight._kind.dtype](weight._ptr, storage.address(rows), weight._shape[1], float(max_norm), float(norm_type), 0,
                                rows.size)
    bump_version(weight)


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
    Sample(INDICES, (5, 4)), Sample(INDICES, (5, 4), mode="sum"), Sample(INDICES, (5, 4), mode="max")))
def embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
                  per_sample_weights=None, include_last_offset=False, padding_idx=None):
    """Sums, means or maxima of bags of rows of ``weight``: rows of a 2-D ``input``, or 1-D parts that begin at ``offsets``.

    ``per_sample_weights`` scales the rows (mode "sum" only); ``padding_idx`` is left out of its bag."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum or mean")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError("embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
                                      f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub.")
        if per_sample_weights._shape != input._shape:
            raise ValueError(f"embedding_bag: If per_sample_weights ({list(per_sample_weights._shape)}) is not None, then it "
                             f"must have the same shape as the input ({list(input._shape)})")
    flat = REGISTRY["reshape"].callable(input, (-1,))
    scale = None if per_sample_weights is None else REGISTRY["reshape"].callable(per_sample_weights, (-1, 1))
    if len(input._shape) == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed "
                             f"length sequences. However, found offsets of type {type(offsets)}")
        bags, length = input._shape
        bounds = [i * length for i in range(bags + 1)]
    elif len(input._shape) == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if len(offsets._shape) != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        bounds = [int(v) for v in offsets.tolist()]
        bounds = bounds if include_last_offset else [*bounds, input._n]
        if bounds[0] != 0:
            raise ValueError(f"offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position "
                             f"0. However, got {bounds[0]}")
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(input._shape)}")
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if scale is not None:
        rows = rows * scale
    skip = None if padding_idx is None else padding_idx % weight._shape[0]
    at = flat.tolist()
    parts = []
    for a, b in zip(bounds[:-1], bounds[1:]):
        keep = [i for i in range(a, b) if at[i] != skip]
        if not keep:
            parts.append(rows.new_zeros((weight._shape[1],)))
            continue
        bag = rows[a:b] if len(keep) == b - a else rows[keep]
        parts.append(bag.sum(0) if mode == "sum" else bag.mean(0) if mode == "mean" else bag.max(0)[0])
    return REGISTRY["stack"].callable(parts)


@function(reference=lambda x, num_classes=-1: np.eye(x.max() + 1 if num_classes < 0 else num_classes, dtype=np.int64)[x],
          samples=(Sample(("int64", (2, 3), 0, 4), 5), Sample(("int64", (4,), 0, 4))), dtypes="int", differentiable=False,
          **SPACES)
def one_hot(tensor, num_classes=-1):
    """Zeros of shape (*tensor.shape, num_classes) with a one at each index; int64."""
    if tensor._kind.dtype is not dt.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not tensor._n:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return tensor.new_zeros((*tensor._shape, num_classes))
    low, high = (int(REGISTRY[f"a{m}"].callable(tensor).item()) for m in ("min", "max"))
    if low < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = high + 1
    elif high >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    out = tensor.new_zeros((*tensor._shape, num_classes))
    places = tensor.contiguous()
    ones[places._kind.dtype](places._ptr, out._ptr, num_classes, 0, numel(tensor._shape))
    return out


@kernel
def ones(at: "*T", y: "*T", classes: int, start: int, stop: int):
    for i in range(start, stop):
        y[i * classes + at[i]] = 1
