"""Unpooling: values put back where the maxima of a pool lay, zeros elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core.tensor import numel
from numbagrad.dispatch.custom import CustomNode, invoke
from numbagrad.extend import Sample, T, Tensor, custom, function, kernel, store
from numbagrad.kernel import tape

from ..product.gemm import node_class, reshape
from .pool import SPACES, from_places


def _outside(index, height, width, depth):
    sizes = f"{height}x{width}" if depth < 0 else f"{depth}x{height}x{width}"
    raise RuntimeError(f"Found an invalid max index: {index} (output volumes are of size {sizes})")


_places = tape.Flag(lambda _, index, *size: _outside(index, *size), 5)


@kernel
def put_planes(x: "*T", where: "*i8", y: "*T", found: "*i8", inputs: int, d: int, h: int, w: int, start: int, stop: int):
    """Elements of x (planes, inputs) at the places int64 where (planes, inputs) of zeros, into y (planes, h * w, or d * h * w
    unless d is -1); the first place out of range into int64 found (5,), after a 1 and before the sizes."""
    outputs = h * w if d < 0 else d * h * w
    for plane in range(start, stop):
        for i in range(plane * outputs, (plane + 1) * outputs):
            y[i] = store(T(0))
        for i in range(plane * inputs, (plane + 1) * inputs):
            p = where[i]
            if p >= 0 and p < outputs:
                y[plane * outputs + p] = x[i]
            elif found[0] < 1:
                found[0] = 1
                found[1] = p
                found[2] = h
                found[3] = w
                found[4] = d


@custom(private=True, node="MaxUnpool2DBackward0", reference=None)
def unpooled(input, indices, size: tuple):
    """Planes of zeros of ``size`` with the elements of ``input`` at the places ``indices``, the last where several meet."""
    return (*input._shape[:-len(size)], *size), input._kind


@unpooled.cpu
def _(out, input, indices, size):
    if out._n or input._n:
        n = len(size)
        words = _places.take(out._kind)
        d, h, w = (-1, *size) if n == 2 else size
        put_planes.run(out._kind, (input._ptr, indices._ptr, out._ptr, words.address, numel(input._shape[-n:]), d, h, w),
                       numel(input._shape[:-n]), max(out._n, input._n))
        words.check()


@unpooled.gradient
def _(g, indices, size):
    return from_places(g, indices, len(size)), None


NODE_3D = node_class("MaxUnpool3DBackward0", CustomNode, unpooled)


# --- the public functions ---

def _each(value, n):
    return tuple(value) if isinstance(value, Iterable) else (value,) * n


def _output_size(name, shape, kernel, stride, padding, output_size):
    """The size of the output; ValueError unless a pool could have made the input of it."""
    n = len(kernel)
    if len(shape) < n:
        raise IndexError(f"an input of {len(shape)} dimensions has no {n} to unpool")
    usual = [(shape[d - n] - 1) * stride[d] + kernel[d] - 2 * padding[d] for d in range(n)]
    if output_size is None:
        found = usual
    else:
        output_size = _each(output_size, n)
        if len(output_size) == n + 2:
            output_size = output_size[2:]
        if len(output_size) != n:
            raise ValueError(f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
                             f"'{len(output_size)}'")
        for d, (size, step) in enumerate(zip(usual, stride)):
            if not size - step < output_size[d] < size + step:
                raise ValueError(f"invalid output_size \"{output_size}\" (dim {d} must be between {size - step} and "
                                 f"{size + step})")
        found = output_size
    for d in range(n):
        if found[d] < 0:
            raise ValueError("max_unpooling: output_size must contain non-negative spatial dimensions, but got "
                             f"output_size[{d}]={found[d]}")
    return arguments.check_list_of_ints(list(found), name, "output_size", 3)


def _check(input, indices, n, stride):
    """PyTorch's complaints about an input of ``n`` spatial dimensions, in its order."""
    shape = input._shape
    if indices._kind.dtype is not dt.int64:
        got = f" but got: {dt.scalar_name(indices._kind.dtype)}" if n == 2 else ""
        raise RuntimeError(f"elements in indices should be type int64{got}")
    if len(shape) not in (n + 1, n + 2):
        raise RuntimeError(f"Input to max_unpooling{n}d should be a {n + 1}d or {n + 2}d Tensor, but got a tensor with "
                           f"{len(shape)} dimensions.")
    if indices._shape != shape:
        raise RuntimeError(f"Expected shape of indices to be same as that of the input tensor ({list(shape)}) but got indices "
                           f"tensor with shape: {list(indices._shape)}")
    if n == 3 and min(stride) <= 0:
        raise RuntimeError(f"strides should be greater than zero, but got stride: {list(stride)}")
    for i in range(1 if n == 2 or len(shape) == 5 else 0, len(shape)):
        if not shape[i]:
            raise RuntimeError(f"max_unpooling{n}d_forward_out_cpu(): Expected input to have non-zero size for non-batch "
                               f"dimensions, but got {list(shape)} with dimension {i} being empty.")
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"max_unpool{n}d\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")


