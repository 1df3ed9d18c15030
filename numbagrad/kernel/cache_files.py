"""Files of the disk cache: each carries the checksum of its content and name, and gets its name when it is whole."""

import hashlib
import os
import re
import stat
import time
import warnings

from . import guard, trust
from .cache_folders import FORMAT, cache_dir, create, find_places

MAGIC = b"NGKERNEL%04d" % FORMAT
SUFFIX = ".ngk"
LIMIT_BYTES = 2 << 30
_HEADER = len(MAGIC) + 32
# Sweeping lists the whole directory: at the first write of a process, then after this many writes.
_SWEEP_EVERY = 256
_TOUCH_AFTER = 3600.0
# Names that this module gives; whatever else lies in a directory that a user named is left alone.
_FOLDER = re.compile(r".+-numba.+-llvmlite.+-numpy.+-v\d+")
_TEMPORARY = re.compile(r"[0-9a-z]{1,16}-\d+-[0-9a-f]+-\d+\.tmp")
# A pipe must not be waited for, a link not followed.
_READ = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))

COUNTS = {"hits": 0, "misses": 0}
_refused = set()
_writes = 0


def _entries(path):
    """(path, size, time of last use) of this module's files in a directory."""
    try:
        with os.scandir(path) as listing:
            for file in listing:
                if file.name.endswith(SUFFIX) or _TEMPORARY.fullmatch(file.name):
                    try:
                        info = file.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    yield file.path, info.st_size, info.st_mtime
    except OSError:
        return


def cache_info():
    """dict(path, files, bytes, hits, misses): what is stored on disk, and this process's look-ups."""
    path = cache_dir()
    sizes = [size for name, size, _ in _entries(path) if name.endswith(SUFFIX)] if path else []
    return {"path": path, "files": len(sizes), "bytes": sum(sizes), **COUNTS}


def clear():
    """Remove every stored kernel of the present versions; returns how many were removed."""
    path = cache_dir()
    removed = 0
    for name, _, _ in list(_entries(path)) if path else ():
        removed += remove(name) and name.endswith(SUFFIX)
    return removed


def remove(name):
    """Whether a file could be removed."""
    try:
        os.unlink(name)
    except OSError:
        return False
    return True


def _sweep(path, limit):
    """Drop the least recently used kernels of all versions until three quarters of `limit` bytes remain."""
    now = time.time()
    kept, total = [], 0
    parent = os.path.dirname(path)
    try:
        folders = [os.path.join(parent, name) for name in os.listdir(parent) if _FOLDER.fullmatch(name)]
    except OSError:
        return
    for folder in folders:
        for name, size, used in _entries(folder):
            if name.endswith(".tmp"):
                # A writer that died; a live one needs milliseconds.
                if now - used > 3600:
                    remove(name)
            else:
                kept.append((used, size, name))
                total += size
    if total <= limit:
        return
    for _, size, name in sorted(kept):
        if total <= limit * 3 // 4:
            break
        if remove(name):
            total -= size


def _checksum(name, payload):
    """Of content and name, so that a file is good under its own name only."""
    digest = hashlib.sha256(name.encode() + b"\0")
    digest.update(payload)
    return digest.digest()


def read(directory, name):
    """The payload stored under `name`, or None; a damaged file is removed, one that others can change is not used."""
    path = os.path.join(directory, name)
    try:
        with open(os.open(path, _READ), "rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or not _accepted(path, info):
                return None
            data = file.readall()
    except OSError:
        return None
    payload = memoryview(data)[_HEADER:]
    if data[: len(MAGIC)] != MAGIC or _checksum(name, payload) != data[len(MAGIC) : _HEADER]:
        remove(path)
        return None
    if time.time() - info.st_mtime > _TOUCH_AFTER:
        try:
            os.utime(path)
        except OSError:
            pass
    return payload


def _accepted(path, info):
    """Whether nobody else can write to an opened file; the first that fails in a directory is reported."""
    wrong = trust.problem(info)
    if not wrong:
        return True
    directory = os.path.dirname(path)
    if directory not in _refused:
        _refused.add(directory)
        warnings.warn(
            f"numbagrad does not use kernels that others can change: {path} {wrong}; it is compiled again. Remove such "
            f"files from {directory}, or set NUMBAGRAD_CACHE_DIR to a directory of your own",
            RuntimeWarning,
            stacklevel=2,
        )
    return False


def _store(directory, name, payload):
    """Whether the payload is stored under `name` now, whole; nothing is where it cannot be."""
    try:
        file, temporary = create(directory, name[:16])
    except OSError:
        return False
    try:
        with file:
            file.write(MAGIC + _checksum(name, payload))
            file.write(payload)
        os.replace(temporary, os.path.join(directory, name))
    except OSError:
        # A full disk, or on Windows a reader holding the old file: the kernel stays in memory.
        remove(temporary)
        return False
    return True


def write(directory, name, payload):
    """Store the payload under `name`; now and then the least recently used files go."""
    global _writes
    if not _store(directory, name, payload):
        return
    with guard.LOCK:
        _writes += 1
        due = _writes % _SWEEP_EVERY == 1
    if due:
        _sweep(directory, LIMIT_BYTES)


def read_bytes(name):
    """What `write_bytes` stored under `name` (a hash of all that it depends on), or None."""
    for directory in find_places()[0]:
        found = read(directory, name + SUFFIX)
        if found is not None:
            COUNTS["hits"] += 1
            return found
    COUNTS["misses"] += 1
    return None


def write_bytes(name, payload):
    """Store bytes under `name`, where a directory is writable."""
    directory = cache_dir()
    if directory is not None:
        write(directory, name + SUFFIX, payload)


def read_from(directory, name):
    """What `write_to` stored in a directory that the user named, or None."""
    return read(directory, name + SUFFIX)


def write_to(directory, name, payload):
    """Store bytes in a directory that the user named, whose other files are left alone."""
    _store(directory, name + SUFFIX, payload)
