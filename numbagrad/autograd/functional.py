"""Jacobians, Hessians and their products with vectors, for functions of tensors."""

from __future__ import annotations

from ..base import modes
from ..core.tensor import Tensor
from . import grad, transforms

__all__ = ["jacobian", "hessian", "vjp", "jvp", "vhp", "hvp"]


def _stack(rows):
    import numbagrad as ng
    return ng.stack(rows)


def _zeros_like(t):
    from ..core.creation import zeros_like
    return zeros_like(t)


def _as_tuple(x, what, name):
    """(tuple, whether it was one); TypeError for anything but tensors."""
    is_tuple = isinstance(x, tuple)
    if not is_tuple:
        x = (x,)
    for i, t in enumerate(x):
        if not isinstance(t, Tensor):
            if is_tuple:
                raise TypeError(f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the "
                                f"value at index {i} has type {type(t)}.")
            raise TypeError(f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the given "
                            f"{what} has type {type(t)}.")
    return is_tuple, x


def _untuple(x, is_tuple):
    """Undo ``_as_tuple``; for a pair of flags, on both levels."""
    if isinstance(is_tuple, bool):
        return x if is_tuple else x[0]
    if not is_tuple[1]:
        x = tuple([row[0] for row in x])
    return x if is_tuple[0] else x[0]


def _leaves(tensors, create_graph):
    """Inputs to differentiate with respect to: views of the user's with ``create_graph``, else new leaves."""
    if create_graph:
        return tuple([t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors])
    return tuple([t.detach().requires_grad_() for t in tensors])


def _finished(x, create_graph):
    if isinstance(x, Tensor):
        return x if create_graph else x.detach()
    return tuple([_finished(t, create_graph) for t in x])


def _check_differentiable(outputs, strict):
    if strict:
        for i, o in enumerate(outputs):
            if not o.requires_grad:
                raise RuntimeError(f"Output {i} of the user-provided function does not require gradients. The outputs "
                                   "must be computed in a differentiable manner from the input when running in strict "
                                   "mode.")


def _gradients(outputs, inputs, grad_outputs=None, create_graph=False, retain_graph=None):
    """``autograd.grad`` that skips outputs without history."""
    grads = grad_outputs or (None,) * len(outputs)
    pairs = [(o, g) for o, g in zip(outputs, grads) if o is not None and o.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    outputs, grads = zip(*pairs)
    return grad(outputs, inputs, grads, allow_unused=True, create_graph=create_graph, retain_graph=retain_graph)


INDEPENDENT = {
    "back": "Output {} of the user-provided function is independent of input {}. This is not allowed in strict mode.",
    "back_trick": "The gradient with respect to the input is independent of entry {} in the grad_outputs when using "
                  "the double backward trick to compute forward mode gradients. This is not allowed in strict mode.",
    "double_back": "The jacobian of the user-provided function is independent of input {}. This is not allowed in "
                   "strict mode.",
    "double_back_trick": "The hessian of the user-provided function is independent of entry {} in the grad_jacobian. "
                         "This is not allowed in strict mode as it prevents from using the double backward trick to "
                         "replace forward mode AD.",
}
INDEPENDENT["rows"] = INDEPENDENT["back"]


def _filled(grads, like, strict, create_graph, stage, output=None):
    """Missing gradients as zeros; in strict mode an error, also (with ``create_graph``) for those without history."""
    out = []
    for i, (g, t) in enumerate(zip(grads, like)):
        if g is None:
            if strict:
                text = INDEPENDENT[stage]
                raise RuntimeError(text.format(output, i) if stage in ("back", "rows") else text.format(i))
            g = _zeros_like(t)
        elif strict and create_graph and not g.requires_grad:
            if "double" not in stage:
                at = output if stage == "rows" else i  # (PyTorch names the output there)
                raise RuntimeError(f"The jacobian of the user-provided function is independent of input {at}. This is "
                                   "not allowed in strict mode when create_graph=True.")
            raise RuntimeError(f"The hessian of the user-provided function is independent of input {i}. This is not "
                               "allowed in strict mode when create_graph=True.")
        out.append(g)
    return tuple(out)


def _check_v(v, other, is_tuple):
    if len(other) != len(v):
        if is_tuple:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(other)} but got {len(v)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (a, b) in enumerate(zip(v, other)):
        if a.size() != b.size():
            at = f"Entry {i} in v" if is_tuple else "v"
            raise RuntimeError(f"{at} has invalid size: should be {b.size()} but got {a.size()}.")


def vjp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(inputs), v^T J): the vector-Jacobian product. ``v`` has the shapes of the outputs; None for a scalar."""
    with modes.enable_grad():
        is_in, inputs = _as_tuple(inputs, "inputs", "vjp")
        inputs = _leaves(inputs, create_graph)
        is_out, outputs = _as_tuple(func(*inputs), "outputs of the user-provided function", "vjp")
        _check_differentiable(outputs, strict)
        if v is not None:
            _, v = _as_tuple(v, "v", "vjp")
            v = _leaves(v, create_graph=False)
            _check_v(v, outputs, is_out)
        elif len(outputs) != 1 or outputs[0].numel() != 1:
            raise RuntimeError("The vector v can only be None if the user-provided function returns a single Tensor "
                               "with a single element.")
    with modes.set_grad_enabled(create_graph or modes.is_grad_enabled()):
        g = _gradients(outputs, inputs, v, create_graph=create_graph)
        g = _filled(g, inputs, strict, create_graph, "back", 0)
    return (_untuple(_finished(outputs, create_graph), is_out), _untuple(_finished(g, create_graph), is_in))


def jvp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(inputs), J v): the Jacobian-vector product, by differentiating the vector-Jacobian product.

    ``v`` has the shapes of the inputs; None for a single input of one element."""
    with modes.enable_grad():
        is_in, inputs = _as_tuple(inputs, "inputs", "jvp")
        inputs = _leaves(inputs, create_graph)
        if v is not None:
            _, v = _as_tuple(v, "v", "jvp")
            v = _leaves(v, create_graph=False)
            _check_v(v, inputs, is_in)
        elif len(inputs) != 1 or inputs[0].numel() != 1:
            raise RuntimeError("The vector v can only be None if the input to the user-provided function is a single "
                               "Tensor with a single element.")
        is_out, outputs = _as_tuple(func(*inputs), "outputs of the user-provided function", "jvp")
        _check_differentiable(outputs, strict)
        # The vector-Jacobian product is linear in its vector, so its gradient with respect to that is J v.
        dummy = tuple([_zeros_like(o).requires_grad_() for o in outputs])
        g = _filled(_gradients(outputs, inputs, dummy, create_graph=True), inputs, strict, True, "back", 0)
    with modes.set_grad_enabled(create_graph or modes.is_grad_enabled()):
        if create_graph:
            product = _filled(_gradients(g, dummy, v, create_graph=True), outputs, strict, True, "back_trick")
        else:
            product = _filled(_gradients(g, dummy, v), outputs, strict, False, "back_trick")
    return (_untuple(_finished(outputs, create_graph), is_out), _untuple(_finished(product, create_graph), is_out))


