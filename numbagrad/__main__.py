"""Command line: ``python -m numbagrad run script.py``, ``info``, ``warmup``."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m numbagrad", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("run", help="run a PyTorch script on numbagrad",
                            description="Run a PyTorch script; 'import torch' gives numbagrad.")
    p.add_argument("script")
    p.add_argument("args", nargs=argparse.REMAINDER, help="what the script finds in sys.argv")
    commands.add_parser("info", help="print CPU features, BLAS core, threading layer, cache and CUDA state")
    p = commands.add_parser("warmup", help="compile the common kernels into the disk cache")
    p.add_argument("--dtype", choices=["float32", "float64", "all"], default="float32")
    p.add_argument("--all", action="store_true", help="every op, not only those of everyday training (minutes)")
    commands.add_parser("api", help="print docs/api.md: every op, from the registry")
    if len(argv) > 1 and argv[0] == "run" and not argv[1].startswith("-"):
        # Not parsed: argparse would swallow a "--" meant for the script.
        options = argparse.Namespace(command="run", script=argv[1], args=argv[2:])
    else:
        options = parser.parse_args(argv)
    if options.command == "run":
        if not os.path.exists(options.script):
            parser.error(f"no such script: '{options.script}'")
        from . import script
        script.run(options.script, options.args)
    elif options.command == "info":
        print("\n".join(f"{k:<16}{v}" for k, v in info().items()))
    elif options.command == "api":
        from .apidoc import page
        sys.stdout.write(page())
    else:
        return 1 if warmup(["float32", "float64"] if options.dtype == "all" else [options.dtype], options.all) else 0
    return 0


def info():
    """What this machine and installation look like to numbagrad, as a dict of text."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba
    import numpy
    import scipy

    from . import __version__
    from .kernel import blas, cache, threads
    features = llvm.get_host_cpu_features()
    shown = [f for f in ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "neon", "sve")
             if features.get(f)]
    c = cache.cache_info()
    out = {
        "numbagrad": __version__,
        "python": f"{platform.python_version()} ({platform.machine()}, {platform.system()})",
        "numba": f"{numba.__version__} (llvmlite {llvmlite.__version__}, numpy {numpy.__version__}, scipy "
                 f"{scipy.__version__})",
        "cpu": f"{llvm.get_host_cpu_name()}, {os.cpu_count()} cores",
        "features": " ".join(shown),
        "blas core": blas.core_type(),
        "threads": f"{threads.get_num_threads()}, layer {threads.layer()}",
        "cache": f"{c['path']} ({c['files']} files, {c['bytes'] / 1e6:.1f} MB)",
        "cuda": _cuda_text(),
    }
    return out


def _cuda_text():
    from . import cuda
    if cuda.is_available():
        return ", ".join(cuda.get_device_name(i) for i in range(cuda.device_count()))
    return "not available (" + cuda.why_not() + ")"


def warmup(dtypes, everything=False):
    """Compile what common training scripts use, with a progress bar; returns the number of jobs that failed."""
    import time

    from .kernel import cache
    from .warm import jobs
    begin, before = time.perf_counter(), cache.cache_info()["files"]
    work = jobs(dtypes, everything)
    failed = []
    with _progress(len(work)) as show:
        for name, job in work:
            show(name)
            try:
                job()
            except Exception as e:  # one op that fails must not keep the others from being compiled
                failed.append(f"{name}: {type(e).__name__}: {str(e).partition(chr(10))[0]}")
    c = cache.cache_info()
    print(f"{len(work) - len(failed)} of {len(work)} jobs in {time.perf_counter() - begin:.1f} s, "
          f"{c['files'] - before} new kernels; the cache at {c['path']} holds {c['files']} files, {c['bytes'] / 1e6:.1f} MB")
    for text in failed:
        print("failed:", text, file=sys.stderr)
    return len(failed)


@contextlib.contextmanager
def _progress(total):
    """A function that shows the job that begins: a bar by tqdm, or a plain one that needs nothing."""
    try:
        from tqdm import tqdm
    except ImportError:
        done = -1

        def show(name):
            nonlocal done
            done += 1
            # A terminal redraws one line; a file gets a line at each tenth.
            if sys.stdout.isatty():
                width = 30 * done // total
                print(f"\r[{'#' * width}{'.' * (30 - width)}] {done}/{total} {name[:30]:<30}", end="", flush=True)
            elif 10 * done // total != 10 * (done - 1) // total:
                print(f"{100 * done // total:3} % {name}", flush=True)
        yield show
        if sys.stdout.isatty():
            print(f"\r[{'#' * 30}] {total}/{total} {'':30}")
        return
    with tqdm(total=total, unit="job", file=sys.stdout, dynamic_ncols=True) as bar:
        first = True

        def show(name):
            nonlocal first
            bar.update(0 if first else 1)
            bar.set_postfix_str(name)
            first = False
        yield show
        bar.update(1)


if __name__ == "__main__":
    sys.exit(main())
