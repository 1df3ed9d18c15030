"""Index maps along axes: ``pad`` and ``interpolate``, and the rearrangements of pixels."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from numbagrad.copying import copy_into
from numbagrad.kernel.jit import T, kernel, load, store
from numbagrad.op import REGISTRY, Sample, custom, function
from numbagrad.op.call import raw_view
from numbagrad.op.custom import CustomNode, invoke
from numbagrad.tensor import contiguous_strides, numel

from .gemm import node_class
from .product import reshaped
from .region import region

SPACES = {"namespaces": ("nn.functional",), "method": False}

# A plan is (int64 sizes: 3 inputs, 3 outputs, 3 taps; then the input positions of every output of each axis in turn,
# taps together) and the float64 weights in the same order.


@kernel
def mix(x: "*T", y: "*T", t: "*i8", w: "*f8", start: int, stop: int):
    d, h, wd, od, oh, ow, td, th, tw = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    hs = 9 + od * td
    ws = hs + oh * th
    for plane in range(start, stop):
        q = plane * od * oh * ow
        for z in range(od):
            for r in range(oh):
                for c in range(ow):
                    acc = T(0)
                    for i in range(td):
                        for j in range(th):
                            p = ((plane * d + t[9 + z * td + i]) * h + t[hs + r * th + j]) * wd
                            outer = w[z * td + i] * w[hs - 9 + r * th + j]
                            for k in range(tw):
                                acc = T(acc + T(outer * w[ws - 9 + c * tw + k]) * load(x[p + t[ws + c * tw + k]]))
                    y[q] = store(acc)
                    q += 1


@kernel
def mix_two(x: "*T", y: "*T", t: "*i8", w: "*f8", start: int, stop: int):
    """``mix`` of two rows by two columns."""
    h, wd, oh, ow = t[1], t[2], t[4], t[5]
    hs = 10
    ws = hs + 2 * oh
    for plane in range(start, stop):
        for r in range(oh):
            above = (plane * h + t[hs + 2 * r]) * wd
            below = (plane * h + t[hs + 2 * r + 1]) * wd
            a = T(w[hs - 9 + 2 * r])
            b = T(w[hs - 9 + 2 * r + 1])
            q = (plane * oh + r) * ow
            for c in range(ow):
                left, right = t[ws + 2 * c], t[ws + 2 * c + 1]
                u, v = T(w[ws - 9 + 2 * c]), T(w[ws - 9 + 2 * c + 1])
                y[q + c] = store(a * (u * load(x[above + left]) + v * load(x[above + right]))
                                 + b * (u * load(x[below + left]) + v * load(x[below + right])))


@kernel
def unmix(g: "*T", x: "*T", t: "*i8", w: "*f8", start: int, stop: int):
    d, h, wd, od, oh, ow, td, th, tw = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    hs = 9 + od * td
    ws = hs + oh * th
    for plane in range(start, stop):
        for i in range(plane * d * h * wd, (plane + 1) * d * h * wd):
            x[i] = store(T(0))
        q = plane * od * oh * ow
        for z in range(od):
            for r in range(oh):
                for c in range(ow):
                    v = load(g[q])
                    q += 1
                    for i in range(td):
                        for j in range(th):
                            p = ((plane * d + t[9 + z * td + i]) * h + t[hs + r * th + j]) * wd
                            outer = w[z * td + i] * w[hs - 9 + r * th + j]
                            for k in range(tw):
                                at = p + t[ws + c * tw + k]
                                x[at] = store(load(x[at]) + T(outer * w[ws - 9 + c * tw + k]) * v)


@kernel
def pick(x: "*T", y: "*T", t: "*i8", start: int, stop: int):
    """``mix`` with one tap of weight 1: a copy, for every dtype."""
    d, h, wd, od, oh, ow = t[0], t[1], t[2], t[3], t[4], t[5]
    hs, ws = 9 + od, 9 + od + oh
    for plane in range(start, stop):
        q = plane * od * oh * ow
        for z in range(od):
            for r in range(oh):
                p = ((plane * d + t[9 + z]) * h + t[hs + r]) * wd
                for c in range(ow):
                    y[q + c] = x[p + t[ws + c]]
                q += ow


# --- maps of one axis: (positions, weights) per output ---

def _reflect(i, size):
    return -i if i < 0 else 2 * (size - 1) - i if i >= size else i


def padded(size, before, after, mode):
    """Positions of a padded axis."""
    positions = range(-before, size + after)
    if mode == "reflect":
        return [[_reflect(i, size)] for i in positions], None
    if mode == "circular":
        return [[i % size] for i in positions], None
    return [[min(max(i, 0), size - 1)] for i in positions], None


def nearest(size, out, scale, exact):
    """Positions of the nearest input; PyTorch computes them in float32."""
    f = np.float32(scale)
    shift = np.float32(0.5 if exact else 0.0)
    return [[min(int(np.floor((np.float32(i) + shift) * f)), size - 1)] for i in range(out)], None


def _source(i, size, out, scale, align):
    if align:
        return i * ((size - 1) / (out - 1) if out > 1 else 0.0)
    return (i + 0.5) * scale - 0.5


def linear(size, out, scale, align):
    """Two neighbours, weighted by distance."""
    positions, weights = [], []
    for i in range(out):
        s = max(_source(i, size, out, scale, align), 0.0)
        first = min(int(s), size - 1)
        part = min(max(s - first, 0.0), 1.0)
        positions.append([first, min(first + 1, size - 1)])
        weights.append([1 - part, part])
    return positions, weights


def cubic(size, out, scale, align):
    """Four neighbours, by Keys' cubic convolution with A = -0.75."""
    a = -0.75
    positions, weights = [], []

    def near(x):
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    for i in range(out):
        s = _source(i, size, out, scale, align)
        first = math.floor(s)
        part = s - first
        positions.append([min(max(first + k, 0), size - 1) for k in (-1, 0, 1, 2)])
        weights.append([far(1 + part), near(part), near(1 - part), far(2 - part)])
    return positions, weights


