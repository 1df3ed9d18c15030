"""Products that stay sparse, and sizes of sparse tensors that change, beside PyTorch."""

from __future__ import annotations

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


def shown(t):
    if not getattr(t, "is_sparse", False):
        return t
    return t._indices().tolist(), t._values().tolist(), tuple(t.shape), t.is_coalesced(), str(t.dtype).split(".")[1]


def outcome(action, lib):
    try:
        return shown(action(lib))
    except Exception as e:
        return type(e).__name__, str(e).split(". This could be")[0].rstrip(".")


def both(*actions):
    for action in actions:
        assert outcome(action, ng) == outcome(action, torch)


def matrix(lib, size=(3, 3)):
    return lib.sparse_coo_tensor(lib.tensor([[2, 0, 2], [1, 2, 0]]), lib.tensor([1.0, 2, 3]), size)


def test_products():
    def dense(lib, *shape):
        return lib.arange(float(shape[0] * shape[1])).reshape(shape)
    both(lambda lib: lib.hspmm(matrix(lib), dense(lib, 3, 2)), lambda lib: lib.smm(matrix(lib), dense(lib, 3, 2)),
         lambda lib: matrix(lib).smm(dense(lib, 3, 4)),
         lambda lib: lib.sspaddmm(matrix(lib), matrix(lib), dense(lib, 3, 3)),
         lambda lib: matrix(lib).sspaddmm(matrix(lib), dense(lib, 3, 3), beta=2, alpha=3),
         lambda lib: lib.smm(matrix(lib), dense(lib, 2, 3)), lambda lib: lib.hspmm(matrix(lib), dense(lib, 2, 3)),
         lambda lib: lib.smm(dense(lib, 3, 3), dense(lib, 3, 3)), lambda lib: lib.smm(matrix(lib), matrix(lib)),
         lambda lib: lib.hspmm(dense(lib, 3, 3), dense(lib, 3, 3)),
         lambda lib: lib.sspaddmm(matrix(lib), matrix(lib), dense(lib, 3, 4)))


def test_sizes():
    def hybrid(lib):
        return lib.sparse_coo_tensor(lib.tensor([[0, 1, 2]]), lib.ones(3, 2), (3, 2))
    for size in (((4, 4), 2, 0), ((2, 2), 2, 0), ((4, 4), 1, 1), ((4,), 2, 0), ((3, 3), 2, 0), ((4, 3, 2), 2, 1)):
        both(lambda lib, size=size: matrix(lib).sparse_resize_(*size),
             lambda lib, size=size: matrix(lib).sparse_resize_and_clear_(*size))
    for size in (((2, 2), 1, 1), ((4, 2), 2, 0), ((4, 1), 1, 1), ((4, 2, 2), 1, 2), ((4, 2), 1, 1)):
        both(lambda lib, size=size: hybrid(lib).sparse_resize_(*size))
    both(lambda lib: hybrid(lib).sparse_resize_and_clear_((2, 2), -1, 3),
         lambda lib: lib.ones(2).sparse_resize_((2,), 1, 0), lambda lib: lib.ones(2).sparse_resize_and_clear_((2,), 1, 0))
    x = matrix(ng)
    assert x.sparse_resize_((4, 4), 2, 0) is x and x.to_dense()[:3, :3].tolist() == matrix(ng).to_dense().tolist()
    wide = hybrid(ng).sparse_resize_((3, 3), 1, 1)  # PyTorch's new places are whatever the memory holds
    assert wide.to_dense().tolist() == [[1.0, 1.0, 0.0]] * 3
