"""``torch._tensor``: where pickles of PyTorch find the class of tensors and how subclasses are made again."""

from .core.tensor import Tensor

__all__ = ["Tensor"]


def _rebuild_from_type_v2(func, new_type, args, state):
    """What ``func(*args)`` makes as a tensor of a class, with its attributes."""
    made = func(*args)
    if type(made) is not new_type:
        made = made.as_subclass(new_type)
    setstate = getattr(new_type, "__setstate__", Tensor.__setstate__)
    if setstate is not Tensor.__setstate__:
        made.__setstate__(state)
        return made
    values, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(values or {}), **(slots or {})}.items():
        setattr(made, name, value)
    return made
