"""``autograd.graph``: edges, hooks on several gradients, and what the library needs of nodes, views and saved tensors."""

from __future__ import annotations

from typing import NamedTuple

from .node import (
    AccumulateGrad,
    AliasBackward0,
    Node,
    Output,
    View,
    extra,
    function_of,
    hooks_of,
    hooks_on_leaf,
    hooks_on_output,
    new_node,
    note_forward,
    removable,
    sequence,
    short_name,
)
from .saved import (
    EXCHANGE,
    Packed,
    allow_mutation_on_saved_tensors,
    bump_version,
    disable_saved_tensors_hooks,
    exchanged,
    freed,
    modified,
    save_input,
    save_on_cpu,
    save_output,
    saved_tensors_hooks,
    unpack,
    unpack_plain,
    with_edge,
)
from .views import edge, refresh

__all__ = ["AccumulateGrad", "AliasBackward0", "allow_mutation_on_saved_tensors", "bump_version",
           "disable_saved_tensors_hooks", "edge", "EXCHANGE", "exchanged", "extra", "freed", "function_of",
           "get_gradient_edge", "GradientEdge", "hooks_of", "hooks_on_leaf", "hooks_on_output", "increment_version",
           "modified", "MultiHook", "new_node", "Node", "note_forward", "Output", "Packed", "refresh",
           "register_multi_grad_hook", "removable", "save_input", "save_on_cpu", "save_output", "saved_tensors_hooks",
           "sequence", "short_name", "unpack", "unpack_plain", "View", "with_edge"]


class GradientEdge(NamedTuple):
    """Where the gradient of a tensor arrives: ``autograd.grad`` takes it in the place of the tensor."""

    node: object
    output_nr: int
    ownership_token: object = None


def get_gradient_edge(tensor):
    """The ``GradientEdge`` of a tensor that requires grad."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(*function_of(edge(tensor)))


def increment_version(tensor):
    """Count an in-place change that was made behind autograd's back; an iterable of tensors is taken too."""
    for t in ((tensor,) if hasattr(tensor, "_kind") else tensor):
        if "_inference" in t.__dict__:
            raise RuntimeError("Inference tensors do not track version counter.")
        bump_version(t)


def register_multi_grad_hook(tensors, fn, *, mode="all"):
    """Call ``fn`` when the gradients of ``tensors`` are computed: once with the list of all of them (None where none
    came), or with the first one (``mode="any"``)."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    return MultiHook(tuple(tensors), fn, mode)


class MultiHook:
    """Handle of ``register_multi_grad_hook``."""

    current_run = None  # the engine's

    def __init__(self, tensors, fn, mode):
        self.grads, self.count, self.fn, self.mode, self.run = [None] * len(tensors), 0, fn, mode, None
        self.length = len(tensors)
        self.handles = tuple(t.register_hook(self._hook(i)) for i, t in enumerate(tensors))

    def _hook(self, i):
        def hook(grad):
            if self.run is not self.current_run():
                self.run, self.count, self.grads = self.current_run(), 0, [None] * self.length
            self.count += 1
            if self.mode == "any":
                if self.count == 1:
                    self.fn(grad)
                return
            self.grads[i] = grad
            if self.count == self.length:
                grads, self.grads = self.grads, [None] * self.length
                self.fn(grads)
        return hook

    def remove(self):
        """Take the hooks off."""
        for h in self.handles:
            h.remove()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()
