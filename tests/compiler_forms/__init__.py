"""Every op of the registry, compiled in many forms and compared with eager code.

    python -m tests.compiler_forms --ops softplus cumsum --forms chain views

A *form* (``forms``) is a way in which people write a step around an op: with its backward inside, between other elementwise
ops, on views, into a buffer, in place, in half precision, on nan and inf, with another shape in the second call. A form gives
the text of a module for one sample of an op (``subject``); ``judge`` runs it eagerly and compiled, at least three calls with
different values, and compares results, gradients, arguments, tensors of the step and errors. Forms run in child processes
under a watchdog."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
