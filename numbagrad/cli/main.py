"""Command line: ``python -m numbagrad run script.py``, ``info``, ``warmup``, ``source``, ``api``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import platform
import sys


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    from .. import __version__
    from .source import DTYPES, text
    parser = argparse.ArgumentParser(prog=_name(), description=__doc__.replace("``", "'"))
    parser.add_argument("--version", action="version", version=f"numbagrad {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("run", help="run a PyTorch script on numbagrad", usage="%(prog)s [-h] (script | -m module) ...",
                            description="Run a PyTorch script or module; 'import torch' gives numbagrad.")
    p.add_argument("-m", dest="module", help="run a module of the search path, as python -m does")
    p.add_argument("script", nargs="?", help="a file, or a folder with __main__.py")
    p.add_argument("args", nargs=argparse.REMAINDER, help="what the script finds in sys.argv")
    commands.add_parser("info", help="print CPU features, BLAS core, threading layer, cache and CUDA state")
    p = commands.add_parser("warmup", help="compile the common kernels into the disk cache")
    p.add_argument("--dtype", choices=["float32", "float64", "all"], default="float32",
                   help="floating dtype of the kernels (default: float32)")
    p.add_argument("--all", action="store_true", help="every op, not only those of everyday training (minutes)")
    p = commands.add_parser("api", help="print docs/api.md: every op, from the registry, and which of PyTorch's names are here")
    p.add_argument("--write", action="store_true", help="write the page, and the count of names in the README, instead")
    commands.add_parser("names", help="write public/documented.py: the names that the installed PyTorch documents")
    commands.add_parser("contents", help="write ops/contents.py: which file of the catalogue has which ops")
    p = commands.add_parser("source", help="print what an op is made of: formula, gradient, generated loops and call")
    p.add_argument("name", help="an op as users call it (softmax, torch.add, nn.functional.silu)")
    p.add_argument("--dtype", default="float32", choices=list(DTYPES),
                   help="dtype of the operands (default: float32)")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="the device that the loops are for (default: cpu)")
    options = parser.parse_args(_without_script(argv))
    if options.command == "run":
        return _run(parser, argv[1:])
    if options.command == "info":
        print("\n".join(f"{k:<16}{v}" for k, v in info().items()))
    elif options.command == "source":
        try:
            sys.stdout.write(text(options.name, options.dtype, options.device))
        except LookupError as e:
            parser.error(str(e))
    elif options.command == "api":
        from .api import page, write_page
        if options.write:
            write_page()
        else:
            sys.stdout.write(page())
    elif options.command == "contents":
        from .contents import write
        write()
    elif options.command == "names":
        from .documented import write as write_names
        write_names()
    else:
        return 1 if warmup(["float32", "float64"] if options.dtype == "all" else [options.dtype], options.all) else 0
    return 0


def _name():
    return "python -m numbagrad" if os.path.basename(sys.argv[0] or "") in ("__main__.py", "-m", "-c") else "numbagrad"


def _without_script(argv):
    """The arguments without those of the script to run: argparse would swallow a "--" meant for it."""
    if argv[:1] != ["run"]:
        return argv
    if argv[1:2] == ["-m"]:
        return argv[:3]
    return argv[:2]


def _run(parser, argv):
    """``run script ...`` and ``run -m module ...``."""
    from . import run as script
    if not argv:
        parser.error("run needs a script, or -m and the name of a module")
    if not argv[0].startswith("-m"):
        try:
            script.check(argv[0])
        except OSError as e:
            parser.error(str(e))
        script.run(argv[0], argv[1:])
        return 0
    name, rest = (argv[1], argv[2:]) if argv[0] == "-m" else (argv[0][2:], argv[1:])
    try:
        spec = script.find_module(name, rest)
    except ModuleNotFoundError as e:
        if e.name != name:  # what the package imports
            raise
        parser.error(str(e))
    script.run_module(spec)
    return 0


def info():
    """What this machine and installation look like to numbagrad, as a dict of text."""
    from .. import __version__
    out = {"numbagrad": __version__, "python": f"{platform.python_version()} ({platform.machine()}, {platform.system()})"}
    out["numba"] = f"{_version('numba')} ({', '.join(f'{n} {_version(n)}' for n in ('llvmlite', 'numpy', 'scipy'))})"
    for name, text in (("cpu", _cpu), ("features", _features), ("blas core", _blas), ("threads", _threads),
                       ("cache", _cache), ("cuda", _cuda_text)):
        try:
            out[name] = text()
        except ImportError as e:  # what is missing is part of what to say
            out[name] = f"not available: {e}"
    return out


def _version(name):
    from ..base.requires import NEEDED, install
    try:
        return importlib.import_module(name).__version__
    except ImportError as e:
        return f"missing: {install(name) if name in NEEDED else e}"


def _cpu():
    from llvmlite.binding import get_host_cpu_name
    return f"{get_host_cpu_name()}, {os.cpu_count()} cores"


def _features():
    from llvmlite.binding import get_host_cpu_features
    features = get_host_cpu_features()
    return " ".join(f for f in ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "neon", "sve")
                    if features.get(f))


def _blas():
    from ..kernel import blas
    return blas.core_type() or "not OpenBLAS"


def _threads():
    from ..kernel import threads
    return f"{threads.get_num_threads()}, layer {threads.layer()}"


def _cache():
    from ..kernel import cache
    c = cache.cache_info()
    return f"{c['path'] or 'no folder is writable'} ({c['files']} files, {c['bytes'] / 1e6:.1f} MB)"


def _cuda_text():
    from .. import cuda
    if cuda.is_available():
        return ", ".join(cuda.get_device_name(i) for i in range(cuda.device_count()))
    return "not available (" + cuda.why_not() + ")"


def warmup(dtypes, everything=False):
    """Compile what common training scripts use, with a progress bar; returns the number of jobs that failed."""
    import time

    from ..kernel import cache
    from .warmup import jobs
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
