"""Convolutions: three private ops that are each other's gradients, and the public functions over them."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.copying import copy_into, set_all
from numbagrad.core.tensor import make, numel
from numbagrad.dispatch.custom import invoke
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function, load, store
from numbagrad.kernel.jit import kernel

from ..product.gemm import reshape
from ..product.product import BLAS_CODES, converted
from ..view.shape import expand, view
from . import column_product, kernels


def _run(fn, result, x, w, b, y, geometry):
    """Launch a product in the type it computes in; ``result`` is the one of x, w, y that is written."""
    d = result._kind.dtype
    if d.code in BLAS_CODES and not result._kind.cpu:
        getattr(column_product, fn.__name__)(x, w, b, y, geometry)
        if b is not None:
            _add_bias(y, b)
        return None
    if d.code in BLAS_CODES:
        return kernels.launch(fn, x, w, 0 if b is None else b._ptr, y, geometry)
    if d.category < 2:
        return _integers(fn, x, w, b, y, geometry)
    kind = storage.kind_of(dt.float32, result._kind.device)
    wide = [make(t._shape, kind) if t is result else converted(t, kind) for t in (x, w, y)]
    to = wide[0] if result is x else wide[1] if result is w else wide[2]
    _run(fn, to, *wide[:2], None if b is None else converted(b, kind), wide[2], geometry)
    return copy_into(result, wide[0] if result is x else wide[1] if result is w else wide[2])


@kernel
def direct(x: "*T", w: "*T", y: "*T", t: "*i8", start: int, stop: int):
    """Integer convolution of samples start to stop of x (N, groups c, d, h, w) with w (groups o, c, kd, kh, kw), added to y
    (N, groups o, od, oh, ow); int64 t (21,) holds these sizes, strides, padding and dilation."""
    groups, c, o, d, h, wd = t[0], t[1], t[2], t[3], t[4], t[5]
    kd, kh, kw, od, oh, ow = t[6], t[7], t[8], t[9], t[10], t[11]
    for item in range(start * groups, stop * groups):
        g = item % groups
        for f in range(o):
            for z in range(od):
                for r in range(oh):
                    for e in range(ow):
                        q = (((item * o + f) * od + z) * oh + r) * ow + e
                        acc = T(y[q])
                        for ch in range(c):
                            for i in range(kd):
                                for j in range(kh):
                                    for k in range(kw):
                                        iz = z * t[12] + i * t[18] - t[15]
                                        iy = r * t[13] + j * t[19] - t[16]
                                        ix = e * t[14] + k * t[20] - t[17]
                                        if 0 <= iz < d and 0 <= iy < h and 0 <= ix < wd:
                                            a = x[(((item * c + ch) * d + iz) * h + iy) * wd + ix]
                                            v = w[((((g * o + f) * c + ch) * kd + i) * kh + j) * kw + k]
                                            acc = T(acc + T(a * v))
                        y[q] = acc


def _integers(fn, x, w, b, y, geometry):
    d = y._kind.dtype
    if fn is not kernels.output or d.category == 0:
        raise NotImplementedError(f"\"slow_conv2d_cpu\" not implemented for '{dt.scalar_name(d)}'")
    groups, stride, padding, dilation = geometry
    three = kernels._three
    y.array()[:] = 0 if b is None else b.array().reshape(-1, *[1] * (len(y._shape) - 2))
    table = np.array((groups, x._shape[1] // groups, w._shape[0] // groups, *three(x._shape[2:]), *three(w._shape[2:]),
                      *three(y._shape[2:]), *stride, *padding, *dilation), np.int64)
    direct[d](x._ptr, w._ptr, y._ptr, storage.address(table), 0, x._shape[0])


def _geometry(stride, padding, dilation, groups):
    n = len(stride)
    return groups, (1,) * (3 - n) + stride, (0,) * (3 - n) + padding, (1,) * (3 - n) + dilation


# --- the three ops ---

@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 3, 6), (4, 3, 3), (4,), (1,), (0,), (1,), 1, (4,)),
                 Sample((2, 4, 5, 6), (6, 2, 3, 2), None, (2, 1), (1, 1), (1, 2), 2, (3, 6))),
        save_for={"input": ("weight",), "weight": ("input",)})
def convolve_output(input, weight, bias=None, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1),
                    groups: int = 1, size: tuple = ()):
    """Convolution of checked arguments; ``size`` is the spatial shape of the result."""
    return (input._shape[0], weight._shape[0], *size), input._kind


@convolve_output.cpu
def _(out, input, weight, bias, stride, padding, dilation, groups, size):
    if out._n:
        _run(kernels.output, out, input, weight, bias, out, _geometry(stride, padding, dilation, groups))


@convolve_output.gradient
def _(g, input, weight, stride, padding, dilation, groups, needs, shapes):
    p, q = shapes[0][2:], shapes[1][2:]
    return (convolve_input(g, weight, None, stride, padding, dilation, groups, p) if needs[0] else None,
            convolve_weight(g, input, stride, padding, dilation, groups, q) if needs[1] else None,
            channel_sum(g) if needs[2] else None)


@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 4, 4), (4, 3, 3), (3,), (1,), (0,), (1,), 1, (6,)),
                 Sample((2, 6, 3, 6), (6, 2, 3, 2), None, (2, 1), (1, 1), (1, 2), 2, (5, 6))),
        save_for={"output": ("weight",), "weight": ("output",)})
def convolve_input(output, weight, bias=None, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1),
                   groups: int = 1, size: tuple = ()):
    """Gradient of ``convolve_output`` by its input of spatial shape ``size``; with a bias, a transposed convolution."""
    return (output._shape[0], weight._shape[1] * groups, *size), output._kind


@convolve_input.cpu
def _(out, output, weight, bias, stride, padding, dilation, groups, size):
    if not out._n:
        return
    if not output._n:
        set_all(out, 0)
    else:
        _run(kernels.input_gradient, out, out, weight, None, output, _geometry(stride, padding, dilation, groups))
    if bias is not None:
        _add_bias(out, bias)


@convolve_input.gradient
def _(g, output, weight, stride, padding, dilation, groups, needs, shapes):
    size, q = shapes[0][2:], shapes[1][2:]
    return (convolve_output(g, weight, None, stride, padding, dilation, groups, size) if needs[0] else None,
            convolve_weight(output, g, stride, padding, dilation, groups, q) if needs[1] else None,
            channel_sum(g) if needs[2] else None)


@custom(private=True, node="ConvolutionBackward0", reference=None, dtypes="any",
        samples=(Sample((2, 4, 4), (2, 3, 6), (1,), (0,), (1,), 1, (3,)),
                 Sample((2, 6, 3, 6), (2, 4, 5, 6), (2, 1), (1, 1), (1, 2), 2, (3, 2))),
        save_for={"output": ("input",), "input": ("output",)})
def convolve_weight(output, input, stride: tuple = (1, 1), padding: tuple = (0, 0), dilation: tuple = (1, 1),
                    groups: int = 1, size: tuple = ()):
    """Gradient of ``convolve_output`` by its weight of spatial shape ``size``."""
    return (output._shape[1], input._shape[1] // groups, *size), output._kind


@convolve_weight.cpu
def _(out, output, input, stride, padding, dilation, groups, size):
    if not output._n or not input._n:
        set_all(out, 0)
    elif out._n:
        _run(kernels.weight_gradient, out, input, out, None, output, _geometry(stride, padding, dilation, groups))


@convolve_weight.gradient
def _(g, output, input, stride, padding, dilation, groups, needs, shapes):
    return (convolve_output(input, g, None, stride, padding, dilation, groups, shapes[0][2:]) if needs[0] else None,
            convolve_input(output, g, None, stride, padding, dilation, groups, shapes[1][2:]) if needs[1] else None)


def _add_bias(y, bias):
    """Add an element per channel to y (n, channels, ...)."""
    add_channels.run(y._kind, (y._ptr, bias._ptr, bias._n, numel(y._shape[2:])), y._shape[0], y._n)


@kernel
def add_channels(y: "*T", b: "*T", channels: int, plane: int, start: int, stop: int):
    """y (N, channels, plane) += b (channels,), in place."""
    for i in range(start * channels, stop * channels):
        add = load(b[i % channels])
        for j in range(i * plane, i * plane + plane):
            y[j] = store(load(y[j]) + add)


@custom(private=True, reference=lambda x: x.sum((0, *range(2, x.ndim))), samples=(Sample((2, 3, 4)), Sample((2, 3, 4, 5))),
        node="SumBackward1")
def channel_sum(input):
    """Sum over all dimensions but the second."""
    return (input._shape[1],), input._kind


@channel_sum.cpu
def _(out, input):
    d = input._kind.dtype
    plane = numel(input._shape[2:])
    if d.code in ("f2", "bf"):
        kind = storage.kind_of(dt.float32, input._kind.device)
        wide = make(out._shape, kind)
        channel_sums(converted(input, kind), wide, plane)
        copy_into(out, wide)
    else:
        channel_sums(input, out, plane)


def channel_sums(x, out, plane):
    if x._n:
        kernels.channel_sums.run(x._kind, (x._ptr, out._ptr, x._shape[0], x._shape[1], plane), x._shape[1], x._n)
    else:
        set_all(out, 0)


@channel_sum.gradient
def _(g, shape):
    return expand(view(g, (shape[1], *[1] * (len(shape) - 2))), shape)


# --- the public functions ---

def _sizes(value, n, what):
    if isinstance(value, int):
        return (value,) * n
    value = tuple(int(v) for v in value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        raise RuntimeError(f"expected {what} to be a single integer value or a list of {n} values to match the convolution "
                           f"dimensions, but got {what}={list(value)}")
    return value


def _tensors(name, **tensors):
    for i, (n, t) in enumerate(tensors.items()):
        if not isinstance(t, Tensor) and not (t is None and n == "bias"):
            raise arguments.wrong(t, "Tensor", name, n, i + 1)


def _checked(name, n, input, weight, bias, stride, padding, dilation, groups, transposed=False):
    """(input with a batch dimension, whether it was added, stride, padding, dilation as tuples)."""
    _tensors(name, input=input, weight=weight, bias=bias)
    shape = input._shape
    if len(shape) not in (n + 1, n + 2):
        raise RuntimeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
                           f"{list(shape)}")
    added = len(shape) == n + 1
    if added:
        input = reshape(input, (1, *shape))
    w = weight._shape
    k = len(w) - 2
    # PyTorch takes the number of spatial dimensions from the weight, and its lists have the function's length.
    stride, dilation = _sizes(_listed(stride, n), k, "stride"), _sizes(_listed(dilation, n), k, "dilation")
    padding = padding if isinstance(padding, str) else _sizes(_listed(padding, n), k, "padding")
    kinds = input._kind, weight._kind
    if kinds[0].device is not kinds[1].device:
        raise RuntimeError(f"Input type ({_tensor_type(kinds[0])}) and weight type ({_tensor_type(kinds[1])}) should be the "
                           "same")
    if bias is not None and bias._kind is not kinds[0]:
        raise RuntimeError(f"Input type ({dt.c_name(kinds[0].dtype)}) and bias type ({dt.c_name(bias._kind.dtype)}) should "
                           "be the same")
    if kinds[0].dtype is not kinds[1].dtype:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(kinds[0].dtype)} but found "
                           f"{dt.scalar_name(kinds[1].dtype)}")
    if not isinstance(padding, str) and min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if 0 in w[2:]:
        raise RuntimeError(f"kernel size should be greater than zero, but got weight of size {list(w)}")
    if w[0] < groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight "
                           f"of size {list(w)} instead")
    if w[0] % groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got "
                           f"weight of size [{list(w)}] instead")
    size = list(input._shape)
    wanted = w[0] if transposed else w[1] * groups
    if size[1] != wanted:
        head = f"Given transposed=1, weight of size {list(w)}" if transposed else (
            f"Given groups={groups}, weight of size {list(w)}")
        raise RuntimeError(f"{head}, expected input{list(shape) if not added else size} to have {wanted} channels, but got "
                           f"{size[1]} channels instead")
    outputs = w[1] * groups if transposed else w[0]
    if bias is not None and bias._shape != (outputs,):
        raise RuntimeError(f"Given {'transposed=1, ' if transposed else ''}weight of size {list(w)}, expected bias to be "
                           f"1-dimensional with {outputs} elements, but got bias of size {list(bias._shape)} instead")
    return input, added, stride, padding, dilation


def _listed(value, n):
    return (value,) * n if isinstance(value, int) else tuple(value)


def _tensor_type(kind):
    return f"torch.{'cuda.' if not kind.cpu else ''}{dt.scalar_name(kind.dtype)}Tensor"


def _times(values):
    return "(" + " x ".join(map(str, values)) + ")"


_known: dict = {}


def _conv(name, n, input, weight, bias, stride, padding, dilation, groups):
    try:
        key = (n, input._kind, input._shape, weight._kind, weight._shape, bias if bias is None else (bias._kind, bias._shape),
               stride, padding, dilation, groups)
        found = _known.get(key)
    except (AttributeError, TypeError):  # no tensor, or a list among the sizes
        key = found = None
    if found is None:
        if isinstance(weight, Tensor) and len(weight._shape) < 3:
            raise RuntimeError(f"{name}(): weight should have at least three dimensions, but got {list(weight._shape)}")
        found = _plan(name, n, input, weight, bias, stride, padding, dilation, groups)
        if key is not None:
            if len(_known) > 4096:
                _known.clear()
            _known[key] = found
    added, params = found
    if added:
        return unbatched(invoke(convolve_output, (reshape(input, (1, *input._shape)), weight, bias), params))
    return invoke(convolve_output, (input, weight, bias), params)


def _plan(name, n, input, weight, bias, stride, padding, dilation, groups):
    """(whether the input lacks its batch dimension, parameters of ``convolve_output``), after all checks."""
    input, added, stride, padding, dilation = _checked(name, n, input, weight, bias, stride, padding, dilation, groups)
    spatial, taps = input._shape[2:], weight._shape[2:]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, taps)]
    if isinstance(padding, str):
        if padding == "valid":
            padding = total = (0,) * n
        elif padding == "same":
            if max(stride) > 1:
                raise RuntimeError("padding='same' is not supported for strided convolutions")
            total = [r - 1 for r in reach]
            padding = tuple([t // 2 for t in total])
        else:
            raise RuntimeError(f"Invalid padding string: '{padding}'")
    else:
        total = [2 * p for p in padding]
    full = [s + t for s, t in zip(spatial, total)]
    if any(f < r for f, r in zip(full, reach)):
        raise RuntimeError(f"Calculated padded input size per channel: {_times(full)}. Kernel size: {_times(reach)}. Kernel "
                           "size can't be greater than actual input size")
    size = tuple([(f - r) // s + 1 for f, r, s in zip(full, reach, stride)])
    return added, (stride, padding, dilation, groups, size)


def unbatched(out):
    return REGISTRY["squeeze"].callable(out, 0)


def _transposed(name, n, input, weight, bias, stride, padding, output_padding, groups, dilation):
    if isinstance(weight, Tensor) and len(weight._shape) < 3:
        raise RuntimeError(f"{name}(): weight should have at least three dimensions, but got {list(weight._shape)}")
    input, added, stride, padding, dilation = _checked(name, n, input, weight, bias, stride, padding, dilation, groups, True)
    extra = _sizes(output_padding, n, "output_padding")
    spatial, taps = input._shape[2:], weight._shape[2:]
    if any(e < 0 for e in extra):
        raise RuntimeError("negative output_padding is not supported")
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation)):
        names = (("depth", "height", "width") if n == 3 else ("height", "width"))
        e, s, d = ((1,) * (2 - n) + v if n == 1 else v for v in (extra, stride, dilation))
        e = (0, *extra) if n == 1 else e
        raise RuntimeError("output padding must be smaller than either stride or dilation, but got " + " ".join(
            f"{what}_{m}: {v}" for what, vs in (("output_padding", e), ("stride", s), ("dilation", d))
            for m, v in zip(names, vs)))
    size = tuple([(i - 1) * s - 2 * p + d * (k - 1) + e + 1
                  for i, s, p, d, k, e in zip(spatial, stride, padding, dilation, taps, extra)])
    if min(size) < 1:
        raise RuntimeError(f"Given input size per channel: {_times(spatial)}. Calculated output size per channel: "
                           f"{_times(size)}. Output size is too small")
    if input._kind.dtype.is_complex:
        weight = REGISTRY["conj"].callable(weight)
    out = invoke(convolve_input, (input, weight, bias), (stride, padding, dilation, groups, size))
    return unbatched(out) if added else out


def _reference(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution of float64 arrays by its definition, one kernel tap at a time."""
    n = w.ndim - 2
    stride, padding, dilation = ((v,) * n if isinstance(v, int) else v for v in (stride, padding, dilation))
    batched = x.ndim == w.ndim
    x = x if batched else x[None]
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    size = [(s - d * (k - 1) - 1) // t + 1 for s, d, k, t in zip(x.shape[2:], dilation, w.shape[2:], stride)]
    out = np.zeros((x.shape[0], w.shape[0], *size), np.result_type(x, w))
    c, o = w.shape[1], w.shape[0] // groups
    for g in range(groups):
        for tap in np.ndindex(*w.shape[2:]):
            cut = tuple(slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, m, s in zip(tap, dilation, size, stride))
            part = x[(slice(None), slice(g * c, (g + 1) * c), *cut)]
            out[:, g * o:(g + 1) * o] += np.einsum("nc...,oc->no...", part, w[(slice(g * o, (g + 1) * o), slice(None), *tap)])
    out = out if b is None else out + b.reshape(-1, *[1] * n)
    return out if batched else out[0]


def _transposed_reference(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of float64 arrays: every input spreads the kernel over the output."""
    n = w.ndim - 2
    stride, padding, dilation, extra = ((v,) * n if isinstance(v, int) else v
                                        for v in (stride, padding, dilation, output_padding))
    full = [(i - 1) * s + d * (k - 1) + e + 1 for i, s, d, k, e in zip(x.shape[2:], stride, dilation, w.shape[2:], extra)]
    out = np.zeros((x.shape[0], w.shape[1] * groups, *full), np.result_type(x, w))
    c, o = w.shape[0] // groups, w.shape[1]
    for g in range(groups):
        for tap in np.ndindex(*w.shape[2:]):
            cut = tuple(slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, m, s in zip(tap, dilation, x.shape[2:], stride))
            out[(slice(None), slice(g * o, (g + 1) * o), *cut)] += np.einsum(
                "nc...,co->no...", x[:, g * c:(g + 1) * c], w[(slice(g * c, (g + 1) * c), slice(None), *tap)])
    out = out[(..., *[slice(p, f - p) for p, f in zip(padding, full)])]
    return out if b is None else out + b.reshape(-1, *[1] * n)


SPACES = {"namespaces": ("torch", "nn.functional"), "method": False, "dtypes": "any"}


@function(kinds={"padding": "ints or str"}, reference=_reference, **SPACES,
          samples=(Sample((2, 3, 7), (4, 3, 3), (4,)), Sample((2, 4, 7), (4, 2, 3), None, 2, 1, 1, 2),
                   Sample((3, 7), (4, 3, 2))))
def conv1d(input, weight, bias=None, stride: object = 1, padding: object = 0, dilation: object = 1, groups: int = 1):
    """Cross-correlation of ``input (n, c, l)`` with ``weight (o, c / groups, k)`` plus ``bias (o,)``.

    ``padding`` is a number of zeros on both sides, "valid" (none) or "same" (as many as keep the length)."""
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@function(kinds={"padding": "ints or str"}, reference=_reference, **SPACES,
          samples=(Sample((2, 3, 5, 6), (4, 3, 3, 3), (4,)), Sample((2, 3, 5, 6), (4, 3, 3, 2), (4,), (2, 1), (1, 0), (1, 2)),
                   Sample((2, 4, 5, 5), (4, 2, 1, 1), None, 1, 0, 1, 2), Sample((3, 5, 5), (2, 3, 3, 3), None, 1, 1)))
def conv2d(input, weight, bias=None, stride: object = 1, padding: object = 0, dilation: object = 1, groups: int = 1):
    """Cross-correlation of ``input (n, c, h, w)`` with ``weight (o, c / groups, kh, kw)`` plus ``bias (o,)``.

    ``padding`` is a number of zeros on all sides, "valid" (none) or "same" (as many as keep the size)."""
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@function(kinds={"padding": "ints or str"}, reference=_reference, **SPACES,
          samples=(Sample((2, 2, 3, 4, 4), (3, 2, 2, 3, 3), (3,)), Sample((1, 2, 4, 4, 5), (2, 1, 2, 2, 2), None, 2, 1, 1, 2)))
def conv3d(input, weight, bias=None, stride: object = 1, padding: object = 0, dilation: object = 1, groups: int = 1):
    """Cross-correlation of ``input (n, c, d, h, w)`` with ``weight (o, c / groups, kd, kh, kw)`` plus ``bias (o,)``."""
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@function(reference=_transposed_reference, **SPACES,
          samples=(Sample((2, 3, 5), (3, 4, 3), (4,)), Sample((2, 4, 5), (4, 2, 3), None, 2, 1, 1, 2)))
def conv_transpose1d(input, weight, bias=None, stride: object = 1, padding: object = 0, output_padding: object = 0,
                     groups: int = 1, dilation: object = 1):
    """Transposed convolution of ``input (n, c, l)`` with ``weight (c, o / groups, k)``: the gradient of ``conv1d``."""
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function(reference=_transposed_reference, **SPACES,
          samples=(Sample((2, 3, 4, 5), (3, 2, 3, 3), (2,)), Sample((2, 4, 4, 3), (4, 2, 3, 2), None, (2, 3), 1, (1, 2), 2),
                   Sample((2, 3, 4, 5), (3, 2, 3, 3), (2,), 1, 1)))
def conv_transpose2d(input, weight, bias=None, stride: object = 1, padding: object = 0, output_padding: object = 0,
                     groups: int = 1, dilation: object = 1):
    """Transposed convolution of ``input (n, c, h, w)`` with ``weight (c, o / groups, kh, kw)``: the gradient of
    ``conv2d``."""
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function(reference=_transposed_reference, **SPACES, samples=(Sample((1, 2, 2, 3, 3), (2, 2, 2, 2, 2), (2,), 2),))
def conv_transpose3d(input, weight, bias=None, stride: object = 1, padding: object = 0, output_padding: object = 0,
                     groups: int = 1, dilation: object = 1):
    """Transposed convolution of ``input (n, c, d, h, w)`` with ``weight (c, o / groups, kd, kh, kw)``."""
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)
