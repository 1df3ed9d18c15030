"""What is composed of factorisations and products, and PyTorch's older names at top level and as methods."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

import numbagrad
from numbagrad import linalg
from numbagrad.base.user_code import warn_once
from numbagrad.core.creation import zeros
from numbagrad.core.out import write_out, write_outs
from numbagrad.dispatch.op import add_function
from numbagrad.extend import Sample, function

from ..index.sort import result
from .common import SPACES, mh, op

Svd, Qr = result("svd", "U", "S", "V"), result("qr", "Q", "R")


# A function at top level and a method, beside an op of ``linalg`` of the same name.
public = partial(add_function, numbagrad, method=True)


DEPRECATED = {
    "cholesky": "torch.cholesky is deprecated in favor of torch.linalg.cholesky and will be removed in a future PyTorch "
                "release.\nL = torch.cholesky(A)\nshould be replaced with\nL = torch.linalg.cholesky(A)\nand\n"
                "U = torch.cholesky(A, upper=True)\nshould be replaced with\nU = torch.linalg.cholesky(A).mH\n"
                "This transform will produce equivalent results for all valid (symmetric positive definite) inputs.",
    "qr": "torch.qr is deprecated in favor of torch.linalg.qr and will be removed in a future PyTorch release.\nThe boolean "
          "parameter 'some' has been replaced with a string parameter 'mode'.\nQ, R = torch.qr(A, some)\nshould be replaced "
          "with\nQ, R = torch.linalg.qr(A, 'reduced' if some else 'complete')"}


@public
def det(input):
    """The determinant of square matrices, see ``linalg.det``."""
    return op("det")(input)


@public
def slogdet(input, *, out=None):
    """(sign, logabsdet) of the determinant of square matrices, see ``linalg.slogdet``."""
    return op("slogdet")(input) if out is None else op("slogdet")(input, out=out)


@public
def cholesky(input, upper=False, *, out=None):
    """The lower (or ``upper``) triangular factor of Hermitian positive definite matrices, see ``linalg.cholesky``."""
    warn_once(DEPRECATED["cholesky"])
    y = op("cholesky")(input, upper=upper)
    return y if out is None else write_out("cholesky", out, y, (input,), True)


@public
def qr(input, some=True, *, out=None):
    """(Q, R) with ``input = Q R``; ``some``: without what only completes Q to a basis. See ``linalg.qr``."""
    warn_once(DEPRECATED["qr"])
    found = op("qr")(input, "reduced" if some else "complete")
    return Qr(*(found if out is None else write_outs("qr", out, found, (input,))))


@public
def svd(input, some=True, compute_uv=True, *, out=None):
    """(U, S, V) with ``input = U diag(S) V^H``; ``some``: without what only completes U and V to bases. See ``linalg.svd``."""
    if len(input._shape) < 2:
        raise RuntimeError(f"linalg.svd: input should have at least 2 dimensions, but has {len(input._shape)} dimensions "
                           "instead")
    if compute_uv:
        u, s, vh = op("svd")(input, not some)
        found = u, s, mh(vh)
    else:
        s = op("svdvals")(input)
        batch, (n, m) = input._shape[:-2], input._shape[-2:]
        found = (zeros(*batch, n, n, dtype=input.dtype, device=input.device), s,
                 zeros(*batch, m, m, dtype=input.dtype, device=input.device))
    return Svd(*(found if out is None else write_outs("svd", out, found, (input,))))


# --- compositions of linalg ---

@function(reference=lambda A, ind=2: np.linalg.tensorinv(A, ind), domain=(0.2, 2.0),
          samples=(Sample((1, 3, 3)), Sample((2, 2), ind=1)), **SPACES)
def tensorinv(A, ind=2, *, out=None):
    """The inverse of ``A`` as a map from its last dimensions to its first ``ind`` ones, in the sense of ``tensordot``."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    if ind > len(A._shape):
        raise RuntimeError(f"ArrayRef: invalid slice, N = {ind}; size = {len(A._shape)}")
    first, last = A._shape[:ind], A._shape[ind:]
    n, m = math.prod(first), math.prod(last)
    if n != m:
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but "
                           f"got {m} != {n}")
    value = op("inv")(A.reshape(n, m)).reshape(*last, *first)
    return value if out is None else write_out("tensorinv", out, value, (A,), True)


@function(reference=lambda A, B, dims=None: np.linalg.tensorsolve(A, B, dims), domain=(0.2, 2.0),
          samples=(Sample((1, 3, 3), (1, 3)), Sample((2, 2), (2,))), kinds={"dims": "any"}, **SPACES)
def tensorsolve(A, B, dims=None, *, out=None):
    """``X`` with ``tensordot(A, X, X.ndim) = B``, after the dimensions ``dims`` of ``A`` have been moved to its end."""
    x = A
    if dims is not None:
        x = op("movedim")(A, tuple(dims), tuple(range(len(A._shape) - len(dims), len(A._shape))))
    last = x._shape[len(B._shape):]
    n, m = math.prod(last), math.prod(B._shape)
    if n != m:
        raise RuntimeError(f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
                           f"prod(self.shape[:other.ndim]), but got {n} != {m}")
    value = op("solve")(x.reshape(m, n), B.reshape(-1)).reshape(last)
    return value if out is None else write_out("tensorsolve", out, value, (A, B), True)


def linalg_diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """``diagonal`` of the last two dimensions."""
    return op("diagonal")(A, offset, dim1, dim2)


def linalg_matmul(input, other, *, out=None):
    """``matmul`` under linalg."""
    return op("matmul")(input, other, out=out)


def _powers(x, N):
    n = (x._shape or (1,))[-1] if N is None else int(N)
    if N is not None and n <= 1:
        raise RuntimeError("N must be greater than 1.")
    if not x._shape:
        x = x.reshape(1)
    column = x.unsqueeze(-1).expand(*x._shape, n - 1)
    ones = x.new_ones((*x._shape, 1))
    return op("cat")([ones, column.cumprod(-1)], -1)


def linalg_vander(x, *, N=None):
    """Powers 0 to ``N`` - 1 of the elements of vectors, ascending, along a new last dimension."""
    if x._kind.dtype.category == 0:
        raise RuntimeError("linalg.vander supports floating point, complex, and integer tensors, but got Bool")
    return _powers(x.long() if x._kind.dtype.barebones else x, N)


for _fn, _name in ((linalg_diagonal, "diagonal"), (linalg_matmul, "matmul"), (linalg_vander, "vander")):
    add_function(linalg, _fn, _name)
