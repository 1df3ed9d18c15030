"""Automatic differentiation: ``backward``, ``grad``, grad modes, ``Function`` and what is built on them."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

from ..base import modes as grad_mode
from ..base import overriding
from ..base.modes import (
    enable_grad,
    enforce_grad_layout_policy,
    inference_mode,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from ..base.user_code import warn_once
from ..kernel.tape import TAPE, active
from . import engine, graph
from .anomaly import detect_anomaly, set_detect_anomaly

__all__ = ["Variable", "Function", "backward", "grad_mode", "grad", "gradcheck", "gradgradcheck", "functional",
           "forward_ad", "graph", "no_grad", "enable_grad", "set_grad_enabled", "inference_mode", "detect_anomaly",
           "set_detect_anomaly", "set_multithreading_enabled", "enforce_grad_layout_policy"]


def transforms(name):
    """A module of ``func``, of a floor above."""
    return _above(name)


_above = None  # finds it; set by the package


def _tuple(x):
    return (x,) if x is None or hasattr(x, "_kind") or isinstance(x, (graph.GradientEdge, str)) else tuple(x)


_ones = {}


def _one(t):
    """A gradient of one for a tensor with one element."""
    kind = t._kind
    one = _ones.get(kind)
    if one is None or TAPE:
        from ..core.creation import ones_like
        from ..core.storage import address
        from ..core.tensor import raw
        recorder = active()
        with recorder.pause() if recorder is not None else nullcontext():  # kept beyond a capture: real memory
            out = ones_like(t)
        if recorder is not None:
            recorder.buffer(out)  # kernels get its address only
        if kind.cpu:
            _ones[kind] = out._buf.copy(), address, raw
        return out
    one, address, raw = one
    buf = one.copy()
    return raw(buf, address(buf), 1, t._shape, None, kind, [0])


def _first_gradients(tensors, grads):
    """One gradient per output: given ones are checked, missing ones are one for scalars."""
    out = []
    for i, (t, g) in enumerate(zip(tensors, grads)):
        if isinstance(t, graph.GradientEdge):
            if g is None:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            out.append(g)
            continue
        if not hasattr(t, "_kind"):
            raise AssertionError("Expected output to be a torch.Tensor")
        if g is None:
            if t.requires_grad:
                if t._n != 1:
                    raise RuntimeError("grad can be implicitly created only for scalar outputs")
                if not t._kind.dtype.is_floating_point:
                    raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {t.dtype}")
                g = _one(t)
        else:
            if not hasattr(g, "_kind"):
                raise TypeError("gradients can be either Tensors or None, but got " + type(g).__name__)
            if g._shape != t._shape:
                raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has "
                                   f"a shape of {t.shape}.")
            if g._kind.dtype.is_complex != t._kind.dtype.is_complex:
                raise RuntimeError(f"For complex Tensors, both grad_output and output are required to have the same "
                                   f"dtype. Mismatch in dtype: grad_output[{i}] has a dtype of {g.dtype} and "
                                   f"output[{i}] has a dtype of {t.dtype}.")
        if not t.requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        out.append(g if g._kind is t._kind else g.to(t.device, t.dtype))
    if len(out) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(out)} gradients")
    return out


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, grad_variables=None, inputs=None):
    """Accumulate the gradients of ``tensors``, weighted by ``grad_tensors``, into the leaves' ``grad``.

    ``retain_graph`` keeps what was saved for another backward (default: the value of ``create_graph``),
    ``create_graph`` records the backward itself, ``inputs`` limits accumulation to these tensors."""
    if grad_tensors is None and inputs is None and not create_graph and getattr(tensors, "_view", ()) is None:
        # A scalar that an operation made: what a training step calls.
        if tensors._node is not None and tensors._n == 1 and tensors._kind.dtype.category == 2 and grad_variables is None:
            engine.run((tensors._node,), (_one(tensors),), bool(retain_graph), False)
            return
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError("`grad_tensors` and `grad_variables` (deprecated) arguments both passed to "
                               "`backward()`. Please only use `grad_tensors`.")
        grad_tensors = grad_variables
    if inputs is not None:
        inputs = _tuple(inputs)
        if len(inputs) == 0:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    try:
        tensors = _tuple(tensors)
    except TypeError as error:
        return overriding.again(backward, error, tensors, grad_tensors, retain_graph, create_graph, inputs=inputs)
    grads = _tuple(grad_tensors) if grad_tensors is not None else (None,) * len(tensors)
    grads = _first_gradients(tensors, grads)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        for t in inputs:
            if hasattr(t, "_kind"):
                t.retain_grad()
    if create_graph:
        warn_once("Using backward() with create_graph=True will create a reference cycle between the parameter and "
                  "its gradient which can cause a memory leak. We recommend using autograd.grad when creating the "
                  "graph to avoid this. If you have to use this function, make sure to reset the .grad fields of "
                  "your parameters to None after use to break the cycle and avoid the leak.")
    engine.run(list(map(engine.edge_of, tensors)), grads, keep, create_graph, inputs)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True,
         allow_unused=None, is_grads_batched=False, materialize_grads=False):
    """Sum of gradients of ``outputs`` with respect to each of ``inputs``, as a tuple; no ``grad`` attribute changes.

    An input that the outputs do not depend on is an error unless ``allow_unused`` (None comes back) or
    ``materialize_grads`` (zeros come back)."""
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
                         "allow_unused=False.")
    if not only_inputs:
        warnings.warn("only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate "
                      "gradient for other parts of the graph, please use "
                      "torch.autograd.backward.", FutureWarning, stacklevel=2)
    try:
        outputs, inputs = _tuple(outputs), _tuple(inputs)
    except TypeError as error:
        return overriding.again(grad, error, outputs, inputs, grad_outputs, retain_graph, create_graph, only_inputs,
                                allow_unused, is_grads_batched, materialize_grads)
    grads = _tuple(grad_outputs) if grad_outputs is not None else (None,) * len(outputs)
    stack = grad_mode.transform() if grad_mode.STATE else None
    if is_grads_batched:
        transforms("classic").check_rows(outputs, grads)
    elif stack is None or not stack.has((outputs, inputs)):
        stack = None
        grads = _first_gradients(outputs, grads)
    if len(inputs) == 0:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    for t in inputs:
        if hasattr(t, "_kind") and not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        result = transforms("classic").rows_of_gradients(outputs, inputs, grads, keep, create_graph)
    else:
        result = stack.pull(outputs, inputs, grads, create_graph) if stack is not None else (
            engine.run(list(map(engine.edge_of, outputs)), grads, keep, create_graph, inputs, accumulate=False))
    if materialize_grads:
        from ..core.creation import zeros_like
        if any(r is None and not hasattr(t, "_kind") for t, r in zip(inputs, result)):
            raise RuntimeError("materialize_grads cannot be used when the given input is a GradientEdge")
        return tuple(zeros_like(t) if r is None else r for t, r in zip(inputs, result))
    if not allow_unused and any(r is None for r in result):
        i = next(i for i, r in enumerate(result) if r is None)
        raise RuntimeError(f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set "
                           "allow_unused=True if this is the desired behavior.")
    return tuple(result)


_LAZY = {"Function": "function", "FunctionCtx": "function", "once_differentiable": "function",
         "NestedIOFunction": "function", "gradcheck": "gradcheck", "gradgradcheck": "gradcheck",
         "_profiler_enabled": "_events"}


def __getattr__(name):
    import importlib
    if name == "Variable":
        from .variable import Variable
        return Variable
    if name in _LAZY:
        value = getattr(importlib.import_module("." + _LAZY[name], __name__), name)
    elif name in ("functional", "function", "forward_ad", "variable", "profiler"):
        try:
            value = importlib.import_module("." + name, __name__)
        except ModuleNotFoundError:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'") from None
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value
