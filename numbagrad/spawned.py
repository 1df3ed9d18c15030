"""What a process started by multiprocessing's "spawn" imports in place of a script under ``python -m numbagrad run``."""

import os
import sys

from numbagrad import script

script.stand_in()
sys.argv[0] = __file__ = os.environ[script.SCRIPT]
exec(script.compiled(__file__), globals())
