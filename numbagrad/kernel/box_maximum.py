"""Where the maximum of a box lies, written as LLVM vectors: each lane keeps its own maximum and its place.

LLVM's own vectoriser makes no such loops of comparisons that NaN decides, and rows of a box are too short for its loops."""

from __future__ import annotations

import functools

from .register_tile import Vectors, machine

MOST = (1 << 31) - 1  # places are numbers of 32 bits in lanes


@functools.lru_cache(None)
def box_maximum(code):
    """Kernel function ``box_maximum(x, base, front, planes, plane, rows, row, width)``: the place, from element ``base`` of x
    on, of the first maximum of a box whose first element is at ``front``, or of its last NaN; ``plane`` and ``row`` are
    elements from one to the next. For float32 and float64."""
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic
    v = Vectors(code)
    ir, half = v.ir, v.ir.IntType(32)
    numbers = ir.VectorType(half, v.lanes)
    lane = ir.Constant(numbers, list(range(v.lanes)))

    def reduced(builder, what, kind, name, value):
        return builder.call(v.declared(builder, f"vector.reduce.{what}.{name}", kind, value.type), [value])

    def codegen(context, builder, signature, args):
        x, base, front, planes, plane, rows, row, width = args

        def spread(number):
            return v.spread(builder, builder.trunc(number, half), numbers)
        best, places = cgutils.alloca_once(builder, v.vector), cgutils.alloca_once(builder, numbers)
        builder.store(ir.Constant(v.vector, [float("-inf")] * v.lanes), best)
        builder.store(spread(front), places)  # where all are minus infinity
        with cgutils.for_range(builder, planes) as i, cgutils.for_range(builder, rows) as j:
            line = builder.add(front, builder.add(builder.mul(i.index, plane), builder.mul(j.index, row)))
            with cgutils.for_range_slice(builder, v.word(0), width, v.word(v.lanes)) as (k, _):
                inside = builder.icmp_signed("<", lane, spread(builder.sub(width, k)))
                place = builder.add(line, k)
                value = v.load(builder, v.at(builder, x, builder.add(base, place)), inside)
                most, known = builder.load(best), builder.load(places)
                better = builder.or_(builder.fcmp_ordered(">", value, most), builder.fcmp_unordered("uno", value, value))
                better = builder.and_(inside, better)
                builder.store(builder.select(better, value, most), best)
                builder.store(builder.select(better, builder.add(spread(place), lane), known), places)
        most, known = builder.load(best), builder.load(places)
        nan = builder.fcmp_unordered("uno", most, most)
        name = f"v{v.lanes}i32"
        last = reduced(builder, "smax", half, name, builder.select(nan, known, ir.Constant(numbers, [-1] * v.lanes)))
        top = v.spread(builder, reduced(builder, "fmax", v.real, v.name, most), v.vector)
        first = builder.select(builder.fcmp_ordered("==", most, top), known, ir.Constant(numbers, [MOST] * v.lanes))
        first = reduced(builder, "smin", half, name, first)
        found = builder.select(builder.icmp_signed(">=", last, half(0)), last, first)
        return builder.sext(found, v.word)

    @intrinsic
    def placed(typingctx, x, base, front, planes, plane, rows, row, width):
        return types.int64(x, *[types.int64] * 7), codegen

    return placed


def key(code):
    """What the machine code depends on, beside the processor."""
    return f"box maximum 1 {code} {machine(int(code[1]))}"
