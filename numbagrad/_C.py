"""``torch._C``: what packages for PyTorch call of its compiled part."""

import types

from .base import modes
from .base.overriding import (
    OFF,
    STATE,
    DisableTorchFunction,
    DisableTorchFunctionSubclass,
    _disabled_torch_function_impl,
)
from .core.tensor import Size, Tensor
from .futures import Future
from .linalg import LinAlgError as _LinAlgError  # noqa: F401 (PyTorch's name)
from .nn.modules._convert import _parse_to
from .random import Generator

__all__ = ["DisableTorchFunction", "DisableTorchFunctionSubclass", "Future", "Generator", "Graph", "Node", "Size", "Value",
           "_disabled_torch_function_impl"]

_TensorMeta = type(Tensor)


class _Traced:
    """A part of a program that PyTorch's ``jit`` has traced: a class for annotations and tests of what there is none of."""

    def __new__(cls, *args, **kwargs):
        raise NotImplementedError(f"torch._C.{cls.__name__}: nothing is traced here, functions run as they are")


class _Functions(types.ModuleType):
    """A part of ``_C``: the functions in it that packages call."""

    def __init__(self, name, **functions):
        super().__init__(f"{__name__}.{name}")
        self.__dict__.update(functions)


def _parsed(*args, memory_format=None, **kwargs):
    return (*_parse_to(*args, **kwargs), memory_format)


def _is_batched(tensor):
    from .func.batched import Batched
    return isinstance(tensor, Batched)


_nn = _Functions("_nn", _parse_to=_parsed)
_functorch = _Functions("_functorch", is_batchedtensor=_is_batched, is_legacy_batchedtensor=lambda tensor: False)


class Graph(_Traced):
    """A traced function."""


class Node(_Traced):
    """A call in a traced function."""


class Value(_Traced):
    """What a call in a traced function has or gives."""


def _get_tracing_state():
    """None: nothing is traced."""


def _is_tracing():
    """False: nothing is traced."""
    return False


def _are_functorch_transforms_active():
    """Whether the calling thread is inside a function of ``func``."""
    return modes.REVERSE.depth > 0 or modes.transform() is not None


def _log_api_usage_once(event):
    """Nothing: PyTorch tells a logger which parts of it are used, where one is built in."""


def _is_torch_function_enabled():
    """Whether classes are asked."""
    return not STATE.off


def _is_torch_function_all_disabled():
    """Whether neither classes nor modes are asked."""
    return STATE.off == OFF


def _is_torch_function_mode_enabled():
    """Whether there is a mode that is asked."""
    return STATE.off != OFF and bool(STATE.modes)


def _len_torch_function_stack():
    """How many modes there are."""
    return len(STATE.modes)


def _get_function_stack_at(i):
    """A mode, counted from the outermost."""
    return STATE.modes[i]


def __getattr__(name):
    if name in ("TensorBase", "_TensorBase"):
        from .core.tensor import Tensor
        return Tensor
    if name in ("_has_torch_function", "_has_torch_function_unary", "_has_torch_function_variadic"):
        from . import overrides
        return getattr(overrides, name[1:])
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch._C.{name} is not available here)")
