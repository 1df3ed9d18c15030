"""``multinomial``: category numbers drawn by weights, in PyTorch's stream."""

from __future__ import annotations

import math

import numpy as np

from ..base import dtypes as dt
from .jit import kernel
from .native import address
from .rng import _HALF, _floating, _widen, fill_exponential, fill_uniform, round_half
from .tape import host

FEW = 64  # samples up to which a list of the largest keys so far is quicker than sorting


@kernel(fast=())
def largest(keys: "*T", out: "*i8", n: int, k: int, start: int, stop: int):
    """Positions of the k largest of each row of keys (rows, n), in order, into out (rows, k); of equal ones the first."""
    for row in range(start, stop):
        base, at, held = row * n, row * k, 0
        least = keys[base]
        for i in range(n):
            v = keys[base + i]
            if held < k or v > least:
                held = min(held + 1, k)
                p = held - 1
                while p > 0 and v > keys[base + out[at + p - 1]]:
                    out[at + p] = out[at + p - 1]
                    p -= 1
                out[at + p] = i
                least = keys[base + out[at + held - 1]]


def check_multinomial(n, replacement, categories):
    """RuntimeError for counts that cannot be drawn."""
    if n <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and n > categories:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if categories > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")


@host
def fill_multinomial(gen, out, probs, categories, replacement=False, dtype=None):
    """``multinomial`` of weights in a row (rows * categories) into ``out`` (rows * n)."""
    if out.size:
        rows = probs.size // categories
        out[:] = multinomial(gen, probs.reshape(rows, categories), out.size // rows, replacement, dtype).reshape(-1)


def multinomial(gen, probs, n, replacement=False, dtype=None):
    """Category indices, shape (rows, n), drawn with weights ``probs`` (rows, categories): ``multinomial``.

    float32 or float64 weights need not sum to one; a half type passes uint16 storage and its ``dtype``. Among equal
    keys (zero weights, half types) the lower category comes first; PyTorch leaves that order open."""
    rows, categories = probs.shape
    name = _floating(np.ascontiguousarray(probs).reshape(-1), dtype, "multinomial")
    check_multinomial(n, replacement, categories)
    out = np.empty((rows, n), np.int64)
    if out.size == 0:
        return out
    weights = _widen(np.ascontiguousarray(probs), name) if name in _HALF else probs
    if not (weights.size and weights.min() >= 0 and weights.max() < math.inf):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not np.all(weights.sum(axis=1) > 0):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if replacement and n > 1:  # a single sample takes the cheaper way below, with or without replacement
        u = np.empty(rows * n)
        fill_uniform(gen, u)
        for row in range(rows):
            ends = np.add.accumulate(weights[row])
            ends /= ends[-1]
            ends[-1] = 1
            out[row] = np.searchsorted(ends.astype(np.float64), u[row * n:row * n + n])
        return out
    keys = np.empty(rows * categories, "u2" if name in _HALF else weights.dtype)
    fill_exponential(gen, keys, dtype=name)
    keys = (_widen(keys, name) if name in _HALF else keys).reshape(weights.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(weights, keys, out=keys)
    if name in _HALF:
        keys = _widen(round_half(keys, name), name)
    if n <= FEW:
        largest.run(dt.float64 if name == "float64" else dt.float32, (address(keys), address(out), categories, n), rows,
                    keys.size)
    else:
        out[:] = np.argsort(-keys, axis=1, kind="stable")[:, :n]
    return out
