"""Run an unmodified PyTorch script with ``torch`` and its submodules standing for numbagrad."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys

PACKAGE = __package__ or "numbagrad"


class _Loader(importlib.abc.Loader):
    """Hands out the numbagrad module of the same path; nothing is executed twice."""

    def __init__(self, target):
        self.target = target

    def create_module(self, spec):
        module = importlib.import_module(self.target)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self.spec  # importlib put the alias's spec there


class Finder(importlib.abc.MetaPathFinder):
    """Finds ``torch`` and ``torch.a.b`` as ``numbagrad`` and ``numbagrad.a.b``."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "torch" and not fullname.startswith("torch."):
            return None
        name = PACKAGE + fullname[len("torch"):]
        try:
            found = name in sys.modules or importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise ModuleNotFoundError(f"No module named '{fullname}': numbagrad has no counterpart of it", name=fullname)
        return importlib.machinery.ModuleSpec(fullname, _Loader(name), is_package=True)


def stand_in():
    """Make ``import torch`` give numbagrad in this process; returns the finder (to take it out again)."""
    if "torch" in sys.modules and sys.modules["torch"].__name__ != PACKAGE:
        raise RuntimeError("PyTorch is imported in this process already; numbagrad cannot stand in for it")
    finder = Finder()
    sys.meta_path.insert(0, finder)
    sys.modules["torch"] = importlib.import_module(PACKAGE)
    return finder


def run(path, args):
    """Execute the script at ``path`` as ``__main__`` with the given command-line arguments."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such script: '{path}'")
    stand_in()
    sys.argv = [path, *args]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    runpy.run_path(path, run_name="__main__")
