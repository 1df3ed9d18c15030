"""Householder reflections: a QR decomposition in their form, and their product."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.creation import eye
from numbagrad.core.node import renamed
from numbagrad.core.out import write_out, write_outs
from numbagrad.extend import Sample, custom, function

from ..index.sort import result
from ..product.matmul import matmul
from .cholesky import triangular
from .solve import column, mh, op

Geqrf = result("geqrf", "a", "tau")


@custom(private=True, node="GeqrfBackward0", reference=None)
def reflections(input):
    """R above the vectors of the reflections, and their factors."""
    *b, m, n = input._shape
    return [(input._shape, input._kind), ((*b, min(m, n)), input._kind)]


@reflections.host
def _(outs, input):
    found, factors = np.linalg.qr(input.array(), "raw")  # which has LAPACK's columns as rows
    outs[0].array()[...], outs[1].array()[...] = np.swapaxes(found, -2, -1), factors


@reflections.gradient
def _(gs):
    raise NotImplementedError("the derivative for 'geqrf' is not implemented.")


def _reference(input):
    found, factors = np.linalg.qr(input, "raw")
    return np.swapaxes(found, -2, -1), factors


@function(reference=_reference, samples=(Sample((4, 3)), Sample((2, 2, 3))), differentiable=False, namespaces=("torch",))
def geqrf(input, *, out=None):
    """(a, tau) of ``input = Q R``: R in the upper triangle of ``a``, and below it with ``tau`` what makes Q."""
    if len(input._shape) < 2:
        raise RuntimeError("torch.geqrf: input must have at least 2 dimensions.")
    _check_dtype("geqrf_cpu", input)
    results = reflections(input)
    return Geqrf(*(results if out is None else write_outs("geqrf", out, results, (input,))))


def _check_dtype(name, input):
    d = input._kind.dtype
    if d.category < 2 or d.code in ("f2", "bf"):
        raise NotImplementedError(f"\"{name}\" not implemented for '{dt.scalar_name(d)}'")


def _check(input, tau):
    where, shape, factors = "torch.linalg.householder_product:", input._shape, tau._shape
    if len(shape) < 2:
        raise RuntimeError(f"{where} input must have at least 2 dimensions.")
    if shape[-2] < shape[-1]:
        raise RuntimeError(f"{where} input.shape[-2] must be greater than or equal to input.shape[-1]")
    if len(factors) != len(shape) - 1:
        raise RuntimeError(f"{where} Expected tau to have one dimension less than input, but got tau.ndim equal to "
                           f"{len(factors)} and input.ndim is equal to {len(shape)}")
    if factors[:-1] != shape[:-2]:
        raise RuntimeError(f"{where} Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
                           f"{list(factors[:-1])}")
    if shape[-1] < factors[-1]:
        raise RuntimeError(f"{where} input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if tau._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"{where} tau dtype {dt.scalar_name(tau.dtype)} does not match input dtype "
                           f"{dt.scalar_name(input.dtype)}")
    _check_dtype("orgqr_cpu", input)


def _np_product(a, tau):
    m, n = a.shape[-2:]
    q = np.broadcast_to(np.eye(m, n), a.shape).copy()
    for i in range(tau.shape[-1] - 1, -1, -1):
        v = np.tril(a, -1)[..., i:i + 1].copy()
        v[..., i, 0] = 1
        q = q - tau[..., i:i + 1, None] * v @ (np.swapaxes(v, -2, -1) @ q)
    return q


@function(reference=_np_product, samples=(Sample((4, 3), (3,)), Sample((2, 3, 3), (2, 2))), namespaces=("linalg",),
          method=False)
def householder_product(input, tau, *, out=None):
    """The first columns of ``H_1 H_2 ... H_k`` with ``H_i = I - tau_i v_i v_i^H``, v_i being column i below the diagonal.

    All at once: ``I - V T V^H``, where ``(I + diag(tau) triu(V^H V, 1)) T = diag(tau)``."""
    _check(input, tau)
    n, k = input._shape[-1], tau._shape[-1]
    columns = input if k == n else op("narrow")(input, -1, 0, k)
    one = eye(input._shape[-2], n, dtype=input.dtype, device=input.device)
    v = op("tril")(columns, -1) + op("narrow")(one, -1, 0, k)
    upper = column(tau) * op("triu")(matmul(mh(v), v), 1) + eye(k, dtype=input.dtype, device=input.device)
    inner = triangular(upper, column(tau) * matmul(mh(v), one), True)
    product = renamed(one - matmul(v, inner), "LinalgHouseholderProductBackward0")
    return product if out is None else write_out("linalg_householder_product", out, product, [input, tau], True)


@function(reference=_np_product, samples=(Sample((4, 3), (3,)),), namespaces=("torch",), method="orgqr")
def orgqr(input, tau, *, out=None):
    """``linalg.householder_product(input, tau)``."""
    return householder_product.callable(input, tau, out=out)
