"""Arguments from an op's samples: the same random inputs for tests, benchmarks and warm-up."""

from __future__ import annotations

import numpy as np

from .. import dtypes as dt
from ..creation import from_numpy
from ..tensor import Tensor
from .record import Sample


def array(shape, domain, rng, dtype="float64"):
    """Uniform values in the domain; away from its ends, so that finite differences stay inside."""
    low, high = domain
    return rng.uniform(low + 0.02 * (high - low), high - 0.02 * (high - low), shape).astype(dtype)


def value(spec, domain, rng, dtype, requires_grad):
    """One argument: a shape tuple becomes a tensor, ("int64", shape, low, high) an integer tensor, a list of shapes a
    list of tensors, ``("bool", shape)`` a random mask; anything else is passed as it is."""
    if isinstance(spec, tuple) and spec and isinstance(spec[0], str):
        kind, shape, *bounds = spec
        if kind == "bool":
            return from_numpy(rng.random(shape) < 0.5)
        if kind in dt.BY_NAME and dt.BY_NAME[kind].category == 1:
            return from_numpy(rng.integers(*bounds, size=shape).astype(kind).reshape(shape))
        low, high = bounds or domain
        return from_numpy(np.asarray(array(shape, (low, high), rng), dtype=kind).reshape(shape)).requires_grad_(
            requires_grad)
    if isinstance(spec, tuple) and all(isinstance(s, int) for s in spec):
        t = from_numpy(np.asarray(array(spec, domain, rng), dtype=np.float64).reshape(spec)).to(dtype=dt.BY_NAME[dtype])
        return t.detach().requires_grad_(requires_grad)
    if isinstance(spec, list) and spec and all(isinstance(s, tuple) for s in spec):
        return [value(s, domain, rng, dtype, requires_grad) for s in spec]
    return spec


def tensor_names(op):
    """Parameters of an op that hold tensors."""
    names = getattr(op, "tensors", None)
    return tuple(op.signature.parameters) if names is None else names


def arguments(op, sample, dtype="float64", seed=0, requires_grad=None):
    """(args, kwargs) of one sample. A tuple of integers is a shape only for a tensor parameter."""
    rng = np.random.default_rng(seed)
    grad = op.differentiable if requires_grad is None else requires_grad
    names = list(op.signature.parameters)
    tensors = tensor_names(op) if op.kind != "view" and op.kind != "reduction" else names[:1]
    args = []
    for i, a in enumerate(sample.args):
        name = names[i] if i < len(names) else names[-1]
        args.append(value(a, op.domain, rng, dtype, grad) if name in tensors and _is_tensor(op, i, a) else a)
    kwargs = {k: value(v, op.domain, rng, dtype, grad) if k in tensors and op.kind != "function" else v
              for k, v in sample.kwargs.items()}
    return args, kwargs


def _is_tensor(op, i, spec):
    # Composed ops have plain signatures: their first argument is the tensor, later ones only where a shape tuple is
    # wrapped as a Sample of its own or named by dtype.
    return op.kind != "function" or i == 0 or (isinstance(spec, tuple) and bool(spec) and isinstance(spec[0], str)) or (
        isinstance(spec, tuple) and i < getattr(op, "tensor_count", 1))


__all__ = ["Sample", "Tensor", "arguments", "array", "tensor_names", "value"]
