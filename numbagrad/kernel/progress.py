"""The first use of kernels compiles them, which may take half a minute: one line on standard error says so.

Loading from the disk cache is not compiling and never says anything. ``NUMBAGRAD_QUIET=1`` turns the line off, and so does
``CI``, which continuous integration sets.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

PATIENCE = 2.0  # seconds of compiling before the line
OFF = ("", "0", "false", "no")
_state = {"kernels": 0, "seconds": 0.0, "said": False, "covered": 0}


def wanted():
    """Whether messages about progress may be written: neither NUMBAGRAD_QUIET nor CI is set."""
    return all(os.environ.get(name, "").strip().lower() in OFF for name in ("NUMBAGRAD_QUIET", "CI"))


def compile_signature(dispatcher, signature):
    """``dispatcher.compile(signature)``, counted when the disk cache did not have it."""
    begin = time.perf_counter()
    dispatcher.compile(signature)
    if dispatcher.stats.cache_misses:
        _compiled(dispatcher.py_func.__name__, time.perf_counter() - begin)


def _compiled(name, seconds):
    if _state["said"] or _state["covered"]:
        return
    _state["kernels"] += 1
    _state["seconds"] += seconds
    if _state["seconds"] >= PATIENCE:
        _state["said"] = True
        if wanted():
            _say(name)


def _say(name):
    from . import cache

    later = "later runs load them from disk" if cache.cache_dir() else "they cannot be stored: no cache folder is writable"
    # What stderr has become (closed, or None without a console) must not stop a kernel.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"numbagrad: compiling kernels at their first use, {_state['kernels']} so far in "
                         f"{_state['seconds']:.1f} s (now {name}); {later} (NUMBAGRAD_QUIET=1 hides this line)\n")
        sys.stderr.flush()


@contextlib.contextmanager
def covered():
    """What is compiled inside is shown by a progress bar, or not at all."""
    _state["covered"] += 1
    try:
        yield
    finally:
        _state["covered"] -= 1
