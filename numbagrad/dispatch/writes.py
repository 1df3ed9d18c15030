"""Plans of elementwise calls that write where they are told: in-place forms, and calls with ``out=``.

Which loop runs, over which strides, is found once for the geometry of the tensors and the classes of the numbers, and taken
from a table then, whether a call is recorded or not. (Calls whose results are new have ``plan``.) Where nothing is recorded and
no operand lies in the memory that is written, it is a program of the native function, too.
"""

from __future__ import annotations

from ..base.modes import STATE, recording
from ..base.sparse import SparseArgument
from ..core.launch import overwritten, prepare, raw_scalars
from ..core.replay import Given, Place, Program
from ..core.tensor import Tensor, bump_version
from ..kernel import native
from ..kernel.tape import TAPE
from ..kernel.threads import LIMIT
from . import replays

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
    if not out._kind.cpu or compute.is_complex or out._n >= LIMIT[0] or any([t._kind.dtype is not compute for t in tensors]):
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
    found = prepare(form.forward, compute, tensors, (out,), shape)
    if found is not None:
        if len(op.writes) >= MOST:
            op.writes.clear()
        op.writes[call[0]] = found, form, compute
        tensors = call[1]
        add_program(form.changes if tensors[0] is out else form.fills, found, out, tensors, call[2])


def add_program(calls, found, out, tensors, numbers=()):
    """Let the native function do such calls, if no operand lies in the memory of ``out`` but that itself, first of an in-place
    call; ``found`` is what ``launch.prepare`` says of them."""
    inplace = tensors[0] is out
    if any([t._buf is out._buf for t in tensors[inplace:]]):
        return
    entry, before, after, n, held = found
    count = len(tensors)
    places = [*map(Place, range(count)), Place(0 if inplace else count)]
    whole = tensors if inplace else [*tensors, out]
    add(calls, entry, [*before, *places], after, whole, 0 if inplace else count, n, numbers, held)


def add(calls, entry, arguments, after, tensors, into, work, numbers, held=None):
    """Let the native function write tensor ``into`` of calls like this one by a kernel, of ``arguments``, the numbers of the
    call, and what comes ``after`` them; ``work`` is in elements."""
    known, program = native.behind(entry), Program(len(tensors), [], 0, work, into)
    if known is None or not program.fits() or not replays.POSSIBLE:
        return
    address, letters = known
    try:
        given = [Given(i, replays.HOW[x.__class__, letter]) for i, (x, letter) in enumerate(zip(
            numbers, letters[len(arguments):]))]
    except KeyError:
        return
    if program.call(address, letters, [*arguments, *given, *after]):
        program.kept += [entry, held]
        calls.add(program.line(replays.key_of(tensors, [x.__class__ for x in numbers]), ()))
