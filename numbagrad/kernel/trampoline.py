"""Native calls of kernels by address, their arguments from a table: one small function for each list of argument kinds.

Threads, the walk over strided operands and compiled programs call ``fn(table, start, stop)``. A kernel that takes its
arguments one by one is called through the function for its kinds, and need not be compiled a second time.
"""

from __future__ import annotations

import functools
import struct
from array import array

from . import objects


def through(letters, ranged):
    """Address of ``through`` in ``native``."""
    w = objects.Writer("through")
    ir, builder = w.ir, w.builder
    address, start, stop = w.function.args
    table = builder.inttoptr(address, w.word.as_pointer())
    words = [builder.load(builder.gep(table, [w.value(i)])) for i in range(len(letters) + 1)]
    given = [builder.bitcast(x, ir.DoubleType()) if letter == "f" else x for x, letter in zip(words[1:], letters)]
    given += [start, stop] * ranged
    form = ir.FunctionType(ir.VoidType(), [x.type for x in given]).as_pointer()
    builder.call(builder.inttoptr(words[0], form), given)
    return w.address(opt=0)


@functools.cache
def invoke(letters):
    """The kernel function ``invoke(address, ...)``: a call of a C function without result."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    kinds = [ir.DoubleType() if x == "f" else ir.IntType(64) for x in letters]

    @intrinsic
    def invoke(typingctx, address, *arguments):
        def codegen(context, builder, signature, args):
            given = [builder.extract_value(args[1], i) for i in range(len(letters))]
            builder.call(builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer()), given)
            return context.get_dummy_value()
        wanted = [types.float64 if x == "f" else types.int64 for x in letters]
        return types.void(types.int64, types.StarArgTuple.from_types(wanted)), codegen
    return invoke


@functools.cache
def calling():
    """The kernel function ``call(address, ...)``: a C function that returns a word."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def call(typingctx, address, *arguments):
        def codegen(context, builder, signature, args):
            given = [builder.extract_value(args[1], i) for i in range(len(arguments))]
            form = ir.FunctionType(ir.IntType(64), [x.type for x in given]).as_pointer()
            return builder.call(builder.inttoptr(args[0], form), given)
        wanted = [types.float64 if x == types.float64 else types.int64 for x in arguments]
        return types.int64(types.int64, types.StarArgTuple.from_types(wanted)), codegen
    return call


def bits(number):
    """A float as the int64 word that holds it."""
    return struct.unpack("=q", struct.pack("=d", number))[0]


def table(words):
    """Integers and floats as the words of a table."""
    return array("q", [bits(v) if v.__class__ is float else v for v in words])
