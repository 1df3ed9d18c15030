"""Pseudo-inverses, ranks and least squares: what is defined by the singular values above a tolerance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import expanded_strides
from numbagrad.core import storage
from numbagrad.core.broadcast import broadcast_shapes, sum_to_size
from numbagrad.core.copying import contiguous_copy
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make, raw
from numbagrad.extend import Sample, custom, function

from ..index.sort import result
from ..product.gemm import conj
from ..product.matmul import matmul
from ..product.product import converted, multiply, transposed
from ..refusal import constant
from . import kernels
from .common import SPACES, checked, column, count, eye_like, mh, op, real, real_kind
from .decompositions import find_eigenvalues, find_singular_values, singular_values

Lstsq = result("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


# --- tolerances ---

def tolerance(name, argument, value, A):
    """A number, or a real tensor in the dtype of the singular values or a wider one."""
    kind = real_kind(A._kind)
    if not arguments.is_tensor(value):
        return float(kind.np.type(arguments.check_float(value, f"linalg_{name}", argument, 0)))
    if value._kind.dtype.is_complex:
        raise RuntimeError(f"torch.linalg.{name}: {argument} tensor of complex type is not supported. Got "
                           f"{dt.scalar_name(value._kind.dtype)}")
    wide = value._shape and value._kind.dtype is dt.float64
    return value.detach().to(dtype=dt.float64 if wide else kind.dtype, device=A.device)


def tolerances(name, A, atol, rtol):
    """(atol, rtol), numbers or tensors; where not given, atol is 0, and rtol max(m, n) eps unless there is an atol above 0."""
    usual = max(A._shape[-2:]) * dt.finfo(A._kind.dtype).eps
    absolute = 0.0 if atol is None else tolerance(name, "atol", atol, A)
    if rtol is not None:
        return absolute, tolerance(name, "rtol", rtol, A)
    if absolute.__class__ is float:
        return absolute, usual if absolute <= 0 else 0.0
    return absolute, op("mul")(op("le")(absolute, 0).to(dtype=absolute.dtype), usual)


def given(name, A, atol, rtol):
    """The tolerances as arguments of a private op: tensors or None, and numbers."""
    pair = tolerances(name, A, atol, rtol)
    return (*[None if t.__class__ is float else t for t in pair], *[t if t.__class__ is float else 0.0 for t in pair])


def batch(name, A, atol, rtol):
    """The shape of the matrices and tolerances together."""
    own = A._shape[:-2]
    others = [t for t in (atol, rtol) if t is not None]
    return broadcast_shapes(name, (SimpleNamespace(_shape=own), *others)) if A._n and others else own


def cut(shape, kind, atol, rtol):
    """(atol, rtol, elements between two of each, or -1 for a number, their kind): as kernels take tolerances."""
    found = [t for t in (atol, rtol) if t is not None]
    kind = max([kind, *[t._kind for t in found]], key=lambda k: k.itemsize)
    pointers, steps = [], []
    for t in (atol, rtol):
        t = t if t is None or t._kind is kind else converted(t, kind)
        one = t is None or t._n == 1
        if not one and (t._strides is not None or t._shape != shape):
            t = contiguous_copy(raw(t._buf, t._ptr, t._n, shape, expanded_strides(t, shape), t._kind, t._ver))
        pointers.append(t)
        steps.append(-1 if t is None else 0 if one else 1)
    return *pointers, *steps, kind


def address(t):
    return 0 if t is None else t._ptr


def one_form(name, old, A, value, atol, rtol):
    """Refuse the older form's tolerance together with those of the newer."""
    if not isinstance(value, (type(None), int, float)) and not arguments.is_tensor(value):
        raise arguments.wrong(value, "float", f"linalg_{name}", old, 2)
    if value is not None and not (atol is None and rtol is None):
        raise TypeError(f"linalg_{name}() received an invalid combination of arguments: {old} goes without atol and rtol")


# --- pseudo-inverse, rank, least squares ---

