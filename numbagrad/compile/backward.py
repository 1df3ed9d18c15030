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
from ..copying import contiguous_copy, copy_into
from ..kernel.tape import Fake
from ..overlap import is_dense
from ..tensor import make, raw
from . import passes
from .capture import recording
from .ir import INPUT, OUTPUT, STATE, TEMPORARY
from .program import Program
from .symbols import Symbol

NOTHING = frozenset()


class CompiledBackward(Node):
    """Backward of one call; ``ctx`` is (backward, memory by buffer, versions, [results used last, results used up])."""

    __slots__ = ()

    @property
    def outputs(self):
        return self.ctx[0].results

    @property
    def holds_more(self):
        return True

    def release(self):
        """Results that were differentiated are used up, with those that need what their graphs had saved."""
        plan, memory, versions, state = self.ctx
        state[1] = state[1].union(*[plan.together[i] for i in state[0]])
        if len(state[1]) == plan.results:
            self.saved = None
            self.ctx = (plan, None, None, state)

    def backward(self, g):
        plan, memory, versions, state = self.ctx
        g = g if isinstance(g, list) else [g]
        used = state[0] = [i for i, x in enumerate(g) if x is not None]
        if memory is None or any([i in state[1] for i in used]):
            graph.freed()
        relied = plan.relied[-1] if len(used) == plan.results else set().union(*[plan.relied[i] for i in used])
        for i in relied:
            ver, count, shape, kind = versions[i]
            if ver[0] != count:
                graph.modified(self, shape, kind, ver, count, "a tensor of the compiled function", False)
        return plan.run(memory, g)

    def backward_graph(self, g):
        raise RuntimeError("ng.compile: a compiled function cannot be differentiated twice from outside; take the first "
                           "derivative inside of it (with create_graph=True), or call the function uncompiled")


class SpentBackward(Node):
    """Stands for a graph that the compiled function has used up itself; ``ctx`` is the error of using it again (its
    class and arguments)."""

    __slots__ = ()

    def backward(self, g):
        raise self.ctx[0](*self.ctx[1])


def spent(error, results, given):
    """What stands for the graph of results that is used up: nobody may ask for their gradients, and who does gets eager's
    error. A node, or a function of the arguments that makes one where gradients of these would be asked for."""
    edges = [given[0].get(id(t), t) for t in _leaves_of([graph.edge(t) for t in results])]
    edges = [e for e in edges if e.__class__ is int or e._buf.__class__ is not Fake]
    what = type(error), error.args  # the error itself holds on to what was there

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


