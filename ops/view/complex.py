"""Complex tensors and their real and imaginary parts as views."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.broadcast import broadcast_shapes, sum_to_size
from numbagrad.core.copying import copy_into
from numbagrad.core.out import write_out
from numbagrad.core.tensor import contiguous_strides
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, elementwise, function, kernel
from numbagrad.extend import scalar as s
from numbagrad.extend import view as view_op
from numbagrad.kernel.jit import cos, sin

from .slicing import select

# --- complex numbers --------------------------------------------------------------------------------------------------

def _pairs(a):
    return np.stack([a.real, a.imag], -1)


@view_op(retyped=True, method=False, differentiable=False, dtypes="complex", samples=(Sample(("complex128", (3,))),),
         reference=_pairs)
def view_as_real(input):
    """A complex tensor as a real one with a last dimension of size two."""
    d = input._kind.dtype
    if not d.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    strides = input._strides or contiguous_strides(input._shape)
    return (*input._shape, 2), (*[2 * k for k in strides], 1), 0, storage.kind_of(d.to_real(), input._kind.device)


@view_as_real.gradient
def _(g):
    return view_as_complex(g.contiguous())


@view_op(retyped=True, private=True, node="ViewAsComplexBackward0", reference=None)
def complex_pairs(input):
    """``view_as_complex`` where the offset is even."""
    d, shape = input._kind.dtype, input._shape
    _check_pairs(d, shape)
    strides = input._strides or contiguous_strides(shape)
    if strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(k % 2 for k, s in zip(strides[:-1], shape) if s > 1):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return shape[:-1], tuple([k // 2 for k in strides[:-1]]), 0, storage.kind_of(d.to_complex(), input._kind.device)


@complex_pairs.gradient
def _(g):
    return view_as_real.call(g)


def _check_pairs(d, shape):
    if d not in (dt.float32, dt.float64):
        raise RuntimeError("view_as_complex is only supported for float and double tensors (there is no complex32), but got a "
                           f"tensor of scalar type: {dt.scalar_name(d)}")
    if not shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")


@function(method=False, differentiable=False, dtypes="any", samples=(Sample((3, 2)),),
          reference=lambda a: a[..., 0] + 1j * a[..., 1])
def view_as_complex(input):
    """A real tensor with a last dimension of size two as a complex one."""
    if input._ptr % 16:  # memory begins at a multiple, so that what lies at one has an even offset
        _check_pairs(input._kind.dtype, input._shape)
        if input.storage_offset() % 2:
            raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    return complex_pairs.call(input)


@function(method=False, differentiable=False, dtypes="any", samples=(Sample((3,)), Sample(("complex128", (3,)))),
          reference=np.real)
def real(input):
    """The real part as a view; a real tensor itself."""
    return select.call(view_as_real.call(input), -1, 0) if input._kind.dtype.is_complex else input


@function(method=False, differentiable=False, dtypes="complex", samples=(Sample(("complex128", (3,))),), reference=np.imag)
def imag(input):
    """The imaginary part as a view; RuntimeError for real tensors."""
    if not input._kind.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return select.call(view_as_real.call(input), -1, 1)


@elementwise(private=True, names="ConjBackward0", reference=np.conj, samples=(Sample((3,)),), dtypes="any")
def conj_copy(input):
    """Complex conjugate as a copy."""
    return s.apply("conj", input)


@function(dtypes="any", samples=(Sample((3,)), Sample(("complex128", (3,)))), reference=np.conj)
def conj(input):
    """Complex conjugate; a real tensor itself."""
    return conj_copy.call(input) if input._kind.dtype.is_complex else input


@function(dtypes="any", samples=conj.samples, reference=np.conj, inplace=True, out="wider")
def conj_physical(input):
    """Complex conjugate in memory of its own; a real tensor itself."""
    return conj_copy.call(input) if input._kind.dtype.is_complex else input


@custom(private=True, contiguous=False, node="AngleBackward0", dtypes="complex", reference=np.angle,
        samples=(Sample(("complex128", (3,))),))
def angle_complex(input):
    """The argument of complex numbers, a real tensor."""
    return input._shape, storage.kind_of(input._kind.dtype.to_real(), input._kind.device)


@angle_complex.cpu
def _(out, input):
    x = input.detach()
    copy_into(out, REGISTRY["atan2"].callable(imag(x), real(x)))


@angle_complex.gradient
def _(g, input):
    size = REGISTRY["abs"].callable(input)
    return REGISTRY["where"].callable(size == 0, 0, g * 1j * input / (size * size))


@elementwise(private=True, names="AngleBackward0", accepts="float", samples=(Sample((3,)),), points=(0.0, -0.0),
             reference=lambda x: np.where(x < 0, np.pi, 0 * x))
def angle_real(input):
    """0 or pi."""
    return s.where(input < 0, math.pi, s.where(input != input, input, 0))


@angle_real.gradient
def _(g):
    return 0


@function(out="wider", dtypes="any", samples=(Sample((3,)), Sample(("complex128", (3,)))), reference=np.angle)
def angle(input):
    """The argument of complex numbers; of a real number 0, or pi if it is negative."""
    return (angle_complex if _tensor("angle", input)._kind.dtype.is_complex else angle_real).call(input)


@custom(private=True, contiguous=False, node="ComplexBackward0", reference=lambda a, b: a + 1j * b,
        samples=(Sample((3, 4), (4,)),))
def from_parts(real, imag):
    """Complex numbers from tensors of real and imaginary parts."""
    return broadcast_shapes("complex", [real, imag]), storage.kind_of(real._kind.dtype.to_complex(), real._kind.device)


@kernel
def pair_rows(x: "*T", y: "*T", out: "*T", n: int, x_step: int, y_step: int, start: int, stop: int):
    """out (rows, n, 2) of the rows of n elements of x and y, which are ``x_step`` and ``y_step`` apart."""
    for row in range(start, stop):
        p, q, o = row * x_step, row * y_step, 2 * row * n
        for i in range(n):
            out[o + 2 * i] = x[p + i]
            out[o + 2 * i + 1] = y[q + i]


def _row_step(t, shape):
    """How far apart the rows of ``t``, seen as of ``shape``, lie in memory; None where its elements do not lie in rows."""
    if t._strides is None and t._n:
        if t._shape == shape:
            return shape[-1]
        if t._n == shape[-1] == t._shape[-1]:
            return 0
    return None


@from_parts.cpu
def _(out, real, imag):
    shape = out._shape
    steps = (_row_step(real, shape), _row_step(imag, shape)) if shape else (None, None)
    if None not in steps:
        return pair_rows.run(real._kind, (real._ptr, imag._ptr, out._ptr, shape[-1], *steps), out._n // shape[-1], 2 * out._n)
    pairs = view_as_real.call(out)
    copy_into(select.call(pairs, -1, 0), real)
    copy_into(select.call(pairs, -1, 1), imag)
    return None


@from_parts.gradient
def _(g, shapes, needs):
    return _part_of(g, shapes[0], 0) if needs[0] else None, _part_of(g, shapes[1], 1) if needs[1] else None


def _part_of(g, shape, part):
    """The gradient of one part, whose shape is ``shape``. Both parts are summed: pairs that lie side by side are quicker."""
    if g._shape == shape:
        return imag(g) if part else real(g)
    return select.call(sum_to_size(view_as_real.call(g), (*shape, 2)), -1, part)


@custom(private=True, contiguous=False, node="PolarBackward0", reference=lambda a, b: a * np.exp(1j * b),
        samples=(Sample((3, 4), (4,)),), domain=(0.1, 3.0))
def from_polar(abs, angle):
    """Complex numbers from tensors of absolute values and angles."""
    return broadcast_shapes("polar", [abs, angle]), storage.kind_of(abs._kind.dtype.to_complex(), abs._kind.device)


@kernel
def polar_rows(size: "*T", angle: "*T", out: "*T", n: int, step: int, start: int, stop: int):
    """out (rows, n, 2) of the rows of n elements of size, which are ``step`` apart, and of angle (rows, n)."""
    for row in range(start, stop):
        p, q = row * step, row * n
        for i in range(n):
            r, a = size[p + i], angle[q + i]
            out[2 * (q + i)] = r * cos(a)
            out[2 * (q + i) + 1] = r * sin(a)


@kernel
def scale_pairs(size: "*T", x: "*T", y: "*T", out: "*T", n: int, step: int, part_step: int, start: int, stop: int):
    """out (rows, n, 2) of the products of size with x and y, of which all have rows of n elements: those of size are ``step``
    apart, of the others ``part_step``."""
    for row in range(start, stop):
        p, q, o = row * step, row * part_step, 2 * row * n
        for i in range(n):
            out[o + 2 * i] = size[p + i] * x[q + i]
            out[o + 2 * i + 1] = size[p + i] * y[q + i]


@from_polar.cpu
def _(out, abs, angle):
    shape, abs, angle = out._shape, abs.detach(), angle.detach()
    step, angle_step = (_row_step(abs, shape), _row_step(angle, shape)) if shape else (None, None)
    if step is not None and angle._n == out._n and angle_step is not None:
        return polar_rows.run(abs._kind, (abs._ptr, angle._ptr, out._ptr, shape[-1], step), out._n // shape[-1], 8 * out._n)
    x, y = REGISTRY["cos"].callable(angle), REGISTRY["sin"].callable(angle)
    if step is not None and angle_step is not None:
        return scale_pairs.run(abs._kind, (abs._ptr, x._ptr, y._ptr, out._ptr, shape[-1], step, angle_step),
                               out._n // shape[-1], 2 * out._n)
    return from_parts.cpu_launch(out, abs * x, abs * y)


@from_polar.gradient
def _(g, y, shapes, needs):
    back = conj(g)
    # The slope by ``abs`` is exp(i angle). As in PyTorch it is read from the result: negative ones get the other sign.
    return (sum_to_size(real(back * REGISTRY["sgn"].callable(y)), shapes[0]) if needs[0] else None,
            sum_to_size(real(back * (y * 1j)), shapes[1]) if needs[1] else None)


def _two_parts(name, a, b, names):
    """Both parts; PyTorch's errors where they are no float tensors of one dtype."""
    for position, (t, n) in enumerate(zip((a, b), names)):
        if not isinstance(t, Tensor):
            raise arguments.wrong(t, "Tensor", name, n, position + 1)
    if not {a._kind.dtype, b._kind.dtype} <= {dt.float32, dt.float64}:
        raise RuntimeError("Expected both inputs to be Half, Float or Double tensors but got "
                           f"{dt.scalar_name(a.dtype)} and {dt.scalar_name(b.dtype)}")
    if a._kind.dtype is not b._kind.dtype:
        raise RuntimeError(f"Expected object of scalar type {dt.scalar_name(a.dtype)} but got scalar type "
                           f"{dt.scalar_name(b.dtype)} for second argument")
    return a, b


