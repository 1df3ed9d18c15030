"""First-order linear recurrences along a dimension: what the gradients of running products are made of."""

from __future__ import annotations

import numpy as np

from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY, Sample, T, custom, load, store
from numbagrad.kernel.jit import acc, kernel


@kernel(fast=())
def recur_along(b: "*T", a: "*T", out: "*T", n: int, inner: int, reverse: int, start: int, stop: int):
    """out[i] = b[i] + a[i] * out[i - 1] along the middle of b, a and out (outer, n, inner), from its end with ``reverse``."""
    step = -inner if reverse else inner
    for row in range(start, stop):
        base = row * n * inner
        at = base + (n - 1) * inner if reverse else base
        for k in range(inner):
            out[at + k] = b[at + k]
        for _ in range(1, n):
            at += step
            for k in range(inner):
                out[at + k] = store(T(load(b[at + k]) + load(a[at + k]) * load(out[at - step + k])))


def _reference(b, a, dim, reverse):
    b, a = np.moveaxis(b, dim, 0), np.moveaxis(a, dim, 0)
    out, last = np.zeros_like(b), 0
    for i in range(len(b))[::-1 if reverse else 1]:
        out[i] = last = b[i] + a[i] * last
    return np.moveaxis(out, 0, dim)


@custom(private=True, reference=_reference, samples=(Sample((3, 4), (3, 4), 1, False), Sample((3, 4), (3, 4), 0, True)))
def linear_recurrence(b, a, dim: int, reverse: bool):
    """out[i] = b[i] + a[i] * out[i - 1] along a dimension, from its end (and with out[i + 1]) with ``reverse``."""
    return b._shape, b._kind


@linear_recurrence.cpu
def _(out, b, a, dim, reverse):
    shape = out._shape
    if out._n:
        recur_along.run(out._kind, (b._ptr, a._ptr, out._ptr, shape[dim], numel(shape[dim + 1:]), reverse),
                        numel(shape[:dim]), out._n)


@linear_recurrence.gradient
def _(g, a, y, dim, reverse):
    own = linear_recurrence.call(g, shifted(a, dim, not reverse), dim, not reverse)
    return own, own * shifted(y, dim, reverse)


def shifted(x, dim, reverse, first=0):
    """``x`` moved by one place along ``dim``, towards its start with ``reverse``; the free place gets ``first``."""
    n = x._shape[dim]
    narrow, cat = REGISTRY["narrow"].callable, REGISTRY["cat"].callable
    edge = x.new_full((*x._shape[:dim], min(n, 1), *x._shape[dim + 1:]), first)
    rest = narrow(x, dim, min(n, 1) if reverse else 0, max(n - 1, 0))
    return cat((rest, edge) if reverse else (edge, rest), dim)


# --- running products -------------------------------------------------------------------------------------------------

@kernel(fast=())
def product_back(g: "*T", x: "*T", y: "*T", out: "*T", n: int, inner: int, start: int, stop: int):
    """Gradient of a running product along the middle from g, x and its result y, into out, all (outer, n, inner)."""
    for row in range(start, stop):
        for k in range(inner):
            at = (row * n + n - 1) * inner + k
            later = acc(load(g[at]))
            for _ in range(1, n):
                out[at] = store(T(acc(load(y[at - inner])) * later))
                later = acc(acc(load(g[at - inner])) + acc(load(x[at])) * later)
                at -= inner
            out[at] = store(T(later))


def _product_reference(g, x, y, dim):
    later = _reference(g, np.roll(x, -1, dim), dim, True)
    before = np.moveaxis(np.roll(y, 1, dim), dim, 0).copy()
    before[:1] = 1
    return later * np.moveaxis(before, 0, dim)


@custom(private=True, reference=_product_reference, node="CumprodBackwardBackward0", samples=(
    Sample((3, 4), (3, 4), (3, 4), 1), Sample((3, 4), (3, 4), (3, 4), 0)))
def product_gradient(upstream, input, y, dim: int):
    """Gradient of the running product ``y`` of ``input``: y[i - 1] * s[i], with s[i] = g[i] + input[i + 1] * s[i + 1]."""
    return input._shape, input._kind


@product_gradient.cpu
def _(out, upstream, input, y, dim):
    shape = out._shape
    if out._n:
        product_back.run(out._kind, (upstream._ptr, input._ptr, y._ptr, out._ptr, shape[dim], numel(shape[dim + 1:])),
                         numel(shape[:dim]), out._n)


@product_gradient.gradient
def _(g, upstream, input, y, dim):
    upstream, input, y = [REGISTRY["conj"].callable(t) for t in (upstream, input, y)]
    later = linear_recurrence.call(upstream, shifted(input, dim, True), dim, True)
    own = linear_recurrence.call(g * shifted(y, dim, False, 1), input, dim, False)
    return own, shifted(own, dim, False) * later, shifted(g * later, dim, True)
