"""Modules of traced graphs, under the name of PyTorch's file."""

from __future__ import annotations

from ..nn import Module

_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"


class GraphModule(Module):
    """The class that ``isinstance`` asks for; no module is one."""


class _CodeOnlyModule(Module):
    """A module that has the attributes that it is given, and no layers of its own."""

    def __init__(self, body):
        super().__init__()
        self.__dict__ = body


def _copy_attr(from_module, to_module, target):
    """Put a tensor that lies in submodules (``a.b.weight``) at the same place of another module, with empty ones on the way."""
    *path, name = target.split(".")
    for part in path:
        found, place = getattr(from_module, part, None), getattr(to_module, part, None)
        if found is place:
            return
        if place is None:
            place = Module()
            setattr(to_module, part, place)
        from_module, to_module = found, place
    value = getattr(from_module, name)
    if hasattr(value, "data_ptr") and name not in from_module._parameters:
        to_module.register_buffer(name, value)
    else:
        setattr(to_module, name, value)
