"""Which files may be run: as ssh asks of its keys, they and the directories above them belong to this user or to root, and
nobody else may write to them.

A directory above with the sticky bit, like ``/tmp``, may be open to all: others cannot replace there what is not theirs.
Write access of a group counts unless it is the group of this user alone, which some systems give to every file.
"""

import contextlib
import functools
import os
import stat

__all__ = ["path_problem", "problem"]

_CHECKED = hasattr(os, "geteuid")


def problem(info, above=False):
    """What is wrong with a file or directory of this ``stat`` result, or None. ``above``: it only leads to the others."""
    if not _CHECKED:
        return None
    mine = os.geteuid()
    if info.st_uid not in (0, mine) and not (above and info.st_uid == _unmapped()):
        return f"belongs to user {info.st_uid}, this is user {mine}"
    writers = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writers == stat.S_IWGRP and _private(info.st_gid):
        return None
    if writers and not (above and info.st_mode & stat.S_ISVTX):
        return f"can be written by other users (mode {stat.S_IMODE(info.st_mode):04o})"
    return None


def path_problem(path):
    """What is wrong with a directory or one above it, up to the home directory or the root; None for nothing.

    What does not exist yet is passed over."""
    place, last = os.path.realpath(path), os.path.realpath(os.path.expanduser("~"))
    above = False
    while True:
        with contextlib.suppress(OSError):
            wrong = problem(os.lstat(place), above)
            if wrong:
                return f"{place} {wrong}"
        parent = os.path.dirname(place)
        if parent == place or place == last:
            return None
        place, above = parent, True


@functools.cache
def _private(group):
    """Whether a group is that of this user alone: the user's own, of the same name, without other members."""
    try:
        import grp
        import pwd

        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    return user.pw_gid == group and user.pw_name == entry.gr_name and not set(entry.gr_mem) - {user.pw_name}


@functools.cache
def _unmapped():
    """The user as whom a container shows the owners of directories outside of it (``/`` among them), or None."""
    try:
        with open("/proc/self/uid_map") as file:
            whole = file.read().split() == ["0", "0", "4294967295"]
        with open("/proc/sys/kernel/overflowuid") as file:
            return None if whole else int(file.read())
    except (OSError, ValueError):
        return None
