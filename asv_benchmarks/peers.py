"""numbagrad against PyTorch (and JAX) on the same work.

    python asv_benchmarks/peers.py [--rounds 9] [--threads 1] [--only NAME ...] [--without LIBRARY ...] [--markdown]
    python asv_benchmarks/peers.py --compiled [--rounds 9] [--threads 1] [--only NAME ...] [--no-processes]
    python asv_benchmarks/peers.py --registry [--sizes small large] [--all] [--rounds 9] [--threads 1] [--only NAME ...]
    python asv_benchmarks/peers.py --registry --forms [--sizes small large] [--all] [--rounds 9] [--threads 1] [--only NAME ...]
    python asv_benchmarks/peers.py --registry --memory [--sizes small large] [--all] [--threads 1] [--only NAME ...]

One process per library, started once and asked in turn: round after round, every library times the case for a fixed
share of a second, so a slow phase of the machine meets all of them. The figure is the ratio of the medians; only ratios
of one run are comparable. Libraries that are not installed are left out and named. ``--compiled`` measures ``ng.compile``
on whole training steps instead, see ``compiled_steps``; ``--registry`` every op from its own samples, see ``registry_sweep``.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import own_frames
import process_memory
from figures import calibrate, pin, processors, show

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = {"numbagrad": "numbagrad", "pytorch": "torch", "jax": "jax"}


# --- worker: one library, commands on standard input -----------------------------------------------------------------------

def worker(name, threads):
    sys.path.insert(0, HERE)
    pin(processors(threads))
    if name == "jax":
        import peer_jax
        make = {n: f for n, f in peer_jax.CASES.items()}
    else:
        import peer_cases
        lib = __import__(PACKAGES[name])
        if name == "pytorch":
            import torch.nn  # noqa: F401
        lib.set_num_threads(threads)
        make = {n: (lambda f=f: f(lib)) for n, (f, _, _) in peer_cases.CASES.items()}
    run, number = None, 1
    for line in sys.stdin:
        command, case = json.loads(line)
        answer = None
        if command == "prepare":
            run = None
            if case in make:
                run = make[case]()
                run()
                number = calibrate(run, 0.06)
                answer = number
        elif command == "time" and run is not None:
            start = time.perf_counter()
            for _ in range(number):
                run()
            answer = (time.perf_counter() - start) / number
        elif command == "memory":
            answer = process_memory.peak()
        print(json.dumps(answer), flush=True)


class Worker:
    def __init__(self, name, threads):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads),
                   OPENBLAS_NUM_THREADS=str(threads),
                   XLA_FLAGS=f"--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads={threads}")
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--worker", name, "--threads",
                                         str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def ask(self, command, case=None):
        self.process.stdin.write(json.dumps([command, case]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended during '{command} {case}'")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


# --- driver -----------------------------------------------------------------------------------------------------------------

def installed():
    return [n for n, p in PACKAGES.items() if importlib.util.find_spec(p)]


def compare(names, cases, rounds, threads):
    """{case: {library: median seconds}}."""
    workers = {n: Worker(n, threads) for n in names}
    out = {}
    for case in cases:
        times = {}
        present = [n for n in names if workers[n].ask("prepare", case) is not None]
        for _ in range(rounds):
            for n in present:
                times.setdefault(n, []).append(workers[n].ask("time"))
        out[case] = {n: statistics.median(t) for n, t in times.items()}
    for w in workers.values():
        w.close()
    return out


def memory(names, cases, threads):
    """{case: {library: peak MiB of a process that runs 200 steps}}."""
    out = {}
    for case in cases:
        for n in names:
            w = Worker(n, threads)
            if w.ask("prepare", case) is not None:
                w.ask("time")
                out.setdefault(case, {})[n] = w.ask("memory")
            w.close()
    return out


def processes(names, cases, rounds):
    """{name: {library: median seconds}} of whole processes, started alternately."""
    from peer_cases import PROCESSES
    out = {}
    for name in cases:
        script, how, _ = PROCESSES[name]
        times = {}
        for r in range(rounds if how == "warm" else 1):
            for lib in names:
                if lib == "jax" and name != "import":
                    continue
                env = dict(os.environ)
                cold = None
                if how == "cold":
                    if lib != "numbagrad":
                        continue
                    cold = env["NUMBAGRAD_CACHE_DIR"] = tempfile.mkdtemp()
                command = [sys.executable, "-c", script.format(package=PACKAGES[lib])]
                if r == 0 and how == "warm":
                    subprocess.run(command, env=env, check=True)
                start = time.perf_counter()
                subprocess.run(command, env=env, check=True)
                times.setdefault(lib, []).append(time.perf_counter() - start)
                if cold:
                    shutil.rmtree(cold)
        out[name] = {n: statistics.median(t) for n, t in times.items()}
    return out


def row(cells, widths, markdown):
    text = [str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
    return "| " + " | ".join(text) + " |" if markdown else "  ".join(text)


def table(results, limits, names, markdown):
    widths = [26, *[11] * len(names), 7, 7, 4]
    head = ["work", *names, "ratio", "limit", "ok"]
    lines = [row(head, widths, markdown)]
    if markdown:
        lines.append("|" + "|".join("---" for _ in widths) + "|")
    for case, times in results.items():
        ratio = times.get("numbagrad", float("nan")) / times["pytorch"] if "pytorch" in times else None
        limit = limits.get(case)
        if isinstance(limit, str):
            good = times["numbagrad"] <= float(limit.split()[0])
        else:
            good = None if ratio is None or limit is None else ratio <= limit
        cells = [case, *[show(times[n]) if n in times else "" for n in names],
                 "" if ratio is None else f"{ratio:.2f}", "" if limit is None else limit,
                 "" if good is None else "yes" if good else "NO"]
        lines.append(row(cells, widths, markdown))
    return lines


def machine():
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as f:
            name = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=9, help="how often each case is timed in each library")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases whose name contains one of these")
    parser.add_argument("--without", nargs="+", default=[], choices=[n for n in PACKAGES if n != "numbagrad"],
                        help="leave out a library though it is installed")
    parser.add_argument("--markdown", action="store_true", help="the table as in README.md")
    parser.add_argument("--no-processes", action="store_true", help="leave out import time and first steps")
    parser.add_argument("--compiled", action="store_true", help="training steps with ng.compile, torch.compile, jax.jit")
    parser.add_argument("--registry", action="store_true", help="every op of the registry, and everyday calls")
    parser.add_argument("--sizes", nargs="+", default=["small", "large"], choices=["small", "large"], help="of --registry")
    parser.add_argument("--forms", action="store_true", help="of --registry: the in-place forms and those with out=")
    parser.add_argument("--memory", action="store_true", help="of --registry: peaks of memory instead of times")
    parser.add_argument("--all", action="store_true", help="all rows of --registry, not only those above their limit")
    options = parser.parse_args()
    if options.worker:
        return own_frames.run(worker, options.worker, options.threads)
    sys.path.insert(0, HERE)
    if options.compiled:
        from compiled_steps import compare as steps
        wrong = steps.main(options, machine())
        return parser.error(wrong) if wrong else None
    if options.registry:
        from registry_sweep import peaks, sweep
        wrong = (peaks if options.memory else sweep).main(options, machine(), datetime.date.today())
        return parser.error(wrong) if wrong else None
    from peer_cases import CASES, PROCESSES
    names = [n for n in installed() if n not in options.without]
    missing = [n for n in PACKAGES if n not in names and n not in options.without]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")

    def chosen(all_names):
        return [c for c in all_names if not options.only or any(o in c for o in options.only)]
    if not chosen([*CASES, *PROCESSES]):
        parser.error(f"no case is named like {' or '.join(options.only)}; there are {', '.join([*CASES, *PROCESSES])}")
    results = compare(names, chosen(CASES), options.rounds, options.threads)
    limits = {n: limit for n, (_, limit, _) in CASES.items()}
    if not options.no_processes:
        for case, times in processes(names, chosen(PROCESSES), max(3, options.rounds // 2)).items():
            results[case], limits[case] = times, PROCESSES[case][2]
    print(f"{datetime.date.today()}, {machine()}, {options.threads} thread(s), pinned, medians of {options.rounds} alternating "
          "rounds; ratio = numbagrad / PyTorch")
    print("\n".join(table(results, limits, names, options.markdown)))
    training = [c for c in chosen(CASES) if c.startswith("mlp")]
    if training:
        print("peak memory of the process, MiB:")
        for case, peak in memory([n for n in names if n != "jax"], training, options.threads).items():
            print("  " + case.ljust(24) + "  ".join(f"{n} {m:.0f}" for n, m in peak.items()))


if __name__ == "__main__":
    main()
