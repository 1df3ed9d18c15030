"""Temporary files of saves: names that say who writes them, and the removal of those whose writer was killed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import time

__all__ = ["remove_leftovers", "temporary_name"]

# Place (host and process namespace), process, its start, and a random part.
_NAME = re.compile(r"\.saving-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{16}\.tmp")
_PLAIN = re.compile(r"\.saving-[0-9a-f]{16}\.tmp")
# A file of a process that cannot be asked for (another host's, say) is abandoned when nothing was written for this long.
_ABANDONED_SECONDS = 86400.0


@functools.cache
def _place():
    """Eight digits for where process numbers mean the same: boot and process namespace, else the host's name."""
    text = platform.node()
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        text += file.read()
    with contextlib.suppress(OSError):
        text += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _start(pid):
    """When a process started, in ticks since boot; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def temporary_name():
    """A new name for a file that is being written by this process."""
    pid = os.getpid()
    return f".saving-{_place()}-{pid}-{_start(pid)}-{secrets.token_hex(8)}.tmp"


def _is_alive(pid, start):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    now = _start(pid)
    return not start or not now or now == start  # else the number belongs to a later process


def _is_left(name, info):
    """Whether the writer of a file is gone."""
    if hasattr(os, "getuid") and info.st_uid != os.getuid():
        return False
    found = _NAME.fullmatch(name)
    if found is None and not _PLAIN.fullmatch(name):
        return False
    # On Windows signal 0 would end the process.
    if found is not None and os.name == "posix" and found[1] == _place():
        return not _is_alive(int(found[2]), int(found[3]))
    return time.time() - info.st_mtime > _ABANDONED_SECONDS


def remove_leftovers(folder):
    """Remove what saves into ``folder`` left there when they were killed; files of living writers stay."""
    with contextlib.suppress(OSError), os.scandir(folder) as listing:
        for entry in listing:
            if entry.name.startswith(".saving-"):
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False) and _is_left(entry.name, entry.stat(follow_symlinks=False)):
                        os.unlink(entry.path)
