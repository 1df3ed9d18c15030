"""Tools around training: data loading and removable hooks."""

import importlib

from . import hooks

__all__ = ["checkpoint", "data", "dlpack", "hooks"]


def __getattr__(name):
    # Data loading brings multiprocessing with it, which `import numbagrad` need not wait for; logging needs a package.
    if name in ("data", "checkpoint", "dlpack", "tensorboard"):
        return importlib.import_module("." + name, __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
