"""PyTorch's documented names: the list of them, ``public/documented.py``, and which of them are here.

``python -m numbagrad names`` writes the list from the PyTorch that is installed; everything else needs only the list.
"""

from __future__ import annotations

import importlib
import inspect
import os
import textwrap
import types

import numbagrad

from ..base import dtypes
from ..public.documented import DOCUMENTED, VERSION

PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "public", "documented.py")
SPACES = """torch Tensor linalg special fft signal.windows autograd autograd.functional autograd.graph autograd.forward_ad
autograd.profiler func amp random serialization storage testing compiler hub multiprocessing futures jit fx onnx
accelerator cpu cuda nn nn.functional nn.init nn.utils nn.utils.parametrize nn.utils.parametrizations nn.utils.prune
nn.utils.rnn nn.utils.stateless nn.attention nn.parallel optim optim.lr_scheduler optim.swa_utils distributions
distributions.transforms distributions.constraints distributions.kl utils utils.data utils.checkpoint utils.dlpack
utils.hooks library overrides profiler sparse nested masked types version __config__ __future__""".split()
HEAD = '''"""The names that PyTorch documents, by namespace: written by `python -m numbagrad names`."""

VERSION = "{}"
DOCUMENTED = {{
'''
INTRO = """
# PyTorch's names

What PyTorch {version} documents in these namespaces: {here:,} of {all:,} names are here, {only} of them as names only, which
code compares with or is refused when it calls them. A name counts as documented if its module lists it in `__all__`, or,
where there is no such list (and in `torch` and `Tensor`, which list their inner parts too), if it is public and has a
docstring. Each name that is here has a test: ops are tried by `tests/ops` and `tests/registry`, which walk the registry;
parameters of functions and classes of Python are compared with PyTorch's, and what neither holds for is named in some other
test (`tests/scripts/test_names.py` sees to all three).

| namespace | documented | here | as names only | absent |
|---|---|---|---|---|
"""


# --- the list ---

def documented(torch, space):
    """The names of one namespace, sorted."""
    if space == "Tensor":
        return sorted(n for n in dir(torch.Tensor) if not n.startswith("_") and _told(torch.Tensor, n))
    module = torch if space == "torch" else importlib.import_module("torch." + space)
    names = {n for n in getattr(module, "__all__", None) or () if not n.startswith("_")}
    if not names or space == "torch":
        names = {n for n in names or vars(module) if not n.startswith("_") and _public(module, n, bool(names))}
    names -= {"Tensor"} if space != "torch" else set()  # what a module has for its annotations
    return sorted(n for n in names if not isinstance(getattr(module, n, None), types.ModuleType))


def _told(cls, name):
    value = inspect.getattr_static(cls, name)
    return not callable(value) or bool(value.__doc__)


def _public(module, name, listed):
    """Whether a name is for users: no inner class of C++, and nothing that only Python's signature is known of."""
    value = getattr(module, name)
    if not callable(value):
        return listed and type(type(value)).__name__ != "pybind11_type"
    if not listed and not (getattr(value, "__module__", None) or "").startswith("torch"):
        return False
    if isinstance(value, type):
        inner = type(value).__name__ == "pybind11_type" or not listed and not value.__doc__
        return not inner
    doc = (value.__doc__ or "").strip()
    return bool(doc) and not (doc.startswith(name + "(") and "\n" not in doc)


def text(found, version):
    """The file with the list."""
    lines = [HEAD.format(version)]
    for space, names in found.items():
        parts = [f'        "{part}"\n' for part in textwrap.wrap(" ".join(names), 112, drop_whitespace=False) or [""]]
        lines += [f'    "{space}": (\n', *parts[:-1], parts[-1][:-1] + "),\n"]
    return "".join([*lines, "}\n"])


def of_torch():
    """(names by namespace, release) of the PyTorch that is installed."""
    torch = importlib.import_module("torch")
    return {space: documented(torch, space) for space in SPACES}, torch.__version__.partition("+")[0]


def write():
    """Bring the list up to date."""
    made = text(*of_torch())
    with open(PATH, "w", encoding="utf-8") as f:
        f.write(made)


# --- what is here ---

def place(space):
    """The module, or Tensor, that stands for a namespace; None where there is none."""
    if space in ("torch", "Tensor"):
        return numbagrad if space == "torch" else numbagrad.Tensor
    name = "numbagrad." + space
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if not (name + ".").startswith(f"{e.name}."):
            raise
        return None


def present(space):
    """{documented name: whether it is here}."""
    there = place(space)
    return {n: there is not None and _has(there, n) for n in DOCUMENTED[space].split()}


def _has(there, name):
    try:
        inspect.getattr_static(there, name) if isinstance(there, type) else getattr(there, name)
    except (AttributeError, ImportError):
        return False
    return True


def names_only(space):
    """The documented names of which there is nothing behind: functions and classes that refuse, classes of which there is no
    object, dtypes of which there are no tensors."""
    there = place(space)
    if isinstance(there, type):
        return []
    return [n for n, is_here in present(space).items() if is_here and _alone(getattr(there, n))]


def _alone(value):
    if isinstance(value, dtypes.dtype):
        return value in dtypes._RARE
    return (getattr(value, "__doc__", None) or "").startswith(("Refused", "The class that ``isinstance`` asks for"))


def counts():
    """(names that are here, all documented ones)."""
    found = [here for space in DOCUMENTED for here in present(space).values()]
    return sum(found), len(found)


def sentence():
    """What the README says of them."""
    here, all_ = counts()
    return (f"Of the {all_:,} names that PyTorch {VERSION} documents in its Python namespaces {here:,} are here, "
            f"{_only()} of them as names only")


def _only():
    return sum(len(names_only(space)) for space in DOCUMENTED)


def sections():
    """The part of the API page: a table, then the names of each namespace."""
    rows, parts = [], []
    found = {space: present(space) for space in DOCUMENTED}
    for space, names in found.items():
        here, absent = [n for n, is_here in names.items() if is_here], [n for n, is_here in names.items() if not is_here]
        title = space if space in ("torch", "Tensor") else f"torch.{space}"
        only = names_only(space)
        rows.append(f"| {title} | {len(names)} | {len(here)} | {len(only)} | {len(absent)} |\n")
        parts.append(f"\n## {title}\n")
        kept = [n for n in here if n not in only]
        parts += [f"\n{word}: {_listed(which)}\n" for word, which in (
            ("Here", kept), ("Here as names only", only), ("Absent", absent)) if which]
    here, all_ = counts()
    head = INTRO.format(version=VERSION, here=here, only=_only(), all=all_)
    return head + "".join([*rows, *parts])


def _listed(names):
    return ", ".join(f"`{n}`" for n in names)
