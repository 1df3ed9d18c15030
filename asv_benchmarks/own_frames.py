"""Running a measurement where Python's frame stack begins, on the memory that a main thread has.

CPython 3.11 and later keep frames in pieces of 16 KiB, of which one is mapped and unmapped again at each call that goes over
the end of the last: a loop that happens to stand there takes 25 us more for each turn, whatever it calls. A new thread begins
a piece. It would also begin memory of its own, which glibc maps in pieces of 64 MB: a result that is the only one in its piece
is unmapped as it is freed, and the next one has new pages (``a + d`` of 8 MB took 4.9 ms for 0.4, and so it went with PyTorch
elsewhere). So threads are told to share the main one's.
"""

import ctypes
import os
import threading

M_ARENA_MAX = -8  # in malloc.h


def run(function, *args):
    """``function(*args)`` in a new thread; what it raises is raised here."""
    ends = []
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None  # (glibc's)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)

    def body():
        try:
            ends.append((function(*args), None))
        except BaseException as error:
            ends.append((None, error))
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    result, error = ends[0]
    if error is not None:
        raise error
    return result