class Part:
    """Gradients of the leaves for those of some results: what computes them, compiled when it is first needed."""

    def __init__(self, recorder, results, leaves):
        first = len(recorder.calls)
        self.program = None
        self.incoming = [make(t._shape, t._kind) for t in results]
        try:
            grads = engine.run([graph.edge(t) for t in results], self.incoming, True, False, leaves, False) if leaves else []
            self.grads = [g if g is None or is_dense(g) else contiguous_copy(g) for g in grads]
        except BaseException:
            del recorder.calls[first:]
            raise
        self.calls = recorder.calls[first:]

    def settle(self, recorder):
        """Note in which memory incoming and resulting gradients are."""
        self.given = [recorder.buffer(g) for g in self.incoming]
        self.made, self.outputs = [], []
        for b in self.given:
            b.role = INPUT
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

    def buffers(self):
        """The memory that the calls touch."""
        return {b for c in self.calls for b in c.buffers()}

    def names(self):
        """Of the numbers that change from call to call and that the calls take."""
        return {v.name for c in self.calls for field in ("scalars", "values") for v in getattr(c, field, None) or ()
                if isinstance(v, Symbol)}

    def build(self, saved, arena):
        """Compile the calls; ``saved`` are the buffers that they are given beside the incoming gradients."""
        self.inputs = [*saved, *self.given]
        self.program = Program(passes.optimize(passes.live(self.calls, set(self.outputs))), self.inputs, self.outputs, arena)
        self.words = self.program.memory.data.cast("B").cast("d")
        self.calls = None

    def run(self, objects, bases, numbers, incoming):
        """Gradients of the leaves, in new memory."""
        p = self.program
        full = [g if g._strides is None else contiguous_copy(g) for g in incoming]
        objects = [*objects, *[g._buf for g in full]]
        bases = [*bases, *[g._ptr for g in full]]
        fresh = {}
        for b in self.outputs:
            fresh[b] = buf = np.empty(b.obj.size, b.obj.dtype)
            objects.append(buf)
            bases.append(storage.address(buf))
        with p.lock:
            for k, address in enumerate(bases):
                p.base_values[k] = address
            p.objects = objects
            for slot, name in p.symbolic:
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
    """The backward part of a captured function: of all results at once, and of each alone where only some are differentiated
    (zeros in place of the others would meet infinite derivatives, and give gradients where there are none)."""

    def __init__(self, recorder, results, given):
        """Capture it: ``results`` are the differentiable results, ``given`` ({id: number}, list) the arguments that the
        function saw. Raises what eager code says of a used graph."""
        self.given, self.results = given[0], len(results)
        self.order = {}  # place among all results: number of the differentiable one
        self.leaves = _leaves_of([graph.edge(t) for t in results])
        with recording(recorder), _without_hooks(self.leaves):
            self.parts = [Part(recorder, [t], self.leaves) for t in results] if len(results) > 1 else []
            for p in self.parts:
                del recorder.calls[len(recorder.calls) - len(p.calls):]
            self.together = _together(results)
            self.split = len(recorder.calls)
            self.whole = Part(recorder, results, self.leaves)

    @property
    def grads(self):
        """The gradients that one call of the whole backward makes."""
        return self.whole.grads

    def divide(self, recorder, calls):
        """(forward calls, backward calls, buffers of the forward that the backward reads)."""
        later = {id(c) for c in recorder.calls[self.split:]}
        first = [c for c in calls if id(c) not in later]
        second = [c for c in calls if id(c) in later]
        made = {b for c in first for b in c.writes}
        read = {b for c in second for b in c.buffers()} | self.reads()
        for part in (self.whole, *self.parts):
            read.update([recorder.buffer(g) for g in part.grads if g is not None])
        return first, second, [b for b in sorted(read & made, key=lambda b: b.index) if b.role in (TEMPORARY, OUTPUT)]

    def reads(self):
        """What the parts read or write."""
        return set().union(*[p.buffers() for p in self.parts])

    def build(self, recorder, calls, leaves, variant):
        """Compile the backward calls; ``variant`` has the forward program already."""
        saved = list(variant.outputs)
        arguments = [recorder.buffers[id(t._buf)] for t in leaves]
        self.arguments = []  # (number of the argument, its offset) of those the backward reads
        used = {b for c in calls for b in c.buffers()} | self.reads()
        for part in (self.whole, *self.parts):
            used.update([recorder.buffer(g) for g in part.grads if g is not None])
        for b in saved:
            b.role = INPUT
        self.saved = [k for k, b in enumerate(saved) if b in used]
        inputs = [saved[k] for k in self.saved]
        for i, b in enumerate(arguments):
            if b in used and b.role == INPUT and b not in inputs:
                inputs.append(b)
                self.arguments.append((i, leaves[i]._ptr - b.base))
        self.whole.calls = calls
        self.names = sorted(set().union(*[p.names() for p in (self.whole, *self.parts)]))
        for part in (self.whole, *self.parts):
            part.settle(recorder)
        self._rely([(recorder.buffers[id(t._buf)]) for t in leaves], recorder, variant)
        self.inputs, self.arena = inputs, variant.owner.arena
        self.whole.build(inputs, self.arena)
        self.edges = [self.given.get(id(t), t) for t in self.leaves]
        self.leaves = None

    def _rely(self, arguments, recorder, variant):
        """Find the tensors whose changes between forward and backward are errors: for each part, and for the whole."""
        state = {id(b.obj): b for b in recorder.buffers.values() if b.role == STATE}
        used = [p.buffers() for p in (*(self.parts or [self.whole]), self.whole)]
        every = set().union(*used)
        self.state = [t for t in variant.observer.tensors.values() if state.get(id(t._buf)) in every]
        watched = [*[arguments[i] for i, _ in self.arguments], *[state[id(t._buf)] for t in self.state]]
        self.relied = [{i for i, b in enumerate(watched) if b in buffers} for buffers in used]

    def node(self, memory, arguments, numbers=()):
        """The node of one call's results; ``numbers`` are those of ``names``."""
        node = object.__new__(CompiledBackward)
        node.next = tuple([graph.edge(arguments[e]) if e.__class__ is int else graph.edge(e) for e in self.edges])
        node.saved, node.seq, node.hooks = (True,), graph.sequence(), None
        watched = [*[arguments[i] for i, _ in self.arguments], *self.state]
        node.ctx = (self, ([memory[k] for k in self.saved], [arguments[i] for i, _ in self.arguments], numbers),
                    [(t._ver, t._ver[0], t._shape, t._kind) for t in watched], [(), NOTHING])
        return node

    def run(self, memory, incoming):
        """Gradients of the leaves for those of the results, None where nobody asked for one."""
        saved, arguments, numbers = memory
        objects = [*saved, *[t._buf for t in arguments]]
        bases = [*[storage.address(b) for b in saved], *[t._ptr - offset for t, (_, offset) in zip(arguments, self.arguments)]]
        numbers = dict(zip(self.names, numbers))
        if not any([g is None for g in incoming]):
            return tuple(self.whole.run(objects, bases, numbers, incoming))
        total = None
        for part, g in zip(self.parts, incoming):
            if g is not None:
                with self.whole.program.lock:  # compiled when it is first needed
                    if part.program is None:
                        part.build(self.inputs, self.arena)
                found = part.run(objects, bases, numbers, [g])
                total = found if total is None else [b if a is None else a if b is None else a + b
                                                     for a, b in zip(total, found)]
        return tuple(total)


def _together(results):
    """For each result the numbers of those that need something saved in its graph, itself among them."""
    saved = []
    for t in results:
        seen, stack = {}, [engine._target(graph.edge(t))]
        while stack:
            node = stack.pop()
            if id(node) not in seen and not node.is_leaf_edge:
                seen[id(node)] = bool(node.saved or node.holds_more)
                stack.extend([engine._target(e) for e in node.next if e is not None])
        saved.append({k for k, v in seen.items() if v})
    return [{i, *[j for j, other in enumerate(saved) if mine & other]} for i, mine in enumerate(saved)]


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

