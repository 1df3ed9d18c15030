"""Reading and writing the places that one index tensor names, as ops of plain tensors: the plan of a call says all of them.

``where(shape, dim, index, kind, values)`` checks an index into a tensor of ``shape`` and gives what its ``plans.Plan`` is made
of; writes say the kind of the tensor and the values, too. It is called once for a geometry that comes often.
"""

from __future__ import annotations

from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.copying import copy_into, fill_into, set_all
from numbagrad.core.tensor import make
from numbagrad.extend import custom

from . import access, along
from . import plans as ix


def shape_of(order, before, indexed, in_shape, index_shape, *_):
    """The shape of what a plan made of these reads."""
    return *in_shape[:before], *index_shape, *in_shape[before + indexed:]


def read(out, input, plan):
    """Read the elements that a plan names into ``out``."""
    if not along.read(out, input, plan):
        access.read(out, input, plan)


def pile(out, g, plan):
    """Set ``out`` to zeros with ``g`` added at the places that a plan names."""
    set_all(out, 0)
    if not along.add(out, g, plan):
        access.add(out, g, plan)


@custom(private=True, contiguous=False, node="IndexBackward0", reference=None, dtypes="any")
def taken(input, index, where: object, dim: int):
    """The elements that an index names."""
    return shape_of(*where(input._shape, dim, index)[1:]), input._kind


@taken.cpu
def _(out, input, index, where, dim):
    plan = ix.Plan(*where(input._shape, dim, index))
    read(out, input, plan)


@taken.gradient
def _(g, index, shape, where, dim):
    return piled.call(g, index, where, dim, shape), None


@custom(private=True, contiguous=False, reference=None, dtypes="any")
def piled(g, index, where: object, dim: int, shape: tuple):
    """Zeros with ``g`` added at the places that an index names: the gradient of ``taken``."""
    return shape, g._kind


@piled.cpu
def _(out, g, index, where, dim, shape):
    plan = ix.Plan(*where(shape, dim, index))
    pile(out, g, plan)


@piled.gradient
def _(g_, index, where, dim):
    return taken.call(g_, index, where, dim), None


@custom(private=True, contiguous=False, node="IndexBackward0", reference=None, dtypes="any")
def taken_at_two(input, first, second):
    """The elements ``input[first, second]``, of two index tensors that broadcast."""
    return ix.plan_of(input._shape, (first, second)).shape, input._kind


@taken_at_two.cpu
def _(out, input, first, second):
    plan = ix.plan_of(input._shape, (first, second))
    read(out, input, plan)


@taken_at_two.gradient
def _(g, first, second, shape):
    return piled_at_two.call(g, first, second, shape), None, None


@custom(private=True, contiguous=False, reference=None, dtypes="any")
def piled_at_two(g, first, second, shape: tuple):
    """Zeros with ``g`` added at ``[first, second]``: the gradient of ``taken_at_two``."""
    return shape, g._kind


@piled_at_two.cpu
def _(out, g, first, second, shape):
    plan = ix.plan_of(shape, (first, second))
    pile(out, g, plan)


@piled_at_two.gradient
def _(g_, first, second):
    return taken_at_two.call(g_, first, second), None, None


@custom(private=True, contiguous=False, differentiable=False, reference=None, dtypes="any")
def placed_at_two(input, values, first, second):
    """A copy of ``input`` with ``values`` written at ``[first, second]``, of which nothing is recorded."""
    check_values(values, ix.plan_of(input._shape, (first, second)).shape)
    return input._shape, input._kind


@placed_at_two.cpu
def _(out, input, values, first, second):
    plan = ix.plan_of(input._shape, (first, second))
    copy_into(out, input)
    write(out, values, plan)


def write(out, values, plan):
    """Write values that broadcast at the places that a plan names."""
    if values._buf is out._buf or not (along.write(out, values, plan) or along.fill(out, values, plan)):
        change_at(out, values, plan, False)


@custom(private=True, contiguous=False, node="IndexPutBackward0", reference=None, dtypes="any")
def placed(input, values, index, where: object, dim: int, accumulate: bool):
    """A copy of ``input`` with ``values`` written or added at the places that an index names."""
    check_values(values, shape_of(*where(input._shape, dim, index, input._kind, values)[1:]))
    return input._shape, input._kind


def check_values(values, shape):
    """RuntimeError unless ``values`` broadcast to the shape that is indexed."""
    if values._shape != shape:
        lead = len(shape) - len(values._shape)
        if lead < 0 or any(s != 1 and s != shape[lead + i] for i, s in enumerate(values._shape)):
            raise RuntimeError(f"shape mismatch: value tensor of shape {list(values._shape)} cannot be broadcast to indexing "
                               f"result of shape {list(shape)}")


@placed.cpu
def _(out, input, values, index, where, dim, accumulate):
    plan = ix.Plan(*where(input._shape, dim, index))
    copy_into(out, input)
    if not accumulate:
        write(out, values, plan)
    elif values._buf is out._buf or not along.add(out, values, plan):
        change_at(out, values, plan, True)


def change_at(t, values, plan, accumulate):
    """Write or add values in place."""
    (access.add if accumulate else access.write)(t, ix.separate(values, t), plan)


@placed.gradient
def _(g, needs, shapes, index, where, dim, accumulate):
    own = None
    if needs[0]:
        own = g if accumulate else number_at.call(g, index, where, dim, 0)
    return own, sum_to_size(taken.call(g, index, where, dim), shapes[1]) if needs[1] else None, None


@custom(private=True, contiguous=False, node="IndexFillBackward0", reference=None, dtypes="any")
def number_at(input, index, where: object, dim: int, number: object):
    """A copy of ``input`` with a number, as its dtype holds it, at the places that an index names."""
    where(input._shape, dim, index)
    return input._shape, input._kind


@number_at.cpu
def _(out, input, index, where, dim, number):
    plan = ix.Plan(*where(input._shape, dim, index))
    copy_into(out, input)
    value = make((), out._kind)
    fill_into(value, number)
    if not along.fill(out, value, plan):
        access.write(out, value, plan)


@number_at.gradient
def _(g, index, where, dim):
    return number_at.call(g, index, where, dim, 0), None
