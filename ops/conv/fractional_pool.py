"""Fractional max pooling: windows whose distances are drawn, so that the size shrinks by any factor."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.tensor import numel
from numbagrad.dispatch.custom import CustomNode, invoke
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function, inline, load, store
from numbagrad.kernel.jit import kernel, strip, wide_strip
from numbagrad.kernel.lanes import SIZES

from ..product.gemm import node_class
from .pixels import pairs
from .pool import SPACES, to_places

SAMPLES = np.array([[[0.1, 0.7, 0.4], [0.5, 0.9, 0.2]]])


@inline
def window_start(i, sample, size, out, pool):
    """Where window i of ``out`` begins; roundings are those of the tensor's dtype, as in PyTorch."""
    last = size - pool
    if i == out - 1:
        return last
    alpha = load(store(T(last) / T(out - 1)))
    first = load(store(load(store(T(i) + sample)) * alpha))
    found = int(first) - int(load(store(sample * alpha)))
    return min(max(found, 0), last)


@kernel
def fractional_max(x: "*T", samples: "*T", y: "*T", where: "*i8", d: int, h: int, w: int, od: int, oh: int, ow: int,
                   kd: int, kh: int, kw: int, flat: int, start: int, stop: int):
    """Maxima of drawn windows of x (planes, d, h, w) into y and their places into int64 where, both (planes, od, oh, ow); a
    plane's numbers in samples (planes, 2 or 3) shift its windows, and those of an image begin with its columns."""
    for plane in range(start, stop):
        n = 2 if flat else 3
        by_d = T(0) if flat else load(samples[plane * n])
        by_h = load(samples[plane * n + 1])
        by_w = load(samples[plane * n + (0 if flat else 2)])
        q = plane * od * oh * ow
        base = plane * d * h * w
        for a in range(od):
            z = 0 if flat else window_start(a, by_d, d, od, kd)
            for b in range(oh):
                r = window_start(b, by_h, h, oh, kh)
                for e in range(ow):
                    c = window_start(e, by_w, w, ow, kw)
                    at = (z * h + r) * w + c
                    best = T(-np.inf)
                    for i in range(z, z + kd):
                        for j in range(r, r + kh):
                            p = (i * h + j) * w
                            for k in range(p + c, p + c + kw):
                                v = load(x[base + k])
                                new = (v > best) | (v != v)  # the last NaN wins
                                best = v if new else best
                                at = k if new else at
                    y[q] = store(best)
                    where[q] = at
                    q += 1


@kernel
def fractional_max_of_pairs(x: "*T", samples: "*T", y: "*T", where: "*i8", d: int, h: int, w: int, od: int, oh: int, ow: int,
                            kd: int, kh: int, kw: int, flat: int, start: int, stop: int):
    """``fractional_max`` of x (planes, d, h, w) with samples (planes, 2 or 3) into y and int64 where (planes, od, oh, ow), for
    windows of two columns at least: those of a row are looked at together, two columns at a time."""
    columns, place = wide_strip(), wide_strip()
    found, best = strip(), strip()
    for plane in range(start, stop):
        n = 2 if flat else 3
        by_d = T(0) if flat else load(samples[plane * n])
        by_h = load(samples[plane * n + 1])
        by_w = load(samples[plane * n + (0 if flat else 2)])
        for left in range(0, ow, 128):
            count = min(128, ow - left)
            for e in range(count):
                columns[e] = float(window_start(left + e, by_w, w, ow, kw))
            for e in range(count, min(128, count + 7)):  # what fills the last eight
                columns[e] = 0.0
            for a in range(od):
                z = 0 if flat else window_start(a, by_d, d, od, kd)
                for b in range(oh):
                    top = (z * h + window_start(b, by_h, h, oh, kh)) * w
                    for e in range(count):
                        best[e] = T(-np.inf)
                        place[e] = 0.0
                    for i in range(top, top + kd * h * w, h * w):
                        for j in range(i, i + kh * w, w):
                            for k in range(0, kw, 2):
                                p = j + min(k, kw - 2)  # of an odd number the last but one is looked at twice
                                for e in range(0, count, 8):
                                    pairs(x, plane * d * h * w + p, columns, e, found, e)
                                first = float(p - top)
                                for e in range(count):
                                    u, v = found[e], found[e + 128]
                                    old, at = best[e], place[e]
                                    new = (u > old) | (u != u)  # the last NaN wins
                                    old, at = u if new else old, first if new else at
                                    new = (v > old) | (v != v)
                                    best[e] = v if new else old
                                    place[e] = first + 1.0 if new else at
                    q = ((plane * od + a) * oh + b) * ow + left
                    for e in range(count):
                        y[q + e] = best[e]
                        where[q + e] = top + int(columns[e]) + int(place[e])


@custom(private=True, node="FractionalMaxPool2DBackward0", reference=None, connected=True)
def drawn_maxima(input, samples, size: tuple, kernel_size: tuple):
    """Maxima of windows of ``kernel_size``, ``size`` of them, and where they lie in their plane."""
    shape = (*input._shape[:-len(size)], *size)
    return [(shape, input._kind), (shape, storage.kind_of(dt.int64, input._kind.device))]


@drawn_maxima.cpu
def _(outs, input, samples, size, kernel_size):
    y, where = outs
    if y._n:
        n, one = len(size), (1,) * (3 - len(size))
        paired = kernel_size[-1] > 1 and input._kind.cpu and input._kind.dtype.code in SIZES
        run = fractional_max_of_pairs if paired else fractional_max
        run.run(input._kind, (input._ptr, samples._ptr, y._ptr, where._ptr, *one, *input._shape[-n:], *one, *size, *one,
                              *kernel_size, n == 2), numel(input._shape[:-n]), max(y._n * max(1, numel(kernel_size)), 1))


