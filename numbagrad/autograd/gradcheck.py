"""Check gradients against finite differences.

A complex output is checked as two real functions, its real and its imaginary part; the gradient of a real function with
respect to a complex input x + iy is d/dx + i d/dy, which is what backward returns.
"""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np

from ..base import modes
from ..core.registry import REGISTRY
from ..core.tensor import Tensor, from_array
from . import grad, transforms

__all__ = ["gradcheck", "gradgradcheck", "GradcheckError"]


class _Callable(types.ModuleType):
    """Importing this module puts it where the function of the same name is expected, so it can be called like it."""

    def __call__(self, *args, **kwargs):
        return gradcheck(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable


class GradcheckError(RuntimeError):
    """A gradient differs from the finite difference."""


def _tuple(x):
    return (x,) if isinstance(x, Tensor) else tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _differentiable(t):
    return isinstance(t, Tensor) and t.requires_grad


def _check_inputs(inputs):
    some = False
    for i, t in enumerate(inputs):
        if not _differentiable(t):
            continue
        some = True
        if t.dtype.itemsize != (16 if t.is_complex() else 8):
            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This "
                          "check will likely fail if all the inputs are not of double precision floating point or "
                          "complex. ",
                          UserWarning, stacklevel=4)
        if any(k == 0 and s > 1 for s, k in zip(t.shape, t.stride())):
            raise RuntimeError(f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that "
                               "are non-overlapping to be able to compute the numerical gradients correctly. You "
                               "should call .contiguous on the input before passing it to gradcheck.")
    if not some:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of them have "
                         "requires_grad=True.")
    for t in inputs:
        if isinstance(t, Tensor) and t.requires_grad and not t.is_leaf:
            t.retain_grad()


def _values(t):
    """The elements as a flat NumPy array of float64 or complex128."""
    a = t.detach().cpu()
    if a.dtype.itemsize == 2:
        a = a.float()
    return a.numpy().reshape(-1).astype(np.complex128 if t.is_complex() else np.float64)


def _assign(t, values):
    """Write a flat array into a tensor's memory, unseen by autograd."""
    new = from_array(np.array(values.reshape(tuple(t.shape))))
    with modes.no_grad():
        t.data.copy_(new.to(t.device, t.dtype))


def _outputs(fn, inputs):
    """The differentiable outputs of a call."""
    return tuple([o for o in _tuple(fn(*inputs)) if isinstance(o, Tensor) and o.dtype.category >= 2])


def _numerical(fn, inputs, t, eps, which=None):
    """One array (elements of t, elements of output) per output; complex where ``t`` or the output is."""
    start = _values(t)
    columns = []
    steps = [eps, 1j * eps] if t.is_complex() else [eps]
    try:
        for k in range(start.size):
            parts = []
            for step in steps:
                both = []
                for sign in (1, -1):
                    moved = start.copy()
                    moved[k] += sign * step
                    _assign(t, moved)
                    with modes.no_grad():
                        both.append([_values(o.clone()) for o in _outputs(fn, inputs)])
                parts.append([(a - b) / (2 * eps) for a, b in zip(*both)])
            columns.append(parts)
    finally:
        _assign(t, start)
    return columns


def _parts(columns, output, complex_output):
    """[(name, numerical Jacobian of that real part)] for one output."""
    names = ("real", "imag") if complex_output else ("",)
    out = []
    for name in names:
        rows = []
        for parts in columns:
            d = [getattr(p[output], name) if name else p[output] for p in parts]
            rows.append(d[0] + 1j * d[1] if len(d) == 2 else d[0])
        out.append((name, np.array(rows)))
    return out


def _analytical(output, inputs, name):
    """Jacobians (elements of input, elements of output) of one real part of an output, from backward."""
    wrt = [t for t in inputs if _differentiable(t)]
    n = output.numel()
    jacobians = [np.zeros((t.numel(), n), np.complex128 if t.is_complex() else np.float64) for t in wrt]
    dtypes = []
    for j in range(n):
        v = np.zeros(n, np.complex128 if output.is_complex() else np.float64)
        v[j] = 1j if name == "imag" else 1
        seed = from_array(v.reshape(output.shape)).to(output.device, output.dtype)
        grads = grad(output, wrt, seed, retain_graph=True, allow_unused=True)
        for t, g, jac in zip(wrt, grads, jacobians):
            if g is not None:
                if g.shape != t.shape:
                    raise GradcheckError("Analytical gradient has incorrect size")
                dtypes.append((g.dtype, t.dtype))
                jac[:, j] = _values(g)
    return jacobians, dtypes


def _shown(a, like):
    return from_array(np.ascontiguousarray(a)).to(dtype=like.dtype if like.is_complex() == np.iscomplexobj(a) else None)


