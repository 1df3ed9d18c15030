"""Values of tensors that Python asks for in a step: they exist only when the step has run.

``item()`` of a tensor that a capture computes gives a number of ``symbols``, which every call reads from memory after its
kernels have run: it can be computed with, stored, printed and returned. Where such a number decides (``if loss.item() > 1``),
or becomes the scalar of a kernel, the program has two parts: ``front`` takes the calls that its value needs to the beginning,
and Python looks at it between the parts. If a decision comes out otherwise than in the capture, the first part is undone
(``Undo``), and another variant runs, or is captured."""

from __future__ import annotations

import ctypes

import numpy as np

from ..base import dtypes, modes
from ..core import storage
from ..kernel.mt19937 import MT19937
from ..kernel.tape import Refusal
from . import passes
from .ir import INPUT, KEPT, STATE, TEMPORARY, Host
from .symbols import Symbol

MOST = 64  # elements of a tensor whose list is followed


def guess(k, kind, label, shift):
    """What a capture takes value ``k`` of a step for: what an ordinary value decides, as far as that can be told."""
    if kind == "?":
        return int(label not in ("isnan", "isinf"))
    return 1.0 + 0.375 * k + 0.25 * shift if kind == "f" else 1 + k + shift


def kind_of(d):
    """"f", "i" or "?" for dtypes whose values are followed; None for others."""
    return "?" if d.code == "b1" else "i" if d.category == 1 and d.code != "u8" else "f" if d.category == 2 else None


def values(recorder, t):
    """Elements of a tensor as numbers that every call reads when they have been computed; None where they are not followed."""
    kind, o = kind_of(t._kind.dtype), recorder.observer
    if kind is None or o is None or t._n > MOST or recorder.inside:
        return None
    with modes.no_grad():
        kept = t.detach().to(dtypes.float64 if kind == "f" else dtypes.int64)
        kept = kept.clone() if kept._buf is t._buf else kept
    b = recorder.buffers[id(kept._buf)]
    b.role, b.array = KEPT, np.zeros(max(kept._n, 1), kind.replace("?", "i") + "8")
    numbers = o.symbolic()
    made = recorder.buffers[id(t._buf)]
    label = next((c.label or c.name for c in reversed(recorder.calls[:-1]) if made in c.writes), None)
    found = [numbers.read(guess(len(numbers.cells), kind, label, o.shift), b, i) for i in range(kept._n)]
    return [numbers.fixed(f"bool({s.name})", bool(s.plain), [s]) for s in found] if kind == "?" else found


def numbers_in(call):
    """The numbers among what a call is given that Python computes from values of tensors."""
    given = (*(getattr(call, "values", None) or ()), *(getattr(call, "shared", None) or ()), getattr(call, "alpha", 0),
             getattr(call, "beta", 0))
    return [v for v in given if isinstance(v, Symbol) and v.late]


def forget(numbers, outs, calls):
    """Drop what is read for numbers that nobody needs: neither results ``outs``, nor calls, nor decisions."""
    taken = [v for c in calls for v in numbers_in(c)]
    needed = set(numbers.deciding).union(*[s.roots for s in (*outs, *taken) if isinstance(s, Symbol)])
    for b in {*numbers.cells.values()} - {b for name, b in numbers.cells.items() if name in needed}:
        b.role, b.array = TEMPORARY, None


def divided(calls, numbers):
    """(fused calls, how many of them are the first part, buffers that Python looks at then) of a program."""
    names = set() if numbers is None else numbers.deciding.union(*[v.roots for c in calls for v in numbers_in(c)])
    cells = {b for name, b in numbers.cells.items() if name in names} if names else ()
    if not cells:
        return passes.optimize(calls), 0, ()
    first, second = front(calls, cells)
    for c in first:
        if numbers_in(c):
            where = "{}:{}".format(*c.line) if c.line else "a line of the step"
            raise Refusal(f"ng.compile: {c.label or c.name} at {where} computes with a number that was read from a tensor, "
                          "and another such number depends on its result; keep them tensors, or pass fallback=True")
    # What one part hands to the other is memory like any other that somebody reads.
    between = {b for c in first for b in c.writes if b.role == TEMPORARY} & {b for c in second for b in c.buffers()}
    for b in between:
        b.role = KEPT
    first, second = passes.optimize(first), passes.optimize(second)
    for b in between:
        b.role = TEMPORARY
    return [*first, *second], len(first), cells


def front(calls, cells):
    """(first, second): the calls in two parts, the first of which computes ``cells`` and what must come before that."""
    reads, writes, hosts, first = set(), set(), False, set()
    wanted = set(cells)
    for call in reversed(calls):
        mine, made = set(call.reads), set(call.writes)
        host = isinstance(call, Host)
        if made & wanted or made & reads or made & writes or mine & writes or host and hosts:
            first.add(id(call))
            reads |= mine
            writes |= made
            hosts |= host
    return [c for c in calls if id(c) in first], [c for c in calls if id(c) not in first]


class Undo:
    """What the first part of a program writes that others can see, and how it was before."""

    def __init__(self, calls, cells, number):
        written = {b for c in calls for b in c.writes if b.role in (STATE, INPUT, KEPT)} - set(cells)
        self.inputs = [(number[b], b.nbytes, np.empty(max(b.nbytes, 1), np.uint8)) for b in written if b.role == INPUT]
        self.fixed = [(b, b.nbytes, np.empty(max(b.nbytes, 1), np.uint8)) for b in written if b.role != INPUT]
        streams = [v for c in calls if isinstance(c, Host) for v in c.prepared[1] if isinstance(v, MT19937)]
        self.streams = list({id(s): s for s in streams}.values())
        self.states = []

    def __bool__(self):
        return bool(self.inputs or self.fixed or self.streams)

    def _pairs(self, program):
        for k, n, kept in self.inputs:
            yield program.base_values[k], storage.address(kept), n
        for b, n, kept in self.fixed:
            yield program.address(b), storage.address(kept), n

    def save(self, program):
        for address, kept, n in self._pairs(program):
            ctypes.memmove(kept, address, n)
        self.states = [(s.mt.copy(), s.kept.copy(), s.kept32) for s in self.streams]

    def restore(self, program):
        for address, kept, n in self._pairs(program):
            ctypes.memmove(address, kept, n)
        for stream, (words, kept, stream.kept32) in zip(self.streams, self.states):
            stream.mt[:], stream.kept[:] = words, kept
