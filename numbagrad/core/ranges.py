"""Kernels of evenly spaced numbers, as PyTorch rounds them."""

from __future__ import annotations

from ..kernel.jit import T, kernel, load, power, store


@kernel(fast=())
def steps(out: "*T", start: float, step: float, first: int, stop: int):
    """start + i step, computed in float64, into out (stop,), for i from first on."""
    for i in range(first, stop):
        out[i] = T(start + float(i) * step)


# PyTorch's compiler contracts these products with their sums where the processor can, as ours does.
@kernel(fast=("contract",))
def between(out: "*T", start: float, end: float, n: int):
    """n > 1 numbers from start to end, computed in float64 but for the step, into out (n,): the upper half counts down from
    end."""
    first, last, half = T(start), T(end), n // 2
    step = float(T(T(last - first) / T(n - 1)))
    for i in range(half):
        out[i] = T(float(first) + float(i) * step)
    for i in range(half, n):
        out[i] = T(float(last) - float(n - 1 - i) * step)


@kernel(fast=())
def between_halves(out: "*T", start: float, end: float, n: int):
    """n numbers from start to end into out, of types of two bytes, in which each operation is rounded, counts included."""
    first, last, half = load(store(T(start))), load(store(T(end))), n // 2
    step = load(store(load(store(last - first)) / load(store(T(n - 1)))))
    for i in range(half):
        out[i] = store(first + load(store(load(store(T(i))) * step)))
    for i in range(half, n):
        out[i] = store(last - load(store(load(store(T(n - 1 - i))) * step)))


@kernel
def powers(out: "*T", base: float, n: int):
    """base to the power of each of n numbers, in their place in out (n,)."""
    for i in range(n):
        out[i] = power(T(base), out[i])
