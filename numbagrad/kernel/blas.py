"""Matrix products by BLAS, called from compiled code through the addresses that SciPy publishes.

Everything is row-major with element strides, addresses in bytes. Matrices with `trans` 1 are stored transposed, with
2 conjugate-transposed; ``ld`` is the distance of two stored rows. Kernels, by NumPy's dtype codes f4, f8, c8, c16:

* ``gemm_X(a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta)``: C = alpha op(A) op(B) + beta C
* ``gemm_batched_X(..., beta, batch, sa, sb, sc)``: the same for a batch at strides sa, sb, sc
* ``gemm_free_X``, ``gemm_batched_free_X``: those two without the GIL
* ``gemv_X(a, x, y, m, n, lda, incx, incy, ta, alpha, beta)``: y = alpha op(A) x + beta y, A stored (m, n); f4, f8
* ``ger_X(a, x, y, m, n, lda, incx, incy, alpha)``: A += alpha x y^T; f4, f8
* ``dot_X(x, y, n, incx, incy)``: sum of x * y; f4, f8

They are attributes of this module made on first use. They run in the calling thread and hold the GIL, which for work of
microseconds is faster than giving it away, but for those that are named for it; :func:`gemm` adds the policy for large work:
the GIL is released and the product is cut over the threads of ``threads.py``. BLAS itself is held at one thread for that, so
there is one thread pool. NumPy's BLAS is another library and is left as it is.
"""

import ctypes
import functools
import os
import sys

from ..base import requires
from . import blas_kernels, threads
from .guard import guarded
from .tape import TAPE, active

__all__ = ["address", "core_type", "gemm", "matmul_args"]

_INT_MAX = 2**31 - 1
_module = None
_serial_blas = False
_natives = {}


# --------------------------------------------------------------------------------------------------------- loading


def _control(path, name, *arguments, result=None):
    """Call an OpenBLAS control function of the library behind an extension module, if it has one."""
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    for symbol in (f"scipy_openblas_{name}", f"openblas_{name}", f"scipy_openblas_{name}64_", f"openblas_{name}64_"):
        # Looking up in the extension also searches the libraries that it was linked with.
        function = getattr(library, symbol, None)
        if function is not None:
            function.restype = result
            return True if result is None and function(*arguments) is None else function(*arguments)
    return None


def _better_core():
    """Core type to ask OpenBLAS for, or None.

    OpenBLAS takes AVX2 code on CPUs it does not know, even those with AVX-512, where its SkylakeX code is up to twice
    as fast. NumPy's copy, already loaded, tells what it would take.
    """
    if "OPENBLAS_CORETYPE" in os.environ:
        return None
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    if not all(features.get(f"avx512{part}") for part in ("f", "cd", "bw", "dq", "vl")):
        return None
    seen = _control(sys.modules["numpy._core._multiarray_umath"].__file__, "get_corename", result=ctypes.c_char_p) \
        if "numpy._core._multiarray_umath" in sys.modules else None  # fmt: skip
    return None if seen in (b"SkylakeX", b"Cooperlake", b"SapphireRapids") else "SKYLAKEX"


def _import_cython(part):
    """SciPy's module ``cython_blas`` or ``cython_lapack``."""
    name = "scipy.linalg." + part
    if name in sys.modules:
        return sys.modules[name]
    import importlib
    import importlib.machinery
    import importlib.util

    scipy = requires.load("scipy", "matrix products")
    core = _better_core()
    if core:
        # Only while the library loads: child processes choose for themselves.
        os.environ["OPENBLAS_CORETYPE"] = core
    try:
        folder = os.path.join(os.path.dirname(scipy.__file__), "linalg")
        for ending in importlib.machinery.EXTENSION_SUFFIXES:
            path = os.path.join(folder, part + ending)
            if os.path.exists(path):
                # The module alone: importing scipy.linalg would take 0.1 s for what is not needed here.
                spec = importlib.util.spec_from_file_location(name, path)
                try:
                    module = importlib.util.module_from_spec(spec)
                    spec.loader.exec_module(module)
                    return module
                except ImportError:
                    break
                finally:
                    # A later import of scipy.linalg finds the same module by itself and binds it in its package.
                    sys.modules.pop(name, None)
        return importlib.import_module(name)
    finally:
        if core:
            del os.environ["OPENBLAS_CORETYPE"]


def _published(module, routine):
    """Address of a routine of one of SciPy's modules."""
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = module.__pyx_capi__[routine]
    return get_pointer(capsule, get_name(capsule))


@guarded
def load_lapack(routine):
    """Make a routine of LAPACK ("dgetrf"), which lies in the same library, known to LLVM by name."""
    from llvmlite.binding import add_symbol

    _load()
    add_symbol(f"numbagrad_lapack_{routine}", _published(_import_cython("cython_lapack"), routine))


def _load():
    """Load BLAS, hold it at one thread, and make its functions known to LLVM by name."""
    return _module or _first_load()


@guarded
def _first_load():
    global _module, _serial_blas
    if _module is None:
        from llvmlite.binding import add_symbol

        module = _import_cython("cython_blas")
        routines = [("sdcz", ("gemm", "trsm")), ("sd", ("gemv", "ger", "dot"))]
        for routine in [x + name for letters, names in routines for x in letters for name in names]:
            add_symbol(f"numbagrad_blas_{routine}", _published(module, routine))
        _serial_blas = _control(module.__file__, "set_num_threads", 1) is not None
        _module = module
    return _module


