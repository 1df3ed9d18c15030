"""PyTorch's counterpart of an op, where it is installed."""

from __future__ import annotations

import importlib

MODULES = {"torch": "torch", "nn.functional": "torch.nn.functional", "special": "torch.special", "linalg": "torch.linalg",
           "fft": "torch.fft"}


def torch_function(op):
    """The function of PyTorch that ``op.torch_name`` names, or None."""
    import torch
    name = op.torch_name
    if "." in name:
        space, _, name = name.rpartition(".")
        module = importlib.import_module("torch." + space)
        return getattr(module, name, None)
    if op.private and name == op.name:
        return None
    spaces = op.namespaces or (("torch", "nn.functional", "special") if op.private else ())
    for space in spaces:
        f = getattr(importlib.import_module(MODULES[space]), name, None)
        if f is not None:
            return spread(f) if name in SPREAD else f
    if op.method or not spaces:
        return getattr(torch.Tensor, op.method or name, None)
    return None


# Functions of several tensors that numbagrad also takes as one list.
SPREAD = ("broadcast_tensors", "cartesian_prod", "block_diag", "atleast_1d", "chain_matmul")


def spread(f):
    def call(*args, **kwargs):
        return f(*args[0], **kwargs) if len(args) == 1 and isinstance(args[0], list) else f(*args, **kwargs)
    return call


def torch_arguments(case, requires_grad=False, dtype=None, arrays=None):
    import torch
    out = []
    for i, a in enumerate(case.arrays if arrays is None else arrays):
        t = torch.from_numpy(a.astype(dtype) if dtype is not None and a.dtype.kind == "f" else a.copy())
        if requires_grad and i in case.differentiable:
            t.requires_grad_()
        out.append(t)
    return out


def torch_values(result):
    """The tensors of a result of PyTorch."""
    import torch
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in torch_values(r)]
    return []


def names(result):
    """grad_fn names of the results that have one."""
    return [type(t.grad_fn).__name__ for t in result if t.grad_fn is not None]
