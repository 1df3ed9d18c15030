"""Reading and writing the places of a plan (``plans``): what several index tensors or a part of a mask need."""

from __future__ import annotations

from numbagrad.core.copying import copy_into
from numbagrad.dispatch.plan import Recipe
from numbagrad.extend import custom

from . import along
from . import plans as ix
from .places import change_at, check_values, pile, placed, read


@custom(private=True, contiguous=False, node="IndexBackward0", reference=None, dtypes="any")
def collect(input, plan: Recipe):
    """The elements that a plan names."""
    return plan.shape, input._kind


@collect.cpu
def _(out, input, plan):
    read(out, input, plan)


@collect.gradient
def _(g, shape, plan):
    return spread.call(g, plan, shape)


collect.node_class.holds_more = True  # PyTorch saves the index and refuses a second backward


@custom(private=True, contiguous=False, reference=None, dtypes="any")
def spread(g, plan: Recipe, shape: tuple):
    """Zeros with ``g`` added at the places that a plan names: the gradient of ``collect``."""
    return shape, g._kind


@spread.cpu
def _(out, g, plan, shape):
    pile(out, g, plan)


@spread.gradient
def _(g_, plan):
    return collect.call(g_, plan)


@custom(private=True, contiguous=False, node="IndexPutBackward0", reference=None, dtypes="any")
def put_at(input, values, plan: Recipe, accumulate: bool):
    """A copy of ``input`` with ``values`` written or added at the places that a plan names."""
    check_values(values, plan.shape)
    return input._shape, input._kind


@put_at.cpu
def _(out, input, values, plan, accumulate):
    copy_into(out, input)
    if accumulate:
        done = values._buf is not out._buf and along.add(out, values, plan)
    else:
        done = along.fill(out, values, plan)
    if not done:
        change_at(out, values, plan, accumulate)


@put_at.gradient
def _(g, needs, shapes, plan, accumulate):
    from numbagrad.core.broadcast import sum_to_size
    own = None
    if needs[0]:
        own = g if accumulate else put_at.call(g, g.new_zeros(()), plan, False)
    return own, sum_to_size(collect.call(g, plan), shapes[1]) if needs[1] else None


def putter(name, differentiable_value=None):
    """(out-of-place, in-place) forms of ``put_at``, and ``placed``, under another node name (a second one if the value requires
    grad)."""
    forms = put_at.recorded_as(name), put_at.recorded_as(differentiable_value or name)

    def apart(input, values, plan, accumulate=False):
        return forms[values._rg](input, values, plan, accumulate)

    def in_place(t, values, plan, accumulate, name):
        check_values(values, plan.shape)
        plan.settle()  # nothing is written before every index is checked
        return ix.modify(put_at, t, (values,), (plan, accumulate), lambda t: change_at(t, values, plan, accumulate), name,
                         forms[values._rg].node_class)
    return apart, in_place, placed.recorded_as(differentiable_value or name)
