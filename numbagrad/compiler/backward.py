"""Gradients of compiled functions whose results are differentiated outside: the backward is compiled with the forward.

The forward program keeps what the backward program reads in memory of its own for each call; a ``CompiledBackward`` node
holds it until backward runs.
"""

from __future__ import annotations

import contextlib

import numpy as np

from ..autograd import engine
from ..base.user_code import user_line
from ..core import graph, storage
from ..core.copying import contiguous_copy, copy_into
from ..core.graph import Node
from ..core.overlap import is_dense
from ..core.tensor import make, raw
from ..dispatch.custom_fast import make_zero
from ..kernel.tape import Fake
from . import passes
from .capture import recording
from .hosts import prepare_hosts
from .ir import INPUT, OUTPUT, STATE, TEMPORARY, rename
from .program import Program
from .refusals import CaptureError


class CompiledBackward(Node):
    """Backward of one call; ``ctx`` is [backward, memory by buffer, versions, results that are used up, those used last]."""

    __slots__ = ()

    @property
    def outputs(self):
        return self.ctx[0].results

    @property
    def holds_more(self):
        return True

    def release(self):
        plan, _, _, used, last = self.ctx
        used.update(*[plan.shares[k] for k in last])
        if len(used) == plan.results:
            self.saved = None
            self.ctx[1] = self.ctx[2] = None

    def backward(self, g):
        plan, memory, versions, used, _ = self.ctx
        g = g if isinstance(g, list) else [g]
        self.ctx[4] = last = [k for k, x in enumerate(g) if x is not None]
        if not used.isdisjoint(last):
            graph.freed()
        whole = len(last) == plan.results or len(plan.relied) == 1
        for i in plan.relied[0] if whole else set().union(*[plan.relied[1 + k] for k in last]):
            ver, count, shape, kind, t, ptr = versions[i]
            if t._ptr != ptr:
                raise CaptureError(f"ng.compile: a tensor of shape {list(shape)} that the backward of a compiled function "
                                   f"reads, at {user_line()}, was given other memory (.data = ...) after the call; do that "
                                   "before it or afterwards")
            if ver[0] != count:
                graph.modified(self, shape, kind, ver, count, "a tensor of the compiled function", False)
        return plan.run(memory, g, last)

    def backward_graph(self, g):
        raise CaptureError(f"ng.compile: a compiled function cannot be differentiated twice from outside (at {user_line()}); "
                           "take the first derivative inside of it (with create_graph=True), or call the function uncompiled")


class SpentBackward(Node):
    """Stands for a graph that the compiled function has used up itself; ``ctx`` is the error of using it again."""

    __slots__ = ()

    def backward(self, g):
        kind, args = self.ctx
        raise kind(*args)


def spent(error, result, given):
    """What stands for the graph of a result whose differentiation is this error: a node, or a function of the arguments that
    makes one where their gradients could be asked for, which has to find the way to them."""
    edges = [given[0].get(id(t), t) for t in _leaves_of([graph.edge(result)])]
    edges = [e for e in edges if e.__class__ is int or e._buf.__class__ is not Fake]
    what = type(error), error.args

    def node(arguments):
        made = object.__new__(SpentBackward)
        made.next = tuple([graph.edge(arguments[e] if e.__class__ is int else e) for e in edges])
        made.saved, made.seq, made.hooks, made.ctx = (), graph.sequence(), None, what
        return made
    return node if any([e.__class__ is int for e in edges]) else node(())


@contextlib.contextmanager
def _without_hooks(leaves):
    """Hooks of leaves run where the gradients arrive: in the backward outside, not in what was compiled of it as well."""
    tables = [(t, t.__dict__.pop("_numbagrad")) for t in leaves if "_numbagrad" in t.__dict__]
    try:
        yield
    finally:
        for t, table in tables:
            t.__dict__["_numbagrad"] = table


MOST = 8  # results each of which has a backward of its own, beside that of all


