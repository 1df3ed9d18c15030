"""Passes over a captured run: dead calls, repeated calls, fusion of elementwise loops."""

from __future__ import annotations

from ..base import dtypes
from ..core.tensor import contiguous_strides, numel
from ..kernel import emit, expr, threads
from . import emit_fold, inplace, products
from .ir import TEMPORARY, Fold, Gemm, Host, KernelCall, Operand, Pointwise, rename
from .recompute import recompute
from .symbols import key
from .verify import verified

MOST_OPERANDS = 24  # of one fused loop: beyond, registers and prefetchers run out


def live(calls, roots):
    """The calls whose results matter: they write memory outside of the run, or feed one that does."""
    wanted, kept = set(roots), []
    for call in reversed(calls):
        if isinstance(call, Host) or call.checks or any([b.role != TEMPORARY or b in wanted for b in call.writes]):
            kept.append(call)
            if isinstance(call, Group):
                call.settle(lambda b: b.role != TEMPORARY or b in wanted)
            # A buffer that is written piece by piece stays wanted upwards.
            wanted.update(call.reads)
            wanted.update(call.writes)
    return kept[::-1]


def repeated(calls, keep=()):
    """Drop calls that compute again what an earlier one left in memory that nobody wrote since; not into ``keep``.

    Returns (calls, {buffer that is gone: buffer that stands for it})."""
    writes = {}
    for call in calls:
        for b in set(call.writes):
            writes[b] = writes.get(b, 0) + 1
    seen, alias, out, version = {}, {}, [], {}
    for call in calls:
        if alias:
            rename(call, alias)
        made = set(call.writes)
        if made and not made & set(call.reads) and all(
                [b.role == TEMPORARY and writes[b] == 1 and b not in keep for b in made]):
            meaning = _meaning(call, made, version)
            first = seen.get(meaning) if meaning is not None else None
            if first is not None:
                alias.update(zip(_made(call, made), _made(first, set(first.writes))))
                continue
            if meaning is not None:
                seen[meaning] = call
        for b in made:
            version[b] = version.get(b, 0) + 1
        out.append(call)
    return out, alias


def _made(call, made):
    """The buffers a call makes, in the order of its arguments."""
    found = [p.buffer for p in _arguments(call) if getattr(p, "buffer", None) in made]
    return list(dict.fromkeys(found))


def _arguments(call):
    if isinstance(call, Pointwise):
        return (*call.ins, *call.outs)
    if isinstance(call, Fold):
        return (call.x, call.out)
    if isinstance(call, Gemm):
        return (call.a, call.b, call.c)
    return call.values


def _meaning(call, made, version):
    """A key that equal calls share, without the memory they write to; None for calls that are not compared."""
    def place(p):
        b = p.buffer
        where = ("made", b.nbytes) if b in made else (b.index, version.get(b, 0))
        return (*where, *p.key[1:]) if isinstance(p, Operand) else (*where, p.offset)

    if isinstance(call, Pointwise):
        head = (call.expressions, call.inputs, call.scalars, call.compute, call.shape, tuple(map(key, call.values)))
    elif isinstance(call, Fold):
        head = (call.op, call.key, tuple(call.numbers))
    elif isinstance(call, Gemm):
        head = (call.code, call.sizes, call.lds, call.flags, key(call.alpha), key(call.beta), call.batch, call.strides)
    elif isinstance(call, KernelCall) and not call.checks:
        head = (call.kernel, call.dtype, call.items, tuple([key(v) for v in call.values if not hasattr(v, "buffer")]))
    else:
        return None
    return (type(call), *head, tuple([place(p) for p in _arguments(call) if hasattr(p, "buffer")]))


