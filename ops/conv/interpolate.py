"""``pad`` and ``interpolate``: maps of the last axes."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import channels_last
from numbagrad.core import storage
from numbagrad.core.copying import copy_into
from numbagrad.core.tensor import contiguous_strides, numel
from numbagrad.dispatch.custom import CustomNode, invoke
from numbagrad.extend import REGISTRY, Sample, T, custom, function, store
from numbagrad.kernel.jit import inline, kernel
from numbagrad.kernel.threads import LIMIT, get_num_threads

from ..product.gemm import node_class
from ..view.slicing import region
from .antialias import filtered, map_bytes, map_rows_columns
from .weighted_taps import _node, cubic, linear, map_axes, nearest, padded

SPACES = {"namespaces": ("nn.functional",), "method": False}


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


@inline
def move(x, out, src, to):
    """Eight elements of x at src to out at to, which LLVM makes a vector of."""
    a, b, c, d = x[src], x[src + 1], x[src + 2], x[src + 3]
    e, f, g, h = x[src + 4], x[src + 5], x[src + 6], x[src + 7]
    out[to], out[to + 1], out[to + 2], out[to + 3] = a, b, c, d
    out[to + 4], out[to + 5], out[to + 6], out[to + 7] = e, f, g, h


@kernel
def pad_rows(x: "*T", out: "*T", meta: "*i8", nd: int, value: float, start: int, stop: int):
    """Rows of x, and value around them, into out; int64 meta (3, nd) holds the sizes of x and of out, and how many elements
    come before those of x."""
    n, wide, before = meta[nd - 1], meta[2 * nd - 1], meta[3 * nd - 1]
    high, tall, above = meta[nd - 2], meta[2 * nd - 2], meta[3 * nd - 2]
    first, last = max(0, before), min(wide, before + n)
    inner, gap = last - first, wide - last + first
    around = store(T(value))
    item = start
    while item < stop:
        # The rows of one plane: some around x, some of x, some around it.
        plane = item // tall
        r, end = item - plane * tall, min(tall, stop - plane * tall)
        left, step, base, inside = plane, 1, 0, True
        for d in range(nd - 3, -1, -1):
            up = left // meta[nd + d]
            at = left - up * meta[nd + d] - meta[2 * nd + d]
            inside = inside and at >= 0 and at < meta[d]
            base += at * step
            step *= meta[d]
            left = up
        mine = max(r, min(end, above)) if inside else end
        stays = max(mine, min(end, above + high)) if inside else end
        to = item * wide
        src = (base * high + mine - above) * n + first - before
        more = (mine - r) * wide + (first if stays > mine else 0)
        for i in range(to, to + more):
            out[i] = around
        to += more
        for row in range(mine, stays):
            if 8 <= inner < 32:  # too short for the loop over four vectors at a time that LLVM makes
                for i in range(0, inner - 7, 8):
                    move(x, out, src + i, to + i)
                if inner % 8:
                    move(x, out, src + inner - 8, to + inner - 8)
            else:
                for i in range(inner):
                    out[to + i] = x[src + i]
            to += inner
            src += n
            more = gap if row + 1 < stays else wide - last
            for i in range(to, to + more):
                out[i] = around
            to += more
        for i in range(to, to + (end - stays) * wide):
            out[i] = around
        item += end - r


_metas: dict = {}  # (shape, shape of the result, pad) -> (array, its address)


def _in_one_pass(out, input, pad, value):
    """Whether rows were padded one after the other: those of a large row-major tensor of real numbers, on one thread if they
    are not tiny."""
    kind, nd = out._kind, len(out._shape)
    if out._n < LARGE or nd < 2 or out._shape[-1] < 8 and out._n < LIMIT[0]:
        return False
    if input._strides is not None or kind.dtype.category != 2 or max(pad, default=0) <= 0:
        return False
    key = input._shape, out._shape, pad
    meta = _metas.get(key)
    if meta is None:
        if len(_metas) >= 1024:
            _metas.clear()
        before = [*[0] * (nd - len(pad) // 2), *pad[-2::-2]]
        array = np.array((*input._shape, *out._shape, *before), np.int64)
        meta = _metas[key] = array, storage.table(array)
    pad_rows.run(kind, (input._ptr, out._ptr, meta[1], nd, value), out._n // out._shape[-1], out._n)
    return True


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
    if input._kind.dtype is dt.uint8 and value < 0:
        raise RuntimeError("value cannot be converted to type uint8_t without overflow")
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
    if _in_one_pass(out, input, pad, value):
        return
    whole = out._shape
    source, target = input._strides or contiguous_strides(input._shape), contiguous_strides(whole)
    shape, a, b = list(input._shape), 0, 0
    for i in range(len(pad) // 2):
        before, after = pad[2 * i], pad[2 * i + 1]
        d = len(shape) - 1 - i
        a += max(0, -before) * source[d]
        b += max(0, before) * target[d]
        shape[d] += min(before, 0) + min(after, 0)
    for part in _margins(out, pad, target) if numel(shape) and out._n >= LARGE else (out,):
        _fill(part, value)
    if numel(shape):
        copy_into(region(out, tuple(shape), target, b), region(input, tuple(shape), source, a))


LARGE = 1 << 15  # elements of a result from which a pass less is worth several calls


def _margins(out, pad, strides):
    """What of the result lies outside of the input, as parts that may share corners."""
    whole = out._shape
    for i in range(len(pad) // 2):
        d = len(whole) - 1 - i
        for size, first in ((pad[2 * i], 0), (pad[2 * i + 1], whole[d] - pad[2 * i + 1])):
            if size > 0:
                yield region(out, (*whole[:d], size, *whole[d + 1:]), strides, first * strides[d])


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
        raise NotImplementedError(f"Padding size {len(pad)} is not supported for {len(shape)}D input tensor.\nSupported "
                                  "combinations for non-constant padding:\n  - 2D or 3D input: padding size = 2 (pads last "
                                  "dimension)\n  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n  - 4D or 5D "
                                  "input: padding size = 6 (pads last 3 dimensions)")
    axes = []
    for i in range(n):
        size, before, after = shape[-1 - i], pad[2 * i], pad[2 * i + 1]
        if mode == "reflect" and (before >= size or after >= size):
            raise RuntimeError(f"Argument #{4 + 2 * i}: Padding size should be less than the corresponding input dimension, "
                               f"but got: padding ({before}, {after}) at dimension {len(shape) - 1 - i} of input {list(shape)}")
        if mode == "circular" and (before > size or after > size):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        kept = size + min(before, 0) + min(after, 0)
        if mode == "circular" and (size + before + after < 0 or max(before, after) > 0 >= kept):
            raise RuntimeError("Negative padding value is resulting in an empty dimension")
        if mode != "circular" and not size:
            raise RuntimeError("Expected an input with possibly 0 batch size and other non-zero dimensions for padding, but "
                               f"got: {list(shape)}")
        if size + before + after < 1 and mode != "circular":
            raise RuntimeError(f"input (size {size}) with padding ({before}, {after}) gives an empty dimension")
        axes.insert(0, (size, size + before + after, padded, (before, after, mode)))
    name = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}.get(mode)
    return invoke(map_axes, (input,), (tuple(axes),), _node(f"{name}{n}DBackward0" if name else "CopySlices"))


# --- interpolation ---

AA_NODES = {mode: node_class(f"Upsample{mode.capitalize()}2DAaBackward0", CustomNode, map_rows_columns)
            for mode in ("bilinear", "bicubic", "lanczos")}

MODES = {"nearest": (3, 4, 5), "nearest-exact": (3, 4, 5), "linear": (3,), "bilinear": (4,), "bicubic": (4,),
         "lanczos": (4,), "trilinear": (5,), "area": (3, 4, 5)}


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
            if antialias:
                positions, weights = filtered(s, o, step, bool(align_corners), mode)
                np.add.at(matrix, (np.repeat(np.arange(o), len(positions[0])), np.ravel(positions)), np.ravel(weights))
                x = np.moveaxis(np.tensordot(matrix, x, (1, 2 + i)), 0, 2 + i)
                continue
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
    if not all(map(math.isfinite, scales)):
        raise RuntimeError(f"interpolate(): scale_factor {scale_factor} gives no output size")
    return tuple([int(math.floor(s * f)) for s, f in zip(spatial, scales)]), None if recompute else scales


def _kernel(input, mode, n, out):
    """The kernel of PyTorch's that refuses a dtype: one for channels in a row, which small pictures have too, or the usual."""
    kind = {"nearest": "nearest", "nearest-exact": "nearest", "bicubic": "cubic"}.get(mode, "linear")
    channels = n > 1 and input._shape[1] > 3 and channels_last(input._shape, input._strides)
    colours = kind == "linear" and n == 2 and input._shape[1] == 3 and get_num_threads() == 1
    if kind != "cubic" and (channels or colours or n == 2 and sum(out) <= 128):
        return f"upsample_{mode.removesuffix('-exact')}{n}d_channels_last"
    return "compute_indices_weights_" + kind


