"""Content-addressed disk cache of compiled functions, one self-checking file per overload.

A file is found by the hash of everything its machine code depends on, so nothing is ever invalidated: a changed
kernel, library version, CPU or option is simply another file. Files are written beside their final name and moved
into place in one step, so any number of processes may share a directory without locks. A file that does not carry
its own checksum is dropped and compiled again.
"""

import hashlib
import itertools
import os
import pickle
import re
import stat
import sys
import time
import warnings

from . import guard, link
from .fingerprint import callees, fingerprint

__all__ = ["attach", "cache_dir", "cache_info", "clear", "fingerprint", "read_bytes", "seal", "write_bytes"]

FORMAT = 1
MAGIC = b"NGKERNEL%04d" % FORMAT
SUFFIX = ".ngk"
LIMIT_BYTES = 2 << 30
_HEADER = len(MAGIC) + 32
# Sweeping lists the whole directory: at the first write of a process, then after this many writes.
_SWEEP_EVERY = 256
_TOUCH_AFTER = 3600.0
_SEALED = re.compile("_h[0-9a-f]{16}$")

_counts = {"hits": 0, "misses": 0}
_places = {}
_warned = False
_writes = 0


# ---------------------------------------------------------------------------------------------------------- places


def _platform_dir():
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
        return os.path.join(base, "numbagrad", "Cache")
    if sys.platform == "darwin":
        return os.path.join(os.path.expanduser("~"), "Library", "Caches", "numbagrad")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "numbagrad")


def _temp_dir():
    import tempfile

    user = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return os.path.join(tempfile.gettempdir(), f"numbagrad-{user}")


def _trusted(path):
    # Loading runs machine code from the file: a shared temporary directory must be ours alone.
    if not hasattr(os, "getuid"):
        return True
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022


_serial = itertools.count()


def _create(directory, stem):
    """Open a new file in `directory` (made when missing) under a name no other writer uses."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    name = os.path.join(directory, f"{stem}-{os.getpid()}-{time.time_ns():x}-{next(_serial)}.tmp")
    return open(name, "xb"), name


def _writable(path):
    try:
        file, name = _create(path, "probe")
        file.close()
        os.unlink(name)
    except OSError:
        return False
    return True


def _versions():
    guard.load()
    import llvmlite
    import numba
    import numpy

    python = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
    return f"{python}-numba{numba.__version__}-llvmlite{llvmlite.__version__}-numpy{numpy.__version__}-v{FORMAT}"


def _find_places():
    """(directories to read, directory to write or None) for the present environment, found once per setting."""
    global _warned
    chosen = os.environ.get("NUMBAGRAD_CACHE_DIR")
    key = (chosen, os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"), os.environ.get("TMPDIR"))
    found = _places.get(key)
    if found is not None:
        return found
    first = os.path.join(chosen or _platform_dir(), _versions())
    reads, write = [first], None
    if _writable(first):
        write = first
    else:
        second = _temp_dir()
        try:
            os.makedirs(second, mode=0o700, exist_ok=True)
        except OSError:
            pass
        if _trusted(second) and _writable(os.path.join(second, _versions())):
            write = os.path.join(second, _versions())
            reads.append(write)
        if not _warned:
            _warned = True
            instead = f"using {write}" if write else "kernels will be compiled again in every process"
            warnings.warn(
                f"numbagrad cannot write its kernel cache in {first}: {instead}; "
                "set NUMBAGRAD_CACHE_DIR to a writable directory",
                RuntimeWarning,
                stacklevel=2,
            )
    _places[key] = reads, write
    return reads, write


def cache_dir():
    """Directory into which compiled kernels are written, or None where no place is writable.

    ``NUMBAGRAD_CACHE_DIR``, else the platform's cache directory, else a private one under the temporary directory.
    """
    return _find_places()[1]


def _entries(path):
    try:
        with os.scandir(path) as listing:
            for entry in listing:
                if entry.name.endswith((SUFFIX, ".tmp")):
                    try:
                        info = entry.stat()
                    except OSError:
                        continue
                    yield entry.path, info.st_size, info.st_mtime
    except OSError:
        return


def cache_info():
    """dict(path, files, bytes, hits, misses): what is stored on disk, and this process's look-ups."""
    path = cache_dir()
    sizes = [size for name, size, _ in _entries(path) if name.endswith(SUFFIX)] if path else []
    return {"path": path, "files": len(sizes), "bytes": sum(sizes), **_counts}


