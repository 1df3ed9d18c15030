"""The three transforms of which all others are made: of complex numbers, of real ones, and back to real ones."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.core import storage
from numbagrad.extend import REGISTRY, custom


def op(name):
    return REGISTRY[name].callable


def complex_kind(kind):
    return storage.kind_of(kind.dtype.to_complex(), kind.device)


def _transform(name, x, *args, **options):
    import scipy.fft
    return getattr(scipy.fft, name)(x, *args, **options)


def _scaled(out, found, scale):
    np.multiply(found, np.asarray(scale, found.real.dtype), out=out.array(), casting="same_kind")


@custom(name="fft_c2c", private=True, node="FftC2CBackward0", reference=None)
def c2c(input, dims: tuple, scale: float, forward: bool):
    """Sums of complex numbers times ``exp(-+ 2 pi i j k / n)`` over ``dims``, times ``scale``."""
    return input._shape, input._kind


@c2c.host
def _(out, input, dims, scale, forward):
    if out._n:
        # Either way without a factor: what SciPy calls the norm of the other direction.
        name, norm = ("fftn", "backward") if forward else ("ifftn", "forward")
        _scaled(out, _transform(name, input.array(), axes=dims, norm=norm), scale)


@c2c.gradient
def _(g, dims, scale, forward):
    return c2c(g, dims, scale, not forward)


@custom(name="fft_r2c", private=True, node="FftR2CBackward0", reference=None)
def r2c(input, dims: tuple, scale: float, half: bool):
    """``c2c`` forward of real numbers; ``half``: the first half of the last of ``dims``, whose conjugates the others are."""
    shape = list(input._shape)
    if half:
        shape[dims[-1]] = shape[dims[-1]] // 2 + 1
    return tuple(shape), complex_kind(input._kind)


@r2c.host
def _(out, input, dims, scale, half):
    if out._n:
        _scaled(out, _transform("rfftn" if half else "fftn", input.array(), axes=dims, norm="backward"), scale)


@r2c.gradient
def _(g, shape, dims, scale, half):
    if half:
        missing = shape[dims[-1]] - g._shape[dims[-1]]
        g = op("constant_pad_nd")(g, (0, 0) * (len(shape) - 1 - dims[-1]) + (0, missing))
    return op("real")(c2c(g, dims, scale, False))


@custom(name="fft_c2r", private=True, node="FftC2RBackward0", reference=None)
def c2r(input, dims: tuple, scale: float, last: int):
    """The inverse of ``r2c`` with ``half``, times ``scale`` alone: ``last`` real numbers along the last of ``dims``."""
    shape = list(input._shape)
    shape[dims[-1]] = last
    return tuple(shape), storage.kind_of(input._kind.dtype.to_real(), input._kind.device)


@c2r.host
def _(out, input, dims, scale, last):
    if out._n:
        sizes = [out._shape[d] for d in dims]
        _scaled(out, _transform("irfftn", input.array(), s=sizes, axes=dims, norm="forward"), scale)


@c2r.gradient
def _(g, dims, scale, last):
    found, d = r2c(g, dims, scale, True), dims[-1]
    twice = last - found._shape[d]  # numbers that stand for their conjugates, too
    if twice <= 0:
        return found
    factor = found.new_ones(found._shape[d], dtype=g.dtype)
    factor[1:1 + twice] = 2
    return found * factor.view(-1, *[1] * (len(found._shape) - 1 - d))


def factor(norm, n, forward):
    """What a transform of ``n`` numbers is multiplied by."""
    if norm not in (None, "backward", "forward", "ortho"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (norm == "forward") == forward else 1.0