@function(reference=_interpolate_reference, **SPACES, kinds=dict.fromkeys(("recompute_scale_factor", "antialias"), "any"),
          samples=(
    Sample((1, 2, 3, 4), scale_factor=2), Sample((1, 2, 5, 4), (3, 7)), Sample((1, 2, 4), scale_factor=1.5, mode="linear"),
    Sample((1, 2, 3, 4), (5, 6), mode="bilinear"), Sample((1, 2, 3, 4), (5, 6), mode="bilinear", align_corners=True),
    Sample((1, 1, 4, 3), (6, 5), mode="bicubic"), Sample((1, 2, 5, 4), (3, 7), mode="nearest-exact"),
    Sample((1, 2, 7, 6), (3, 4), mode="bilinear", antialias=True),
    Sample((1, 1, 5, 9), (7, 4), mode="bicubic", antialias=True),
    Sample((1, 1, 9, 8), (4, 11), mode="lanczos", antialias=True), Sample((1, 2, 5, 4), (3, 2), mode="area"),
    Sample((1, 1, 2, 3, 2), scale_factor=2, mode="trilinear")))
def interpolate(input, size: object = None, scale_factor: object = None, mode: str = "nearest", align_corners: bool = None,
                recompute_scale_factor: bool = None, antialias: bool = False):
    """Resampling of the spatial dimensions to ``size`` or by ``scale_factor``.

    ``mode``: "nearest", "nearest-exact", "linear" (3-D input), "bilinear", "bicubic" (4-D), "trilinear" (5-D), "area", and with
    ``antialias``, which takes all pixels that an output covers, "lanczos" (4-D)."""
    shape = input._shape
    smooth = mode in ("linear", "bilinear", "bicubic", "trilinear", "lanczos")
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
            part, named = ("output", "output size") if what == "size" else (what, what)
            raise ValueError(f"Input and {part} must have the same number of spatial dimensions, but got input with spatial "
                             f"dimensions of {list(shape[2:])} and {named} of {given}. "
                             "Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
                             + ("output size in (o1, o2, ...,oK) format." if what == "size" else
                                "scale_factor in (s1, s2, ...,sK) format."))
    if antialias and (mode not in ("bilinear", "bicubic", "lanczos") or n != 2):
        raise ValueError("Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as "
                         "input")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if mode not in MODES or n not in (1, 2, 3) or mode in ("bicubic", "lanczos") and n != 2:
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {len(shape)}D) for the modes: "
                                  "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact (got "
                                  f"{mode})")
    if len(shape) not in MODES[mode]:
        raise NotImplementedError(f"Got {len(shape)}D input, but {mode} mode needs {MODES[mode][0]}D input")
    out, scales = _target(shape[2:], size, scale_factor, recompute_scale_factor)
    if min(out) <= 0 or min(shape[2:]) <= 0:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input ({', '.join(map(str, shape[2:]))}) "
                           f"output ({', '.join(map(str, out))})")
    if mode == "area":
        return REGISTRY[f"adaptive_avg_pool{n}d"].fn(input, out)
    if mode == "lanczos" and align_corners:
        raise ValueError("Lanczos mode does not support align_corners=True")
    if mode == "lanczos" and not antialias:
        raise ValueError("Lanczos mode requires antialias=True")
    d = input._kind.dtype
    whole = d is dt.uint8 and (mode in ("nearest", "nearest-exact") or smooth and n == 2)
    if not whole and (d.category != 2 or antialias and d.itemsize < 4):
        name = "compute_index_ranges_weights" if antialias else _kernel(input, mode, n, out)
        raise NotImplementedError(f"\"{name}\" not implemented for '{dt.scalar_name(d)}'")
    if antialias:
        axes = tuple([(s, o, filtered, (o, 1 / scales[i] if scales else s / o, bool(align_corners), mode))
                      for i, (s, o) in enumerate(zip(shape[2:], out))])
        return map_bytes(input, axes) if whole else invoke(map_rows_columns, (input,), (axes,), AA_NODES[mode])
    rule = {"nearest": nearest, "nearest-exact": nearest, "bicubic": cubic}.get(mode, linear)
    flag = mode == "nearest-exact" if rule is nearest else bool(align_corners)
    axes = tuple([(s, o, rule, (o, 1 / scales[i] if scales else s / o, flag)) for i, (s, o) in enumerate(zip(shape[2:], out))])
    if whole and smooth:
        return map_bytes(input, axes)
    name = {"nearest": f"Nearest{n}D", "nearest-exact": f"NearestExact{n}D", "linear": "Linear1D", "bilinear": "Bilinear2D",
            "bicubic": "Bicubic2D", "trilinear": "Trilinear3D"}[mode]
    return invoke(map_axes, (input,), (axes,), _node(f"Upsample{name}Backward0"))
