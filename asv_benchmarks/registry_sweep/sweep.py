"""``peers.py --registry``: every op of the registry from its own samples, and everyday calls, small and large, against PyTorch.

One process per library, pinned to the same processors, asked in turn; the figure is the ratio of the medians of a case's
rounds. With several threads a turn begins when those of the library before have gone to sleep: OpenMP's look for work for 10 ms
(measured), on processors that the next library would have.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time

from figures import processors, show

from . import cases

HERE = os.path.dirname(os.path.abspath(__file__))
SETS = {("small", 0): (0.60, 1.0), ("small", 1): (0.40, 0.8), ("large", 0): (0.80, 1.0), ("large", 1): (0.80, 1.0)}
WORDS = ("forward", "forward + backward")


class Worker:
    def __init__(self, library, path, processors):
        n = str(len(processors))
        env = dict(os.environ, OMP_NUM_THREADS=n, MKL_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n)
        env.pop("OPENBLAS_CORETYPE", None)  # (that of another machine halves the speed of products)
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "worker.py"), library, path,
                                         ",".join(map(str, processors))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=env)

    def ask(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended during {command}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def collect(sizes, only=(), forms=False):
    """(size, case) one after the other: all together have 2.4 GB; ``forms``: the other forms of the registry's ops."""
    def wanted(name):
        return not only or any([o == name or o in name and len(o) > 3 for o in only])
    for size in sizes:
        yield from [(size, c) for c in cases.everyday(size) if wanted(c[0]) and not forms]
        for op in cases.ops(wanted):
            yield from [(size, c) for c in (cases.forms if forms else cases.portable)(op, size)]


SLEEP = 0.02  # seconds


def label(case):
    return case[1] if len(case) == 4 else f"{case[0]} {', '.join('x'.join(map(str, a.shape)) or '()' for a in case[2])}"


def prepared(found, places, window):
    """(size, case, the two workers, which have prepared it, number of modes that are compared, error or None) of each case."""
    libraries = ("numbagrad", "torch")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "case")
        workers = [Worker(n, path, places) for n in libraries]
        try:
            for i, (size, case) in enumerate(found):
                with open(path, "wb") as f:
                    pickle.dump(case, f, 5)
                ready = [w.ask("prepare", i, window) for w in workers]
                wrong = [f"{n}: {r}" for n, r in zip(libraries, ready) if isinstance(r, str)]
                if wrong:
                    yield size, case, workers, 0, "; ".join(wrong)
                    continue
                (ours, _), (theirs, _) = ready
                failed = [f"{n}: {e}" for n, (_, e) in zip(libraries, ready) if e]
                if not failed and len(ours) != len(theirs):
                    failed = ["only one of them has a gradient"]
                yield size, case, workers, min(len(ours), len(theirs)), "backward: " + "; ".join(failed) if failed else None
        finally:
            for w in workers:
                w.close()


def measure(found, rounds, threads, window=0.005, progress=None):
    """[(size, label, {mode: (seconds of numbagrad, of PyTorch, ``floor``)}, error or None)]"""
    out = []
    for size, case, workers, modes, wrong in prepared(found, processors(threads), window):
        times = {m: ([], []) for m in range(modes)}
        for _ in range(rounds):
            for m in times:
                for w, spent in zip(workers, times[m]):
                    if threads > 1:
                        time.sleep(SLEEP)
                    spent.append(w.ask("time", m, window))
        found_ = {m: tuple([statistics.median(s) for s in spent]) for m, spent in times.items()}
        found_ = {m: (*t, floor(workers[0], size, m, t, window)) for m, t in found_.items()}
        out.append((size, label(case), found_, wrong))
        if progress:
            progress(out[-1])
    return out


def floor(worker, size, mode, times, window):
    """(bytes that a large case above its limit reads and writes, seconds of a bare loop over them, of its work without all
    else), None where it has none, in the process that ran it."""
    if size == "small" or times[0] <= times[1] * SETS[size, mode][1]:
        return None
    found = worker.ask("floor", mode, window)
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def lines(measured, all_rows=False):
    """The report: geometric means against their limits, and the rows above theirs (or all)."""
    out = []
    for size in ("small", "large"):
        for mode in (0, 1):
            rows = [(t[mode][0] / t[mode][1], name, t[mode]) for s, name, t, _ in measured if s == size and mode in t]
            if not rows:
                continue
            most, single = SETS[size, mode]
            above = sorted([r for r in rows if all_rows or r[0] > single], reverse=True)
            out += ["", f"{size}, {WORDS[mode]}: {len(rows)} rows, geometric mean {mean([r[0] for r in rows]):.2f} (at most "
                    f"{most:.2f}), {sum([r[0] > single for r in rows])} rows above {single}", "",
                    *head(size)]
            out += [f"| {name} | {show(ours)} | {show(theirs)} | {ratio:.2f} |{bare(size, bytes_)}"
                    for ratio, name, (ours, theirs, bytes_) in above]
    skipped = [(s, name, e) for s, name, _, e in measured if e]
    if skipped:
        out += ["", "Not compared:"] + [f"* {s} {name}: {e}" for s, name, e in skipped]
    return out


def head(size):
    if size == "small":
        return "| work | numbagrad | PyTorch | ratio |", "|---|---|---|---|"
    return "| work | numbagrad | PyTorch | ratio | bytes | bare loop | bare work |", "|---|---|---|---|---|---|---|"


def bare(size, found):
    """The cells of a floor: what is read and written at least, how long a loop takes that does nothing else, and the work alone
    (``limits``)."""
    if size == "small":
        return ""
    bytes_, loop, work = found or (None, None, None)
    cells = [f"{bytes_ / 1e6:.1f} MB"] if bytes_ is not None else [""]
    cells += ["" if t is None else show(t) for t in (loop, work)]
    return f" {' | '.join(cells)} |"


def main(options, machine, date):
    found = collect(options.sizes, options.only or (), options.forms)
    measured = measure(found, options.rounds, options.threads)
    if not measured:
        return f"no case is named like {' or '.join(options.only)}"
    print(f"{date}, {machine}, {options.threads} thread(s), pinned, medians of {options.rounds} alternating rounds; ratio = "
          "numbagrad / PyTorch")
    print("\n".join(lines(measured, options.all)))
    return None
