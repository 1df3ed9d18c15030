"""Choice, tests of single elements, logic and bits."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import arguments, modes
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.broadcast import broadcast_shapes, sum_to_size
from numbagrad.core.launch import launch
from numbagrad.core.out import write_out
from numbagrad.core.promotion import common_device, common_dtype, is_number
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, elementwise, function, load
from numbagrad.extend import scalar as expr
from numbagrad.extend import scalar as s
from numbagrad.kernel import emit, tape
from numbagrad.kernel.jit import kernel
from numbagrad.kernel.threads import LIMIT

from .arithmetic import UNARY
from .compare import BINARY

INF, NAN = math.inf, math.nan
MASK = ("bool", (3, 4))

# --- where ---------------------------------------------------------------------------------------------------------------

_choice = s.where(expr.var("condition"), expr.var("input"), expr.var("other"))
_tt = emit.Pointwise("where", ("condition", "input", "other"), (), (_choice,))
_ts = emit.Pointwise("where", ("condition", "input"), ("other",), (_choice,))
_st = emit.Pointwise("where", ("condition", "other"), ("input",), (_choice,))


@custom(private=True, node="WhereBackward0", contiguous=False, reference=np.where, dtypes="any",
        samples=(Sample(MASK, (3, 4), (4,)),))
def where_tensors(condition, input, other):
    """``where`` of two tensors of one dtype."""
    return broadcast_shapes("where", (condition, input, other)), input._kind


@where_tensors.cpu
def _(out, condition, input, other):
    launch(_tt, out._kind.dtype, (condition, input, other), (), (out,), out._shape)


@where_tensors.gradient
def _(g, condition, shapes, needs):
    return (None, sum_to_size(where_number(condition, g, 0), shapes[1]) if needs[1] else None,
            sum_to_size(where_else(condition, g, 0), shapes[2]) if needs[2] else None)


@custom(private=True, node="WhereBackward0", contiguous=False, reference=np.where, dtypes="any",
        samples=(Sample(MASK, (4,), 0.5),))
def where_number(condition, input, other: object):
    """``where`` with a number for the false elements."""
    return broadcast_shapes("where", (condition, input)), input._kind


@where_number.cpu
def _(out, condition, input, other):
    launch(_ts, out._kind.dtype, (condition, input), (other,), (out,), out._shape)


@where_number.gradient
def _(g, condition, shapes):
    return None, sum_to_size(where_number(condition, g, 0), shapes[1])


@custom(private=True, node="WhereBackward0", contiguous=False, reference=lambda c, b, a: np.where(c, a, b), dtypes="any",
        samples=(Sample(MASK, (4,), 0.5),))
def where_else(condition, other, input: object):
    """``where`` with a number for the true elements."""
    return broadcast_shapes("where", (condition, other)), other._kind


@where_else.cpu
def _(out, condition, other, input):
    launch(_st, out._kind.dtype, (condition, other), (input,), (out,), out._shape)


@where_else.gradient
def _(g, condition, shapes):
    return None, sum_to_size(where_else(condition, g, 0), shapes[1])


def _same_kind(condition, *values):
    """Tensors among the values, in the dtype that all values promote to and on the condition's device."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    d = common_dtype(tensors, [v for v in values if not isinstance(v, Tensor)])
    device = common_device("where", (condition, *tensors))
    kind = storage.kind_of(d, device)
    return [dt.fit(v, d, True) if not isinstance(v, Tensor) else v if v._kind is kind else v.to(device=device, dtype=d)
            for v in values], kind


@function(method=False, reference=np.where, dtypes="any",
          samples=(Sample(MASK, (3, 4), (3, 4)), Sample(MASK, (4,), (3, 1)), Sample(MASK, (), 0.5), Sample(MASK, 2.0, (4,))))
