"""Gradients of compiled functions whose results are differentiated outside: the backward is compiled with the forward.

The forward program keeps what the backward program reads in memory of its own for each call; a ``CompiledBackward`` node
holds it until backward runs.
"""

from __future__ import annotations

import contextlib

import numpy as np

from .. import storage
from ..autograd import engine, graph
from ..autograd.graph import Node
from ..copying import contiguous_copy
from ..op.direct import make_zero
from ..tensor import make, raw
from . import passes
from .capture import recording
from .ir import INPUT, OUTPUT, STATE, TEMPORARY
from .program import Program


class CompiledBackward(Node):
    """Backward of one call; ``ctx`` is (backward, memory by buffer, versions)."""

    __slots__ = ()

    @property
    def outputs(self):
        return self.ctx[0].results

    @property
    def holds_more(self):
        return True

    def release(self):
        self.saved = None
        self.ctx = (self.ctx[0], None, None)

    def backward(self, g):
        if self.ctx[1] is None:
            graph.freed()
        plan, memory, versions = self.ctx
        for ver, count, shape, kind in versions:
            if ver[0] != count:
                graph.modified(self, shape, kind, ver, count, "a tensor of the compiled function", False)
        return plan.run(memory, g if isinstance(g, list) else [g])

    def backward_graph(self, g):
        raise RuntimeError("ng.compile: a compiled function cannot be differentiated twice from outside; take the first "
                           "derivative inside of it (with create_graph=True), or call the function uncompiled")


class SpentBackward(Node):
    """Stands for a graph that the compiled function has used up itself; ``ctx`` is the error of using it again."""

    __slots__ = ()

    def backward(self, g):
        kind, args = self.ctx
        raise kind(*args)


def spent(error):
    """The node of all results, of whatever call, whose differentiation is this error."""
    node = object.__new__(SpentBackward)
    node.next, node.saved, node.seq, node.hooks = (), (), graph.sequence(), None
    node.ctx = type(error), error.args
    return node


@contextlib.contextmanager
def _without_hooks(leaves):
    """Hooks of leaves run where the gradients arrive: in the backward outside, not in what was compiled of it as well."""
    tables = [(t, t.__dict__.pop("_numbagrad")) for t in leaves if "_numbagrad" in t.__dict__]
    try:
        yield
    finally:
        for t, table in tables:
            t.__dict__["_numbagrad"] = table


