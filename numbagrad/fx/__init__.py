"""``torch.fx`` can be imported; tracing is refused."""

from __future__ import annotations

from . import graph_module, node, proxy  # noqa: F401
from .graph_module import GraphModule  # noqa: F401
from .node import Node  # noqa: F401
from .proxy import Proxy  # noqa: F401


class Graph:
    """The class that ``isinstance`` asks for."""


def wrap(fn_or_name):
    """What it is given: nothing is traced."""
    return fn_or_name


def symbolic_trace(root, concrete_args=None):
    """Refused: calls are recorded by ``ng.compile``, not as a graph of nodes that may be rewritten."""
    raise RuntimeError("torch.fx.symbolic_trace: numbagrad has no graph of nodes to rewrite; ng.compile(step) compiles a step, "
                       "and step.explain() shows what was captured")


class Tracer:
    """Refused, see ``symbolic_trace``."""

    def trace(self, root, concrete_args=None):
        return symbolic_trace(root, concrete_args)
