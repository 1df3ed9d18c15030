"""Where in the user's code the library was called: for warnings and errors that point at the user's line."""

from __future__ import annotations

import os
import sys
import warnings

from . import settings

# Folders whose files are not the user's; the catalogue of ops adds its own.
FOLDERS = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
PACKAGE = __name__.partition(".")[0]
INSIDE = PACKAGE + "."
FUNCTIONS = tuple([INSIDE + folder + "." for folder in ("ops", "dispatch", "core", "public")])  # not those that call them
INSIDE_NAMES = {PACKAGE: True}  # names of modules that were met: whether they are of this package


def is_ours(filename):
    """Whether a frame's file belongs to this package: a file of its folders, or generated text."""
    return filename.startswith((*[f + os.sep for f in FOLDERS], "<numbagrad "))


def user_frame(f):
    """The innermost frame outside this package, from ``f`` outwards."""
    while f is not None:
        name = f.f_globals.get("__name__", "")
        if INSIDE_NAMES.get(name) is None:
            INSIDE_NAMES[name] = name.startswith(INSIDE)
        if not INSIDE_NAMES[name]:
            return f
        f = f.f_back
    return None


def user_place():
    """(file, line) of the innermost caller outside this package."""
    f = user_frame(sys._getframe(1))
    return ("an unknown file", 0) if f is None else (f.f_code.co_filename, f.f_lineno)


def line_at(code, instruction):
    """file:line of an instruction of a frame, whose line takes longer to find than to note both."""
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return f"{code.co_filename}:{line}"
    return f"{code.co_filename}:{code.co_firstlineno}"


def user_level():
    """``stacklevel`` with which a warning given by the caller points at the user's line."""
    level, f = 1, sys._getframe(1)
    while f.f_back is not None and (f.f_globals.get("__name__", "") + ".").startswith((INSIDE, "contextlib.")):
        level, f = level + 1, f.f_back
    return level


def caller_level():
    """``stacklevel`` with which a warning given by a function points at the line that called it, the user's or a layer's.

    What lies between is text that is generated, more of it in a first call than later: the same line would warn twice."""
    level, f = 1, sys._getframe(1)
    while f.f_back is not None and (f.f_globals.get("__name__", "").startswith(FUNCTIONS) or f.f_code.co_filename.startswith(
            "<numbagrad ")):
        level, f = level + 1, f.f_back
    return level


_said = set()  # what ``warn_once`` was told


def warn_once(message, key=None):
    """Warn once in the process, or each time after ``set_warn_always(True)``; messages of one ``key`` count as one."""
    key = key or message
    if key not in _said or settings.STATE["warn_always"]:
        _said.add(key)
        warnings.warn(message, UserWarning, stacklevel=user_level())


def user_line():
    """file:line of the innermost caller outside this package."""
    return "{}:{}".format(*user_place())
