"""Calling the user's hooks during backward, in PyTorch's order.

On the outputs of a node: tensor hooks, retained gradients, pre-hooks of the node; then its backward, then its
post-hooks. On a leaf: tensor hooks, pre-hooks of AccumulateGrad, accumulation, post-accumulate hooks, post-hooks.
"""

from __future__ import annotations

from heapq import heappop, heappush

from ..base import modes

LEAF_TABLES = ("hooks", "acc_prehooks", "post_acc", "acc_hooks")


def user(create_graph, fn, *args):
    """Run the user's code with recording on only under ``create_graph``."""
    if create_graph or not modes.current().grad:
        return fn(*args)
    modes.change(grad=False)
    try:
        return fn(*args)
    finally:
        modes.change(grad=True)


def on_leaf(t):
    """Whether a leaf has hooks of any kind."""
    more = t.__dict__.get("_numbagrad")
    return more is not None and any(more.get(name) for name in LEAF_TABLES)


def in_order(start, order, following, grads, captured):
    """Edges and gradients of a node from ``start`` on, the leaves with hooks first, in the order in which PyTorch's run.

    That is the order of its edges (a node's ``order``, where ours differs) through a heap in which all leaves are alike."""
    heap = []
    for i in order or range(len(following)):
        if i >= start and following[i] is not None:
            heappush(heap, _Place(i, following[i].is_leaf_edge))
    found = [heappop(heap).index for _ in range(len(heap))]
    first = [i for i in found if following[i].is_leaf_edge and on_leaf(following[i])
             and (captured is None or id(following[i]) in captured)]
    places = (*range(start), *first, *[i for i in range(start, len(following)) if i not in first])
    return [following[i] for i in places], [grads[i] for i in places]


class _Place:
    __slots__ = ("index", "leaf")

    def __init__(self, index, leaf):
        self.index, self.leaf = index, leaf

    def __lt__(self, other):
        return self.leaf and not other.leaf


def _name(hook):
    return getattr(hook, "__name__", "<unknown>")


def _type(t):
    from ..base.dtypes import scalar_name
    return ("torch." if t._kind.cpu else "torch.cuda.") + scalar_name(t._kind.dtype) + "Tensor"


def checked(hook, new, old):
    """A hook's replacement gradient, which must fit the one it replaces."""
    if new is None:
        return old
    if not hasattr(new, "_kind"):
        raise TypeError(f"expected Variable, but hook returned '{type(new).__name__}'")
    if old is None:
        return new
    if new._kind is not old._kind:
        raise RuntimeError(f"hook '{_name(hook)}' has changed the type of value (was {_type(old)} got {_type(new)})")
    if new._shape != old._shape:
        raise RuntimeError(f"hook '{_name(hook)}' has changed the size of value")
    return new


def _several(hook, new, old):
    """A hook's replacement for a tuple of gradients."""
    if new is None:
        return old
    new = new if isinstance(new, (tuple, list)) else (new,)
    if len(new) != len(old):
        raise RuntimeError(f"hook '{_name(hook)}' has returned an incorrect number of values (got {len(new)}, but "
                           f"expected {len(old)})")
    return [None if n is None else checked(hook, n, o) for n, o in zip(new, old)]


def on_outputs(node, g, create_graph):
    """Tensor hooks of the outputs, then retained gradients."""
    table = node.hooks
    if not table.tensor and not table.retain:
        return g
    single = g.__class__ is not list
    grads = [g] if single else list(g)
    for index, hooks in table.tensor.items():
        for hook in list(hooks.values()):
            grads[index] = checked(hook, user(create_graph, hook, grads[index]), grads[index])
    for index, ref in table.retain.items():
        t = ref()
        if t is not None and grads[index] is not None:
            part = grads[index] if create_graph else grads[index].detach()
            t._grad = part.clone() if t._grad is None else t._grad + part
    return grads[0] if single else grads


def before(node, g, create_graph):
    """What happens to the gradients of a node's outputs before it runs."""
    g = on_outputs(node, g, create_graph)
    if node.hooks.pre:
        single = g.__class__ is not list
        grads = [g] if single else g
        for hook in list(node.hooks.pre.values()):
            grads = _several(hook, user(create_graph, hook, tuple(grads)), grads)
        g = grads[0] if single else grads
    return g


def after(node, g, grads, create_graph):
    """Post-hooks of a node: they may replace the gradients of its inputs."""
    outputs = tuple(g) if g.__class__ is list else (g,)
    if node.takes_number:
        grads = (*grads, None)
    for hook in list(node.hooks.post.values()):
        grads = _several(hook, user(create_graph, hook, tuple(grads), outputs), grads)
    return grads


def before_leaf(more, r, accumulate, create_graph):
    """(gradient after the hooks of a leaf, whether the user has seen it)."""
    seen = False
    for hook in list(more.get("hooks", {}).values()):
        r, seen = checked(hook, user(create_graph, hook, r), r), True
    if accumulate:
        for hook in list(more.get("acc_prehooks", {}).values()):
            (r,), seen = _several(hook, user(create_graph, hook, (r,)), (r,)), True
    return r, seen


def after_leaf(more, t, r, create_graph):
    """Hooks that follow the accumulation into a leaf."""
    for hook in list(more.get("post_acc", {}).values()):
        user(create_graph, hook, t)
    for hook in list(more.get("acc_hooks", {}).values()):
        user(create_graph, hook, (), (r,))
