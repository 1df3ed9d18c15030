"""``unfold`` and ``fold``: sliding blocks of an image as columns, and their sum back."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.tensor import numel
from numbagrad.dispatch.custom import invoke
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel import threads

from . import column_product, kernels

SPACES = {"namespaces": ("nn.functional",), "method": False}
# Replaced by each specialisation, as in ``kernels.py``.
ptr = ptr_i8 = gather = scatter = fill = None
SIZE = 0


def columns(table, start, stop):
    """Columns (at y) of planes start to stop of x, each as a sample of one channel."""
    t = ptr_i8(table)
    plane, wide = t[11] * t[12] * t[13], t[14] * t[15] * t[16] * t[17] * t[18] * t[19]
    for n in range(start, stop):
        gather(ptr(t[0] + SIZE * n * t[9] * plane), ptr(t[3] + SIZE * n * t[9] * wide), t)


def uncolumns(table, start, stop):
    """The sum of columns back into planes start to stop of x."""
    t = ptr_i8(table)
    plane, wide = t[11] * t[12] * t[13], t[14] * t[15] * t[16] * t[17] * t[18] * t[19]
    for n in range(start, stop):
        fill(ptr(t[0] + SIZE * n * t[9] * plane), t[9] * plane)
        scatter(ptr(t[3] + SIZE * n * t[9] * wide), ptr(t[0] + SIZE * n * t[9] * plane), t)


def _launch(fn, image, cols, result, geometry):
    kernel, size, stride, padding, dilation = geometry
    if not result._kind.cpu:
        one = (1,)
        run = column_product.to_columns if fn is columns else column_product.from_columns
        return run(image, cols, one + image._shape[-2:], one + kernel, one + size, one + stride, (0, *padding), one + dilation)
    h, w = image._shape[-2:]
    n = numel(image._shape[:-2])
    table = np.array((image._ptr, 0, 0, cols._ptr, 0, 0, 1, n, 1, 1, 1, 1, h, w, 1, *kernel, 1, *size, 1, *stride, 0,
                      *padding, 1, *dilation), np.int64)
    grain = threads.LIMIT[0] // 2 * n // (image._n + cols._n) + 1
    return threads.parallel_for(kernels.native(fn, result._kind.dtype.code), table, n, grain, (0, 3))


@custom(private=True, joins=True, node="Im2ColBackward0", reference=None)
def to_columns(input, geometry: tuple):
    """Blocks of ``input (*, c, h, w)`` as ``(*, c kh kw, blocks)``."""
    kernel, size = geometry[:2]
    return (*input._shape[:-3], input._shape[-3] * numel(kernel), numel(size)), input._kind


@to_columns.cpu
def _(out, input, geometry):
    if out._n:
        _launch(columns, input, out, out, geometry)


@to_columns.gradient
def _(g, shape, geometry):
    return from_columns(g, geometry, shape[-2:])


@custom(private=True, joins=True, node="Col2ImBackward0", reference=None)
def from_columns(input, geometry: tuple, size: tuple):
    """Sum of the blocks ``(*, c kh kw, blocks)`` at their places in images of spatial shape ``size``."""
    return (*input._shape[:-2], input._shape[-2] // numel(geometry[0]), *size), input._kind


@from_columns.cpu
def _(out, input, geometry, size):
    if out._n:
        _launch(uncolumns, out, input, out, geometry)


@from_columns.gradient
def _(g, geometry):
    return to_columns(g, geometry)


def _pairs(name, value, n=2):
    if isinstance(value, int):
        return (value,) * n
    value = tuple(int(v) for v in value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        raise RuntimeError(f"It is expected {name} equals to {n}, but got size {len(value)}")
    return value


def _geometry(kernel_size, dilation, padding, stride):
    kernel, dilation, padding, stride = (_pairs(name, v) for name, v in (
        ("kernel_size", kernel_size), ("dilation", dilation), ("padding", padding), ("stride", stride)))
    for name, what, v in (("kernel size", "kernel", kernel), ("dilation", "dilation", dilation), ("stride", "stride", stride)):
        if min(v) <= 0:
            raise RuntimeError(f"{name} should be greater than zero, but got {what}_height: {v[0]} {what}_width: {v[1]}")
    if min(padding) < 0:
        raise RuntimeError(f"padding should be non-negative, but got pad_height: {padding[0]} pad_width: {padding[1]}")
    return kernel, dilation, padding, stride


def _blocks(size, kernel, dilation, padding, stride):
    return tuple([(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, d, p, t in zip(size, kernel, dilation, padding, stride)])


def _unfold_reference(x, kernel_size, dilation=1, padding=0, stride=1):
    kernel, dilation, padding, stride = _geometry(kernel_size, dilation, padding, stride)
    oh, ow = _blocks(x.shape[-2:], kernel, dilation, padding, stride)
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p) for p in padding])
    rows = [x[..., i * dilation[0]:i * dilation[0] + (oh - 1) * stride[0] + 1:stride[0],
              j * dilation[1]:j * dilation[1] + (ow - 1) * stride[1] + 1:stride[1]]
            for i in range(kernel[0]) for j in range(kernel[1])]
    return np.stack(rows, -3).reshape(*x.shape[:-3], -1, oh * ow)


@function(name="im2col", aliases=("unfold",), reference=_unfold_reference, **SPACES,
          samples=(Sample((2, 3, 4, 5), 2), Sample((3, 6, 5), (2, 3), 2, 1, (2, 1))))
def im2col(input, kernel_size: object, dilation: object = 1, padding: object = 0, stride: object = 1):
    """Sliding blocks of ``(n, c, h, w)`` as columns ``(n, c kh kw, number of blocks)``."""
    key = known("im2col", input, kernel_size, dilation, padding, stride)
    found = _known.get(key)
    if found is not None:
        return to_columns.call(input, found)
    kernel, dilation, padding, stride = _geometry(kernel_size, dilation, padding, stride)
    shape = input._shape
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        if len(shape) < 3:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-len(shape)}, {len(shape) - 1}], but got "
                             f"{len(shape)})")
        raise RuntimeError("Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions "
                           f"for input, but got: {list(shape)}")
    size = _blocks(shape[-2:], kernel, dilation, padding, stride)
    if min(size) < 1:
        def show(v):
            return f"({', '.join(map(str, v))})"
        raise RuntimeError(f"Given input with spatial size {show(shape[-2:])}, kernel_size={show(kernel)}, dilation="
                           f"{show(dilation)}, padding={show(padding)}, calculated shape of the array of sliding blocks as "
                           f"{show(size)}, but its components must be at least one.")
    kind, geometry = input._kind, (kernel, size, stride, padding, dilation)
    if kind.dtype.category == 1:
        raise NotImplementedError(f"\"im2col\" not implemented for '{dt.scalar_name(kind.dtype)}'")
    if kind.dtype is dt.bool_:
        return invoke(to_columns, (input.to(dtype=dt.float32),), (geometry,)).to(dtype=kind.dtype)
    if key is not None:
        _known[key] = geometry
    return to_columns.call(input, geometry)


_known: dict = {}  # what calls were found to mean


def known(name, input, *sizes):
    """What tells calls apart whose sizes are ints or tuples of them, on tensors that need no conversion; None for others."""
    for v in sizes:
        if v.__class__ is not int:
            if v.__class__ is not tuple:
                return None
            for x in v:
                if x.__class__ is not int:
                    return None
    if len(_known) >= 1024:
        _known.clear()
    return None if input._kind.dtype is dt.bool_ else (name, input._kind, input._shape, sizes)


def _fold_reference(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    kernel, dilation, padding, stride = _geometry(kernel_size, dilation, padding, stride)
    oh, ow = _blocks(output_size, kernel, dilation, padding, stride)
    x = x.reshape(*x.shape[:-2], -1, *kernel, oh, ow)
    out = np.zeros((*x.shape[:-4], *[s + 2 * p for s, p in zip(output_size, padding)]))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            out[..., i * dilation[0]:i * dilation[0] + (oh - 1) * stride[0] + 1:stride[0],
                j * dilation[1]:j * dilation[1] + (ow - 1) * stride[1] + 1:stride[1]] += x[..., i, j, :, :]
    return out[..., padding[0]:padding[0] + output_size[0], padding[1]:padding[1] + output_size[1]]


@function(reference=_fold_reference, **SPACES,
          samples=(Sample((2, 12, 12), (4, 5), 2), Sample((12, 8), (6, 5), (2, 3), 1, 1, (2, 4))))
def fold(input, output_size: object, kernel_size: object, dilation: object = 1, padding: object = 0,
         stride: object = 1):
    """Columns ``(n, c kh kw, blocks)`` summed at their places in images ``(n, c, *output_size)``: ``unfold``'s gradient."""
    key = known("fold", input, kernel_size, dilation, padding, stride, output_size)
    found = _known.get(key)
    if found is not None:
        return from_columns.call(input, *found)
    kernel, dilation, padding, stride = _geometry(kernel_size, dilation, padding, stride)
    size = _pairs("output_size", output_size)
    shape = input._shape
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError("Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero "
                           f"dimensions for input, but got: {list(shape)}")

    def show(v):
        return f"({', '.join(map(str, v))})"
    if shape[-2] % numel(kernel):
        raise RuntimeError("Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
                           f"input.size(1)={shape[-2]} and kernel_size={show(kernel)}.")
    blocks = _blocks(size, kernel, dilation, padding, stride)
    if numel(blocks) != shape[-1] or min(blocks) < 1:
        raise RuntimeError(f"Given output_size={show(size)}, kernel_size={show(kernel)}, dilation={show(dilation)}, padding="
                           f"{show(padding)}, stride={show(stride)}, expected size of input's dimension 2 to match the "
                           f"calculated number of sliding blocks {blocks[0]} * {blocks[1]} = {numel(blocks)}, but got "
                           f"input.size(2)={shape[-1]}.")
    kind = input._kind
    if kind.dtype.category == 1:
        raise NotImplementedError(f"\"col2im\" not implemented for '{dt.scalar_name(kind.dtype)}'")
    if kind.dtype is dt.bool_:  # a sum of bools: whether there is one
        input = input.to(dtype=dt.float32)
        return invoke(from_columns, (input,), ((kernel, blocks, stride, padding, dilation), size)).to(dtype=kind.dtype)
    geometry = kernel, blocks, stride, padding, dilation
    if key is not None:
        _known[key] = geometry, size
    return from_columns.call(input, geometry, size)
