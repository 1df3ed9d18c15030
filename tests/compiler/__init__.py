"""Random programs, run eagerly and with ``ng.compile``: everything visible must be equal after each call.

    python -m tests.compiler --programs 5000 --seed 1

A program (``draw``) is the text of a module, put together from pieces (``pieces``, ``models``): things that are there before
the step, statements of the step, and changes between calls. ``judge`` runs it both ways and looks at results, models,
optimizers, containers, attributes and random states. A compiled step may refuse (``CaptureError``, which names a line and
leaves everything as before the call); any other difference is a finding, which ``shrink`` makes smaller. Programs run in
child processes (``child``) under a watchdog."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
