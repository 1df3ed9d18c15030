"""What the CUDA tests share: the same call on the CPU and on the device, and the comparison of the two."""

import warnings

import numpy as np

import numbagrad as ng
from numbagrad.dispatch import sampling
from numbagrad.extend import REGISTRY

# The device evaluates the same expressions in the same type. What differs is rounding: the CPU contracts a * b + c, the
# simulator does not. Functions have at most 2 ulp, and a gradient is a handful of operations.
RTOL = {"float32": 3e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 2e-2}


def ops(kind):
    return [name for name, op in REGISTRY.items() if op.kind == kind]


def tensors(value):
    """All tensors in a result or argument list, in order."""
    if isinstance(value, ng.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors(v)]
    return []


def move(value, device="cuda"):
    """The same arguments as new leaves on a device."""
    if isinstance(value, ng.Tensor):
        return value.detach().to(device).requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)) and tensors(value):
        return type(value)(move(v, device) for v in value)
    if isinstance(value, dict):
        return {k: move(v, device) for k, v in value.items()}
    return value


def call(op, args, kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations that an op announces are tested with the op
        return op.callable(*args, **kwargs)


def array(t):
    t = t.detach().cpu()
    return (t.float() if t.dtype in (ng.float16, ng.bfloat16) else t).numpy()


def assert_close(got, want, what="", times=1):
    """Same shape, dtype and values; integers and booleans exactly, floats to the rounding of a few operations, or several
    ``times`` that."""
    if got is None or want is None:  # a gradient that there is not
        assert got is want, what
        return
    assert (got.shape, got.dtype) == (want.shape, want.dtype), what
    a, b = array(got), array(want)
    if want.dtype.category < 2:
        np.testing.assert_array_equal(a, b, err_msg=what)
        return
    real = {"complex64": "float32", "complex128": "float64"}.get(want.dtype.name, want.dtype.name)
    finite = np.abs(b[np.isfinite(b)])
    # Sums of terms of both signs lose digits relative to their result, so an absolute part scales with the values.
    scale = finite.max() if finite.size else 0
    np.testing.assert_allclose(a, b, rtol=times * RTOL[real], atol=times * RTOL[real] * scale, err_msg=what)


def assert_same(got, want, what=""):
    """The same bits (NaN equals NaN)."""
    assert got.shape == want.shape and got.dtype is want.dtype, what
    np.testing.assert_array_equal(array(got), array(want), err_msg=what)


def arguments(op, sample, dtype="float32", **options):
    return sampling.arguments(op, sample, dtype, **options)


def weights(t):
    """A gradient that differs from element to element."""
    values = np.linspace(0.5, 1.5, max(t.numel(), 1))[:t.numel()].reshape(tuple(t.shape))
    return ng.from_numpy(values).to(t.dtype)


def grads(result, args):
    """Gradients of the arguments from the weighted sum of a result."""
    leaves = [t for t in tensors(args) if t.requires_grad]
    outs = [t for t in tensors(result) if t.requires_grad]
    if not outs:
        return []
    return ng.autograd.grad(outs, leaves, [weights(t).to(t.device) for t in outs], allow_unused=True)
