"""Automatic differentiation: ``backward``, ``grad``, grad modes, ``Function`` and what is built on them."""

from __future__ import annotations

from ..modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from . import engine, graph
from .anomaly import detect_anomaly, set_detect_anomaly

__all__ = ["backward", "grad", "no_grad", "enable_grad", "set_grad_enabled", "inference_mode", "detect_anomaly",
           "set_detect_anomaly", "Function", "gradcheck", "gradgradcheck", "functional"]


def _tuple(x):
    return (x,) if x is None or hasattr(x, "_kind") else tuple(x)


def _first_gradients(tensors, grads, is_grads_batched=False):
    """One gradient per output: given ones are checked, missing ones are one for scalars."""
    from ..creation import ones_like
    out = []
    for i, (t, g) in enumerate(zip(tensors, grads)):
        if g is None:
            if not t.requires_grad:
                raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
            if t._n != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if not (t._kind.dtype.is_floating_point or t._kind.dtype.is_complex):
                raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {t.dtype}")
            if t._kind.dtype.is_complex:
                raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {t.dtype}")
            g = ones_like(t)
        else:
            if not hasattr(g, "_kind"):
                raise TypeError("gradients can be either Tensors or None, but got " + type(g).__name__)
            if g._shape != t._shape:
                raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a "
                                   f"shape of {t.shape}.")
            if g._kind.dtype.is_complex != t._kind.dtype.is_complex:
                raise RuntimeError(f"For complex Tensors, both grad_output and output are required to have the same "
                                   f"dtype. Mismatch in dtype: grad_output[{i}] has a dtype of {g.dtype} and output[{i}] "
                                   f"has a dtype of {t.dtype}.")
            if not t.requires_grad:
                raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
            if g._kind is not t._kind:
                g = g.to(t.device, t.dtype)
        out.append(g)
    return out


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, grad_variables=None, inputs=None):
    """Accumulate the gradients of ``tensors``, weighted by ``grad_tensors``, into the leaves' ``grad``.

    ``retain_graph`` keeps what was saved for another backward (default: the value of ``create_graph``),
    ``create_graph`` records the backward itself, ``inputs`` limits accumulation to these tensors."""
    if inputs is not None:
        inputs = _tuple(inputs)
        if len(inputs) == 0:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    tensors = _tuple(tensors)
    grads = _tuple(grad_tensors) if grad_tensors is not None else (None,) * len(tensors)
    if len(grads) != len(tensors):
        raise RuntimeError("got " + str(len(tensors)) + " tensors and " + str(len(grads)) + " gradients")
    grads = _first_gradients(tensors, grads)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        for i, t in enumerate(inputs):
            if not t.requires_grad:
                raise RuntimeError(f"One of the differentiated Tensors does not require grad (input {i})")
            if t._node is not None:
                t.retain_grad()
    engine.run(tensors, grads, keep, create_graph, inputs)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True,
         allow_unused=None, is_grads_batched=False, materialize_grads=False):
    """Sum of gradients of ``outputs`` with respect to each of ``inputs``, as a tuple; no ``grad`` attribute changes.

    An input that the outputs do not depend on is an error unless ``allow_unused`` (None comes back) or
    ``materialize_grads`` (zeros come back)."""
    if is_grads_batched:
        raise NotImplementedError("autograd.grad: is_grads_batched=True is not supported; call grad once per row of "
                                  "grad_outputs with retain_graph=True")
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
                         "allow_unused=False.")
    outputs, inputs = _tuple(outputs), _tuple(inputs)
    if len(outputs) == 0:
        raise ValueError("grad requires non-empty outputs.")
    if len(inputs) == 0:
        raise ValueError("grad requires non-empty inputs.")
    grads = _tuple(grad_outputs) if grad_outputs is not None else (None,) * len(outputs)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    grads = _first_gradients(outputs, grads)
    for t in inputs:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    result = engine.run(outputs, grads, keep, create_graph, inputs, accumulate=False)
    if materialize_grads:
        from ..creation import zeros_like
        return tuple(zeros_like(t) if r is None else r for t, r in zip(inputs, result))
    if not allow_unused and any(r is None for r in result):
        raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph. Set "
                           "allow_unused=True if this is the desired behavior.")
    return tuple(result)


def __getattr__(name):
    import importlib
    if name in ("Function", "FunctionCtx", "once_differentiable", "NestedIOFunction"):
        return getattr(importlib.import_module(".function", __name__), name)
    if name in ("gradcheck", "gradgradcheck", "functional", "function", "checkpoint"):
        module = importlib.import_module("." + ("gradcheck" if name == "gradgradcheck" else name), __name__)
        value = module if name in ("functional", "function", "checkpoint") else getattr(module, name)
        globals()[name] = value
        return value
    if name == "Variable":
        from ..tensor import Tensor
        return Tensor
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
