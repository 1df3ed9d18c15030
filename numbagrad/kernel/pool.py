"""A pool of native threads that look for more work for a while before they sleep (Linux).

A thread that sleeps takes 20 to 70 us to come, as long as a kernel over 100,000 elements on two threads; one that looks takes
less than one. What no thread has begun when the caller is through with its own piece, the caller does itself: where other
processes have the processors, nobody waits for a thread that does not run; one that woke up on its caller's processor gives it
back.

A thread and its caller share a few words: a state, that of the offered piece, and what the thread sleeps on.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

from . import cache, trampoline

FREE, OFFERED, TAKEN, DONE, LEAVE, LEFT = range(6)
STATE, FN, TABLE, START, STOP, ASLEEP, SHARED, SEMAPHORE = 0, 8, 16, 24, 32, 40, 48, 64  # bytes into a thread's words
SLOT = 128     # bytes: two cache lines, as processors fetch them in pairs
MOST = 256     # threads beside the caller
PATIENCE = 5e-4  # seconds that a thread looks for work before it sleeps

# How many threads there are, how often they look before they sleep, the functions that wait for a semaphore, post it and let
# other threads run; between the latter two the first thread's words. Then how long a wait takes, the function that tells the
# processor, and that of the last caller.
_shared = (ctypes.c_int64 * 9)()
_memory = _library = _work = None
_growing = threading.Lock()


def possible():
    """Whether there are such threads here: POSIX ones with unnamed semaphores, waiting on words of memory."""
    return sys.platform == "linux" and all([hasattr(ctypes.CDLL(None), f) for f in (
        "pthread_create", "pthread_detach", "sem_init", "sem_wait", "sem_post", "sched_getcpu")])


def address():
    """The first argument of the drive, with the words of ``threads`` as the second."""
    return ctypes.addressof(_shared)


def _words():
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    word = ir.IntType(64)

    def place(builder, address):
        return builder.inttoptr(address, word.as_pointer())

    @intrinsic
    def look(typingctx, address):
        """The int64 at an address, as it is now."""
        def codegen(context, builder, signature, args):
            return builder.load_atomic(place(builder, args[0]), "seq_cst", 8)
        return types.int64(types.int64), codegen

    @intrinsic
    def put(typingctx, address, value):
        """Store an int64 and what was stored before it."""
        def codegen(context, builder, signature, args):
            builder.store_atomic(args[1], place(builder, args[0]), "seq_cst", 8)
            return context.get_dummy_value()
        return types.none(types.int64, types.int64), codegen

    @intrinsic
    def swap(typingctx, address, old, new):
        """Replace an int64 if it has a value; whether it had."""
        def codegen(context, builder, signature, args):
            found = builder.cmpxchg(place(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
            return builder.zext(builder.extract_value(found, 1), word)
        return types.int64(types.int64, types.int64, types.int64), codegen

    @intrinsic
    def pause(typingctx):
        """Leave the processor's units to others for a moment."""
        def codegen(context, builder, signature, args):
            hint = ir.IntType(32)
            name, given = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [hint(1)])}.get(
                os.uname().machine, (None, []))
            if name:
                form = ir.FunctionType(ir.VoidType(), [g.type for g in given])
                builder.call(cgutils.get_or_insert_function(builder.module, form, name), given)
            return context.get_dummy_value()
        return types.none(), codegen

    return look, put, swap, pause


def make_work(look, put, swap, pause, call_piece, call_one, call_none, call):
    def work(slot):
        shared, idle = look(slot + SHARED), 0
        while True:
            state = look(slot + STATE)
            if state == OFFERED and swap(slot + STATE, OFFERED, TAKEN) != 0:
                call_piece(look(slot + FN), look(slot + TABLE), look(slot + START), look(slot + STOP))
                put(slot + STATE, DONE)
                idle = 0
            elif state == LEAVE:
                put(slot + STATE, LEFT)
                return
            else:
                idle += 1
                pause()
                if idle & 255 == 0 and call(look(shared + 56)) & 0xFFFF == look(shared + 64):
                    call_none(look(shared + 40))  # the caller is waiting for this processor
                if idle > look(shared + 8):
                    put(slot + ASLEEP, 1)
                    state = look(slot + STATE)
                    if state != OFFERED and state != LEAVE:
                        call_one(look(shared + 16), slot + SEMAPHORE)
                    put(slot + ASLEEP, 0)
                    idle = 0
    return work


