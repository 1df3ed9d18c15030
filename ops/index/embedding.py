"""Rows of a table by index: ``embedding``, ``one_hot``."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments, modes
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.dispatch.custom import invoke
from numbagrad.dispatch.custom_fast import make_zero
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function, load, store
from numbagrad.kernel import tape
from numbagrad.kernel.jit import kernel

from .kernels import check_saved

SPACES = {"namespaces": ("nn.functional",), "method": False}


@kernel
def look_up(w: "*T", at: "*U", y: "*T", rows: int, width: int, bad: "*i8", start: int, stop: int):
    """Rows at (n,) of w (rows, width) into y (n, width); the first position with an index outside goes to int64 bad (1,) and
    ends the work."""
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
    """Rows of g (n, width) added to zeros at rows at (n,) of w (rows, width), divided by how often each is used where
    ``scale``, which int64 count (rows,) takes; ``skip`` is left out."""
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


def check_indices(t, name):
    if t._kind.dtype.code not in ("i4", "i8"):
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
                           f"but got torch.{dt.scalar_name(t._kind.dtype)}Tensor instead (while checking arguments for "
                           f"{name})")


@custom(private=True, node="EmbeddingBackward0", reference=None, dtypes="any")
def rows_of(weight, input, padding_idx: int = -1, scale_grad_by_freq: bool = False):
    """Rows of ``weight (v, e)`` at the indices ``input``: shape (*input.shape, e)."""
    check_indices(input, "embedding")
    if len(weight._shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    return (*input._shape, weight._shape[1]), weight._kind


@rows_of.cpu
def _(out, weight, input, padding_idx, scale_grad_by_freq):
    if not input._n:
        return
    bad = _row.take(weight._kind)
    look_up.run((weight._kind, input._kind), (weight._ptr, input._ptr, out._ptr, *weight._shape, bad.address), input._n, out._n)
    bad.check()


def outside_table(*_):
    raise IndexError("index out of range in self")


_row = tape.Flag(outside_table)


@rows_of.gradient
def _(g, input, shape, padding_idx, scale_grad_by_freq, needs):
    return sum_rows(g, input, shape[0], padding_idx, scale_grad_by_freq), None


@custom(private=True, node="EmbeddingBackward0", reference=None, dtypes="any")
def rows_for_few(weight, input, padding_idx: int = -1, scale_grad_by_freq: bool = False):
    """``rows_of`` whose gradient is a sparse tensor: the rows that were used."""
    return rows_of.fn(weight, input, padding_idx, scale_grad_by_freq)


rows_for_few.cpu(rows_of.cpu_launch)


@rows_for_few.gradient
def _(g, input, shape, padding_idx, scale_grad_by_freq):
    if scale_grad_by_freq:
        raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
    make_sparse = REGISTRY.load("numbagrad.ops.sparse.making").SparseTensor
    at, rows = input.reshape(-1).to(dt.int64), g.reshape(-1, shape[1])
    if padding_idx >= 0:
        kept = REGISTRY["ne"].callable(at, padding_idx)
        at, rows = at[kept], rows[kept]
    return make_sparse(at[None], rows, shape), None


@custom(private=True, joins=True, node="EmbeddingDenseBackward0", reference=None)
def sum_rows(g_rows, input, rows: int, padding_idx: int = -1, scale_grad_by_freq: bool = False):
    """Zeros (rows, e) with the rows of ``g_rows`` added at the indices ``input``; nothing at ``padding_idx``."""
    return (rows, g_rows._shape[-1]), g_rows._kind


@sum_rows.cpu
def _(out, g_rows, input, rows, padding_idx, scale_grad_by_freq):
    check_saved(input, rows, fail=outside_table)
    count = storage.kind_of(dt.int64, out._kind.device).alloc(rows if scale_grad_by_freq else 1)
    add_to_rows[out._kind, input._kind](g_rows._ptr, input._ptr, out._ptr, rows, out._shape[1], padding_idx,
                                        int(scale_grad_by_freq), count[1], 0, input._n)


@sum_rows.gradient
def _(g, input, padding_idx, scale_grad_by_freq):
    rows = rows_of(g, input)
    if padding_idx >= 0:
        keep = REGISTRY["ne"].callable(input, padding_idx)
        rows = rows * REGISTRY["unsqueeze"].callable(keep, -1).to(rows.dtype)
    if scale_grad_by_freq:
        uses = np.bincount(input.numpy().ravel(), minlength=1)[input.numpy()]
        from numbagrad.core.tensor import from_array
        rows = rows / from_array(uses[..., None].astype(np.float64)).to(rows.dtype)
    return rows, None


def _embedding_reference(input, weight, padding_idx=None, *rest, **named):
    return weight[input]


INDICES = ("int64", (2, 3), 0, 5)


@function(reference=_embedding_reference, dtypes="any", **SPACES,
          samples=(Sample(INDICES, (5, 4)),))
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """Rows of ``weight (v, e)`` at integer indices: result (*input.shape, e).

    Row ``padding_idx`` gets no gradient; rows longer than ``max_norm`` are shortened in place first;
    ``scale_grad_by_freq`` divides a row's gradient by its number of uses. IndexError for an index outside the table."""
    for i, (name, t) in enumerate((("input", input), ("weight", weight))):
        if not isinstance(t, Tensor):
            raise arguments.wrong(t, "Tensor", "embedding", name, i + 1)
    if padding_idx is not None:
        size = weight._shape[0]
        if not -size <= padding_idx < size:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= size
    else:
        padding_idx = -1
    if max_norm is not None:
        with modes.no_grad():
            renormalise(weight, input, max_norm, norm_type)
    return invoke(rows_for_few if sparse else rows_of, (weight, input), (padding_idx, scale_grad_by_freq))


