"""Sobol sequences: points that fill a cube evenly."""

from __future__ import annotations

import numpy as np

import numbagrad as ng

__all__ = ["SobolEngine"]


class SobolEngine:
    """Points of a (scrambled) Sobol sequence in up to 21201 dimensions, by the direction numbers of Joe and Kuo."""

    MAXBIT, MAXDIM = 30, 21201

    def __init__(self, dimension, scramble=False, seed=None):
        if dimension > self.MAXDIM or dimension < 1:
            raise ValueError(f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}]")
        self.seed, self.scramble, self.dimension = seed, scramble, dimension
        self.sobolstate = ng.from_numpy(_directions(dimension, self.MAXBIT))
        self.shift = ng.zeros(dimension, dtype=ng.int64)
        if scramble:
            self._scramble()
        self.quasi = self.shift.clone()
        self._first_point = (self.quasi / 2 ** self.MAXBIT).reshape(1, -1)
        self.num_generated = 0

    def draw(self, n=1, out=None, dtype=None):
        """The next ``n`` points, one a row."""
        dtype = ng.get_default_dtype() if dtype is None else dtype
        if self.num_generated == 0:
            result = self._first_point.to(dtype)
            if n != 1:
                result = ng.cat((result, self._next(n - 1, 0, dtype)), dim=-2)
        else:
            result = self._next(n, self.num_generated - 1, dtype)
        self.num_generated += n
        return result if out is None else out.resize_as_(result).copy_(result)

    def draw_base2(self, m, out=None, dtype=None):
        """The next ``2**m`` points, where with them a power of two was drawn."""
        n = 2 ** m
        total = self.num_generated + n
        if total & (total - 1) != 0:
            raise ValueError(
                f"The balance properties of Sobol' points require n to be a power of 2. {self.num_generated} points have been "
                f"previously generated, then: n={self.num_generated}+2**{m}={total}. If you still want to do this, please use "
                "'SobolEngine.draw()' instead.")
        return self.draw(n=n, out=out, dtype=dtype)

    def reset(self):
        """Begin anew."""
        self.quasi.copy_(self.shift)
        self.num_generated = 0
        return self

    def fast_forward(self, n):
        """Leave out ``n`` points."""
        if self.num_generated == 0:
            steps = _steps(n - 1, 0)
        else:
            steps = _steps(n, self.num_generated - 1)
        if steps.size:
            self.quasi.numpy()[...] ^= np.bitwise_xor.reduce(self.sobolstate.numpy()[:, steps], axis=1)
        self.num_generated += n
        return self

    def _next(self, n, done, dtype):
        # Point k + 1 differs from point k in the direction of the lowest bit that k has not set.
        points = np.bitwise_xor.accumulate(self.sobolstate.numpy()[:, _steps(n, done)], axis=1) ^ self.quasi.numpy()[:, None]
        if n:
            self.quasi = ng.from_numpy(points[:, -1].copy())
        return ng.from_numpy(np.ascontiguousarray(points.T)).to(dtype) * 2.0 ** -self.MAXBIT

    def _scramble(self):
        g = None
        if self.seed is not None:
            g = ng.Generator()
            g.manual_seed(self.seed)
        bits = ng.randint(2, (self.dimension, self.MAXBIT), generator=g)
        self.shift = (bits << ng.arange(self.MAXBIT)).sum(1)
        lower = ng.randint(2, (self.dimension, self.MAXBIT, self.MAXBIT), generator=g).numpy()
        self.sobolstate = ng.from_numpy(_scrambled(self.sobolstate.numpy(), np.tril(lower), self.MAXBIT))

    def __repr__(self):
        inside = [f"dimension={self.dimension}", *(["scramble=True"] if self.scramble else []),
                  *([f"seed={self.seed}"] if self.seed is not None else [])]
        return f"{type(self).__name__}({', '.join(inside)})"


def _directions(dimension, bits):
    from scipy.stats import _sobol
    found = np.zeros((dimension, bits), np.uint32)
    _sobol._initialize_v(found, dim=dimension, bits=bits)
    return found.astype(np.int64)


def _steps(n, done):
    """For each of ``n`` points after ``done``: the index of the lowest bit that its number has not set."""
    k = np.arange(done, done + max(n, 0), dtype=np.int64)
    return np.frexp((~k & (k + 1)).astype(np.float64))[1] - 1


def _scrambled(state, lower, bits):
    """Direction numbers multiplied by triangles of bits, most significant bit first, modulo 2."""
    shifts = np.arange(bits - 1, -1, -1)
    digits = state[:, :, None] >> shifts & 1
    lower[:, np.arange(bits), np.arange(bits)] = 1
    return (np.einsum("dpk,djk->djp", lower, digits) & 1) @ (1 << shifts)
