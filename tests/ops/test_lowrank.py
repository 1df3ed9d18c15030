"""``svd_lowrank`` and ``pca_lowrank``: PyTorch's from its random stream; gradients of what does not depend on signs."""

from __future__ import annotations

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
CASES = {
    "svd": lambda lib, A: lib.svd_lowrank(A, 3), "fewer": lambda lib, A: lib.svd_lowrank(A, q=2, niter=1),
    "less a mean": lambda lib, A: lib.svd_lowrank(A, 3, M=A.mean(-2, keepdim=True)),
    "pca": lambda lib, A: lib.pca_lowrank(A, 3), "not centred": lambda lib, A: lib.pca_lowrank(A, 2, False, 3)}


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (2, 6, 5)])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, shape):
    data, found = np.random.default_rng(0).normal(size=shape), []
    for lib in (ng, torch):
        lib.manual_seed(3)
        A = lib.tensor(data, requires_grad=True)
        U, S, V = CASES[case](lib, A)
        product = (U * S.unsqueeze(-2)) @ V.mH
        (g,) = lib.autograd.grad((product ** 2).sum(), A, create_graph=True)
        (h,) = lib.autograd.grad((g * A).sum(), A)
        found.append([t.detach().numpy() for t in (S, product, g, h)])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_other_dtypes(dtype):
    found = []
    for lib in (ng, torch):
        lib.manual_seed(0)
        A = lib.randn(6, 4, dtype=getattr(lib, dtype))
        U, S, V = lib.svd_lowrank(A, 4)
        assert U.dtype == A.dtype
        found.append((S.numpy(), ((U * S) @ V.mH).numpy(), A.numpy()))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_sparse_matrices():
    data, found = np.maximum(np.random.default_rng(1).normal(size=(6, 5)), 0), []
    for lib in (ng, torch):
        A = lib.tensor(data).to_sparse()
        found.append([])
        for f in (lib.svd_lowrank, lib.pca_lowrank):
            lib.manual_seed(0)
            found[-1].append(f(A, 3)[1].numpy())
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("q, niter", [(9, 2), (-1, 2), (2, -1)])
def test_what_is_refused(q, niter):
    errors = []
    for lib in (ng, torch):
        with pytest.raises(ValueError) as error:
            lib.pca_lowrank(lib.ones(5, 4), q, niter=niter)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