@function(name="complex", method=False, samples=(Sample((3, 4), (4,)),), reference=lambda a, b: a + 1j * b)
def complex_(real, imag, *, out=None):
    """Complex numbers from their real and imaginary parts, which broadcast."""
    result = from_parts.call(*_two_parts("complex", real, imag, ("real", "imag")))
    return result if out is None else write_out("complex", out, result, (real, imag))


@function(method=False, samples=(Sample((3, 4), (4,)),), reference=lambda a, b: a * np.exp(1j * b))
def polar(abs, angle, *, out=None):
    """Complex numbers ``abs * (cos(angle) + i sin(angle))``.

    As in PyTorch, the gradient of ``abs`` is right where it is positive: a negative one gets the other sign, 0 gets 0."""
    result = from_polar.call(*_two_parts("polar", abs, angle, ("abs", "angle")))
    return result if out is None else write_out("polar", out, result, (abs, angle))


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
        raise arguments.wrong(input, "Tensor", name, "input", 1)
    return input


def _part(which):
    def get(self):
        return real(self) if which == "real" else imag(self)

    def assign(self, value):
        part = real(self) if which == "real" else imag(self)
        part.copy_(value) if isinstance(value, Tensor) else part.fill_(value)
    return get, assign


REGISTRY.attach(__name__, Tensor, {"is_conj": lambda self: False, "is_neg": lambda self: False,
                                   "real": property(*_part("real")), "imag": property(*_part("imag"))})
