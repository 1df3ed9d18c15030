"""``torch.signal.windows``: windows of a length, symmetric for filters or periodic for spectra."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numbagrad as ng

from ..base import dtypes

__all__ = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
           "kaiser", "nuttall"]
strided = dtypes.strided


def _options(name, M, dtype, layout, device, requires_grad):
    """The arguments of a factory, after the checks that all windows share."""
    dtype = dtypes.get_default_dtype() if dtype is None else dtype
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (ng.float32, ng.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    return {"dtype": dtype, "layout": layout, "device": device, "requires_grad": requires_grad}


def _line(start, step, M, options):
    return ng.linspace(start * step, (start + (M - 1)) * step, M, **options)


def exponential(M, *, center=None, tau=1.0, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``exp(-|n - center| / tau)``."""
    options = _options("exponential", M, dtype, layout, device, requires_grad)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    if M == 0:
        return ng.empty(0, **options)
    if center is None:
        center = (M if not sym and M > 1 else M - 1) / 2.0
    step = 1 / tau
    return ng.exp(-ng.abs(ng.linspace(-center * step, (-center + (M - 1)) * step, M, **options)))


def cosine(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``sin(pi (n + 1/2) / M)``: half a wave."""
    options = _options("cosine", M, dtype, layout, device, requires_grad)
    if M == 0:
        return ng.empty(0, **options)
    return ng.sin(_line(0.5, math.pi / (M + 1 if not sym and M > 1 else M), M, options))


def gaussian(M, *, std=1.0, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``exp(-(n / std)^2 / 2)``, counted from the middle."""
    options = _options("gaussian", M, dtype, layout, device, requires_grad)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    if M == 0:
        return ng.empty(0, **options)
    return ng.exp(-_line(-(M if not sym and M > 1 else M - 1) / 2.0, 1 / (std * math.sqrt(2)), M, options) ** 2)


def kaiser(M, *, beta=12.0, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``i0(beta sqrt(1 - x^2)) / i0(beta)``, x from -1 to 1."""
    options = _options("kaiser", M, dtype, layout, device, requires_grad)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    if M < 2:
        return ng.ones(M, **options)
    beta = ng.tensor(beta, dtype=options["dtype"], device=device)
    step = 2.0 * beta / (M - 1 if sym else M)
    # The end may lie behind beta by a rounding, where the root would be of a negative number.
    k = ng.linspace(-beta, ng.minimum(beta, -beta + (M - 1) * step), M, **options)
    return ng.i0(ng.sqrt(beta * beta - k.pow(2))) / ng.i0(beta)


def bartlett(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """A triangle."""
    options = _options("bartlett", M, dtype, layout, device, requires_grad)
    if M < 2:
        return ng.ones(M, **options)
    return 1 - ng.abs(ng.linspace(-1, -1 + (M - 1) * (2 / (M - 1 if sym else M)), M, **options))


def general_cosine(M, *, a, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """The sum of ``(-1)^i a[i] cos(2 pi i n / (M - 1))``."""
    options = _options("general_cosine", M, dtype, layout, device, requires_grad)
    if M < 2:
        return ng.ones(M, **options)
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    k = _line(0, 2 * math.pi / (M - 1 if sym else M), M, options)
    weights = ng.tensor([(-1) ** i * w for i, w in enumerate(a)], dtype=options["dtype"], device=device,
                        requires_grad=requires_grad)
    i = ng.arange(len(weights), dtype=options["dtype"], device=device, requires_grad=requires_grad)
    return (weights.unsqueeze(-1) * ng.cos(i.unsqueeze(-1) * k)).sum(0)


def general_hamming(M, *, alpha=0.54, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``alpha - (1 - alpha) cos(2 pi n / (M - 1))``."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, layout=layout, device=device,
                          requires_grad=requires_grad)


def hamming(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``general_hamming`` with 0.54."""
    return general_hamming(M, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def hann(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``general_hamming`` with 0.5: zero at the ends."""
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def blackman(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``general_cosine`` with 0.42, 0.5, 0.08."""
    _options("blackman", M, dtype, layout, device, requires_grad)
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, dtype=dtype, layout=layout, device=device,
                          requires_grad=requires_grad)


def nuttall(M, *, sym=True, dtype=None, layout=strided, device=None, requires_grad=False):
    """``general_cosine`` of four terms, whose side lobes are the lowest."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, dtype=dtype, layout=layout,
                          device=device, requires_grad=requires_grad)
