"""``torch.overrides``: ``__torch_function__`` of classes and of modes, for libraries that take part in it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings

from .base import overriding
from .base.overriding import STATE, overloaded, override
from .core.tensor import Tensor
from .dispatch import asked
from .dispatch import overriding as functions
from .dispatch.overridable import asks, space_of

__all__ = ["get_ignored_functions", "get_overridable_functions", "get_testing_overrides", "handle_torch_function",
           "has_torch_function", "resolve_name", "is_tensor_like", "is_tensor_method_or_property", "wrap_torch_function",
           "enable_reentrant_dispatch"]


# --- a function that overrides may have a say in ----------------------------------------------------------------------

def has_torch_function(relevant_args):
    """Whether some argument has a ``__torch_function__`` of its own, or a mode is on."""
    if STATE.once or STATE.off == overriding.OFF:
        STATE.once = False
        return False
    if STATE.modes:
        return True
    return not STATE.off and any([override(v) is not None for v in relevant_args])


def has_torch_function_unary(value):
    """``has_torch_function((value,))``."""
    return has_torch_function((value,))


def has_torch_function_variadic(*values):
    """``has_torch_function(values)``."""
    return has_torch_function(values)


def handle_torch_function(public_api, relevant_args, *args, **kwargs):
    """Call ``public_api(*args, **kwargs)`` as the modes and the relevant arguments want it; TypeError if none takes it."""
    found = asked.relevant(relevant_args)
    classes = tuple([type(v) for v in found])
    result = asked.ask(public_api, found, args, kwargs, classes, level=4)
    if result is not NotImplemented:
        return result
    raise asked.unimplemented(f"{public_api.__module__}.{public_api.__name__}", classes)


def wrap_torch_function(dispatcher):
    """A decorator: the function asks the arguments that ``dispatcher``, called as it is, returns."""
    def inner(func):
        @functools.wraps(func)
        def wrapped(*args, **kwargs):
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return func(*args, **kwargs)
        return wrapped
    return inner


def redispatch_function(func, types, args, kwargs):
    """Call ``func`` itself, without asking once more; what it calls asks."""
    STATE.once = True
    try:
        return func(*args, **(kwargs or {}))
    finally:
        STATE.once = False


def is_tensor_like(inp):
    """Whether something is a tensor, or has a ``__torch_function__``."""
    return type(inp) is Tensor or hasattr(inp, "__torch_function__")


# --- which functions --------------------------------------------------------------------------------------------------

@functools.cache
def _catalogue():
    """{place: functions that ask}, {function: its name}, functions that do not ask."""
    from . import core
    core.registry.REGISTRY.all()
    found, names, silent = {}, {}, []
    for place, name, value in functions.every():
        space = space_of(place)
        if space == "torch.autograd":
            continue
        if isinstance(value, property) or inspect.isdatadescriptor(value) and not inspect.ismemberdescriptor(value):
            if not name.startswith("__"):
                names[value.__get__], names[value.__set__] = f"{space}.{name}.__get__", f"{space}.{name}.__set__"
                found.setdefault(value, []).append(value.__get__)
        elif inspect.isfunction(value) and not (place is not Tensor and name.startswith("_")):
            names.setdefault(value, f"{space}.{name}")
            if asks(place, name):
                if place is Tensor or not name.endswith("_"):
                    found.setdefault(place, []).append(value)
            else:
                silent.append(value)
    return found, names, frozenset(silent)


def get_overridable_functions():
    """{namespace, or property: its functions that ask ``__torch_function__``}."""
    return _catalogue()[0]


def get_ignored_functions():
    """Functions that ask no ``__torch_function__``."""
    return set(_catalogue()[2])


def get_testing_overrides():
    """{function that asks: a function of the same parameters that returns -1}."""
    return {f: _dummy(f) for place in get_overridable_functions().values() for f in place}


def _dummy(func):
    try:
        signature = inspect.signature(func)
    except (TypeError, ValueError):
        return lambda self, *args: -1
    if getattr(func, "__name__", "") in ("__get__", "__set__", "__delete__"):
        return lambda self, *args: -1

    def dummy(*args, **kwargs):
        return -1
    dummy.__signature__ = signature
    return dummy


def resolve_name(f):
    """The name under which users find a function that is passed to ``__torch_function__``; None for others."""
    return _catalogue()[1].get(f)


def is_tensor_method_or_property(func):
    """Whether a function is a method of Tensor, or reads or sets one of its attributes."""
    return func in get_overridable_functions()[Tensor] or func.__name__ == "__get__"


def get_default_nowrap_functions():
    """Functions whose result the ``__torch_function__`` of Tensor returns as it is."""
    return set(functions.NOWRAP)


# --- modes ------------------------------------------------------------------------------------------------------------

class TorchFunctionMode:
    """A context in which ``__torch_function__`` of this object has a say in every call."""

    def __init__(self):
        pass

    def __torch_function__(self, func, types, args=(), kwargs=None):
        raise NotImplementedError

    def __enter__(self):
        functions.push(self)
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        functions.pop()

    @classmethod
    def push(cls, *args, **kwargs):
        """The mode itself."""
        warnings.warn("`Mode.push()` is no longer necessary and can be replaced with just `with Mode()`", stacklevel=2)
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """The mode that calls every function as it is."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def _get_current_function_mode():
    return STATE.modes[-1] if STATE.modes else None


def _get_current_function_mode_stack():
    return list(STATE.modes)


_push_mode, _pop_mode = functions.push, functions.pop


@contextlib.contextmanager
def _pop_mode_temporarily():
    mode = _pop_mode()
    try:
        yield mode
    finally:
        _push_mode(mode)


@contextlib.contextmanager
def _enable_torch_function():
    before, STATE.off = STATE.off, overriding.ON
    try:
        yield
    finally:
        STATE.off = before


@contextlib.contextmanager
def enable_reentrant_dispatch():
    """PyTorch has this for ``__torch_dispatch__``, of which there is none here."""
    raise RuntimeError("Accessing torch dispatch state outside of '__torch_dispatch__' is not allowed.")
    yield


def _get_overloaded_args(relevant_args, get_type_fn=None):
    """Arguments that are asked, in the order in which they are."""
    return asked.relevant(relevant_args) if get_type_fn is None else overloaded(relevant_args)
