"""Backward of calls that took the general path: one fused kernel, or recorded operations."""

from __future__ import annotations

from ..base.transformed import Transformed
from ..core import graph
from ..core.broadcast import sum_to_size
from ..core.launch import launch
from ..core.tensor import Tensor, make
from ..kernel import expr
from ..kernel.tape import TAPE
from . import plan
from .elementwise_general import Slow
from .rules import rule_function


def _unpacked(node, form, mask, complex_):
    values = {}
    for j, n in enumerate(form.saves(mask, complex_)):
        values[n] = graph.unpack(node, node.saved[2 * j], node.saved[2 * j + 1], "result" if n == "y_" else n)
    return values


def _mask(node):
    mask = 0
    for i, e in enumerate(node.next):
        if e is not None:
            mask |= 1 << i
    return mask


def only(node, needs, g):
    """``Node.only``: what is saved depends on which inputs need gradients."""
    form, part = node.form, node._with_edges(needs)
    if node.saved:
        complex_ = g._kind.dtype.is_complex
        names, kept = form.saves(_mask(node), complex_), form.saves(_mask(part), complex_)
        if not set(kept) <= set(names):
            return node
        part.saved = tuple([x for n in kept for x in node.saved[2 * names.index(n):2 * names.index(n) + 2]])
    return part


def _numbers(node):
    c = node.ctx
    return c.scalars if c.__class__ is Slow else (c or ())


def slow_backward(node, g):
    """First-order backward for any layout: one fused kernel, then sums over broadcast dimensions."""
    form, mask = node.form, _mask(node)
    if node.saved is None:
        graph.freed()
    if not TAPE and g._kind.cpu:
        c = node.ctx
        slow = c.__class__ is Slow
        plans = c.plans if slow else form.backward_plans
        if plans is not None:
            key = (mask, g._kind, g._shape, g._strides)
            found = plans.get(key)
            if found:
                grads = found(g, node.saved, (), c.scalars if slow else c or ())
                if grads is not None:
                    return grads
            elif found is None:
                plan.settle_slow(node, g, key, plans, compute_gradients)
    return compute_gradients(node, g)


def compute_gradients(node, g):
    """``slow_backward`` without a plan."""
    form, mask = node.form, _mask(node)
    complex_ = g._kind.dtype.is_complex
    values = _unpacked(node, form, mask, complex_)
    grads, kernel, names, outs = by_kernel(form, mask, values, dict(zip(form.scalars, _numbers(node))), g)
    if outs:
        if g._kind.cpu and not complex_ and node.ctx.__class__ is not Slow and not TAPE:
            codes = (g._kind.dtype.code,)
            form.fast_backward[mask][g._kind] = (kernel.native(g._kind.dtype.compute, codes * len(names),
                                                               codes * len(outs)).entry, g._kind.np, g._kind)
    c = node.ctx
    if c.__class__ is Slow and c.shapes is not None:
        grads = [None if r is None else sum_to_size(r, s) for r, s in zip(grads, c.shapes)]
    return tuple(grads)


def by_kernel(form, mask, values, numbers, g):
    """(gradients by one kernel, of the shape of ``g``, to which values are broadcast; the kernel, its names, its outputs)."""
    complex_ = g._kind.dtype.is_complex
    kernel, names, computed, passed, used = form.backward_kernel(mask, complex_)
    grads, outs = [None] * len(form.tensors), ()
    for i in passed:
        grads[i] = g
    if computed:
        values["g_"] = g
        outs = tuple([make(g._shape, g._kind) for _ in computed])
        launch(kernel, g._kind.dtype, [values[n] for n in names], [numbers[s] for s in used], outs, g._shape)
        for i, o in zip(computed, outs):
            grads[i] = o
    return grads, kernel, names, outs


def backward_graph(node, g):
    """Recorded backward: the same gradient expressions evaluated with tensor operations."""
    form, mask = node.form, _mask(node)
    if node.saved is None:
        graph.freed()
    complex_ = g._kind.dtype.is_complex
    values = _unpacked(node, form, mask, complex_)
    if g._ver.__class__ is Transformed and (found := g._ver.gradients(form, mask, values, _numbers(node), g)) is not None:
        c = node.ctx
        shapes = c.shapes if c.__class__ is Slow and c.shapes is not None else (None,) * len(found)
        return tuple([r if r is None or s is None else sum_to_size(r, s) for r, s in zip(found, shapes)])
    values["g_"] = g
    values.update(zip(form.scalars, _numbers(node)))
    wanted = form.outputs_of(mask, complex_)
    if form.op.fused and not complex_:
        results = [recorded_gradient(form, i, r, values) for i, r in wanted]
    else:
        results = expr.evaluate([r for _, r in wanted], values, rule_function(values["g_"]))
    grads = [None] * len(form.tensors)
    c = node.ctx
    for (i, _), r in zip(wanted, results):
        if not isinstance(r, Tensor):  # zeros that depend on nothing
            r = g.detach().new_full(g._shape, r)
        shape = c.shapes[i] if c.__class__ is Slow and c.shapes is not None else None
        grads[i] = r if shape is None else sum_to_size(r, shape)
    return tuple(grads)


def recorded_gradient(form, i, rule, values):
    """The gradient of tensor ``i`` by the op that the form has for it."""
    if rule.op in ("var", "const"):
        return values["g_"] if rule.op == "var" else rule.value
    op = form.recorded(i)
    saved = [values["y_" if n == op.y else n] for n in op.saved]
    return op.call(values["g_"], *saved, *[values[n] for n in op.numbers])
