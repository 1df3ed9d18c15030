"""Tensors of which processes have parts: there are none, but ``isinstance`` asks for their class."""

from . import _without_group

__all__ = ["DTensor", "distribute_module", "distribute_tensor"]
distribute_module = distribute_tensor = _without_group


class DTensor:
    """The class that ``isinstance`` asks for; making one needs a process group."""

    def __init__(self, *args, **kwargs):
        _without_group()
