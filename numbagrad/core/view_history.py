"""History of views: how an in-place change of a view reaches its base, and how views follow a changed base.

An in-place op on a view gives the *base* a ``CopySlices`` node: its gradient is passed on with the view's region
replaced by what the op makes of it. The views' own nodes are remade from the base when they are next asked for. Both
nodes work in the base's *memory*, seen as one flat row, as that is where the elements of all its views have their places.
"""

from __future__ import annotations

import weakref

from ..base import modes
from ..base.shapes import contiguous_strides, numel
from .node import Node, function_of, hooks_of, new_node, short_name


class Place:
    """Where a view's elements lie in its base's memory, in elements of the view's type."""

    __slots__ = ("base_shape", "base_strides", "base_kind", "shape", "strides", "offset", "kind")

    def __init__(self, base, t):
        self.base_shape, self.base_strides, self.base_kind = base._shape, base._strides, base._kind
        self.shape, self.strides, self.kind = t._shape, t._strides or contiguous_strides(t._shape), t._kind
        self.offset = (t._ptr - base._ptr) // t._kind.itemsize
        if self.offset < 0:
            raise NotImplementedError("in-place modification, with gradients, of a view that starts before its base")

    def span(self):
        """Elements of memory from the base's first to its last."""
        if self.base_strides is None:
            return numel(self.base_shape)
        return 1 + sum([(s - 1) * k for s, k in zip(self.base_shape, self.base_strides)])

    def flat(self, g):
        """A gradient of the base as a new row of its memory."""
        if self.base_strides is None:
            return g.contiguous().view(-1).clone()
        row = g.new_zeros((self.span(),))
        _ops()["strided"].callable(row, self.base_shape, self.base_strides, 0).copy_(g)
        return row

    def shaped(self, row):
        """The base's elements out of a row of its memory, row-major."""
        if self.base_strides is None:
            return row.view(self.base_shape)
        return _ops()["strided"].callable(row, self.base_shape, self.base_strides, 0).contiguous()

    def region(self, row):
        """The view's elements in a row of the base's memory."""
        return _ops()["strided"].callable(_retyped(row, self.kind), self.shape, self.strides, self.offset)

    def spread(self, g):
        """A gradient of the view as a row of the base's memory, zero elsewhere."""
        n = self.span() * self.base_kind.itemsize // self.kind.itemsize
        row = _ops()["strided"].rule(g, (n,), self.shape, self.strides, self.offset)
        return _retyped(row, self.base_kind)


def _ops():
    from .registry import REGISTRY
    return REGISTRY


def _retyped(row, kind):
    """A row of complex numbers as real ones, or the other way round, on the same memory."""
    if row._kind is kind:
        return row
    if row._kind.dtype.is_complex and row._kind.itemsize == 2 * kind.itemsize:
        return _ops()["view_as_real"].callable(row).view(-1)
    if kind.dtype.is_complex and kind.itemsize == 2 * row._kind.itemsize:
        return _ops()["view_as_complex"].callable(row.view(-1, 2))
    raise NotImplementedError(f"gradient between a view of {kind.dtype} and its base of {row.dtype}")


class CopySlices(Node):
    """Backward of an in-place op on a view: ``ctx`` is (the op's node, place of the view in its base)."""

    __slots__ = ()
    holds_more = True

    def name(self):
        return "torch::autograd::CopySlices"

    def backward(self, g):
        return self._run(g, self.ctx[0].backward)

    def backward_graph(self, g):
        return self._run(g, self.ctx[0].backward_graph)

    def _run(self, g, run):
        place = self.ctx[1]
        row = place.flat(g)
        grads = list(run(place.region(row).clone()))
        region = place.region(row)
        if grads[0] is None:
            region.zero_()
        else:
            region.copy_(grads[0])
        grads[0] = place.shaped(row)
        return tuple(grads)

    def release(self):
        self.ctx[0].release()


