"""Passes over a captured run: dead calls, repeated calls, fusion of elementwise loops."""

from __future__ import annotations

from ..kernel import expr
from .ir import TEMPORARY, Host, Operand, Pointwise

MOST_OPERANDS = 24  # of one fused loop: beyond, registers and prefetchers run out


def live(calls, roots):
    """The calls whose results matter: they write memory outside of the run, or feed one that does."""
    wanted, kept = set(roots), []
    for call in reversed(calls):
        if isinstance(call, Host) or call.checks or any([b.role != TEMPORARY or b in wanted for b in call.writes]):
            kept.append(call)
            # A buffer that is written piece by piece stays wanted upwards.
            wanted.update(call.reads)
            wanted.update(call.writes)
    return kept[::-1]


def repeated(calls):
    """Drop elementwise calls that compute again what an earlier one left in memory that nobody wrote since."""
    writes = {}
    for i, call in enumerate(calls):
        for b in call.writes:
            writes.setdefault(b, []).append(i)
    seen, alias, out = {}, {}, []
    version = {}
    for call in calls:
        if alias:
            _rename(call, alias)
        if isinstance(call, Pointwise) and all(
                [b.role == TEMPORARY and len(writes[b]) == 1 for b in call.writes]):
            key = (call.expressions, tuple(call.inputs), tuple(call.scalars), call.compute, call.shape,
                   tuple([(o.key, version.get(o.buffer, 0)) for o in call.ins]), tuple(map(repr, call.values)),
                   tuple([(o.offset, o.strides, o.dtype) for o in call.outs]))
            first = seen.get(key)
            if first is not None and all([a.buffer.nbytes == b.buffer.nbytes for a, b in zip(first.outs, call.outs)]):
                for a, b in zip(first.outs, call.outs):
                    alias[b.buffer] = a.buffer
                continue
            seen[key] = call
        for b in call.writes:
            version[b] = version.get(b, 0) + 1
        out.append(call)
    return out, alias


def _rename(call, alias):
    if isinstance(call, Pointwise):
        for o in (*call.ins, *call.outs):
            o.buffer = alias.get(o.buffer, o.buffer)
        return
    for name in ("reads", "writes"):
        setattr(call, name, [alias.get(b, b) for b in getattr(call, name)])
    for name in ("a", "b", "c", "x", "out"):
        p = getattr(call, name, None)
        if p is not None and p.buffer in alias:
            p.buffer = alias[p.buffer]
    for name in ("values", "words", "rows"):
        for p in getattr(call, name, None) or ():
            b = getattr(p, "buffer", None)
            if b is not None and b in alias:
                p.buffer = alias[b]


class Group:
    """Elementwise calls of one shape and compute type that become one loop."""

    def __init__(self, call):
        self.calls, self.compute, self.shape = [], call.compute.compute, call.shape
        self.reads, self.writes, self.results = set(), set(), {}
        self.label, self.phase, self.checks = call.label, call.phase, ()
        self.name = call.name
        self.add(call)

    def accepts(self, call):
        """Whether ``call`` may run inside this loop: it meets the group's memory only element by element."""
        if call.compute.compute != self.compute or call.shape != self.shape:
            return False
        operands = {o.key[:1] + o.key[1:] for c in self.calls for o in (*c.ins, *c.outs)}
        if len(operands | {o.key for o in (*call.ins, *call.outs)}) > MOST_OPERANDS:
            return False
        mine = [o for c in self.calls for o in c.outs]
        for o in call.ins:
            for w in mine:
                if w.buffer is o.buffer and (w.key != o.key or not _passes(w, self.compute)):
                    return False
        theirs = [o for c in self.calls for o in (*c.ins, *c.outs)]
        for w in call.outs:
            for o in theirs:
                if w.buffer is o.buffer and w.key != o.key:
                    return False
        return True

    def add(self, call):
        self.calls.append(call)
        self.reads.update(call.reads)
        self.writes.update(call.writes)

    def buffers(self):
        return self.reads | self.writes

    def fused(self, needed):
        """(inputs, outputs, names, scalars, values, expressions) of the loop; ``needed(buffer)``: somebody else reads it."""
        inputs, scalars, values, current, outs = {}, [], [], {}, {}
        for call in self.calls:
            table = {}
            for name, o in zip(call.inputs, call.ins):
                made = current.get(o.key)
                if made is None:
                    found = inputs.get(o.key)
                    if found is None:
                        found = inputs[o.key] = (f"x{len(inputs)}", o)
                    made = expr.var(found[0])
                table[expr.var(name)] = made
            for name, v in zip(call.scalars, call.values):
                same = next((i for i, w in enumerate(values) if type(w) is type(v) and repr(w) == repr(v)), None)
                if same is None:
                    same = len(values)
                    scalars.append(f"s{same}")
                    values.append(v)
                table[expr.var(name)] = expr.var(f"s{same}")
            # Renamed at once: a call's own names may be those of the loop.
            results = _substitute(call.expressions, table)
            for o, e in zip(call.outs, results):
                current[o.key] = e
                outs[o.key] = o
        kept = [(o, current[k]) for k, o in outs.items() if needed(o.buffer)]
        used = set(expr.variables([e for _, e in kept]))
        ins = [(n, o) for n, o in inputs.values() if n in used]
        numbers = [(s, v) for s, v in zip(scalars, values) if s in used]
        # Names in the order of use make equal loops equal text.
        table = {expr.var(n): expr.var(f"a{i}") for i, (n, _) in enumerate(ins)}
        table.update({expr.var(s): expr.var(f"v{i}") for i, (s, _) in enumerate(numbers)})
        expressions = _substitute([e for _, e in kept], table)
        return ([o for _, o in ins], [o for o, _ in kept], [f"a{i}" for i in range(len(ins))],
                [f"v{i}" for i in range(len(numbers))], [v for _, v in numbers], expressions)


def _substitute(outputs, table):
    new = {}
    for e in expr.topological(list(outputs)):
        if e in table:
            new[e] = table[e]
        else:
            new[e] = expr.apply(e.op, *[new[a] for a in e.args]) if e.args else e
    return tuple([new[o] for o in outputs])


def _passes(o, compute):
    """Whether a stored value can be handed on in a register: storing and loading would not change it."""
    return o.dtype.code == compute


def fuse(calls):
    """Put each elementwise call into the latest loop that it can join without overtaking what it depends on."""
    out = []
    for call in calls:
        if not isinstance(call, Pointwise):
            out.append(call)
            continue
        reads, writes = set(call.reads), set(call.writes)
        target = None
        for other in reversed(out):
            if isinstance(other, Group) and other.accepts(call):
                target = other
                break
            if isinstance(other, Host) or writes & set(other.reads) or writes & set(other.writes) or reads & set(
                    other.writes):
                break
        if target is None:
            out.append(Group(call))
        else:
            target.add(call)
    return out


def needed_by(calls):
    """{buffer: indices of the calls that read it}."""
    readers = {}
    for i, call in enumerate(calls):
        for b in call.reads:
            readers.setdefault(b, set()).add(i)
    return readers


__all__ = ["Group", "Operand", "fuse", "live", "needed_by", "repeated"]
