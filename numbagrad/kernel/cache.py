"""Content-addressed disk cache of compiled functions, one self-checking file per overload.

A file is found by the hash of everything its machine code depends on, so nothing is ever invalidated: a changed
kernel, library version, CPU or option is simply another file. Files are written beside their final name and moved
into place in one step, so any number of processes may share a directory without locks. A file that does not carry
the checksum of its content and name is dropped and compiled again: damaged ones, and ones that were renamed.

Loading a file runs the machine code in it. So directories and files are used only if nobody else can write to them
(`trust`), and what is read around the machine code is plain data (`entry`).
"""

import contextlib
import functools
import hashlib
import itertools
import os
import re
import stat
import sys
import time
import warnings

from . import entry, guard, link, trust
from .fingerprint import callees, fingerprint

__all__ = ["attach", "cache_dir", "cache_info", "clear", "fingerprint", "read_bytes", "read_from", "seal", "write_bytes",
           "write_to"]

FORMAT = 4
MAGIC = b"NGKERNEL%04d" % FORMAT
SUFFIX = ".ngk"
LIMIT_BYTES = 2 << 30
_HEADER = len(MAGIC) + 32
# Sweeping lists the whole directory: at the first write of a process, then after this many writes.
_SWEEP_EVERY = 256
_TOUCH_AFTER = 3600.0
_SEALED = re.compile("_h[0-9a-f]{16}$")
# Names that this module gives; whatever else lies in a directory that a user named is left alone.
_FOLDER = re.compile(r".+-numba.+-llvmlite.+-numpy.+-v\d+")
_TEMPORARY = re.compile(r"[0-9a-z]{1,16}-\d+-[0-9a-f]+-\d+\.tmp")
# A pipe must not be waited for, a link not followed.
_READ = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC"))

_counts = {"hits": 0, "misses": 0}
_places = {}
_refused = set()
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


_serial = itertools.count()


def _make(directory):
    """Make a directory and those above it, open to this user alone."""
    if os.path.isdir(directory):
        return
    parent = os.path.dirname(directory)
    if parent and parent != directory:
        _make(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)


def _create(directory, stem):
    """Open a new file in `directory` (made when missing) under a name no other writer uses."""
    _make(directory)
    name = os.path.join(directory, f"{stem}-{os.getpid()}-{time.time_ns():x}-{next(_serial)}.tmp")
    return open(os.open(name, _CREATE, 0o644), "wb"), name


def _inspect(directory):
    """(may be read, may be written, what is wrong) of a directory, which is made when it is missing."""
    wrong = trust.path_problem(directory)
    if wrong:
        return False, False, wrong
    try:
        file, name = _create(directory, "probe")
        with file:
            wrong = trust.problem(os.fstat(file.fileno()))
        os.unlink(name)
    except OSError as error:
        return True, False, str(error)
    # A file system without owners or permissions shows itself only now.
    wrong = trust.path_problem(directory) or wrong and f"a new file in it {wrong}"
    return wrong is None, wrong is None, wrong


def _versions():
    guard.load()
    import llvmlite
    import numba
    import numpy

    python = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
    return f"{python}-numba{numba.__version__}-llvmlite{llvmlite.__version__}-numpy{numpy.__version__}-v{FORMAT}"


