"""Packages that are imported on first use, and errors that name what to install where one is missing."""

from __future__ import annotations

import importlib

# The requirements of pyproject.toml that are imported late; a test compares the two.
NEEDED = {"numba": "numba>=0.63,<0.69", "scipy": "scipy>=1.11"}


def install(name):
    """The command that installs a package which numbagrad depends on."""
    return f'pip install "{NEEDED[name]}"'


def load(name, purpose):
    """The module ``name``; ModuleNotFoundError saying what needs it and how to install it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name not in (name, None):
            raise
        raise ModuleNotFoundError(f"{purpose} need the package {name}, which is not installed: {install(name)}",
                                  name=name) from None


def load_numba():
    """The module ``numba``, of a release that is new enough."""
    numba = load("numba", "numbagrad's kernels")
    lowest = NEEDED["numba"].partition(">=")[2].partition(",")[0]
    if _release(numba.__version__) < _release(lowest):
        raise ImportError(f"numbagrad needs {NEEDED['numba']}, but numba {numba.__version__} is installed: {install('numba')}",
                          name="numba")
    return numba


def _release(version):
    """(major, minor) of a version; (0, 63) for "0.63.0rc1"."""
    return tuple(int(part) for part in version.split(".")[:2])