@lru_cache(1024)
def plan(axes):
    """(positions array, weights array, their addresses, plain) of up to three axes (input size, output size, rule, args)."""
    found = [rule(size, *args) for size, _, rule, args in axes]
    found = [([[0]], None)] * (3 - len(axes)) + found
    sizes = (1,) * (3 - len(axes)) + tuple([a[0] for a in axes])
    table = [*sizes, *[len(p) for p, _ in found], *[len(p[0]) if p else 1 for p, _ in found]]
    weights = []
    for positions, w in found:
        table += [i for row in positions for i in row]
        weights += [1.0] * len(positions) if w is None else [v for row in w for v in row]
    t, f = np.array(table, np.int64), np.array(weights, np.float64)
    return t, f, t.ctypes.data, f.ctypes.data, all(w is None for _, w in found)


@custom(private=True, node="UpsampleNearest2DBackward0", reference=None, dtypes="any")
def map_axes(input, axes: tuple):
    """The last dimensions of ``input`` mapped to new positions, as ``axes`` says."""
    return (*input._shape[:-len(axes)], *[a[1] for a in axes]), input._kind


@map_axes.cpu
def _(out, input, axes):
    if out._n:
        t, f, ta, fa, plain = plan(axes)
        planes = numel(input._shape[:-len(axes)])
        if plain:
            pick[out._kind.dtype](input._ptr, out._ptr, ta, 0, planes)
        else:
            body = mix_two if (t[3], *t[6:9]) == (1, 1, 2, 2) and t[0] == 1 else mix
            body[out._kind.dtype](input._ptr, out._ptr, ta, fa, 0, planes)


@map_axes.gradient
def _(g, axes):
    return unmap_axes(g, axes)


@custom(private=True, node="UpsampleNearest2DBackwardBackward0", reference=None)
def unmap_axes(input, axes: tuple):
    """Every element added to the positions it came from: the gradient of ``map_axes``."""
    return (*input._shape[:-len(axes)], *[a[0] for a in axes]), input._kind


@unmap_axes.cpu
def _(out, input, axes):
    if out._n:
        t, f, ta, fa, _ = plan(axes)
        unmix[out._kind.dtype](input._ptr, out._ptr, ta, fa, 0, numel(input._shape[:-len(axes)]))


@unmap_axes.gradient
def _(g, axes):
    return map_axes(g, axes)


_nodes: dict = {}


def _node(name):
    return _nodes.get(name) or _nodes.setdefault(name, node_class(name, CustomNode, map_axes))


# --- padding ---

