"""``torch._dynamo``: names of PyTorch's compiler that scripts set or ask for."""

from __future__ import annotations

from ..compiler import disable, is_compiling, list_backends, reset
from ..compiler.module import OptimizedModule
from . import config, eval_frame  # noqa: F401

__all__ = ["OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph",
           "graph_break", "is_compiling", "list_backends", "mark_dynamic", "mark_static", "maybe_mark_dynamic", "optimize",
           "reset", "run"]


def mark_dynamic(t, index, *, hint_override=None, min=None, max=None, specialize_on=None):
    """Nothing: a step that was compiled takes other sizes as they come."""


maybe_mark_dynamic = mark_unbacked = mark_dynamic


def mark_static(t, index=None):
    """Nothing: a step that was compiled takes other sizes as they come."""


def mark_static_address(t, guard=False):
    """Nothing: a step that was compiled finds out whether a tensor stays where it is."""


def graph_break(msg=""):
    """Nothing: a step is captured whole."""


def allow_in_graph(fn):
    """``compiler.allow_in_graph``."""
    from ..compiler import allow_in_graph as mark
    return mark(fn)


def assume_constant_result(fn):
    """``compiler.assume_constant_result``."""
    from ..compiler import assume_constant_result as mark
    return mark(fn)


def disallow_in_graph(fn):
    """``compiler.disable``."""
    return disable(fn)


def optimize(*args, **kwargs):
    """A decorator: ``numbagrad.compile``, in the place of the backends that may be named."""
    from ..compiler import compile
    return compile


def run(fn=None):
    """The function, without compiling it anew: as it is."""
    return run if fn is None else fn


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch._dynamo.{name} is not available here)")
