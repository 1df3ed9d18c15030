"""Half types: what meets in one place is added in float32 and rounded once, forward and backward, however it is called."""

import ast
import inspect
import textwrap

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.kernel import jit

F = ng.nn.functional
N = 9000
RNG = np.random.default_rng(5)
HALF = ("float16", "bfloat16")


def numbers(*shape):
    """Multiples of 1/4 of which any few thousand add up exactly in float32."""
    return RNG.integers(1, 9, shape) / 4


def places(size, *shape, few=3):
    """Indices of which most are among the first few."""
    return np.where(RNG.random(shape) < 0.9, RNG.integers(0, few, shape), RNG.integers(0, size, shape))


def rounded(exact, dtype):
    return ng.tensor(exact, dtype=ng.float32).to(dtype)


def zeros(*shape):
    return np.zeros(shape)


WAYS = {  # name: (function of (x, v, index), shape of x, of v, of the index, size indexed)
    "scatter_add": (lambda x, v, i: x.scatter_add(0, i, v), (5,), (N,), (N,), 5),
    "scatter_add of few": (lambda x, v, i: x.scatter_add(0, i, v), (200000,), (3000,), (3000,), 200000),
    "scatter_add of rows": (lambda x, v, i: x.scatter_add(0, i, v), (5, 3), (N, 3), (N, 3), 5),
    "scatter_add along rows": (lambda x, v, i: x.scatter_add(1, i, v), (3, 5), (3, N), (3, N), 5),
    "scatter": (lambda x, v, i: x.scatter(0, i, v, reduce="add"), (5,), (N,), (N,), 5),
    "scatter_reduce": (lambda x, v, i: x.scatter_reduce(0, i, v, "sum"), (5, 2), (N, 2), (N, 2), 5),
    "index_add": (lambda x, v, i: x.index_add(0, i, v), (5,), (N,), (N,), 5),
    "index_add of rows": (lambda x, v, i: x.index_add(0, i, v), (40, 70), (N, 70), (N,), 40),
    "index_add of columns": (lambda x, v, i: x.index_add(1, i, v), (3, 5), (3, N), (N,), 5),
    "index_add of planes": (lambda x, v, i: x.index_add(1, i, v), (2, 5, 20), (2, N, 20), (N,), 5),
    "index_put": (lambda x, v, i: x.index_put((i,), v, True), (5, 20), (N, 20), (N,), 5),
    "index_put of a row": (lambda x, v, i: x.index_put((i,), v, True), (5, 3), (3,), (N,), 5),
    "index_put by two": (lambda x, v, i: x.index_put((i, i), v, True), (5, 6), (N,), (N,), 5),
    "put": (lambda x, v, i: x.put(i, v, True), (5, 2), (N,), (N,), 10),
}


def added(way, x, v, i):
    """The exact sums, by float64."""
    return WAYS[way][0](ng.tensor(x), ng.tensor(v), ng.tensor(i)).numpy()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("way", WAYS)
def test_sums_at_places_are_rounded_once(way, dtype):
    fn, shape, of_values, of_index, size = WAYS[way]
    x, v, i = numbers(*shape), numbers(*of_values), places(size, *of_index)
    expected = rounded(added(way, x, v, i), getattr(ng, dtype))
    given = [ng.tensor(a, dtype=getattr(ng, dtype)) for a in (x, v)]
    index = ng.tensor(i)
    assert fn(*given, index).equal(expected)
    for _ in range(12):  # a plan is made of it
        out = fn(*given, index)
    assert out.equal(expected)
    assert ng.compile(fn)(*given, index).equal(expected)


@pytest.mark.parametrize("way", WAYS)
def test_threads_share_the_places(way):
    fn, shape, of_values, of_index, size = WAYS[way]
    x, v, i = numbers(*shape), numbers(*of_values), places(size, *of_index)
    before = ng.get_num_threads()
    try:
        ng.set_num_threads(3)
        out = fn(ng.tensor(x, dtype=ng.float16), ng.tensor(v, dtype=ng.float16), ng.tensor(i))
    finally:
        ng.set_num_threads(before)
    assert out.equal(rounded(added(way, x, v, i), ng.float16))


