"""``ormqr``: matrices times a product of Householder reflections, which is never made."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel import lapack
from numbagrad.kernel.lapack import BLOCK

from . import householder_blocks as blocks
from . import householder_kernels as kernels
from .common import count, mh
from .householder import check_dtype, of_each, slopes

NARROW = 32  # reflections that LAPACK applies one by one
TRIANGLE = (BLOCK + 1) * BLOCK  # elements that it takes beside its block of columns


def _check_ormqr(input, tau, other, left):
    for name, t in (("input", input), ("other", other)):
        if len(t._shape) < 2:
            raise RuntimeError(f"torch.ormqr: {name} must have at least 2 dimensions.")
    if not tau._shape:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions")
    side = len(other._shape) - (2 if left else 1)
    at = "-2" if left else "-1"
    if other._shape[side] < tau._shape[-1]:
        raise RuntimeError(f"torch.ormqr: other.shape[{at}] must be greater than or equal to tau.shape[-1]")
    if other._shape[side] != input._shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{at}] must be equal to input.shape[-2]")
    if tau._shape[-1] != min(other._shape[side], input._shape[-1]):
        raise RuntimeError(f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{at}], input.shape[-1])")
    for name, t in (("tau", tau), ("other", other)):
        expected = len(input._shape) - (name == "tau")
        if len(t._shape) != expected:
            less = "one dimension less than input" if name == "tau" else "the same number of dimensions as input"
            raise RuntimeError(f"torch.ormqr: Expected {name} to have {less}, but got {name}.ndim equal to {len(t._shape)} and "
                               f"input.ndim is equal to {len(input._shape)}")
    for name, shape in (("tau", tau._shape[:-1]), ("other", other._shape[:-2])):
        if shape != input._shape[:-2]:
            raise RuntimeError(f"torch.ormqr: Expected batch dimensions of {name} to be equal to input.shape[:-2], but got "
                               f"{list(shape)}")
    for name, t in (("tau", tau), ("other", other)):
        if t._kind.dtype is not input._kind.dtype:
            raise RuntimeError(f"torch.ormqr: Expected input and {name} to have the same dtype, but input has dtype"
                               f"{dt.scalar_name(input._kind.dtype)} and {name} has dtype {dt.scalar_name(t._kind.dtype)}")
    check_dtype("ormqr_cpu", input)


def _np_ormqr(input, tau, other, left=True, transpose=False):
    q, m = np.eye(input.shape[-2], dtype=input.dtype), input.shape[-2]
    for i in range(tau.shape[-1]):
        v = np.concatenate([np.zeros(i), [1], input[i + 1:, i]])
        q = q @ (np.eye(m) - tau[i] * np.outer(v, v.conj()))
    q = q.conj().T if transpose else q
    return q @ other if left else other @ q


@custom(private=True, node="OrmqrBackward0", reference=None)
def applied(input, tau, other, left: bool = True, adjoint: bool = False):
    """``other`` times the product of reflections, or its adjoint, from one side."""
    return other._shape, other._kind


@applied.host
def _(out, input, tau, other, left, adjoint):
    if not out._n:
        return
    (m, columns), k, (rows, width) = input._shape[-2:], tau._shape[-1], out._shape[-2:]
    matrices, others = count(out), width if left else rows
    if blocks.worth(k, others, matrices):
        given = (input, m * columns), (tau, k), (other, rows * width), (out, rows * width)
        return of_each(blocks.apply, matrices, *given, m, columns, k, rows, width, left, adjoint)
    lwork = others if k <= NARROW else others * BLOCK + TRIANGLE
    scratch = make((k * (m + 1) + lwork,), out._kind)
    way = lapack.PLAIN if adjoint else lapack.ADJOINT if out._kind.dtype.is_complex else lapack.TURNED
    kernels.apply[out._kind](input._ptr, tau._ptr, other._ptr, out._ptr, scratch._ptr, m, columns, k, rows, width, int(left),
                             int(way), lwork, 0, matrices)


@applied.gradient
def _(g, input, tau, other, left, adjoint, needs):
    of_other = applied(input, tau, g, left, not adjoint) if needs[2] else None
    if not (needs[0] or needs[1]):
        return None, None, of_other
    # <G, Q C> is <C, Q^H G> of the adjoint, and <G, C Q> is <G^H, Q^H C^H>.
    g, other = (g, other) if left else (mh(g), mh(other))
    g, other = (g, other) if left != adjoint else (other, g)
    return (*slopes(g, input, tau, other, needs), of_other)


@function(reference=_np_ormqr, samples=(Sample((4, 3), (3,), (4, 2)), Sample((3, 2), (2,), (4, 3), False, True)),
          namespaces=("torch",), kinds={"tau": "tensor", "other": "tensor"})
def ormqr(input, tau, other, left=True, transpose=False, *, out=None):
    """``other`` times the product of all reflections that ``input`` and ``tau`` hold, or its adjoint, from one side."""
    _check_ormqr(input, tau, other, left)
    found = applied(input, tau, other, bool(left), bool(transpose))
    return found if out is None else write_out("ormqr", out, found, [input, tau, other], True)