@custom(name="linalg_pinv", private=True, node="LinalgPinvBackward0", reference=None)
def pseudo_inverse(A, atol, rtol, least: float, share: float, hermitian: bool):
    """Moore-Penrose inverses; tolerances are tensors, or the numbers ``least`` and ``share``."""
    return (*batch("linalg.pinv", A, atol, rtol), A._shape[-1], A._shape[-2]), A._kind


@pseudo_inverse.host
def _(out, A, atol, rtol, least, share, hermitian):
    if not out._n:
        return
    (*own, m, n), kind = A._shape, A._kind
    k, shape, value_kind = min(m, n), out._shape[:-2], real_kind(kind)
    s, u = make((*own, k), value_kind), make((*own, m, k), kind)
    if hermitian:
        find_eigenvalues(A, False, s, u)
        rows = contiguous_copy(transposed(u))
    else:
        rows = make((*own, k, n), kind)
        find_singular_values(A, s, u, rows)
    if tuple(own) != shape:
        s, u, rows = (contiguous_copy(raw(t._buf, t._ptr, t._n, (*shape, *t._shape[len(own):]), expanded_strides(
            t, (*shape, *t._shape[len(own):])), t._kind, t._ver)) for t in (s, u, rows))
    atol, rtol, atol_step, rtol_step, cut_kind = cut(shape, value_kind, atol, rtol)
    kernels.invert_values[kind, value_kind, cut_kind](s._ptr, rows._ptr, address(atol), address(rtol), least, share, k, n,
                                                      atol_step, rtol_step, 0, count(out))
    multiply(out, transposed(rows) if hermitian else rows, u, int(not hermitian), 1)


@pseudo_inverse.gradient
def _(g, A, y, shape):
    p, h, gh = y, mh(y), mh(g)
    k = eye_like(A, A._shape[-2]) - matmul(A, p)
    m = eye_like(A, A._shape[-1]) - matmul(p, A)
    ga = matmul(matmul(k, gh), matmul(p, h)) + matmul(matmul(h, p), matmul(gh, m)) - matmul(matmul(h, g), h)
    return sum_to_size(ga, shape), None, None


def inverse_of(A, atol, rtol, hermitian=False):
    """``linalg.pinv`` with tolerances that are numbers, tensors or None."""
    if len(A._shape) < 2 or A._kind.dtype.category < 2 or A._kind.dtype.code in ("f2", "bf"):
        raise RuntimeError(f"linalg.pinv({dt.scalar_name(A._kind.dtype)}{{{list(A._shape)}}}): expected a tensor with 2 or "
                           "more dimensions of float, double, cfloat or cdouble types")
    if hermitian and A._n:
        checked("linalg.eigh", A)
    for name, t in (("atol", atol), ("rtol", rtol)):
        if arguments.is_tensor(t):
            constant("linalg_pinv", name, t)
    return pseudo_inverse(A, *given("pinv", A, atol, rtol), hermitian)


@function(kinds={"A": "tensor", "rcond": "any", "atol": "any", "rtol": "any"},
          reference=lambda a: np.linalg.pinv(a), samples=(Sample((4, 3)), Sample((2, 3, 3))), domain=(0.2, 2.0), **SPACES)
def pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None, out=None):
    """Moore-Penrose inverses; singular values up to max(atol, rtol * largest) count as zero."""
    one_form("pinv", "rcond", A, rcond, atol, rtol)
    y = inverse_of(A, atol, rtol if rcond is None else rcond, hermitian)
    return y if out is None else write_out("linalg_pinv", out, y, (A,), True)


@function(name="pinverse", reference=lambda a: np.linalg.pinv(a), samples=(Sample((4, 3)),), domain=(0.2, 2.0))
def pinverse(input, rcond=1e-15):
    """``linalg.pinv``."""
    return inverse_of(input, None, rcond)


