"""Modules as functions of their parameters: ``functional_call``, ``stack_module_state``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..core.registry import REGISTRY
from ..nn.utils.stateless import _functional_call

__all__ = ["functional_call", "stack_module_state"]


def functional_call(module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """``module(*args, **kwargs)`` with the given tensors in the place of its parameters and buffers."""
    given = parameter_and_buffer_dicts
    if not isinstance(given, dict):
        if not isinstance(given, Sequence):
            raise ValueError("Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
                             f"{type(given)}")
        if not all([isinstance(d, dict) for d in given]):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        twice = [k for k, n in Counter([k for d in given for k in d]).items() if n > 1]
        if twice:
            raise ValueError(f"{twice} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        given = {k: v for d in given for k, v in d.items()}
    return _functional_call(module, given, args, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models):
    """(parameters, buffers) of modules of one class, stacked by name: leaves to map over with ``vmap``."""
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({bool(m.training) for m in models}) != 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any([type(m) is not type(models[0]) for m in models]):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    return tuple([_stacked([dict(getattr(m, names)()) for m in models]) for names in ("named_parameters", "named_buffers")])


def _stacked(tables):
    return {name: _leaf([t[name] for t in tables], name) for name in tables[0]}


def _leaf(tensors, name):
    wanted = {t.requires_grad for t in tensors}
    if len(wanted) != 1:
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    out = REGISTRY["stack"].callable(tensors)
    return out.detach().requires_grad_() if wanted == {True} else out
