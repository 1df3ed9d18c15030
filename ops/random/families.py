"""Draws of families whose parameters are tensors, in PyTorch's streams; those of gamma numbers have a gradient."""

from __future__ import annotations

from numbagrad.base import dtypes as dt
from numbagrad.base.modes import is_grad_enabled
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.core.tensor import make
from numbagrad.core.underived import underived
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel import rng_families as rng
from numbagrad.kernel.tape import capturing
from numbagrad.random import engine_of

from .draw import FLOAT64, OPTIONS, WIDE, _record, half, memory, on_host
from .implicit_gradients import gamma_slope, same_dtype

POSITIVE = {**OPTIONS, "domain": (0.3, 4.0)}


def _row_major(t):
    if not t._kind.cpu:
        t = t.detach().cpu()
    return t if t._strides is None and t._buf.size == t._n else contiguous_copy(t)


def _refuse_half(name, t):
    """What PyTorch draws in float32 and float64 only."""
    if t._kind.dtype is not dt.float32 and t._kind.dtype is not dt.float64:
        raise NotImplementedError(f"\"{name}\" not implemented for '{dt.scalar_name(t._kind.dtype)}'")


def _drawn(like, draw, generator, parameters, k=None):
    """A tensor in the shape and dtype of ``like``, drawn by tensors of parameters; ``k`` of its numbers belong together."""
    t, gen, parameters = make(like._shape, like._kind), engine_of(generator), [_row_major(p) for p in parameters]
    wide = WIDE.get(t._kind)
    if wide is not None and not capturing():
        scratch = None if k is None else make((t._n,), FLOAT64)
        draw(gen, t._ptr, t._n, wide, *[p._ptr for p in parameters], *(() if k is None else (k, scratch._ptr)))
    elif t._kind.itemsize == 2:
        on_host(t, lambda here: rng.fill_half(gen, memory(here), draw, half(here), *map(memory, parameters)))
    else:
        on_host(t, lambda here: rng.fill(gen, memory(here), draw, *map(memory, parameters), k=k))
    return t


@custom(private=True, node="StandardGammaBackward0", reference=None, random=True)
def gamma_draw(input, drawn):
    """``drawn``, gamma numbers of the shapes ``input``, with their derivative by these."""
    return input._shape, input._kind


@gamma_draw.cpu
def _(out, input, drawn):
    copy_into(out, drawn)


@gamma_draw.gradient
def _(g, y, input):
    return g * gamma_slope(input, y), None


@function(name="_standard_gamma", samples=(Sample((3, 4)),), **POSITIVE)
def standard_gamma(input, generator=None):
    """Gamma numbers of the shapes ``input`` and rate 1."""
    _refuse_half("gamma_cpu", input)
    drawn = _drawn(input, rng.gamma, generator, (input,))
    return gamma_draw(input, drawn) if input._rg and is_grad_enabled() else drawn


@function(name="_sample_dirichlet", samples=(Sample((3, 4)),), **POSITIVE)
def sample_dirichlet(input, generator=None):
    """Points of simplices with the concentrations ``input`` along the last dimension."""
    _refuse_half("dirichlet", input)
    drawn = _drawn(input, rng.dirichlet, generator, (input,), input._shape[-1] if input._shape else 1)
    return underived(drawn, (input,), "_sample_dirichlet")


@function(samples=(Sample((3, 4)),), **POSITIVE)
def poisson(input, generator=None):
    """Poisson numbers of the rates ``input``."""
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"poisson_cpu\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    drawn = _drawn(input, rng.poisson, generator, (input,))
    return _record("PoissonBackward0", drawn, (input,))


@function(kinds=dict.fromkeys(("count", "prob"), "tensor"), samples=(Sample((3, 4), (3, 4)),),
          **{**OPTIONS, "domain": (0.1, 0.9)})
def binomial(count, prob, generator=None):
    """How often something of the probability ``prob`` happens in ``count`` tries."""
    for name, t in (("count", count), ("prob", prob)):
        if t._kind.dtype.category != 2:
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: {dt.scalar_name(t._kind.dtype)}")
    same_dtype(count, prob)
    _refuse_half("binomial_cpu", count)
    shape = broadcast_shapes("binomial", (count, prob))
    given = count, prob
    count, prob = (t if t._shape == shape else t.expand(shape) for t in (count.detach(), prob.detach()))
    return underived(_drawn(count, rng.binomial, generator, (count, prob)), given, "binomial")
