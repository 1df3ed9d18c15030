"""The catalogue of operations: a file is run when one of its ops is first used, and then fills the registry.

Which file that is, ``contents`` says, which is generated; a file that it does not list is run at once."""

import importlib
import os
import sys

from numbagrad.base import user_code
from numbagrad.core.registry import REGISTRY

try:
    from .contents import CONTENTS
except (ImportError, SyntaxError):  # not yet written, or damaged by a merge: then every file is run at once
    CONTENTS = {}

# In the order in which they may import each other; a new folder comes last until it has its place here.
FAMILIES = ("pointwise", "view", "product", "index", "random", "rearrange", "conv", "reduce", "linalg", "fft", "recurrent",
            "norm", "loss", "attention", "statistics", "sparse")
HERE = os.path.dirname(os.path.abspath(__file__))


def modules():
    """Names of all modules of the catalogue, family by family; none where there are no folders to look into."""
    try:
        folders = sorted(f.name for f in os.scandir(HERE) if f.is_dir() and os.path.exists(os.path.join(f, "__init__.py")))
    except OSError:
        return
    for family in (*FAMILIES, *(f for f in folders if f not in FAMILIES)):
        names = sorted(n[:-3] for n in os.listdir(os.path.join(HERE, family)) if n.endswith(".py") and n != "__init__.py")
        yield from (f"{__name__}.{family}.{n}" for n in names)


def read_index():
    """Tell the registry what there is."""
    REGISTRY.read_index({f"{__name__}.{module}": places for module, places in CONTENTS.items()}, __name__)


def run_others():
    """Run the files that the index does not list."""
    for module in modules():
        if module not in REGISTRY.modules:
            importlib.import_module(module)


def load_library(path):
    """OSError, as PyTorch has of a library that cannot be loaded: those for PyTorch call into its own."""
    raise OSError(f"Could not load this library: {path}")


user_code.FOLDERS.append(HERE)


def __getattr__(name):
    """Operators of the user's are found here, too: ``torch.ops.namespace.name``."""
    library = sys.modules.get("numbagrad.library.operators")
    if library is not None and name in library.OPERATORS:
        return library.Namespace(name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.ops has the operators that torch.library "
                         "defined; PyTorch's own, aten, are not here)")