class Part:
    """The backward of some results (``which``): in a call that differentiates others, too, it is another one, as a gradient of
    zeros is not the same as none."""

    def __init__(self, recorder, roots, leaves, incoming, which):
        self.which, self.incoming = which, [incoming[k] for k in which]
        first = len(recorder.calls)
        grads = engine.run([roots[k] for k in which], self.incoming, True, False, leaves, False) if leaves else []
        self.grads = [g if g is None or is_dense(g) else contiguous_copy(g) for g in grads]
        self.calls, self.program = recorder.calls[first:], None

    def wants(self, recorder):
        """The buffers of its gradients."""
        return {recorder.buffer(g) for g in self.grads if g is not None}

    def reads(self, recorder):
        """The buffers that it needs, those that it makes among them."""
        wanted = self.wants(recorder)
        self.calls = passes.live(self.calls, wanted)
        return {b for c in self.calls for b in c.buffers()} | wanted

    def plan(self, recorder, saved, arguments, leaves):
        """Find out where in a call everything is; ``compiled`` makes the program of it."""
        used = self.reads(recorder)
        self.saved = [k for k, b in enumerate(saved) if b in used]
        self.inputs = [saved[k] for k in self.saved]
        self.arguments = []  # (number of the argument, its offset) of those the backward reads
        for i, b in enumerate(arguments):
            if b in used and b.role == INPUT and b not in self.inputs:
                self.inputs.append(b)
                self.arguments.append((i, leaves[i]._ptr - b.base))
        for g in self.incoming:
            b = recorder.buffer(g)
            b.role = INPUT
            self.inputs.append(b)
        self.outputs, self.made = [], []
        for g in self.grads:
            if g is None:
                self.made.append(None)
                continue
            b = recorder.buffer(g)
            if b.role == TEMPORARY:
                b.role = OUTPUT
                self.outputs.append(b)
            self.made.append((b, g._ptr - b.base, g._n, g._shape, g._strides, g._kind))
        self.incoming = [(g._shape, g._kind) for g in self.incoming]
        self.grads = None
        return used

    def compiled(self, arena):
        """The program, made when it is first needed."""
        if self.program is None:
            calls = passes.optimize(passes.live(self.calls, set(self.outputs)))
            self.program = Program(calls, self.inputs, self.outputs, arena)
            self.words = self.program.memory.data.cast("B").cast("d")
            self.calls = None
        return self.program

    def run(self, memory, given, arena):
        """Gradients of the leaves, in new memory."""
        saved, arguments, numbers = memory
        p = self.compiled(arena)
        full = [contiguous_copy(g) if g is not None and g._strides is not None else make_zero(*k) if g is None else g
                for g, k in zip([given[k] for k in self.which], self.incoming)]
        mine = [saved[k] for k in self.saved]
        objects = [*mine, *[arguments[i]._buf for i, _ in self.arguments], *[g._buf for g in full]]
        bases = [*[storage.address(b) for b in mine], *[arguments[i]._ptr - offset for i, offset in self.arguments],
                 *[g._ptr for g in full]]
        fresh = {}
        for b in self.outputs:
            fresh[b] = buf = np.empty(b.obj.size, b.obj.dtype)
            objects.append(buf)
            bases.append(storage.address(buf))
        with p.lock:
            for k, address in enumerate(bases):
                p.base_values[k] = address
            p.objects = objects
            for slot, name in p.numbers:
                self.words[slot] = numbers[name]
            p.run()
            p.objects = None
        where = dict(zip((*self.inputs, *self.outputs), zip(objects, bases)))
        out = []
        for m in self.made:
            if m is None:
                out.append(None)
                continue
            b, offset, n, shape, strides, kind = m
            obj, base = where[b] if b in where else (b.obj, b.base)
            t = raw(obj, base + offset, n, shape, strides, kind, [0])
            out.append(t if b in fresh else _dense_copy(t))
        return out


def _dense_copy(t):
    """The values of ``t``, which fill their memory without gaps, in new memory and the same order."""
    if t._strides is None:
        return contiguous_copy(t)
    buf, ptr = t._kind.alloc(t._n)
    out = raw(buf, ptr, t._n, t._shape, t._strides, t._kind, [0])
    copy_into(out, t)
    return out


