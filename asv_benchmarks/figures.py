"""What the comparisons have in common: where a process runs, how often to call what is timed, and times as tables show them."""

import os
import time


def processors(threads):
    """Those that every library's process is pinned to, one for each thread: the last ones of this process."""
    return sorted(os.sched_getaffinity(0))[-threads:] if hasattr(os, "sched_getaffinity") else []


def pin(found):
    """Keep this process on some processors: what a library's own settings leave to other threads would run beside it."""
    if found:
        os.sched_setaffinity(0, found)


def timed(run, number, clock=time.perf_counter):
    """Seconds that so many calls take."""
    start = clock()
    for _ in range(number):
        run()
    return clock() - start


def calibrate(run, target, clock=time.perf_counter):
    """How many calls take about ``target`` seconds; what one of them does once for all (compiling) is not counted."""
    number = 1
    while True:
        spent = timed(run, number, clock)
        if spent > target / 4:
            spent = min(spent, timed(run, number, clock))
        if spent > target / 4 or number > 1 << 22:
            return max(1, int(number * target / max(spent, 1e-9)))
        number *= 4


def show(seconds):
    """Three digits in the unit that suits: s, ms, us or ns."""
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
