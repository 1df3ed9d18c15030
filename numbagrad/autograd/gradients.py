"""Gradients of leaves between two backward runs."""

from __future__ import annotations

from ..kernel.tape import TAPE, clears


def zero_grad(t, set_to_none):
    """Drop the gradient of a leaf, or fill it with zeros."""
    if TAPE:
        clears(t, set_to_none)
    grad = t._grad
    if grad is None:
        return
    if set_to_none:
        t._grad = None
    else:
        grad.detach_() if grad.grad_fn is not None else grad.requires_grad_(False)
        grad.zero_()
