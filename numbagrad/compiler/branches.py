"""Independent branches on several threads: small calls that need not wait for each other run at the same time.

Large calls are cut over the threads one by one (``threads.parallel_for``). Between them, a stretch of calls for which that
does not pay, or pays little, may still have branches: two models, the gradients of a weight and of an input. Such a stretch
becomes a list of tasks in the order in which a simulated run on ``workers`` threads would start them. Each thread takes the
next task of the list, waits until those it depends on are done, and runs it; as tasks depend on earlier ones only, one
thread alone comes through too, whatever the others do.
"""

from __future__ import annotations

from ..kernel import expr, jit, threads
from .ir import Fold, Gemm, KernelCall, Optim
from .passes import Group

# Nanoseconds: to start threads (measured: 10 us if they have just run, 18 us after 0.1 ms), to hand a result to another core
# and for each of its bytes, of one call, of one exp or tanh; elements of hand-written kernels do more than be moved.
START, HAND, BYTE, CALL, MATH, KERNEL = 18_000, 150, 0.05, 50, 0.4, 4
SMALL = 100_000  # nanoseconds from which a call is left to be cut
MOST = 400       # calls of a stretch: planning takes up to 0.1 ms for each
WORTH = 0.85     # of its time otherwise, at most, that a stretch may take to be worth it


class Stretch:
    """Calls ``first`` to ``last``, and for each the numbers (from ``first``) of those that it waits for."""

    def __init__(self, first, last, waits):
        self.first, self.last, self.waits = first, last, waits


def arrange(lowered, part=0):
    """(order, stretches): the positions of the calls in a better order, and what of it may run side by side.

    The first ``part`` of them come before all others."""
    if part:
        order, stretches = arrange(lowered[:part])
        more, others = arrange(lowered[part:])
        return ([*order, *[part + i for i in more]],
                [*stretches, *[Stretch(part + s.first, part + s.last, s.waits) for s in others]])
    order, stretches = list(range(len(lowered))), []
    workers = min(threads.get_num_threads(), 4)
    first = 0
    while workers > 1 and first < len(lowered):
        last = first
        while last < len(lowered) and last - first < MOST and _may_be_a_task(lowered[last]):
            last += 1
        if last - first > 3:
            found = _plan(lowered[first:last], workers)
            if found is not None:
                inside, waits = found
                order[first:last] = [first + i for i in inside]
                stretches.append(Stretch(first, last, waits))
        first = max(last, first + 1)
    return order, stretches


def _may_be_a_task(item):
    return item is not None and not item.call.checks and (not is_cut(item) or estimate(item) < SMALL)


def is_cut(item):
    """Whether a call is cut over the threads, where there are several."""
    return item.grain != 0 and item.items > item.grain


def _plan(items, workers):
    """(order, for each place in it the places it waits for), or None where that gains too little."""
    costs = [estimate(item) for item in items]
    needs = dependencies(items)
    hands = [HAND + BYTE * sum([b.nbytes for b in _touched(item)[1]]) for item in items]
    order, end = schedule(costs, needs, hands, workers)
    otherwise = sum([c / workers + START / 2 if is_cut(item) else c for c, item in zip(costs, items)])
    if end + START > WORTH * otherwise:
        return None
    place = {i: k for k, i in enumerate(order)}
    return order, [sorted([place[d] for d in needs[i]]) for i in order]


def estimate(item):
    """Nanoseconds that a call takes, roughly."""
    spent = item.work() + CALL
    if isinstance(item.call, Group):
        loop = item.call.loop
        every = [*loop.expressions, *[f[1] for f in getattr(loop, "folds", ())]]
        spent += MATH * loop.elements * len([e for e in expr.topological(every) if e.op in jit.MATH])
    elif isinstance(item.call, (KernelCall, Optim)):
        spent += (KERNEL - 1) * item.work()
    return spent


def dependencies(items):
    """For each call the earlier ones that must be done before it, without those that others of them wait for."""
    written, read, above, needs = {}, {}, [], []
    for i, item in enumerate(items):
        reads, writes = _touched(item)
        found = {written[b] for b in (*reads, *writes) if b in written}
        for b in writes:
            found.update(read.get(b, ()))
        found.discard(i)
        mask = 0
        for d in found:
            mask |= above[d]
        needs.append([d for d in found if not mask >> d & 1])
        for d in found:
            mask |= 1 << d
        above.append(mask)
        for b in reads:
            read.setdefault(b, set()).add(i)
        for b in writes:
            written[b], read[b] = i, set()
    return needs


def _touched(item):
    """(buffers read, buffers written) by their places in memory."""
    call = item.call
    if isinstance(call, Group):
        outs = [*call.loop.outs, *[f[0] for f in getattr(call.loop, "folds", ())]]
        reads, writes = [o.buffer for o in call.loop.ins], [o.buffer for o in outs]
    elif isinstance(call, (Fold, Gemm, KernelCall, Optim)):
        reads, writes = call.reads, call.writes
    else:
        reads = writes = item.buffers()
    return {b.home for b in reads}, {b.home for b in writes}


def schedule(costs, needs, hands, workers):
    """(order of the starts, end) of a run on ``workers`` threads that takes what can start first, then what leads farthest.

    ``hands`` is what each call's results cost on another core than its own."""
    rank = list(costs)
    for i in reversed(range(len(costs))):
        for d in needs[i]:
            rank[d] = max(rank[d], costs[d] + rank[i])
    free, end, by, order = [0.0] * workers, {}, {}, []
    open_, after = [len(found) for found in needs], {}
    for i, found in enumerate(needs):
        for d in found:
            after.setdefault(d, []).append(i)
    ready = [i for i, n in enumerate(open_) if n == 0]
    while ready:
        w = min(range(workers), key=free.__getitem__)
        best = None
        for i in ready:
            start = max([free[w], *[end[d] + (hands[d] if by[d] != w else 0) for d in needs[i]]])
            if best is None or (start, -rank[i]) < best[:2]:
                best = start, -rank[i], i
        start, _, i = best
        end[i] = free[w] = start + costs[i]
        by[i] = w
        order.append((start, len(order), i))
        ready.remove(i)
        for k in after.get(i, ()):
            open_[k] -= 1
            if open_[k] == 0:
                ready.append(k)
    return [i for *_, i in sorted(order)], max(end.values())
