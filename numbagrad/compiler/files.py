"""Whose code a file is: the engine's, a library's or the user's."""

from __future__ import annotations

import functools
import os
import sys

import numpy as np

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLLOWED = tuple([os.path.join(PACKAGE, *p) for p in (("nn", "modules"), ("nn", "utils"), ("optim", "lr_scheduler.py"),
                                                       ("optim", "_scheduler.py"), ("optim", "_onecycle.py"),
                                                       ("optim", "_plateau.py"), ("utils", "data"))])
_OPS = os.path.dirname(os.path.abspath(sys.modules["numbagrad.ops"].__file__)) if "numbagrad.ops" in sys.modules else PACKAGE
_NUMPY = os.path.dirname(np.__file__)
_STDLIB = os.path.dirname(os.__file__)
_SITE = tuple([os.path.join(p, "") for p in sys.path if p.endswith(("site-packages", "dist-packages"))])
# Python code of the standard library that keeps nothing between calls but caches, or whose only effect is a warning.
_TRUSTED = tuple([os.path.join(_STDLIB, n) for n in ("abc.py", "enum.py", "typing.py", "warnings.py",
                                                     "linecache.py", "numbers.py", "keyword.py", "operator.py", "types.py",
                                                     "contextlib.py", "weakref.py", "_weakrefset.py")])
_FROZEN = ("<frozen importlib", "<frozen zipimport", "<frozen abc>")
CORE, LIBRARY, USER = "core", "library", "user"
# What stands between a step's code and what it calls.
OBSERVING = ("hooks", "observe", "follow", "calls", "builtin_calls", "arithmetic", "reads", "writes")
OBSERVERS = tuple([os.path.join(PACKAGE, "compiler", n + ".py") for n in OBSERVING])


@functools.cache
def kind_of_file(filename):
    """Whose code a file is: CORE is not followed (the engine, NumPy, what Python keeps to itself); LIBRARY (the rest of Python
    and installed packages) and USER code is, LIBRARY code only where it does not work for the core."""
    if filename.startswith(FOLLOWED):
        return USER
    if filename == "<string>":  # written by namedtuple, dataclass and the like
        return LIBRARY
    if filename.startswith(("<numbagrad", *_FROZEN, PACKAGE, _OPS, _NUMPY)) or filename in _TRUSTED:
        return CORE
    if filename.startswith("<frozen "):  # os, for one, whose functions look at the world
        return LIBRARY
    return LIBRARY if filename.startswith((_STDLIB, *_SITE)) else USER


def trusted(filename):
    """Whether code of a file is not followed."""
    return kind_of_file(filename) is CORE
