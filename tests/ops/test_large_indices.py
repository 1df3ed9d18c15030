"""Reads and writes through so many indices that no list of places is made (``along.LISTED``), against PyTorch."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core.registry import REGISTRY

torch = pytest.importorskip("torch")
N = 70
CALLS = {
    "gather": lambda lib, x, i, s: lib.gather(x, 1, i), "take_along_dim": lambda lib, x, i, s: lib.take_along_dim(x, i, 0),
    "scatter": lambda lib, x, i, s: lib.scatter(x, 1, i, s), "scatter_0": lambda lib, x, i, s: lib.scatter(x, 0, i, s),
    "scatter_number": lambda lib, x, i, s: lib.scatter(x, 1, i, 2.5),
    "scatter_add": lambda lib, x, i, s: lib.scatter_add(x, 1, i, s),
    "scatter_add_0": lambda lib, x, i, s: lib.scatter_add(x, 0, i, s),
    "scatter_reduce": lambda lib, x, i, s: lib.scatter_reduce(x, 1, i, s, "amax"),
    "scatter_in_place": lambda lib, x, i, s: (x * 1).scatter_(1, i, s),
    "scatter_part": lambda lib, x, i, s: lib.scatter(x, 1, i[:, 3:], s[:, 3:]),
    "scatter_strided": lambda lib, x, i, s: lib.scatter(x.t(), 0, i.t(), s.t()),
    "put": lambda lib, x, i, s: lib.put(x, i, s), "take": lambda lib, x, i, s: lib.take(x, i),
    "take_from_the_end": lambda lib, x, i, s: lib.take(x, i - 9 * N), "row": lambda lib, x, i, s: x.reshape(-1)[i - N // 2],
}


def inputs(lib, order):
    rng = np.random.default_rng(3)
    index = rng.permuted(np.tile(np.arange(N), (N, 1)), axis=1)  # (each place once: PyTorch leaves open which write lasts)
    index = index if order else index.T.copy()
    return [lib.tensor(rng.random((N, N)).astype("float32"), requires_grad=True), lib.tensor(index),
            lib.tensor(rng.random((N, N)).astype("float32"), requires_grad=True)]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("times", (1, 12))
def test_large_indices_like_torch(name, times):
    found = []
    for lib in (ng, torch):
        for _ in range(times if lib is ng else 1):  # (with plans and without)
            x, i, s = inputs(lib, not name.endswith("_0"))
            y = CALLS[name](lib, x, i, s)
            (y * lib.arange(float(y.numel())).reshape(y.shape)).sum().backward()
        found.append([t if t is None else t.tolist() for t in (y, x.grad, s.grad)])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ("gather", "scatter", "scatter_add", "scatter_number"))
def test_a_wrong_index_among_many(name):
    x, i, s = inputs(ng, True)
    i[N - 1, N - 1] = N
    for _ in range(12):
        with pytest.raises((IndexError, RuntimeError), match="out of bounds|out of range"):
            CALLS[name](ng, x, i, s)


@pytest.mark.parametrize("threads", (1, 3))
@pytest.mark.parametrize("shape", [(300, 701), (5, 90, 401), (90, 401, 5), (400, 1, 600)], ids=str)
def test_writes_of_several_threads(shape, threads):
    """Threads share columns, or outer parts, so that repeated places are added to by one of them."""
    def results(lib):
        rng = np.random.default_rng(4)
        x, source = (lib.tensor(rng.integers(0, 9, shape).astype("float32")) for _ in range(2))
        for dim, n in enumerate(shape):
            index, order = rng.integers(0, n, shape), np.argsort(rng.random(shape), dim)
            index, order, rows, each = (lib.tensor(i) for i in (index, order, rng.integers(0, n, n), rng.permutation(n)))
            leaf = x.clone().requires_grad_()
            leaf.index_select(dim, rows).backward(source)
            yield from (x.scatter_add(dim, index, source), x.scatter(dim, order, source), x.index_add(dim, rows, source),
                        x.index_select(dim, rows), x.index_copy(dim, each, source), leaf.grad)
    before = ng.get_num_threads()
    ng.set_num_threads(threads)
    try:
        for ours, theirs in zip(results(ng), results(torch), strict=True):
            assert (ours.numpy() == theirs.numpy()).all()
    finally:
        ng.set_num_threads(before)


def test_the_calls_are_large():
    from numbagrad.ops.index import along
    assert N * (N - 3) > along.LISTED and "scatter" in REGISTRY


@pytest.mark.parametrize("reduce", ("prod", "mean", "amax", "amin"))
def test_index_reduce_in_place(reduce):
    """Values and gradients are those of the form that makes a copy, and the node is that of the op."""
    index, source = ng.tensor([0, 2, 0]), ng.arange(6.0).reshape(3, 2) + 1
    x = ng.ones(3, 2, requires_grad=True)
    written, apart = x * 2, (x * 2).index_reduce(0, index, source, reduce)
    assert written.index_reduce_(0, index, source, reduce) is written and written.tolist() == apart.tolist()
    grads = [ng.autograd.grad((y * y).sum(), x)[0].tolist() for y in (written, apart)]
    assert grads[0] == grads[1] and any(map(any, grads[0]))
