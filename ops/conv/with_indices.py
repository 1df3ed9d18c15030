"""Max pools that return the places of the maxima whether asked or not, as PyTorch names them."""

from __future__ import annotations

import numpy as np

from numbagrad.extend import REGISTRY, function

from .pool import SPACES


def _places(x, values, n):
    """Where the values of pools lie in the planes of x, whose elements differ."""
    planes, found = x.reshape(-1, int(np.prod(x.shape[-n:]))), values.reshape(-1, int(np.prod(values.shape[-n:])))
    return np.array([[np.flatnonzero(p == v)[0] for v in row] for p, row in zip(planes, found)]).reshape(values.shape)


def _declare(op, n, fn):
    """``fn`` as an op beside ``op``, whose arguments it takes."""
    name = op.name + "_with_indices"
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"``{op.name}`` and the flat positions of the maxima in their planes."

    def reference(x, *args, **kwargs):
        values = op.reference(x, *args, **kwargs)
        return values, _places(x, values, n)
    return function(fn, reference=reference, samples=op.samples, kinds=op.kinds, **SPACES)


def _sliding(n):
    pool = REGISTRY[f"max_pool{n}d"]

    def both(input, kernel_size: object, stride: object = None, padding: object = 0, dilation: object = 1,
             ceil_mode: bool = False, return_indices: bool = False):
        return pool.fn(input, kernel_size, stride, padding, dilation, ceil_mode, True)
    return _declare(pool, n, both)


def _adaptive(n):
    pool = REGISTRY[f"adaptive_max_pool{n}d"]

    def both(input, output_size: object, return_indices: bool = False):
        return pool.callable(input, output_size, True)
    return _declare(pool, n, both)


def _fractional(n):
    pool = REGISTRY[f"fractional_max_pool{n}d"]

    def both(input, kernel_size: object, output_size: object = None, output_ratio: object = None,
             return_indices: bool = False, _random_samples=None):
        return pool.callable(input, kernel_size, output_size, output_ratio, True, _random_samples)
    return _declare(pool, n, both)


for _n in (1, 2, 3):
    _sliding(_n)
    _adaptive(_n)
    if _n > 1:
        _fractional(_n)
