"""Where compiled kernels lie: the directories that are read and the one that is written, which nobody else can change."""

import contextlib
import itertools
import os
import sys
import time
import warnings

from . import guard, trust

FORMAT = 4
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC"))
_places = {}


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


def create(directory, stem):
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
        file, name = create(directory, "probe")
        with file:
            wrong = trust.problem(os.fstat(file.fileno()))
        os.unlink(name)
    except OSError as error:
        return True, False, str(error)
    # A file system without owners or permissions shows itself only now.
    wrong = trust.path_problem(directory) or wrong and f"a new file in it {wrong}"
    return wrong is None, wrong is None, wrong


def versions():
    """Name of the folder of what machine code and its files depend on: Python, Numba, llvmlite, NumPy and the format."""
    guard.load()
    import llvmlite
    import numba
    import numpy

    python = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
    return f"{python}-numba{numba.__version__}-llvmlite{llvmlite.__version__}-numpy{numpy.__version__}-v{FORMAT}"


def find_places():
    """(directories to read, directory to write or None) for the present environment, found once per setting."""
    chosen = os.environ.get("NUMBAGRAD_CACHE_DIR")
    key = (chosen, os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"), os.environ.get("TMPDIR"))
    found = _places.get(key)
    if found is not None:
        return found
    first = os.path.abspath(os.path.join(chosen or _platform_dir(), versions()))
    readable, writable, wrong = _inspect(first)
    reads, write = [first] * readable, first if writable else None
    if write is None:
        second = os.path.join(_temp_dir(), versions())
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
    return find_places()[1]
