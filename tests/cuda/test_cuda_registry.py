"""Every op of the registry on the device, forward and backward, against the CPU."""

import numpy as np
import pytest
from cuda_twin import arguments, assert_close, call, grads, move, tensors

import numbagrad as ng
from numbagrad.extend import REGISTRY

NAMES = [name for name, op in REGISTRY.items() if op.samples]
# Factors of a matrix are found in another order by the CPU's BLAS; determinants and the like add many products.
LOOSE = {"matrix_exp": 10, "gru": 10, "lstm": 10, "rnn_tanh": 10}


@pytest.mark.parametrize("name", NAMES)
def test_op(name):
    op = REGISTRY[name]
    for sample in op.samples:
        args, kwargs = arguments(op, sample)
        ng.manual_seed(0)
        want = call(op, args, kwargs)
        there = move(args)
        ng.manual_seed(0)
        got = call(op, there, move(kwargs))
        for g, w in zip(tensors(got), tensors(want), strict=True):
            assert g.is_cuda or not tensors(args), f"{name} {sample} left a result on the CPU"
            assert_close(g, w, f"{name} {sample}", LOOSE.get(name, 1))
        for g, w in zip(grads(got, there), grads(want, args), strict=True):
            if w is None:
                assert g is None
            else:
                assert g.is_cuda
                assert_close(g, w, f"gradient of {name} {sample}", LOOSE.get(name, 1))


def test_most_ops_have_samples():
    assert len(NAMES) > 500


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", "softmax layer_norm cumsum matmul conv2d gather index_select cross_entropy max_pool2d "
                         "batch_norm logsumexp cat amax var embedding".split())
def test_other_dtypes(name, dtype):
    op = REGISTRY[name]
    for sample in op.samples[:2]:
        args, kwargs = arguments(op, sample, dtype)
        want, got = call(op, args, kwargs), call(op, move(args), move(kwargs))
        for g, w in zip(tensors(got), tensors(want), strict=True):
            assert_close(g, w, f"{name} {sample}", 2)


@pytest.mark.parametrize("shapes", [((5, 7), (7, 6)), ((9, 1), (1, 3)), ((2, 3, 5), (2, 5, 4)), ((3, 0), (0, 2)),
                                    ((1, 5), (5,))])
@pytest.mark.parametrize("dtype", [ng.float32, ng.float64, ng.complex64, ng.int32, ng.float16])
def test_products(shapes, dtype):
    """Tiles with edges, batches, empty sums, transposed and conjugate operands."""
    rng = np.random.default_rng(0)
    a, b = (ng.tensor(rng.integers(-4, 5, s).astype(np.float64)).to(dtype) for s in shapes)
    if dtype.is_complex:
        a = a * (1 - 2j)
    for x, y in ((a, b), *([(a.mT.contiguous().mT, b.mT.contiguous().mT), (a.mH.contiguous().mH, b)] if b.dim() > 1 else [])):
        assert_close(x.cuda() @ y.cuda(), x @ y, str(shapes))


def test_indices():
    x = ng.arange(12, device="cuda").float().reshape(3, 4)
    assert x[ng.tensor([2, 0])].tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]  # indices may lie on the CPU, as in PyTorch
    assert x[x > 9].tolist() == [10, 11]
    assert x[:, [1, -1]].tolist() == [[1, 3], [5, 7], [9, 11]]
    x[[0, 1], [1, 2]] = -1.0
    assert x.cpu().tolist() == [[0, -1, 2, 3], [4, 5, -1, 7], [8, 9, 10, 11]]
    assert ng.nonzero(x < 0).tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("wrong", [lambda x: x[ng.tensor([3], device="cuda")],
                                   lambda x: x.gather(0, ng.tensor([[0, 7]], device="cuda")),
                                   lambda x: ng.nn.functional.embedding(ng.tensor([5], device="cuda"), x),
                                   lambda x: ng.nn.functional.cross_entropy(x, ng.tensor([0, 1, 9], device="cuda"))])
def test_bad_indices_are_raised_when_values_are_read(wrong):
    x = ng.ones(3, 2, device="cuda")
    result = wrong(x)
    with pytest.raises((IndexError, RuntimeError), match="out of|index out"):
        result.cpu()
    assert x.sum().item() == 6.0  # the device goes on


def test_bad_indices_are_raised_by_a_synchronisation():
    x = ng.ones(3, device="cuda")
    x[ng.tensor([-4], device="cuda")]
    with pytest.raises(IndexError, match="index -4 is out of bounds for dimension 0 with size 3"):
        ng.cuda.synchronize()
    ng.cuda.synchronize()


def test_reversed_views_of_both_operands():
    x = ng.arange(24.0).reshape(2, 3, 4)
    for dims in ([0], [1, 2], [0, 1, 2]):
        assert (x.cuda().flip(dims).cpu() == x.flip(dims)).all().item()
