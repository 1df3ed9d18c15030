"""Forward mode by hand: dual tensors that live in a level, as ``autograd.forward_ad`` has them."""

from __future__ import annotations

import threading
import weakref
from typing import NamedTuple

from ..base.modes import _ContextDecorator
from ..core.tensor import Tensor
from .dual import Dual, DualLevel, dual
from .jacobians import check_dual

__all__ = ["UnpackedDualTensor", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual", "dual_level"]


class UnpackedDualTensor(NamedTuple):
    """What ``unpack_dual`` returns."""

    primal: Tensor
    tangent: Tensor | None


class ByHand(DualLevel):
    """A level that is entered and left by hand; its tensors outlive it without their tangents."""

    name, strict = "autograd.forward_ad", False

    def __init__(self):
        super().__init__()
        self.made = weakref.WeakValueDictionary()

    def entered(self, t):
        self.made[id(t)] = t

    def __exit__(self, *error):
        super().__exit__(*error)
        for t in list(self.made.values()):
            settle(t)


def settle(t):
    """Make a dual tensor its primal, in place."""
    primal = t.primal
    for name in ("_buf", "_ptr", "_n", "_shape", "_strides", "_kind", "_ver", "_rg", "_node", "_grad", "_view"):
        setattr(t, name, getattr(primal, name))
    kept = dict(primal.__dict__)
    t.__dict__.clear()
    t.__class__ = primal.__class__
    t.__dict__.update(kept)


class _Current(threading.local):
    level = None


_current = _Current()


def enter_dual_level():
    """Begin a level, which ``make_dual`` and ``unpack_dual`` use; returns its number."""
    if _current.level is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _current.level = ByHand().__enter__()
    return 0


def exit_dual_level(*, level=None):
    """End the level: its tangents are gone."""
    if _current.level is None and level is None:
        raise RuntimeError("Dual level must be a positive number.")
    if _current.level is None or level not in (None, 0):
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created. This is not "
                           "supported.")
    ended, _current.level = _current.level, None
    ended.__exit__()


def make_dual(tensor, tangent, *, level=None):
    """A tensor on the memory of ``tensor`` that carries a tangent through the operations of the level."""
    if (-1 if _current.level is None else 0) < 0 or level is not None and level < 0:
        raise RuntimeError("Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() "
                           "first.")
    check_dual(tensor, tangent)
    return dual(_current.level, _current.level.primal(tensor), tangent)


def unpack_dual(tensor, *, level=None):
    """(primal, tangent) of a tensor; the tangent is None where it has none."""
    current = _current.level
    if current is None or not isinstance(tensor, Dual) or tensor.level is not current:
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(tensor.primal, tensor.tangent)


class dual_level(_ContextDecorator):
    """Context manager and decorator: a level of forward mode."""

    def __enter__(self):
        return enter_dual_level()

    def __exit__(self, *error):
        exit_dual_level()