class AsStridedBackward0(Node):
    """Gradient of a view that was remade from its base: ``ctx`` is its place."""

    __slots__ = ()

    def backward(self, g):
        return (self.ctx.shaped(self.ctx.spread(g)),)


AsStridedBackward0.__module__ = CopySlices.__module__ = "numbagrad"


def remake(base, t):
    """A node for view ``t`` that takes its elements out of ``base`` as it is now."""
    node = new_node(AsStridedBackward0, (base if base._node is None else base._node,))
    node.ctx = Place(base, t)
    return node


def part_of(slices):
    """A node for the view that ``slices`` changed, as it was right after the change."""
    node = new_node(AsStridedBackward0, (slices,))
    node.ctx = slices.ctx[1]
    return node


def edge(t):
    """The edge an operation records for input ``t`` that requires grad."""
    if t._view is not None:
        refresh(t)
    node = t._node
    return t if node is None else node


def refresh(t):
    """Give a view a new node when its base was modified in place since the view's node was made."""
    view = t._view
    version = t._ver[0]
    if view.version != version:
        base = view.base
        if base._rg and (t._rg or base._node is not None) and t._kind.dtype.category >= 2:
            if view.mode is not None:
                mode = modes.current()
                if not mode.grad or mode.inference:
                    return  # nothing is recorded now; a later use with gradients is refused
                raise RuntimeError(forbidden(t, view.mode, "its base or another view of its base has been"))
            t._node, t._rg = remake(base, t), True
        view.version = version


UNCLEAR = ("Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by "
           "moving both the view and the inplace either both inside the {0} block (if you don't want the inplace to be "
           "tracked) or both outside (if you want the inplace to be tracked).")


def forbidden(t, mode, what="is being"):
    """Why a view of this origin, or its base, may not be modified in place."""
    if mode == "inference":
        return f"A view was created in inference mode and {what} modified inplace in normal mode. " + (
            UNCLEAR.format("inference_mode"))
    if mode == "no_grad" or t._node is None:
        head = f"A view was created in no_grad mode and {what} modified inplace with grad mode enabled. "
    else:
        node, index = function_of(t._node)
        head = f"Output {index} of {short_name(node)} is a view and {what} modified inplace. "
    if mode == "no_grad":
        return head + UNCLEAR.format("no_grad")
    if mode == "function":
        return head + ("This view was created inside a custom Function (or because an input was returned as-is) and "
                       "the autograd logic to handle view+inplace would override the custom backward associated with "
                       "the custom Function, leading to incorrect gradients. This behavior is forbidden. You can fix "
                       "this by cloning the output of the custom Function.")
    return head + ("This view is the output of a function that returns multiple views. Such functions do not allow the "
                   "output views to be modified inplace. You should replace the inplace operation by an out-of-place "
                   "one.")


def rebase(t, node):
    """Make ``node`` (whose first edge is ``t``'s old history) the history of ``t`` after an in-place change."""
    view = t._view
    if view is None:
        _move_retained(t, node)
        t._node, t._rg = node, True
        return
    base = view.base
    slices = new_node(CopySlices, ((base._node or base) if base._rg else None, *node.next[1:]))
    slices.ctx = (node, Place(base, t))
    node.__dict__["_slices"] = weakref.ref(slices)
    if "anomaly" in modes.STATE and "_forward" in node.__dict__:
        slices.__dict__["_forward"] = node.__dict__["_forward"]
    _move_retained(base, slices)
    base._node, base._rg = slices, True
    fresh = remake(base, t)
    _move_retained(t, fresh)
    t._node, t._rg = fresh, True
    view.version = t._ver[0]


def _move_retained(t, edge):
    """``retain_grad`` speaks of the tensor's value after the last change: move it to the new node."""
    if t._node is None or "_numbagrad" not in t.__dict__ or "retain" not in t.__dict__["_numbagrad"]:
        return
    node, index = function_of(t._node)
    if node.hooks is None or index not in node.hooks.retain:
        return
    ref = node.hooks.retain.pop(index)
    node, index = function_of(edge)
    hooks_of(node).retain[index] = ref
