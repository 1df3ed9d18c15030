"""Threads of our own: they come when they sleep, what they have not begun the caller does, and they end with the process."""

import os
import subprocess
import sys
import textwrap

import pytest

from numbagrad.kernel import pool

pytestmark = pytest.mark.skipif(not pool.possible(), reason="Linux only")

BEGIN = """
import ctypes, os, sys, time
import numpy as np, numba
from numbagrad.kernel import atomics, cache, pool, threads
look, exchange = atomics.atomics().look, atomics.atomics().exchange

def mark(table, start, stop):
    for i in range(start, stop):
        exchange(table + 8 * i, look(table + 8 * i) + 1)

mark.__module__ = "numbagrad.kernel.threads"
dispatcher = cache.attach(numba.njit(nogil=True)(mark), cache.fingerprint(mark))
dispatcher.compile("void(int64, int64, int64)")
(result,) = dispatcher.overloads.values()
address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

def check(n=2000):
    table = np.zeros(n, np.int64)
    threads.parallel_for(address, table, n, 1)
    return bool((table == 1).all())
"""


def run(text):
    done = subprocess.run([sys.executable, "-c", BEGIN + textwrap.dedent(text)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_threads_come_from_their_sleep():
    assert run("""
        threads.set_num_threads(3)
        found = []
        for _ in range(20):
            found.append(check())
            time.sleep(0.005)
        asleep = [ctypes.c_int64.from_address(pool._shared[pool.FIRST] + pool.SLOT * k + pool.ASLEEP).value for k in range(2)]
        print(threads.layer(), all(found), asleep, pool._shared[pool.COUNT])
    """) == ["pool", "True", "[1,", "1]", "2"]


def test_what_no_thread_begins_the_caller_does():
    """The threads are told of a piece and stay away: their semaphore's post goes nowhere."""
    assert run("""
        threads.set_num_threads(3)
        check()
        time.sleep(0.01)
        pool._shared[pool.POST] = ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p).value
        print(all([check() for _ in range(20)]))
    """) == ["True"]


def test_the_number_grows_up_to_what_there_is_room_for():
    assert run("""
        threads.set_num_threads(2)
        check()
        first = pool._shared[pool.COUNT]
        threads.set_num_threads(10 ** 6)
        print(first, pool._shared[pool.COUNT] == pool.MOST, check(5000))
    """) == ["1", "True", "True"]


def test_threads_end_with_the_process():
    """Their code is unloaded then; those that still look for work must not run it."""
    assert run("""
        import atexit
        threads.set_num_threads(2)
        check()
        count = pool._shared[pool.COUNT]
        states = [ctypes.c_int64.from_address(pool._shared[pool.FIRST] + pool.SLOT * k) for k in range(count)]
        pool.stop()
        print(count, [s.value for s in states] == [pool.LEFT] * count, pool._shared[pool.COUNT], check())
    """) == ["1", "True", "0", "True"]


def test_signals_are_left_to_the_threads_of_python():
    assert run("""
        import signal
        threads.set_num_threads(2)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        check()
        blocked = []
        for task in os.listdir("/proc/self/task"):
            if int(task) != os.getpid():
                with open(f"/proc/self/task/{task}/status") as f:
                    blocked += [int(line.split()[1], 16) >> signal.SIGINT - 1 & 1 for line in f if line.startswith("SigBlk")]
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == before, 1 in blocked)
    """) == ["True", "True"]


ALLOWED = """
def allowed():
    (task,) = [t for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
    return os.sched_getaffinity(int(task))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_a_thread_wakes_up_beside_its_caller():
    """It came to lie in the queue of its caller's processor, for as long as the caller ran; then it may use all again."""
    assert run(ALLOWED + """if True:
        before = os.sched_getaffinity(0)
        threads.set_num_threads(2)
        check()
        pool._shared[pool.TURNS] = 0  # (asleep at once: it keeps what it woke up with)
        found = []
        for _ in range(20):
            time.sleep(0.005)
            found.append(check() and allowed() == before - {pool._shared[pool.CALLER]})
        pool._shared[pool.TURNS] = pool._shared[pool.PATIENT]
        time.sleep(0.005)
        check()
        time.sleep(0.02)
        print(all(found), allowed() == before == os.sched_getaffinity(0))
    """) == ["True", "True"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_a_thread_is_where_its_caller_may_be():
    """A caller that is held to one processor leaves the thread where it is; one that is let go takes it along."""
    assert run(ALLOWED + """if True:
        threads.set_num_threads(2)
        check()
        whole = os.sched_getaffinity(0)
        found = []
        for mine in ({min(whole)}, {max(whole)}, whole):
            os.sched_setaffinity(0, mine)
            time.sleep(0.005)
            found.append(check())
            time.sleep(0.02)
            found.append(allowed() == whole)
        print(found)
    """) == ["[True,", "True,", "True,", "True,", "True,", "True]"]