def where(condition, input=None, other=None, *, out=None):
    """``input`` where the bool tensor ``condition`` holds, else ``other``; with the condition alone, its indices.

    All three are broadcast together; ``input`` and ``other`` may be numbers and promote as in arithmetic."""
    if not isinstance(condition, Tensor):
        raise arguments.wrong(condition, "Tensor", "where", "condition", 1)
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    for position, (name, v) in enumerate((("input", input), ("other", other)), 2):
        if not isinstance(v, Tensor) and not is_number(v):
            raise arguments.wrong(v, "Tensor", "where", name, position)
    if condition._kind.dtype.category:
        if condition._kind.dtype is not dt.uint8:
            raise RuntimeError("where expected condition to be a boolean tensor, but got a tensor with dtype "
                               f"{dt.scalar_name(condition._kind.dtype)}")
        condition = condition.to(dtype=dt.bool_)
    if isinstance(input, Tensor):
        if isinstance(other, Tensor) and input._kind is other._kind is not None and condition._kind.device is other.device:
            result = where_tensors(condition, input, other)
        else:
            (input, other), _ = _same_kind(condition, input, other)
            result = (where_tensors if isinstance(other, Tensor) else where_number)(condition, input, other)
    elif isinstance(other, Tensor):
        (input, other), _ = _same_kind(condition, input, other)
        result = where_else(condition, other, input)
    else:
        from numbagrad.core.creation import scalar_tensor
        d = dt.promote_types(dt.of_number(input), dt.of_number(other))
        result = where_number(condition, scalar_tensor(input, d).to(condition.device), other)
    if out is not None:
        return write_out("where", out, result, [t for t in (input, other) if isinstance(t, Tensor)])
    return result


@function(name="where_method", namespaces=(), method="where", torch_name="where", dtypes="any", differentiable=False,
          samples=(Sample((3, 4), MASK, (4,)),), reference=lambda x, c, y: np.where(c, x, y))
def _where_method(input, condition, other):
    """The method ``input.where(condition, other)``."""
    return where(condition, input, other)


# --- tests of elements ---------------------------------------------------------------------------------------------------

def _test(name, formula, reference, doc, accepts="any", points=(0.0, -0.0, INF, -INF, NAN), samples=UNARY):
    def fn(input):
        return formula(input)
    fn.__name__ = fn.__qualname__ = name
    fn.__module__, fn.__doc__ = __name__, doc
    return elementwise(fn, result="bool", differentiable=False, accepts=accepts, reference=reference, points=points,
                       samples=samples, dtypes="any")


# x - x is NaN exactly for infinities and NaN, and 0 for every integer.
isnan = _test("isnan", lambda x: x != x, np.isnan, "Whether elements are NaN.")
isfinite = _test("isfinite", lambda x: (x - x) == (x - x), np.isfinite, "Whether elements are neither infinite nor NaN.")
isinf = _test("isinf", lambda x: (x == x) & ((x - x) != (x - x)), np.isinf, "Whether elements are infinite.")
isposinf = _test("isposinf", lambda x: (x > 0) & ((x - x) != (x - x)), np.isposinf, "Whether elements are +inf.", "real")
isneginf = _test("isneginf", lambda x: (x < 0) & ((x - x) != (x - x)), np.isneginf, "Whether elements are -inf.", "real")
_signbit_float = elementwise(lambda input: s.copysign(1, input) < 0, name="signbit_float", result="bool", private=True,
                             differentiable=False, accepts="realfloat", reference=np.signbit, samples=UNARY,
                             points=(0.0, -0.0), torch_name="signbit")
_signbit_float.doc = "``signbit`` of floating-point tensors."


@function(out="wider", dtypes="any", differentiable=False, samples=UNARY, reference=np.signbit, points=(0.0, -0.0, -INF))
def signbit(input):
    """Whether elements have their sign bit set; that of -0.0 counts."""
    d = input._kind.dtype
    if d.is_complex:
        raise NotImplementedError("signbit is not implemented for complex tensors.")
    if d.barebones:
        from numbagrad.core.creation import zeros_like
        return zeros_like(input, dtype=dt.bool_)
    return _signbit_float(input) if d.category == 2 else REGISTRY["lt"].callable(input, 0)


@function(dtypes="any", differentiable=False, samples=UNARY, reference=np.isreal)
def isreal(input):
    """Whether elements have no imaginary part."""
    if input._kind.dtype.is_complex:
        return REGISTRY["eq"].callable(REGISTRY["imag"].callable(input), 0)
    from numbagrad.core.creation import ones_like
    return ones_like(input, dtype=dt.bool_, requires_grad=False)


# --- closeness -----------------------------------------------------------------------------------------------------------

def _close(input, other, rtol, atol, equal_nan):
    d = input - other
    near = ((d - d) == (d - d)) & (s.absolute(d) <= atol + s.absolute(rtol * other))
    return (input == other) | near | ((equal_nan != 0) & (input != input) & (other != other))


