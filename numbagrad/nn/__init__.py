"""Building blocks of networks: parameters, modules, losses, initial values."""

import importlib

from . import functional, init, modules, parameter, utils
from .modules import __all__ as _modules_all
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "functional", "init", "modules", "parameter",
    "utils", *_modules_all,
]  # fmt: skip

globals().update({name: vars(modules)[name] for name in _modules_all if name in vars(modules)})
# Imported when they are first asked for, as are layers that few networks have.
_PARTS = ("attention", "common_types", "grad", "parallel", "quantized")


def factory_kwargs(kwargs):
    """The arguments of factories among keywords of a layer, which must have no others."""
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    if not kwargs.keys() <= simple | {"factory_kwargs"}:
        raise TypeError(f"unexpected kwargs {kwargs.keys() - (simple | {'factory_kwargs'})}")
    found = dict(kwargs.get("factory_kwargs", {}))
    for k in simple & kwargs.keys():
        if k in found:
            raise TypeError(f"{k} specified twice, in **kwargs and in factory_kwargs")
        found[k] = kwargs[k]
    return found


def __getattr__(name):
    if name in _PARTS:
        return importlib.import_module("." + name, __name__)
    if name in _modules_all:
        value = globals()[name] = getattr(modules, name)
        return value
    if name == "DataParallel":
        from .parallel import DataParallel
        return DataParallel
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.nn.{name} is not available here)")


def __dir__():
    return sorted({*globals(), *_PARTS, *_modules_all, "DataParallel"})