IN_PLACE = {
    "a column": lambda t: t[:, 1],
    "every other": lambda t: t[::2, 0],
    "all": lambda t: t.t()[0],
}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("part", IN_PLACE)
def test_in_place_in_a_part(part, dtype):
    whole = ng.zeros(6, 3, dtype=getattr(ng, dtype))
    target = IN_PLACE[part](whole)
    index = ng.zeros(5000, dtype=ng.int64)
    target.index_add_(0, index, ng.ones(5000, dtype=whole.dtype))
    assert target[0].item() == rounded(5000.0, whole.dtype).item() == whole.sum().item()


@pytest.mark.parametrize("n", [7, 5000])
def test_dimensions_that_do_not_merge(n):
    whole = ng.zeros(4, 6, 5, 3, dtype=ng.float16)
    index = ng.zeros(n, dtype=ng.int64)
    whole[:, ::2, 1:4].permute(2, 0, 3, 1).index_put_((index,), ng.ones((), dtype=ng.float16), accumulate=True)
    assert whole[:, ::2, 1].eq(n if n < 2048 else rounded(float(n), ng.float16).item()).all() and whole[:, ::2, 2:].eq(0).all()


def test_a_window_that_overlaps_keeps_what_meets_in_memory():
    row = ng.zeros(6, dtype=ng.float16)
    windows = row.as_strided((4, 3), (1, 1))
    windows.index_put_((ng.tensor([0, 1, 2, 3]),), ng.ones((), dtype=ng.float16), accumulate=True)
    assert row.tolist() == [1, 2, 3, 3, 2, 1]


def test_products_are_rounded_once():
    v = ng.full((300,), 1 + 2 ** -8, dtype=ng.float16)
    index = ng.zeros(300, dtype=ng.int64)
    expected = rounded((1 + 2 ** -8) ** 300, ng.float16)
    for x in (ng.ones(2, dtype=ng.float16), ng.ones(90000, dtype=ng.float16)):
        assert x.scatter_reduce(0, index, v, "prod")[0].equal(expected)
        assert x[:, None].index_reduce(0, index, v[:, None], "prod")[0, 0].equal(expected)


ONES = {  # name: (function of x, its shape): every element of the gradient of its sum is exact in float32
    "gather": (lambda x: x.gather(0, AT), (3,)),
    "gather of rows": (lambda x: x.gather(0, AT[:, None].expand(N, 2)), (3, 2)),
    "gather along rows": (lambda x: x.gather(1, AT[None].expand(2, N)), (2, 3)),
    "index_select": (lambda x: x.index_select(0, AT), (3,)),
    "index_select of rows": (lambda x: x.index_select(0, AT), (3, 70)),
    "index_select of columns": (lambda x: x.index_select(1, AT), (2, 3)),
    "take_along_dim": (lambda x: ng.take_along_dim(x, AT[None].expand(2, N), 1), (2, 3)),
    "take": (lambda x: x.take(AT), (3,)),
    "one index": (lambda x: x[AT], (3, 4)),
    "two indices": (lambda x: x[AT, AT], (3, 4)),
    "an index after a slice": (lambda x: x[:, AT], (2, 3)),
    "indices apart": (lambda x: x[AT, :, AT], (3, 2, 4)),
    "embedding": (lambda x: F.embedding(AT, x), (3, 4)),
    "embedding_bag": (lambda x: F.embedding_bag(AT.reshape(-1, 9), x, mode="sum"), (3, 4)),
    "embedding_bag of maxima": (lambda x: F.embedding_bag(AT.reshape(-1, 2), x, mode="max"), (3, 4)),
    "repeat_interleave": (lambda x: x.repeat_interleave(N), (3,)),
    "repeat_interleave by a tensor": (lambda x: x.repeat_interleave(ng.full((3,), N), 0), (3, 2)),
    "expand": (lambda x: x.expand(N, 3), (3,)),
    "repeat": (lambda x: x.repeat(N, 1), (3,)),
    "as_strided": (lambda x: x.as_strided((N, 3), (0, 1)), (3,)),
    "windows": (lambda x: x.unfold(0, 5000, 1), (10000,)),
    "fold of windows": (lambda x: F.unfold(x, (1, 3000)), (1, 1, 1, 6000)),
    "pad": (lambda x: F.pad(x, (N, 0), mode="replicate"), (1, 1, 4)),
    "interpolate": (lambda x: F.interpolate(x, size=N, mode="nearest"), (1, 1, 3)),
    "interpolate linearly": (lambda x: F.interpolate(x, size=(N, 2), mode="bilinear", align_corners=False), (1, 1, 1, 1)),
    "grid_sample": (lambda x: F.grid_sample(x, ng.zeros(1, 1, N, 2, dtype=x.dtype), align_corners=True), (1, 1, 3, 3)),
    "avg_pool": (lambda x: F.avg_pool1d(x, 4096, 1) * 4096, (1, 1, 8192)),
    "adaptive_avg_pool": (lambda x: F.adaptive_avg_pool1d(x, N), (1, 1, 3)),
    "adaptive_max_pool": (lambda x: F.adaptive_max_pool1d(x, N), (1, 1, 3)),
    "cummax": (lambda x: x.cummax(0).values, (N,)),
}
AT = ng.tensor(places(3, N))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("way", ONES)
def test_gradients_are_rounded_once(way, dtype):
    fn, shape = ONES[way]
    start = -np.arange(np.prod(shape, dtype=int)).reshape(shape) % 7.0
    start.flat[0] = 8  # above all others

    def slope(d):
        x = ng.tensor(start, dtype=d).requires_grad_()
        y = fn(x)
        y.backward(ng.ones_like(y))
        return x.grad
    exact = slope(ng.float64)
    assert exact.max() > 2048 and slope(getattr(ng, dtype)).equal(exact.float().to(getattr(ng, dtype)))


