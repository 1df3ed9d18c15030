"""Run an unmodified PyTorch script with ``torch`` and its submodules standing for numbagrad."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import re
import runpy
import sys
import types

PACKAGE = __package__ or "numbagrad"
PYTORCH = "2.13.0"  # the release whose behaviour is followed: scripts compare torch.__version__
SCRIPT = "NUMBAGRAD_SCRIPT"  # environment variable: which script a spawned process belongs to


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
        package = hasattr(importlib.import_module(name), "__path__")
        return importlib.machinery.ModuleSpec(fullname, _Loader(name), is_package=package)


def stand_in():
    """Make ``import torch`` give numbagrad in this process; returns the finder (to take it out again)."""
    if "torch" in sys.modules and sys.modules["torch"].__name__ != PACKAGE:
        raise RuntimeError("PyTorch is imported in this process already; numbagrad cannot stand in for it")
    package = importlib.import_module(PACKAGE)
    if "+" not in package.__version__:
        package.__version__ = f"{PYTORCH}+numbagrad{package.__version__}"
    sys.modules["torch"] = package
    finder = next((f for f in sys.meta_path if isinstance(f, Finder)), None)
    if finder is None:
        finder = Finder()
        sys.meta_path.insert(0, finder)
    return finder


def compiled(path):
    """The code of a script; its file name is absolute, as in a traceback of plain Python."""
    path = os.path.join(os.getcwd(), path)
    with io.open_code(path) as f:
        return compile(f.read(), path, "exec", dont_inherit=True)


def run(path, args):
    """Execute the script at ``path`` as ``__main__`` with the given command-line arguments, as ``python path`` would."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such script: '{path}'")
    stand_in()
    sys.argv = [path, *args]
    if os.path.isdir(path):
        runpy.run_path(path, run_name="__main__")
        return
    sys.excepthook = _report(sys.excepthook, os.path.dirname(os.path.abspath(__file__)))
    # python -m put the current folder first; a script starts with its own.
    if not getattr(sys.flags, "safe_path", False):
        folder = os.path.dirname(os.path.realpath(path))
        if sys.path and sys.path[0] in ("", os.getcwd()):
            sys.path[0] = folder
        else:
            sys.path.insert(0, folder)
    code = compiled(path)
    main = types.ModuleType("__main__")
    main.__file__, main.__cached__ = code.co_filename, None
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", code.co_filename)
    main.__builtins__ = sys.modules["builtins"]
    # A process started by multiprocessing's "spawn" imports what this names, which runs the script again as __mp_main__.
    main.__spec__ = importlib.machinery.ModuleSpec(PACKAGE + ".spawned", None)
    os.environ[SCRIPT] = code.co_filename
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _report(previous, here):
    """An exception hook that starts the traceback at the script and says ``torch`` where the script did."""
    def hook(kind, error, traceback):
        while traceback is not None and _is_runner(traceback.tb_frame.f_code.co_filename, here):
            traceback = traceback.tb_next
        error.__traceback__ = traceback
        seen, e = set(), error
        while e is not None and id(e) not in seen:
            seen.add(id(e))
            _name(e)
            e = e.__cause__ or e.__context__
        previous(kind, error, traceback)
    return hook


def _is_runner(filename, here):
    name = os.path.basename(filename)
    return filename.startswith("<frozen") or name == "runpy.py" or (
        os.path.dirname(filename) == here and name in ("__main__.py", "script.py"))


def _name(error):
    """Name a missing symbol as the script does: ``torch.nn.Foo``, not ``numbagrad.nn.Foo``."""
    if isinstance(error, AttributeError) and isinstance(getattr(error, "obj", None), types.ModuleType):
        module = _torch(error.obj.__name__)
        if module:
            error.args = (f"module '{module}' has no attribute '{error.name}' "
                          f"(numbagrad has no {module}.{error.name})",)
    elif isinstance(error, ImportError) and _torch(error.name or ""):
        found = re.match(r"cannot import name '(\w+)'", error.msg or "")
        if found:
            module = _torch(error.name)
            error.msg = f"cannot import name '{found[1]}' from '{module}' (numbagrad has no {module}.{found[1]})"


def _torch(name):
    return "torch" + name[len(PACKAGE):] if (name + ".").startswith(PACKAGE + ".") else None
