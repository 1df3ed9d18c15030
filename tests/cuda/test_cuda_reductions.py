"""Every reduction of the registry on the device: rows, columns, both cut into pieces, stages, layouts, dtypes."""

import importlib
import threading
import time

import numpy as np
import pytest
from cuda_twin import arguments, assert_close, assert_same, call, grads, move, ops

import numbagrad as ng
from numbagrad.extend import REGISTRY
from numbagrad.kernel import cuda

OPS = ops("reduction")
# Of the ops that take any dtype, those whose map of a complex number is complex again.
COMPLEX = {"sum", "prod", "mean"}
CASES = [((3, 5), None), ((3, 5), 1), ((5, 3), 0), ((2, 3, 4), (0, 2)), ((2, 3, 4), 1),
         ((2, 40), 1), ((40, 3), 0), ((50,), None), ((1, 1), 0)]


def values(op, shape, dtype=np.float32):
    low, high = op.domain
    return ng.from_numpy(np.random.default_rng(5).uniform(low, high, shape).astype(dtype))


@pytest.mark.parametrize("name", OPS)
def test_samples(name):
    op = REGISTRY[name]
    for sample in op.samples:
        args, kwargs = arguments(op, sample)
        there = move(args)
        want, got = call(op, args, kwargs), call(op, there, kwargs)
        assert_close(got, want, f"{name} {sample}")
        for g, w in zip(grads(got, there), grads(want, args)):
            assert_close(g, w, f"gradient of {name} {sample}")


@pytest.mark.parametrize("name", OPS)
def test_forms(name):
    """The rows and columns kernels, whole and in pieces, and folds of dimensions that do not lie side by side."""
    op = REGISTRY[name]
    for shape, dim in CASES:
        a = values(op, shape)
        if isinstance(dim, tuple) and op.kinds.get("dim") == "int":
            continue  # PyTorch takes one dimension here
        want = op.callable(a) if dim is None else op.callable(a, dim)
        x = a.cuda()
        got = op.callable(x) if dim is None else op.callable(x, dim)
        assert_close(got, want, f"{name} {shape} {dim}")
        assert_same(op.callable(x) if dim is None else op.callable(x, dim), got, "the same bits every time")


def test_pieces_are_used():
    from numbagrad.kernel.cuda import reduce
    t = cuda.target()
    assert reduce.split(t, "rows", 5 * t.piece, 2) > 1 and reduce.split(t, "columns", 5 * t.piece, 3) > 1
    assert reduce.split(t, "rows", t.piece, 3) == 1
    # As many elements as fill several pieces, and a rest.
    x = ng.linspace(-1.0, 2.0, 5 * t.piece + 3)
    for name in ("sum", "mean", "amax", "amin"):
        assert_close(REGISTRY[name].callable(x.cuda()), REGISTRY[name].callable(x), name)


@pytest.mark.parametrize("name", OPS)
def test_layouts(name):
    op = REGISTRY[name]
    x = values(op, (3, 4, 5)).cuda()
    for view in (x.transpose(0, 2), x[:, 1:, ::2], x[1:2].expand(3, 4, 5)):
        for dim in (None, 0, 2):
            packed = view.contiguous()
            assert packed.is_contiguous() and not view.is_contiguous()
            got = op.callable(view) if dim is None else op.callable(view, dim)
            assert_close(got, op.callable(packed) if dim is None else op.callable(packed, dim), f"{name} {dim}")


@pytest.mark.parametrize("name", OPS)
def test_other_dtypes(name):
    """Against the op's reference in NumPy, on the values that the dtype can hold."""
    op = REGISTRY[name]
    for dtype in (ng.float64, ng.float16, ng.bfloat16, ng.int32, ng.bool, ng.complex64):
        if dtype.category < 2 and op.dtypes == "float" or dtype.category == 3 and name not in COMPLEX:
            continue
        a = values(op, (3, 7), np.float64).to(dtype)
        wide = a.double() if dtype.category == 2 else a
        for dim in (0, 1):
            got = op.callable(a.cuda(), dim)
            want = ng.from_numpy(np.asarray(op.reference(wide.numpy(), dim))).to(got.dtype)
            assert_close(got, want, f"{name} {dtype}")


def test_a_long_sum_keeps_its_digits():
    """10,000 equal terms: the accumulator is wider than the data, on the device as on the CPU."""
    a = ng.full((100, 100), 0.1)
    assert_close(a.cuda().sum(), ng.tensor(1000.0))
    assert abs(a.cuda().sum().item() - 100 * 100 * float(np.float32(0.1))) < 1e-4


def test_empty():
    x = ng.zeros(0, 3, device="cuda")
    assert x.sum().item() == 0 and x.sum(0).tolist() == [0, 0, 0] and x.sum(1).shape == (0,)
    assert np.isnan(x.mean().item())


@pytest.mark.skipif(not cuda.simulated(), reason="about the simulator")
def test_the_simulator_gives_a_block_one_shared_array(monkeypatch):
    """Numba's own looks it up and makes it in two steps, between which another thread may come."""
    cuda.target()
    shared = importlib.import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared(0)
    empty, start, got = np.empty, threading.Barrier(8), []

    def slow(*args):
        time.sleep(0.01)
        return empty(*args)

    def ask():
        start.wait()
        got.append(shared.array(3, np.dtype(np.float32)))
    monkeypatch.setattr(np, "empty", slow)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(got) == 8 and all(a is got[0] for a in got)


@pytest.mark.skipif(not cuda.simulated(), reason="GPUs always shuffle")
@pytest.mark.parametrize("name", OPS)
def test_warp_shuffles(name, monkeypatch):
    """The form that GPUs run: two warps of a block pass their accumulators down, then the first passes on those of both."""
    from numbagrad.kernel.cuda.launch import target
    monkeypatch.setattr(target(), "shuffles", True)
    monkeypatch.setattr(target(), "fold_block", 64)
    op = REGISTRY[name]
    for n in (70, 5):  # several elements for some threads; none for most
        a = values(op, (1, n))
        want, x = op.callable(a, 1), a.cuda()
        assert_close(op.callable(x, 1), want, f"{name} of {n}")


@pytest.mark.skipif(not cuda.simulated(), reason="about the simulator")
def test_a_wrong_shuffle_shows(monkeypatch):
    from numbagrad.kernel.cuda import reduce
    from numbagrad.kernel.cuda.launch import target
    monkeypatch.setattr(target(), "shuffles", True)
    monkeypatch.setattr(target(), "fold_block", 64)
    right = reduce._shuffle
    monkeypatch.setattr(reduce, "_shuffle", lambda size: right(size).replace("acc, 4)", "acc, 3)"))
    op = REGISTRY["sum"]
    monkeypatch.setattr(op, "made", {})
    a = ng.arange(64.0).reshape(1, 64)
    assert op.callable(a.cuda(), 1).item() != a.sum().item()