def _isclose_kernel(input, other, rtol: float, atol: float, equal_nan: int):
    """``isclose`` of floating-point tensors."""
    return _close(input, other, rtol, atol, equal_nan)


def _isclose_reference(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    return np.isclose(a, b, rtol, atol, equal_nan)


isclose_kernel = elementwise(_isclose_kernel, name="isclose_kernel", result="bool", differentiable=False, private=True,
                             accepts="realfloat", samples=(Sample((3, 4), (4,), 1e-5, 1e-8, 0),),
                             reference=_isclose_reference)


@function(kinds={"other": "tensor"},
          dtypes="any", differentiable=False, reference=_isclose_reference, points=(0.0, INF, -INF, NAN),
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (4,), 0.5, 0.1), Sample((3,), (3,), equal_nan=True)))
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether ``|input - other| <= atol + rtol * |other|``, elementwise; equal infinities are close."""
    for x, name, position in ((input, "input", 1), (other, "other", 2)):
        if not isinstance(x, Tensor):
            raise arguments.wrong(x, "Tensor", "isclose", name, position)
    d = input._kind.dtype
    if other._kind.dtype is not d:
        raise RuntimeError(f"{dt.scalar_name(d)} did not match {dt.scalar_name(other._kind.dtype)}")
    if not rtol >= 0:
        raise RuntimeError(f"rtol must be greater than or equal to zero, but got {rtol}")
    if not atol >= 0:
        raise RuntimeError(f"atol must be greater than or equal to zero, but got {atol}")
    if d.is_complex:
        near = REGISTRY["le"].callable(abs(input - other), REGISTRY["abs"].callable(other) * rtol + atol)
        return REGISTRY["eq"].callable(input, other) | near
    if d.category < 2:
        input, other = input.double(), other.double()
    return isclose_kernel(input, other, rtol, atol, int(equal_nan))


@function(kinds={"other": "tensor"},
          dtypes="any", differentiable=False, samples=(Sample((3, 4), (3, 4)), Sample((2,), (2,), 10.0)),
          reference=lambda a, b, *args: np.allclose(a, b, *args))
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all elements are close (see ``isclose``), as a Python bool."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@kernel(fast=())
def find_difference(x: "*T", y: "*T", found: "*i8", start: int, stop: int):
    """Set int64 found (1,) to the place of a block with a difference between x (n,) and y (n,)."""
    i = start
    width = 32  # unequal tensors differ early, mostly
    while i < stop:
        end = min(i + width, stop)
        differ = 0
        for j in range(i, end):
            differ |= 1 if load(x[j]) != load(y[j]) else 0
        if differ:
            found[0] = i
            return
        i = end
        width = min(2 * width, 512)


FIRST = 1 << 12  # elements that one thread looks at before several do: unequal tensors differ early, mostly
_difference = tape.Flag(None)
_free, _entries = _difference.free, find_difference.entries


@function(kinds={"other": "tensor"}, planned=False,
          dtypes="any", differentiable=False, samples=(Sample((3, 4), (3, 4)), Sample((3,), (4,)), Sample((0,), (0,))),
          reference=np.array_equal)
def equal(input, other):
    """Whether two tensors have the same shape and elements, as a Python bool."""
    if input._shape != other._shape:
        return False
    kind, n = input._kind, input._n
    if other._kind is kind and input._strides is None and other._strides is None and kind.cpu and not tape.TAPE:
        if input._ptr == other._ptr and kind.dtype.category < 2:  # (NaN is not equal to itself)
            return True
        found = _free.pop() if _free else _difference.take()
        words = found.view
        first = n if n < LIMIT[0] else min(n, FIRST)
        (_entries.get(kind) or find_difference[kind])(input._ptr, other._ptr, found.address, 0, first)
        if words[0] == -1:
            if first < n:
                find_difference.run(kind, (input._ptr, other._ptr, found.address), n, n)
                if words[0] != -1:
                    words[0] = -1
                    _free.append(found)
                    return False
            _free.append(found)
            return True
        words[0] = -1
        _free.append(found)
        return False
    return bool(REGISTRY["eq"].callable(input, other).all())


# --- logic ---------------------------------------------------------------------------------------------------------------

def _logical(name, symbol, reference, formula):
    def fn(input, other):
        return formula(input != 0, other != 0)
    fn.__name__ = fn.__qualname__ = "logical_" + name
    fn.__module__ = __name__
    fn.__doc__ = f"Logical {name.upper()} of the truth of elements (zero is False), ``input {symbol} other``."
    op = elementwise(fn, numbers="none", result="bool", differentiable=False, reference=reference, samples=BINARY[:2],
                     dtypes="any")
    _logical_in_place(op)
    return op


def _logical_in_place(op):
    """``logical_and_``: the result as 0 and 1 in the tensor's own dtype.

    As in PyTorch autograd does not see it: leaves may be written, and histories stay as they are."""
    def fn(input, *other):  # none of ``logical_not_``
        if other and is_number(other[0]):
            raise arguments.wrong(other[0], "Tensor", op.name + "_", "other", 1)
        with modes.no_grad():
            return input.copy_(op.callable(input, *other).to(dtype=input.dtype))
    fn.__signature__ = op.signature
    fn.__name__ = fn.__qualname__ = op.name + "_"
    fn.__module__, fn.__doc__ = __name__, f"In-place form of ``{op.name}``."
    function(fn, namespaces=(), differentiable=False, dtypes="any")


logical_and = _logical("and", "and", np.logical_and, lambda a, b: a & b)
logical_or = _logical("or", "or", np.logical_or, lambda a, b: a | b)
logical_xor = _logical("xor", "!=", np.logical_xor, lambda a, b: a ^ b)
logical_not = _test("logical_not", lambda x: x == 0, np.logical_not, "Whether elements are zero.")
_logical_in_place(logical_not)


# --- bits ----------------------------------------------------------------------------------------------------------------

BITS = (Sample(("int64", (3, 4), -50, 50), ("int64", (4,), -50, 50)), Sample(("bool", (3,)), ("bool", (3,))),
        Sample(("int64", (3,), -50, 50), 6))


def _bitwise(name, primitive, reference, doc):
    def fn(input, other):
        return expr.apply(primitive, input, other)
    fn.__name__ = fn.__qualname__ = "bitwise_" + name
    fn.__module__, fn.__doc__ = __name__, doc
    return elementwise(fn, accepts="int", differentiable=False, reference=reference, samples=BITS, dtypes="int")


bitwise_and = _bitwise("and", "bitand", np.bitwise_and, "Bitwise AND of integers, logical AND of bools.")
bitwise_or = _bitwise("or", "bitor", np.bitwise_or, "Bitwise OR of integers, logical OR of bools.")
bitwise_xor = _bitwise("xor", "bitxor", np.bitwise_xor, "Bitwise XOR of integers, logical XOR of bools.")


@elementwise(private=True, accepts="int", differentiable=False, reference=np.bitwise_not, dtypes="int",
             samples=(Sample(("int64", (3, 4), -50, 50)),), torch_name="bitwise_not")
def bit_complement(input):
    """Every bit of an integer flipped."""
    return expr.apply("bitnot", input)


@function(inplace="into", differentiable=False, dtypes="int", reference=np.bitwise_not,
          samples=(Sample(("int64", (3, 4), -50, 50)), Sample(("bool", (3,)))))
def bitwise_not(input, *, out=None):
    """Bitwise NOT of integers, logical NOT of bools."""
    return (bit_complement if input._kind.dtype.category else logical_not)(input, out=out)


SHIFTS = (Sample(("int64", (3, 4), -50, 50), ("int64", (4,), 0, 6)), Sample(("int64", (3,), -50, 50), 2))


@elementwise(accepts="integer", differentiable=False, reference=np.left_shift, samples=SHIFTS, dtypes="int")
def bitwise_left_shift(input, other):
    """``input * 2 ** other`` in the dtype's bits; 0 where ``other`` is negative or not below the width."""
    inside = (other >= 0) & (other < 64)
    return s.where(inside, s.shl(input, s.where(inside, other, 0)), 0)


@elementwise(accepts="integer", differentiable=False, reference=np.right_shift, samples=SHIFTS, dtypes="int")
def bitwise_right_shift(input, other):
    """Arithmetic shift to the right; all sign bits where ``other`` is negative or not below the width."""
    inside = (other >= 0) & (other < 64)
    return s.shr(input, s.where(inside, other, 63))
