"""Where a compiled step's time goes: each row of its program, run alone over and over.

    python asv_benchmarks/rows.py NAME [--repeat 200] [--threads 1] [--group]

NAME is a step of ``compiled_steps``. A row that runs alone finds its memory in the caches, so the rows of a step on large
data add up to less than the step. ``--group`` adds up rows of one name.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def seconds(work, repeat, rounds=5):
    """The least mean over ``repeat`` calls."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repeat):
            work()
        found.append((time.perf_counter() - start) / repeat)
    return min(found)


def describe(call):
    """A call's name, and the sizes that say how much it does."""
    if hasattr(call, "sizes"):
        batch = f" x {call.batch}" if call.batch != 1 else ""
        return f"{call.name} {'x'.join(map(str, call.sizes))}{batch}"
    calls = getattr(call, "calls", None)
    if calls:
        names = [c.name.removeprefix("loop_") for c in calls]
        return f"loop {list(call.shape)}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
    if hasattr(call, "numbers"):
        return f"{call.name} {call.numbers[-1]} -> {call.items}"
    return call.name


def measure(program, repeat):
    """[(what, seconds)] of every row, after one run that set the addresses; and of an empty walk.

    Rows of updates change parameters and rows that add go on adding: the values are no longer those of a training."""
    walk, header, out = program.walk, program.header_address, []
    empty = seconds(lambda: walk(header, 1, 1), repeat)
    for i, item in enumerate(program.row_of):
        if not hasattr(item, "call"):
            continue  # a check of what the row before found
        out.append((describe(item.call), seconds(lambda i=i: walk(header, i, i + 1), repeat) - empty))
    return out, empty


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--repeat", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--group", action="store_true")
    options = parser.parse_args()
    from compiled_steps import models

    import numbagrad as ng
    ng.set_num_threads(options.threads)
    names = [n for n in models.STEPS if options.name in n]
    if not names:
        parser.error(f"no step is named like {options.name}; there are {', '.join(models.STEPS)}")
    for name in names:
        built, batch = models.build(ng, name)
        step = ng.compile(built.function())
        for _ in range(3):
            step(*batch)
        whole = seconds(functools.partial(step, *batch), max(3, options.repeat // 10))
        rows, empty = measure(step.variants[-1].program, options.repeat)
        total = sum([t for _, t in rows])
        print(f"{name}: {whole * 1e6:.1f} us a call, {total * 1e6:.1f} us in {len(rows)} rows, "
              f"{empty * 1e6:.2f} us to call the walk")
        if options.group:
            sums = {}
            for what, t in rows:
                count, spent = sums.get(what, (0, 0.0))
                sums[what] = count + 1, spent + t
            rows = sorted([(f"{n} times {w}" if n > 1 else w, t) for w, (n, t) in sums.items()], key=lambda r: -r[1])
        for what, t in rows:
            print(f"  {t * 1e6:9.2f} us {100 * t / total:5.1f}%  {what}")


if __name__ == "__main__":
    main()
