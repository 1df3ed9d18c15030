"""Running a measurement where Python's frame stack begins.

CPython 3.11 and later keep frames in pieces of 16 KiB, of which one is mapped and unmapped again at each call that goes over
the end of the last: a loop that happens to stand there takes 25 us more for each turn, whatever it calls. A new thread begins
a piece.
"""

import threading


def run(function, *args):
    """``function(*args)`` in a new thread; what it raises is raised here."""
    ends = []

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