def make_drive(look, put, swap, pause, call_piece, call_one, call_none, call, add, exchange):
    def drive(state, fn, table, n, grain):
        # (counted before the number of threads is read: see ``threads._before_fork``)
        add(state + 24, 1)
        shared = look(state + 32)
        pieces = min(look(state), look(shared) + 1, (n + grain - 1) // grain)
        if pieces > 1 and swap(state + 16, 0, 1) == 0:
            pieces = 1
        if pieces <= 1:
            add(state + 24, -1)
            if n > 0:
                call_piece(fn, table, 0, n)
            return
        size = (n + pieces - 1) // pieces
        if size >= 1024:
            # Pieces that begin on a cache line do not share one.
            size = (size + 63) // 64 * 64
        first = look(shared + 32)
        put(shared + 64, call(look(shared + 56)) & 0xFFFF)
        pieces = (n + size - 1) // size
        for k in range(1, pieces):
            slot = first + (k - 1) * SLOT
            put(slot + FN, fn)
            put(slot + TABLE, table)
            put(slot + START, k * size)
            put(slot + STOP, min((k + 1) * size, n))
            put(slot + STATE, OFFERED)
            if exchange(slot + ASLEEP, 0) != 0:
                call_one(look(shared + 24), slot + SEMAPHORE)
        call_piece(fn, table, 0, min(size, n))
        for k in range(1, pieces):
            slot = first + (k - 1) * SLOT
            if swap(slot + STATE, OFFERED, FREE) != 0:
                call_piece(fn, table, k * size, min((k + 1) * size, n))
            else:
                waited = 0
                while look(slot + STATE) != DONE:
                    waited += 1
                    pause()
                    if waited & 1023 == 0:
                        call_none(look(shared + 40))
                put(slot + STATE, FREE)
        put(state + 16, 0)
        add(state + 24, -1)
    return drive


def make_wait(look, pause):
    def wait(shared, times):
        for _ in range(times):
            if look(shared) >= 0:
                pause()
    return wait


def _compile(make, signature, *given):
    from numba import njit

    fn = make(*given)
    dispatcher = njit(nogil=True, fastmath=False)(fn)
    cache.attach(dispatcher, cache.fingerprint(fn))
    dispatcher.compile(signature)
    (compiled,) = dispatcher.overloads.values()
    return compiled


def start(add, exchange):
    """Compile what the threads do; returns the drive, ``(state, fn, table, n, grain)``."""
    global _work, _library, _memory
    look, put, swap, pause = _words()
    call_piece, call_one, call_none = [trampoline.invoke(k) for k in ("iii", "i", "")]
    call = trampoline.calls()[0]
    work = _compile(make_work, "void(int64)", look, put, swap, pause, call_piece, call_one, call_none, call)
    drive = _compile(make_drive, "void(int64, int64, int64, int64, int64)", look, put, swap, pause, call_piece, call_one,
                     call_none, call, add, exchange)
    wait = _compile(make_wait, "void(int64, int64)", look, pause)
    _work = work.library.get_pointer_to_function(work.fndesc.llvm_cfunc_wrapper_name)
    _library = ctypes.CDLL(None)
    _memory = ctypes.create_string_buffer(SLOT * (MOST + 1))
    began = time.perf_counter()
    wait.entry_point(address(), 10000)
    _shared[6] = int(10000 * PATIENCE / max(time.perf_counter() - began, 1e-9))
    for place, name in ((2, "sem_wait"), (3, "sem_post"), (5, "sched_yield"), (7, "sched_getcpu")):
        _shared[place] = ctypes.cast(getattr(_library, name), ctypes.c_void_p).value
    _shared[4] = (ctypes.addressof(_memory) + SLOT - 1) // SLOT * SLOT
    atexit.register(stop)
    return drive


def grow(count):
    """Have ``count`` threads at least, if the system gives them."""
    usable = len(os.sched_getaffinity(0))
    _shared[1] = _shared[6] if count < usable else 0
    with _growing:
        _grow(count)


def _grow(count):
    while _shared[0] < min(count, MOST):
        slot = _shared[4] + SLOT * _shared[0]
        ctypes.memset(slot, 0, SLOT)
        ctypes.c_int64.from_address(slot + SHARED).value = address()
        _library.sem_init(ctypes.c_void_p(slot + SEMAPHORE), 0, 0)
        thread = ctypes.c_ulong()
        with _signals_left_to_others():
            failed = _library.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(_work), ctypes.c_void_p(slot))
        if failed:
            return
        _library.pthread_detach(thread)
        _shared[0] += 1


@contextlib.contextmanager
def _signals_left_to_others():
    """Signals interrupt what Python waits for only in threads that may receive them: new ones begin with none."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def after_fork():
    """In a forked child: none of the threads is there."""
    global _growing
    _growing = threading.Lock()
    count, _shared[0] = _shared[0], 0
    if count:
        grow(count)


def stop():
    """End the threads: their code is about to be unloaded."""
    count, _shared[0] = _shared[0], 0
    words = [ctypes.c_int64.from_address(_shared[4] + SLOT * k + STATE) for k in range(count)]
    for k, state in enumerate(words):
        if state.value == FREE:
            state.value = LEAVE
            _library.sem_post(ctypes.c_void_p(_shared[4] + SLOT * k + SEMAPHORE))
    end = time.monotonic() + 0.2
    while any([state.value == LEAVE for state in words]) and time.monotonic() < end:
        time.sleep(1e-4)
