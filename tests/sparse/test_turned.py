"""Sparse tensors turned over (``mT``, ``T``, ``mH``, ``H``, ``adjoint``), and older names of their products: as in PyTorch."""

from __future__ import annotations

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CALLS = {
    "mT": lambda t, s: s.mT, "T": lambda t, s: s.T, "mH": lambda t, s: s.mH, "H": lambda t, s: s.H,
    "adjoint": lambda t, s: s.adjoint(), "function": lambda t, s: t.adjoint(s),
    "dsmm": lambda t, s: t.dsmm(s, t.ones(3, 2, dtype=s.dtype)), "hsmm": lambda t, s: t.hsmm(s, t.ones(3, 2, dtype=s.dtype))}


def matrix(t):
    return t.sparse_coo_tensor(t.tensor([[0, 1, 1], [1, 0, 2]]), t.tensor([2.0, 3.0, 4.0]), (2, 3))


def batch(t):
    return t.sparse_coo_tensor(t.tensor([[0, 1], [1, 0], [2, 1]]), t.tensor([2.0, 3.0]), (2, 2, 3))


def complex_matrix(t):
    return t.sparse_coo_tensor(t.tensor([[0, 1], [1, 0]]), t.tensor([2 + 1j, 3 - 2j]), (2, 3))


@pytest.mark.parametrize("make", [matrix, batch, complex_matrix], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", CALLS)
def test_as_in_pytorch(name, make):
    def said(t):
        try:
            found = CALLS[name](t, make(t))
        except RuntimeError as e:
            return type(e).__name__
        return (found.coalesce() if found.is_sparse else found).to_dense().tolist(), tuple(found.shape)
    assert said(ng) == said(torch)


def test_gradients_go_through():
    def one(t):
        v = t.tensor([1.0, 2.0, 3.0], dtype=t.float64, requires_grad=True)
        s = t.sparse_coo_tensor(t.tensor([[0, 1, 1], [1, 0, 2]]), v, (2, 3))
        (s.mT @ t.ones(2, 2, dtype=t.float64)).pow(3).sum().backward()
        return v.grad.tolist()
    assert one(ng) == one(torch)
