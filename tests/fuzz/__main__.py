"""Run drawn calls in child processes under a watchdog and list what was found."""

import argparse
import collections
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

from . import TESTS
from .judge import FATAL

CPU_SECONDS, WALL_SECONDS = 40, 240
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


class Child:
    """One child and the lines it says."""

    def __init__(self, seed, first, last, threads, compare, names):
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "MALLOC_PERTURB_": "165", "OMP_NUM_THREADS": str(threads),
                       "PYTHONWARNINGS": "ignore", "NUMBAGRAD_KEEP_FREED_MEMORY": "0"}
        command = [sys.executable, "-m", "fuzz.child", *map(str, (seed, first, last, threads, int(compare))), *names]
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, env=environment, cwd=TESTS)
        self.rest = b""

    def lines(self):
        """What the child says until it ends; ["hang"] and ["crash", signal or status, last words] are added here."""
        cpu, wall = cpu_seconds(self.process.pid), time.monotonic()
        while True:
            if select.select([self.process.stdout], [], [], 1.0)[0]:
                piece = os.read(self.process.stdout.fileno(), 1 << 16)
                if not piece:
                    yield ["crash", self.process.wait(), self.last_words()]
                    return
                *whole, self.rest = (self.rest + piece).split(b"\n")
                yield from map(json.loads, whole)
                cpu, wall = cpu_seconds(self.process.pid), time.monotonic()
            elif cpu_seconds(self.process.pid) - cpu > CPU_SECONDS or time.monotonic() - wall > WALL_SECONDS:
                self.process.send_signal(signal.SIGABRT)  # faulthandler prints where it is
                self.process.wait()
                yield ["hang", self.last_words()]
                return

    def last_words(self):
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        frames = [line.strip() for line in text.splitlines() if "File " in line]
        return " < ".join(frames[:3]) or text[-300:]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def findings(seed, first, last, threads=1, compare=True, names=(), seconds=None):
    """(number, class, text, call) of everything found among the calls ``first`` to ``last``; stops after ``seconds``."""
    stop = None if seconds is None else time.monotonic() + seconds
    at, text, ours = first, "", True
    while at < last:
        child = Child(seed, at, last, threads, compare, names)
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
