"""Rearrangements of pixels and channels."""

from __future__ import annotations

from numbagrad.core.copying import copy_into
from numbagrad.core.tensor import numel, raw_view
from numbagrad.extend import Sample, custom

from ..product.product import reshaped

SPACES = {"namespaces": ("nn.functional",), "method": False}


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


def _channel_reference(x, groups):
    b, c = x.shape[:2]
    return x.reshape(b, groups, c // groups, -1).swapaxes(1, 2).reshape(x.shape)


@custom(reference=_channel_reference, samples=(Sample((2, 6, 3), 2), Sample((1, 4, 2, 2), 4)), dtypes="any",
        node="ChannelShuffleBackward0", namespaces=("torch", "nn.functional"), method=False,
        aliases=("native_channel_shuffle",))
def channel_shuffle(input, groups: int):
    """The channels ``(n, g c, *)`` in the order of one of every group, then the next of every group."""
    shape = input._shape
    if len(shape) <= 2:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if shape[1] % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {shape[1]} channels and {groups} groups.")
    return shape, input._kind


@channel_shuffle.cpu
def _(out, input, groups):
    b, c, *rest = input._shape
    parts = reshaped(input, (b, groups, c // groups, numel(rest)))
    copy_into(reshaped(out, (b, c // groups, groups, numel(rest))), raw_view(parts, (0, 2, 1, 3)))


@channel_shuffle.gradient
def _(g, shape, groups):
    return channel_shuffle(g, shape[1] // groups)
