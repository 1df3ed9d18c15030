"""``peers.py --compiled``: asks one process per library in turn and prints the table."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from figures import show

from .specs import SPECS

HERE = os.path.dirname(os.path.abspath(__file__))
# "eager" is numbagrad without ng.compile.
PACKAGES = {"numbagrad": "numbagrad", "eager": "numbagrad", "pytorch": "torch", "torch.compile": "torch", "jax": "jax"}
PEERS = ("pytorch", "torch.compile", "jax")
CACHES = {"numbagrad": "NUMBAGRAD_CACHE_DIR", "torch.compile": "TORCHINDUCTOR_CACHE_DIR"}
# Losses of 20 steps from the same start, relative: sums in another order, amplified by training.
CLOSE = 2e-3
BUSY = 1.15  # CPU seconds per second of one thread


def environment(threads, cache=None):
    env = dict(os.environ, XLA_FLAGS=f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} "
                                     f"intra_op_parallelism_threads={threads}", NPROC=str(threads))
    for name in ("OMP", "MKL", "OPENBLAS"):
        env[name + "_NUM_THREADS"] = str(threads)
    if cache is not None:
        env.update({v: cache for v in CACHES.values()})
    return env


class Worker:
    """The process of one library."""

    def __init__(self, library, threads, cache=None):
        self.library = library
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "worker.py"), library, str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env=environment(threads, cache))

    def ask(self, command, name=None):
        """The answer; a string says why there is none."""
        try:
            self.process.stdin.write(json.dumps([command, name]) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return f"the process ended with code {self.process.wait()}"
        return answer["error"] if isinstance(answer, dict) and "error" in answer else answer

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Result:
    """What was found for one step: seconds, losses, starts by library, and reasons where there is nothing."""

    def __init__(self, name):
        self.name, self.spec = name, SPECS[name]
        self.seconds, self.losses, self.cold, self.warm, self.failed, self.busy = {}, {}, {}, {}, {}, {}
        self.unstarted = {}  # library -> why no new process made its first step

    def fastest(self):
        """(peer, seconds) of the fastest peer that ran; None when none did."""
        found = [(self.seconds[p], p) for p in PEERS if p in self.seconds]
        return min(found)[::-1] if found else None

    def ratio(self):
        peer = self.fastest()
        return self.seconds["numbagrad"] / peer[1] if peer and "numbagrad" in self.seconds else None


def timed(name, libraries, rounds, threads):
    """A ``Result`` with seconds and losses."""
    result = Result(name)
    workers = []
    for library in libraries:
        if importlib.util.find_spec(PACKAGES[library]) is None:
            result.failed[library] = "not installed"
            continue
        w = Worker(library, threads)
        losses = w.ask("prepare", name)
        if isinstance(losses, str):
            result.failed[library] = losses
            w.close()
            continue
        result.losses[library] = losses
        workers.append(w)
    times = {}
    for _ in range(rounds):
        for w in workers:
            answer = w.ask("time")
            if isinstance(answer, str):
                result.failed[w.library] = answer
            else:
                times.setdefault(w.library, []).append(answer)
    for w in workers:
        w.close()
    for library, t in times.items():
        if library not in result.failed:
            result.seconds[library] = statistics.median([s for s, _ in t])
            result.busy[library] = statistics.median([b for _, b in t])
    return result


def starts(result, libraries, threads):
    """First step of a new process: with an empty cache, then again with what that left."""
    for library in libraries:
        if library in result.failed:
            continue
        with tempfile.TemporaryDirectory() as cache:
            for into in (result.cold, result.warm):
                w = Worker(library, threads, cache)
                answer = w.ask("start", result.name)
                w.close()
                if isinstance(answer, str):
                    result.unstarted[library] = answer
                else:
                    into[library] = answer
            shutil.rmtree(cache, ignore_errors=True)
            os.makedirs(cache)


def different(losses):
    """Libraries whose losses are not the median library's, with the largest relative difference."""
    middle = [statistics.median(v) for v in zip(*losses.values())]
    apart = {n: [abs(a - b) / max(abs(b), 1e-3) for a, b in zip(v, middle)] for n, v in losses.items()}
    return {n: max(d) for n, d in apart.items() if not all([x <= CLOSE for x in d])}