def _slow(fn, inputs, outputs, eps, atol, rtol, nondet_tol, check_grad_dtypes):
    wrt = [(i, t) for i, t in enumerate(inputs) if _differentiable(t)]
    numerical = [_numerical(fn, inputs, t, eps) for _, t in wrt]
    for k, out in enumerate(outputs):
        for name in ("real", "imag") if out.is_complex() else ("",):
            first, dtypes = _analytical(out, inputs, name)
            second, _ = _analytical(out, inputs, name)
            prefix = {"": "", "real": "While considering the real part of complex outputs only, ",
                      "imag": "While considering the imaginary part of complex outputs only, "}[name]
            if check_grad_dtypes:
                for got, expected in dtypes:
                    if got != expected:
                        raise GradcheckError(f"Gradient has dtype mismatch: expected {expected}, got {got}")
            for (i, t), a, b, columns in zip(wrt, first, second, numerical):
                n = dict(_parts(columns, k, out.is_complex()))[name] if columns else a
                n = n.reshape(a.shape)
                if not np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
                    raise GradcheckError(f"{prefix}Jacobian mismatch for output {k} with respect to input {i},\n"
                                         f"numerical:{_shown(n, t)}\nanalytical:{_shown(a, t)}\n")
                if a.size and np.max(np.abs(a - b)) > nondet_tol:
                    raise GradcheckError(
                        "Backward is not reentrant, i.e., running backward with same input and grad_output multiple "
                        "times gives different values, although analytical gradient matches numerical gradient."
                        f"The tolerance for nondeterminism was {nondet_tol}.")


def _slopes(fn, inputs, i, tangent):
    """Tangents of the outputs for one tangent of input ``i``: zeros where an output does not depend on it."""
    forward = transforms("forward_ad")
    with forward.dual_level():
        given = [a.detach() if isinstance(a, Tensor) else a for a in inputs]
        given[i] = forward.make_dual(given[i], tangent)
        pairs = [forward.unpack_dual(o) for o in _outputs(fn, given)]
    return tuple([p.new_zeros(p.shape) if t is None else t for p, t in pairs])


def _forward(fn, inputs, eps, atol, rtol):
    """Compare slopes along each element of each input with differences."""
    for i, t in enumerate(inputs):
        if not _differentiable(t):
            continue
        for e, parts in enumerate(_numerical(fn, inputs, t, eps)):
            for step, numerical in zip((1, 1j), parts):
                unit = np.zeros(t.numel(), np.complex128 if t.is_complex() else np.float64)
                unit[e] = step
                found = _slopes(fn, inputs, i, from_array(unit.reshape(tuple(t.shape))).to(t.device, t.dtype))
                for k, (slope, n) in enumerate(zip(found, numerical)):
                    if not np.allclose(_values(slope), n, rtol=rtol, atol=atol, equal_nan=True):
                        raise GradcheckError(f"Jacobian computed with forward mode mismatch for output {k} with respect to "
                                             f"input {i},\nnumerical:{_shown(n, slope)}\nanalytical:{slope}\n")


BATCHED = ("gradcheck or gradgradcheck failed while testing batched gradient computation: the rule of an operation for a "
           "batch of func.vmap differs from a loop; check_batched_grad=False leaves the test out")
BATCHED_FORWARD = ("gradcheck failed while testing batched gradient computation with forward-mode AD: the rule of an operation "
                   "for a batch of func.vmap differs from a loop; check_batched_forward_grad=False leaves the test out")


def _batched(call, batch, like, output, text):
    """Compare a call for two random tensors with one for both."""
    given = [REGISTRY["randn_like"].callable(like) for _ in range(2)]
    stack = REGISTRY["stack"].callable
    loop = [stack(parts) for parts in zip(*[call(g) for g in given])]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        try:
            both = batch(stack(given))
        except RuntimeError as error:
            raise GradcheckError(f"While computing batched gradients, got: {error}\n\n{text}") from error
    for i, (got, expected) in enumerate(zip(both, loop)):
        if not np.allclose(_values(got), _values(expected), rtol=1e-5, atol=1e-8):
            raise GradcheckError(f"For output {output} and input {i}:\n\n{text}\n\nGot:\n{got}\n\nExpected:\n{expected}")


def _batched_backward(outputs, inputs):
    wrt = [t for t in inputs if _differentiable(t)]
    for k, out in enumerate(outputs):
        def call(g, batch=False, out=out):
            return grad(out, wrt, g, retain_graph=True, materialize_grads=True, is_grads_batched=batch)

        def rows(g, call=call):
            found = call(g, True)
            return [r if r.dim() > t.dim() else r.expand(2, *r.shape) for r, t in zip(found, wrt)]
        _batched(call, rows, out.detach(), k, BATCHED)


def _batched_forward(fn, inputs):
    for i, t in enumerate(inputs):
        if _differentiable(t):
            def call(tangent, i=i):
                return _slopes(fn, inputs, i, tangent)
            _batched(call, transforms("vmap").vmap(call), t.detach(), i, BATCHED_FORWARD)