def jacobian(func, inputs, create_graph=False, strict=False, vectorize=False, strategy="reverse-mode"):
    """Matrix of all derivatives: shape output + shape input, nested in tuples like outputs, then inputs.

    Rows are computed one by one, or with ``vectorize`` all at once. ``strict`` raises RuntimeError where an output does not
    depend on an input."""
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function '
                             'has more '
                             'outputs than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to '
                             'use '
                             '"reverse-mode".')
    if strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError("torch.autograd.functional.jacobian: `create_graph=True` and "
                                      "`strategy=\"forward-mode\"` are "
                                      "not supported together (yet). Please either set `create_graph=False` or "
                                      "`strategy=\"reverse-mode\"`.")
        return _forward(func, inputs, strict, vectorize)
    if vectorize and strict:
        raise RuntimeError("torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported "
                           "together. Please either set `strict=False` or `vectorize=False`.")
    with modes.enable_grad():
        is_in, inputs = _as_tuple(inputs, "inputs", "jacobian")
        inputs = _leaves(inputs, create_graph)
        is_out, outputs = _as_tuple(func(*inputs), "outputs of the user-provided function", "jacobian")
        _check_differentiable(outputs, strict)
        if vectorize:
            return _untuple(_finished(_by_batch(outputs, inputs, create_graph), create_graph), (is_out, is_in))
        result = []
        for i, out in enumerate(outputs):
            rows = [[] for _ in inputs]
            flat = out.reshape(-1)
            for j in range(out.numel()):
                g = _gradients((flat[j],), inputs, retain_graph=True, create_graph=create_graph)
                g = _filled(g, inputs, strict, create_graph, "rows", i)
                for column, part in zip(rows, g):
                    column.append(part)
            result.append(tuple([_stack(column).view((*out.shape, *t.shape)) if column else
                                 _zeros_like(t).new_zeros((*out.shape, *t.shape)) for column, t in zip(rows, inputs)]))
    return _untuple(_finished(tuple(result), create_graph), (is_out, is_in))


def _by_batch(outputs, inputs, create_graph):
    """All rows of the matrix by one batched gradient."""
    with modes.no_grad():
        basis = next(transforms("jacobians").bases(outputs))
    pairs = [(o, b) for o, b in zip(outputs, basis) if o.requires_grad]
    found = [None] * len(inputs)
    if pairs:
        outs, rows = zip(*pairs)
        found = grad(outs, inputs, rows, retain_graph=True, create_graph=create_graph, allow_unused=True, is_grads_batched=True)
    counts = [o.numel() for o in outputs]
    columns = [t.new_zeros((sum(counts), *t.shape)) if g is None else g for g, t in zip(found, inputs)]
    parts = [[part.view(o.shape + t.shape) for part, o in zip(c.split(counts, 0), outputs)] for c, t in zip(columns, inputs)]
    return tuple([tuple(row) for row in zip(*parts)])