class Backward:
    """The backward part of a captured function."""

    def __init__(self, recorder, results, order, given):
        """Capture it: ``results`` are the differentiable results, ``order`` their places among all results, ``given``
        ({id: number}, list) the arguments that the function saw."""
        self.order, self.given, self.results = order, given[0], len(results)
        self.split = len(recorder.calls)
        roots = [graph.edge(t) for t in results]
        self.leaves = _leaves_of(roots)
        walks = [_nodes_of([root]) for root in roots]
        self.reached = [{id(leaf) for leaf in leaves} for _, leaves in walks]
        # A backward uses up what it shares with that of other results.
        self.shares = [[j for j, (other, _) in enumerate(walks) if j == k or not other.isdisjoint(nodes)]
                       for k, (nodes, _) in enumerate(walks)]
        every = range(self.results)
        with recording(recorder), _without_hooks(self.leaves):
            incoming = [make(t._shape, t._kind) for t in results]
            self.parts = [Part(recorder, roots, self.leaves, incoming, every)]
            last = len(recorder.calls)
            if 1 < self.results <= MOST:
                self.parts += [Part(recorder, roots, self.leaves, incoming, [k]) for k in every]
            prepare_hosts(recorder.calls[last:], recorder.buffers)
            del recorder.calls[last:]

    def roots(self, recorder):
        """Buffers that the backward of all results leaves, and those that the others need."""
        return self.parts[0].wants(recorder), set().union(*[part.reads(recorder) for part in self.parts[1:]])

    def divide(self, recorder, calls, gone):
        """(forward calls, buffers of the forward that the backward reads); ``gone``: buffers that others stand for."""
        later = {id(c) for c in recorder.calls[self.split:]}
        first = [c for c in calls if id(c) not in later]
        whole, *single = self.parts
        whole.calls = [c for c in calls if id(c) in later]
        for part in single:
            for call in part.calls:
                rename(call, gone)
        made = {b for c in first for b in c.writes}
        read = set().union(*[part.reads(recorder) for part in self.parts])
        return first, [b for b in sorted(read & made, key=lambda b: b.index) if b.role in (TEMPORARY, OUTPUT)]

    def build(self, recorder, leaves, variant):
        """Plan the backward calls; ``variant`` has the forward program already."""
        saved, self.arena = [b for b in variant.outputs], variant.owner.arena
        arguments = [recorder.buffers[id(t._buf)] for t in leaves]
        for b in saved:
            b.role = INPUT
        uses = [part.plan(recorder, saved, arguments, leaves) for part in self.parts]
        used = set().union(*uses)
        self.parts[0].compiled(self.arena)
        if self.parts[0].program.numbers:
            for part in self.parts:
                part.compiled(self.arena)
        self.symbolic = sorted({(0, name) for part in self.parts if part.program for _, name in part.program.numbers})
        self.edges = [self.given.get(id(t), t) for t in self.leaves]
        state = {id(b.obj) for b in recorder.buffers.values() if b.role == STATE and b in used}
        self.state = [t for t in variant.observer.tensors.values() if id(t._buf) in state]
        self.saved = sorted({k for part in self.parts for k in part.saved})
        self.arguments = sorted({i for part in self.parts for i, _ in part.arguments})
        # Numbers of the tensors (arguments, then those reached by name) whose changes are errors for a part.
        at = {id(b.obj): b for b in recorder.buffers.values() if b.role == STATE}
        self.relied = [[*[n for n, i in enumerate(self.arguments) if i in {j for j, _ in part.arguments}],
                        *[n for n, t in enumerate(self.state, len(self.arguments)) if at.get(id(t._buf)) in mine]]
                       for part, mine in zip(self.parts, uses)]
        self.reached = [[id(t) in reached for t in self.leaves] for reached in self.reached]
        self.leaves = None

    def node(self, memory, arguments, numbers=()):
        """The node of one call's results; ``numbers`` are those of ``symbolic``."""
        node = object.__new__(CompiledBackward)
        node.next = tuple([graph.edge(arguments[e]) if e.__class__ is int else graph.edge(e) for e in self.edges])
        node.saved, node.seq, node.hooks = (True,), graph.sequence(), None
        mine = {i: arguments[i] for i in self.arguments}
        node.ctx = [self, ({k: memory[k] for k in self.saved}, mine, dict(zip([name for _, name in self.symbolic], numbers))),
                    [(t._ver, t._ver[0], t._shape, t._kind, t, t._ptr) for t in (*mine.values(), *self.state)], set(), ()]
        return node

    def run(self, memory, given, which):
        """Gradients of the leaves from those of the results ``which``, all others being None."""
        if len(which) == self.results or len(self.parts) == 1:
            found = self.parts[0].run(memory, given, self.arena)
            if len(which) < self.results:
                found = [g if any([self.reached[k][i] for k in which]) else None for i, g in enumerate(found)]
                _check_zeros(found)
            return tuple(found)
        found = [None] * len(self.edges)
        for k in which:
            more = self.parts[1 + k].run(memory, given, self.arena)
            found = [g if m is None else m if g is None else g + m for g, m in zip(found, more)]
        return tuple(found)


def _check_zeros(grads):
    """Refuse what may come of the zeros for results that are not differentiated: zero times infinity is NaN."""
    for g in grads:
        if g is not None and g._kind.dtype.category > 1 and not g.isfinite().all().item():
            raise CaptureError(f"ng.compile: gradients are not finite at {user_line()}, and only some of more than {MOST} "
                               "results are differentiated: return fewer, or detach those that are not")


def _nodes_of(roots):
    """(ids of the nodes behind some edges that have saved something, leaves behind them)."""
    nodes, found, seen, stack = set(), [], set(), [engine._target(e) for e in roots]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.is_leaf_edge:
            found.append(node)
            continue
        if node.saved or node.holds_more:
            nodes.add(id(node))
        stack.extend([engine._target(e) for e in node.next if e is not None])
    return nodes, found


def _leaves_of(roots):
    return _nodes_of(roots)[1]
