"""``multinomial``: category numbers drawn by weights, in PyTorch's stream."""

from __future__ import annotations

import math

import numpy as np

from ..base import dtypes as dt
from .jit import kernel
from .native import address
from .placeholders import T
from .rng import _HALF, _floating, _widen, exponential, fill_exponential, fill_uniform, round_half, uniform
from .tape import Flag, host

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


@kernel(fast=())
def unlikely(weights: "*T", bad: "*i8", n: int, start: int, stop: int):
    """What is wrong with rows of weights (rows, n), into int64 bad (1,): 0 where one is below 0 or not finite, 1 where all of a
    row are 0."""
    for row in range(start, stop):
        some = False
        for i in range(row * n, row * n + n):
            v = weights[i]
            if not (v >= T(0) and v < T(math.inf)):
                bad[0] = 0
                return
            some = some or v > T(0)
        if not some:
            bad[0] = 1


@kernel(fast=())
def over(weights: "*T", keys: "*T", start: int, stop: int):
    """The quotients of weights (n,) and keys (n,), in the place of keys."""
    for i in range(start, stop):
        keys[i] = weights[i] / keys[i]


@kernel(fast=())
def bisected(weights: "*T", ends: "*T", u: "*f8", out: "*i8", n: int, k: int, start: int, stop: int):
    """Where float64 u (rows, k) lie among the shares of weights (rows, n), into int64 out (rows, k), by ends (rows, n) to work
    in."""
    for row in range(start, stop):
        base, total = row * n, T(0)
        for i in range(base, base + n):
            total += weights[i]
            ends[i] = total
        for i in range(base, base + n):
            ends[i] /= total
        ends[base + n - 1] = T(1)
        for i in range(row * k, row * k + k):
            low, high = 0, n
            while low < high:
                middle = (low + high) // 2
                if np.float64(ends[base + middle]) < u[i]:
                    low = middle + 1
                else:
                    high = middle
            out[i] = low


def _wrong(which):
    raise RuntimeError(WRONG[which])


WRONG = ("probability tensor contains either `inf`, `nan` or element < 0",
         "invalid multinomial distribution (sum of probabilities <= 0)")
UNLIKELY = Flag(_wrong)


def drawn(gen, kind, weights, out, rows, n, k, replacement, scratch):
    """``multinomial`` of float32 or float64 weights at an address into int64 ``out``, k of n for each row; ``scratch`` are the
    addresses of rows * n numbers of their kind, and of rows * k in float64."""
    words = UNLIKELY.take()
    unlikely.run(kind, (weights, words.address, n), rows, 0)
    words.check()
    keys, u = scratch
    if replacement and k > 1:  # a single sample takes the cheaper way below, with or without replacement
        uniform(gen, u, rows * k, 0.0, 1.0, True)
        bisected.run(kind, (weights, keys, u, out, n, k), rows, rows * n)
    else:
        exponential(gen, keys, rows * n, 1.0, kind.dtype.code == "f8")
        over.run(kind, (weights, keys), rows * n, rows * n)
        largest.run(kind, (keys, out, n, k), rows, rows * n)


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
        raise RuntimeError(WRONG[0])
    if not np.all(weights.sum(axis=1) > 0):
        raise RuntimeError(WRONG[1])
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