def _pad_reference(x, pad, mode="constant", value=None):
    n = len(pad) // 2
    width = [(pad[2 * i], pad[2 * i + 1]) for i in range(n)][::-1]
    if mode != "constant":
        kind = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
        return np.pad(x, [(0, 0)] * (x.ndim - n) + width, kind)
    for i, (before, after) in enumerate(width):
        axis = x.ndim - n + i
        x = x.take(range(max(0, -before), x.shape[axis] - max(0, -after)), axis)
        x = np.pad(x, [(max(0, before), max(0, after)) if a == axis else (0, 0) for a in range(x.ndim)],
                   constant_values=value or 0)
    return x


@custom(namespaces=("torch",), method=False, contiguous=False,
        reference=lambda x, pad, value=0: _pad_reference(x, pad, "constant", value),
        samples=(Sample((2, 3), (1, 2)), Sample((2, 3), (-1, 2, 1, 0), 1.5)), dtypes="any")
def constant_pad_nd(input, pad: tuple, value: float = 0):
    """``value`` put around ``input``: ``pad`` has (before, after) of the last dimension, then of the one before it...

    Negative numbers cut."""
    shape, n = list(input._shape), len(pad) // 2
    if len(pad) % 2:
        raise RuntimeError("Length of pad must be even but instead it equals " + str(len(pad)))
    if n > len(shape):
        raise RuntimeError("Length of pad should be no more than twice the number of dimensions of the input. Pad length is "
                           f"{len(pad)} while the input has {len(shape)} dimensions.")
    for i in range(n):
        before, after = pad[2 * i], pad[2 * i + 1]
        size = shape[-1 - i]
        if size + min(before, 0) + min(after, 0) < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
        shape[-1 - i] = size + before + after
        if shape[-1 - i] < 0:
            raise RuntimeError(f"The input size {size}, plus negative padding {before} and {after} resulted in a negative "
                               "output size, which is invalid.")
    return tuple(shape), input._kind


@constant_pad_nd.cpu
def _(out, input, pad, value):
    whole = out._shape
    _fill(out, value)
    source, target = input._strides or contiguous_strides(input._shape), contiguous_strides(whole)
    shape, a, b = list(input._shape), 0, 0
    for i in range(len(pad) // 2):
        before, after = pad[2 * i], pad[2 * i + 1]
        d = len(shape) - 1 - i
        a += max(0, -before) * source[d]
        b += max(0, before) * target[d]
        shape[d] += min(before, 0) + min(after, 0)
    if numel(shape):
        copy_into(region(out, tuple(shape), target, b), region(input, tuple(shape), source, a))


def _fill(out, value):
    from numbagrad.autograd.inplace import _fill as fill
    fill(out, value)


@constant_pad_nd.gradient
def _(g, pad):
    return constant_pad_nd(g, tuple([-p for p in pad]))


@function(reference=_pad_reference, dtypes="any", **SPACES, samples=(
    Sample((2, 3, 4), (1, 2)), Sample((2, 3, 4), (1, -1, 0, 2), "constant", 0.5), Sample((2, 3, 4), (2, 1), "reflect"),
    Sample((2, 2, 3, 4), (2, 1, 1, 2), "reflect"), Sample((2, 2, 3, 4), (2, 1, 0, 3), "replicate"),
    Sample((2, 2, 3, 4), (2, 1, 1, 2), "circular")))
def pad(input, pad: object, mode: str = "constant", value: float = None):
    """Padding of the last dimensions: ``pad`` has (before, after) of the last dimension, then of the one before it...

    ``mode`` is "constant" (``value``, 0 by default), "reflect", "replicate" or "circular"; negative numbers cut."""
    pad = tuple([int(p) for p in pad])
    shape = input._shape
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) // 2 > len(shape):
        raise RuntimeError("Padding length should be less than or equal to two times the input dimension but got padding "
                           f"length {len(pad)} and input of dimension {len(shape)}")
    if mode == "constant":
        return constant_pad_nd(input, pad, value or 0)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value not in (None, 0):
        raise RuntimeError(f"Padding mode \"{mode}\" doesn't take in value argument")
    n = len(pad) // 2
    if len(shape) - n not in (1, 2) or n > 3:
        raise NotImplementedError(f"Padding size {len(pad)} is not supported for {len(shape)}D input tensor.")
    axes = []
    for i in range(n):
        size, before, after = shape[-1 - i], pad[2 * i], pad[2 * i + 1]
        if mode == "reflect" and (before >= size or after >= size):
            raise RuntimeError(f"Argument #{4 + 2 * i}: Padding size should be less than the corresponding input dimension, "
                               f"but got: padding ({before}, {after}) at dimension {len(shape) - 1 - i} of input {list(shape)}")
        if mode == "circular" and (before > size or after > size):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if mode == "circular" and size + before + after < 0:
            raise RuntimeError("Negative padding value is resulting in an empty dimension")
        if size + before + after < 1 and mode != "circular":
            raise RuntimeError(f"input (size {size}) with padding ({before}, {after}) gives an empty dimension")
        axes.insert(0, (size, size + before + after, padded, (before, after, mode)))
    name = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}.get(mode)
    return invoke(map_axes, (input,), (tuple(axes),), _node(f"{name}{n}DBackward0" if name else "CopySlices"))


