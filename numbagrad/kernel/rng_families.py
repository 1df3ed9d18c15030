"""Random numbers whose parameters are arrays and whose draws are many: gamma, Dirichlet, Poisson and binomial ones.

As in ``rng``, values and the generator's state afterwards are PyTorch's. Parameters and results are addresses of n numbers in
float32, or in float64 where ``wide``."""

from __future__ import annotations

import numpy as np

from . import family_kernels as kernels
from .native import address
from .rng import _store, _widen, launch
from .tape import Flag, host

LEAST = (1.1754943508222875e-38, 2.2250738585072014e-308)
CODES = ("f4", "f8")


def _negative(_):
    raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")


NEGATIVE = Flag(_negative)


def gamma(gen, out, n, wide, alpha):
    """Gamma numbers of rate 1 and shapes ``alpha``: ``_standard_gamma``; never below the least normal number."""
    launch(gen, kernels.gamma[CODES[wide]], n, gen.mt_at, gen.words_at, gen.kept_at, alpha, out, n, not wide, LEAST[wide])


def dirichlet(gen, out, n, wide, alpha, k, scratch):
    """Points of simplices, whose ``k`` numbers lie in a row, by the address of n float64: ``_sample_dirichlet``."""
    if n:
        launch(gen, kernels.dirichlet[CODES[wide]], n, gen.mt_at, gen.words_at, gen.kept_at, alpha, scratch, out, n // k, k,
               not wide, LEAST[wide])


def poisson(gen, out, n, wide, rate):
    """Poisson numbers: ``poisson``."""
    words = NEGATIVE.take()
    launch(gen, kernels.poisson[CODES[wide]], n, gen.mt_at, gen.words_at, rate, out, n, words.address)
    words.check()


def binomial(gen, out, n, wide, count, prob):
    """Binomial numbers: ``binomial``."""
    launch(gen, kernels.binomial[CODES[wide]], n, gen.mt_at, gen.words_at, count, prob, out, n, not wide)


@host
def fill(gen, out, draw, *parameters, k=None):
    """``draw`` into an array of float32 or float64 from arrays like it."""
    scratch = None if k is None else np.empty(out.size)
    more = () if k is None else (k, address(scratch))
    draw(gen, address(out), out.size, out.dtype == np.float64, *map(address, parameters), *more)


@host
def fill_half(gen, out, draw, dtype, *parameters):
    """``draw`` into the storage of a half type, computed in float32."""
    values, parameters = np.empty(out.size, np.float32), [_widen(p, dtype) for p in parameters]
    draw(gen, address(values), out.size, False, *map(address, parameters))
    _store(out, dtype, values)
