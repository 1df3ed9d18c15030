"""What becomes of a custom Function's outputs and saved tensors: marks, histories, aliases of inputs."""

from __future__ import annotations

import warnings

from ..core import graph
from ..core.graph import Node, Output, View
from ..core.tensor import Tensor, bump_version, raw
from ..core.view_history import forbidden, rebase


def _is_in(t, tensors):
    return any(t is x for x in tensors)


def _only_tensors(text, marked):
    for i, t in enumerate(marked):
        if not isinstance(t, Tensor):
            raise RuntimeError(text.format(i, type(t).__name__))


def _check_view(t):
    """Raise if a view that forward modified in place may not be, by where it comes from."""
    view = t._view
    if view.mode is not None and (view.base._rg or t._rg):
        raise RuntimeError(forbidden(t, view.mode))
    if view.base._rg and view.base._node is None:
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")


def wrap(node, ctx, args, outputs):
    """Check the marks on outputs; an input that comes back unmodified is replaced by a view of it."""
    inputs = [a for a in args if isinstance(a, Tensor)]
    dirty = ctx._dirty
    _only_tensors("mark_dirty can only accept variables, but argument {0} is of type {1}", dirty)
    _only_tensors("mark_non_differentiable only accepts variable arguments, but got {1}", ctx._no_grad_outputs)
    for t in dirty:
        if not _is_in(t, outputs):
            raise RuntimeError("Some elements marked as dirty during the forward method were not returned as output. "
                               "The inputs that are modified inplace must all be outputs of the Function.")
        if not _is_in(t, inputs):
            warnings.warn("ctx.mark_dirty() received a tensor that was not an input. Only input Tensors that have been "
                          "mutated should be passed to ctx.mark_dirty().", UserWarning, stacklevel=3)
    result, ctx._kept = [], []
    for o in outputs:
        if not isinstance(o, Tensor):
            result.append(o)
            ctx._kept.append(None)
            continue
        plain = o._kind.dtype.category < 2 or _is_in(o, ctx._no_grad_outputs)
        modified = _is_in(o, dirty) and _is_in(o, inputs)
        if modified and not plain:
            if node is not None:
                if o._rg and o._node is None:
                    raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
                if o._view is not None:
                    _check_view(o)
                if o._view is not None and len(outputs) > 1:
                    raise RuntimeError("If your Function modifies inplace an input that is a view of another Tensor, "
                                       "your Function cannot return more than one Tensor. This is not supported by the "
                                       "current autograd engine. You should either make sure the input is not a view "
                                       "(using .clone() for example) or make your Function only return one Tensor "
                                       "(potentially splitting it into two Functions: one doing the inplace that "
                                       "returns a single Tensor and a second one that does the other operations). You "
                                       "can ask on the forum https://discuss.pytorch.org/ if you need help to do this "
                                       "change.")
            bump_version(o)
            ctx._kept.append("dirty")
        elif _is_in(o, inputs) and not modified:
            view = raw(o._buf, o._ptr, o._n, o._shape, o._strides, o._kind, o._ver)
            if "_inference" in o.__dict__:
                view.__dict__["_inference"] = True
            else:
                view._view = View(o if o._view is None else o._view.base, o._ver[0], "function")
            o = view
            ctx._kept.append(None if plain else "grad")
        elif plain and o._rg and node is not None:
            if o._view is None:
                o._node, o._rg = None, False
            ctx._kept.append(None)
        else:
            ctx._kept.append(None if plain else "grad")
        result.append(o)
    return tuple(result)


def attach(node, ctx, args, outputs):
    """Make the node the history of its differentiable outputs."""
    several = len(outputs) > 1
    for i, (o, how) in enumerate(zip(outputs, ctx._kept)):
        if how is None:
            continue
        e = Output(node, i) if several else node
        if how == "dirty":
            if o._view is not None:
                order = next(j for j, a in enumerate(args) if a is o)
                if order:
                    # The base's history expects the modified input first.
                    node = _reordered(node, order)
                rebase(o, node)
            else:
                rebase(o, e)
            continue
        if o._view is not None:
            o._view.version = o._ver[0]
            o._view.mode = "multi" if sum([k is not None for k in ctx._kept]) > 1 else "function"
        o._node, o._rg = e, True
    del ctx._kept


class _First(Node):
    """A Function's node whose modified input is not its first: gradients in the order that ``CopySlices`` expects."""

    __slots__ = ()
    takes_none = holds_more = True

    def backward(self, g):
        inner, i = self.ctx
        return self._order(inner.backward(g), i)

    def backward_graph(self, g):
        inner, i = self.ctx
        return self._order(inner.backward_graph(g), i)

    @staticmethod
    def _order(grads, i):
        return (grads[i], *grads[:i], *grads[i + 1:])

    def release(self):
        self.ctx[0].release()


def _reordered(node, i):
    out = graph.new_node(_First, (node.next[i], *node.next[:i], *node.next[i + 1:]))
    out.ctx = (node, i)
    return out


def save(node, ctx, outputs):
    """Turn what save_for_backward was given into the node's saved form."""
    saved = []
    for i, t in enumerate(ctx._to_save):
        if t is None:
            saved += [None, 0]
        elif not isinstance(t, Tensor):
            raise TypeError(f"save_for_backward can only save variables, but argument {i} is of type "
                            f"{type(t).__name__}")
        else:
            own = next((j for j, o in enumerate(outputs) if o is t), None)
            if own is not None and (t._node is node or t._node.__class__ is Output and t._node.node is node):
                saved += [graph.save_output(t, own), t._ver[0]]
            else:
                saved += [graph.save_input(t), t._ver[0]]
    ctx._to_save = ()
    node.saved = ctx._saved = tuple(saved)
