"""Repeating, reversing and turning: repeat, tile, repeat_interleave, flip, roll, rot90."""

from __future__ import annotations

import itertools

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.copying import contiguous_copy, copy_into, row_major
from numbagrad.core.tensor import contiguous_strides, is_contiguous, make, raw
from numbagrad.extend import Sample, Tensor, custom, function
from numbagrad.kernel import tape
from numbagrad.kernel.jit import kernel

from ..index.kernels import moved
from ..view.dims import transpose
from ..view.shape import numbers, reshaped, view_shape
from ..view.slicing import region

# --- repeating --------------------------------------------------------------------------------------------------------

@custom(private=True, contiguous=False, node="RepeatBackward0", dtypes="any", reference=np.tile,
        samples=(Sample((2, 3), [2, 1, 2]),))
def repeated(input, repeats: tuple):
    """Copies of the tensor side by side."""
    shape = (1,) * (len(repeats) - len(input._shape)) + input._shape
    return tuple([a * b for a, b in zip(shape, repeats)]), input._kind


@repeated.cpu
def _(out, input, repeats):
    lead = len(repeats) - len(input._shape)
    shape = (1,) * lead + input._shape
    strides = (0,) * lead + (input._strides or contiguous_strides(input._shape))
    sizes, steps = [], []
    for r, n, k in zip(repeats, shape, strides):
        sizes += [r, n]
        steps += [0, k]
    if out._n:
        view = raw(input._buf, input._ptr, out._n, tuple(sizes), tuple(steps), input._kind, input._ver)
        copy_into(raw(out._buf, out._ptr, out._n, tuple(sizes), None, out._kind, out._ver), view)


@repeated.gradient
def _(g, shape, repeats):
    if 0 in repeats:
        return g.new_zeros(shape)
    full = (1,) * (len(repeats) - len(shape)) + shape
    pairs = [s for pair in zip(repeats, full) for s in pair]
    return reshaped(g, tuple(pairs)).sum(tuple(range(0, len(pairs), 2))).reshape(shape)


@function(namespaces=(), dtypes="any", reference=np.tile, samples=(Sample((2, 3), [2, 1, 2]), Sample((3,), [0])))
def repeat(input, *repeats):
    """Copies of the tensor side by side, ``repeats[d]`` along dimension ``d``."""
    repeats = arguments.check_list_of_ints(numbers("repeat", repeats, "repeats"), "repeat", "repeats", 1)
    lead = len(repeats) - len(input._shape)
    if lead < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = [a * b for a, b in zip((1,) * lead + input._shape, repeats)]
    for s in shape:
        if s < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {s}: {shape}")
    return repeated.call(input, repeats)


@function(dtypes="any", reference=np.tile, samples=(Sample((2, 3), [2]), Sample((2, 3), [2, 1, 2])))
def tile(input, *dims):
    """Copies of the tensor side by side; missing repeats are ones."""
    dims = numbers("tile", dims, "dims")
    return repeat.fn(input, (1,) * (len(input._shape) - len(dims)) + dims)


@custom(private=True, contiguous=False, node="CloneBackward0", dtypes="any", reference=None)
def interleaved(input, repeats: int, dim: int = None):
    """The tensor with a dimension of equal slices behind ``dim`` (without one, each element of a row so)."""
    shape = input._shape
    return (input._n, repeats) if dim is None else (*shape[:dim + 1], repeats, *shape[dim + 1:]), input._kind


@interleaved.cpu
def _(out, input, repeats, dim):
    t = row_major(input) if dim is None else input
    strides = (1, 0) if dim is None else t._strides or contiguous_strides(t._shape)
    if dim is not None:
        strides = (*strides[:dim + 1], 0, *strides[dim + 1:])
    if out._n:
        copy_into(out, raw(t._buf, t._ptr, out._n, out._shape, strides, t._kind, t._ver))


@interleaved.gradient
def _(g, shape, repeats, dim):
    return reshaped(g.sum(1), shape) if dim is None else g.sum(dim + 1)


@function(kinds={"output_size": "int"}, dtypes="any", reference=lambda a, n, dim=None: np.repeat(a, n, dim),
          samples=(Sample((2, 3), 2), Sample((2, 3), 2, 1), Sample((2, 3), ("int64", (2,), 0, 3), 0)))
