"""Backward: release nodes newest first, accumulate gradients, run hooks. Nothing here recurses."""

from __future__ import annotations

from heapq import heappop, heappush
from sys import getrefcount

from .. import modes
from . import graph
from .graph import Output


def add_into(dst, src):
    """Stands in for ``op.call.add_into``, which replaces it: ops import the graph, so it cannot be imported earlier."""
    from ..op import call
    globals()["add_into"] = call.add_into
    call.add_into(dst, src)


def run(roots, gradients, keep_graph, create_graph, inputs=None, accumulate=True):
    """Propagate ``gradients`` of the ``roots`` tensors through the graph.

    With ``inputs`` only the paths that lead to them are walked; with ``accumulate`` False their gradients are returned
    as a list (None where there is no path) and no ``grad`` attribute changes. The newest recorded node always runs
    first: a node's inputs were made before it, so by then everything it will receive has arrived.
    """
    mode = modes.current()
    previous, hooks = mode.grad, mode.hooks
    if create_graph != previous or modes.STATE:
        modes.change(grad=bool(create_graph))
    try:
        return _run(roots, gradients, keep_graph, create_graph, inputs, accumulate)
    finally:
        if modes.current().grad != previous or modes.current().hooks != hooks:
            modes.change(grad=previous, hooks=hooks)


def _run(roots, gradients, keep_graph, create_graph, inputs, accumulate):
    from .anomaly import ANOMALY
    pending, heap = {}, []
    wanted = captured = None
    if inputs is not None:
        wanted, captured = _wanted(roots, inputs)
    made = set()  # places whose waiting gradient is a sum made here, which may be added to in place

    def deliver(e, r):
        """Add gradient ``r`` to what waits at edge ``e``."""
        if e.is_leaf_edge:
            _leaf(e, r, captured, accumulate, create_graph)
            return
        if e.__class__ is Output:
            node = e.node
            slot = pending.get(node)
            if slot is None:
                slot = pending[node] = [None] * node.outputs
                heappush(heap, (node.seq, node))
            old = slot[e.index]
            slot[e.index] = r if old is None else _sum(old, r, (node, e.index), made, create_graph)
        elif e in pending:
            pending[e] = _sum(pending[e], r, e, made, create_graph)
        else:
            pending[e] = r
            heappush(heap, (e.seq, e))

    for t, g in zip(roots, gradients):
        e = graph.edge(t)
        if wanted is None or e in wanted or id(e) in captured or (e.__class__ is Output and e.node in wanted):
            deliver(e, g)
    del gradients
    g = r = None
    while heap:
        node = heappop(heap)[1]
        g = pending.pop(node)
        if made:
            made.discard(node)
        if captured is not None and id(node) in captured:
            g = _capture(node, g, captured)
        if node.hooks is not None:
            g = _before(node, g)
        if wanted is not None and node not in wanted:
            continue
        if ANOMALY.enabled:
            grads = ANOMALY.run(node, g, create_graph)
        else:
            grads = node.backward_graph(g) if create_graph else node.backward(g)
        if node.hooks is not None and node.hooks.post:
            grads = _after(node, g, grads)
        if not keep_graph:
            node.release()
        g = None
        following = node.next
        for i in range(len(following)):
            e = following[i]
            if e is None:
                continue
            r = grads[i]
            if r is None:
                continue
            if wanted is not None:
                target = e.node if e.__class__ is Output else e
                if id(e) not in captured and target not in wanted and id(target) not in captured:
                    continue
            if e.is_leaf_edge:
                # The only references are the tuple, ``r`` and the call's argument: nobody else holds this gradient,
                # so the leaf may keep it as its own without a copy.
                own = getrefcount(r) == OWNED and r._view is None and r._strides is None
                _leaf(e, r, captured, accumulate, create_graph, own)
            elif e.__class__ is Output or e in pending:
                deliver(e, r)
            else:
                pending[e] = r
                heappush(heap, (e.seq, e))
        grads = r = None
    if inputs is None:
        return None
    return [None if accumulate else captured[_key(t)][0] for t in inputs]


# References to a gradient that nobody but the loop above holds; found by trying, since it is the interpreter's business.
def _calibrate():
    grads = (object(),)
    r = grads[0]
    return getrefcount(r)


OWNED = _calibrate()


def _key(t):
    e = graph.edge(t)
    return (id(e.node), e.index) if e.__class__ is Output else id(e)


