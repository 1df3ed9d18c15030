"""Running a pointwise kernel over tensors of any layout, on one thread or several, on the CPU or a GPU."""

from __future__ import annotations

from ..base import arguments
from ..base import dtypes as dt
from ..base.shapes import expanded_strides
from ..kernel import emit, jit, native, threads
from ..kernel.tape import TAPE, active
from ..kernel.threads import LIMIT
from .storage import backend


def raw_scalars(compute, scalars):
    if compute.is_complex:
        flat = []
        for s in scalars:
            s = complex(real(s) if s.__class__ is int else s)
            flat += [s.real, s.imag]
        return flat
    if compute.category > 1:
        return [s if s.__class__ is float else real(s) for s in scalars]
    return [s if s.__class__ is int and -127 <= s <= 127 else bits(int(s)) for s in scalars]


def real(value):
    """A number as a float; integers of more than 64 bits are refused, as beside tensors of integers."""
    if value.__class__ is int:
        dt.check_long(value)
    return float(value)


def bits(value):
    """The int64 of the same bits as an integer of up to 64 bits, signed or not."""
    dt.check_long(value)
    return value if value <= arguments.MOST else value - (1 << 64)


_plans: dict = {}  # (shape, geometry of each operand) -> strided plan: finding the strides takes longer than a small loop


def geometry(shape, tensors):
    """The plan of a walk over tensors of any strides that broadcast to ``shape``."""
    key = (shape, *[(t._shape, t._strides) for t in tensors])
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= 8192:
            _plans.clear()
        found = _plans[key] = emit.plan(shape, tuple([expanded_strides(t, shape) for t in tensors]), False)
    return found


def overwritten(ins, out):
    """The number, from 1, of the first of ``ins`` that ``out`` takes the place of, or 0."""
    for i, t in enumerate(ins, 1):
        if t._ptr == out._ptr and t._kind.dtype is out._kind.dtype and t._shape == out._shape and t._strides == out._strides:
            return i
    return 0


def launch(pointwise, compute, ins, scalars, outs, shape):
    """Run a pointwise kernel: contiguous or strided, on one thread or several, on the CPU or a GPU."""
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.pointwise(pointwise, compute, ins, scalars, outs, shape)
    if not outs[0]._kind.cpu:
        return backend(outs[0]._kind.device).launch_pointwise(pointwise, compute, ins, scalars, outs, shape)
    in_codes = tuple([t._kind.dtype.code for t in ins])
    out_codes = tuple([t._kind.dtype.code for t in outs])
    tensors = (*ins, *outs)
    pointers = [t._ptr for t in tensors]
    values = raw_scalars(compute, scalars)
    n = 1
    for s in shape:
        n *= s
    if n == 0:
        return None
    if all([t._strides is None and t._shape == shape for t in tensors]):
        entry = pointwise.native(compute.compute, in_codes, out_codes, overwritten(ins, outs[0])).entry
        return entry(*pointers, *values, 0, n) if n < LIMIT[0] else share(entry, (*pointers, *values), n)
    _, address, rows, constant = geometry(shape, tensors)
    entry, walk, called, operands, constant = pointwise.walked(compute.compute, in_codes, out_codes, constant,
                                                                     overwritten(ins, outs[0]))
    words = (*called, address, operands, constant, *pointers, *values)
    if n >= LIMIT[0] and rows > 1:
        return threads.parallel_call(walk, words, rows, max(1, LIMIT[0] * rows // (2 * n)))
    return entry(walk, *words, 0, rows)


_shared: dict = {}  # entry -> (function that takes its table, address, places of its floating-point numbers)


def share(entry, words, n):
    """``entry(*words, 0, n)`` of a pointwise kernel, its elements divided between the threads."""
    function, address, floats = _shared.get(entry) or _share(entry)
    words = [address, *words]
    for i in floats:
        words[i] = float(words[i])
    threads.parallel_call(function, words, n, LIMIT[0] // 2)


def _share(entry):
    address, letters = native.behind(entry)
    found = _shared[entry] = jit.through(letters[:-2]), address, [i + 1 for i, kind in enumerate(letters) if kind == "f"]
    return found


def prepare(pointwise, compute, ins, outs, shape):
    """What ``launch`` runs on one thread: (entry, words before the addresses, words after the numbers, elements, what holds the
    memory that the words are addresses of), or None."""
    in_codes = tuple([t._kind.dtype.code for t in ins])
    out_codes = tuple([t._kind.dtype.code for t in outs])
    tensors = (*ins, *outs)
    n = 1
    for s in shape:
        n *= s
    if n == 0:
        return None
    if all([t._strides is None and t._shape == shape for t in tensors]):
        return pointwise.native(compute.compute, in_codes, out_codes, overwritten(ins, outs[0])).entry, (), (0, n), n, None
    held, address, rows, constant = geometry(shape, tensors)
    entry, walk, called, operands, constant = pointwise.walked(compute.compute, in_codes, out_codes, constant,
                                                                     overwritten(ins, outs[0]))
    return entry, (walk, *called, address, operands, constant), (0, rows), n, held