@drawn_maxima.gradient
def _(g, y1, shape, size):
    return to_places(g, y1, shape[-len(size):]), None


NODE_3D = node_class("FractionalMaxPool3DBackward0", CustomNode, drawn_maxima, connected=True)


def _sizes(name, what, value, n):
    value = arguments.check_ints(value, name, what, 2 if what == "kernel_size" else 3)
    if isinstance(value, int):
        return (value,) * n
    if len(value) == n:
        return value
    if len(value) == 1 and what == "kernel_size":
        return value * n
    raise RuntimeError(f"{name}: {what} must either be a single Int or tuple of {'Ints' if n == 2 else 'three Ints'}")


def _check(name, n, input, size, kernel):
    """PyTorch's complaints about the input and the sizes, in its order."""
    shape, said = input._shape, name + ("()" if n == 2 else "_out()")
    if len(shape) not in (n + 1, n + 2):
        raise RuntimeError(f"{said}: Expected {n + 1}D or {n + 2}D tensor, but got: {list(shape)}")
    for i in range(len(shape) - n - 1, len(shape)):
        if not shape[i]:
            raise RuntimeError(f"{said}: Expected input to have non-zero size for non-batch dimensions, but got{list(shape)} "
                               f"with dimension {i} being empty.")
    for what, full, out, k in zip(("time", "height", "width")[3 - n:], shape[-n:], size, kernel):
        if out + k - 1 > full - (n == 3):  # PyTorch wants one more of volumes
            raise RuntimeError(f"{said}: pool {what} {k} too large relative to input {what} {full}")
    if min(size) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {[*shape[:-n], *size]}")


def _check_samples(n, input, samples):
    """PyTorch's complaints about the drawn numbers."""
    if samples._kind.dtype is not input._kind.dtype:
        raise RuntimeError("Expect _random_samples to have the same dtype as input")
    s = samples._shape
    if len(s) != 3:
        raise RuntimeError(f"Expect _random_samples to have 3 dimensions, got {len(s)}")
    batch = 1 if len(input._shape) == n + 1 else input._shape[0]
    if s[0] < batch:
        raise RuntimeError("Expect _random_samples.size(0) no less then input batch size.")
    if s[1] != input._shape[-n - 1]:
        raise RuntimeError("Expect _random_samples.size(1) equals to input channel size.")
    if s[2] != n:
        raise RuntimeError(f"Expect _random_samples.size(2) equals to {n}; got {s[2]}.")


def pooled(n, input, kernel_size, output_size, output_ratio, samples):
    """(maxima, places)."""
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if not isinstance(input, Tensor):
        raise arguments.wrong(input, "Tensor", name, "input", 1)
    shape = input._shape
    if output_size is None:
        if n == 2 and len(output_ratio) > 2:
            raise ValueError(f"{name} requires output_ratio to either be a single Int or tuple of Ints.")
        ratio = tuple(output_ratio) if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
        output_size = tuple([int(input.size(i - n) * ratio[i]) for i in range(n)])
    if samples is None:
        channels = input.size(-n - 1)
        samples = REGISTRY["rand"].callable(1 if len(shape) == n + 1 else shape[0], channels, n, dtype=input.dtype,
                                            device=input.device)
    if not isinstance(samples, Tensor):
        raise arguments.wrong(samples, "Tensor", name, "random_samples", 4)
    kernel, size = _sizes(name, "kernel_size", kernel_size, n), _sizes(name, "output_size", output_size, n)
    _check(name, n, input, size, kernel)
    _check_samples(n, input, samples)
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"{name}_out_frame\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    return invoke(drawn_maxima, (input, samples), (size, kernel), NODE_3D if n == 3 else None)


def _fractional(n, samples):
    name = f"fractional_max_pool{n}d"
    kinds = dict.fromkeys(("kernel_size", "output_size", "output_ratio"), "any")

    def pool(input, kernel_size: object, output_size: object = None, output_ratio: object = None, return_indices: bool = False,
             _random_samples=None):
        found = pooled(n, input, kernel_size, output_size, output_ratio, _random_samples)
        return found if return_indices else found[0]

    def reference(x, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
        planes, drawn = x.reshape(-1, *x.shape[-n:]), np.asarray(_random_samples).reshape(-1, n)
        out = np.zeros((len(planes), *output_size))
        for p, o in np.ndindex(len(planes), int(np.prod(output_size))):
            cut = []
            for axis, i in enumerate(np.unravel_index(o, output_size)):
                sample = drawn[p][1 - axis if n == 2 else axis]
                last, count = x.shape[axis - n] - kernel_size, output_size[axis]
                alpha = last / (count - 1) if count > 1 else 0
                first = last if i == count - 1 else int((i + sample) * alpha) - int(sample * alpha)
                cut.append(slice(first, first + kernel_size))
            out[p].flat[o] = planes[p][tuple(cut)].max()
        return out.reshape(*x.shape[:-n], *output_size)
    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = (f"Maxima of ``output_size`` windows, or of ``output_ratio`` times the size, over the last {n} dimensions.\n"
                    "\nThe windows lie at distances that are drawn for every plane (``_random_samples`` (N, C, "
                    f"{n}), between 0 and 1);\n``return_indices`` gives also the flat position of each maximum in its plane.")
    return function(pool, kinds=kinds, reference=reference, samples=samples, **SPACES)


fractional_max_pool2d = _fractional(2, (Sample((1, 2, 6, 7), 2, (3, 4), None, False, SAMPLES[..., :2]),
                                        Sample((2, 5, 5), 3, (2, 3), None, False, SAMPLES[..., 1:])))
fractional_max_pool3d = _fractional(3, (Sample((1, 2, 5, 4, 6), 2, (3, 2, 4), None, False, SAMPLES),))
