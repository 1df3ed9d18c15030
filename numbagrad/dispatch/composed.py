"""Programs of functions made of other ops: all their kernels, and all their nodes, in one native call.

``avg_pool2d`` looks at its arguments and calls an op with kernels; a loss calls ten. Their looks decide the same for every call
of one geometry. When such calls have come often, the function runs once on memory without bytes, as launchers do for their
plans, with tensors that require grad where those of the call do. If what it returns lies in memory of its own, behind nodes
that keep nothing but tensors of the call and results of its kernels, the native function has the kernels and the nodes as a
program from then on. A function that is not like that runs as it always did, without any look-up.
"""

from __future__ import annotations

import functools

from ..base import modes
from ..base.sparse import SparseArgument
from ..core import replay
from ..core.graph import Node, Output
from ..core.replay_text import SEVERAL, STATE
from ..core.tensor import Tensor, bump_version, raw
from ..kernel.tape import Fake
from . import plan, replays
from .elementwise_general import Slow
from .text import group

REFUSED = 3  # geometries of calls without a program, after which no more are tried; one, if there was no other
SIZE = "size"
VALUES = ("dim", "axis", "bins", "range", "value")  # arguments of no declared kind that are no tensors
IDLE = 2000  # calls without a new program, after which none is made
OUT = "out"
LIST = "tensors"  # a first parameter that is a list of them
ODD = 50     # as many of those is one whose arguments are such that it cannot have one


class Composed:
    """The programs of an op that is a function; of one that is ``written`` in place, which tensor that is."""

    def __init__(self, op, tensors, others, written=None, signature=None, fn=None):
        self.op, self.order, self.sized, self.written = op, (*tensors, *others), sized(op), written
        self.signature, self.fn = signature or op.signature, fn or op.fn
        self.out = tensors.index(OUT) - len(tensors) if OUT in tensors else None  # which takes the result of calls that have it
        self.calls = replay.Calls(len(tensors), [False] * len(others), self.begin)
        self.table = plan.Table(self.resume)
        self.table.calls = self.calls
        self.refused, self.idle, self.made, self.users, self.held = 0, 0, False, [], set()

    def begin(self, env):
        """The native function is there: calls are looked up."""
        env["COUNT_"] = self.refused < REFUSED
        env["LOOK_"] = not self.held and (self.made or env["COUNT_"])
        self.users.append(env)

    def hold(self, held, reason):
        """Look no calls up while, for some reason, the op's function may not do what it did before."""
        (self.held.add if held else self.held.discard)(reason)
        for env in self.users:
            env["LOOK_"] = not self.held and (self.made or env["COUNT_"])

    def seen(self, record, tensors, others):
        """A call that has no program."""
        self.idle += 1
        if self.idle > IDLE:
            self.stop()
        try:
            usual = all([t is None or isinstance(t, Tensor) and t._kind.cpu for t in tensors]) and all(map(plan.plain, others))
        except SparseArgument:
            usual = False
        if not usual:
            self.idle += ODD
            return
        needs = tuple([t is not None and t._rg for t in tensors])
        line = replays.key_of(tensors, others)
        key, table = (line, record, needs, *[x.__class__ for x in others]), self.table_for(len(tensors))
        if table is None or table.get(key) or not plan.due(table, key):
            return
        program = self.program(record, tensors, others, needs, line)
        if program is None:
            table.pop(key, None)  # (another thread may have been refused, too)
            self.refused += 1
            if not self.made or self.refused >= REFUSED:
                self.stop()
        else:
            self.idle, self.made, table[key] = 0, True, program
            table.calls.add(program)

    def table_for(self, count):
        """The programs of calls on so many tensors."""
        return self.table

    def stop(self):
        """Calls of this op are counted no more, nor looked up if none has a program."""
        self.refused = REFUSED
        for env in self.users:
            env["COUNT_"], env["LOOK_"] = False, self.made and not self.held

    def resume(self):
        """The programs were dropped: if there were any, calls are counted as at first."""
        if self.made:
            self.refused = self.idle = 0
            for env in self.users:
                env["COUNT_"] = True

    def program(self, record, tensors, others, needs, key):
        written = self.out if self.out is not None and tensors[self.out] is not None else self.written
        return traced(record, tensors, needs, key, lambda shadows: self.call(shadows, others), written)

    def call(self, tensors, others):
        named = dict(zip(self.order, (*tensors, *others)))
        if self.sized:
            return self.fn(*named.pop(SIZE), **named)
        placed = [named.pop(n) for n, p in self.signature.parameters.items() if p.kind <= p.POSITIONAL_OR_KEYWORD]
        return self.fn(*placed, **named)


