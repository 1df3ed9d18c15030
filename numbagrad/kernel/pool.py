"""A pool of native threads that look for more work for a while before they sleep (Linux).

A thread that sleeps takes 20 to 70 us to come, as long as a kernel over 100,000 elements on two threads; one that looks takes
less than one. What no thread has begun when the caller is through with its own piece, the caller does itself: where other
processes have the processors, nobody waits for a thread that does not run.

A thread is woken up on another processor than its caller's, if the caller may use others: left to the system it came to lie in
the caller's queue for as long as the caller ran (a virtual machine's system takes a processor that sleeps for one that another
machine has). Its set of processors is the caller's again as soon as it has nothing to do.

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

from . import cache, inlined, trampoline
from .atomics import atomics

FREE, OFFERED, TAKEN, DONE, LEAVE, LEFT = range(6)
MASK = 128     # bytes of a set of processors
# Bytes into a thread's words. Masks are those that it may use, and these without its caller's; whether it has the latter.
STATE, FN, TABLE, START, STOP, ASLEEP, SHARED, SEMAPHORE, THREAD, NARROWED, ALLOWED = 0, 8, 16, 24, 32, 40, 48, 64, 96, 104, 128
OTHERS = ALLOWED + MASK
SLOT = OTHERS + MASK  # a multiple of two cache lines, as processors fetch them in pairs
MOST = 256     # threads beside the caller
PATIENCE = 5e-4  # seconds that a thread looks for work before it sleeps

# Words of all: how many threads there are, how often they look before they sleep, functions that wait for a semaphore and post
# it, the first thread's words, functions that tell the processor and the allowed ones and set these, how long a wait takes, the
# processor of the last caller.
COUNT, TURNS, WAIT, POST, FIRST, WHERE, GET, SET, PATIENT, CALLER = range(10)
_shared = (ctypes.c_int64 * 10)()
_memory = _library = _work = None
_growing = threading.Lock()


def possible():
    """Whether there are such threads here: POSIX ones with unnamed semaphores, waiting on words of memory."""
    return sys.platform == "linux" and all([hasattr(ctypes.CDLL(None), f) for f in (
        "pthread_create", "pthread_detach", "sem_init", "sem_wait", "sem_post", "sched_getcpu", "sched_getaffinity",
        "pthread_setaffinity_np")])


def address():
    """The first argument of the drive, with the words of ``threads`` as the second."""
    return ctypes.addressof(_shared)


def make_aside(look, tell, call):
    def aside(slot, shared):
        """Keep a thread off the processor of the last caller, if the thread that runs this may use others."""
        here, left = look(shared + 8 * CALLER), 0
        if look(slot + THREAD) == 0 or call(look(shared + 8 * GET), 0, MASK, slot + ALLOWED) & 0xFFFFFFFF != 0:
            return 0
        for k in range(MASK // 8):
            word = look(slot + ALLOWED + 8 * k)
            if k == here >> 6:
                word &= ~(1 << (here & 63))
            tell(slot + OTHERS + 8 * k, word)
            left |= word
        if left != 0:
            call(look(shared + 8 * SET), look(slot + THREAD), MASK, slot + OTHERS)
            tell(slot + NARROWED, 1)
        return left
    return aside


def make_work(look, tell, exchange, swap, pause, let_others, aside, call_piece, call_one, call):
    def work(slot):
        shared, idle = look(slot + SHARED), 0
        while True:
            state = look(slot + STATE)
            if state == OFFERED and swap(slot + STATE, OFFERED, TAKEN) != 0:
                call_piece(look(slot + FN), look(slot + TABLE), look(slot + START), look(slot + STOP))
                tell(slot + STATE, DONE)
                idle = 0
            elif state == LEAVE:
                tell(slot + STATE, LEFT)
                return
            else:
                idle += 1
                pause()
                if idle & 255 == 0:
                    if look(slot + NARROWED) != 0:
                        tell(slot + NARROWED, 0)
                        call(look(shared + 8 * SET), look(slot + THREAD), MASK, slot + ALLOWED)
                    elif call(look(shared + 8 * WHERE)) & 0xFFFF == look(shared + 8 * CALLER) and aside(slot, shared) == 0:
                        let_others()  # the caller is waiting for this processor
                if idle > look(shared + 8 * TURNS):
                    exchange(slot + ASLEEP, 1)
                    state = look(slot + STATE)
                    if state != OFFERED and state != LEAVE:
                        call_one(look(shared + 8 * WAIT), slot + SEMAPHORE)
                    tell(slot + ASLEEP, 0)
                    idle = 0
    return work


def make_drive(look, tell, exchange, swap, add, pause, let_others, aside, call_piece, call_one, call):
    def drive(state, fn, table, n, grain):
        # (counted before the number of threads is read: see ``threads._before_fork``)
        add(state + 24, 1)
        shared = look(state + 32)
        pieces = min(look(state), look(shared + 8 * COUNT) + 1, (n + grain - 1) // grain)
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
        first = look(shared + 8 * FIRST)
        tell(shared + 8 * CALLER, call(look(shared + 8 * WHERE)) & 0xFFFF)
        pieces = (n + size - 1) // size
        for k in range(1, pieces):
            slot = first + (k - 1) * SLOT
            tell(slot + FN, fn)
            tell(slot + TABLE, table)
            tell(slot + START, k * size)
            tell(slot + STOP, min((k + 1) * size, n))
            tell(slot + STATE, OFFERED)
            if exchange(slot + ASLEEP, 0) != 0:
                aside(slot, shared)
                call_one(look(shared + 8 * POST), slot + SEMAPHORE)
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
                        let_others()
                tell(slot + STATE, FREE)
        tell(state + 16, 0)
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


def start():
    """Compile what the threads do; returns the drive, ``(state, fn, table, n, grain)``."""
    global _work, _library, _memory
    w = atomics()
    call_piece, call_one, call = trampoline.invoke("iii"), trampoline.invoke("i"), trampoline.calling()
    aside = inlined.njit(False, optimized=True)(make_aside(w.look, w.tell, call))
    work = _compile(make_work, "void(int64)", w.look, w.tell, w.exchange, w.swap, w.pause, w.let_others, aside, call_piece,
                    call_one, call)
    drive = _compile(make_drive, "void(int64, int64, int64, int64, int64)", w.look, w.tell, w.exchange, w.swap, w.add, w.pause,
                     w.let_others, aside, call_piece, call_one, call)
    wait = _compile(make_wait, "void(int64, int64)", w.look, w.pause)
    _work = work.library.get_pointer_to_function(work.fndesc.llvm_cfunc_wrapper_name)
    _library = ctypes.CDLL(None)
    _memory = ctypes.create_string_buffer(SLOT * (MOST + 1))
    began = time.perf_counter()
    wait.entry_point(address(), 10000)
    _shared[PATIENT] = int(10000 * PATIENCE / max(time.perf_counter() - began, 1e-9))
    for place, name in ((WAIT, "sem_wait"), (POST, "sem_post"), (WHERE, "sched_getcpu"), (GET, "sched_getaffinity"),
                        (SET, "pthread_setaffinity_np")):
        _shared[place] = ctypes.cast(getattr(_library, name), ctypes.c_void_p).value
    _shared[FIRST] = (ctypes.addressof(_memory) + 127) // 128 * 128
    atexit.register(stop)
    return drive


def grow(count):
    """Have ``count`` threads at least, if the system gives them."""
    usable = len(os.sched_getaffinity(0))
    _shared[TURNS] = _shared[PATIENT] if count < usable else 0
    with _growing:
        _grow(count)


def _grow(count):
    while _shared[COUNT] < min(count, MOST):
        slot = _shared[FIRST] + SLOT * _shared[COUNT]
        ctypes.memset(slot, 0, SLOT)
        ctypes.c_int64.from_address(slot + SHARED).value = address()
        _library.sem_init(ctypes.c_void_p(slot + SEMAPHORE), 0, 0)
        with _signals_left_to_others():
            failed = _library.pthread_create(*map(ctypes.c_void_p, (slot + THREAD, None, _work, slot)))
        if failed:
            return
        _library.pthread_detach(ctypes.c_ulong.from_address(slot + THREAD))
        _shared[COUNT] += 1


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
    count, _shared[COUNT] = _shared[COUNT], 0
    if count:
        grow(count)


def stop():
    """End the threads: their code is about to be unloaded."""
    count, _shared[COUNT] = _shared[COUNT], 0
    words = [ctypes.c_int64.from_address(_shared[FIRST] + SLOT * k + STATE) for k in range(count)]
    for k, state in enumerate(words):
        if state.value == FREE:
            state.value = LEAVE
            _library.sem_post(ctypes.c_void_p(_shared[FIRST] + SLOT * k + SEMAPHORE))
    end = time.monotonic() + 0.2
    while any([state.value == LEAVE for state in words]) and time.monotonic() < end:
        time.sleep(1e-4)