def core_type():
    """Name of the CPU core OpenBLAS optimises for, or None where SciPy uses another BLAS."""
    name = _control(_load().__file__, "get_corename", result=ctypes.c_char_p)
    return name.decode() if name else None


# --------------------------------------------------------------------------------------------------------- kernels


def _native(name):
    return _natives.get(name) or _first_native(name)


@guarded
def _first_native(name):
    if name not in _natives:
        _load()
        kind, _, code = name.rpartition("_")
        (_natives[name],) = getattr(blas_kernels, kind)(code).overloads.values()
    return _natives[name]


_NAMES = {f"{kind}_{code}" for kind in ("gemm", "gemm_free", "gemm_batched", "gemm_batched_free", "gemm_piece")
          for code in blas_kernels.LETTERS}
_NAMES |= {f"{kind}_{code}" for kind in ("gemv", "ger", "dot") for code in ("f4", "f8")}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    entry = globals()[name] = _native(name).entry_point
    return entry


def _entry(name):
    return globals().get(name) or __getattr__(name)


@guarded
def address(name):
    """Address of the C function of a kernel (``gemm_f4``...), its arguments as in the list above."""
    compiled = _native(name)
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)


@guarded
def inner(code):
    """(what kernels call for ``gemm_X`` and have the code of, its key text)."""
    from .cache import fingerprint
    _load()
    one = blas_kernels.inner(code)
    return one, fingerprint(one.py_func)


@guarded
def by_name(code):
    """(what kernels call for ``gemm_X`` as a function of another library, its key text): 5 ns a call, and compiled once for all
    of them, as it takes longer than most."""
    from llvmlite.binding import add_symbol
    from numba import types

    name = f"numbagrad_gemm_{code}"
    add_symbol(name, address(f"gemm_{code}"))
    return types.ExternalFunction(name, _native(f"gemm_{code}").signature), name


def behind(entry):
    """``native.behind`` of a kernel in this module."""
    for name, compiled in list(_natives.items()):
        if compiled.entry_point is entry:
            return address(name), "".join(["f" if str(a) == "float64" else "i" for a in compiled.signature.args])
    return None


DEVICES: dict = {}  # type of a device -> what makes products there
_piece_address = functools.cache(lambda code: address(f"gemm_piece_{code}"))


# ---------------------------------------------------------------------------------------------------------- policy


def gemm(code, a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch=1, sa=0, sb=0, sc=0):
    """A product, or a batch of them, of dtype `code` ("f4"...): small ones at once, large ones over the threads.

    The parts of C that a batch writes must not overlap. The GIL is released for large ones.
    """
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.gemm(code, a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc)
    if c.__class__ is not int:
        return DEVICES[c.__class__.type](code, a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc)
    small = m * n * k * batch <= threads.SERIAL_BELOW["gemm"]
    if small or threads.alone():
        free = "" if small else "_free"
        if batch == 1:
            _entry(f"gemm{free}_{code}")(a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta)
        else:
            _entry(f"gemm_batched{free}_{code}")(a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc)
        return
    run = _piece_address(code)
    rows, columns, units, grain = pieces(m, n, k, batch)
    words = a, b, c, m, n, k, lda, ldb, ldc, ta, tb, sa, sb, sc, rows, columns, float(alpha), float(beta)
    threads.parallel_call(run, words, units, grain)


def pieces(m, n, k, batch):
    """(rows, columns, units, grain) into which a product is cut for ``gemm_piece`` and ``threads.parallel_for``."""
    _load()
    work, least = m * n * k, threads.SERIAL_BELOW["gemm"]
    # BLAS with threads of its own gets its work whole.
    many = threads.get_num_threads() if _serial_blas else 1
    if many == 1 or work * batch <= least:
        return 1, 1, batch, batch
    rows = columns = 1
    if many > batch:
        rows, columns = _grid(m, n, min(-(-many // batch), max(1, work // least)))
    return rows, columns, batch * rows * columns, max(1, least * rows * columns // work)


def _grid(m, n, parts):
    """Rows and columns of a grid of `parts` blocks with the shortest edges, so that the least data is read twice."""
    return min(
        ((r, parts // r) for r in range(1, parts + 1) if parts % r == 0), key=lambda g: m / g[0] + n / g[1]
    )


def matmul_args(shape, strides):
    """(trans, ld) with which BLAS reads a 2-D view of that shape and element strides, or None when it needs a copy.

    Examples: a row-major matrix gives (0, row stride), its transposed view (1, column stride). OverflowError beyond
    the 2^31 - 1 rows, columns or elements between rows that BLAS can count.
    """
    rows, columns = shape
    down, across = strides
    if (across == 1 or columns <= 1) and (down >= max(columns, 1) or rows <= 1):
        found = 0, (down if rows > 1 else max(columns, 1))
    elif (down == 1 or rows <= 1) and (across >= max(rows, 1) or columns <= 1):
        found = 1, (across if columns > 1 else max(rows, 1))
    else:
        return None
    if max(rows, columns, found[1]) > _INT_MAX:
        raise OverflowError(f"matrix of shape {tuple(shape)}, strides {tuple(strides)}: BLAS counts up to {_INT_MAX}")
    return found