class OfList(Composed):
    """The programs of an op of a list of tensors, or of any number of them: those of each length have a native function."""

    def __init__(self, op, tensors, others):
        super().__init__(op, tensors, others)
        self.count, self.lengths, self.natives = len(tensors) - 1, {}, {}

    def table_for(self, count):
        n = count - self.count
        if n not in self.lengths and count <= replays.MOST:
            table = self.lengths[n] = plan.Table()
            table.calls = replay.Calls(count, self.calls.free)
            self.natives[n] = table.calls.native()
        return self.lengths.get(n)

    def call(self, tensors, others):
        n = len(tensors) - self.count
        return self.op.fn(*tensors) if starred(self.op) else super().call((list(tensors[:n]), *tensors[n:]), others)


def traced(record, tensors, needs, key, call, written=None):
    """The line of what ``call`` does with tensors like these, or None; it returns what is new, or that which is ``written``."""
    def work(recorder):
        shadows = [recorder.shadow(t) for t in tensors]
        for t, need in zip(shadows, needs):
            if need:
                t._rg = True
        return shadows, call(shadows)
    found = plan.written_down(work)
    if found is None:
        return None
    recorder, (shadows, result) = found
    state = STATE * bool(record) + sum([n << i for i, n in enumerate(needs)])
    if written is not None:
        return None if state > STATE else writing(recorder, shadows, result, tensors, written % len(tensors), state, key)
    return program_of(recorder, shadows, result, state, key)


def settle_elementwise(plans, key, tensors, numbers):
    """``plan.settle_elementwise``; tensors of several kinds are converted first, by ops that have nodes."""
    if numbers or not replays.POSSIBLE or all([t._kind is tensors[0]._kind for t in tensors]):
        return plan.settle_elementwise(plans, key, tensors, numbers)
    record, needs = True if not modes.STATE else modes.recording(), tuple([t._rg for t in tensors])
    own = key, record, needs
    if own not in plans and all([t._kind.cpu for t in tensors]) and plan.due(plans, own):
        made = traced(record, tensors, needs, replays.key_of(tensors, ()), lambda shadows: plans.form.op.call(*shadows))
        if made is None:
            plans[key] = False
        else:
            plans[own] = made
            plans.calls.add(made)


def program_of(recorder, shadows, result, state, key):
    """The line of a call that made ``result`` of these, or None."""
    several = isinstance(result, tuple)
    outs = list(result) if several else [result]
    if not recorder.steps or several and len(outs) < 2 or any([t is not None and t._ver[0] for t in shadows]) or not all([
            fresh(recorder, o, len(shadows)) for o in outs]) or len({id(o._buf) for o in outs}) < len(outs):
        return None
    count, graph = len(outs), Graph(recorder, shadows, outs)
    if not graph.found():
        return None
    program = replays.written(recorder, len(shadows), graph.outs)
    if program is None:
        return None
    program.only, program.returned = state, count
    if several and type(result) is not tuple:
        program.wrap = functools.partial(tuple.__new__, type(result))
    return program.line(key, (replays.record(graph.entries, graph.places),) if graph.entries else ())


def writing(recorder, shadows, result, tensors, into, state, key):
    """The line of a call that wrote one of these, and returned it, or None."""
    out, was = shadows[into], tensors[into]
    if result is not out or not recorder.steps or [t is not None and t._ver[0] for t in shadows] != [
            i == into for i in range(len(shadows))] or out._buf is not recorder.buffers[into] or out._rg or out.__dict__ or (
                out._kind, out._shape, out._strides) != (was._kind, was._shape, was._strides):
        return None
    program = replays.written(recorder, len(shadows), [], into=into)
    if program is None:
        return None
    program.only = state
    return program.line(key, ())


