"""Complex tensors and their real and imaginary parts as views."""

from __future__ import annotations

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import storage
from numbagrad.kernel import expr as s
from numbagrad.op import Sample, elementwise, function
from numbagrad.op import view as view_op
from numbagrad.tensor import Tensor, contiguous_strides

from .region import select

# --- complex numbers --------------------------------------------------------------------------------------------------

def _other_kind(op, input, kind, shape, strides, offset=0):
    """A view in another dtype: the geometry in units of ``kind``."""
    from numbagrad.op.view import make_view
    out = make_view(op, input, shape, strides, 0, ())
    out._kind = kind
    out._ptr = input._ptr + offset * kind.itemsize
    return out


@view_op(private=True, node="ViewAsRealBackward0", reference=None)
def _real_pairs(input):
    """Marks the node of ``view_as_real``."""
    return input._shape, input._strides, 0


@view_op(private=True, node="ViewAsComplexBackward0", reference=None)
def _complex_pairs(input):
    """Marks the node of ``view_as_complex``."""
    return input._shape, input._strides, 0


@_real_pairs.gradient
def _(g):
    return view_as_complex(g.contiguous())


@_complex_pairs.gradient
def _(g):
    return view_as_real(g)


def _pairs(a):
    return np.stack([a.real, a.imag], -1)


@function(method=False, differentiable=False, dtypes="complex", samples=(Sample(("complex128", (3,))),), reference=_pairs)
def view_as_real(input):
    """A complex tensor as a real one with a last dimension of size two."""
    d = input._kind.dtype
    if not d.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    strides = input._strides or contiguous_strides(input._shape)
    return _other_kind(_real_pairs, input, storage.kind_of(d.to_real(), input._kind.device), (*input._shape, 2),
                       (*[2 * k for k in strides], 1))


@function(method=False, differentiable=False, dtypes="any", samples=(Sample((3, 2)),),
          reference=lambda a: a[..., 0] + 1j * a[..., 1])
def view_as_complex(input):
    """A real tensor with a last dimension of size two as a complex one."""
    d, shape = input._kind.dtype, input._shape
    if d not in (dt.float32, dt.float64):
        raise RuntimeError("view_as_complex is only supported for half, float and double tensors, but got a tensor of "
                           f"scalar type: {dt.scalar_name(d)}")
    if not shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    strides = input._strides or contiguous_strides(shape)
    if strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(k % 2 for k, s in zip(strides[:-1], shape) if s > 1):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return _other_kind(_complex_pairs, input, storage.kind_of(d.to_complex(), input._kind.device), shape[:-1],
                       tuple([k // 2 for k in strides[:-1]]))


@function(method=False, differentiable=False, dtypes="any", samples=(Sample((3,)), Sample(("complex128", (3,)))),
          reference=np.real)
def real(input):
    """The real part as a view; a real tensor itself."""
    return select.call(view_as_real(input), -1, 0) if input._kind.dtype.is_complex else input


@function(method=False, differentiable=False, dtypes="complex", samples=(Sample(("complex128", (3,))),), reference=np.imag)
def imag(input):
    """The imaginary part as a view; RuntimeError for real tensors."""
    if not input._kind.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return select.call(view_as_real(input), -1, 1)


@elementwise(private=True, names="ConjBackward0", reference=np.conj, samples=(Sample((3,)),), dtypes="any")
def conj_copy(input):
    """Complex conjugate as a copy."""
    return s.apply("conj", input)


@function(dtypes="any", samples=(Sample((3,)), Sample(("complex128", (3,)))), reference=np.conj, aliases=("conj_physical",))
def conj(input):
    """Complex conjugate; a real tensor itself."""
    return conj_copy.call(input) if input._kind.dtype.is_complex else input


@function(dtypes="any", samples=(Sample((3,)),), reference=np.array)
def resolve_conj(input):
    """The tensor itself: conjugation is never delayed here."""
    return _tensor("resolve_conj", input)


@function(dtypes="any", samples=(Sample((3,)),), reference=np.array)
def resolve_neg(input):
    """The tensor itself: negation is never delayed here."""
    return _tensor("resolve_neg", input)


def _tensor(name, input):
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return input


def _part(which):
    def get(self):
        return real(self) if which == "real" else imag(self)

    def assign(self, value):
        part = real(self) if which == "real" else imag(self)
        part.copy_(value) if isinstance(value, Tensor) else part.fill_(value)
    return get, assign


Tensor.is_conj = lambda self: False
Tensor.is_neg = lambda self: False
Tensor.real, Tensor.imag = property(*_part("real")), property(*_part("imag"))
