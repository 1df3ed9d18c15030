"""Places named by a mask: masked_fill, masked_select, masked_scatter, nonzero."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.broadcast import broadcast_shapes, sum_to_size
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.core.out import write_out
from numbagrad.core.overlap import check_partial, check_single, is_several
from numbagrad.core.promotion import is_number
from numbagrad.dispatch.custom import Custom, CustomNode
from numbagrad.dispatch.op import add_method
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function
from numbagrad.kernel import tape
from numbagrad.kernel.jit import kernel, lanes

from ..pointwise.logic import where_else, where_number, where_tensors
from ..view.shape import expanded, reshaped
from . import access
from . import plans as ix
from .by_plan import collect
from .chosen import by_mask, chosen
from .kernels import moved

# --- masked_fill ------------------------------------------------------------------------------------------------------

class MaskedFill(Custom):
    """Two node names: with a number, and with a 0-d tensor as value."""

    with_tensor = None

    def node_for(self, params):
        return self.node_class if params[0] is not None else self.with_tensor


def _declare(fn):
    op = MaskedFill(fn, private=True, contiguous=False, node="MaskedFillBackward0", dtypes="any", reference=None)
    op.with_tensor = type("MaskedFillBackward1", (CustomNode,), {"__slots__": (), "op": op, "__module__": "numbagrad"})
    return op


@_declare
def filled(input, mask, value=None, number: object = None):
    """``input`` with a number or a 0-d tensor where the mask holds."""
    return broadcast_shapes("masked_fill", [input, mask]), input._kind


def _fill_masked(out, input, mask, value, number):
    if value is None:
        where_else.cpu_launch(out, mask, input, number)
    else:
        where_tensors.cpu_launch(out, mask, value, input)


filled.cpu(_fill_masked)


@filled.gradient
def _(g, needs, mask, shapes):
    zero = where_else(mask, g, 0) if needs[0] else None
    kept = where_number(mask, g, 0).sum() if needs[2] else None
    return None if zero is None else sum_to_size(zero, shapes[0]), None, kept


def _mask_and_value(input, mask, value):
    if mask._kind.dtype is not dt.bool_:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {_c_name(mask)}")
    if not isinstance(value, Tensor):
        if not is_number(value):
            raise TypeError(f"masked_fill(): argument 'value' (position 2) must be Tensor or Number, not "
                            f"{type(value).__name__}")
        return None, dt.fit(value, input._kind.dtype)
    if value._shape:
        raise RuntimeError("masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                           f"{len(value._shape)} dimension(s).")
    return ix.value_like(value, input), None


def _c_name(t):
    name = t._kind.dtype.name
    return {"float32": "float", "float64": "double", "int64": "long", "int32": "int", "int16": "short", "int8": "signed char",
            "uint8": "unsigned char"}.get(name, dt.scalar_name(t._kind.dtype))


def _filled_reference(a, mask, value):
    return np.where(mask, value, a)


@function(kinds={"value": "any"}, dtypes="any", reference=_filled_reference, samples=(
    Sample((3, 4), ("bool", (3, 4)), 2.5), Sample((3, 4), ("bool", (4,)), -1.0)))
def masked_fill(input, mask, value):
    """A copy of ``input`` with ``value`` (a number or a 0-d tensor) where the mask, which broadcasts, holds."""
    return filled.call(input, mask, *_mask_and_value(input, mask, value))


def masked_fill_(self, mask, value):
    """In-place form of ``masked_fill``."""
    if (value.__class__ is float or value.__class__ is int) and isinstance(mask, Tensor) and mask._shape == self._shape and (
            ix.is_few(self, (mask,))):
        return ix.take_values(self, masked_fill(self, mask, value))
    value, number = _mask_and_value(self, mask, value)
    _fits("masked_fill_", self, mask)
    check_partial(self, (mask,))

    def change(t):
        given = value if value is None else ix.separate(value, t)
        if is_several(t) and not (tape.TAPE and tape.active() is not None):
            # Reading what stays and writing it back could undo a write through another element.
            whole = mask if mask._shape == t._shape else expanded.call(mask.detach(), t._shape)
            return access.write(t, ix.scalar_like(number, t) if given is None else given, ix.flat_plan_of_mask(whole))
        return _fill_masked(t, t, mask, given, number)
    return ix.modify(filled, self, (mask, value), (number,), change, "masked_fill_")


def _fits(name, t, mask):
    shape = broadcast_shapes(name, [t, mask])
    if shape != t._shape:
        raise RuntimeError(f"output with shape {list(t._shape)} doesn't match the broadcast shape {list(shape)}")


# --- masked_select, masked_scatter ------------------------------------------------------------------------------------

_masked_select = collect.recorded_as("MaskedSelectBackward0")
_chosen = chosen.recorded_as("MaskedSelectBackward0")


@function(dtypes="any", reference=lambda a, m: np.broadcast_to(a, np.broadcast_shapes(a.shape, m.shape))[
    np.broadcast_to(m, np.broadcast_shapes(a.shape, m.shape))],
    samples=(Sample((3, 4), ("bool", (3, 4))), Sample((3, 4), ("bool", (4,)))))
def masked_select(input, mask, *, out=None):
    """The elements of ``input`` where the mask holds, as one row."""
    if mask._kind.dtype is not dt.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes("masked_select", [input, mask])
    x = input if input._shape == shape else expanded.call(input, shape)
    m = mask if mask._shape == shape else expanded.call(mask, shape)
    result = by_mask(x, m, _chosen)
    if result is None:
        result = _masked_select(x, ix.flat_plan_of_mask(m))
    return result if out is None else write_out("masked_select", out, result, (input,))


@kernel
def place_in_order(x: "*T", mask: "*u1", source: "*T", size: int, n: int, short: "*i8", start: int, stop: int):
    """The next of source (size,) into x (n,) where uint8 mask (n,) holds; if they do not suffice nothing is written but
    int64 short (1,)."""
    pair = lanes()
    count = 0
    for i in range(n):
        count += 1 if mask[i] != 0 else 0
    if count > size:
        short[0] = 1
    elif count > 0:
        k = 0
        for i in range(n):  # without a branch, as ``put_true``
            flag = 1 if mask[i] != 0 else 0
            pair[0] = x[i]
            pair[1] = source[min(k, count - 1)]
            x[i] = pair[flag]
            k += flag


@kernel
def take_in_order(x: "*T", mask: "*u1", out: "*T", size: int, n: int, start: int, stop: int):
    """Elements of x (n,) where uint8 mask (n,) holds into out (size,), which has one, then zeros."""
    while n > 0 and mask[n - 1] == 0:
        n -= 1
    k = 0
    for i in range(n):  # without a branch, as ``keep_true``
        if k == size:
            break
        out[k] = x[i]
        k += 1 if mask[i] != 0 else 0
    for i in range(k, size):
        out[i] = 0


def _too_few(*_):
    raise RuntimeError("Number of elements of source < number of ones in mask")


_short = tape.Flag(_too_few)


@custom(private=True, contiguous=False, node="MaskedScatterBackward0", dtypes="any", reference=None)
def scattered_by_mask(input, source, mask):
    """A copy of ``input`` with the first elements of ``source`` where the mask holds."""
    return input._shape, input._kind


def _take_in(t, source, mask):
    s, m = (x if x._strides is None else contiguous_copy(x) for x in (ix.separate(source, t), mask))
    to = t if t._strides is None else contiguous_copy(t)
    if t._n:
        short = _short.take(t._kind)
        place_in_order[moved(t._kind)](to._ptr, m._ptr, s._ptr, s._n, t._n, short.address, 0, 1)
        short.check()
    if to is not t:
        copy_into(t, to)


@scattered_by_mask.cpu
def _(out, input, source, mask):
    copy_into(out, input)
    _take_in(out, source, mask)


@scattered_by_mask.gradient
def _(g, needs, shapes, mask):
    own = where_else(mask, g, 0) if needs[0] else None
    return own, taken_by_mask.call(g, mask, shapes[1]) if needs[1] else None, None


@custom(private=True, node="MaskedScatterBackward0", dtypes="any", reference=None)
def taken_by_mask(input, mask, shape: tuple):
    """The elements of ``input`` where the mask holds, in order, then zeros, in a tensor of ``shape``."""
    return shape, input._kind


@taken_by_mask.cpu
def _(out, input, mask, shape):
    if out._n:
        take_in_order[moved(out._kind)](input._ptr, mask._ptr, out._ptr, out._n, input._n, 0, 1)


@taken_by_mask.gradient
def _(g, shapes, mask):
    full = REGISTRY["cat"].callable([reshaped(g, (g._n,)), g.new_zeros((max(0, mask._n - g._n),))])
    return scattered_by_mask.call(g.new_zeros(shapes[0]), full, mask), None


def _full_mask(input, mask, source, shape):
    if mask._kind.dtype is not dt.bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {_c_name(mask)}")
    if source._kind.dtype is not input._kind.dtype:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes but got "
                           f"{dt.scalar_name(input.dtype)} and {dt.scalar_name(source.dtype)}")
    return mask if mask._shape == shape else expanded.call(mask, shape)


def _scatter_reference(a, mask, source):
    out = np.array(np.broadcast_to(a, np.broadcast_shapes(a.shape, mask.shape)))
    mask = np.broadcast_to(mask, out.shape)
    out[mask] = source.reshape(-1)[:mask.sum()]
    return out


@function(dtypes="any", reference=_scatter_reference,
          samples=(Sample((3, 4), ("bool", (3, 4)), ("float64", (4, 3))), Sample((3, 4), ("bool", (4,)), ("float64", (12,)))))
def masked_scatter(input, mask, source):
    """A copy of ``input`` with the elements of ``source``, in order, where the mask holds."""
    shape = broadcast_shapes("masked_scatter", [input, mask])
    x = input if input._shape == shape else expanded.call(input, shape)
    return scattered_by_mask.call(x, source, _full_mask(input, mask, source, shape))


def masked_scatter_(self, mask, source):
    """In-place form of ``masked_scatter``."""
    check_single(self)
    _fits("masked_scatter_", self, mask)
    full = _full_mask(self, mask, source, self._shape)
    return ix.modify(scattered_by_mask, self, (source, full), (), lambda t: _take_in(t, source, full), "masked_scatter_")


add_method(masked_fill_, value="any")
add_method(masked_scatter_)


# --- nonzero ----------------------------------------------------------------------------------------------------------

@function(differentiable=False, dtypes="any", reference=np.argwhere, samples=(Sample(("bool", (3, 4))), Sample((5,))))
def nonzero(input, *, out=None, as_tuple=False):
    """Coordinates of the nonzero elements, one row each; with ``as_tuple`` one tensor per dimension."""
    if as_tuple:
        rows = ix.coordinates(input if input._shape else input.view(1))
        return tuple([rows[:, d].contiguous() for d in range(rows._shape[1])])
    result = ix.coordinates(input)
    return result if out is None else write_out("nonzero", out, result, (input,))


@function(differentiable=False, dtypes="any", reference=np.argwhere, samples=(Sample(("bool", (3, 4))),))
def argwhere(input):
    """Coordinates of the nonzero elements, one row each."""
    return nonzero.fn(input)


