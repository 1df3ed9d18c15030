"""``grid_sample``: images read at places between their pixels, as spatial transformers do."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.device import two_devices
from numbagrad.base.user_code import user_level
from numbagrad.core.tensor import make, numel
from numbagrad.dispatch.custom import CustomNode, invoke
from numbagrad.extend import Sample, Tensor, custom, function
from numbagrad.kernel.lanes import SIZES

from ..product.gemm import node_class
from .grid_blocks import BLOCK, bilinear_values, image_gradients, image_values
from .grid_kernels import BICUBIC, BILINEAR, NEAREST, sample_gradients, sample_places, sample_second
from .pixel_gradients import bilinear_pixel_gradients, channels_apart
from .pixels import bilinear_pairs, bilinear_pixels, channels_last

SPACE = {"namespaces": ("nn.functional",), "method": False}
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
CHANGED = ("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
           "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.")


def _sizes(input, grid, mode, padding, align):
    """What the kernels are told of an image and a grid."""
    s = input._shape
    return (s[1], s[2] if len(s) == 5 else 1, *s[-2:], numel(grid._shape[1:-1]), mode, padding, align, len(s) == 4)


# --- ops ---

@custom(private=True, node="GridSampler2DBackward0", reference=None)
def grid_values(input, grid, mode: int, padding: int, align: bool):
    """``input`` (N, C, ...) at the places of ``grid`` (N, ..., 2 or 3), between -1 and 1."""
    return (*input._shape[:2], *grid._shape[1:-1]), input._kind


@grid_values.cpu
def _(out, input, grid, mode, padding, align):
    if out._n:
        channels, d, h, w, points, *rest, flat = _sizes(input, grid, mode, padding, align)
        if flat and mode == BILINEAR and _worth_turning(input, channels, h * w, points):
            pixels = _pixels(input, channels, h * w)
            bilinear_pixels.run(out._kind, (pixels._ptr, grid._ptr, out._ptr, channels, h, w, points, padding, align),
                                input._shape[0] * -(-points // BLOCK), 4 * out._n)
        elif flat and mode == BILINEAR and out._kind.cpu:
            paired = channels < 8 and w > 1 and out._kind.dtype.code in SIZES
            run = bilinear_pairs if paired else bilinear_values
            run.run(out._kind, (input._ptr, grid._ptr, out._ptr, channels, h, w, points, padding, align),
                    input._shape[0] * -(-points // BLOCK), 4 * out._n)
        elif flat:
            image_values.run(out._kind, (input._ptr, grid._ptr, out._ptr, channels, h, w, points, *rest),
                             input._shape[0] * -(-points // BLOCK), 4 * out._n)
        else:
            sample_places.run(out._kind, (input._ptr, grid._ptr, out._ptr, channels, d, h, w, points, *rest, flat),
                              numel(grid._shape[:-1]), 4 * out._n)


def _worth_turning(input, channels, plane, points):
    """Whether images had better be copied with channels side by side."""
    return input._kind.cpu and channels > 3 and 4 * points >= plane and input._kind.dtype.code in SIZES


def _pixels(input, channels, plane):
    """Images (n, channels, h, w) as (n * groups, h * w + 1, 8), the channels of a pixel side by side."""
    groups = input._shape[0] * -(-channels // 8)
    pixels = make((groups, plane + 1, 8), input._kind)
    channels_last.run(input._kind, (input._ptr, pixels._ptr, channels, plane), groups * (plane // 256 + 1), input._n)
    return pixels


@grid_values.gradient
def _(g, input, grid, needs, mode, padding, align):
    name = "GridSampler3DBackwardBackward0" if len(input._shape) == 5 else None
    by_input, by_grid = invoke(grid_back, (g, input, grid), (mode, padding, align, needs[0], needs[1]), NODES.get(name))
    return by_input if needs[0] else None, by_grid if needs[1] else None


@custom(private=True, joins=True, node="GridSampler2DBackwardBackward0", reference=None)
def grid_back(upstream, input, grid, mode: int, padding: int, align: bool, images: bool, places: bool):
    """Gradients of ``grid_values`` by its two tensors; what is not wanted is empty."""
    kind = upstream._kind
    return [(input._shape if images else (0,), kind), (grid._shape if places else (0,), kind)]


@grid_back.cpu
def _(outs, upstream, input, grid, mode, padding, align, images, places):
    if upstream._n:
        channels, d, h, w, points, *rest, flat = _sizes(input, grid, mode, padding, align)
        if flat and mode == BILINEAR and _worth_turning(input, channels, h * w, points):
            groups = input._shape[0] * -(-channels // 8)
            pixels = _pixels(input, channels, h * w) if places else upstream  # (not read)
            found = make((groups, h * w + 1, 8), input._kind) if images else upstream  # (nor written)
            bilinear_pixel_gradients.run(upstream._kind, (
                upstream._ptr, pixels._ptr, grid._ptr, found._ptr, outs[1]._ptr, channels, h, w, points, padding, align, images,
                places), input._shape[0], 4 * upstream._n)
            if images:
                channels_apart.run(upstream._kind, (found._ptr, outs[0]._ptr, channels, h * w), groups, outs[0]._n)
            return
        run, own = (image_gradients, (channels, h, w, points, *rest)) if flat else (
            sample_gradients, (channels, d, h, w, points, *rest, flat))
        run.run(upstream._kind, (upstream._ptr, input._ptr, grid._ptr, outs[0]._ptr, outs[1]._ptr, *own, images, places),
                input._shape[0], 4 * upstream._n)
        return
    for out in outs:  # of no image, or at no place
        from numbagrad.autograd.inplace import _fill
        _fill(out, 0)


@grid_back.gradient
def _(gs, upstream, input, grid, needs, mode, padding, align, images, places):
    like_input = gs[0] if images else input.new_zeros(input._shape)
    like_grid = gs[1] if places else grid.new_zeros(grid._shape)
    found = grid_second(upstream, input, grid, like_input, like_grid, mode, padding, align)
    return found[0], found[1] if needs[1] and mode != NEAREST else None, found[2] if needs[2] else None


@custom(private=True, joins=True, differentiable=False, reference=None)
def grid_second(upstream, input, grid, like_input, like_grid, mode: int, padding: int, align: bool):
    """Gradients of ``grid_back`` by its three tensors."""
    return [(upstream._shape, upstream._kind), (input._shape, upstream._kind), (grid._shape, upstream._kind)]


@grid_second.cpu
def _(outs, upstream, input, grid, like_input, like_grid, mode, padding, align):
    if upstream._n:
        sample_second.run(upstream._kind, (
            upstream._ptr, input._ptr, grid._ptr, like_input._ptr, like_grid._ptr, *[o._ptr for o in outs],
            *_sizes(input, grid, mode, padding, align)), input._shape[0], 8 * upstream._n)
        return
    for out in outs:
        from numbagrad.autograd.inplace import _fill
        _fill(out, 0)


NODES = {name: node_class(name, CustomNode, op) for name, op in (
    ("GridSampler3DBackward0", grid_values), ("GridSampler3DBackwardBackward0", grid_back))}


# --- the public functions ---

def _weights(c, size, mode, padding, align):
    """The weights (size,) of an axis for a grid number, for the reference."""
    def inside(p):
        if padding == "reflection" and size * 2 - 2 * align > 0:
            low, span = (0, size - 1) if align else (-0.5, size)
            p = abs(p - low) % (2 * span)
            p = min(p, 2 * span - p) + low
        return min(max(p, 0), size - 1)
    x = (c + 1) / 2 * (size - 1) if align else ((c + 1) * size - 1) / 2
    x = inside(x) if padding != "zeros" and mode != "bicubic" else x
    places = [np.round(x)] if mode == "nearest" else np.floor(x) + (np.arange(2) if mode == "bilinear" else np.arange(-1, 3))
    found = np.zeros(size)
    for p in places:
        q = inside(p) if padding != "zeros" and mode == "bicubic" else p
        s = abs(x - p)
        cubic = 1.25 * s ** 3 - 2.25 * s ** 2 + 1 if s <= 1 else -0.75 * (s ** 3 - 5 * s ** 2 + 8 * s - 4)
        if 0 <= q < size:
            found[int(q)] += 1 if mode == "nearest" else 1 - s if mode == "bilinear" else cubic
    return found


def _grid_reference(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    out = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for at in np.ndindex(*grid.shape[:-1]):
        values = x[at[0]]
        for axis, c in enumerate(grid[at]):  # the last dimension first
            values = values @ _weights(c, x.shape[-1 - axis], mode, padding_mode, align_corners)
        out[(at[0], slice(None), *at[1:])] = values
    return out


def _by_number(x, grid, mode, padding, align):
    return _grid_reference(x, grid, MODES[mode], PADDINGS[padding], align)


def _check(input, grid, n, mode, padding):
    """PyTorch's complaints, in its order; ``n`` is the number of dimensions that there have to be (0: 4 or 5)."""
    if not isinstance(grid, Tensor):
        raise arguments.wrong(grid, "Tensor", "grid_sampler" if not n else f"grid_sampler_{n - 2}d", "grid", 2)
    shape, places = input._shape, grid._shape
    if input._kind.device is not grid._kind.device:
        raise two_devices(input._kind.device, grid._kind.device, "grid_sampler(): input and grid")
    if not shape or not places:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    sizes = f"got input with sizes {list(shape)} and grid with sizes {list(places)}"
    if shape[0] != places[0]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, but {sizes}")
    if places[-1] != len(shape) - 2:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {len(shape) - 2} in last dimension, but got grid with "
                           f"sizes {list(places)}")
    for i, size in enumerate(shape[2:]):
        if not size:
            raise RuntimeError("grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                               f"{list(shape)} with dimension {i + 2} being empty")
    n = n or (4 if len(shape) == 4 else 5)
    if len(shape) != n or len(places) != n:
        raise RuntimeError(f"grid_sampler(): expected {n}D input and grid with same number of dimensions, but {sizes}")
    if n == 5 and mode == BICUBIC:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    for number, names, what in ((mode, MODES, "interpolation_mode"), (padding, PADDINGS, "padding_mode")):
        if not 0 <= number < 3:
            raise ValueError(f"grid_sampler(): {what} is a number from 0 to 2 ({', '.join(names)}), not {number}")
    d = input._kind.dtype
    if d.category != 2:
        raise NotImplementedError(f"\"{'grid_sampler3d_cpu' if n == 5 else 'grid_sampler_2d_cpu_kernel_impl'}\" not "
                                  f"implemented for '{dt.scalar_name(d)}'")
    if grid._kind.dtype is not d:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(d)} but found {dt.scalar_name(grid._kind.dtype)}")


