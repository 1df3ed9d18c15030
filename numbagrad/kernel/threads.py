"""The one threading policy: how many threads, which threading layer, and the loop that all parallel kernels share.

Kernels never contain a parallel loop. A parallel kernel is a C function ``void fn(int64 table, int64 start,
int64 stop)`` that handles a range of its work; :func:`parallel_for` cuts the work into one piece per thread.

Layers: on Linux threads of our own (``pool``), which do not sleep at once: one caller at a time has them, others meanwhile run
serially. Elsewhere TBB where its library is found, since it survives ``fork`` and calls from several Python threads (a child
that was forked beside other threads runs serially). Else OpenMP,
whose GNU build ends a forked child that uses it: children run serially. Else Numba's workqueue, which aborts when two
threads use it at once: a flag lets one caller run in parallel and the others meanwhile serially; children run
serially. A layer that the user chose (``NUMBA_THREADING_LAYER``) or already started is kept, under the same rules.

BLAS is held at one thread; large products are cut by the same loop (see ``blas.py``), so there is one thread pool and
no oversubscription.
"""

import ctypes
import os
import sys
import time

from . import pool, trampoline
from .atomics import atomics
from .guard import guarded
from .tape import TAPE, active

__all__ = [
    "SERIAL_BELOW", "alone", "driver_address", "get_num_threads", "layer", "parallel_call", "parallel_for",
    "set_num_threads", "state_address",
]  # fmt: skip

# Smallest piece of work, in elements (multiply-adds for "gemm"), that is worth a thread: about 10 us each, against
# 3 us for waking the threads.
SERIAL_BELOW = {"elementwise": 32768, "math": 8192, "reduce": 65536, "gather": 16384, "gemm": 1 << 20}

# Shared with native code: number of threads, whether callers exclude each other, whether one is inside, how many are, the
# words of ``pool``.
_state = (ctypes.c_int64 * 5)()
_state[4] = pool.address()
_state_address = ctypes.addressof(_state)
_layer = None
_child = False
_left_behind = False
_driver = None
_invoke = None


def _default_threads():
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        try:
            count = int(os.environ.get(name, "").split(",")[0])
        except ValueError:
            continue
        if count > 0:
            return count
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_threads = _state[0] = _default_threads()
# Elements from which a pointwise loop is cut over the threads; the fast paths of ops read it (one list, kept current).
LIMIT = [0]
CHANGED = []  # what is called when the user has set another number


def get_num_threads():
    """Number of threads a kernel may use: ``OMP_NUM_THREADS``, ``NUMBA_NUM_THREADS`` or the usable cores."""
    return _threads


def alone():
    """Whether kernels run in the calling thread only, whatever :func:`get_num_threads` says."""
    return _state[0] == 1


def set_num_threads(n):
    """Set the number of threads a kernel may use; RuntimeError unless `n` is a positive int."""
    global _threads
    if isinstance(n, bool) or not hasattr(type(n), "__index__"):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    n = n.__index__()
    if n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    changed, _threads = n != _threads, n
    _publish()
    if changed:
        for note in CHANGED:
            note()


def _publish():
    _state[0] = 1 if _child and (_layer not in (None, "pool", "tbb") or _left_behind) else _threads
    if _layer == "pool" and _driver is not None:
        pool.grow(_threads - 1)
    LIMIT[0] = 1 << 62 if _state[0] == 1 else 2 * SERIAL_BELOW["elementwise"]


_publish()


def _after_fork():
    global _child
    _child = True
    _state[2] = _state[3] = 0
    pool.after_fork()
    _publish()


def _before_fork():
    # TBB cannot stop its workers for the fork while other threads may use them: a child would wait for some it lacks.
    global _left_behind
    _left_behind = _left_behind or (_layer == "tbb" and len(sys._current_frames()) > 1)
    # Nor may it be forked while one is inside: a child that inherits a lock of TBB's pool hangs before it is told of the fork.
    # Others compute on one thread meanwhile.
    _state[0] = 1
    time.sleep(0)  # (whoever still reads the old number has counted itself when this returns)
    while _state[3]:
        time.sleep(1e-4)


def _after_fork_in_parent():
    global _left_behind
    _left_behind = _child and _left_behind
    _publish()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)


# ---------------------------------------------------------------------------------------------------------- layers


def _tbb_candidates():
    if sys.platform == "win32":
        name, folders = "tbb12.dll", ("Library\\bin", "bin")
    elif sys.platform == "darwin":
        name, folders = "libtbb.12.dylib", ("lib",)
    else:
        name, folders = "libtbb.so.12", ("lib",)
    yield name
    for folder in folders:
        yield os.path.join(sys.prefix, folder, name)
    from importlib import metadata

    try:
        files = metadata.files("tbb") or ()
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == name:
            yield os.path.abspath(file.locate())


