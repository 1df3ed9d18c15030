"""Where in the user's code the library was called: for warnings and errors that point at the user's line."""

from __future__ import annotations

import os
import sys

# Folders whose files are not the user's; the catalogue of ops adds its own.
FOLDERS = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
PACKAGE = __name__.partition(".")[0]
INSIDE = PACKAGE + "."
_inside_names = {PACKAGE}  # names of modules of this package that were met


def is_ours(filename):
    """Whether a frame's file belongs to this package: a file of its folders, or generated text."""
    return filename.startswith((*[f + os.sep for f in FOLDERS], "<numbagrad "))


def user_place():
    """(file, line) of the innermost caller outside this package."""
    f = sys._getframe(1)
    while f is not None:
        name = f.f_globals.get("__name__", "")
        if name not in _inside_names:
            if not name.startswith(INSIDE):
                return f.f_code.co_filename, f.f_lineno
            _inside_names.add(name)
        f = f.f_back
    return "an unknown file", 0


def user_level():
    """``stacklevel`` with which a warning given by the caller points at the user's line."""
    level, f = 1, sys._getframe(1)
    while f.f_back is not None and (f.f_globals.get("__name__", "") + ".").startswith(INSIDE):
        level, f = level + 1, f.f_back
    return level


def user_line():
    """file:line of the innermost caller outside this package."""
    return "{}:{}".format(*user_place())