def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each element (each slice along ``dim``) repeated ``repeats`` times in place."""
    from ..index.plans import as_index
    from ..index.select_put import index_select
    if repeats is None:
        if dim is not None:
            raise TypeError("repeat_interleave() received an invalid combination of arguments: dim goes with repeats")
        return _counted(as_index(input), output_size)
    if not isinstance(repeats, Tensor):
        at = None if dim is None else wrap_dim(dim, len(input._shape))
        if repeats.__class__ is not int:
            repeats = arguments.check_int(repeats, "repeat_interleave", "repeats", 2)
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        size = (input._n if at is None else input._shape[at]) * repeats
        if output_size is not None and output_size != size:
            raise RuntimeError(f"repeat_interleave: Invalid output_size, expected {size} but got {output_size}")
        shape = input._shape
        return view_shape.call(interleaved.call(input, repeats, at), (size,) if at is None else (
            *shape[:at], size, *shape[at + 1:]))
    if dim is None:
        input, dim = reshaped(input, (input._n,)), 0
    dim = wrap_dim(dim, len(input._shape))
    if repeats._kind.dtype not in (dt.int64, dt.int32):
        raise RuntimeError("repeats has to be Long or Int tensor")
    if repeats._n == 1:
        if output_size not in (None, input._shape[dim] * int(repeats.item())):
            raise RuntimeError(OTHER_SIZE)
        return repeat_interleave.fn(input, int(repeats.item()), dim)
    if len(repeats._shape) > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if repeats._n != input._shape[dim]:
        raise RuntimeError("repeats must have the same size as input along dim, but got repeats.size(0) = "
                           f"{repeats._n} and input.size({dim}) = {input._shape[dim]}")
    return index_select.fn(input, dim, _counted(as_index(repeats), output_size))


OTHER_SIZE = "allocated size does not match required size"


def _counted(counts, output_size):
    """0, 1, 2 ... each as often as ``counts``, contiguous int64, says."""
    if output_size is None:
        output_size = int(np.maximum(counts.cpu().array(), 0).sum())
    return numbered.call(counts, output_size)


@kernel
def number_runs(counts: "*i8", out: "*i8", n: int, size: int, bad: "*i8", start: int, stop: int):
    """Each number as often as counts (n,) says, into out (size,); bad (1,) becomes 1 for a negative count, 2 for another sum
    than ``size``; all are int64."""
    k, low = 0, 0
    for i in range(n):
        low = min(low, counts[i])
        for _ in range(counts[i]):
            if k < size:
                out[k] = i
            k += 1
    if low < 0:
        bad[0] = 1
    elif k != size:
        bad[0] = 2


def _refuse_runs(kind):
    raise RuntimeError("repeats can not be negative" if kind == 1 else OTHER_SIZE)


_runs = tape.Flag(_refuse_runs)


@custom(private=True, reference=None, dtypes="int", differentiable=False)
def numbered(counts, size: int):
    """0, 1, 2 ... each as often as ``counts`` says, ``size`` numbers in all."""
    return (size,), counts._kind


@numbered.cpu
def _(out, counts, size):
    bad = _runs.take(counts._kind)
    number_runs[counts._kind](counts._ptr, out._ptr, counts._n, size, bad.address, 0, 1)
    bad.check()


# --- reversing and turning --------------------------------------------------------------------------------------------

@kernel
def reverse_rows(x: "*T", out: "*T", n: int, start: int, stop: int):
    """Rows of x (rows, n) from their ends, into out (rows, n)."""
    for row in range(start, stop):
        a = row * n
        for i in range(n):
            out[a + i] = x[a + n - 1 - i]


@custom(private=True, contiguous=False, node="FlipBackward0", dtypes="any", reference=np.flip,
        samples=(Sample((2, 3), [0, 1]),))
def flipped(input, dims: tuple):
    """The order of elements reversed along some dimensions."""
    return input._shape, input._kind


@flipped.cpu
def _(out, input, dims):
    if out._n == 0:
        return
    shape = input._shape
    if input._strides is None and dims == (len(shape) - 1,):
        reverse_rows.run(moved(input._kind), (input._ptr, out._ptr, shape[-1]), out._n // shape[-1], out._n)
        return
    strides = input._strides or contiguous_strides(shape)
    offset = sum([(shape[d] - 1) * strides[d] for d in dims])
    steps = tuple([-k if d in dims else k for d, k in enumerate(strides)])
    copy_into(out, raw(input._buf, input._ptr + offset * input._kind.itemsize, out._n, shape, steps, input._kind, [0]))


@flipped.gradient
def _(g, dims):
    return flipped.call(g, dims)


@function(dtypes="any", reference=np.flip, samples=(Sample((2, 3), [0]), Sample((2, 3, 4), [0, -1])))
def flip(input, *dims):
    """The order of elements reversed along the given dimensions (a copy)."""
    dims = numbers("flip", dims, "dims")
    wrapped = tuple([wrap_dim(d, len(input._shape)) for d in dims])
    for d in wrapped:
        if wrapped.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return flipped.call(input, wrapped if input._shape else ())


@function(dtypes="any", reference=np.fliplr, samples=(Sample((2, 3)),))
def fliplr(input):
    """Columns in reverse order."""
    if len(input._shape) < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flipped.call(input, (1,))


@function(dtypes="any", reference=np.flipud, samples=(Sample((2, 3)),))
def flipud(input):
    """Rows in reverse order."""
    if not input._shape:
        raise RuntimeError("Input must be >= 1-d.")
    return flipped.call(input, (0,))


@custom(private=True, contiguous=False, node="RollBackward0", dtypes="any", reference=np.roll,
        samples=(Sample((4, 3), (1, 2), (0, 1)),))
def rolled(input, shifts: tuple, dims: tuple):
    """Elements moved cyclically along dimensions."""
    return input._shape, input._kind


@rolled.cpu
def _(out, input, shifts, dims):
    """Copies of the blocks between the places where dimensions begin anew. No dimension: all elements in a row."""
    if not dims:
        dims, shape = (0,), (input._n,)
        input = input if input._strides is None else contiguous_copy(input)
        input = raw(input._buf, input._ptr, input._n, shape, None, input._kind, input._ver)
        out = raw(out._buf, out._ptr, out._n, shape, None, out._kind, out._ver)
    if not out._n or not out._shape:
        return copy_into(out, input)
    moves = {}
    for shift, dim in zip(shifts, dims):
        moves[dim] = (moves.get(dim, 0) + shift) % out._shape[dim]
    moves = [(dim, shift) for dim, shift in moves.items() if shift]
    while len(moves) > ONCE:
        target = make(out._shape, out._kind)
        move_blocks(target, input, moves[:ONCE])
        input, moves = target, moves[ONCE:]
    move_blocks(out, input, moves)


ONCE = 4  # dimensions that blocks are cut along at once: their number doubles with each


def move_blocks(out, input, moves):
    """Copy the blocks of ``input`` that remain whole if dimensions are moved by so many elements."""
    strides, own = contiguous_strides(out._shape), input._strides or contiguous_strides(input._shape)
    halves = [((0, k, out._shape[dim] - k), (out._shape[dim] - k, 0, k)) for dim, k in moves]
    for block in itertools.product(*halves):
        shape, source, target = list(out._shape), 0, 0
        for (dim, _), (a, b, size) in zip(moves, block):
            shape[dim], source, target = size, source + a * own[dim], target + b * strides[dim]
        copy_into(region(out, tuple(shape), strides, target), region(input, tuple(shape), own, source))


@rolled.gradient
def _(g, shifts, dims):
    return rolled.call(g, tuple([-s for s in shifts]), dims)


@function(kinds={"dims": "ints?"},
          dtypes="any", reference=np.roll, samples=(Sample((4, 3), 1), Sample((4, 3), 5, 0), Sample((4, 3), [1, -1], [0, 1])))
def roll(input, shifts, dims=()):
    """Elements moved cyclically by ``shifts`` along ``dims``; without ``dims`` over all elements in a row."""
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = (dims,) if isinstance(dims, int) else tuple(dims or ())
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return rolled.call(input, shifts, ())
    if len(dims) != len(shifts):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if not input._shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return rolled.call(input, shifts, tuple([wrap_dim(d, len(input._shape)) for d in dims]))


@custom(private=True, contiguous=False, node="Rot90Backward0", dtypes="any", reference=None)
def turned(input, back: tuple, swap: tuple):
    """Elements in reverse order along ``back``; two dimensions of the result are then swapped, which the gradient knows."""
    return input._shape, input._kind


@turned.cpu
def _(out, input, back, swap):
    flipped.cpu_launch(out, input, back)


@turned.gradient
def _(g, back, swap):
    return flipped.call(transpose.call(g, *swap) if swap else g, back)


@function(kinds={"dims": "list of ints"}, dtypes="any", reference=lambda a, k=1, dims=(0, 1): np.rot90(a, k, dims),
          samples=(Sample((2, 3)), Sample((2, 3), 2), Sample((2, 3, 4), 3, [1, 2])))
def rot90(input, k=1, dims=(0, 1)):
    """The plane of two dimensions turned by ``k`` quarter turns."""
    n = len(input._shape)
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == n:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    a, b = wrap_dim(dims[0], n), wrap_dim(dims[1], n)
    k %= 4
    if not k:
        return input.clone()
    if k == 2:
        return turned.call(input, (a, b), ())
    out = turned.call(input, (b,) if k == 1 else (a,), (a, b))
    # As in PyTorch, the copy lies in the order of the input and is seen with the two dimensions swapped.
    shape, strides = list(out._shape), list(contiguous_strides(out._shape))
    shape[a], shape[b], strides[a], strides[b] = shape[b], shape[a], strides[b], strides[a]
    out._shape, out._strides = tuple(shape), None if is_contiguous(shape, strides) else tuple(strides)
    return out