def _reference(n):
    def reference(x, indices, kernel_size, stride=None, padding=0, output_size=None):
        kernel = _each(kernel_size, n)
        stride = _each(stride, n) if stride is not None else kernel
        size = _output_size("", x.shape, kernel, stride, _each(padding, n), output_size)
        planes = x.reshape(-1, *x.shape[-n:])
        out = np.zeros((len(planes), int(np.prod(size))))
        np.put_along_axis(out, np.asarray(indices).reshape(len(planes), -1), planes.reshape(len(planes), -1), 1)
        return out.reshape(*x.shape[:-n], *size)
    return reference


def _max_unpool(n, samples):
    name = f"max_unpool{n}d"

    def unpool(input, indices, kernel_size: object, stride: object = None, padding: object = 0, output_size: object = None):
        if not isinstance(input, Tensor):
            raise AttributeError(f"'{type(input).__name__}' object has no attribute 'size'")
        kernel = _each(kernel_size, n)
        stride = kernel if stride is None else _each(stride, n)
        size = _output_size(f"max_unpool{max(n, 2)}d", input._shape, kernel, stride, _each(padding, n), output_size)
        if not isinstance(indices, Tensor):
            raise arguments.wrong(indices, "Tensor", f"max_unpool{max(n, 2)}d", "indices", 2)
        if n > 1:
            _check(input, indices, n, stride)
            return invoke(unpooled, (input, indices), (size,), NODE_3D if n == 3 else None)
        wide = reshape(input, (*input._shape, 1)), reshape(indices, (*indices._shape, 1))
        _check(*wide, 2, stride)
        return unpooled(*wide, (*size, 1)).squeeze(-1)
    unpool.__name__ = unpool.__qualname__ = name
    unpool.__doc__ = (f"The elements of ``input`` at the places ``indices`` that ``max_pool{n}d`` returned for such a window, "
                      "zeros elsewhere.\n\n``output_size`` says which of the possible sizes the pool's input had.")
    return function(unpool, kinds=dict.fromkeys(("kernel_size", "stride", "padding", "output_size"), "any"),
                    reference=_reference(n), samples=samples, **SPACES)


max_unpool1d = _max_unpool(1, (Sample((2, 2, 3), np.array([[[1, 2, 5], [0, 3, 4]]] * 2), 2),
                               Sample((2, 2), np.array([[1, 4], [0, 3]]), 3, 2, 0, (5,))))
max_unpool2d = _max_unpool(2, (Sample((1, 2, 2, 2), np.array([[[[0, 3], [9, 14]], [[5, 2], [12, 15]]]]), 2),
                               Sample((1, 2, 2), np.array([[[0, 3], [9, 14]]]), 2, output_size=(5, 5))))
max_unpool3d = _max_unpool(3, (Sample((1, 1, 1, 2, 2), np.array([[[[[0, 7], [24, 30]]]]]), 2),))
