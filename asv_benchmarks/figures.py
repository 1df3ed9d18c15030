"""What the comparisons have in common: how often to call what is timed, and times as the tables show them."""

import time


def calibrate(run, target, clock=time.perf_counter):
    """How many calls take about ``target`` seconds."""
    number = 1
    while True:
        start = clock()
        for _ in range(number):
            run()
        spent = clock() - start
        if spent > target / 4 or number > 1 << 22:
            return max(1, int(number * target / max(spent, 1e-9)))
        number *= 4


def show(seconds):
    """Three digits in the unit that suits: s, ms, us or ns."""
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
