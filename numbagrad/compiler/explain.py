"""What a compiled step became: kernels with their ops, sizes, time and source."""

from __future__ import annotations

import inspect
import time
from typing import NamedTuple

from ..base import dtypes as dt
from ..kernel import expr
from .branches import Stretch
from .ir import Fold, Gemm, Host, KernelCall, Optim, Ptr
from .memory import lifetimes, peak
from .passes import Group


class Memory(NamedTuple):
    """Bytes of temporary memory: ``arena`` is what the step holds, ``eager_peak`` what the same calls would hold at most
    if each result were freed after its last use, ``temporaries`` all of them together."""

    arena: int
    eager_peak: int
    temporaries: int

    def __str__(self):
        return (f"arena {_bytes(self.arena)}, eager peak {_bytes(self.eager_peak)}, all temporaries "
                f"{_bytes(self.temporaries)}")


def memory_of(variant):
    p = variant.program
    return Memory(p.arena_bytes, variant.eager_peak, p.total_bytes)


def eager_peak(calls):
    """Most bytes that are alive at once when the captured calls run one after the other."""
    return peak(lifetimes(calls))


def describe(call):
    """(ops, shape, bytes moved, floating-point operations) of a call."""
    if isinstance(call, Group):
        elements = call.loop.elements
        moved = sum([_distinct(o) for o in (*call.loop.ins, *call.loop.outs)])
        work = sum([1 for e in expr.topological(list(call.loop.expressions)) if e.args])
        return " ".join([c.name.removeprefix("loop_") for c in call.calls]), list(call.shape), moved, work * elements
    if isinstance(call, Gemm):
        m, n, k = call.sizes
        size = dt.BY_CODE[call.code].itemsize
        name = "gemm" + "".join([" transposed " + w for w, f in zip("AB", call.flags) if f])
        shape = [m, n, k] if call.batch == 1 else [call.batch, m, n, k]
        return name, shape, size * call.batch * (m * k + k * n + m * n), 2 * m * n * k * call.batch
    if isinstance(call, Fold):
        n = call.numbers[-1]
        return f"{call.name} ({call.key[0]})", [n], call.x.buffer.nbytes + call.out.buffer.nbytes, n
    if isinstance(call, Optim):
        rows = call.kernel.rows
        names = [n for n, _ in call.kernel.parameters({})[:rows]]
        n = sum([v for i, v in enumerate(call.rows) if names[i % rows] == "n"])
        pointers = sum([1 for p in call.rows[:rows] if p.__class__ is Ptr])
        return call.name, [n], n * 4 * pointers, 0
    return call.label if call.label and call.label != call.name else call.name, [], sum([b.nbytes for b in call.buffers()]), 0


def _distinct(o):
    n = o.dtype.itemsize
    for s, k in zip(o.shape, o.strides):
        n *= s if k else 1
    return n


def _bytes(n):
    for unit in ("B", "KB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"


def _flops(n):
    return "-" if not n else f"{n / 1e6:.3g} M" if n < 1e9 else f"{n / 1e9:.3g} G"


def times(program, rounds=50):
    """Seconds of each native row: the least of ``rounds`` runs of it by itself, on the memory of the last call."""
    found = []
    for i, what in enumerate(program.row_of):
        if isinstance(what, Stretch):
            found.append(0.0)  # its rows run one by one here
            continue
        best = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            program.walk(program.header_address, i, i + 1)
            best = min(best, time.perf_counter() - start)
        found.append(best)
    idle = min([_time_empty(program) for _ in range(rounds)])
    return [max(t - idle, 0.0) for t in found]


def _time_empty(program):
    start = time.perf_counter()
    program.walk(program.header_address, 1, 1)
    return time.perf_counter() - start


def _relied_on(variant):
    """What the variant looks at in each call, in words."""
    words, asked = int(variant.guards.table.header[1]), len(variant.guards.asked)
    more = f", {asked} of them asked one by one" if asked else ""
    found = [f"{len(variant.guards.pairs)} places in {words} words of memory{more}"]
    if variant.first_numbers:
        found.append(f"{len(variant.first_numbers)} numbers that change")
    found += ["numbers drawn anew"] * bool(variant.draws)
    values = 0 if variant.numbers is None else len(variant.numbers.cells)
    found += [f"{values} values of tensors read after its kernels"] * bool(values)
    found += [f"{len(variant.decisions)} decisions on values of tensors"] * bool(variant.decisions)
    found += [f"{len(variant.effects)} effects on Python objects"] * bool(variant.effects)
    return "; ".join(found) + (f"; {variant.proof}" if variant.proven else "; captured once so far")


def explain(variant, profile=False):
    """The text of ``step.explain()``."""
    p = variant.program
    calls = p.calls
    loops = sum([isinstance(c, Group) for c in calls])
    fused = sum([len(c.calls) for c in calls if isinstance(c, Group)])
    lines = [f"captured {variant.captured} launches; {variant.dropped} dead or repeated; {fused} elementwise ones in {loops} "
             f"loops; {len(calls)} calls, {len(set(variant.kernel_names()))} different kernels",
             f"memory: {memory_of(variant)}", f"relies on {_relied_on(variant)}"]
    if p.stretches:
        lines.append("several threads: " + ", ".join([f"calls {s.first} to {s.last - 1}" for s in p.stretches])
                     + " run as tasks, each when those it needs are done")
    spent = None
    if profile:
        with p.lock:
            spent = times(p)
    head = f"{'':4}{'kernel':<28}{'shape':<22}{'bytes':>10}{'flops':>10}" + (f"{'time':>12}" if spent else "")
    lines += ["", head]
    by_item = {}
    if spent:
        for t, item in zip(spent, p.row_of):
            if hasattr(item, "call"):
                by_item[id(item.call)] = t
    for i, call in enumerate(calls):
        name, shape, moved, flops = describe(call)
        if isinstance(call, Host):
            name += " (Python)"
        text = f"{i:<4}{name[:60]:<28}{str(shape) if shape else '':<22}{_bytes(moved):>10}{_flops(flops):>10}"
        if spent:
            t = by_item.get(id(call))
            text += f"{'' if t is None else f'{t * 1e6:.2f} us':>12}"
        lines.append(text)
    if spent:
        lines.append(f"{'':4}{'sum':<28}{'':<22}{'':>10}{'':>10}{f'{sum(spent) * 1e6:.2f} us':>12}")
    return "\n".join(lines)


def source(variant):
    """Python text of every different kernel of the step, in the order of first use."""
    seen, parts = set(), []
    for item in variant.program.items:
        text = item.source or _kernel_source(item.call)
        if text not in seen:
            seen.add(text)
            parts.append(text.rstrip() + "\n")
    return "\n\n".join(parts)


def _kernel_source(call):
    if isinstance(call, (KernelCall, Optim)):
        return inspect.getsource(call.kernel.fn)
    if isinstance(call, Fold):
        return call.op.native(*call.key).source
    if isinstance(call, Gemm):
        return f"# BLAS {call.code}: C = alpha op(A) op(B) + beta C\n"
    return f"# native loop {call.name}\n"
