"""Run an unmodified PyTorch script with ``torch`` and its submodules standing for numbagrad."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import os
import re
import sys
import types

PACKAGE = "numbagrad"
PYTORCH = "2.13.0"  # the release whose behaviour is followed: scripts compare torch.__version__
SCRIPT = "NUMBAGRAD_SCRIPT"  # environment variable: which script a spawned process belongs to
MODULE = "NUMBAGRAD_MODULE"  # the same of a module that was run by its name


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
        # Submodules that are there already: importing one by its other name would put it over what its package has under
        # the name, which may be a function (``nn.utils.weight_norm``).
        for name in [n for n in sys.modules if n.startswith(self.target + ".")]:
            sys.modules.setdefault("torch" + name[len(PACKAGE):], sys.modules[name])


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

    def find_distributions(self, context=None):
        """What ``importlib.metadata`` is told of the package ``torch``."""
        name = getattr(context, "name", None)
        return iter([Distribution()] if name is None or name.lower() == "torch" else [])


class Distribution(importlib.metadata.Distribution):
    """The package ``torch`` of the version that is followed."""

    def read_text(self, filename):
        if filename in ("METADATA", "PKG-INFO"):
            version = importlib.import_module(PACKAGE).__version__
            return f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\nSummary: {PACKAGE} in the place of PyTorch\n"
        return None

    def locate_file(self, path):
        return os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), path)


def stand_in():
    """Make ``import torch`` give numbagrad in this process; returns the finder (to take it out again)."""
    if "torch" in sys.modules and sys.modules["torch"] is not sys.modules.get(PACKAGE):
        raise RuntimeError("PyTorch is imported in this process already; numbagrad cannot stand in for it")
    package = importlib.import_module(PACKAGE)
    if "+" not in package.__version__:
        package.__version__ = f"{PYTORCH}+numbagrad{package.__version__}"
    sys.modules["torch"] = package
    package.__name__ = "torch"  # which programs print, and compare with the first part of a full name
    # Packages tell PyTorch's tensors from others by the text of their class.
    package.Tensor.__module__, package.nn.Parameter.__module__ = "torch", "torch.nn.parameter"
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
    check(path)
    _prepare([path, *args])
    folder = os.path.realpath(path)
    if os.path.isdir(path):
        path = os.path.join(path, "__main__.py")
    else:
        folder = os.path.dirname(folder)
    _put_first(folder)
    code = compiled(path)
    loader = importlib.machinery.SourceFileLoader("__main__", code.co_filename)
    _execute(code, loader, None, {SCRIPT: code.co_filename})


def check(path):
    """OSError, which says why, unless there is a script at ``path``."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such script: '{path}'")
    if os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "__main__.py")):
            raise IsADirectoryError(f"'{path}' is a folder without __main__.py: name the script to run")
    elif not os.access(path, os.R_OK):
        raise PermissionError(f"the script '{path}' cannot be read")


def find_module(name, args):
    """Make the process ready for a module, or the ``__main__`` of a package: its spec; ModuleNotFoundError without one."""
    _prepare([name, *args])
    _put_first(os.getcwd())
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(name + ".__main__")
    except ModuleNotFoundError as e:
        if not (name + ".").startswith(f"{e.name}."):
            raise
        spec = None
    if spec is None or getattr(spec.loader, "get_code", lambda _: None)(spec.name) is None:
        raise ModuleNotFoundError(f"no module named '{name}' that can be run", name=name)
    sys.argv[0] = spec.origin
    return spec


def run_module(spec):
    """Execute what ``find_module`` found as ``__main__``, as ``python -m`` would."""
    _execute(spec.loader.get_code(spec.name), spec.loader, spec.parent, {SCRIPT: spec.origin, MODULE: spec.name})


def _prepare(argv):
    """PyTorch's stand-in, the arguments, and tracebacks that start at the script."""
    stand_in()
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # The console command is a file of its own, which calls numbagrad.__main__.
    sys.excepthook = _report(sys.excepthook, here, getattr(sys.modules["__main__"], "__file__", None))
    sys.argv = argv


def _put_first(folder):
    """Begin ``sys.path`` with the folder that Python would put there.

    ``python -m`` put the current folder there and the console command its own; a script starts with its folder."""
    if getattr(sys.flags, "safe_path", False):
        return
    command = getattr(sys.modules["__main__"], "__file__", None) or ""
    if sys.path and sys.path[0] in ("", os.getcwd(), os.path.dirname(command), os.path.dirname(os.path.realpath(command))):
        sys.path[0] = folder
    else:
        sys.path.insert(0, folder)


def _execute(code, loader, package, variables):
    """Run code as ``__main__``; the environment variables tell a spawned process what to import."""
    main = types.ModuleType("__main__")
    main.__file__, main.__cached__ = code.co_filename, None
    main.__loader__, main.__package__ = loader, package
    main.__builtins__ = sys.modules["builtins"]
    # A process started by multiprocessing's "spawn" imports what this names, which runs the script again as __mp_main__.
    main.__spec__ = importlib.machinery.ModuleSpec(PACKAGE + ".cli.spawned", None)
    os.environ.update(variables)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _report(previous, here, command):
    """An exception hook that starts the traceback at the script and says ``torch`` where the script did."""
    def hook(kind, error, traceback):
        while traceback is not None and _is_runner(traceback.tb_frame.f_code.co_filename, here, command):
            traceback = traceback.tb_next
        error.__traceback__ = traceback
        seen, e = set(), error
        while e is not None and id(e) not in seen:
            seen.add(id(e))
            _name(e)
            e = e.__cause__ or e.__context__
        previous(kind, error, traceback)
    return hook


def _is_runner(filename, here, command):
    name = os.path.basename(filename)
    return filename.startswith("<frozen") or name == "runpy.py" or filename == command or filename in (
        os.path.join(here, "__main__.py"), os.path.join(here, "cli", "main.py"), os.path.join(here, "cli", "run.py"))


def _name(error):
    """Name a missing symbol as the script does: ``torch.nn.Foo``, not ``numbagrad.nn.Foo``."""
    if isinstance(error, AttributeError) and isinstance(getattr(error, "obj", None), types.ModuleType):
        module = _torch(error.obj.__name__)
        if module:
            from ..public.absent import advice
            error.args = (f"module '{module}' has no attribute '{error.name}' (numbagrad has no {module}.{error.name}"
                          f"{advice(module.removeprefix('torch.'), error.name)})",)
    elif isinstance(error, AttributeError) and getattr(error, "name", None) and type(
            getattr(error, "obj", None)) is importlib.import_module(PACKAGE).Tensor:
        from ..public.absent import advice
        from ..public.documented import DOCUMENTED
        if error.name in DOCUMENTED["Tensor"].split():
            error.args = (f"{error.args[0]} (numbagrad has no Tensor.{error.name}{advice('Tensor', error.name)})",)
    elif isinstance(error, ImportError) and _torch(error.name or ""):
        found = re.match(r"cannot import name '(\w+)'", error.msg or "")
        if found:
            module = _torch(error.name)
            error.msg = f"cannot import name '{found[1]}' from '{module}' (numbagrad has no {module}.{found[1]})"


def _torch(name):
    if name == "torch":
        return name
    return "torch" + name[len(PACKAGE):] if (name + ".").startswith(PACKAGE + ".") else None