def _find_places():
    """(directories to read, directory to write or None) for the present environment, found once per setting."""
    chosen = os.environ.get("NUMBAGRAD_CACHE_DIR")
    key = (chosen, os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"), os.environ.get("TMPDIR"))
    found = _places.get(key)
    if found is not None:
        return found
    first = os.path.abspath(os.path.join(chosen or _platform_dir(), _versions()))
    readable, writable, wrong = _inspect(first)
    reads, write = [first] * readable, first if writable else None
    if write is None:
        second = os.path.join(_temp_dir(), _versions())
        # Others may make links in a shared temporary directory.
        if not os.path.islink(os.path.dirname(second)) and _inspect(second)[1]:
            write = second
            reads.append(second)
    _places[key] = reads, write
    if not writable:
        instead = f"using {write}" if write else "kernels will be compiled again in every process"
        cannot = "cannot write its kernel cache" if readable else "does not use a kernel cache that others can change,"
        warnings.warn(
            f"numbagrad {cannot} in {first} ({wrong}): {instead}; set NUMBAGRAD_CACHE_DIR to a directory of your own"
            + ("" if readable else ", or make this one yours alone (chown, chmod go-w)"),
            RuntimeWarning,
            stacklevel=2,
        )
    return reads, write


def cache_dir():
    """Directory into which compiled kernels are written, or None where no place is writable.

    ``NUMBAGRAD_CACHE_DIR``, else the platform's cache directory, else a private one under the temporary directory.
    """
    return _find_places()[1]


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
        folders = [os.path.join(parent, name) for name in os.listdir(parent) if _FOLDER.fullmatch(name)]
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


def _checksum(name, payload):
    """Of content and name, so that a file is good under its own name only."""
    digest = hashlib.sha256(name.encode() + b"\0")
    digest.update(payload)
    return digest.digest()


def _read(directory, name):
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
        _unlink(path)
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
        file, temporary = _create(directory, name[:16])
    except OSError:
        return False
    try:
        with file:
            file.write(MAGIC + _checksum(name, payload))
            file.write(payload)
        os.replace(temporary, os.path.join(directory, name))
    except OSError:
        # A full disk, or on Windows a reader holding the old file: the kernel stays in memory.
        _unlink(temporary)
        return False
    return True


def _write(directory, name, payload):
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
    for directory in _find_places()[0]:
        found = _read(directory, name + SUFFIX)
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


def read_from(directory, name):
    """What `write_to` stored in a directory that the user named, or None."""
    return _read(directory, name + SUFFIX)


def write_to(directory, name, payload):
    """Store bytes in a directory that the user named, whose other files are left alone."""
    _store(directory, name + SUFFIX, payload)


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


# The files that turn a kernel's text into machine code.
COMPILER = ("jit.py", "placeholders.py", "casts.py", "native.py", "intrinsics.py", "fastmath.py", "define.py", "inlined.py",
            "link.py", "entry.py")


@functools.cache
def _compiler():
    """Hash of those files: two releases may compile one text differently."""
    folder = os.path.dirname(os.path.abspath(__file__))
    digest = hashlib.sha256()
    for name in COMPILER:
        with open(os.path.join(folder, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _environment(codegen):
    """Everything outside the function that shapes its machine code: versions, options of Numba, CPU and features."""
    from numba.core import config

    options = tuple(getattr(config, name, None) for name in _CONFIG)
    # A codegen's CPU and features are fixed when it is made, so its text is made once per set of options.
    known = codegen.__dict__.setdefault("_numbagrad_environment", {})
    if options not in known:
        known[options] = "\n".join((_versions(), _compiler(), sys.version, repr(options), *map(str, codegen.magic_tuple())))
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
                found = self._load(directory, name, target_context)
                if found is not None:
                    break
        _counts["misses" if found is None else "hits"] += 1
        return found

    def _load(self, directory, name, target_context):
        payload = _read(directory, name)
        if payload is None:
            return None
        try:
            return link.rebuild(target_context, *entry.load(payload))
        except Exception:
            # The checksum held, yet the content does not load (a module that it names is gone, say): compile anew.
            _unlink(os.path.join(directory, name))
            return None

    def save_overload(self, sig, cres):
        """Store the CompileResult of `sig`, unless its code holds addresses of this process."""
        if not self._enabled or cres.library.has_dynamic_globals or any(not x.can_cache for x in cres.lifted):
            return
        name = self.file_name(sig, cres.codegen)
        directory = cache_dir()
        if name is None or directory is None:
            return
        try:
            payload = entry.dump(*link.reduce(cres))
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
