"""Pieces of kernels that are printed as LLVM vectors, with numbers and complex numbers to write them with.

A kernel calls a piece as it calls any inline function. What is a vector in a piece lies in memory elsewhere: kernels know
places alone, so that their loops stay Numba's."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys

from .define import define
from .jit import Inline
from .register_tile import Vectors, machine

SIZES = {"f4": 4, "f8": 8}


class Piece(Inline):
    """A function of kernels that LLVM's vectors are printed for; ``spec`` has a letter for each argument: "r" a pointer that is
    read, "w" one that is written, "b" both, "t" a pointer to int64, "i" an integer, "f" a number of the dtype."""

    def __init__(self, make, spec):
        self.make, self.spec, self.made = make, spec, {}
        self.effects = spec.replace("t", "r")

    def specialise(self, letters):
        code = letters["T"]
        if code not in self.made:
            self.made[code] = _intrinsic(self.make, self.spec, code)
        return self.made[code]

    def key(self, letters):
        return f"{text_of(self.make.__module__)} {machine(SIZES[letters['T']])}"


class Lanes(Inline):
    """``lanes_of()``: the elements of a vector, which is the number of lines of a bundle."""

    effects = ""

    def __init__(self):
        self.make = lanes_of

    def specialise(self, letters):
        from . import inlined
        count = lanes_of(letters["T"])
        return inlined.njit(())(define(f"def f():\n    return {count}\n", "f", {}))

    def key(self, letters):
        return f"lanes {lanes_of(letters['T'])}"


def lanes_of(code):
    """The lines of a bundle for a dtype code."""
    return machine(SIZES[code])[0]


@functools.cache
def text_of(*modules):
    """What the code of pieces in modules depends on."""
    sources = [inspect.getsource(sys.modules[name]) for name in (*modules, __name__, Vectors.__module__)]
    return hashlib.sha256("".join(sources).encode()).hexdigest()


def _intrinsic(make, spec, code):
    from numba import types
    from numba.extending import intrinsic
    kinds = {"i": types.int64, "f": types.float32 if code == "f4" else types.float64}

    def typed(given):
        def codegen(context, builder, signature, args):
            make(Pen(code, builder), *args)
            return context.get_dummy_value()
        return types.void(*[kinds.get(letter, t) for letter, t in zip(spec, given)]), codegen
    names = ", ".join([f"a{i}" for i in range(len(spec))])
    return intrinsic(define(f"def piece(context, {names}):\n    return typed(({names},))\n", "piece", {"typed": typed}))


# --- arithmetic of vectors --------------------------------------------------------------------------------------------

class Pen(Vectors):
    """Where the instructions of one piece are written."""

    def __init__(self, code, builder):
        super().__init__(code)
        self.builder = builder

    def n(self, value):
        return self.word(value)

    def plus(self, *terms):
        total = terms[0]
        for t in terms[1:]:
            total = self.builder.add(total, t)
        return total

    def times(self, a, b):
        return self.builder.mul(a, self.word(b) if b.__class__ is int else b)

    def row(self, pointer, at, inside=None):
        """The vector at an element of a pointer."""
        return Number(self, self.load(self.builder, self.at(self.builder, pointer, at), inside))

    def put(self, pointer, at, value, inside=None):
        self.store(self.builder, value.value, self.at(self.builder, pointer, at), inside)

    def fetch(self, pointer, at):
        """Have the cache line of an element brought into the first-level cache."""
        b, word = self.builder, self.ir.IntType(32)
        place = b.bitcast(b.gep(pointer, [at]), self.ir.IntType(8).as_pointer())
        call = self.declared(b, "prefetch.p0", self.ir.VoidType(), place.type, word, word, word)
        b.call(call, [place, word(0), word(3), word(1)])

    def number(self, pointer, at):
        """A vector of one number in memory."""
        return Number(self, self.spread(self.builder, self.builder.load(self.builder.gep(pointer, [at])), self.vector))

    def every(self, value):
        """A vector of one number."""
        return Number(self, self.spread(self.builder, value, self.vector))

    def constant(self, value):
        return Number(self, self.ir.Constant(self.vector, [value] * self.lanes))

    def point(self, work, at, swap):
        """The complex numbers of a point; the parts change places where ``swap`` is the length of a vector."""
        other = self.builder.sub(self.plus(at, self.n(self.lanes)), swap)
        return Complex(self.row(work, self.plus(at, swap)), self.row(work, other))

    def put_point(self, work, at, swap, z):
        self.put(work, self.plus(at, swap), z.re)
        self.put(work, self.builder.sub(self.plus(at, self.n(self.lanes)), swap), z.im)

    def loop(self, count, body, *totals):
        """``body(i, *totals)`` returns the next totals, for i below ``count``, which is 1 at least; the last ones."""
        b = self.builder
        before, loop = b.block, b.append_basic_block("loop")
        b.branch(loop)
        b.position_at_end(loop)
        i, sums = b.phi(self.word), [b.phi(self.vector) for _ in totals]
        i.add_incoming(self.n(0), before)
        for s, t in zip(sums, totals):
            s.add_incoming(t.value, before)
        found = body(i, *[Number(self, s) for s in sums])
        more = b.add(i, self.n(1))
        i.add_incoming(more, b.block)
        for s, t in zip(sums, found):
            s.add_incoming(t.value, b.block)
        after = b.append_basic_block("after")
        b.cbranch(b.icmp_signed("<", more, count), b.block, after)
        b.position_at_end(after)
        return found


class Number:
    """A vector with arithmetic."""

    __slots__ = ("pen", "value")
    FLAGS = ("contract",)

    def __init__(self, pen, value):
        self.pen, self.value = pen, value

    def __add__(self, other):
        return Number(self.pen, self.pen.builder.fadd(self.value, other.value, flags=self.FLAGS))

    def __sub__(self, other):
        return Number(self.pen, self.pen.builder.fsub(self.value, other.value, flags=self.FLAGS))

    def __mul__(self, other):
        return Number(self.pen, self.pen.builder.fmul(self.value, other.value, flags=self.FLAGS))

    def __truediv__(self, other):
        return Number(self.pen, self.pen.builder.fdiv(self.value, other.value, flags=self.FLAGS))

    def __neg__(self):
        return Number(self.pen, self.pen.builder.fneg(self.value))


class Complex:
    """A vector of complex numbers with arithmetic."""

    __slots__ = ("im", "re")

    def __init__(self, re, im):
        self.re, self.im = re, im

    def __add__(self, other):
        return Complex(self.re + other.re, self.im + other.im)

    def __sub__(self, other):
        return Complex(self.re - other.re, self.im - other.im)

    def __mul__(self, other):
        if other.__class__ is Complex:
            return Complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)
        return Complex(self.re * other, self.im * other)

    def turned(self):
        """Times -i."""
        return Complex(self.im, -self.re)

    def conj(self):
        return Complex(self.re, -self.im)


lanes = Lanes()
