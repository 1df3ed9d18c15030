"""The catalogue of operations; importing it fills the registry. Every file below is found by itself."""

import importlib
import os
import pkgutil

from numbagrad.base import user_code

# In the order in which they may import each other; a new folder comes last until it has its place here.
FAMILIES = ("pointwise", "view", "product", "index", "random", "rearrange", "conv", "reduce", "linalg", "recurrent", "norm",
            "loss", "attention")


def modules():
    """Names of all modules of the catalogue, family by family."""
    folders = [m.name for m in pkgutil.iter_modules(__path__) if m.ispkg]
    for family in (*FAMILIES, *(f for f in folders if f not in FAMILIES)):
        package = importlib.import_module(f"{__name__}.{family}")
        yield from (f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__))


for _name in modules():
    importlib.import_module(_name)

user_code.FOLDERS.append(os.path.dirname(os.path.abspath(__file__)))
