"""Plans as programs of the native function that runs planned calls (``core/replay.py``).

What cannot be one (kernels of too many arguments, numbers of odd classes, long calls that release the GIL) stays the Python
function of addresses that every plan has.
"""

from __future__ import annotations

import functools
from collections import deque
from itertools import product

import numpy as np

from ..core.replay import EXACT, MOST, POSSIBLE, REAL, WHOLE, Given, Place, Program
from ..core.replay_text import SEVERAL
from ..core.storage import kind_of
from ..kernel import blas, native, objects, tape, threads, trampoline
from . import scratch
from .recorder import Address, Draw, Number, Real

RECORDED = 3  # tensors whose every combination of needs has a record
SHORT = 1024   # elements of arguments and results up to which LAPACK takes less time than another thread would wait for
HOW = {(float, "f"): EXACT, (int, "i"): WHOLE, (bool, "i"): WHOLE, (int, "f"): REAL, (bool, "f"): REAL}
NUMBERS = object()  # a context: the numbers of the call as a tuple


def written(recorder, tensors, outs, numbers=(), into=-1):
    """The program of what was written down, or None; ``into`` is the tensor that it writes if there are no ``outs``."""
    results = [(o._kind.np, o._kind, o._shape, o._n) for o in outs]
    places = {id(o._buf): Place(tensors + j) for j, o in enumerate(outs)}
    own = {i for i, fake in enumerate(recorder.buffers) if i >= tensors and id(fake) not in places}
    found, most = scratch.layout(recorder, own)
    places.update({id(recorder.buffers[i]): Place(tensors + len(outs), at) for i, at in found.items()})
    program = Program(tensors, results, most, recorder.most, into)
    checked = {v for entry, v in recorder.steps if entry is None}
    if not POSSIBLE or not program.fits() or len(checked) < len(recorder.flags) or not all(map(program.draw, recorder.streams)):
        return None
    short = sum([b.size for b in recorder.buffers[:tensors + len(outs)] if b is not None]) <= SHORT
    flags = [tape.Words(f.size, f.raises, deque(maxlen=0)) for f in recorder.flags]

    def word(v):
        if v.__class__ is Address:
            if v.index < 0:
                return flags[-1 - v.index].address
            place = Place(v.index) if v.index < tensors else places[id(recorder.buffers[v.index])]
            return Place(place.buffer, place.offset + v.offset)
        return v

    def number(v, letter):
        if not isinstance(v, Number):
            return float(v) if letter == "f" and v.__class__ is int else word(v)
        return Given(v.index, HOW[numbers[v.index].__class__, letter])
    try:
        for entry, values in recorder.steps:
            if entry.__class__ is Draw:
                entry = entry.entry
            if entry is None:
                program.check(flags[values])
            elif entry is threads.parallel_call:
                fn, words, n, grain = values
                table = [number(v, "f" if v.__class__ is Real else "i") for v in words]
                if n > grain and threads.get_num_threads() == 1:
                    return None
                divided = n > grain and (_divide().address, "iiiiii", [0, n, grain, threads.state_address(),
                                                                       threads.driver_address(), fn], table)
                if not program.call(*divided or (fn, "iii", [0, 0, n], table)):
                    return None
            else:
                address, letters = native.behind(entry, short) or blas.behind(entry)
                if not program.call(address, letters, [number(v, x) for v, x in zip(values, letters)]):
                    return None
                program.kept.append(entry)
    except (TypeError, KeyError, IndexError):
        return None
    program.kept += [*recorder.kept.values(), *flags]
    return program


@functools.cache
def _divide():
    """The drive of ``threads`` with a table as its first argument."""
    text = "def divide(table, n, grain, state, drive, fn):\n    invoke(drive, state, fn, table, n, grain)\n"
    return native.compile_source(text, "divide", "iiiiii", {"invoke": trampoline.invoke("iiiii")})


