"""``ng.compile``, a whole training step as one native call, and what to tell it, with the names of ``torch.compiler``.

    capture (run once on memory without bytes) -> passes (dead calls, repeats, fusion) -> memory (one arena) -> program
    (native functions and their tables) -> variant (guards, and the call itself)
"""

from __future__ import annotations

from ..kernel import tape
from . import hooks, pure  # noqa: F401 (``hooks`` is what rewritten functions call)
from .check import CompileMismatch  # noqa: F401
from .function import CompiledFunction, CompileWarning  # noqa: F401
from .module import compile
from .names import (
    cudagraph_mark_step_begin,
    disable,
    get_default_backend,
    is_exporting,
    list_backends,
    nested_compile_region,
    reset,
    set_default_backend,
    substitute_in_graph,
    wrap_numpy,
)
from .refusals import CaptureError  # noqa: F401

__all__ = ["allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable", "get_default_backend",
           "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "nested_compile_region", "reset",
           "set_default_backend", "substitute_in_graph", "wrap_numpy"]


def assume_constant_result(fn):
    """Mark a function, of Python or C, as one whose result depends on its arguments alone, and return it.

    A compiled step then calls it once, when it is captured, without looking into it, and takes its result for the same in
    every call in which the numbers and objects among its arguments are the same."""
    if not callable(fn):
        raise TypeError(f"assume_constant_result() expects a function, not {type(fn).__name__}")
    pure.MARKED[id(fn)] = fn
    return fn


def allow_in_graph(fn):
    """Mark a function, or a list of them, as ``assume_constant_result`` does: what it launches is part of the step."""
    if isinstance(fn, (list, tuple)):
        return [allow_in_graph(f) for f in fn]
    if not callable(fn):
        raise AssertionError("allow_in_graph expects a callable")
    return assume_constant_result(fn)


def is_compiling():
    """Whether the calling thread captures a step."""
    return bool(tape.TAPE) and tape.active() is not None


is_dynamo_compiling = is_compiling
