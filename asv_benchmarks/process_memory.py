"""Memory of the own process: its peak, that of a call, and giving back what is free."""

from __future__ import annotations

import ctypes
import os
import re
import resource

trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None  # (glibc's)


def status(name):
    """A line of Linux's about this process, in MiB."""
    with open("/proc/self/status") as f:
        return int(re.search(name + r":\s*(\d+) kB", f.read())[1]) / 1024


def peak():
    """MiB of the most memory this process has held.

    On Linux from its address space: ``ru_maxrss`` begins at what the process that started this one had held."""
    try:
        return status("VmHWM")
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def release():
    """Give back to the system what the C library keeps of freed memory: behind a tensor that stays it would keep gigabytes."""
    if trim is not None:
        trim(0)


def above(run, rounds=3):
    """MiB that a call has at its peak beyond what was there before it, the least of some rounds."""
    found = []
    for _ in range(rounds):
        release()
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")  # the peak begins anew
        before = status("VmRSS")
        run()
        found.append(status("VmHWM") - before)
    return min(found)
