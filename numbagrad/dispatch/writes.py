"""Plans of elementwise calls that write where they are told: in-place forms, and calls with ``out=``.

Which loop runs, over which strides, is found once for the geometry of the tensors and the classes of the numbers, and taken
from a table then, whether a call is recorded or not. (Calls whose results are new have ``plan``.) Where nothing is recorded and
no operand lies in the memory that is written, it is a program of the native function, too.
"""

from __future__ import annotations

from ..base.modes import STATE, recording
from ..base.sparse import SparseArgument
from ..core.launch import overwritten, prepare, raw_scalars
from ..core.replay import WHOLE, Given, Program
from ..core.tensor import Tensor, bump_version
from ..kernel import native
from ..kernel.guard import guarded
from ..kernel.tape import TAPE, Refusal
from ..kernel.threads import LIMIT
from . import replays
from .recorder import Number, Recorder
from .recorder import recording as recording_launches

MOST = 1024  # plans of an op, after which all are forgotten


def key_of(out, values):
    """(what tells the call apart, its tensors, its numbers, whether it is recorded), or None where it has no plan."""
    if TAPE or out._ver.__class__ is not list:
        return None
    records, history = True if not STATE else recording(), False
    if records is None:
        return None
    if records:
        if out._view is not None and (out._rg or out._view.base._rg) or out._rg and out._node is None:
            return None
        history = out._rg
    key, tensors, numbers = [out._kind, out._shape, out._strides], [], []
    for v in values:
        if v is out:
            key.append(True)
            tensors.append(v)
        elif v.__class__ is float or v.__class__ is int or not isinstance(v, Tensor):
            key.append(v.__class__)
            numbers.append(v)
        elif v._ver.__class__ is not list or v._buf is out._buf and v._ptr != out._ptr or records and (
                v._view is not None and (v._rg or v._view.base._rg)):
            return None
        else:
            key += v._kind, v._shape, v._strides, v._buf is out._buf
            tensors.append(v)
            history = history or records and v._rg
    if history and out._view is not None:  # which may be one that must not be written
        return None
    return tuple(key), tensors, numbers, history


def repeat(op, out, values, fitted, record=None):
    """Do a call on these arguments, which are in the op's order, as the one before; whether there was one.

    ``record`` makes the node of a recorded call, and when it is done, makes it history."""
    try:
        call = key_of(out, values)
    except SparseArgument:
        return False
    found = None if call is None or call[3] and record is None else op.writes.get(call[0])
    if found is None or out._n >= LIMIT[0]:
        return False
    (entry, before, after, _, _), form, compute = found
    _, tensors, words, history = call
    numbers = words
    if numbers:
        if op.check is not None:
            op.check(values, compute)
        numbers = fitted(form, numbers, compute)
        words = raw_scalars(compute, numbers)
    if history and form.differentiable:
        node = record[0](form, out, tensors, numbers, out._shape, tensors)
        entry(*before, *[t._ptr for t in tensors], out._ptr, *words, *after)
        bump_version(out)
        record[1](form, node, out)
        return True
    entry(*before, *[t._ptr for t in tensors], out._ptr, *words, *after)
    bump_version(out)
    return True


def remember(form, out, values, compute, shape):
    """Note how a call was done, if it converted and copied none of its tensors."""
    op, tensors = form.op, [v for v in values if isinstance(v, Tensor)]
    if not out._kind.cpu or compute.is_complex or any([t._kind.dtype is not compute for t in tensors]):
        return
    if len(tensors) != len(form.tensors):  # one was given as a number
        return
    call = key_of(out, values)
    if call is None or not {n.__class__ for n in call[2]} <= {int, float}:
        return
    if compute.category < 2 and (call[2] or op.check is not None):  # values may be refused, or not be what kernels take
        return
    if any([t._buf is out._buf and t is not out and not overwritten((t,), out) for t in tensors]):
        return
    key, tensors, numbers, _ = call
    divided = out._n >= LIMIT[0]  # between threads, which only programs are
    key = (LIMIT[0], *key) if divided else key
    if key in op.writes:
        return
    found = None if divided else prepare(form.forward, compute, tensors, (out,), shape)
    if divided or found is not None:
        if len(op.writes) >= MOST:
            op.writes.clear()
        op.writes[key] = None if divided else (found, form, compute)
        if tensors[0] is out:
            write_down(form.changes, form.forward, compute, tensors, len(tensors), 0, numbers)
        else:
            write_down(form.fills, form.forward, compute, [*tensors, out], len(tensors), len(tensors), numbers)


@guarded
def write_down(calls, kernel, compute, tensors, count, into, numbers=()):
    """Let the native function do such calls: a pointwise kernel on the first ``count`` of these tensors, into one of them, in
    whose memory no other one lies."""
    out, recorder = tensors[into], Recorder()
    if not replays.POSSIBLE or any([t._buf is out._buf for i, t in enumerate(tensors) if i != into]):
        return
    try:
        with recording_launches(recorder):
            shadows = [recorder.shadow(t) for t in tensors]
            recorder.pointwise(kernel, compute, shadows[:count], [Number(i) for i in range(len(numbers))], (shadows[into],),
                               out._shape)
    except Refusal:
        return
    program = replays.written(recorder, len(tensors), [], numbers, into)
    if program is not None and recorder.steps:
        calls.add(program.line(replays.key_of(tensors, [x.__class__ for x in numbers]), ()))


def write_place(calls, entry, arguments, tensors, into, work, number):
    """The same of a kernel of ``arguments`` and a whole number of the call; ``work`` is in elements."""
    known, program = native.behind(entry), Program(len(tensors), [], 0, work, into)
    if replays.POSSIBLE and known is not None and program.call(*known, [*arguments, Given(0, WHOLE)]):
        program.kept.append(entry)
        calls.add(program.line(replays.key_of(tensors, [number.__class__]), ()))
