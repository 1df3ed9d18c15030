"""Peak memory of the own process."""

from __future__ import annotations

import re
import resource


def peak():
    """MiB of the most memory this process has held.

    On Linux from its address space: ``ru_maxrss`` begins at what the process that started this one had held."""
    try:
        with open("/proc/self/status") as f:
            return int(re.search(r"VmHWM:\s*(\d+) kB", f.read())[1]) / 1024
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
