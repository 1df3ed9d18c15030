"""Convolutions: the public functions over the ops of ``convolve``, their checks and references."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.dispatch.custom import invoke
from numbagrad.extend import REGISTRY, Sample, Tensor, function

from ..product.gemm import reshape
from .convolve import convolve_input, convolve_output


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
