"""``torch._higher_order_ops``: functions of functions, which PyTorch would keep as one call of a graph."""

from __future__ import annotations

import sys
import types

import numbagrad as ng

from .core.choice import cond
from .utils import _pytree

__all__ = ["associative_scan", "cond", "while_loop"]
__path__: list = []  # what lies below is in sys.modules


def while_loop(cond_fn, body_fn, carried_inputs):
    """``carried_inputs = body_fn(*carried_inputs)`` as long as ``cond_fn`` of them is true."""
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(f"carried_inputs must be a tuple or list but got {type(carried_inputs)}")
    while cond_fn(*carried_inputs):
        carried_inputs = body_fn(*carried_inputs)
        if not isinstance(carried_inputs, tuple):
            raise RuntimeError(f"body_fn should return a tuple but got {type(carried_inputs)}")
    return carried_inputs


def associative_scan(combine_fn, xs, dim, reverse=False, combine_mode="pointwise"):
    """Running results of an associative function of two slices, by pairs of neighbours: first among the odd places."""
    if not callable(combine_fn):
        raise ValueError(f"Combine_fn must be a callable, but got {combine_fn}")
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(f"Combine_mode must either 'pointwise' or 'generic', but got {combine_mode}")
    leaves, shape = _pytree.tree_flatten(xs)
    if not leaves:
        raise ValueError("Expected at least 1 xs leaf")
    dim = dim % leaves[0].dim()
    if reverse:
        leaves = [x.flip(dim) for x in leaves]

    def combine(a, b):
        return _pytree.tree_leaves(combine_fn(shape.unflatten(a), shape.unflatten(b)))
    leaves = _scan(combine, leaves, dim)
    return shape.unflatten([x.flip(dim) for x in leaves] if reverse else leaves)


def _scan(combine, leaves, dim):
    n = leaves[0].shape[dim]
    if n < 2:
        return leaves

    def every_second(first, last):
        return [x[(slice(None),) * dim + (slice(first, last, 2),)] for x in leaves]
    odd = _scan(combine, combine(every_second(0, n - 1), every_second(1, None)), dim)
    even = every_second(0, 1)
    if n > 2:
        later = combine([x.narrow(dim, 0, (n - 1) // 2) for x in odd], every_second(2, None))
        even = [ng.cat(pair, dim) for pair in zip(even, later)]
    return [_interleaved(a, b, dim) for a, b in zip(even, odd)]


def _interleaved(even, odd, dim):
    """The slices of two tensors by turns; the first may have one more."""
    last = [even.narrow(dim, odd.shape[dim], 1)] if even.shape[dim] > odd.shape[dim] else []
    pairs = ng.stack([even.narrow(dim, 0, odd.shape[dim]), odd], dim + 1).flatten(dim, dim + 1)
    return ng.cat([pairs, *last], dim) if last else pairs


for _name in ("associative_scan", "while_loop"):
    _module = types.ModuleType(f"{__name__}.{_name}", globals()[_name].__doc__)
    setattr(_module, _name, globals()[_name])
    sys.modules[_module.__name__] = _module
