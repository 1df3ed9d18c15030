"""A fuzzer of the whole catalogue: mutated registry samples in fenced memory, in child processes, beside PyTorch.

    python -m tests.fuzz --calls 20000 --seed 1 --threads 2

draws calls (``draw``), runs each in a child (``child``) on memory between forbidden pages (``fence``), forward, backward,
twice backward, in place and with ``out=`` (``play``), and compares with PyTorch (``judge``). A call is known by its seed
and number alone; each finding prints both and the call as text."""

import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
