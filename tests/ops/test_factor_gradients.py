"""Gradients of solutions by a Cholesky factor: PyTorch's have elements on both sides of the diagonal."""

from __future__ import annotations

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


@pytest.mark.parametrize("batch", [(), (2,), (3, 1)])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("name", ["solve", "inverse"])
def test_of_the_whole_factor(name, upper, batch):
    """The other triangle of the factor, which values do not depend on, included."""
    rng = np.random.default_rng(0)
    factor, right = rng.normal(size=(*batch, 3, 3)) + 3 * np.eye(3), rng.normal(size=(*batch, 3, 2))

    def one(t):
        a, b = (t.tensor(x, requires_grad=True) for x in (factor, right))
        y = t.cholesky_solve(b, a, upper) if name == "solve" else t.cholesky_inverse(a, upper)
        first = t.autograd.grad(y.pow(2).sum(), [a, b][:1 + (name == "solve")], create_graph=True)
        second = t.autograd.grad(sum(g.pow(2).sum() for g in first), a)
        return [g.detach().numpy() for g in (*first, *second)]
    for found, wanted in zip(one(ng), one(torch), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * abs(wanted).max())
