"""``torch.fx`` can be imported; tracing is refused."""

from __future__ import annotations

from .nn import Module


class GraphModule(Module):
    """The class that ``isinstance`` asks for; no module is one."""


class Node:
    """The class that ``isinstance`` asks for."""


class Graph:
    """The class that ``isinstance`` asks for."""


class Proxy:
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
