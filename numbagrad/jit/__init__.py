"""``torch.jit`` as far as scripts need its names: there is no TorchScript, and what would be compiled stays as it is."""

from __future__ import annotations

import collections
import contextlib
import typing
import warnings

from ..base.errors import JITException as Error  # noqa: F401
from ..base.user_code import warn_once
from ..futures import Future  # noqa: F401
from ..nn import Module

Final = typing.Final
Attribute = collections.namedtuple("Attribute", ["value", "type"])


class TracerWarning(Warning):
    """The category that scripts filter; nothing warns with it."""

    @staticmethod
    def ignore_lib_warnings():
        """Nothing, see above."""


class ScriptModule(Module):
    """The class that ``isinstance`` asks for; no module is one."""


class RecursiveScriptModule(ScriptModule):
    """The same."""


class TopLevelTracedModule(ScriptModule):
    """The same."""


class ScriptFunction:
    """The class that ``isinstance`` asks for; no function is one."""


def _as_it_is(name):
    warn_once(f"torch.jit.{name} gives back what it is given: numbagrad has no TorchScript (ng.compile compiles steps)")


def script(obj, optimize=None, _frames_up=0, _rcb=None, example_inputs=None):
    """``obj`` itself, with a note."""
    _as_it_is("script")
    return obj


def trace(func, example_inputs=None, optimize=None, check_trace=True, check_inputs=None, check_tolerance=1e-5, strict=True,
          _force_outplace=False, _module_class=None, _compilation_unit=None, example_kwarg_inputs=None,
          _store_inputs=True):
    """``func`` itself, with a note."""
    _as_it_is("trace")
    return func


def trace_module(mod, inputs, *args, **kwargs):
    """``mod`` itself, with a note."""
    _as_it_is("trace_module")
    return mod


def freeze(mod, preserved_attrs=None, optimize_numerics=True):
    """``mod`` itself, which must not be in training."""
    if mod.training:
        raise RuntimeError("Freezing is currently only implemented for modules in eval mode. Please call .eval() on your "
                           "module before freezing.")
    _as_it_is("freeze")
    return mod


def optimize_for_inference(mod, other_methods=None):
    """``mod`` itself, with a note."""
    _as_it_is("optimize_for_inference")
    return mod


def ignore(drop=False, **kwargs):
    """A decorator that changes nothing."""
    return drop if callable(drop) else lambda fn: fn


def unused(fn):
    """A decorator that changes nothing."""
    return fn


export = script_method = script_if_tracing = _script_if_tracing = _overload_method = _overload = unused


def interface(obj):
    """A decorator that changes nothing."""
    return obj


def annotate(the_type, the_value):
    """``the_value``."""
    return the_value


def isinstance(obj, target_type):  # noqa: A001 (PyTorch's name)
    """Python's ``isinstance``, of a type or a tuple of types."""
    import builtins
    return builtins.isinstance(obj, target_type)


def is_scripting():
    """False: nothing is compiled as TorchScript."""
    return False


def is_tracing():
    """False: nothing is traced."""
    return False


def fork(func, *args, **kwargs):
    """Call ``func`` at once; ``wait`` gives its result."""
    future = Future()
    future.set_result(func(*args, **kwargs))
    return future


def wait(future):
    """The result of ``fork``."""
    return future.wait()


@contextlib.contextmanager
def optimized_execution(should_optimize):
    """A context that changes nothing."""
    yield


def set_fusion_strategy(strategy):
    """Accepted for PyTorch's sake; gives the strategy before, none."""
    return []


def enable_onednn_fusion(enabled):
    """Accepted for PyTorch's sake."""


def onednn_fusion_enabled():
    """False."""
    return False


def _get_trace_graph(f, args=(), kwargs=None, strict=True, _force_outplace=False, return_inputs=False,
                     _return_inputs_states=False):
    """Refused: there is no trace."""
    raise RuntimeError("torch.jit._get_trace_graph: numbagrad has no traces; ng.compile(step).explain() shows what is called")


def save(m, f, _extra_files=None):
    """Refused: only PyTorch writes TorchScript archives."""
    raise RuntimeError("torch.jit.save: numbagrad writes no TorchScript archives; save the state_dict() with torch.save")


def load(f, map_location=None, _extra_files=None, _restore_shapes=False):
    """Refused: only PyTorch runs TorchScript archives."""
    raise RuntimeError("torch.jit.load: numbagrad runs no TorchScript archives; load a state_dict() with torch.load")


class strict_fusion:
    """A context that changes nothing, with a note."""

    def __init__(self):
        warnings.warn("Only works in script mode", stacklevel=2)

    def __enter__(self):
        pass

    def __exit__(self, type, value, tb):
        pass