def _wanted(roots, inputs):
    """(nodes on a path from the roots to the inputs, {edge key: [gradient]})."""
    captured = {}
    for t in inputs:
        e = graph.edge(t)
        captured[_key(t)] = [None, e, t]
        if e.__class__ is Output:
            # Marks the node itself, so that the loop looks at what arrives there.
            captured.setdefault(id(e.node), [None, None, None])
    wanted, state = set(), {}
    for t in roots:
        e = graph.edge(t)
        stack = [(e.node if e.__class__ is Output else e, False)]
        while stack:
            node, done = stack.pop()
            if node is None or node.is_leaf_edge:
                continue
            if not done:
                if node in state:
                    continue
                state[node] = False
                stack.append((node, True))
                for n in node.next:
                    if n is not None:
                        stack.append((n.node if n.__class__ is Output else n, False))
            else:
                for n in node.next:
                    if n is None:
                        continue
                    target = n.node if n.__class__ is Output else n
                    if id(target) in captured or (not target.is_leaf_edge and state.get(target)):
                        state[node] = True
                        wanted.add(node)
                        break
    return wanted, captured


def _capture(node, g, captured):
    """Note the gradient of a non-leaf input, after its hooks."""
    if node.outputs == 1:
        captured[id(node)][0] = _hooked(node, 0, g)
    else:
        for i, part in enumerate(g):
            if (id(node), i) in captured:
                captured[id(node), i][0] = _hooked(node, i, part)
    return g


def _hooked(node, index, g):
    if node.hooks is None or g is None:
        return g
    for hook in list(node.hooks.tensor.get(index, {}).values()):
        g = _checked(hook(g), g)
    return g


def _leaf(t, r, captured, accumulate, create_graph, own=False):
    """A gradient arrives at leaf ``t``: hooks, then capture or accumulation into ``t.grad``."""
    more = t.__dict__.get("_numbagrad") if t.__dict__ else None
    if captured is not None:
        entry = captured.get(id(t))
        if entry is None:
            return
        if not accumulate:
            if more is not None:
                for hook in list(more.get("hooks", {}).values()):
                    r = _checked(hook(r), r)
            entry[0] = r if entry[0] is None else entry[0] + r
            return
    if more is not None:
        for hook in list(more.get("hooks", {}).values()):
            r, own = _checked(hook(r), r), False
        for hook in list(more.get("acc_prehooks", {}).values()):
            changed = hook((r,))
            if changed is not None:
                r, own = changed[0] if isinstance(changed, tuple) else changed, False
    old = t._grad
    if old is None:
        if create_graph:
            t._grad = r if r._rg else r.clone()
        elif own:
            t._grad = r
        else:
            t._grad = r.detach().clone()
    elif create_graph:
        t._grad = old + r
    elif (old._strides is None and r._strides is None and old._kind is r._kind and old._shape == r._shape
          and not old._rg and not r._rg):
        add_into(old, r)
    else:
        old.add_(r)
    if more is not None:
        for hook in list(more.get("acc_hooks", {}).values()):
            hook((), (r,))
        for hook in list(more.get("post_acc", {}).values()):
            hook(t)


def _sum(a, b, place, made, create_graph):
    """Two gradients for the same place; a sum that was made here already is added to in place."""
    if create_graph:
        return a + b
    if place in made:
        if a._kind is b._kind and a._strides is None and b._strides is None:
            add_into(a, b)
        else:
            a.add_(b)
        return a
    made.add(place)
    return a + b


def _checked(new, old):
    """A hook's replacement gradient, which must fit the one it replaces."""
    if new is None:
        return old
    if not hasattr(new, "_kind"):
        raise TypeError(f"expected hook to return a Tensor or None, but got {type(new).__name__}")
    if new._shape != old._shape:
        raise RuntimeError(f"hook has changed the size of value: expected {list(old._shape)}, got {list(new._shape)}")
    if new._kind.dtype is not old._kind.dtype:
        raise RuntimeError(f"hook has changed the type of value (was {old.dtype} got {new.dtype})")
    return new


def _before(node, g):
    """Tensor hooks of the outputs, retained gradients, then pre-hooks of the node."""
    hooks = node.hooks
    single = node.outputs == 1
    grads = [g] if single else g
    for index, table in hooks.tensor.items():
        for hook in list(table.values()):
            if grads[index] is not None:
                grads[index] = _checked(hook(grads[index]), grads[index])
    for hook in list(hooks.pre.values()):
        changed = hook(tuple(grads))
        if changed is not None:
            changed = changed if isinstance(changed, tuple) else (changed,)
            grads = [_checked(c, o) if o is not None else c for c, o in zip(changed, grads)]
    for index, ref in hooks.retain.items():
        t = ref()
        if t is not None and grads[index] is not None:
            t._grad = grads[index].clone() if t._grad is None else t._grad + grads[index]
    return grads[0] if single else grads


def _after(node, g, grads):
    for hook in list(node.hooks.post.values()):
        changed = hook(tuple(grads), (g,) if node.outputs == 1 else tuple(g))
        if changed is not None:
            grads = changed if isinstance(changed, tuple) else (changed,)
    return grads