def open_programs(form, fast, compute, numbers):
    """Write down the programs of an elementwise form for tensors of one kind and any shape, if its fast path was opened: one
    for each list of classes of its numbers that the fast path takes, those of this call first."""
    kind, classes = kind_of(compute), tuple([x.__class__ for x in numbers])
    found = (fast.get({float: "f", int: "i"}.get(classes[0]), {}) if form.pattern == "ts" else fast).get(kind)
    if found is None or not POSSIBLE or len(form.tensors) > MOST:
        return
    others = [] if form.pattern == "ts" or len(classes) > 3 else product((float, int), repeat=len(classes))
    for some in dict.fromkeys((classes, *others)):
        _open_program(form, found, (kind, *some))


def _open_program(form, found, key):
    entry, storage, result_kind = found
    if any([line[0] == key for line in form.calls.opened]):
        return
    address, letters = native.behind(entry)
    program = Program(len(form.tensors), [(storage, result_kind)])
    try:
        numbers = [Given(i, HOW[c, x]) for i, (c, x) in enumerate(zip(key[1:], letters[len(form.tensors) + 1:-2]))]
    except KeyError:
        return
    places = [Place(i) for i in range(len(form.tensors) + 1)]
    if program.call(address, letters, [*places, *numbers, 0, Place(program.count)]):
        program.kept.append(entry)
        form.calls.open(program.line(key, form.records(NUMBERS if key[1:] else None)))


def key_of(tensors, others):
    """A call's key in ``Calls``."""
    parts = []
    for t in tensors:
        parts += (None, None, None) if t is None else (t._kind, t._shape, t._strides)
    return (*parts, *others)


def records(tensors, recorded, saved, ctx, outputs=(0,)):
    """What a program says of its node for each set of tensors that require grad: (class, context, what it saves).

    ``saved(mask)`` are numbers of tensors, -1 for None, ``output(i)`` for result i; ``ctx(mask)`` may be NUMBERS. ``outputs``
    says of each result what place it has at the node: 0 if it is the only one, 1 the first of several; -1 for none. None where
    there are too many sets."""
    if recorded is None:
        return ()
    if tensors > RECORDED:
        return None
    return (None, *[record([(recorded, ctx(mask), [i if mask >> i & 1 else -1 for i in range(tensors)], saved(mask))], outputs)
                    for mask in range(1, 1 << tensors)])


def record(nodes, outputs):
    """One of ``records``: nodes, the earlier ones first, as (class, context, edges, what is saved).

    Edges are numbers of tensors, -1 for none, ``earlier(...)``; ``outputs`` are ``at(...)``, or -1 for results of no node."""
    words = [len(nodes)]
    for _, context, edges, saved in nodes:
        words += [numbers_in(context), len(saved), len(edges), *edges, *saved]
    parts = [x for cls, context, _, _ in nodes for x in (cls, None if context is NUMBERS else context)]
    return np.array([*words, *outputs], np.int64), *parts


def numbers_in(context):
    """Where in a node's context the numbers of the call are."""
    if getattr(context, "scalars", None) is NUMBERS:
        return objects.slot(type(context), "scalars") // 8
    return int(context is NUMBERS)


def at(node, number):
    """A place at a node: 0 where it has one result, or the number of one of several, from 1."""
    return SEVERAL * node + number


def earlier(node, number):
    """An edge to a place at a node."""
    return -2 - at(node, number)


def inner(i):
    """What is saved: result ``i`` as a tensor."""
    return MOST + i


def output(i, number=None):
    """What is saved: the memory of result ``i``, output ``number`` of the node."""
    return -2 - (SEVERAL * i + (i if number is None else number))


def lines(names, when="", function="replay_", written=""):
    """Lines that return what the native function makes of a planned call, ``when`` that holds; it is a tensor that was there
    if ``written`` is true.

    An error of memory, or of a number too large, the lines that follow name in full."""
    run = [f"out_ = {function}(record_, {', '.join(names)})", "if out_ is not None:",
           *([f"    if {written}:", "        bump_version_(out_)"] if written else []), "    return out_"]
    errors = "MemoryError_, OverflowError_"
    if when:  # complex numbers have no order
        run, errors = [f"if {when}:", *["    " + line for line in run]], errors + ", TypeError_"
    return ["try:", *["    " + line for line in run], f"except ({errors}):", "    pass"] if POSSIBLE else []
