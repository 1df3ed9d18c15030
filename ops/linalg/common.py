"""What ops of linear algebra share: checks, errors of kernels, shapes of batches, small parts of their gradients."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.modes import recording
from numbagrad.base.shapes import expanded_strides
from numbagrad.core import graph, storage
from numbagrad.core.copying import contiguous_copy
from numbagrad.core.tensor import raw
from numbagrad.extend import REGISTRY, Tensor
from numbagrad.kernel.lapack import BLOCK
from numbagrad.kernel.tape import Flag

SPACES = {"namespaces": ("linalg",), "method": False}


class LinAlgError(RuntimeError):
    """A matrix that has no inverse or factorisation."""


def op(name):
    return REGISTRY[name].callable


def mh(t):
    """The conjugate transpose of the last two dimensions."""
    t = op("transpose")(t, -2, -1)
    return op("conj")(t) if t._kind.dtype.is_complex else t


def real(t):
    return op("real")(t) if t._kind.dtype.is_complex else t


def column(t):
    return op("unsqueeze")(t, -1)


def row(t):
    return op("unsqueeze")(t, -2)


def diagonal(t):
    return op("diagonal")(t, 0, -2, -1)


def eye_like(t, n):
    from numbagrad.core.creation import eye
    return eye(n, dtype=t.dtype, device=t.device)


def of_dtype(t, like):
    """A real tensor in the dtype of a maybe complex one."""
    return t.to(dtype=like.dtype) if t._kind is not like._kind else t


def real_kind(kind):
    return storage.kind_of(kind.dtype.to_real(), kind.device)


def checked(name, a, square=True, what="A", half=False, dtype=True):
    if not isinstance(a, Tensor):
        raise arguments.wrong(a, "Tensor", name.replace(".", "_"), what, 1)
    if len(a._shape) < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    if square and a._shape[-1] != a._shape[-2]:
        raise RuntimeError(f"{name}: {what} must be batches of square matrices, but they are {a._shape[-2]} by {a._shape[-1]} "
                           "matrices")
    d = a._kind.dtype
    if not dtype:
        return
    if d.category < 2:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {dt.scalar_name(d)}")
    if d.code in ("f2", "bf") and not half:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {dt.scalar_name(d)}")


def batch_shape(name, a, b):
    """The batch dimensions that two tensors of matrices broadcast to."""
    try:
        return np.broadcast_shapes(a._shape[:-2], b._shape[:-2])
    except ValueError:
        raise RuntimeError(f"{name}: the batch dimensions of tensors of shapes {list(a._shape)} and {list(b._shape)} do not "
                           "broadcast") from None


def element(index, ndim):
    return f"(Batch element {index}): " if ndim > 2 else ""


def failures(words):
    """Flags for kernels that meet a matrix without factors, one or one of several: ``words(info)`` say what is wrong."""
    def raiser(ndim):
        def fail(index, info):
            name, what = words(info)
            raise LinAlgError(f"{name}: {element(index, ndim)}{what}")
        return fail
    return [Flag(raiser(ndim), 2) for ndim in (2, 3)]


def take(flags, A):
    """Words for the kernels of one call on the matrices ``A``."""
    return flags[len(A._shape) > 2].take(A._kind)


def count(t, dims=2):
    """How many there are of what the last dimensions hold."""
    n = 1
    for s in t._shape[:-dims]:
        n *= s
    return n


def batched(t, batch):
    """(tensor, elements between two matrices): matrices for the batch dimensions ``batch``, or one for all."""
    one = count(t) == 1
    if t._strides is not None or not one and t._shape[:-2] != batch:
        shape = t._shape if one else (*batch, *t._shape[-2:])
        t = contiguous_copy(raw(t._buf, t._ptr, t._n, shape, expanded_strides(t, shape), t._kind, t._ver))
    return t, 0 if one else t._shape[-2] * t._shape[-1]


def columns(t, like):
    """Vectors ``t`` of the batch shape of the matrices ``like`` as matrices of one column, outside the graph; others as they
    are."""
    return t if len(t._shape) == len(like._shape) else raw(
        t._buf, t._ptr, t._n, (*t._shape, 1), t._strides and (*t._strides, 1), t._kind, t._ver)


def unrecorded(A):
    """Whether no gradient of ``A`` will be asked for."""
    if A._view is not None:
        graph.refresh(A)
    return not A._rg or recording() is False


def svd_space(m, n, kind):
    """(elements, real elements) of memory that LAPACK takes for singular vectors."""
    k = min(m, n)
    return 4 * k * k + 16 * k + BLOCK * (max(m, n) + 3 * k), (
        max(5 * k * k + 7 * k, 2 * max(m, n) * k + 2 * k * k + k) if kind.dtype.is_complex else 0)