def first(answer):
    """Seconds to build and for the first step."""
    return f"{answer['build']:.2f}+{answer['first']:.2f}" if answer else ""


def table(results, libraries, gflops, gbytes):
    """The rows as Markdown."""
    extra = ["ratio", "of", "limit", "ok", "products", "memory"]
    head = ["step", *libraries, *extra]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in results:
        cells = [show(r.seconds[n]) if n in r.seconds else "failed" if r.failed.get(n) != "not installed" else "absent"
                 for n in libraries]
        ratio, peer = r.ratio(), r.fastest()
        lines.append("| " + " | ".join([
            r.name, *cells, "" if ratio is None else f"{ratio:.2f}", peer[0] if peer else "", f"{r.spec.limit:.2f}",
            "" if ratio is None else "yes" if ratio <= r.spec.limit else "NO", show(r.spec.flops / gflops / 1e9),
            show(r.spec.traffic() / gbytes / 1e9)]) + " |")
    return lines


def start_table(results, libraries):
    libraries = [n for n in libraries if any([n in r.cold for r in results])]
    head = ["step", *[f"{n} {how}" for n in libraries for how in ("cold", "warm")], *[n + " MiB" for n in libraries],
            "calls", "arena MiB", "temporaries MiB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in results:
        own = r.warm.get("numbagrad") or r.cold.get("numbagrad") or {}
        cells = [first(into.get(n)) for n in libraries for into in (r.cold, r.warm)]
        cells += [f"{r.warm[n]['peak']:.0f}" if n in r.warm else "" for n in libraries]
        cells += [str(own.get("calls", "")), *[f"{own[k]:.2f}" if k in own else "" for k in ("arena", "temporaries")]]
        lines.append("| " + " | ".join([r.name, *cells]) + " |")
    return lines


def main(options, machine):
    """Measure and print; ``options`` are those of ``peers.py``."""
    chosen = [n for n in SPECS if not options.only or any(o in n for o in options.only)]
    left_out = {*options.without, *(["torch.compile"] if "pytorch" in options.without else [])}
    libraries = [n for n in PACKAGES if n not in left_out]
    if not chosen:
        return f"no step is named like {' or '.join(options.only)}; there are {', '.join(SPECS)}"
    done = subprocess.run([sys.executable, os.path.join(HERE, "machine.py")], env=environment(options.threads),
                          stdout=subprocess.PIPE, text=True, check=True)
    gflops, gbytes = json.loads(done.stdout)
    results = []
    for name in chosen:
        result = timed(name, libraries, options.rounds, options.threads)
        if not options.no_processes:
            starts(result, libraries, options.threads)
        results.append(result)
    print(f"{datetime.date.today()}, {machine}, {options.threads} thread(s), pinned, medians of {options.rounds} alternating "
          f"rounds; ratio = numbagrad (ng.compile) / fastest peer;\nproducts: the step's flops at {gflops:.0f} GFLOP/s (a "
          f"matrix product of side 1024); memory: its least traffic at {gbytes:.1f} GB/s (a copy of 128 MiB)\n")
    print("\n".join(table(results, libraries, gflops, gbytes)))
    if not options.no_processes:
        print("\nSeconds to build model and optimizer + for the first step, over import: in a new process with an empty cache, "
              "and in a second one.\nMiB: peak of the second process over import.\n")
        print("\n".join(start_table(results, libraries)))
    print()
    for r in results:
        for n, why in r.failed.items():
            print(f"{r.name}: {n}: {why}")
        for n, why in r.unstarted.items():
            print(f"{r.name}: {n} in a new process: {why}")
        for n, d in different(r.losses).items():
            print(f"{r.name}: the losses of {n} differ by {d:.1e} from the median: not the same work")
        for n, b in r.busy.items():
            if b > BUSY * options.threads:
                print(f"{r.name}: {n} used {b:.2f} cores")
    return None