# --- interpolation ---

MODES = {"nearest": (3, 4, 5), "nearest-exact": (3, 4, 5), "linear": (3,), "bilinear": (4,), "bicubic": (4,),
         "trilinear": (5,), "area": (3, 4, 5)}


def _interpolate_reference(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None,
                           antialias=False):
    n = x.ndim - 2
    out, scales = _target(x.shape[2:], size, scale_factor, recompute_scale_factor)
    for i in range(n):
        s, o = x.shape[2 + i], out[i]
        step = 1 / scales[i] if scales else s / o
        matrix = np.zeros((o, s))
        if mode == "area":
            for j in range(o):
                a, b = j * s // o, -((-(j + 1) * s) // o)
                matrix[j, a:b] = 1 / (b - a)
        else:
            rule = {"nearest": nearest, "nearest-exact": nearest, "bicubic": cubic}.get(mode, linear)
            positions, weights = rule(s, o, step, mode == "nearest-exact" if rule is nearest else bool(align_corners))
            for j, row in enumerate(positions):
                for k, p in enumerate(row):
                    matrix[j, p] += 1 if weights is None else weights[j][k]
        x = np.moveaxis(np.tensordot(matrix, x, (1, 2 + i)), 0, 2 + i)
    return x


def _target(spatial, size, scale_factor, recompute):
    """(output sizes, scale factors or None)."""
    n = len(spatial)
    if size is not None:
        return ((int(size),) * n if isinstance(size, int) else tuple([int(s) for s in size])), None
    scales = (float(scale_factor),) * n if isinstance(scale_factor, (int, float)) else tuple(map(float, scale_factor))
    return tuple([int(math.floor(s * f)) for s, f in zip(spatial, scales)]), None if recompute else scales


@function(reference=_interpolate_reference, **SPACES, samples=(
    Sample((1, 2, 3, 4), scale_factor=2), Sample((1, 2, 5, 4), (3, 7)), Sample((1, 2, 4), scale_factor=1.5, mode="linear"),
    Sample((1, 2, 3, 4), (5, 6), mode="bilinear"), Sample((1, 2, 3, 4), (5, 6), mode="bilinear", align_corners=True),
    Sample((1, 1, 4, 3), (6, 5), mode="bicubic"), Sample((1, 2, 5, 4), (3, 7), mode="nearest-exact"),
    Sample((1, 2, 5, 4), (3, 2), mode="area"), Sample((1, 1, 2, 3, 2), scale_factor=2, mode="trilinear")))
def interpolate(input, size: object = None, scale_factor: object = None, mode: str = "nearest", align_corners: bool = None,
                recompute_scale_factor: bool = None, antialias: bool = False):
    """Resampling of the spatial dimensions to ``size`` or by ``scale_factor``.

    ``mode``: "nearest", "nearest-exact", "linear" (3-D input), "bilinear", "bicubic" (4-D), "trilinear" (5-D), "area"."""
    shape = input._shape
    smooth = mode in ("linear", "bilinear", "bicubic", "trilinear")
    if align_corners is not None and not smooth:
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | "
                         "trilinear")
    n = len(shape) - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    for given, what in ((size, "size"), (scale_factor, "scale_factor")):
        if isinstance(given, (tuple, list)) and len(given) != n:
            raise ValueError("Input and output must have the same number of spatial dimensions, but got input with spatial "
                             f"dimensions of {list(shape[2:])} and {'output size' if what == 'size' else what} of {given}. "
                             "Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
                             + ("output size in (o1, o2, ...,oK) format." if what == "size" else
                                "scale_factor in (s1, s2, ...,sK) format."))
    if antialias:
        raise NotImplementedError("interpolate(): antialias=True is not available in numbagrad")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if mode not in MODES or n not in (1, 2, 3):
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {len(shape)}D) for the modes: "
                                  "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact (got "
                                  f"{mode})")
    if len(shape) not in MODES[mode]:
        raise NotImplementedError(f"Got {len(shape)}D input, but {mode} mode needs {MODES[mode][0]}D input")
    out, scales = _target(shape[2:], size, scale_factor, recompute_scale_factor)
    if min(out) <= 0:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input ({', '.join(map(str, shape[2:]))}) "
                           f"output ({', '.join(map(str, out))})")
    if mode == "area":
        return REGISTRY[f"adaptive_avg_pool{n}d"].fn(input, out)
    rule = {"nearest": nearest, "nearest-exact": nearest, "bicubic": cubic}.get(mode, linear)
    flag = mode == "nearest-exact" if rule is nearest else bool(align_corners)
    axes = tuple([(s, o, rule, (o, 1 / scales[i] if scales else s / o, flag)) for i, (s, o) in enumerate(zip(shape[2:], out))])
    name = {"nearest": f"Nearest{n}D", "nearest-exact": f"NearestExact{n}D", "linear": "Linear1D", "bilinear": "Bilinear2D",
            "bicubic": "Bicubic2D", "trilinear": "Trilinear3D"}[mode]
    return invoke(map_axes, (input,), (axes,), _node(f"Upsample{name}Backward0"))


