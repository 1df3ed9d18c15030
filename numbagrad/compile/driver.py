"""The native walk over a program: rows of (function, table, items, grain), after its addresses have been filled in."""

from __future__ import annotations

import functools

from ..kernel import jit, threads

# Words of the header: number of rows, rows, number of relocations, relocations, bases, memory, state and function of
# ``threads.parallel_for`` (0: run on this thread alone).
TEXT = """def walk(header, first, last):
    h = ptr_i8(header)
    rows, memory, bases, place = ptr_i8(h[1]), ptr_i8(h[5]), ptr_i8(h[4]), ptr_i8(h[3])
    if first == 0:
        for i in range(h[2]):
            memory[place[3 * i]] = bases[place[3 * i + 1]] + place[3 * i + 2]
    for i in range(first, last):
        fn, table, n, grain = rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3]
        if fn == 0:
            if ptr_i8(table)[0] != n:
                return i
        elif grain == 0 or n <= grain or h[7] == 0:
            call_piece(fn, table, 0, n)
        else:
            call_drive(h[7], h[6], fn, table, n, grain)
    return -1
"""


def _call_drive():
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    word = ir.IntType(64)

    @intrinsic
    def call_drive(typingctx, fn, state, piece, table, n, grain):
        """Call the C function at address ``fn`` with five words."""
        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(ir.VoidType(), [word] * 5)
            builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
            return context.get_dummy_value()
        return types.void(*[types.int64] * 6), codegen
    return call_drive


@functools.cache
def walk(nogil):
    """Native ``walk(header, first, last)``: -1, or the row of the check that failed."""
    return _compiled(TEXT, "iii", nogil)


@functools.cache
def walk_with(count):
    """Native ``walk(header, last, base_0, ...)`` that stores the bases itself: with the GIL held, no lock is needed."""
    names = "".join(f", b{i}" for i in range(count))
    text = TEXT.replace("header, first, last", f"header, last{names}").replace("    if first == 0:\n", "".join(
        f"    bases[{i}] = b{i}\n" for i in range(count)) + "    if h[2] > 0:\n").replace("range(first, last)", "range(last)")
    return _compiled(text, "ii" + "i" * count, False)


def _compiled(text, letters, nogil):
    call_piece, _, _ = threads._intrinsics()
    env = {"call_piece": call_piece, "call_drive": _call_drive()}
    return jit.compile_source(text, "walk", letters, env, "walk 1", returns=True, nogil=nogil).entry
