"""Compiling a program's kernels on two cores: a forked child works through the list from its end.

What the child compiles goes into the disk cache, from where the parent loads it. A program whose kernels are all
cached never forks.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import threading
import time
import warnings

from ..kernel import cache, cache_files

PATIENCE = 60.0  # seconds without progress after which a child is given up


def make_all(makers, done=lambda: None):
    """Call every function of the list (kernels are kept where they belong by the functions themselves).

    The list is sorted by cost, cheapest first."""
    makers = _shared(makers)
    found, child, tried = _misses(), None, False
    try:
        for i, make in enumerate(makers):
            if not tried and _misses() > found and len(makers) - i >= 3:
                tried = True
                if _may_fork():
                    child = Child(makers, i)
            if child is not None:
                if i >= child.position():
                    child.wait()
                    child = None
                else:
                    child.reached(i)
            make()
            done()
    finally:
        if child is not None:
            child.stop()


def _shared(makers):
    """The cheapest first, to see whether the cache knows it; then the two dearest, which often call the same functions, and
    each process compiles those anew; the others so that the dear ones come first from the end, where the child begins."""
    rest = makers[:0:-1]
    return [*makers[:1], *rest[:2], *rest[:1:-1]]


def _misses():
    """How many kernels the cache did not know so far."""
    return cache_files.COUNTS["misses"]


def _may_fork():
    return (sys.platform.startswith("linux") and threading.active_count() == 1
            and len(os.sched_getaffinity(0)) > 1 and cache.cache_dir() is not None
            and "NUMBAGRAD_COMPILE_SERIAL" not in os.environ)


class Child:
    """A forked process that compiles from the end of the list down to ``first``."""

    def __init__(self, makers, first):
        self.shared = mmap.mmap(-1, 16)
        self.reached(first)
        self._tell(len(makers))
        with warnings.catch_warnings():
            # Idle threads of BLAS make Python warn; the child neither uses them nor returns.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                for i in range(len(makers) - 1, first, -1):
                    if i <= struct.unpack("=q", self.shared[8:])[0]:
                        break
                    self._tell(i)
                    makers[i]()
            except BaseException:  # the parent meets the same error where it can be reported
                pass
            finally:
                os._exit(0)

    def _tell(self, i):
        self.shared[:8] = struct.pack("=q", i)

    def reached(self, i):
        """The parent compiles item ``i`` now."""
        self.shared[8:] = struct.pack("=q", i)

    def position(self):
        """The item that the child works on; all after it are made."""
        return struct.unpack("=q", self.shared[:8])[0]

    def wait(self):
        """Until the child has ended, or seems to hang."""
        since = time.perf_counter()
        while True:
            pid, _ = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return
            if time.perf_counter() - since > PATIENCE:
                return self.stop()
            time.sleep(0.002)

    def stop(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