# --- pixels and channels ---

def _shuffle_reference(x, r):
    *b, c, h, w = x.shape
    x = x.reshape(*b, c // (r * r), r, r, h, w)
    n = len(b)
    return x.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2).reshape(*b, c // (r * r), h * r, w * r)


def _unshuffle_reference(x, r):
    *b, c, h, w = x.shape
    n = len(b)
    x = x.reshape(*b, c, h // r, r, w // r, r)
    return x.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3).reshape(*b, c * r * r, h // r, w // r)


@custom(reference=_shuffle_reference, samples=(Sample((2, 8, 2, 3), 2), Sample((4, 2, 2), 2)), dtypes="any",
        namespaces=("torch", "nn.functional"), method=False)
def pixel_shuffle(input, upscale_factor: int):
    """Rearrange ``(*, c r^2, h, w)`` to ``(*, c, h r, w r)``."""
    shape, r = input._shape, upscale_factor
    if len(shape) < 3:
        raise RuntimeError(f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {len(shape)} "
                           "dimension(s)")
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if shape[-3] % (r * r):
        raise RuntimeError("pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
                           f"upscale_factor, but input.size(-3)={shape[-3]} is not divisible by {r * r}")
    return (*shape[:-3], shape[-3] // (r * r), shape[-2] * r, shape[-1] * r), input._kind


@pixel_shuffle.cpu
def _(out, input, upscale_factor):
    c, h, w = input._shape[-3:]
    r = upscale_factor
    b, c = numel(input._shape[:-3]), c // (r * r)
    source = raw_view(reshaped(input, (b, c, r, r, h, w)), (0, 1, 4, 2, 5, 3))
    copy_into(reshaped(out, source._shape), source)


@pixel_shuffle.gradient
def _(g, upscale_factor):
    return pixel_unshuffle(g, upscale_factor)


@custom(reference=_unshuffle_reference, samples=(Sample((2, 2, 4, 6), 2),), dtypes="any",
        namespaces=("torch", "nn.functional"), method=False)
def pixel_unshuffle(input, downscale_factor: int):
    """Rearrange ``(*, c, h r, w r)`` to ``(*, c r^2, h, w)``."""
    shape, r = input._shape, downscale_factor
    if len(shape) < 3:
        raise RuntimeError(f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {len(shape)} "
                           "dimension(s)")
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    for i, what in ((-2, "height"), (-1, "width")):
        if shape[i] % r:
            raise RuntimeError(f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but input.size({i})="
                               f"{shape[i]} is not divisible by {r}")
    return (*shape[:-3], shape[-3] * r * r, shape[-2] // r, shape[-1] // r), input._kind


@pixel_unshuffle.cpu
def _(out, input, downscale_factor):
    c, h, w = input._shape[-3:]
    r = downscale_factor
    b = numel(input._shape[:-3])
    source = raw_view(reshaped(input, (b, c, h // r, r, w // r, r)), (0, 1, 3, 5, 2, 4))
    copy_into(reshaped(out, source._shape), source)


@pixel_unshuffle.gradient
def _(g, downscale_factor):
    return pixel_shuffle(g, downscale_factor)

