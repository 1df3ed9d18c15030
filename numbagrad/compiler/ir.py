"""What a captured step consists of: memory and calls of kernels.

A ``Buffer`` is a piece of memory, an ``Operand`` a tensor's view of one. Every call says which buffers it reads and
which it writes; that is all that the passes in ``passes`` and ``memory`` need to know of it.
"""

from __future__ import annotations

import functools
import itertools

from ..kernel.tape import BASE, Fake

TEMPORARY, STATE, INPUT, OUTPUT, KEPT = "temporary", "state", "input", "output", "kept"


class Buffer:
    """Memory of the captured run. ``role`` says who owns it in a replay:

    temporary: a slot of the arena; state: memory that existed before (parameters, constants), at a fixed address; input:
    an argument's, known at each call; output: new in each call; kept: made once for the variant (gradients, memory of
    host functions)."""

    __slots__ = ("index", "obj", "base", "nbytes", "fake", "role", "array", "home")

    def __init__(self, index, obj, base, nbytes, fake):
        self.index, self.obj, self.base, self.nbytes, self.fake = index, obj, base, nbytes, fake
        self.role = TEMPORARY if fake else STATE
        self.array = None
        self.home = self  # whose slot of the arena a temporary has

    def __repr__(self):
        return f"%{self.index}"


_number = functools.partial(next, itertools.count(-1, -1))


def new_buffer(n, dtype):
    """A temporary of ``n`` elements that the capture did not see."""
    return Buffer(_number(), Fake(0, n, dtype.np), 0, n * dtype.itemsize, True)


class Whole(int):
    """An integer that is none of the addresses of a capture, though it is as large."""

    __slots__ = ()


def whole(value):
    return Whole(value) if value.__class__ is int and not -BASE < value < BASE else value


class Ptr:
    """An address inside a buffer."""

    __slots__ = ("buffer", "offset")

    def __init__(self, buffer, offset):
        self.buffer, self.offset = buffer, offset

    def __repr__(self):
        return f"{self.buffer}+{self.offset}" if self.offset else repr(self.buffer)


class Operand:
    """A tensor as a loop sees it: byte offset into a buffer, and strides in elements for the loop's shape."""

    __slots__ = ("buffer", "offset", "shape", "strides", "dtype")

    def __init__(self, buffer, offset, shape, strides, dtype):
        self.buffer, self.offset, self.shape, self.strides, self.dtype = buffer, offset, shape, strides, dtype

    @property
    def key(self):
        """Equal for operands that address the same elements in the same order."""
        return (self.buffer.index, self.offset, tuple([k if s != 1 else 0 for s, k in zip(self.shape, self.strides)]),
                self.dtype)

    def __repr__(self):
        return f"{self.buffer}{list(self.shape)}"


class Call:
    """One kernel launch; ``reads`` and ``writes`` are lists of buffers."""

    reads = writes = ()
    label = line = None
    checks = ()

    def buffers(self):
        return {*self.reads, *self.writes}


class Pointwise(Call):
    """A loop over elements; ``expressions`` (one per output) are in the names ``inputs`` and ``scalars``."""

    def __init__(self, kernel, compute, ins, scalars, outs, shape):
        self.name, self.compute, self.shape = kernel.name, compute, shape
        self.ins, self.outs, self.values = ins, outs, scalars
        self.inputs, self.scalars, self.expressions = kernel.inputs, kernel.scalars, kernel.expressions((compute.code,))

    @property
    def reads(self):
        return [o.buffer for o in self.ins]

    @property
    def writes(self):
        return [o.buffer for o in self.outs]


class Fold(Call):
    """One stage of a reduction: ``words`` are (x, out, count, inner, total, n), as ``dispatch.fold`` builds its loops."""

    def __init__(self, op, key, x, out, numbers, items):
        self.op, self.key, self.x, self.out, self.numbers, self.items = op, key, x, out, numbers, items
        self.name = op.name
        self.reads, self.writes = [x.buffer], [out.buffer]


class KernelCall(Call):
    """A hand-written kernel; ``items`` is the length of its loop where it has the form (..., start, stop)."""

    def __init__(self, kernel, dtype, values, kinds, reads, writes, items, work, checks):
        self.kernel, self.dtype, self.values, self.kinds = kernel, dtype, values, kinds
        self.reads, self.writes, self.items, self.work, self.checks = reads, writes, items, work, checks
        self.name = kernel.name


class Gemm(Call):
    """C = alpha op(A) op(B) + beta C, for a batch."""

    name = "gemm"

    def __init__(self, code, a, b, c, sizes, lds, flags, alpha, beta, batch, strides):
        self.code, self.a, self.b, self.c, self.sizes, self.lds, self.flags = code, a, b, c, sizes, lds, flags
        self.alpha, self.beta, self.batch, self.strides = alpha, beta, batch, strides
        self.reads = [a.buffer, b.buffer] + ([c.buffer] if beta else [])
        self.writes = [c.buffer]


class Raw(Call):
    """A native loop ``fn(table, start, stop)`` that may read and write all of its buffers: an address, or what makes one."""

    name = "loop"

    def __init__(self, fn, words, buffers, items, grain):
        self.fn, self.words, self.items, self.grain = fn, words, items, grain
        self.reads = self.writes = buffers


class Optim(Call):
    """An optimizer's table kernel over the parameters of a group; ``shared`` are its settings at capture."""

    def __init__(self, kernel, dtype, rows, shared, reads, writes, optimizer, run, layout, changed):
        self.kernel, self.dtype, self.rows, self.shared, self.optimizer = kernel, dtype, rows, shared, optimizer
        self.reads, self.writes, self.name, self.run = reads, writes, kernel.name, run
        self.layout, self.changed = layout, changed  # null addresses by kind, and the parameters


class Host(Call):
    """A Python function that runs between two native parts; its memory has fixed addresses."""

    def __init__(self, name, fn, values, buffers, kwargs=None):
        self.name, self.fn, self.values, self.kwargs = name, fn, values, kwargs or {}
        self.reads = self.writes = buffers


def rename(call, alias):
    """Let a call use other buffers: {buffer: the one in its place}."""
    if isinstance(call, Pointwise):
        for o in (*call.ins, *call.outs):
            o.buffer = alias.get(o.buffer, o.buffer)
        return
    for name in ("reads", "writes"):
        setattr(call, name, [alias.get(b, b) for b in getattr(call, name)])
    for name in ("a", "b", "c", "x", "out"):
        p = getattr(call, name, None)
        if p is not None and p.buffer in alias:
            p.buffer = alias[p.buffer]
    for name in ("values", "words", "rows"):
        for p in getattr(call, name, None) or ():
            b = getattr(p, "buffer", None)
            if b is not None and b in alias:
                p.buffer = alias[b]