class Backward:
    """The backward part of a captured function."""

    def __init__(self, recorder, results, order, given):
        """Capture it: ``results`` are the differentiable results, ``order`` their places among all results, ``given``
        ({id: number}, list) the arguments that the function saw."""
        self.results, self.order, self.given = results, order, given[0]
        self.split = len(recorder.calls)
        roots = [graph.edge(t) for t in results]
        self.leaves = _leaves_of(roots)
        with recording(recorder), _without_hooks(self.leaves):
            self.incoming = [make(t._shape, t._kind) for t in results]
            grads = engine.run(roots, self.incoming, True, False, self.leaves, False) if self.leaves else []
            self.grads = [None if g is None else g if g._strides is None else contiguous_copy(g) for g in grads]

    def divide(self, recorder, calls):
        """(forward calls, backward calls, buffers of the forward that the backward reads)."""
        later = {id(c) for c in recorder.calls[self.split:]}
        first = [c for c in calls if id(c) not in later]
        second = [c for c in calls if id(c) in later]
        made = {b for c in first for b in c.writes}
        read = {b for c in second for b in c.buffers()}
        read.update([recorder.buffer(g) for g in self.grads if g is not None])
        return first, second, [b for b in sorted(read & made, key=lambda b: b.index) if b.role in (TEMPORARY, OUTPUT)]

    def build(self, recorder, calls, leaves, variant):
        """Compile the backward calls; ``variant`` has the forward program already."""
        saved = [b for b in variant.outputs]
        arguments = [recorder.buffers[id(t._buf)] for t in leaves]
        self.arguments = []  # (number of the argument, its offset) of those the backward reads
        used = {b for c in calls for b in c.buffers()} | {recorder.buffer(g) for g in self.grads if g is not None}
        inputs = []
        for b in saved:
            b.role = INPUT
        self.saved = [k for k, b in enumerate(saved) if b in used]
        inputs += [saved[k] for k in self.saved]
        for i, b in enumerate(arguments):
            if b in used and b.role == INPUT and b not in inputs:
                inputs.append(b)
                self.arguments.append((i, leaves[i]._ptr - b.base))
        for g in self.incoming:
            b = recorder.buffer(g)
            b.role = INPUT
            inputs.append(b)
        outputs, self.made = [], []
        for g in self.grads:
            if g is None:
                self.made.append(None)
                continue
            b = recorder.buffer(g)
            if b.role == TEMPORARY:
                b.role = OUTPUT
                outputs.append(b)
            self.made.append((b, g._ptr - b.base, g._n, g._shape, g._kind))
        self.outputs = outputs
        self.inputs = inputs
        self.program = Program(passes.optimize(passes.live(calls, set(outputs))), inputs, outputs,
                               variant.owner.arena)
        self.words = self.program.memory.data.cast("B").cast("d")
        self.edges = [self.given.get(id(t), t) for t in self.leaves]
        state = {id(b.obj) for b in recorder.buffers.values() if b.role == STATE and b in used}
        self.state = [t for t in variant.observer.tensors.values() if id(t._buf) in state]
        self.incoming = [(g._shape, g._kind) for g in self.incoming]
        self.results = len(self.results)
        self.leaves = self.grads = None

    @property
    def symbolic(self):
        """(slot, name) of the program's numbers that change from call to call."""
        return self.program.symbolic

    def node(self, memory, arguments, numbers=()):
        """The node of one call's results; ``numbers`` are those of ``program.symbolic``."""
        node = object.__new__(CompiledBackward)
        node.next = tuple([graph.edge(arguments[e]) if e.__class__ is int else graph.edge(e) for e in self.edges])
        node.saved, node.seq, node.hooks = (True,), graph.sequence(), None
        watched = [*[arguments[i] for i, _ in self.arguments], *self.state]
        node.ctx = (self, ([memory[k] for k in self.saved], [arguments[i] for i, _ in self.arguments], numbers),
                    [(t._ver, t._ver[0], t._shape, t._kind) for t in watched])
        return node

    def run(self, memory, incoming):
        """Gradients of the leaves, in new memory."""
        saved, arguments, numbers = memory
        p = self.program
        full = [contiguous_copy(g) if g is not None and g._strides is not None else make_zero(*k) if g is None else g
                for g, k in zip(incoming, self.incoming)]
        objects = [*saved, *[t._buf for t in arguments], *[g._buf for g in full]]
        bases = [*[storage.address(b) for b in saved],
                 *[t._ptr - offset for t, (_, offset) in zip(arguments, self.arguments)], *[g._ptr for g in full]]
        fresh = {}
        for b in self.outputs:
            fresh[b] = buf = np.empty(b.obj.size, b.obj.dtype)
            objects.append(buf)
            bases.append(storage.address(buf))
        with p.lock:
            for k, address in enumerate(bases):
                p.base_values[k] = address
            p.objects = objects
            for (slot, _), v in zip(p.symbolic, numbers):
                self.words[slot] = v
            p.run()
            p.objects = None
        where = dict(zip((*self.inputs, *self.outputs), zip(objects, bases)))
        out = []
        for m in self.made:
            if m is None:
                out.append(None)
                continue
            b, offset, n, shape, kind = m
            obj, base = where[b] if b in where else (b.obj, b.base)
            t = raw(obj, base + offset, n, shape, None, kind, [0])
            out.append(t if b in fresh else contiguous_copy(t))
        return tuple(out)


def _leaves_of(roots):
    found, seen, stack = [], set(), [engine._target(e) for e in roots]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.is_leaf_edge:
            found.append(node)
            continue
        stack.extend([engine._target(e) for e in node.next if e is not None])
    return found

