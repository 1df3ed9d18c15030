"""What a capture wrote down, in a form in which two captures of one step are equal: the second call of a compiled function is
captured again and compared, so that a value which changes by itself is found whatever its source."""

from __future__ import annotations

import numpy as np

from .ir import Fold, Gemm, Host, KernelCall, Operand, Optim, Pointwise, Ptr
from .symbols import Symbol, key

MOST = 1 << 20  # bytes of a constant that are compared


class _Memory:
    """Numbers for buffers in the order in which they are met; memory of the user's tensors is told by its address, constants
    and tables by what is in them."""

    def __init__(self, recorder, tensors):
        self.met = {}
        self.made = {*recorder.constants, *[id(a) for a in recorder.scratch.values()]}
        self.known = {id(t._buf) for t in tensors}

    def of(self, b):
        found = self.met.get(id(b))
        if found is None:
            found = self.met[id(b)] = (len(self.met), b.nbytes, b.base if id(b.obj) in self.known else None)
            if id(b.obj) in self.made and isinstance(b.obj, np.ndarray) and b.nbytes <= MOST:
                return (*found, b.obj.tobytes())
        return found

    def word(self, v):
        if v.__class__ is Ptr:
            return self.of(v.buffer), v.offset
        if v.__class__ is Operand:
            return self.of(v.buffer), v.offset, v.shape, v.strides, getattr(v.dtype, "code", v.dtype)
        # What is no number that a step would write is the address of a flag.
        return key(v) if isinstance(v, (float, complex, Symbol)) or isinstance(v, int) and v < 1 << 32 else None


class _Expressions:
    """Expressions, of which equal ones are one object; ``==`` between them makes another."""

    __slots__ = ("all",)

    def __init__(self, expressions):
        self.all = expressions

    def __eq__(self, other):
        return list(map(id, self.all)) == list(map(id, other.all))

    __hash__ = None


def signature(recorder, tensors):
    """[(description, label, line)] of the calls of a capture; ``tensors``: those that it reached by name."""
    memory, found = _Memory(recorder, tensors), []
    for call in recorder.calls:
        word = memory.word
        if isinstance(call, Pointwise):
            what = (_Expressions(call.expressions), call.compute.code, call.shape,
                    *map(word, (*call.ins, *call.outs, *call.values)))
        elif isinstance(call, Fold):
            what = (call.name, call.key, *map(word, (call.x, call.out, *call.numbers)))
        elif isinstance(call, Gemm):
            what = (call.code, call.sizes, call.lds, call.flags, call.batch, call.strides,
                    *map(word, (call.a, call.b, call.c, call.alpha, call.beta)))
        elif isinstance(call, KernelCall):
            what = (call.name, call.dtype, call.items, *map(word, call.values))
        elif isinstance(call, Optim):
            what = (call.name, call.dtype, *map(word, call.rows))  # settings are read anew in every call
        elif isinstance(call, Host):
            what = (call.name, *map(memory.of, call.reads))
        else:
            what = tuple(map(word, call.words))
        found.append(((type(call).__name__, *what), call.label or call.name, call.line))
    return found


def difference(one, other):
    """The (label, line) where two signatures part, or None."""
    for (a, label, line), (b, _, _) in zip(one, other):
        if a != b:
            return label, line
    if len(one) != len(other):
        longer = one if len(one) > len(other) else other
        return longer[min(len(one), len(other))][1:]
    return None
