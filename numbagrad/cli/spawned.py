"""What a process started by multiprocessing's "spawn" imports in place of a script under ``python -m numbagrad run``."""

import importlib.util
import os
import sys

from . import run as script

script.stand_in()
sys.argv[0] = __file__ = os.environ[script.SCRIPT]
if script.MODULE in os.environ:
    _spec = importlib.util.find_spec(os.environ[script.MODULE])
    __package__ = _spec.parent
    exec(_spec.loader.get_code(_spec.name), globals())
else:
    exec(script.compiled(__file__), globals())
