"""The threading policy: counts, the shared loop, several callers at once, and forked children."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from numbagrad.kernel import atomics, cache, threads

ROOT = str(Path(threads.__file__).resolve().parents[2])


@pytest.fixture(scope="module")
def mark():
    """Address of a piece function: table[start:stop] += 1 from the table's third word on; counts pieces in word 0."""
    import numba

    look, exchange = atomics.atomics().look, atomics.atomics().exchange

    def mark(table, start, stop):
        for i in range(start, stop):
            exchange(table + 16 + 8 * i, look(table + 16 + 8 * i) + 1)
        exchange(table + 8 * (start == 0), stop - start)

    dispatcher = cache.attach(numba.njit(nogil=True)(mark), cache.fingerprint(mark))
    dispatcher.compile("void(int64, int64, int64)")
    (result,) = dispatcher.overloads.values()
    yield result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


@pytest.fixture
def count():
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


def check(mark, n, grain, by_address=False):
    table = np.zeros(n + 2, np.int64)
    threads.parallel_for(mark, table.ctypes.data if by_address else table, n, grain)
    np.testing.assert_array_equal(table[2:], 1)
    # Length of the first piece: less than n only when there were others.
    return int(table[1])


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 100, 1023, 5000])
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_every_element_is_visited_once(mark, count, n, number):
    count(number)
    for grain in (1, 7, n, n + 1):
        check(mark, n, max(grain, 1), by_address=grain == 1)


def test_pieces(mark, count):
    count(2)
    assert check(mark, 100, 50) == 50
    assert check(mark, 100, 100) == 100
    # Long pieces begin on cache lines.
    assert check(mark, 4001, 1) == 2048
    count(1)
    assert check(mark, 100, 1) == 100


def test_native_driver(mark, count):
    import ctypes

    count(2)
    drive = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(threads.driver_address())
    table = np.zeros(102, np.int64)
    drive(threads.state_address(), mark, table.ctypes.data, 100, 1)
    np.testing.assert_array_equal(table[2:], 1)
    assert table[1] == 50


def test_set_num_threads(count):
    count(3)
    assert threads.get_num_threads() == 3
    count(np.int64(2))
    assert threads.get_num_threads() == 2
    for bad in (0, -1, "a", 1.5, True, None):
        with pytest.raises(RuntimeError, match="set_num_threads expects"):
            threads.set_num_threads(bad)
    assert threads.get_num_threads() == 2


def test_set_num_threads_errors_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    for bad in (0, -1, "a", 1.5, True):
        with pytest.raises(RuntimeError) as ours:
            threads.set_num_threads(bad)
        with pytest.raises(RuntimeError) as theirs:
            torch.set_num_threads(bad)
        assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "env, expected",
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"NUMBA_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "junk", "NUMBA_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": "0"}, None),
    ],
)
def test_default_count(monkeypatch, env, expected):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads._default_threads() == (expected or usable)


def test_two_python_threads_at_once(mark, count):
    count(2)
    with ThreadPoolExecutor(2) as pool:
        for result in [pool.submit(lambda: [check(mark, 2000, 1) for _ in range(200)]) for _ in range(2)]:
            result.result()


SCRIPT = """
import os, sys, warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np, numba
from numbagrad.kernel import atomics, cache, threads
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork in a process with threads
if sys.argv[1] == "no tbb":
    threads._load_tbb = lambda: False
look, exchange = atomics.atomics().look, atomics.atomics().exchange

def mark(table, start, stop):
    for i in range(start, stop):
        exchange(table + 8 * i, look(table + 8 * i) + 1)

mark.__module__ = "numbagrad.kernel.threads"
dispatcher = cache.attach(numba.njit(nogil=True)(mark), cache.fingerprint(mark))
dispatcher.compile("void(int64, int64, int64)")
(result,) = dispatcher.overloads.values()
address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

def check(times):
    table = np.zeros(2000, np.int64)
    for _ in range(times):
        threads.parallel_for(address, table, 2000, 1)
    return bool((table == times).all())

threads.set_num_threads(2)
first = check(1)
with ThreadPoolExecutor(2) as pool:
    both = list(pool.map(check, [300, 300]))
child = os.fork()
if child == 0:
    os._exit(0 if check(3) and threads.get_num_threads() == 2 else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(threads.layer(), first, both, status, check(2), bool(threads._state[2]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
@pytest.mark.parametrize("layer", ["default", "omp", "workqueue", "no tbb"])
def test_threads_and_fork_with_every_layer(layer, tmp_path):
    env = {**os.environ, "PYTHONPATH": ROOT, "NUMBA_NUM_THREADS": "2"}
    if layer in ("omp", "workqueue"):
        env["NUMBA_THREADING_LAYER"] = layer
        pool = pytest.importorskip("numba.np.ufunc")
        pytest.importorskip(f"{pool.__name__}.{layer}pool" if layer == "omp" else f"{pool.__name__}.{layer}")
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    out = subprocess.run([sys.executable, str(path), layer], env=env, capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    # Numba's TBB backend may first print that it could not stop its threads before the fork.
    name, rest = out.stdout.splitlines()[-1].split(" ", 1)
    assert rest == "True [True, True] 0 True False"
    if layer in ("omp", "workqueue"):
        assert name == layer
    if layer == "no tbb":
        assert name != "tbb"


BUSY_FORK = """
import os, threading, time, warnings
import numpy as np, numba
from numbagrad.kernel import atomics, cache, threads
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork in a process with threads
look, exchange = atomics.atomics().look, atomics.atomics().exchange

def spin(table, start, stop):
    exchange(table + 8, 1)
    while exchange(table + 16 + 8 * start, 0) == 0:
        pass

spin.__module__ = "numbagrad.kernel.threads"
dispatcher = cache.attach(numba.njit(nogil=True)(spin), cache.fingerprint(spin))
dispatcher.compile("void(int64, int64, int64)")
(result,) = dispatcher.overloads.values()
address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

threads.set_num_threads(2)
table = np.zeros(8, np.int64)
table[2:4] = 1
threads.parallel_for(address, table, 2, 1)  # starts the layer
table[1] = 0
busy = threading.Thread(target=threads.parallel_for, args=(address, table, 2, 1), daemon=True)
busy.start()
while not table[1]:
    time.sleep(0.001)

released = []

def release():
    time.sleep(0.5)
    released.append(1)
    table[2:4] = 1

threading.Thread(target=release, daemon=True).start()
pid = os.fork()
if pid == 0:
    os._exit(0 if threads._state[3] == 0 else 1)
waited = bool(released)
busy.join(20)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(waited, not busy.is_alive(), status, threads._state[0], threads._state[3], flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_a_fork_waits_until_no_thread_is_in_the_pool():
    """A child that inherited a lock of the pool hung before it was told of the fork."""
    done = subprocess.run([sys.executable, "-c", BUSY_FORK], capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1].split() == ["True", "True", "0", "2", "0"], done.stderr
