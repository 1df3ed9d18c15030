"""Householder reflections: a QR decomposition in their form, and their product."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.creation import eye
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel.lapack import BLOCK

from ..index.sort import result
from ..product.gemm import conj
from ..product.matmul import matmul
from . import householder_blocks as blocks
from .cholesky import triangular
from .common import column, count, mh, op
from .householder_kernels import multiply, reflect

Geqrf = result("geqrf", "a", "tau")


@custom(private=True, node="GeqrfBackward0", reference=None)
def reflections(input):
    """R above the vectors of the reflections, and their factors."""
    *b, m, n = input._shape
    return [(input._shape, input._kind), ((*b, min(m, n)), input._kind)]


@reflections.host
def _(outs, input):
    found, tau = outs
    if found._n:
        m, n = input._shape[-2:]
        if blocks.worth_making(min(m, n), n, count(input)):
            return of_each(blocks.decompose, count(input), (input, m * n), (found, m * n), (tau, min(m, n)), m, n)
        scratch = make((n * (m + BLOCK),), input._kind)
        reflect[input._kind](input._ptr, found._ptr, tau._ptr, scratch._ptr, m, n, n * BLOCK, 0, count(input))


@reflections.gradient
def _(gs):
    raise NotImplementedError("the derivative for 'geqrf' is not implemented.")


def _reference(input):
    found, factors = np.linalg.qr(input, "raw")
    return np.swapaxes(found, -2, -1), factors


# 16: float32 is computed in float32, every column with the roundings of those before.
@function(reference=_reference, samples=(Sample((4, 3)), Sample((2, 2, 3))), differentiable=False, namespaces=("torch",),
          tolerance=16)
def geqrf(input, *, out=None):
    """(a, tau) of ``input = Q R``: R in the upper triangle of ``a``, and below it with ``tau`` what makes Q."""
    if len(input._shape) < 2:
        raise RuntimeError("torch.geqrf: input must have at least 2 dimensions.")
    check_dtype("geqrf_cpu", input)
    results = reflections(input)
    return Geqrf(*(results if out is None else write_outs("geqrf", out, results, (input,))))


def of_each(launch, matrices, *arguments):
    """Call ``launch`` for each of so many matrices, with its place in (tensor, elements between two) among the arguments."""
    kind = arguments[0][0]._kind
    for b in range(matrices):
        launch(kind, *[a[0]._ptr + b * a[1] * kind.np.itemsize if a.__class__ is tuple else a for a in arguments])


def check_dtype(name, input):
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
    check_dtype("orgqr_cpu", input)


def _np_product(a, tau):
    m, n = a.shape[-2:]
    q = np.broadcast_to(np.eye(m, n), a.shape).copy()
    for i in range(tau.shape[-1] - 1, -1, -1):
        v = np.tril(a, -1)[..., i:i + 1].copy()
        v[..., i, 0] = 1
        q = q - tau[..., i:i + 1, None] * v @ (np.swapaxes(v, -2, -1) @ q)
    return q


@custom(private=True, node="LinalgHouseholderProductBackward0", reference=None)
def product(input, tau):
    """The first columns of the product of reflections."""
    return input._shape, input._kind


@product.host
def _(out, input, tau):
    if out._n:
        (m, n), k = out._shape[-2:], tau._shape[-1]
        if blocks.worth_making(k, n, count(out)):
            return of_each(blocks.multiply_out, count(out), (input, m * n), (tau, k), (out, m * n), m, n, k)
        scratch = make((n * (m + BLOCK),), out._kind)
        multiply[out._kind](input._ptr, tau._ptr, out._ptr, scratch._ptr, m, n, k, n * BLOCK, 0, count(out))


@product.gradient
def _(g, input, tau, needs):
    if not input._n or not tau._n:  # no gradient instead of zeros, as in PyTorch
        return None, None
    return slopes(g, input, tau, None, needs)


def slopes(g, input, tau, other, needs):
    """Gradients by ``input`` and ``tau`` of the product of their reflections times ``other``, or the first columns of it.

    That is other - V T P with P = V^H other, where (I + diag(tau) S) T = diag(tau) with S = triu(V^H V, 1)."""
    m, n, k = *input._shape[-2:], tau._shape[-1]
    vectors = input if k == n else op("narrow")(input, -1, 0, k)
    v = op("tril")(vectors, -1) + eye(m, k, dtype=input.dtype, device=input.device)
    first = mh(op("narrow")(v, -2, 0, n)) if other is None else matmul(mh(v), other)
    factors = column(tau)
    s = op("triu")(matmul(mh(v), v), 1)
    inner = triangular(factors * s, factors * first, True, True)  # T P
    right = -triangular(factors * s, matmul(mh(v), g), True, True, adjoint=True)
    left = op("triu")(-matmul(right, mh(inner)), 1)  # (below may overflow what is no part of it)
    of_input = None
    if needs[0]:
        of_s = conj(factors) * left
        of_v, of_first = matmul(v, of_s + mh(of_s)) - matmul(g, mh(inner)), mh(conj(factors) * right)
        of_v = of_v + (op("pad")(of_first, (0, 0, 0, m - n)) if other is None else matmul(other, of_first))
        of_input = op("pad")(op("tril")(of_v, -1), (0, n - k))
    if not needs[1]:
        return of_input, None
    right = op("triu")(right) if other is None else right  # (first has zeros below)
    return of_input, op("sum")(right * conj(first), -1) + op("sum")(left * conj(s), -1)


@function(reference=_np_product, samples=(Sample((4, 3), (3,)), Sample((2, 3, 3), (2, 2))), namespaces=("linalg",),
          method=False, kinds={"tau": "tensor"})
def householder_product(input, tau, *, out=None):
    """The first columns of ``H_1 H_2 ... H_k`` with ``H_i = I - tau_i v_i v_i^H``, v_i being column i below the diagonal."""
    _check(input, tau)
    found = product(input, tau)
    return found if out is None else write_out("linalg_householder_product", out, found, [input, tau], True)


@function(reference=_np_product, samples=(Sample((4, 3), (3,)),), namespaces=("torch",), method="orgqr",
          kinds={"tau": "tensor"})
def orgqr(input, tau, *, out=None):
    """``linalg.householder_product(input, tau)``."""
    return householder_product.callable(input, tau, out=out)
