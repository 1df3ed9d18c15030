"""Functions that go through the disk cache, and what lies there then."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from numbagrad.kernel import cache

SIGNATURE = "int64(int64, int64)"
ROOT = str(Path(cache.__file__).resolve().parents[2])
FACTOR = 3


def helper(x):
    return x * FACTOR


def define(text="a * 10 + b", name="kernel", **names):
    space = {"__name__": __name__, **names}
    exec(f"def {name}(a, b):\n    return {text}\n", space)
    return space[name]


def compiled(fn, key=None, **options):
    import numba

    dispatcher = cache.attach(numba.njit(**options)(fn), key or cache.fingerprint(fn))
    dispatcher.compile(SIGNATURE)
    return dispatcher


def files(place):
    return sorted(place.rglob("*" + cache.SUFFIX))


def counts():
    info = cache.cache_info()
    return info["hits"], info["misses"]


def run(script, **env):
    """Output of a script in a fresh process that imports this project."""
    env = {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "error", **env}
    out = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout
