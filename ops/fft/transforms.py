"""The three transforms of which all others are made: of complex numbers, of real ones, and back to real ones."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.core import storage
from numbagrad.extend import REGISTRY, custom
from numbagrad.kernel import threads

from . import kernels, tables


def op(name):
    return REGISTRY[name].callable


def complex_kind(kind):
    return storage.kind_of(kind.dtype.to_complex(), kind.device)


def possible(*sizes):
    """Whether the kernel makes transforms of these lengths: not those of very long lines, nor of large primes."""
    return all(map(tables.possible, sizes))


def run(kind, sort, x, y, shape, d, n, back=False, scale=1.0, imaginary=None, weight=1.0, sign=1.0):
    """Transform the lines along one dimension of memory of such a shape, from the address x to y."""
    real = storage.kind_of(kind.dtype.to_real())
    plan = tables.along(real.dtype.code, sort, shape, d, n, back, threads.get_num_threads())
    memory, work = real.alloc(plan.units * plan.room)
    arguments = x, y, work, plan.table, plan.factors, 0, scale, scale if imaginary is None else imaginary, weight, sign
    kernels.transform_lines.run(real, arguments, plan.units, plan.work)
    del memory  # held until here


def several(kind, x, y, shape, dims, forward, scale):
    """Complex transforms along dimensions, one after the other."""
    for i, d in enumerate(dims):
        run(kind, "c2c", y if i else x, y, shape, d, shape[d], not forward, scale if i == len(dims) - 1 else 1.0)


def _scipy(name, x, *args, **options):
    import scipy.fft
    return getattr(scipy.fft, name)(x, *args, **options)


def _scaled(out, found, scale):
    np.multiply(found, np.asarray(scale, found.real.dtype), out=out.array(), casting="same_kind")


def inner(n):
    """The numbers of the first half of a spectrum that stand for their conjugates, too."""
    return slice(1, (n + 1) // 2)


@custom(name="fft_c2c", private=True, node="FftC2CBackward0", reference=None)
def c2c(input, dims: tuple, scale: float, forward: bool):
    """Sums of complex numbers times ``exp(-+ 2 pi i j k / n)`` over ``dims``, times ``scale``."""
    return input._shape, input._kind


@c2c.host
def _(out, input, dims, scale, forward):
    if out._n and possible(*[out._shape[d] for d in dims]):
        several(input._kind, input._ptr, out._ptr, out._shape, dims, forward, scale)
    elif out._n:
        # Either way without a factor: what SciPy calls the norm of the other direction.
        name, norm = ("fftn", "backward") if forward else ("ifftn", "forward")
        _scaled(out, _scipy(name, input.array(), axes=dims, norm=norm), scale)


@c2c.gradient
def _(g, dims, scale, forward):
    return c2c(g, dims, scale, not forward)


@custom(name="fft_r2c", private=True, node="FftR2CBackward0", reference=None)
def r2c(input, dims: tuple, scale: float, half: bool, forward: bool, twice: bool):
    """``c2c`` of real numbers; ``half``: the first half of the last of ``dims``, whose conjugates the others are. ``twice``:
    numbers that stand for their conjugates, too, count for two."""
    shape = list(input._shape)
    if half:
        shape[dims[-1]] = shape[dims[-1]] // 2 + 1
    return tuple(shape), complex_kind(input._kind)


@r2c.host
def _(out, input, dims, scale, half, forward, twice):
    shape, d, others = input._shape, dims[-1], dims[:-1]
    if not out._n:
        return
    if not possible(*[shape[d] for d in dims]) or others and not half:
        found = _scipy("rfftn" if half else "fftn", input.array(), axes=dims, norm="backward")
        if twice and half:
            np.moveaxis(found, d, 0)[inner(shape[d])] *= 2
        return _scaled(out, found if forward else found.conj(), scale)
    own = 1.0 if others else scale
    # (The conjugate of the first dimension's is transformed in the other direction.)
    run(input._kind, "r2c" if half else "whole r2c", input._ptr, out._ptr, shape, d, shape[d], False, own,
        own if forward else -own, 1.0 if twice and half else 0.5)
    several(out._kind, out._ptr, out._ptr, out._shape, others, forward, scale)


@r2c.gradient
def _(g, shape, dims, scale, half, forward, twice):
    return c2r(g, dims, scale, shape[dims[-1]], half, not forward, twice)


@custom(name="fft_c2r", private=True, node="FftC2RBackward0", reference=None)
def c2r(input, dims: tuple, scale: float, last: int, half: bool, forward: bool, twice: bool):
    """Real parts of ``c2c``, ``last`` along the last of ``dims``; ``half``: of the first half of the numbers there, which count
    for two (``twice``) where they stand for their conjugates, too."""
    shape = list(input._shape)
    shape[dims[-1]] = last
    return tuple(shape), storage.kind_of(input._kind.dtype.to_real(), input._kind.device)


@c2r.host
def _(out, input, dims, scale, last, half, forward, twice):
    d, others = dims[-1], dims[:-1]
    if not out._n:
        return
    if not possible(*[out._shape[d] for d in dims]) or others and not half:
        return _scaled(out, _real_by_scipy(out, input.array(), dims, last, half, forward, twice), scale)
    x, memory = input._ptr, None
    if others:
        memory, x = input._kind.alloc(input._n)
        several(input._kind, input._ptr, x, input._shape, others, forward, 1.0)
    # Of an even length the steps are those of one direction, on what is conjugated before; of an odd one those of either.
    run(input._kind, "c2r" if half else "whole c2r", x, out._ptr, out._shape, d, last, last % 2 == 0 or not forward, scale,
        weight=1.0 if twice or not half else 0.5, sign=-1.0 if forward else 1.0)
    del memory  # held until here


def _real_by_scipy(out, x, dims, last, half, forward, twice):
    x = x.conj() if forward else x
    if not half:
        return _scipy("ifftn", x, axes=dims, norm="forward").real
    if not twice:
        x = x.copy()
        np.moveaxis(x, dims[-1], 0)[inner(last)] *= 0.5
    return _scipy("irfftn", x, s=[out._shape[d] for d in dims], axes=dims, norm="forward")


@c2r.gradient
def _(g, dims, scale, last, half, forward, twice):
    return r2c(g, dims, scale, half, not forward, twice)


conjugated = r2c.recorded_as("ConjBackward0")  # what PyTorch conjugates behind it


def factor(norm, n, forward):
    """What a transform of ``n`` numbers is multiplied by."""
    if norm not in (None, "backward", "forward", "ortho"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (norm == "forward") == forward else 1.0