def _forward(func, inputs, strict, vectorize):
    """The matrix column by column, by dual numbers."""
    if strict:
        raise RuntimeError('torch.autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are not supported '
                           'together (yet). Please either set `strict=False` or `strategy="reverse-mode"`.')
    is_in, inputs = _as_tuple(inputs, "inputs", "jacobian")
    if not vectorize:
        raise NotImplementedError("Computing Jacobian using forward-AD or forward-over-reverse Hessian isonly implemented for "
                                  "`vectorize=True`.")
    result, is_out = transforms("classic").forward_jacobian(func, inputs, _as_tuple)
    return _untuple(tuple(result), (is_out, is_in))


def _scalar(func, name):
    """``func`` with the check that it returns one element."""
    def checked(*inputs):
        out = func(*inputs)
        is_tuple, out = _as_tuple(out, "outputs of the user-provided function", name)
        if is_tuple:
            raise RuntimeError(f"The function given to {name} should return a single Tensor")
        if out[0].numel() != 1:
            raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
        return out[0].squeeze()
    return checked


def hessian(func, inputs, create_graph=False, strict=False, vectorize=False, outer_jacobian_strategy="reverse-mode"):
    """Second derivatives of a scalar function: shape input i + shape input j, nested in tuples like the inputs."""
    is_in, inputs = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    scalar = _scalar(func, "hessian")

    def first(*leaves):
        if outer_jacobian_strategy == "forward-mode":
            return transforms("classic").gradient_of(scalar, leaves)
        g = jacobian(scalar, leaves, create_graph=True)
        if strict:
            for i, part in enumerate(g):
                if not part.requires_grad:
                    raise RuntimeError(LINEAR.format(i))
        return g
    result = jacobian(first, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return _untuple(result, (is_in, is_in))


LINEAR = ("While computing the hessian, found that the jacobian of the user-provided function with respect to input {} "
          "is independent of the input. This is not allowed in strict mode. You should ensure that your function is "
          "twice differentiable and that the jacobian depends on the inputs (this would be violated by a linear "
          "function for example).")


def _first_order(func, inputs, v, create_graph, strict, name):
    """(whether inputs was a tuple, inputs, v, output, recorded gradient) of a scalar function."""
    is_in, inputs = _as_tuple(inputs, "inputs", name)
    inputs = _leaves(inputs, create_graph)
    if v is not None:
        _, v = _as_tuple(v, "v", name)
        v = _leaves(v, create_graph=False)
        _check_v(v, inputs, is_in)
    elif len(inputs) != 1 or inputs[0].numel() != 1:
        raise RuntimeError("The vector v can only be None if the input to the user-provided function is a single "
                           "Tensor with a single element.")
    is_out, outputs = _as_tuple(func(*inputs), "outputs of the user-provided function", name)
    _check_differentiable(outputs, strict)
    if is_out:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
    g = _gradients(outputs, inputs, create_graph=True)
    if strict:
        for i, part in enumerate(g):
            if part is None:
                raise RuntimeError(f"The output of the user-provided function is independent of input {i}. This is not "
                                   "allowed in strict mode.")
            if not part.requires_grad:
                raise RuntimeError(LINEAR.format(i))
    return is_in, inputs, v, outputs, g


def vhp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(inputs), v^T H): the product of a vector with the Hessian of a scalar function."""
    with modes.enable_grad():
        is_in, inputs, v, outputs, g = _first_order(func, inputs, v, create_graph, strict, "vhp")
    with modes.set_grad_enabled(create_graph or modes.is_grad_enabled()):
        product = _gradients(g, inputs, v, create_graph=create_graph)
        product = _filled(product, inputs, strict, create_graph, "double_back")
    return _finished(outputs[0], create_graph), _untuple(_finished(product, create_graph), is_in)


def hvp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(inputs), H v): the product of the Hessian of a scalar function with a vector."""
    with modes.enable_grad():
        is_in, inputs, v, outputs, g = _first_order(func, inputs, v, create_graph, strict, "hvp")
        dummy = tuple([_zeros_like(t).requires_grad_() for t in inputs])
        back = _filled(_gradients(g, inputs, dummy, create_graph=True), inputs, strict, True, "double_back")
    with modes.set_grad_enabled(create_graph or modes.is_grad_enabled()):
        product = _gradients(back, dummy, v, create_graph=create_graph)
        product = _filled(product, inputs, strict, create_graph, "double_back_trick")
    return _finished(outputs[0], create_graph), _untuple(_finished(product, create_graph), is_in)
