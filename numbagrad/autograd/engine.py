"""Backward: release nodes newest first, accumulate gradients, run hooks. Nothing here recurses.

A gradient on its way is held in ``pending`` under the node that will take it (a list under nodes with several outputs).
A leaf takes its gradient at once, unless it has hooks: those see the sum of all that arrives, once.

Without ``create_graph`` nodes work on values outside the graph, so recording need not be switched off for them (a mode
that differs from the default slows every operation); it is switched off around the user's own code.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from heapq import heappop, heappush
from operator import attrgetter
from sys import getrefcount

from ..base import modes
from ..base.sparse import SparseArgument
from ..core import graph
from ..core.graph import Output
from ..core.tensor import make, raw
from ..kernel.tape import TAPE, active
from . import hooks
from .anomaly import ANOMALY
from .graph import GradientEdge, MultiHook
from .keeping import EVER, OWNED, OWNED_MEMORY, Kept, flows

# Two threads may run backward into one leaf; re-entrant, because a destructor may run user code meanwhile.
LOCK = threading.RLock()


def _after_fork():
    # A thread that is not in the child may have held it.
    if not LOCK._is_owned():
        LOCK._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
_numbers = itertools.count(1)


class _Local(threading.local):
    task = (None, False)  # (number of the outermost run, whether the innermost goes to given inputs only)


_local = _Local()


def current_run():
    """Number of the backward run in progress in this thread (the outermost one); None outside of any."""
    return _local.task[0]


def is_limited():
    """Whether the innermost backward in progress in this thread goes to given inputs only."""
    return _local.task[1]


def run(roots, gradients, keep_graph, create_graph, inputs=None, accumulate=True):
    """Propagate ``gradients`` that arrive at the edges ``roots`` through the graph.

    With ``inputs`` (tensors or gradient edges) only the paths that lead to them are walked; with ``accumulate`` False
    their gradients are returned as a list (None where there is no path) and no ``grad`` attribute changes. The newest
    recorded node always runs first: a node's inputs were made before it, so by then everything it will receive has
    arrived.
    """
    previous = _local.task
    switch = create_graph and not modes.current().grad
    try:  # from here on, so that an interrupt finds all to be put back
        _local.task = (previous[0] or next(_numbers), inputs is not None)
        if switch:
            modes.change(grad=True)
        return _run(roots, gradients, keep_graph, create_graph, inputs, accumulate)
    finally:
        _local.task = previous
        if switch:
            modes.change(grad=False)


def run_by_rules(roots, gradients, inputs, keep_graph=True):
    """``run`` to given inputs with gradients of a function transform: nodes run their rules, which are made of operations, and
    nothing of that is recorded."""
    previous = _local.task
    try:
        _local.task = (previous[0] or next(_numbers), True)
        with modes.no_grad():
            return _run(roots, gradients, keep_graph, True, inputs, False)
    finally:
        _local.task = previous


graph.AccumulateGrad.run, MultiHook.current_run = staticmethod(run), staticmethod(current_run)


def edge_of(x):
    """The edge of a tensor or of a ``GradientEdge``."""
    if x.__class__ is GradientEdge:
        node = x.node
        if node.__class__ is graph.AccumulateGrad:
            return node.variable
        return node if node.outputs == 1 else Output(node, x.output_nr)
    return graph.edge(x)


def _run(roots, gradients, keep_graph, create_graph, inputs, accumulate):
    pending, heap = {}, []
    wanted = captured = leaves = kept = None
    runner = ANOMALY.runner
    capturing = active() if TAPE else None
    if capturing is not None:
        capturing.walk += 1
    made = set()  # places whose waiting gradient is a sum made here, which may be added to in place
    if inputs is not None:
        inputs = [edge_of(t) for t in inputs]
        wanted, captured = _wanted(roots, inputs)
    direct = ()
    for e, g in zip(roots, gradients):
        if e.is_leaf_edge:
            direct = (*direct, (e, g))
        elif wanted is None or _asked(e, wanted, captured):
            _deliver(e, g, pending, heap, made, create_graph)
    for e, g in direct:
        if captured is None or id(e) in captured:
            if hooks.on_leaf(e):
                if leaves is None:
                    leaves = _leaf_uses(roots_left(direct, e), pending, wanted)
                _wait(e, g, False, leaves, captured, accumulate, create_graph, gradients)
            else:
                _leaf(e, g, captured, accumulate, create_graph, False, gradients)
    node = g = r = None
    while True:
        if node is None:
            if not heap:
                break
            node = heappop(heap)[1]
            g = pending.pop(node)
            if made:
                made.discard(node)
        if wanted is not None:
            runs = node in wanted
            if not runs and node.hooks is not None:
                g = hooks.on_outputs(node, g, create_graph)
            if id(node) in captured:
                _capture(node, g, captured, create_graph)
            if not runs:
                node = None
                continue
        if node.hooks is not None:
            g = hooks.before(node, g, create_graph)
        following = node.next
        if (g is None or (g.__class__ is list and not any(x is not None for x in g))) and not node.takes_none:
            grads = (None,) * len(following)
        elif runner is not None:
            grads = runner(node, g, create_graph)
        elif wanted is None or capturing is not None or len(following) == 1:
            grads = (capturing.backward(node, g, create_graph) if capturing is not None else
                     node.backward_graph(g) if create_graph else node.backward(g))
        else:
            part = _part(node, g, wanted, captured)
            grads = part.backward_graph(g) if create_graph else part.backward(g)
            part = None
        if node.hooks is not None and node.hooks.post:
            grads = hooks.after(node, g, grads, create_graph)
        if not keep_graph and (node.saved or node.holds_more):
            node.release()
        g = None
        if len(following) == 1 and not heap and wanted is None:
            e, r = following[0], grads[0]
            if e.__class__ is not Output and e is not None and r is not None and not e.is_leaf_edge:
                # Nothing else waits: on to the one input, past the queue.
                node, g = e, r if create_graph or not r._rg else r.detach()
                grads = r = None
                continue
        for i in range(len(following)):
            e = following[i]
            if e is None:
                continue
            r = grads[i]
            if r is not None and r._rg and not create_graph:
                r = r.detach()
            if wanted is not None and not _asked(e, wanted, captured):
                continue
            if e.is_leaf_edge:
                hooked = "_numbagrad" in e.__dict__ and hooks.on_leaf(e)
                if hooked and node is not None and (node.order is not None or len(following) > 3):
                    following, grads = hooks.in_order(i, node.order, following, grads, captured)
                    node, e, r = None, following[i], grads[i]
                    if r is not None and r._rg and not create_graph:
                        r = r.detach()
                # The only references are the tuple, ``r`` and the call's argument: nobody else holds this gradient,
                # so the leaf may keep it as its own without a copy.
                own = False
                if r is not None and getrefcount(r) == OWNED:
                    own = r._view is None and r._strides is None and getrefcount(r._buf) == OWNED_MEMORY
                    if not own and accumulate and e._grad is None and not create_graph and capturing is None:
                        kept = kept or Kept(gradients)
                        r, own = kept.take(e, r, grads)
                if hooked:
                    if leaves is None:
                        leaves = _leaf_uses(following[i:], pending, wanted)
                    _wait(e, r, own, leaves, captured, accumulate, create_graph, gradients)
                elif r is not None:
                    if captured is None:
                        accumulate_grad(e, r, create_graph, own, gradients, kept)
                    else:
                        _leaf(e, r, captured, accumulate, create_graph, own, gradients)
            elif r is None or e.__class__ is Output or e in pending:
                _deliver(e, r, pending, heap, made, create_graph)
            else:
                pending[e] = r
                heappush(heap, (e.seq, e))
        node = grads = r = None
    if leaves:
        # Uses behind nodes that received nothing never arrive.
        for e, (_, r, own) in list(leaves.items()):
            if r is not None:
                _leaf(e, r, captured, accumulate, create_graph, own, gradients)
    if inputs is None or accumulate:
        return None
    return [captured[_key(e)][0] for e in inputs]


def _asked(e, wanted, captured):
    """Whether an edge is on the way to what is asked for, or that itself."""
    node = _target(e)
    return id(node) in captured or node in wanted


def _part(node, g, wanted, captured):
    """The node as it were if no gradient were needed but those on the way to what is asked for."""
    needs = tuple([e is not None and _asked(e, wanted, captured) for e in node.next])
    return node if needs.count(False) == node.next.count(None) else node.only(needs, g)


def _deliver(e, r, pending, heap, made, create_graph):
    """Add gradient ``r`` (or nothing, None) to what waits at edge ``e`` of a node."""
    if e.__class__ is Output:
        node, i = e.node, e.index
        slot = pending.get(node)
        if slot is None:
            slot = pending[node] = [None] * node.outputs
            heappush(heap, (node.seq, node))
        if r is not None:
            old = slot[i]
            slot[i] = r if old is None else _sum(old, r, (node, i), made, create_graph)
    elif e in pending:
        if r is not None:
            old = pending[e]
            pending[e] = r if old is None else _sum(old, r, e, made, create_graph)
    else:
        pending[e] = r
        heappush(heap, (e.seq, e))


def _target(e):
    return e.node if e.__class__ is Output else e


_age = attrgetter("seq")  # of nodes: the oldest has the largest


def _key(e):
    return (id(e.node), e.index) if e.__class__ is Output else id(e)


def _wanted(roots, inputs):
    """(nodes on a path from the roots to the inputs, {edge key: [gradient]}).

    Nothing that is older than all inputs leads to one: where a program asks, step by step, for gradients of what it has just
    made (a solver of stochastic equations), the graph of the steps before is not walked through again. Leaves have no age."""
    captured = {}
    for e in inputs:
        captured[_key(e)] = [None]
        if e.__class__ is Output:
            # Marks the node itself, so that the loop looks at what arrives there.
            captured.setdefault(id(e.node), [None])
    oldest = max([math.inf if e.is_leaf_edge else e.seq for e in map(_target, inputs)], default=-math.inf)
    wanted, seen = set(), set()
    stack = [n for n in map(_target, roots) if not n.is_leaf_edge]
    seen.update(stack)
    while stack:
        for n in stack.pop().next:
            if n.__class__ is Output:
                n = n.node
            if n is not None and not n.is_leaf_edge and n.seq <= oldest and n not in seen:
                seen.add(n)
                stack.append(n)
    for node in sorted(seen, key=_age, reverse=True):  # inputs of a node are older than it
        for n in node.next:
            if n.__class__ is Output:
                n = n.node
            if n is not None and (id(n) in captured or not n.is_leaf_edge and n in wanted):
                wanted.add(node)
                break
    return wanted, captured


def _capture(node, g, captured, create_graph):
    """Note the gradient of a non-leaf input."""
    if g.__class__ is not list:
        captured[id(node)][0] = g if create_graph or g is None or not g._rg else g.detach()
        return
    for i, part in enumerate(g):
        entry = captured.get((id(node), i))
        if entry is not None:
            entry[0] = part if create_graph or part is None or not part._rg else part.detach()


# --- leaves -----------------------------------------------------------------------------------------------------------

def roots_left(direct, e):
    """Edges of the leaf roots from ``e`` on, which are still to be delivered."""
    edges = [x for x, _ in direct]
    return edges[edges.index(e):] if e in edges else edges


def _leaf_uses(rest, pending, wanted):
    """{leaf with hooks: [edges that will still deliver to it, gradient so far, whether that is nobody else's]}."""
    leaves, seen = {}, set()

    def count(e):
        if hooks.on_leaf(e):
            leaves.setdefault(e, [0, None, False])[0] += 1

    stack = list(pending)
    for e in rest:
        if e is not None:
            if e.is_leaf_edge:
                count(e)
            else:
                stack.append(_target(e))
    while stack:
        node = stack.pop()
        if node in seen or (wanted is not None and node not in wanted):
            continue
        seen.add(node)
        for e in node.next:
            if e is None:
                continue
            if e.is_leaf_edge:
                count(e)
            else:
                stack.append(_target(e))
    return leaves


def _wait(t, r, own, leaves, captured, accumulate, create_graph, gradients):
    """Hold the gradient of a leaf with hooks back until everything has arrived."""
    entry = leaves.get(t)
    if entry is None:  # its first hook was registered after the count
        if r is not None:
            _leaf(t, r, captured, accumulate, create_graph, own, gradients)
        return
    entry[0] -= 1
    if r is not None:
        if entry[1] is None:
            entry[1], entry[2] = r, own
        else:
            entry[1], entry[2] = entry[1] + r, True
    if entry[0] == 0:
        del leaves[t]
        if entry[1] is not None:
            r, own = entry[1], entry[2]
            _leaf(t, r, captured, accumulate, create_graph, own, gradients)


def _leaf(t, r, captured, accumulate, create_graph, own, gradients):
    """A gradient arrives at leaf ``t``: hooks, then capture or accumulation into ``t.grad``."""
    more = t.__dict__.get("_numbagrad")
    if more is not None:
        r, changed = hooks.before_leaf(more, r, accumulate, create_graph)
        own = own and not changed
    if captured is not None:
        entry = captured.get(id(t))
        if entry is None:
            return
        if not accumulate:
            r = r if create_graph or not r._rg else r.detach()
            entry[0] = r if entry[0] is None else entry[0] + r
            return
    accumulate_grad(t, r, create_graph, own, gradients)
    if more is not None:
        hooks.after_leaf(more, t, r, create_graph)


def accumulate_grad(t, r, create_graph, own, gradients=(), kept=None):
    """Add ``r`` to ``t.grad``; ``own`` says that ``t`` may keep ``r`` itself.

    What lies on memory of the caller's ``gradients`` or of what leaves have ``kept`` may still be read in this run."""
    if r._shape != t._shape:
        raise RuntimeError(f"AccumulateGrad got an invalid gradient - got {list(r._shape)} but expected shape compatible with "
                           f"{list(t._shape)}: the leaf's data was exchanged between forward and backward")
    shared = False
    if TAPE:
        recorder = active()
        if recorder is not None:
            recorder.leaf(t)
            old = t._grad
            shared = old is not None and recorder.shared(old)
            own = old is None and recorder.owns(r, gradients)
            if own:  # others may hold ``r`` here: the leaf's gradient is a tensor of its own, which may move to other memory
                r = raw(r._buf, r._ptr, r._n, r._shape, None, r._kind, [0])
    with LOCK:
        old = t._grad
        try:
            if create_graph:
                if old is None:
                    t._grad = make(r._shape, r._kind).copy_(r)
                else:
                    t._grad = old + r
            elif shared:
                total = old.detach() + r.detach()
                old._buf, old._ptr = total._buf, total._ptr
                old._ver[0] += 1
                old._ver[1:] = PLACE
            elif old is not None:
                if EVER and getrefcount(old._buf) != OWNED_MEMORY and flows(old, gradients, kept):
                    total = old.detach() + r.detach()
                    old._buf, old._ptr, old._strides, old._ver = total._buf, total._ptr, None, [old._ver[0] + 1, *PLACE]
                else:
                    add_into(old, r)
            elif own:
                t._grad = r
            else:
                t._grad = r.detach().clone()
        except SparseArgument:
            t._grad = r if old is None else r.detach() + old.detach() if r.is_sparse < old.is_sparse else (
                old.detach() + r.detach())


_native_add = []
PLACE = ("the accumulation of gradients in backward",)


def add_into(a, b):
    """``a += b`` outside the graph."""
    if (b._kind is a._kind and a._strides is None and a._shape == b._shape and a._ver.__class__ is list
            and (b._strides is None or b._buf is not a._buf)):
        if not _native_add:
            from ..dispatch.elementwise_general import add_into
            _native_add.append(add_into)
        _native_add[0](a, b)
        a._ver[1:] = PLACE
    elif a._rg and modes.current().grad:
        with modes.no_grad():
            a.add_(b)
    else:
        a.add_(b)


def _sum(a, b, place, made, create_graph):
    """Two gradients for the same place; a sum that was made here already is added to in place."""
    if create_graph:
        return a + b
    if place in made:
        add_into(a, b)
        return a
    made.add(place)
    return a + b