def clear():
    """Remove every stored kernel of the present versions; returns how many were removed."""
    path = cache_dir()
    removed = 0
    for name, _, _ in list(_entries(path)) if path else ():
        removed += _unlink(name) and name.endswith(SUFFIX)
    return removed


def _unlink(name):
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
        folders = [os.path.join(parent, name) for name in os.listdir(parent)]
    except OSError:
        return
    for folder in folders:
        for name, size, used in _entries(folder):
            if name.endswith(".tmp"):
                # A writer that died; a live one needs milliseconds.
                if now - used > 3600:
                    _unlink(name)
            else:
                kept.append((used, size, name))
                total += size
    if total <= limit:
        return
    for _, size, name in sorted(kept):
        if total <= limit * 3 // 4:
            break
        if _unlink(name):
            total -= size


# ----------------------------------------------------------------------------------------------------------- files


def _read(path):
    """The payload stored in `path`, or None; a damaged file is removed."""
    try:
        with open(path, "rb") as file:
            data = file.read()
            used = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    payload = memoryview(data)[_HEADER:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(payload).digest() != data[len(MAGIC) : _HEADER]:
        _unlink(path)
        return None
    if time.time() - used > _TOUCH_AFTER:
        try:
            os.utime(path)
        except OSError:
            pass
    return payload


def _write(directory, name, payload):
    global _writes
    try:
        file, temporary = _create(directory, name[:16])
    except OSError:
        return
    try:
        with file:
            file.write(MAGIC + hashlib.sha256(payload).digest())
            file.write(payload)
        os.replace(temporary, os.path.join(directory, name))
    except OSError:
        # A full disk, or on Windows a reader holding the old file: the kernel stays in memory.
        _unlink(temporary)
        return
    with guard.LOCK:
        _writes += 1
        due = _writes % _SWEEP_EVERY == 1
    if due:
        _sweep(directory, LIMIT_BYTES)


def read_bytes(name):
    """What `write_bytes` stored under `name` (a hash of all that it depends on), or None."""
    for directory in _find_places()[0]:
        found = _read(os.path.join(directory, name + SUFFIX))
        if found is not None:
            _counts["hits"] += 1
            return found
    _counts["misses"] += 1
    return None


def write_bytes(name, payload):
    """Store bytes under `name`, where a directory is writable."""
    directory = cache_dir()
    if directory is not None:
        _write(directory, name + SUFFIX, payload)


# ----------------------------------------------------------------------------------------------------- dispatchers


def _plain(value):
    """Text of an option value that does not depend on hashing or on addresses."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_plain(v)}" for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(map(_plain, value))) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ",".join(map(_plain, value)) + ")"
    if hasattr(value, "__dict__") and type(value).__module__.startswith("numba."):
        return f"{type(value).__name__}{_plain(vars(value))}"
    return repr(value)


_CONFIG = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "ENABLE_AVX", "DISABLE_PERFORMANCE_WARNINGS",
           "DEBUGINFO_DEFAULT", "LLVM_PASS_TIMINGS", "LLVM_REFPRUNE_PASS", "DIVISION_BY_ZERO_ERROR")  # fmt: skip


def _environment(codegen):
    """Everything outside the function that shapes its machine code: versions, options of Numba, CPU and features."""
    from numba.core import config

    options = tuple(getattr(config, name, None) for name in _CONFIG)
    # A codegen's CPU and features are fixed when it is made, so its text is made once per set of options.
    known = codegen.__dict__.setdefault("_numbagrad_environment", {})
    if options not in known:
        known[options] = "\n".join((_versions(), sys.version, repr(options), *map(str, codegen.magic_tuple())))
    return known[options]


def seal(pyfunc, key_text):
    """Make the native symbol of `pyfunc` unique to its content by putting a hash of `key_text` into its name.

    Numba derives symbols from module, name, a per-process counter and argument types. Different functions that share
    those (generated kernels do) could replace each other when they come from the caches of processes that counted
    alike. What `pyfunc` calls is part of its machine code under a symbol of its own, and is pinned by the same text:
    it is sealed too. It must happen before the first compilation.
    """
    if not _SEALED.search(pyfunc.__qualname__):
        mark = hashlib.sha256(f"{pyfunc.__qualname__}\n{key_text}".encode()).hexdigest()[:16]
        pyfunc.__qualname__ = f"{pyfunc.__name__}_h{mark}"
        if pyfunc.__module__ not in sys.modules or pyfunc.__globals__.get("__name__") not in sys.modules:
            # Generated code names no real module, yet Numba imports a stored function's module when it loads it.
            pyfunc.__module__ = pyfunc.__globals__["__name__"] = __name__
        for inner in callees(pyfunc):
            seal(inner.py_func, key_text)
    return pyfunc


class KernelCache:
    """Cache object of one dispatcher; speaks the protocol of ``numba.core.caching._Cache``."""

    def __init__(self, dispatcher, key_text):
        options = dict(dispatcher.targetoptions)
        options.pop("cache", None)
        self._key = f"{key_text}\n{_plain(options)}\n{_plain(dict(getattr(dispatcher, 'locals', {}) or {}))}"
        self._enabled = True
        self._context = dispatcher.targetctx

    @property
    def cache_path(self):
        """Directory the overloads are written to, or None."""
        return cache_dir()

    def enable(self):
        """Look up and store overloads."""
        self._enabled = True

    def disable(self):
        """Neither look up nor store overloads."""
        self._enabled = False

    def flush(self):
        """Nothing to do: what an overload depends on is in its file's name, so no file can be stale."""

    def file_name(self, sig, codegen):
        """Name of the file of one overload, or None when its signature has no lasting text."""
        from numba.core import sigutils

        args, result = sigutils.normalize_signature(sig)
        text = f"{', '.join(map(str, args))} -> {result}"
        if " at 0x" in text:
            return None
        text = "\0".join((MAGIC.decode(), self._key, text, _environment(codegen)))
        return hashlib.sha256(text.encode()).hexdigest() + SUFFIX

    def load_overload(self, sig, target_context):
        """The stored CompileResult of `sig`, or None."""
        if not self._enabled:
            return None
        name = self.file_name(sig, target_context.codegen())
        found = None
        if name is not None:
            for directory in _find_places()[0]:
                found = self._load(os.path.join(directory, name), target_context)
                if found is not None:
                    break
        _counts["misses" if found is None else "hits"] += 1
        return found

    def _load(self, path, target_context):
        payload = _read(path)
        if payload is None:
            return None
        try:
            return link.rebuild(target_context, *pickle.loads(payload))
        except Exception:
            # The checksum held, yet the content does not load (a module that it names is gone, say): compile anew.
            _unlink(path)
            return None

    def save_overload(self, sig, cres):
        """Store the CompileResult of `sig`, unless its code holds addresses of this process."""
        if not self._enabled or cres.library.has_dynamic_globals or any(not x.can_cache for x in cres.lifted):
            return
        name = self.file_name(sig, cres.codegen)
        directory = cache_dir()
        if name is None or directory is None:
            return
        from numba.core.serialize import dumps

        try:
            payload = dumps(link.reduce(cres))
        except Exception:
            return
        _write(directory, name, payload)


def attach(dispatcher, key_text):
    """Give a Numba CPU dispatcher this disk cache; returns the dispatcher.

    `key_text` must pin everything that the compiled code depends on besides signature, options, versions and CPU;
    :func:`fingerprint` makes such a text. With ``NUMBA_DISABLE_JIT`` set nothing happens.
    """
    if hasattr(dispatcher, "targetctx"):
        seal(dispatcher.py_func, key_text)
        dispatcher._cache = KernelCache(dispatcher, key_text)
    return dispatcher
