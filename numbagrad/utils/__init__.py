"""Tools around training: data loading and removable hooks."""

import importlib

from . import hooks

__all__ = ["checkpoint", "data", "dlpack", "hooks", "model_zoo"]


def set_module(obj, mod):
    """Say which module an object is found in."""
    if not isinstance(mod, str):
        raise TypeError("The mod argument should be a string")
    obj.__module__ = mod


def __getattr__(name):
    # Data loading brings multiprocessing with it, which `import numbagrad` need not wait for; logging needs a package.
    if name in ("data", "checkpoint", "dlpack", "model_zoo", "tensorboard", "cpp_extension", "flop_counter", "_pytree"):
        return importlib.import_module("." + name, __name__)
    if name == "swap_tensors":
        from ..core.swapping import swap_tensors
        return swap_tensors
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
