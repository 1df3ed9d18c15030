"""Run drawn calls in child processes under a watchdog and list what was found."""

import argparse
import collections
import sys
import time

from watched import Child

from .judge import FATAL

CPU_SECONDS, WALL_SECONDS = 40, 240


def findings(seed, first, last, threads=1, compare=True, names=(), seconds=None):
    """(number, class, text, call) of everything found among the calls ``first`` to ``last``; stops after ``seconds``."""
    stop = None if seconds is None else time.monotonic() + seconds
    at, text, ours = first, "", True
    while at < last:
        environment = {"MALLOC_PERTURB_": "165", "OMP_NUM_THREADS": str(threads), "NUMBAGRAD_KEEP_FREED_MEMORY": "0"}
        child = Child("fuzz.child", (seed, at, last, threads, int(compare), *names), environment, WALL_SECONDS, CPU_SECONDS)
        try:
            for what, *more in child.lines():
                if what == "start":
                    at, text, ours = more[0], more[1], False
                    if stop is not None and time.monotonic() > stop:
                        return
                elif what == "ours":
                    ours = True
                elif what == "found":
                    yield at, more[1], more[2], text
                elif what == "done":
                    return
                elif not ours:
                    yield at, what, " ".join(map(str, more)), text
                    ours = True
        finally:
            child.end()
        if not text:
            raise RuntimeError("the child ended before its first call: " + " ".join(map(str, more)))
        at += 1


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="how many calls")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn calls")
    parser.add_argument("--threads", type=int, default=1, help="threads of the kernels, which then cut any size")
    parser.add_argument("--only", type=int, help="run this call alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--kinds", default="", help="classes to print, with commas between (default: all)")
    parser.add_argument("--memory", action="store_true", help="without PyTorch: memory, hangs and internal errors only")
    parser.add_argument("--ops", nargs="*", default=(), help="names of ops (default: all)")
    given = parser.parse_args()
    first = given.first if given.only is None else given.only
    last = first + given.calls if given.only is None else first + 1
    wanted, counts = set(filter(None, given.kinds.split(","))), collections.Counter()
    again = f" --ops {' '.join(given.ops)}" if given.ops else ""
    for number, kind, text, call in findings(given.seed, first, last, given.threads, not given.memory, given.ops):
        counts[kind] += 1
        if not wanted or kind in wanted:
            print(f"{kind:9} {call}\n          {text}\n          python -m tests.fuzz --seed {given.seed} --threads "
                  f"{given.threads} --only {number}{again}", flush=True)
    print(f"{last - first} calls, seed {given.seed}, {given.threads} threads:",
          ", ".join(f"{n} {k}" for k, n in sorted(counts.items())) or "nothing found")
    return any(counts[k] for k in (*FATAL, "internal"))


if __name__ == "__main__":
    sys.exit(main())
