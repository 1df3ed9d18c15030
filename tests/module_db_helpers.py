"""PyTorch's own calls of its layers (``module_db``), and what they become under numbagrad."""

import dataclasses
import functools
import sys
import types
import unittest
import warnings

import numpy as np

import numbagrad as ng


def module_db():
    """The database, or None where PyTorch or its test files are absent."""
    if "expecttest" not in sys.modules:  # which the files import, and this one part does not use
        try:
            import expecttest  # noqa: F401
        except ImportError:
            sys.modules["expecttest"] = types.SimpleNamespace(TestCase=unittest.TestCase, assert_expected_inline=None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.testing._internal.common_modules import module_db as found
    except ImportError:
        return None
    return found


def to_ours(value, known=None):
    """A torch tensor, dtype, function or module, or what contains such, as ours; one tensor stays one."""
    import torch

    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    found = _to_ours(torch, value, known)
    if isinstance(value, torch.Tensor):
        known[id(value)] = found
    return found


def _to_ours(torch, value, known):
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return ng.nn.utils.rnn.PackedSequence(*[to_ours(t, known) for t in value])
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return getattr(ng, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return ng.device(str(value))
    if isinstance(value, torch.nn.Module):
        return of_module(value)
    if isinstance(value, (list, tuple)):
        return type(value)(to_ours(v, known) for v in value)
    if isinstance(value, dict):
        return {k: to_ours(v, known) for k, v in value.items()}
    name = getattr(value, "__name__", None)
    if callable(value) and (getattr(value, "__module__", None) or "").startswith("torch"):
        return getattr(ng.nn.functional, name, None) or getattr(ng, name)
    if type(value).__name__ == "LinearCrossEntropyOptions":
        return ng.nn.LinearCrossEntropyOptions(**{k: to_ours(v) for k, v in dataclasses.asdict(value).items()})
    return value


def tensor(t):
    """A torch tensor as ours: a copy with the same strides."""
    whole = t.detach().resolve_conj().resolve_neg()
    if whole.is_contiguous() and not whole.storage_offset():
        out = of_memory(whole)
    else:
        memory = whole.new_empty(0).set_(whole.untyped_storage())
        out = of_memory(memory).as_strided(tuple(whole.shape), whole.stride(), whole.storage_offset())
    return out.requires_grad_() if t.requires_grad else out


def of_memory(t):
    if t.dtype == torch_dtype("bfloat16"):
        return ng.tensor(t.float().numpy()).bfloat16()
    return ng.from_numpy(t.numpy(force=True).copy())


def torch_dtype(name):
    import torch
    return getattr(torch, name)


def of_module(theirs):
    """A torch module that is an argument: the same class of ours with the same members."""
    name = type(theirs).__name__
    cls = getattr(ng.nn, name, None) or getattr(ng.nn.modules.linear, name)
    ours = cls.__new__(cls)
    ng.nn.Module.__init__(ours)
    tables = vars(ng.nn.Module())
    for name, value in vars(theirs).items():
        if name not in tables:
            ours.__dict__[name] = to_ours(value)
    for name, parameter in theirs._parameters.items():
        ours.register_parameter(name, None if parameter is None else ng.nn.Parameter(tensor(parameter.detach()),
                                                                                    parameter.requires_grad))
    for name, buffer in theirs._buffers.items():
        ours.register_buffer(name, None if buffer is None else tensor(buffer), name not in theirs._non_persistent_buffers_set)
    for name, child in theirs._modules.items():
        ours.add_module(name, None if child is None else of_module(child))
    ours.training = theirs.training
    return ours


def leaves(value):
    """All tensors of either library in nested results, in order."""
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in leaves(v)]
    if isinstance(value, dict):
        return [t for v in value.values() for t in leaves(v)]
    return [value] if hasattr(value, "grad_fn") else []


def structure(value):
    """The types of nested results, without the library's name."""
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [structure(v) for v in value]
    return type(value).__name__


def noncontiguous(value):
    """The same values where every other element of the memory is another."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "batch_sizes"):
        return type(value)(map(noncontiguous, value))
    if isinstance(value, dict):
        return {k: noncontiguous(v) for k, v in value.items()}
    if not isinstance(value, ng.Tensor) or value.numel() < 2:
        return value
    out = ng.stack([value.detach(), value.detach()], -1)[..., 0]
    return out.requires_grad_() if value.requires_grad else out


@functools.cache
def tolerance(dtype):
    return {"float64": 1e-11, "float32": 3e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]


def derivatives(lib, outs, inputs, create_graph=False):
    """Gradients of a weighted sum of ``outs`` for each of ``inputs``; None if nothing depends on them."""
    outs = [o for o in outs if o is not None and o.requires_grad]
    inputs = [t for t in inputs if t.requires_grad]
    if not outs or not inputs:
        return None
    rng = np.random.default_rng(1)
    weights = [lib.tensor(rng.standard_normal(tuple(o.shape))).to(o.dtype) for o in outs]
    return lib.autograd.grad(outs, inputs, weights, create_graph=create_graph, allow_unused=True)