@kernel
def shorten(w: "*T", at: "*i8", seen: "*u1", bad: "*i8", rows: int, width: int, limit: float, p: float, start: int,
            stop: int):
    """Scale rows at (n,) of w (rows, width) down to norm ``limit``, each once (uint8 seen (rows,)); nothing if one is
    outside, whose position int64 bad (1,) gets."""
    for i in range(start, stop):
        if at[i] < 0 or at[i] >= rows:
            bad[0] = i
            stop = start
    for i in range(start, stop):
        row = at[i] * width
        if seen[at[i]] != 0:
            continue
        seen[at[i]] = 1
        total = 0.0
        for j in range(width):
            v = abs(float(load(w[row + j])))
            total += v * v if p == 2.0 else v if p == 1.0 else v**p
        norm = total ** (1.0 / p)
        if norm > limit:
            scale = limit / (norm + 1e-7)
            for j in range(width):
                w[row + j] = store(load(w[row + j]) * T(scale))


def renormalise(weight, input, max_norm, norm_type):
    """Shorten the rows that will be used to ``max_norm``, in place."""
    from numbagrad.autograd import inplace
    from numbagrad.core.tensor import bump_version
    inplace.check(weight, "embedding_renorm_")
    if weight._strides is not None:
        whole = contiguous_copy(weight.detach())
        renormalise(whole, input, max_norm, norm_type)
        copy_into(weight, whole)
        bump_version(weight)
        return
    at = input.to(dt.int64).contiguous()
    seen = make_zero((weight._shape[0],), storage.kind_of(dt.uint8, weight._kind.device))
    recorder = tape.active() if tape.TAPE else None
    if recorder is not None:
        recorder.buffer(weight), recorder.buffer(at)
    bad = _row.take(weight._kind)
    shorten[weight._kind](weight._ptr, at._ptr, seen._ptr, bad.address, *weight._shape, float(max_norm), float(norm_type),
                                0, at._n)
    bad.check()
    bump_version(weight)


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
    if num_classes == -1:
        low, high = (int(REGISTRY[f"a{m}"].callable(tensor).item()) for m in ("min", "max"))
        if low < 0:
            _report_class(0)
        num_classes = high + 1
    places = tensor if tensor._strides is None else contiguous_copy(tensor)
    if num_classes < 1:
        _report_class(0 if int(REGISTRY["amin"].callable(tensor).item()) < 0 else 1)
    out = tensor.new_zeros((*tensor._shape, num_classes))
    bad = _class.take(places._kind)
    ones[places._kind](places._ptr, out._ptr, num_classes, bad.address, 0, places._n)
    bad.check()
    return out


def _report_class(kind):
    raise RuntimeError("Class values must be smaller than num_classes." if kind else "Class values must be non-negative.")


_class = tape.Flag(_report_class)


@kernel
def ones(at: "*T", y: "*T", classes: int, bad: "*i8", start: int, stop: int):
    """A one in y (n, classes) at every index of at (n,); int64 bad (1,) becomes 0 for a negative one, 1 for one too large."""
    for i in range(start, stop):
        if at[i] < 0:
            bad[0] = 0
        elif at[i] >= classes:
            if bad[0] < 0:
                bad[0] = 1
        else:
            y[i * classes + at[i]] = 1
