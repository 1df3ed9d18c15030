"""Loops in place: undone for the passes, which look at values, and done again wherever memory allows, when all is fused."""

from __future__ import annotations

from ..core.tensor import contiguous_strides, numel
from .ir import TEMPORARY, Host, Pointwise, new_buffer, rename


def versions(calls):
    """Give every elementwise update of a whole temporary memory of its own: gradients that are added up become values
    like any other, which loops can hand on in registers or compute again."""
    kept = {b for c in calls if isinstance(c, Host) for b in c.buffers()}
    latest, first, written = {}, {}, set()
    for call in calls:
        if latest:
            rename(call, latest)
        o = call.outs[0] if isinstance(call, Pointwise) and len(call.outs) == 1 else None
        if o is not None and o.buffer.role == TEMPORARY and o.buffer in written and o.buffer not in kept and _is_all(o):
            old = o.buffer
            mine = [x.key == o.key for x in call.ins if x.buffer is old]
            if mine and all(mine):
                o.buffer = new_buffer(numel(o.shape), o.dtype)
                origin = first[o.buffer] = first.get(old, old)
                latest[origin] = o.buffer
        written.update(call.writes)
    return calls


def share(ins, outs, begins, ends):
    """Let results of a loop that ``begins`` here take the place of operands whose memory ``ends`` here."""
    taken = {o.buffer for o in outs}
    places = [x.buffer for x in ins]
    for o in outs:
        if o.buffer.role == TEMPORARY and begins(o.buffer) and _is_all(o):
            for x in ins:
                b = x.buffer
                if (b.role == TEMPORARY and b not in taken and ends(b) and b.nbytes == o.buffer.nbytes
                        and x.key[1:] == o.key[1:] and places.count(b) == 1):
                    o.buffer.home = b.home
                    taken.add(b)
                    break


def _is_all(o):
    """Whether an operand is the whole of its memory, in order."""
    return o.offset == 0 and numel(o.shape) * o.dtype.itemsize == o.buffer.nbytes and o.strides == contiguous_strides(o.shape)