def fresh(recorder, o, given):
    """Whether a tensor fills memory of the call's own."""
    return o.__class__ is Tensor and o._buf.__class__ is Fake and o._strides is None and o._view is None and not (
        o.__dict__) and o._buf.size == o._n and o._ptr == o._buf.base and any([o._buf is b for b in recorder.buffers[given:]])


class Graph:
    """The nodes behind results, as programs make them again; what they save and nobody gets is a result behind the others."""

    def __init__(self, recorder, shadows, outs):
        self.recorder, self.shadows, self.outs = recorder, shadows, list(outs)
        self.numbers = {id(t): i for i, t in enumerate(shadows) if t is not None}
        self.nodes, self.entries, self.places = {}, [], []

    def found(self):
        """Find them; False if not all can be made again."""
        nodes = self.reached()
        if len(nodes) > replays.MOST:
            return False
        self.nodes = {id(n): i for i, n in enumerate(nodes)}
        self.places = [self.place(o) for o in self.outs]
        for n in nodes:
            edges = [self.edge(e) for e in n.next]
            saved = [self.kept(x, version) for x, version in zip(n.saved[::2], n.saved[1::2])]
            context = context_of(n.ctx)
            if None in edges or None in saved or context is plan or n.__dict__ or n.hooks or len(self.outs) > replays.MOST:
                return False
            self.entries.append((type(n), context, edges, saved))
        return True

    def reached(self):
        """The nodes, those that came first before the others."""
        found, rest = {}, [o._node for o in self.outs]
        while rest:
            e = rest.pop()
            e = e.node if e.__class__ is Output else e
            if isinstance(e, Node) and id(e) not in found:
                found[id(e)] = e
                rest += e.next
        return sorted(found.values(), key=lambda n: -n.seq)

    def place(self, t):
        """The place of a tensor at its node."""
        e = t._node
        if e is None:
            return -1
        return replays.at(self.nodes[id(e.node)], e.index + 1) if e.__class__ is Output else replays.at(self.nodes[id(e)], 0)

    def edge(self, e):
        if e is None or isinstance(e, Tensor):
            return -1 if e is None else self.numbers.get(id(e))
        if e.__class__ is Output:
            return replays.earlier(self.nodes[id(e.node)], e.index + 1)
        return replays.earlier(self.nodes[id(e)], 0) if isinstance(e, Node) else None

    def kept(self, x, version):
        """What stands for something saved, or None."""
        if x is None or id(x) in self.numbers:
            return None if version else -1 if x is None else self.numbers[id(x)]
        memory = x.__class__ is tuple
        t = raw(*x[:4], x[6], x[4], x[5]) if memory else x
        if version or memory and x[7] >= SEVERAL or not fresh(self.recorder, t, len(self.shadows)):
            return None
        i = next((i for i, o in enumerate(self.outs) if o._buf is t._buf), None)
        if i is None:
            i = len(self.outs)
            self.outs.append(t)
            self.places.append(-1)
        if self.outs[i]._shape != t._shape:
            return None
        if not memory:
            self.places[i] = self.place(t)
        return replays.output(i, x[7]) if memory else replays.inner(i)


def context_of(context):
    """A node's context for many calls; this module's ``plan`` if it belongs to one."""
    if context.__class__ is Slow:
        return Slow(context.scalars, context.shapes, context.kind, plan.Table()) if plain(context.scalars) else plan
    if context.__class__ is tuple and len(context) == 5 and context[4].__class__ is dict and plain(context[:4]):
        return (*context[:3], plan.Specs(context[3], len(context[3]) > 1), context[4])
    return context if plain(context) else plan


def plain(value):
    """Whether all that a context holds are values."""
    if value.__class__ is tuple or value.__class__ is plan.Specs:
        return all(map(plain, value))
    return value.__class__ in plan.PLAIN or value.__class__ is float


