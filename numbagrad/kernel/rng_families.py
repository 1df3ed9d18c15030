"""Random numbers whose parameters are arrays and whose draws are many: gamma, Dirichlet, Poisson and binomial ones.

As in ``rng``, values and the generator's state afterwards are PyTorch's. Parameters and results are 1-D arrays in storage
type; ``dtype`` names a half type that uint16 storage holds."""

from __future__ import annotations

import numpy as np

from . import family_kernels as kernels
from .native import address
from .rng import _HALF, _store, _widen
from .tape import host

LEAST = {"float32": 1.1754943508222875e-38, "float64": 2.2250738585072014e-308}


def _double(values, dtype=None):
    """Parameters in float64."""
    return np.ascontiguousarray(_widen(values, dtype) if dtype in _HALF else values, np.float64)


def _gammas(gen, concentration, single):
    alpha, drawn = _double(concentration), np.empty(concentration.size)
    with gen.lock:
        kernels.gamma.entry(gen.mt_at, gen.kept_at, address(alpha), address(drawn), drawn.size, single)
    return drawn


@host
def fill_gamma(gen, out, concentration):
    """Gamma numbers of rate 1: ``_standard_gamma``; float32 and float64, never below the least normal number."""
    drawn = _gammas(gen, concentration, out.dtype == np.float32)
    out[:] = np.fmax(drawn, LEAST[out.dtype.name], out=drawn)  # NaN becomes the least too, as in PyTorch


@host
def fill_dirichlet(gen, out, concentration, categories):
    """Points of simplices, whose ``categories`` lie in a row: ``_sample_dirichlet``."""
    if not out.size:
        return
    drawn = np.fmax(_gammas(gen, concentration, False), LEAST["float64"]).reshape(-1, categories)
    shares = (drawn / drawn.sum(1, keepdims=True)).astype(out.dtype).reshape(-1)
    out[:] = np.clip(shares, LEAST[out.dtype.name], np.nextafter(out.dtype.type(1), out.dtype.type(0)))


@host
def fill_poisson(gen, out, rate, dtype=None):
    """Poisson numbers: ``poisson``; any floating dtype."""
    rate, drawn = _double(rate, dtype), np.empty(out.size)
    if not np.all(rate >= 0):
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    with gen.lock:
        kernels.poisson.entry(gen.mt_at, address(rate), address(drawn), drawn.size)
    _store(out, dtype or out.dtype.name, drawn)


@host
def fill_binomial(gen, out, count, prob):
    """Binomial numbers: ``binomial``; float32 and float64."""
    count, prob, drawn = _double(count), _double(prob), np.empty(out.size)
    with gen.lock:
        kernels.binomial.entry(gen.mt_at, address(count), address(prob), address(drawn), drawn.size,
                               out.dtype == np.float32)
    _store(out, out.dtype.name, drawn)