def _zero_in_zero_out(outputs, inputs):
    """Backward must be linear in the incoming gradient: zeros give zeros."""
    from ..core.creation import zeros_like
    wrt = [t for t in inputs if _differentiable(t)]
    grads = grad(outputs, wrt, [zeros_like(o) for o in outputs], retain_graph=True, allow_unused=True)
    for g, t in zip(grads, wrt):
        if g is None:
            continue
        if g.device != t.device:
            raise GradcheckError("grad is on incorrect device")
        if g.shape != t.shape:
            raise GradcheckError("grad is incorrect size")
        if np.any(_values(g) != 0):
            raise GradcheckError("backward not multiplied by grad_output")


def gradcheck(func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0,
              check_undefined_grad=True, check_grad_dtypes=False, check_batched_grad=False,
              check_batched_forward_grad=False, check_forward_ad=False, check_backward_ad=True, fast_mode=False,
              masked=None):
    """Whether backward of ``func`` agrees with central differences of width ``eps`` for all inputs that require grad.

    RuntimeError (``GradcheckError``) with both Jacobians where it does not, or False without ``raise_exception``.
    ``fast_mode`` compares all elements too, which is at least as strict; ``check_undefined_grad`` has no effect."""
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if check_batched_grad and not check_backward_ad:
        raise AssertionError("Setting check_batched_grad=True requires check_backward_ad to be True")
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("Setting check_batched_forward_grad=True requires check_forward_ad to be True")
    inputs = _tuple(inputs)
    try:
        _check_inputs(inputs)
        with modes.enable_grad():
            outputs = _outputs(func, inputs)
            differentiable = [o for o in outputs if o.requires_grad]
            if not differentiable:
                for t in inputs:
                    if _differentiable(t):
                        for parts in _numerical(func, inputs, t, eps):
                            if any(np.any(d != 0) for outs in parts for d in outs):
                                raise GradcheckError("Numerical gradient for function expected to be zero")
                return True
            kept = [k for k, o in enumerate(outputs) if o.requires_grad]

            def only(*args):
                results = _outputs(func, args)
                return tuple([results[k] for k in kept])
            if check_forward_ad:
                _forward(only, inputs, eps, atol, rtol)
            if check_backward_ad:
                _slow(only, inputs, differentiable, eps, atol, rtol, nondet_tol, check_grad_dtypes)
            if check_batched_forward_grad:
                _batched_forward(only, inputs)
            if not check_backward_ad:
                return True
            if check_batched_grad:
                _batched_backward(differentiable, inputs)
            _zero_in_zero_out(differentiable, inputs)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _wanted(t):
    """A tensor of which a gradient can be taken; a dual one keeps its tangent."""
    return (t.detach() if t.__class__ is Tensor else t).requires_grad_()


def gradgradcheck(func, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, gen_non_contig_grad_outputs=False,
                  raise_exception=True, nondet_tol=0.0, check_undefined_grad=True, check_grad_dtypes=False,
                  check_batched_grad=False, check_fwd_over_rev=False, check_rev_over_rev=True, fast_mode=False,
                  masked=False):
    """Whether the second derivatives of ``func`` (the gradient of its backward) agree with central differences.

    ``grad_outputs`` default to random numbers; see ``gradcheck`` for the rest."""
    inputs = _tuple(inputs)
    with modes.enable_grad():
        outputs = [o for o in _outputs(func, inputs) if o.requires_grad]
    if grad_outputs is None:
        made = []
        for o in outputs:
            # Drawn as PyTorch draws them, so that what a seeded script draws next is the same.
            g = from_array(np.empty((*o.shape, 2) if o.is_complex() else tuple(o.shape), o.dtype.to_real().np))
            g = g.uniform_(-1, 1).to(o.device)
            g = REGISTRY["view_as_complex"].callable(g) if o.is_complex() else g
            if gen_non_contig_grad_outputs and g.dim():
                g = g.unsqueeze(-1).repeat(*(1,) * g.dim(), 2)[..., 0]
            made.append(g.detach().requires_grad_())
        grad_outputs = tuple(made)
    else:
        grad_outputs = _tuple(grad_outputs)
    n = len(grad_outputs)

    def first_order(*args):
        args, seeds = args[:-n], args[-n:]
        # Views, so that one tensor given twice counts as two inputs.
        args = tuple([a.view_as(a) if _differentiable(a) and a.is_leaf else a for a in args])
        wrt = [a for a in args if _differentiable(a)]
        outs = [o for o in _outputs(func, args) if o.requires_grad]
        if not outs:
            return tuple([a * 0 for a in wrt])
        grads = grad(outs, wrt, seeds, create_graph=True, allow_unused=True)
        return tuple([g for g in grads if g is not None])

    def recorded(*args):
        with modes.enable_grad():
            return first_order(*[_wanted(a) if isinstance(a, Tensor) and (
                t.requires_grad and not a.requires_grad) else a for a, t in zip(args, (*inputs, *grad_outputs))])
    return gradcheck(recorded, (*inputs, *grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad,
                     check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad,
                     check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, fast_mode=fast_mode,
                     masked=masked)
