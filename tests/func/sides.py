"""Runs one function under numbagrad and under PyTorch and compares values, shapes, dtypes, ``requires_grad`` and errors."""

import warnings

import numpy as np
import pytest

import numbagrad as ng

X = np.random.default_rng(0).normal(size=(4, 3))
W = np.random.default_rng(1).normal(size=(3, 3))


def leaves(result):
    """The parts of nested results that are no tuples, lists or dicts."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


def outcome(library, code):
    try:
        with warnings.catch_warnings():
            if library is not ng:
                warnings.simplefilter("ignore")  # (its own parts are deprecated in it)
            return leaves(code(library))
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("numbagrad.", "torch.")


def same(torch, code, grad=True):
    """Assert that ``code(library)`` gives the same with both libraries; ``grad``: down to what requires grad."""
    ours, theirs = outcome(ng, code), outcome(torch, code)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs, f"{ours}\n{theirs}"
        return
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        if not hasattr(b, "shape"):
            assert a == (pytest.approx(b) if isinstance(b, float) else b)
            continue
        assert tuple(a.shape) == tuple(b.shape) and str(a.dtype) == str(b.dtype)
        near = (1e-5, 1e-6) if str(b.dtype) == "torch.float32" else (1e-9, 1e-12)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), *near)
        if grad:
            assert a.requires_grad == b.requires_grad
