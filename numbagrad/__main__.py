"""Command line: ``python -m numbagrad run script.py``, ``info``, ``warmup``."""

from __future__ import annotations

import argparse
import os
import platform
import sys


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m numbagrad", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("run", help="run a PyTorch script on numbagrad")
    p.add_argument("script")
    p.add_argument("args", nargs=argparse.REMAINDER)
    commands.add_parser("info", help="print CPU features, BLAS core, threading layer, cache and CUDA state")
    p = commands.add_parser("warmup", help="compile the common kernels into the disk cache")
    p.add_argument("--dtype", choices=["float32", "float64", "all"], default="float32")
    options = parser.parse_args(argv)
    if options.command == "run":
        from . import script
        try:
            script.run(options.script, options.args)
        except FileNotFoundError as e:
            if str(e).startswith("no such script"):
                parser.error(str(e))
            raise
    elif options.command == "info":
        print("\n".join(f"{k:<16}{v}" for k, v in info().items()))
    else:
        warmup(["float32", "float64"] if options.dtype == "all" else [options.dtype])
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


def warmup(dtypes):
    """Compile what common training scripts use, with a progress bar."""
    from .warm import jobs
    work = jobs(dtypes)
    try:
        from tqdm import tqdm
    except ImportError:
        print("warmup shows a progress bar when tqdm is installed (pip install 'numbagrad[examples]')", file=sys.stderr)
        bar = work
    else:
        bar = tqdm(work, unit="op", file=sys.stdout)
    done = 0
    for name, job in bar:
        if hasattr(bar, "set_postfix_str"):
            bar.set_postfix_str(name)
        job()
        done += 1
    from .kernel import cache
    c = cache.cache_info()
    print(f"{done} ops warmed; the cache at {c['path']} holds {c['files']} files, {c['bytes'] / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