def test_a_sparse_matrix():
    at = ng.stack([ng.zeros(N, dtype=ng.int64), ng.arange(N)])
    matrix = ng.sparse_coo_tensor(at, ng.ones(N, dtype=ng.float16), (2, N))
    out = ng.sparse.mm(matrix, ng.ones(N, 2, dtype=ng.float16))
    assert out.tolist() == [[9000, 9000], [0, 0]]


# --- whoever adds in memory of a half type ----------------------------------------------------------------------------

# Kernels that read an element of what they write, and why that rounds no sum twice.
KNOWN = {
    "joined in float32 by ops/index/access.py": "add_one add_rows add_along add_to_row add_shares add_places multiply_rows",
    "launched in float32 by ``joins``": "add_region add_windows unmix unmix_two scatter_planes box_mean_back image_gradients "
                                        "sample_gradients sample_second scatter_sum window_rows add_multiples slopes "
                                        "euclidean_slopes add_to_rows product_slopes add_bags_to_rows",
    "one addition": "add_channels divide_counts divide_whole bn_forward bn_forward_flat ce_gradient",
    "a factor of what was just stored": "softmax_rows softmax_columns shorten",
}


def kernels():
    import pkgutil
    from importlib import import_module

    import numbagrad.ops as ops
    for _, name, _ in pkgutil.walk_packages(ops.__path__, "numbagrad.ops."):
        module = import_module(name)
        for value in vars(module).values():
            if isinstance(value, jit.Kernel) and value.fn.__module__ == name:
                yield value


def adds_in_memory(kernel):
    """Whether a kernel stores what it computed of the same element of a pointer ``*T``."""
    pointers = {n for n, note in kernel.fn.__annotations__.items() if str(note).strip("'\"") == "*T"}
    tree = ast.parse(textwrap.dedent(inspect.getsource(kernel.fn)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            to = node.targets[0]
            if getattr(to.value, "id", None) in pointers and isinstance(node.value, ast.Call) and (
                    ast.unparse(node.value.func) == "store"):
                if f"load({ast.unparse(to)})" in ast.unparse(node.value):
                    return True
    return False


def test_kernels_that_add_in_memory_are_known():
    known = {name for names in KNOWN.values() for name in names.split()}
    found = {kernel.fn.__name__ for kernel in kernels() if adds_in_memory(kernel)}
    assert found - known == set(), "these add in memory of a half type: see ``joins`` in dispatch/custom.py"
    assert known - found == set(), "these do not any longer"
