"""``autograd.graph``: nodes, edges, hooks on several gradients, and hooks on what backward saves."""

from __future__ import annotations

from typing import NamedTuple

from ..core.graph import (
    Node,
    allow_mutation_on_saved_tensors,
    bump_version,
    disable_saved_tensors_hooks,
    edge,
    function_of,
    save_on_cpu,
    saved_tensors_hooks,
)

__all__ = ["saved_tensors_hooks", "save_on_cpu", "disable_saved_tensors_hooks", "register_multi_grad_hook",
           "allow_mutation_on_saved_tensors", "Node", "GradientEdge", "get_gradient_edge", "increment_version",
           "region_activation_memory_budget", "set_override_stale_capture_stream",
           "set_warn_on_accumulate_grad_stream_mismatch"]


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


def region_activation_memory_budget(budget):
    """Refused: a compiled step keeps in memory what its backward reads, and has no budget for parts of it."""
    raise RuntimeError("torch.autograd.graph.region_activation_memory_budget can only be used inside a torch.compile region; "
                       "it has no effect in eager mode.")


def set_override_stale_capture_stream(enabled):
    """Nothing: no graph of a device is captured here."""


def set_warn_on_accumulate_grad_stream_mismatch(enabled):
    """Nothing: gradients are accumulated in the stream that made them."""
