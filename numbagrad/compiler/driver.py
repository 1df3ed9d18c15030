"""The native walk over a program: rows of (function, table, items, grain), after its addresses have been filled in.

A row with function 0 checks what the row before found. One with function 1 stands before rows that run as tasks on several
threads (see ``branches``); its table is that of ``TASKS``, its items their number.
"""

from __future__ import annotations

import functools

from ..kernel import jit, trampoline
from ..kernel.atomics import atomics

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
    i = add(table + 64, 1)
    while i < count:
        for k in range(offsets[i], offsets[i + 1]):
            place = done + 8 * waits[k]
            turns = 0
            while look(place) != run:
                turns += 1
                pause()
                if turns > SPINS:
                    let_others()
        call_piece(rows[4 * i], rows[4 * i + 1], 0, rows[4 * i + 2])
        tell(done + 8 * i, run)
        i = add(table + 64, 1)
"""
SPINS = 4096  # of a waiting task before it lets other threads have the core


@functools.cache
def tasks():
    """Native ``tasks(table, start, stop)``: what each thread does of a stretch of tasks."""
    env = {"call_piece": trampoline.invoke("iii"), "SPINS": SPINS, **vars(atomics())}
    return jit.compile_source(TASKS, "tasks", "iii", env, "tasks 2", nogil=True)


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
