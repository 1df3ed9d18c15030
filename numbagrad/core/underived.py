"""Results whose derivative PyTorch does not have: they require grad where what they are made of does, and backward refuses."""

from __future__ import annotations

from ..base.modes import is_grad_enabled
from .graph import Node, Output, edge, new_node, refresh

_classes: dict = {}


def node_class(name, text, outputs, error=RuntimeError):
    """The class of nodes of a name and so many results whose backward raises the error with this text."""
    found = _classes.get((text, outputs))
    if found is None:
        def backward(self, g):
            raise error(text)
        found = _classes[text, outputs] = type(name, (Node,), {
            "__slots__": (), "__module__": "numbagrad", "outputs": outputs,
            **dict.fromkeys(("backward", "captured", "backward_graph"), backward)})
    return found


def _requires(t):
    if t._view is not None:
        refresh(t)
    return t._rg


def underived(outs, inputs, name, node=None):
    """``outs`` (one, or several of one node) behind a node that refuses, if one of the inputs requires grad.

    PyTorch names such a node NotImplemented, or ``node`` where its table of derivatives has a line for the function."""
    several, inputs = isinstance(outs, (list, tuple)), [t for t in inputs if t is not None and _requires(t)]
    if inputs and is_grad_enabled():
        count = len(outs) if several else 1
        cls = node_class("NotImplemented", f"derivative for aten::{name} is not implemented", count) if node is None else (
            node_class(node, f"the derivative for '{name}' is not implemented.", count, NotImplementedError))
        made = new_node(cls, tuple(map(edge, inputs)))
        for i, t in enumerate(outs if several else (outs,)):
            if t._kind.dtype.category >= 2:
                t._node, t._rg = Output(made, i) if several else made, True
    return outs
