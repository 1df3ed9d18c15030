"""``assert_close``: comparison with PyTorch's default tolerances."""

from __future__ import annotations

import numpy as np

from .core.creation import as_tensor
from .core.tensor import Tensor

# (relative, absolute) per dtype; exact for the others.
TOLERANCES = {"float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
              "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7)}


def assert_close(actual, expected, *, allow_subclasses=True, rtol=None, atol=None, equal_nan=False, check_device=True,
                 check_dtype=True, check_layout=True, check_stride=False, msg=None):
    """Raise AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere, shapes, dtypes and
    devices being equal; sequences and mappings are compared item by item."""
    if (rtol is None) != (atol is None):
        raise ValueError("Both 'rtol' and 'atol' must be either specified or unspecified.")
    if isinstance(expected, (list, tuple)) and not isinstance(actual, Tensor):
        if len(actual) != len(expected):
            raise AssertionError(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}")
        for a, e in zip(actual, expected):
            assert_close(a, e, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=check_dtype, msg=msg)
        return
    if isinstance(expected, dict):
        if set(actual) != set(expected):
            raise AssertionError(f"The keys of the mappings do not match: {sorted(set(actual) ^ set(expected))}")
        for k in expected:
            assert_close(actual[k], expected[k], rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=check_dtype,
                         msg=msg)
        return
    a, e = as_tensor(actual), as_tensor(expected)
    problem = None
    if a.shape != e.shape:
        problem = f"The values for attribute 'shape' do not match: {a.shape} != {e.shape}."
    elif check_dtype and a.dtype is not e.dtype:
        problem = f"The values for attribute 'dtype' do not match: {a.dtype} != {e.dtype}."
    elif check_device and a.device != e.device:
        problem = f"The values for attribute 'device' do not match: {a.device} != {e.device}."
    else:
        r0, a0 = max(TOLERANCES.get(t.dtype.name, (0.0, 0.0)) for t in (a, e))
        rtol, atol = (r0, a0) if rtol is None else (rtol, atol)
        problem = _difference(_array(a), _array(e), rtol, atol, equal_nan)
    if problem:
        raise AssertionError(msg(problem) if callable(msg) else msg or problem)


def _array(t):
    t = t.detach().cpu()
    return (t.double() if t.dtype.is_floating_point else t).numpy()


def _difference(a, e, rtol, atol, equal_nan):
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = ~np.isclose(a, e, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if not wrong.any():
        return None
    if a.ndim == 0:
        return (f"Scalars are not close!\n\nExpected {e.item()} but got {a.item()}.\nAbsolute difference: "
                f"{abs(a.item() - e.item())} (up to {atol} allowed)\nRelative difference: "
                f"{abs(a.item() - e.item()) / abs(e.item()) if e.item() else float('inf')} (up to {rtol} allowed)")
    diff = np.abs(a.astype(np.float64) - e) if a.dtype.kind != "c" else np.abs(a - e)
    at = tuple(int(i) for i in np.unravel_index(np.nanargmax(np.where(wrong, diff, -1)), a.shape))
    return (f"Tensor-likes are not close!\n\nMismatched elements: {int(wrong.sum())} / {a.size} "
            f"({100 * wrong.mean():.1f}%)\nGreatest absolute difference: {diff[at]} at index {at} (up to {atol} allowed)\n"
            f"expected {e[at]}, got {a[at]} (relative tolerance {rtol})")