class Group:
    """Elementwise calls of one shape and compute type that become one loop."""

    def __init__(self, call):
        self.calls, self.compute, self.shape = [], call.compute.compute, call.shape
        self.reads, self.writes, self.made = set(), set(), set()
        self.folds, self.form = [], None
        self.label, self.checks = call.label, ()
        self.name = call.name
        self.add(call)

    def accepts(self, call):
        """Whether ``call`` may run inside this loop: it meets the group's memory only element by element."""
        if call.compute.compute != self.compute or call.shape != self.shape or self.folds:
            return False
        operands = {o.key for c in self.calls for o in (*c.ins, *c.outs)}
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
        # What the loop makes itself stays in registers.
        self.reads.update([o.buffer for o in call.ins if o.key not in self.made])
        self.made.update([o.key for o in call.outs])
        self.writes.update(call.writes)

    def take(self, fold):
        """Add a sum over what this loop makes, if its form allows that; whether it did."""
        if self.compute not in ("f4", "f8") or self.compute != fold.key[1]:
            return False
        form = emit_fold.form_of(fold)
        made = [o for c in self.calls for o in c.outs if o.buffer is fold.x.buffer]
        if form is None or len(made) != 1 or made[0].offset != fold.x.offset:
            return False
        operands = [o for c in self.calls for o in (*c.ins, *c.outs)]
        if form[0] == "all":
            sizes, _ = emit.collapse(self.shape, [o.strides for o in operands])
            if len(sizes) > 2:
                return False
            form = ("all", [1, *sizes][-2:])
        if (self.form or form) != form:
            return False
        o = made[0]
        if o.dtype.code != fold.key[1] or o.strides != contiguous_strides(o.shape) or numel(o.shape) != fold.numbers[-1]:
            return False
        if form[0] == "all" and fold.numbers[-1] >= threads.LIMIT[0]:
            return False  # by itself it would be cut over the threads
        if emit_fold.parts(self.shape, [o.strides for o in operands], form[1]) is None:
            return False
        self.form = form
        out = Operand(fold.out.buffer, fold.out.offset, (1,), (1,), dtypes.BY_CODE[fold.key[2]])
        self.folds.append((out, o, fold.op, fold.numbers[2], fold.key[-1]))
        self.writes.add(fold.out.buffer)
        return True

    def settle(self, needed):
        """Forget what the loop would read for results that nobody needs."""
        self.reads = {o.buffer for o in self.fused(needed)[0]}

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
                same = next((i for i, w in enumerate(values) if type(w) is type(v) and key(w) == key(v)), None)
                if same is None:
                    same = len(values)
                    scalars.append(f"s{same}")
                    values.append(v)
                table[expr.var(name)] = expr.var(f"s{same}")
            # Renamed at once: a call's own names may be those of the loop.
            results = expr.substitute(call.expressions, table)
            for o, e in zip(call.outs, results):
                current[o.key] = e
                outs[o.key] = o
        kept = [(o, current[k]) for k, o in outs.items() if needed(o.buffer)]
        sums = [current[f[1].key] for f in self.folds]
        used = set(expr.variables([e for _, e in kept] + sums))
        ins = [(n, o) for n, o in inputs.values() if n in used]
        numbers = [(s, v) for s, v in zip(scalars, values) if s in used]
        # Names in the order of use make equal loops equal text.
        table = {expr.var(n): expr.var(f"a{i}") for i, (n, _) in enumerate(ins)}
        table.update({expr.var(s): expr.var(f"v{i}") for i, (s, _) in enumerate(numbers)})
        expressions = expr.substitute([e for _, e in kept] + sums, table)
        return ([o for _, o in ins], [o for o, _ in kept], [f"a{i}" for i in range(len(ins))],
                [f"v{i}" for i in range(len(numbers))], [v for _, v in numbers], expressions)


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


def fuse_sums(calls):
    """Let each sum ride on the loop that makes its terms, where nothing in between stands in the way."""
    out = []
    for call in calls:
        if isinstance(call, Fold):
            target = None
            for other in reversed(out):
                if isinstance(other, Group) and call.x.buffer in other.writes:
                    target = other
                    break
                if isinstance(other, Host) or call.out.buffer in other.buffers() or call.x.buffer in other.writes:
                    break
            if target is not None and call.out.buffer not in target.buffers() and target.take(call):
                continue
        out.append(call)
    return out


def optimize(calls):
    """All fusion passes."""
    calls = verified(calls, "the capture")
    calls = verified(inplace.versions(calls), "versions")
    calls = verified(products.shaped(calls), "products")
    calls = verified(fuse(calls), "fusion")
    for _ in range(2):  # a value that moved may leave its operands with fewer readers
        calls = verified(live(recompute(calls, Group), ()), "recomputing")
    return verified(read(verified(fuse_sums(calls), "fusion of sums")), "dropping what nobody reads")


def read(calls):
    """The calls without loops whose results nobody reads, as a later call writes all of them anew."""
    wanted, kept = set(), []
    for call in reversed(calls):
        if isinstance(call, Group) and not (call.folds or call.checks or any(
                [b.role != TEMPORARY or b in wanted for b in call.writes])):
            continue
        kept.append(call)
        wanted.update(call.reads)
    return kept[::-1]


def needed_by(calls):
    """{buffer: indices of the calls that read it}."""
    readers = {}
    for i, call in enumerate(calls):
        for b in call.reads:
            readers.setdefault(b, set()).add(i)
    return readers


__all__ = ["Group", "Operand", "fuse", "live", "needed_by", "repeated"]
