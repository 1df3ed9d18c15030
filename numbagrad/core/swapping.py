"""``torch.utils.swap_tensors``: two tensors exchange all that they are, and stay the objects that others hold."""

from __future__ import annotations

import weakref
from copyreg import _slotnames

from ..kernel.tape import refuse
from .tensor import Tensor

FIELDS = [name for name in Tensor.__slots__ if not name.startswith("__")]


def swap_tensors(t1, t2):
    """Exchange two tensors' memory, shape, gradient, class and attributes."""
    refuse("swaps tensors")
    for name, t in (("t1", t1), ("t2", t2)):
        if weakref.getweakrefs(t):
            raise RuntimeError(f"Cannot swap {name} because it has weakref associated with it")
    if set(_slotnames(t1.__class__)) != set(_slotnames(t2.__class__)):
        raise RuntimeError("Cannot swap t1 and t2 if they have different slots")
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__
    for name in FIELDS:
        first, second = getattr(t1, name), getattr(t2, name)
        setattr(t1, name, second)
        setattr(t2, name, first)
