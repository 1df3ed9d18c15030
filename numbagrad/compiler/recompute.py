"""Values that are cheaper to compute again than to store and load: ``1 - t * t`` beside a stored ``t``."""

from __future__ import annotations

from ..kernel import expr
from .ir import TEMPORARY, Pointwise

CHEAP = {"add", "sub", "mul", "neg", "abs", "where", "lt", "le", "gt", "ge", "eq", "ne", "square"}
# Operations that a load and a store are worth: in the first-level cache, and beyond it.
CACHED, MOST_CACHED, MOST = 1 << 14, 3, 8


def recompute(calls, group):
    """Move cheap results of loops into the loops that read them, where that saves more operands than it adds.

    ``group`` is the class of fused loops. Whatever becomes dead by it is left for ``live``."""
    readers, writers = {}, {}
    for i, call in enumerate(calls):
        for b in call.reads:
            readers.setdefault(b, set()).add(i)
        for b in call.writes:
            writers.setdefault(b, set()).add(i)
    for i, call in enumerate(calls):
        if isinstance(call, group):
            for o in _candidates(call, i, calls, readers, writers, group):
                _move(call, i, o, calls, readers, writers)
    return calls


def _candidates(loop, i, calls, readers, writers, group):
    """Results of a loop that only later loops of the same elements read."""
    outs = {o.key: o for c in loop.calls for o in c.outs if o.buffer in loop.writes}
    for o in list(outs.values()):
        b = o.buffer
        later = readers.get(b, set()) - {i}
        if b.role != TEMPORARY or writers[b] != {i} or not later or min(later) < i or o.dtype.code != loop.compute:
            continue
        if all([isinstance(calls[j], group) and calls[j].shape == loop.shape and calls[j].compute == loop.compute
                and all([x.key == o.key for c in calls[j].calls for x in c.ins if x.buffer is b]) for j in later]):
            yield o


def _move(loop, i, o, calls, readers, writers):
    ins, outs, inputs, scalars, values, expressions = loop.fused(lambda b: True)
    mine = next(e for x, e in zip(outs, expressions) if x.key == o.key)
    last = max(readers[o.buffer])
    kept = {}
    for k, (x, e) in enumerate(zip(outs, expressions)):
        stays = x.buffer.role != TEMPORARY or readers.get(x.buffer, set()) - {i}
        if x.key != o.key and stays and e.args and x.dtype.code == loop.compute:
            kept.setdefault(e, (expr.var(f"r{k}"), x))
    rewritten, = expr.substitute((mine,), {e: v for e, (v, _) in kept.items()})
    order = expr.topological([rewritten])
    work = [e for e in order if e.args]
    if not work or len(work) > (MOST_CACHED if o.buffer.nbytes <= CACHED else MOST) or any([e.op not in CHEAP for e in work]):
        return
    places = dict(zip(inputs, ins))
    places.update({v.value: x for v, x in kept.values()})
    names = [e.value for e in order if e.op == "var"]
    leaves = [(n, places[n]) for n in names if n in places]
    written = loop.writes
    for n, x in leaves:
        changed = {w for w in writers.get(x.buffer, ()) if i < w <= last}
        if changed or (n in inputs and x.buffer in written):
            return
    whole = [x for _, x in leaves if _is_whole(x)]
    if not leaves or len(whole) > 2 or len(leaves) > 4:
        return
    for j in readers[o.buffer] - {i}:
        have = {x.key for c in calls[j].calls for x in c.ins}
        if len([x for x in whole if x.key not in have]) > 1:
            return
    numbers = dict(zip(scalars, values))
    used = [n for n in names if n in numbers]
    for j in sorted(readers[o.buffer] - {i}):
        reader = calls[j]
        reader.calls.insert(0, _call(loop, [n for n, _ in leaves], [x for _, x in leaves], used,
                                     [numbers[n] for n in used], rewritten, o))
        reader.reads.discard(o.buffer)
        reader.made.add(o.key)
        for _, x in leaves:
            reader.reads.add(x.buffer)
            readers.setdefault(x.buffer, set()).add(j)
    readers[o.buffer] = set()


def _is_whole(x):
    """Whether an operand has an element for each of the loop's: broadcast ones cost next to nothing."""
    return all([k != 0 or s == 1 for s, k in zip(x.shape, x.strides)])


def _call(loop, inputs, ins, scalars, values, expression, out):
    """An elementwise call inside a loop that makes ``out`` again."""
    call = object.__new__(Pointwise)
    call.name, call.compute, call.shape = "again", loop.calls[0].compute, loop.shape
    call.ins, call.outs, call.values = ins, [out], values
    call.inputs, call.scalars, call.expressions = tuple(inputs), tuple(scalars), (expression,)
    return call