@custom(private=True, reference=None, differentiable=False)
def rank_of(A, atol, rtol, least: float, share: float, hermitian: bool):
    """Number of singular values above the tolerance, which is as in ``pseudo_inverse``."""
    return batch("linalg.matrix_rank", A, atol, rtol), storage.kind_of(dt.int64, A._kind.device)


@rank_of.host
def _(out, A, atol, rtol, least, share, hermitian):
    own, k, kind = A._shape[:-2], min(A._shape[-2:]), real_kind(A._kind)
    if not out._n:
        return
    s = make((*own, k), kind)
    if hermitian:
        find_eigenvalues(A, False, s)
    else:
        find_singular_values(A, s)
    if own != out._shape:
        shape = (*out._shape, k)
        s = contiguous_copy(raw(s._buf, s._ptr, s._n, shape, expanded_strides(s, shape), s._kind, s._ver))
    atol, rtol, atol_step, rtol_step, cut_kind = cut(out._shape, kind, atol, rtol)
    kernels.count_above[kind, cut_kind](s._ptr, address(atol), address(rtol), out._ptr, least, share, k, atol_step, rtol_step,
                                         0, out._n)


@function(kinds={"tol": "any", "atol": "any", "rtol": "any"},
          reference=np.linalg.matrix_rank, samples=(Sample((4, 3)), Sample((2, 3, 3))), differentiable=False, **SPACES)
def matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None, out=None):
    """Number of singular values above max(atol, rtol * largest)."""
    checked("linalg.matrix_rank", A, False)
    if hermitian and A._n:
        checked("linalg.eigh", A)
    one_form("matrix_rank", "tol", A, tol, atol, rtol)
    if tol is not None:
        atol, rtol = tol, 0.0
    y = rank_of(A, *given("matrix_rank", A, atol, rtol), hermitian)
    return y if out is None else write_out("linalg_matrix_rank", out, y, (A,), True)


@function(reference=None, **SPACES)
def lstsq(A, B, rcond=None, *, driver=None):
    """Least-squares solutions of ``A X = B``: (solution, residuals, rank, singular_values).

    As in PyTorch the default driver, "gelsy", tells no residuals, and "gels" no rank."""
    checked("linalg.lstsq", A, False)
    if A._kind.dtype is not B._kind.dtype:
        raise RuntimeError("torch.linalg.lstsq: Expected input and other to have the same dtype, but got input's dtype "
                           f"{dt.scalar_name(A._kind.dtype)} and other's dtype {dt.scalar_name(B._kind.dtype)}")
    if len(B._shape) < 1:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    if not 0 <= len(A._shape) - len(B._shape) <= 1:
        raise RuntimeError("torch.linalg.lstsq: input.dim() must be greater or equal to other.dim() and (input.dim() - "
                           f"other.dim()) <= 1, but they are {len(A._shape)} and {len(B._shape)}")
    if driver is not None and driver not in DRIVERS:
        raise RuntimeError(f"torch.linalg.lstsq: parameter `driver` should be one of ({', '.join(DRIVERS)})")
    vector = B._shape == A._shape[:-1]
    if not vector and len(B._shape) < 2:
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-1)")
    b = column(B) if vector else B
    if b._shape[-2] != A._shape[-2]:
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-2)")
    x = matmul(inverse_of(A, None, rcond), b)
    m, n = A._shape[-2:]
    rank = A.new_zeros((0,), dtype=dt.int64) if driver == "gels" else matrix_rank.fn(A, rtol=rcond)
    residuals = op("clone")(real(x).flatten()[:0])  # of the graph, though there are none
    if m > n and driver not in (None, "gelsy") and bool(op("all")(op("eq")(rank, n))):
        r = matmul(A, x) - b
        residuals = op("sum")(real(conj(r) * r), -2)
    values = singular_values(A.detach()) if driver in DRIVERS[2:] else real(x.detach()).new_zeros((0,))
    return Lstsq(op("squeeze")(x, -1) if vector else x, residuals, rank, values)
