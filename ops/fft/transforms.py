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


def sizes(shape, d):
    """(lines before, elements behind) dimension ``d``."""
    return math.prod(shape[:d]), math.prod(shape[d + 1:])


def possible(kind, shape, dims):
    """Whether the kernel makes complex transforms along these dimensions: not of very long lines, nor of large primes."""
    code = kind.dtype.to_real().code
    return all([tables.way(code, *sizes(shape, d), shape[d]) is not None for d in dims])


def way(kind, shape, d, n):
    """``tables.way`` of lines with ``n`` real numbers along dimension ``d``."""
    lines, inner = sizes(shape, d)
    even = n % 2 == 0
    return tables.way(kind.dtype.to_real().code, lines, inner, n // 2 if even else n, even)


def launch(kind, plan, x, y, twists=0, scale=1.0, imaginary=None, weight=1.0, sign=1.0):
    memory, work = kind.alloc(plan.units * plan.room)
    arguments = x, y, work, plan.table, plan.factors, twists, scale, scale if imaginary is None else imaginary, weight, sign
    kernels.transform_lines.run(kind, arguments, plan.units, plan.work)
    del memory  # held until here


def lines(kind, sort, x, y, shape, d, n, back=False, **words):
    """Transform the lines along one dimension of memory of such a shape, from the address x to y."""
    real = storage.kind_of(kind.dtype.to_real())
    plan = tables.along(real.dtype.code, sort, shape, d, n, back, threads.get_num_threads())
    launch(real, plan, x, y, **words)


def long_lines(kind, x, y, count, cut, back, scale):
    """Complex transforms of ``count`` lines in a row, from the address x to y, by columns and rows."""
    real, most = storage.kind_of(kind.dtype.to_real()), threads.get_num_threads()
    code, apart = real.dtype.code, tables.calls(real.dtype.code, count, cut)
    once = count // apart
    n = 2 * once * cut[0] * cut[1]
    memory, between = real.alloc(n)
    twists = tables.twists(code, *cut)
    columns, rows = [f(code, once, *cut, back, most) for f in (tables.columns_of, tables.rows_of)]
    for at in range(0, apart * n * real.itemsize, n * real.itemsize):
        launch(real, columns, x + at, between, twists.address)
        launch(real, rows, between, y + at, scale=scale)
    del memory  # held until here


def several(kind, x, y, shape, dims, forward, scale):
    """Complex transforms along dimensions, one after the other."""
    for i, d in enumerate(dims):
        own = scale if i == len(dims) - 1 else 1.0
        count, behind = sizes(shape, d)
        cut = tables.way(kind.dtype.to_real().code, count, behind, shape[d])
        if cut:
            long_lines(kind, x, y, count, cut, not forward, own)
        else:
            lines(kind, "c2c", x, y, shape, d, shape[d], not forward, scale=own)
        x = y


def from_real(kind, x, y, shape, d, cut, half, scale, imaginary, weight):
    """Spectra of the real lines at the address x along one dimension, at y; ``half``: their first half."""
    if not cut:
        return lines(kind, "r2c" if half else "whole r2c", x, y, shape, d, shape[d], scale=scale, imaginary=imaginary,
                     weight=weight)
    count, points = sizes(shape, d)[0], shape[d] // 2
    memory, z = kind.alloc(count * shape[d])
    long_lines(kind, x, z, count, cut, False, 1.0)
    circle, row = tables.halves(kind.dtype.code, points), points + 1 if half else 2 * points
    arguments = z, y, circle.address, points, row, scale, imaginary, weight
    kernels.real_spectrum.run(kind, arguments, count * (points // 2 // kernels.CHUNK + 1), 4 * count * points)
    del memory  # held until here


def to_real(kind, x, y, shape, d, cut, half, forward, scale, weight):
    """Real lines at the address y, of ``shape``, of spectra at x, or of the first half of them."""
    n, sign = shape[d], -1.0 if forward else 1.0
    if not cut:
        # Of an even length the steps are those of one direction, on what is conjugated before; of an odd one those of either.
        return lines(kind, "c2r" if half else "whole c2r", x, y, shape, d, n, n % 2 == 0 or not forward, scale=scale,
                     weight=weight, sign=sign)
    count, points = sizes(shape, d)[0], n // 2
    memory, z = kind.alloc(count * n)
    circle, row = tables.halves(kind.dtype.code, points), points + 1 if half else n
    arguments = x, z, circle.address, points, row, weight, sign
    kernels.spectrum_parts.run(kind, arguments, count * (points // 2 // kernels.CHUNK + 1), 4 * count * points)
    long_lines(kind, z, y, count, cut, True, scale)
    del memory  # held until here


def _scipy(name, x, **options):
    import scipy.fft
    return getattr(scipy.fft, name)(x, workers=threads.get_num_threads() if x.size >= threads.LIMIT[0] else 1, **options)


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
    if out._n and possible(out._kind, out._shape, dims):
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
    cut = way(input._kind, shape, d, shape[d])
    if cut is None or not possible(out._kind, out._shape, others) or others and not half:
        found = _scipy("rfftn" if half else "fftn", input.array(), axes=dims, norm="backward")
        if twice and half:
            np.moveaxis(found, d, 0)[inner(shape[d])] *= 2
        return _scaled(out, found if forward else found.conj(), scale)
    own = 1.0 if others else scale
    # (The conjugate of the first dimension's is transformed in the other direction.)
    from_real(input._kind, input._ptr, out._ptr, shape, d, cut, half, own, own if forward else -own,
              1.0 if twice and half else 0.5)
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
    cut = way(out._kind, out._shape, d, last)
    if cut is None or not possible(input._kind, input._shape, others) or others and not half:
        return _scaled(out, _real_by_scipy(out, input.array(), dims, last, half, forward, twice), scale)
    x, memory = input._ptr, None
    if others:
        memory, x = input._kind.alloc(input._n)
        several(input._kind, input._ptr, x, input._shape, others, forward, 1.0)
    to_real(out._kind, x, out._ptr, out._shape, d, cut, half, forward, scale, 1.0 if twice or not half else 0.5)
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
