"""NumPy memory between forbidden pages: a kernel that reads or writes one element outside of an array dies by a signal.

``install`` replaces ``np.empty`` and ``np.zeros`` and must come before the library is imported. Every array ends at a
forbidden page or, with ``side("before")``, begins at one; what is left of its pages is filled with a mark."""

import ctypes
import mmap

import numpy as np
import numpy.ma  # noqa: F401  (reads the documentation of np.empty)

PAGE, LIMIT, MARK = mmap.PAGESIZE, 1 << 20, 0xA5
plain_empty, plain_zeros = np.empty, np.zeros
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_before = [False]
_live = []  # (all bytes between the forbidden pages, first and last byte of the array) since the last ``harmed``


def side(which):
    """Where the arrays made from now on touch a forbidden page: "before" or "after" them."""
    _before[0] = which == "before"


def memory(nbytes):
    """``nbytes`` bytes at a forbidden page; none are an address within one."""
    pages = max(1, -(-nbytes // PAGE))
    whole = np.frombuffer(mmap.mmap(-1, (pages + 2) * PAGE), np.uint8)
    base = whole.ctypes.data
    first, last = (base, PAGE), (base + (pages + 1) * PAGE, PAGE)
    for at, size in (first, last) if nbytes else (first, (base + PAGE, PAGE), last):
        if _libc.mprotect(at, size, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    if not nbytes:
        return np.frombuffer(whole, np.uint8, PAGE, PAGE)[:0]
    inside = whole[PAGE:(pages + 1) * PAGE]
    inside[:] = MARK
    start = 0 if _before[0] else len(inside) - nbytes
    if len(_live) < 400:
        _live.append((inside, start, start + nbytes))
    return inside[start:start + nbytes]


def empty(shape, dtype=float, *rest, **options):
    """``np.empty`` in fenced memory (arrays of objects or of nothing, other orders and large ones are NumPy's)."""
    dtype = np.dtype(dtype)
    try:
        sizes = tuple(map(int, shape)) if hasattr(shape, "__len__") else (int(shape),)
    except TypeError:
        return plain_empty(shape, dtype, *rest, **options)
    count = 1
    for n in sizes:
        count *= n
    if rest or options or min(sizes, default=1) < 0 or count * dtype.itemsize > LIMIT or dtype.hasobject or not dtype.itemsize:
        return plain_empty(shape, dtype, *rest, **options)
    return memory(count * dtype.itemsize).view(dtype).reshape(sizes)


def zeros(shape, dtype=float, *rest, **options):
    """``np.zeros`` in fenced memory."""
    if rest or options:
        return plain_zeros(shape, dtype, *rest, **options)
    array = empty(shape, dtype)
    array[...] = 0
    return array


def place(array):
    """A copy of an array in fenced memory."""
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def harmed():
    """How many arrays made since the last call lost marks around them."""
    bad = sum(bool((inside[:start] != MARK).any() or (inside[stop:] != MARK).any()) for inside, start, stop in _live)
    _live.clear()
    return bad


def install():
    """Put the fenced functions in the place of NumPy's."""
    np.empty, np.zeros = empty, zeros
