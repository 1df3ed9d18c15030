"""One call of a capture as a native call: a function, and the words that it is given."""

from __future__ import annotations

from functools import partial

from ..core.tensor import numel
from ..dispatch import fold
from ..kernel import jit, threads
from . import emit, emit_fold, inplace, passes
from .ir import Fold, Gemm, KernelCall, Operand, Optim, Ptr, Raw
from .symbols import float_of

# Nanoseconds that an element read or written and a multiply-add take at best.
ELEMENT, MULTIPLY_ADD = 0.04, 0.02


class Callee:
    """As the first word of a table: the address of a kernel that is not made yet. ``native()`` makes it."""

    __slots__ = ("native",)

    def __init__(self, native):
        self.native = native


class Item:
    """A native call: ``make()`` returns the function's address; words are ints, floats, ``Ptr``, ``Operand`` and ``Callee``."""

    __slots__ = ("call", "make", "words", "items", "grain", "source", "rows", "live")

    def __init__(self, call, make, words, items, grain=0, source=None, rows=None, live=None):
        self.call, self.make, self.words, self.items, self.grain = call, make, words, items, grain
        self.source, self.rows, self.live = source, rows, live

    def cost(self):
        """Roughly, compile time: the length of the text."""
        if self.source is not None:
            return len(self.source)
        if isinstance(self.call, (KernelCall, Optim)):
            return 2 * len(self.call.kernel.fn.__code__.co_code)
        return 20_000 if isinstance(self.call, Raw) else 2000

    def work(self):
        """Nanoseconds of its memory and products, at best."""
        flops = numel(self.call.sizes) * self.call.batch if isinstance(self.call, Gemm) else 0
        return sum([b.nbytes // 4 for b in self.buffers()]) * ELEMENT + flops * MULTIPLY_ADD

    def buffers(self):
        """Buffers whose memory the call is given."""
        return {w.buffer for w in (self.words if self.rows is None else self.rows) if w.__class__ in (Ptr, Operand)}

    def identity(self):
        """Equal for items with the same native function."""
        call = self.call
        if self.source is not None:
            return self.source
        if isinstance(call, (KernelCall, Optim)):
            return id(call.kernel), call.dtype, call.items is None if isinstance(call, KernelCall) else None
        if isinstance(call, Fold):
            return id(call.op), call.key
        return (Gemm, call.code) if isinstance(call, Gemm) else call.fn


def through(call, native, letters, words, items, grain, ranged=True):
    """The item of a kernel that takes its arguments one by one (see ``jit.through``); ``native()`` makes it."""
    def make():
        native()
        return jit.through(letters, ranged)
    return Item(call, make, [Callee(native), *words], items, grain)


def lower(call, needed, begins, ends):
    """The native form of one call. Of a buffer, ``needed``: a later call reads it; ``begins``, ``ends``: no call touches it
    before, after this one."""
    limit = 2 * threads.SERIAL_BELOW["elementwise"]

    def grain(items, work):
        return max(1, items * (limit // 2) // work) if items > 1 and work >= limit else 0

    if isinstance(call, passes.Group):
        ins, outs, inputs, scalars, values, expressions = call.fused(needed)
        inplace.share(ins, outs, begins, ends)
        name = call.calls[0].name.removeprefix("loop_") if len(call.calls) == 1 else "chain"
        if call.folds:
            folds = [(out, e, *rest) for (out, _, *rest), e in zip(call.folds, expressions[len(outs):])]
            name = (name if name != "chain" else "") + "_".join(["", *[f[2].name for f in folds]])
            loop = emit_fold.FoldLoop(name.lstrip("_"), call.compute, ins, outs, scalars, values, expressions[:len(outs)],
                                      inputs, call.shape, *call.form, folds)
        else:
            loop = emit.Loop(name, call.compute, ins, outs, scalars, values, expressions, inputs, call.shape)
        fast = jit.loop_flags(call.compute)
        text, key, env = loop.text()
        call.loop = loop
        return Item(call, lambda: emit.compiled(text, key, env, loop.name, fast).address, loop.words(lambda o: o), loop.items,
                    grain(loop.items, loop.elements), text)
    if isinstance(call, Fold):
        x, out = call.x, call.out
        n = call.numbers[-1]
        return through(call, partial(call.op.native, *call.key), fold.LETTERS, [x, out, *call.numbers], call.items,
                       grain(call.items, n))
    if isinstance(call, KernelCall):
        values, items, names = call.values, call.items, [p for p, _ in call.kernel.parameters({})]
        ranged = names[-2:] == ["start", "stop"]
        if items is None and ranged and values[-2] == 0:
            values, items, ranged, g = values[:-2], values[-1], True, 0
        elif items is None:
            items, ranged, g = 1, False, 0
        else:
            g = grain(items, call.work)
        words = [float_of(v) if k == "f" else v for v, k in zip(values, call.kinds)]
        return through(call, partial(call.kernel.native, call.dtype), call.kernel.letters(ranged), words, items, g, ranged)
    if isinstance(call, Gemm):
        from ..kernel import blas
        rows, columns, units, g = blas.pieces(*call.sizes, call.batch)
        words = [call.a, call.b, call.c, *call.sizes, *call.lds, *call.flags, *call.strides, rows, columns,
                 float_of(call.alpha), float_of(call.beta)]
        return Item(call, lambda: blas._piece_address(call.code), words, units, g)
    if isinstance(call, Optim):
        return Item(call, lambda: call.kernel.rows_form(call.dtype).address, [], 0, rows=call.rows,
                    live=call.shared)
    if isinstance(call, Raw):
        return Item(call, call.fn if callable(call.fn) else lambda: call.fn, call.words, call.items, call.grain)
    raise TypeError(f"no native form for {type(call).__name__}")