def _load_tbb():
    """Load TBB so that Numba's backend, which asks for it by bare name, finds it; whether that worked."""
    for path in _tbb_candidates():
        try:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False


def _start_layer():
    """Choose the threading layer by the policy above, and start it if it is one of Numba's; returns its name."""
    global _layer
    from numba.core import config
    from numba.np.ufunc import parallel

    if _layer is None:
        if not parallel._is_initialized and str(config.THREADING_LAYER).lower() == "default" and pool.possible():
            _layer = "pool"
            return _layer
        if not parallel._is_initialized:
            if str(config.THREADING_LAYER).lower() == "default" and _load_tbb():
                # Only the order changes: should the backend not load after all, Numba goes on to the next.
                order = [x for x in config.THREADING_LAYER_PRIORITY if x != "tbb"]
                config.THREADING_LAYER_PRIORITY = ["tbb", *order]
            parallel._launch_threads()
        _layer = parallel.threading_layer()
        _state[1] = _layer == "workqueue"
        _publish()
    return _layer


@guarded
def layer():
    """Name of the threading layer in use ("pool", "tbb", "omp" or "workqueue"); starts it."""
    return _start_layer()


# ---------------------------------------------------------------------------------------------------------- driver


def _compile(make, signature, **options):
    from numba import njit

    from . import cache

    fn = make(trampoline.invoke("iii"), atomics())
    dispatcher = njit(nogil=True, fastmath=False, **options)(fn)
    cache.attach(dispatcher, cache.fingerprint(fn))
    dispatcher.compile(signature)
    (compiled,) = dispatcher.overloads.values()
    return compiled


def _make_invoke(call_piece, words):
    def invoke(fn, table, start, stop):
        call_piece(fn, table, start, stop)

    return invoke


def _make_drive(call_piece, words):
    from numba import prange

    look, exchange, add = words.look, words.exchange, words.add

    def drive(state, fn, table, n, grain):
        add(state + 24, 1)
        pieces = min(look(state), (n + grain - 1) // grain)
        exclusive = pieces > 1 and look(state + 8) != 0
        if exclusive and exchange(state + 16, 1) != 0:
            exclusive = False
            pieces = 1
        if pieces <= 1:
            add(state + 24, -1)
            if n > 0:
                call_piece(fn, table, 0, n)
        else:
            size = (n + pieces - 1) // pieces
            if size >= 1024:
                # Pieces that begin on a cache line do not share one.
                size = (size + 63) // 64 * 64
            for piece in prange(pieces):
                start = piece * size
                if start < n:
                    call_piece(fn, table, start, min(start + size, n))
            add(state + 24, -1)
        if exclusive:
            exchange(state + 16, 0)

    return drive


@guarded
def _start_invoke():
    global _invoke
    if _invoke is None:
        _invoke = _compile(_make_invoke, "void(int64, int64, int64, int64)").entry_point
    return _invoke


@guarded
def _start_driver():
    global _driver
    if _driver is None:
        _start_layer()
        # A forked child runs serially under some layers. Linking new code there can wait forever: libgcc's lock
        # on unwind tables may have been copied while another thread, just ending, held it.
        _start_invoke()
        if _layer == "pool":
            _driver = pool.start()
            _publish()
        else:
            _driver = _compile(_make_drive, "void(int64, int64, int64, int64, int64)", parallel=True)
    return _driver


def parallel_for(fn, table, n, grain, addresses=None):
    """Call the C function at address `fn` as ``fn(table, start, stop)`` over pieces of ``range(n)``, in parallel.

    `table` is an int64 array or its address; `grain` is the smallest piece worth a thread. Up to
    :func:`get_num_threads` pieces run at once; a single one runs in the calling thread. The GIL is released.
    ``addresses`` are the places of the table's words that are addresses, for captures.
    """
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.parallel_for(fn, table, n, grain, addresses)
    if type(table) is not int:
        table = table.__array_interface__["data"][0]
    if n <= grain or _state[0] == 1:
        if n > 0:
            (_invoke or _start_invoke())(fn, table, 0, n)
    elif _driver is None:
        # Starting the layer may lower the number of threads: look again.
        _start_driver()
        parallel_for(fn, table, n, grain)
    else:
        _driver.entry_point(_state_address, fn, table, n, grain)


def parallel_call(fn, words, n, grain):
    """:func:`parallel_for` with a table of these words, integers and floats."""
    table = trampoline.table(words)
    parallel_for(fn, table.buffer_info()[0], n, grain)


@guarded
def driver_address():
    """C function ``void(state, fn, table, n, grain)``, all int64: :func:`parallel_for` for native callers."""
    compiled = _driver or _start_driver()
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)


def state_address():
    """First argument of the function at :func:`driver_address`."""
    return _state_address