def attached(op, signature=None, fn=None):
    """(the programs of an op, lines of its call that look for one, and count the call behind that; their names), or None.

    ``fn`` with a ``signature`` of its own is the op's in-place form."""
    found = parameters(op, signature)
    if found is None:
        return None
    tensors, others = found
    known = f"{OUT} is not None" if OUT in tensors else ""
    if LIST not in tensors[:1]:
        written = None
        if fn is not None or op.name.endswith("_") and not op.registered:
            if not tensors or tensors[0] != next(iter((signature or op.signature).parameters)):
                return None
            written, known = 0, "True"
        calls = Composed(op, tensors, others, written, signature, fn)
        return calls, lines(op, [*tensors, *others], tensors, others, written=known), {
            "LOOK_": True, "COUNT_": False, "replay_": calls.calls, "seen_": calls.seen, "bump_version_": bump_version}
    calls = OfList(op, tensors, others)
    names = {"LOOK_": True, "COUNT_": False, "begin_": calls.calls, "natives_": calls.natives, "seen_": calls.seen,
             "bump_version_": bump_version}
    if starred(op):  # f(a, b) or f([a, b])
        own = LIST + "_"
        whole = f"{own} = {LIST}[0] if len_({LIST}) == 1 else {LIST}"
        return calls, [whole, *lines(op, ["*" + own], ["*" + own], [], own)], names
    given = ["*" + LIST, *tensors[1:]]
    return calls, lines(op, [*given, *others], given, others, LIST, known), names


def starred(op):
    """Whether an op takes any number of tensors, and nothing else."""
    return [p.kind is p.VAR_POSITIONAL for p in op.signature.parameters.values()] == [True] and LIST in op.signature.parameters


def sized(op):
    """Whether an op takes the size of a new tensor by as many arguments as that has dimensions."""
    p = op.signature.parameters.get(SIZE)
    return p is not None and p.kind is p.VAR_POSITIONAL


def lines(op, given, tensors, others, listed=None, written=""):
    """Lines that look for a program, and those behind the call that count it: both have ``LOOK_``; ``listed`` is the name of a
    list of tensors; ``written`` says when a tensor that was there is returned."""
    before, pad = [], "        "
    if sized(op):
        given, others = [["sizes_" if n == SIZE else n for n in names] for names in (given, others)]
        before = ["sizes_ = size", "if size.__class__ is tuple_ and len_(size) == 1 and size[0].__class__ is tuple_:",
                  "    sizes_ = size[0]"]
    found = replays.lines(given, written=written)
    if listed:
        found = [f"replay_ = natives_.get(len_({listed})) if natives_ or COUNT_ else begin_", "if replay_ is not None:",
                 *["    " + line for line in found]]
    if_ = f"if LOOK_ and ({listed}.__class__ is list_ or {listed}.__class__ is tuple_):" if listed else "if LOOK_:"
    return [if_, "    record_ = True if not STATE_ else recording_()",
            "    if record_ is not None:", *[pad + line for line in [*before, *found]],
            f"{pad}if COUNT_:", f"{pad}    seen_(record_, {group(tensors)}, {group(others)})"]


def parameters(op, signature=None):
    """(names of the tensors, names of the others) of a function that may have programs, or None.

    Functions of users are not among them: what they do may depend on more than their arguments."""
    tensors, others = [], []
    for n, p in (signature or op.signature).parameters.items():
        if p.kind is p.VAR_KEYWORD or p.kind is p.VAR_POSITIONAL and not (
                sized(op) and op.random or starred(op)) or p.annotation in (list, "list"):
            return None
        plain_ = p.annotation is p.empty and p.default in (p.empty, None) and n not in (*VALUES, SIZE) and (
            op.kinds.get(n, "any").rstrip("?") in ("any", "tensor"))
        (tensors if plain_ else others).append(n)
    return (tensors, others) if (tensors or op.random) and len(tensors) <= replays.MOST and replays.POSSIBLE and (
        op.planned and op.module.startswith("numbagrad.")) else None


__all__ = ["attached"]
