"""The native walk over a program: rows of (function, table, items, grain), after its addresses have been filled in.

A row with function 0 checks what the row before found. One with function 1 stands before rows that run as tasks on several
threads (see ``branches``); its table is that of ``TASKS``, its items their number.
"""

from __future__ import annotations

import functools

from ..kernel import jit, trampoline

# Words of the header: number of rows, rows, number of relocations, relocations, bases, memory, state and function of
# ``threads.parallel_for`` (0: run on this thread alone), function ``tasks``.
TEXT = """def walk(header, first, last):
    h = ptr_i8(header)
    rows, memory, bases, place = ptr_i8(h[1]), ptr_i8(h[5]), ptr_i8(h[4]), ptr_i8(h[3])
    if first == 0:
        for i in range(h[2]):
            memory[place[3 * i]] = bases[place[3 * i + 1]] + place[3 * i + 2]
    i = first
    while i < last:
        fn, table, n, grain = rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3]
        if fn == 0:
            if ptr_i8(table)[0] != n:
                return i
        elif fn == 1:
            if h[7] != 0:
                ptr_i8(table)[8] = 0
                ptr_i8(table)[16] += 1
                call_drive(h[7], h[6], h[8], table, grain, 1)
                i += n
        elif grain == 0 or n <= grain or h[7] == 0:
            call_piece(fn, table, 0, n)
        else:
            call_drive(h[7], h[6], fn, table, n, grain)
        i += 1
    return -1
"""
# Words of the table: first row, number of rows, offsets into the numbers of the rows that each waits for, those numbers,
# a word per row that is done; at 8, on a cache line of its own, the next row; at 16 the number of the run.
TASKS = """def tasks(table, start, stop):
    t = ptr_i8(table)
    rows, count, offsets, waits, done, run = ptr_i8(t[0]), t[1], ptr_i8(t[2]), ptr_i8(t[3]), t[4], t[16]
    i = take(table + 64)
    while i < count:
        for k in range(offsets[i], offsets[i + 1]):
            place = done + 8 * waits[k]
            turns = 0
            while look(place) != run:
                turns += 1
                relax(turns)
        call_piece(rows[4 * i], rows[4 * i + 1], 0, rows[4 * i + 2])
        tell(done + 8 * i, run)
        i = take(table + 64)
"""
SPINS = 4096  # of a waiting task before it lets other threads have the core


def _atomics():
    """Kernel functions take (adds one, returns what was), look, tell, and relax for waiting loops."""
    import platform

    from llvmlite import binding, ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    word = ir.IntType(64)
    # (LLVM's name of the instruction for waiting loops, its operands)
    x86, arm = ("llvm.x86.sse2.pause", []), ("llvm.aarch64.hint", [1])
    pause = {"x86_64": x86, "amd64": x86, "aarch64": arm, "arm64": arm}.get(platform.machine().lower())
    can_yield = binding.address_of_symbol("sched_yield") is not None

    def place(builder, address):
        return builder.inttoptr(address, word.as_pointer())

    @intrinsic
    def take(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.atomic_rmw("add", place(builder, args[0]), word(1), "acq_rel")
        return types.int64(types.int64), codegen

    @intrinsic
    def look(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.load_atomic(place(builder, args[0]), "acquire", 8)
        return types.int64(types.int64), codegen

    @intrinsic
    def tell(typingctx, address, value):
        def codegen(context, builder, signature, args):
            builder.store_atomic(args[1], place(builder, args[0]), "release", 8)
            return context.get_dummy_value()
        return types.void(types.int64, types.int64), codegen

    @intrinsic
    def relax(typingctx, turns):
        def codegen(context, builder, signature, args):
            number = ir.IntType(32)
            if pause:
                name, operands = pause
                kind = ir.FunctionType(ir.VoidType(), [number] * len(operands))
                builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [number(k) for k in operands])
            if can_yield:
                with builder.if_then(builder.icmp_signed(">", args[0], word(SPINS))):
                    kind = ir.FunctionType(number, [])
                    builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
            return context.get_dummy_value()
        return types.void(types.int64), codegen
    return {"take": take, "look": look, "tell": tell, "relax": relax}


@functools.cache
def tasks():
    """Native ``tasks(table, start, stop)``: what each thread does of a stretch of tasks."""
    env = {"call_piece": trampoline.invoke("iii"), **_atomics()}
    return jit.compile_source(TASKS, "tasks", "iii", env, "tasks 1", nogil=True)


@functools.cache
def walk(nogil):
    """Native ``walk(header, first, last)``: -1, or the row of the check that failed."""
    return _compiled(TEXT, "iii", nogil)


@functools.cache
def walk_with(count):
    """Native ``walk(header, last, base_0, ...)`` that stores the bases itself: with the GIL held, no lock is needed."""
    names = "".join(f", b{i}" for i in range(count))
    text = TEXT.replace("header, first, last", f"header, last{names}").replace("    if first == 0:\n", "".join(
        f"    bases[{i}] = b{i}\n" for i in range(count)) + "    if h[2] > 0:\n").replace("i = first\n", "i = 0\n")
    return _compiled(text, "ii" + "i" * count, False)


def _compiled(text, letters, nogil):
    env = {"call_piece": trampoline.invoke("iii"), "call_drive": trampoline.invoke("iiiii")}
    return jit.compile_source(text, "walk", letters, env, "walk 2", returns=True, nogil=nogil).entry
