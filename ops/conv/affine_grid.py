"""``affine_grid``: the places that affine maps send the pixels of an image to."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.user_code import user_level
from numbagrad.extend import Sample, T, Tensor, custom, function, inline, kernel, load, store
from numbagrad.kernel.jit import wide_strip

from .grid_sample import CHANGED, SPACE

UNIT = ("Since version 1.3.0, affine_grid behavior has changed for unit-size grids when align_corners=True. This is not an "
        "intended use case of affine_grid. See the documentation of affine_grid for details.")


@inline(fast=("contract",))
def center(i, n, align):
    """Where pixel i of n lies between -1 and 1, rounded as ``linspace`` is, then scaled."""
    if n == 1:
        return T(0)
    step = float(T(2) / T(n - 1))
    place = T(-1.0 + float(i) * step if i < n // 2 else 1.0 - float(n - 1 - i) * step)
    return place if align else T(place * T(n - 1)) / T(n)


# A place on the edge between two pixels decides whose difference ``grid_sample``'s gradient is: products and sums are rounded
# one by one, in the order of PyTorch's product of matrices.
@kernel(fast=())
def map_pixels(theta: "*T", y: "*T", d: int, h: int, w: int, align: int, n: int, start: int, stop: int):
    """The places of all pixels of images (d, h, w) under theta (images, n, n + 1), into y (images, d, h, w, n), x first; start
    and stop count rows."""
    for item in range(start, stop):
        image = item // (d * h)
        y_, z_ = center(item % h, h, align), center(item // h % d, d, align)
        q, last = image * n * (n + 1), (image * n + n - 1) * (n + 1)
        of_y, of_z, shift = load(theta[q + 1]) * y_, load(theta[q + n - 1]) * z_, load(theta[q + n])
        end_x, end_y, end_z, end_shift = (load(theta[last]), load(theta[last + 1]) * y_, load(theta[last + n - 1]) * z_,
                                          load(theta[last + n]))
        by_x = load(theta[q])
        for c in range(w):
            x_, o = center(c, w, align), (item * w + c) * n
            if n == 2:
                y[o] = store(by_x * x_ + of_y + shift)
                y[o + 1] = store(end_x * x_ + end_y + end_shift)
            else:
                y[o] = store(by_x * x_ + of_y + of_z + shift)
                middle = load(theta[q + 4]) * x_ + load(theta[q + 5]) * y_ + load(theta[q + 6]) * z_
                y[o + 1] = store(middle + load(theta[q + 7]))
                y[o + 2] = store(end_x * x_ + end_y + end_z + end_shift)


@kernel
def map_gradients(g: "*T", dtheta: "*T", d: int, h: int, w: int, align: int, n: int, start: int, stop: int):
    """Gradient of ``map_pixels``: of g (images, d, h, w, n) by theta, into dtheta (images, n, n + 1)."""
    sums = wide_strip()
    for image in range(start, stop):
        for k in range(n * (n + 1)):
            sums[k] = 0.0
        for row in range(d * h):
            y_, z_ = center(row % h, h, align), center(row // h, d, align)
            for c in range(w):
                x_ = center(c, w, align)
                for j in range(n):
                    v = load(g[((image * d * h + row) * w + c) * n + j])
                    k = j * (n + 1)
                    sums[k] += v * x_
                    sums[k + 1] += v * y_
                    if n == 3:
                        sums[k + 2] += v * z_
                    sums[k + n] += v
        for k in range(n * (n + 1)):
            dtheta[image * n * (n + 1) + k] = store(T(sums[k]))


def _plane(size, align):
    return 1 if len(size) == 2 else size[0], size[-2], size[-1], align, len(size)


@custom(private=True, node="AffineGridGeneratorBackward0", reference=None)
def affine_places(theta, size: tuple, align: bool):
    """Places (N, *size, n) of the pixels of images of that size under maps (N, n, n + 1)."""
    return (theta._shape[0], *size, len(size)), theta._kind


@affine_places.cpu
def _(out, theta, size, align):
    if out._n:
        plane = _plane(size, align)
        map_pixels.run(out._kind, (theta._ptr, out._ptr, *plane), theta._shape[0] * plane[0] * plane[1], 4 * out._n)


@affine_places.gradient
def _(g, size, align):
    return affine_back(g, size, align)


@custom(private=True, node="TransposeBackward0", reference=None)
def affine_back(input, size: tuple, align: bool):
    """Gradient of ``affine_places`` by its maps."""
    return (input._shape[0], len(size), len(size) + 1), input._kind


@affine_back.cpu
def _(out, input, size, align):
    if out._n:
        map_gradients.run(out._kind, (input._ptr, out._ptr, *_plane(size, align)), input._shape[0], 4 * input._n)


@affine_back.gradient
def _(g, size, align):
    return affine_places(g, size, align)


@function(private=True, kinds={"size": "any"}, reference=None)
def pixels_mapped(theta, size: object, align: bool):
    """``affine_places`` by the name under which autocast knows it: only the product casts, not what refuses types before it."""
    return affine_places(theta, size, align)


def _reference(theta, size, align_corners=False):
    axes = [np.linspace(-1, 1, n) * (1 if align_corners else (n - 1) / n) if n > 1 else np.zeros(1) for n in size[2:]]
    mesh = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(size[2:])], -1)
    return np.einsum("...k,njk->n...j", mesh, theta)


def _generated(theta, size, align_corners):
    if theta._kind.dtype.category != 2:
        raise NotImplementedError(f"\"linspace_cpu\" not implemented for '{dt.scalar_name(theta._kind.dtype)}'")
    n, dtype = len(size) - 2, theta._kind.dtype
    if min(size[2:]) < 2 and dtype in (dt.float16, dt.bfloat16):  # (the place of a single pixel is made apart)
        raise NotImplementedError(f"\"tensor_cpu\" not implemented for '{dt.scalar_name(dtype)}'")
    wanted = [size[0], n + 1]
    if [theta._shape[0], theta._shape[2]] != wanted:
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: {wanted} but got: "
                           f"{[theta._shape[0], theta._shape[2]]}.")
    return pixels_mapped(theta, size[2:], align_corners)


@function(method=False, kinds={"size": "list of ints"}, reference=_reference,
          samples=(Sample((2, 2, 3), (2, 3, 4, 5), True), Sample((1, 3, 4), (1, 2, 2, 3, 1), False)))
def affine_grid_generator(theta, size: object, align_corners: bool):
    """``affine_grid`` without a default for ``align_corners``."""
    if len(size) not in (4, 5):
        raise RuntimeError("AffineGridGenerator needs 4d (spatial) or 5d (volumetric) inputs.")
    if min(size) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: "
                           f"{[size[0], *size[2:], len(size) - 1]}")
    if len(theta._shape) != 3 or theta._shape[1:] != (len(size) - 2, len(size) - 1):
        raise RuntimeError(f"affine_grid_generator(): expected maps of shape {[size[0], len(size) - 2, len(size) - 1]} for the "
                           f"size {list(size)}, but got {list(theta._shape)}")
    return _generated(theta, size, align_corners)


@function(**SPACE, reference=_reference, kinds={"size": "any"}, samples=(
    Sample((2, 2, 3), (2, 1, 3, 4), False), Sample((1, 2, 3), (1, 2, 2, 3), True), Sample((1, 3, 4), (1, 2, 2, 3, 2), False)))
def affine_grid(theta, size: object, align_corners: bool = None):
    """The grid for ``grid_sample`` that affine maps make: the place in the input, from -1 to 1, of every pixel of an output.

    ``theta`` is (N, 2, 3) or (N, 3, 4), ``size`` that of the output, (N, C, H, W) or (N, C, D, H, W)."""
    if not isinstance(theta, Tensor):
        raise arguments.wrong(theta, "Tensor", "affine_grid", "theta", 1)
    if align_corners is None:
        warnings.warn(CHANGED, UserWarning, stacklevel=user_level())
        align_corners = False
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if len(size) not in (4, 5):
        raise NotImplementedError("affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
                                  f"Got size {size}.")
    n = len(size) - 2
    if len(theta._shape) != 3 or theta._shape[1:] != (n, n + 1):
        raise ValueError(f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got {theta.shape}.")
    if align_corners and min(size[2:]) == 1:
        warnings.warn(UNIT, UserWarning, stacklevel=user_level())
    elif min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    return _generated(theta, arguments.check_list_of_ints(size, "affine_grid_generator", "size", 2), align_corners)
