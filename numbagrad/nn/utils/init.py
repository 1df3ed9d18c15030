"""Construction of a layer without its starting values."""

import inspect

from ..modules.module import Module


def skip_init(module_cls, *args, **kwargs):
    """A module on ``device`` whose tensors count as uninitialised; making it draws nothing from the random streams."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    final = kwargs.pop("device", "cpu")
    return module_cls(*args, **kwargs, device="meta").to_empty(device=final)
