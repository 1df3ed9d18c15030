"""Power-average pooling: the p-norm of every window."""

from __future__ import annotations

import math

from numbagrad.base import arguments
from numbagrad.extend import REGISTRY, Sample, Tensor, function

from .pool import SPACES, _boxes, _sizes


def _lp_pool(n, samples):
    name = f"lp_pool{n}d"
    most, mean = REGISTRY[f"max_pool{n}d"].callable, REGISTRY[f"avg_pool{n}d"].fn

    def pool(input, norm_type: float, kernel_size: object, stride: object = None, ceil_mode: bool = False):
        if not isinstance(input, Tensor):
            raise arguments.wrong(input, "Tensor", name, "input", 1)
        if norm_type in (math.inf, -math.inf):
            at_most = (kernel_size, stride, 0, 1, ceil_mode)
            return most(abs(input), *at_most) if norm_type > 0 else -most(-abs(input), *at_most)
        kernel = _sizes(name, "kernel_size", kernel_size, n)
        found = mean(input ** norm_type, kernel, stride, 0, ceil_mode, True)
        if norm_type == 0:
            raise ZeroDivisionError("float division by zero")
        return (REGISTRY["sign"].call(found) * REGISTRY["relu"].callable(abs(found)) * math.prod(kernel)) ** (1.0 / norm_type)

    pool.__name__ = pool.__qualname__ = name
    over = ("dimension", "two dimensions", "three dimensions")[n - 1]
    pool.__doc__ = f"The p-norm of every window over the last {over}; one cut off by the border is scaled up to its full size."

    def reference(x, p, k, stride=None, ceil_mode=False):
        return (_boxes(x, k, stride, 0, 1, ceil_mode, n, 0.0) ** p).sum(-1) ** (1 / p)
    return function(pool, reference=reference, domain=(0.5, 2.0), samples=samples, **SPACES)


lp_pool1d = _lp_pool(1, (Sample((2, 3, 6), 2, 2), Sample((1, 2, 5), 3, 3, 1)))
lp_pool2d = _lp_pool(2, (Sample((2, 3, 6, 4), 2, 2), Sample((1, 2, 5, 5), 3, (2, 3), 1)))
lp_pool3d = _lp_pool(3, (Sample((1, 2, 4, 4, 2), 2, 2), Sample((1, 2, 3, 3, 4), 3, (2, 3, 2), 1)))
