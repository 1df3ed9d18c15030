"""Content-addressed disk cache of compiled functions, one self-checking file per overload.

A file is found by the hash of everything its machine code depends on, so nothing is ever invalidated: a changed
kernel, library version, CPU or option is simply another file. Files are written beside their final name and moved
into place in one step, so any number of processes may share a directory without locks. A file that does not carry
the checksum of its content and name is dropped and compiled again: damaged ones, and ones that were renamed.

Loading a file runs the machine code in it. So directories and files are used only if nobody else can write to them
(`cache_folders`, `trust`), and what is read around the machine code is plain data (`entry`).
"""

import functools
import hashlib
import os
import re
import sys

from . import cache_files, entry, link
from .cache_files import MAGIC, SUFFIX, cache_info, clear, read_bytes, read_from, write_bytes, write_to
from .cache_folders import cache_dir, find_places, versions
from .fingerprint import callees, fingerprint

__all__ = ["attach", "cache_dir", "cache_info", "clear", "fingerprint", "read_bytes", "read_from", "seal", "write_bytes",
           "write_to"]

_SEALED = re.compile("_h[0-9a-f]{16}$")


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
        known[options] = "\n".join((versions(), _compiler(), sys.version, repr(options), *map(str, codegen.magic_tuple())))
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
            for directory in find_places()[0]:
                found = self._load(directory, name, target_context)
                if found is not None:
                    break
        cache_files.COUNTS["misses" if found is None else "hits"] += 1
        return found

    def _load(self, directory, name, target_context):
        payload = cache_files.read(directory, name)
        if payload is None:
            return None
        try:
            return link.rebuild(target_context, *entry.load(payload))
        except Exception:
            # The checksum held, yet the content does not load (a module that it names is gone, say): compile anew.
            cache_files.remove(os.path.join(directory, name))
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
        cache_files.write(directory, name, payload)


def attach(dispatcher, key_text):
    """Give a Numba CPU dispatcher this disk cache; returns the dispatcher.

    `key_text` must pin everything that the compiled code depends on besides signature, options, versions and CPU;
    :func:`fingerprint` makes such a text. With ``NUMBA_DISABLE_JIT`` set nothing happens.
    """
    if hasattr(dispatcher, "targetctx"):
        seal(dispatcher.py_func, key_text)
        dispatcher._cache = KernelCache(dispatcher, key_text)
    return dispatcher