def _sampler(name, n, samples):
    kinds = {"interpolation_mode": "int", "padding_mode": "int"}

    def sampler(input, grid, interpolation_mode: int, padding_mode: int, align_corners: bool):
        _check(input, grid, n, interpolation_mode, padding_mode)
        node = NODES["GridSampler3DBackward0"] if len(input._shape) == 5 else None
        return invoke(grid_values, (input, grid), (interpolation_mode, padding_mode, align_corners), node)
    sampler.__name__ = sampler.__qualname__ = name
    sampler.__doc__ = ("``grid_sample`` whose mode (0 bilinear, 1 nearest, 2 bicubic) and padding (0 zeros, 1 border, 2 "
                       "reflection) are numbers.")
    return function(sampler, method=False, kinds=kinds, reference=_by_number, samples=samples)


grid_sampler = _sampler("grid_sampler", 0, (Sample((2, 2, 3, 4), (2, 2, 3, 2), 0, 1, False),))
_sampler("grid_sampler_2d", 4, (Sample((1, 2, 4, 3), (1, 3, 2, 2), 2, 2, True),))
_sampler("grid_sampler_3d", 5, (Sample((1, 2, 2, 3, 2), (1, 1, 2, 2, 3), 0, 2, True),))


# In float32 a place is known to a few ulps of the width of the image, and so is the weight of a pixel that it is next to.
@function(reference=_grid_reference, tolerance=64, **SPACE, kinds={"mode": "any", "padding_mode": "any"}, samples=(
    Sample((2, 3, 4, 5), (2, 3, 2, 2), align_corners=False), Sample((1, 2, 3, 3), (1, 2, 4, 2), "bilinear", "border", True),
    Sample((1, 2, 3, 4), (1, 2, 4, 2), "bilinear", "reflection", False),
    Sample((1, 2, 5, 4), (1, 3, 3, 2), "nearest", "zeros", False),
    Sample((1, 1, 5, 6), (1, 2, 3, 2), "bicubic", "zeros", False),
    Sample((2, 2, 2, 3, 4), (2, 1, 2, 2, 3), align_corners=False),
    Sample((1, 1, 3, 2, 3), (1, 2, 1, 2, 3), "nearest", "border", True)))
def grid_sample(input, grid, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = None):
    """Values of images (N, C, H, W) or volumes (N, C, D, H, W) at the places that ``grid`` (N, ..., 2 or 3) names.

    Its last dimension is (x, y) or (x, y, z), from -1 to 1 over the input: over the centers of the outermost pixels with
    ``align_corners``, else over their outer borders. ``mode``: "bilinear", "nearest" or, for images, "bicubic";
    ``padding_mode`` is what lies outside: "zeros", the nearest pixel ("border") or the input mirrored ("reflection")."""
    if mode not in MODES:
        raise ValueError("nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: "
                         f"'{mode}'")
    if padding_mode not in PADDINGS:
        raise ValueError("nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but "
                         f"got: '{padding_mode}'")
    if align_corners is None:
        warnings.warn(CHANGED, UserWarning, stacklevel=user_level())
        align_corners = False
    return grid_sampler.fn(input, grid, MODES.index(mode), PADDINGS.index(padding_mode), align_corners)
