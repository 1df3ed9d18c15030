"""Reductions beyond the registry's tests: layouts, threads, printed results, special values, PyTorch's answers."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.kernel import threads

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

rng = np.random.default_rng(0)
DATA = rng.standard_normal((3, 4, 5))
NAMES = ("sum", "mean", "amax", "amin", "var", "std", "prod", "logsumexp", "max", "min", "median", "mode", "nansum", "norm")
LAYOUTS = {"plain": lambda t: t, "permuted": lambda t: t.permute(2, 0, 1), "sliced": lambda t: t[:, 1:3, ::2],
           "expanded": lambda t: t[:, :1].expand(3, 4, 5)}


def first(result):
    return result[0] if isinstance(result, tuple) else result


def both(name, data, layout, *args):
    """[(value, gradient)] of numbagrad and PyTorch."""
    out = []
    for lib in (ng, torch):
        leaf = lib.tensor(data).requires_grad_()
        y = first(getattr(lib, name)(LAYOUTS[layout](leaf), *args))
        seed = lib.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)))
        (g,) = lib.autograd.grad(y, [leaf], seed)
        out.append((y.detach().numpy(), g.numpy()))
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", NAMES)
def test_layouts_agree_with_torch(name, dim, layout):
    if name in ("median", "mode") and layout == "expanded":
        pytest.skip("which of equal elements is named is not defined")
    args = (2, dim) if name == "norm" else (dim,)
    (value, grad), (expected, expected_grad) = both(name, DATA, layout, *args)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dims", [(0, 2), (0, 1), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "std", "logsumexp"])
def test_several_dimensions(name, dims):
    (value, grad), (expected, expected_grad) = both(name, DATA, "plain", dims)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-11)


@pytest.mark.parametrize("shape", [(5000,), (70, 90), (3, 700, 5), (700, 3), (2, 3, 4, 900)])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "prod", "any", "all", "logsumexp", "var", "max", "argmax"])
def test_threads_do_not_change_the_result(name, shape, monkeypatch):
    data = rng.uniform(0.9, 1.1, shape)
    dims = range(len(shape))
    serial = [first(getattr(ng, name)(ng.tensor(data), d)).numpy() for d in dims]
    before = threads.get_num_threads(), threads.LIMIT[0]
    threads.set_num_threads(2)
    threads.LIMIT[0] = 128
    try:
        for d in dims:
            got = first(getattr(ng, name)(ng.tensor(data), d)).numpy()
            np.testing.assert_allclose(got, serial[d], rtol=1e-13)
        whole = ng.tensor(data).sum().item()
    finally:
        threads.set_num_threads(before[0])
        threads.LIMIT[0] = before[1]
    assert whole == pytest.approx(data.sum(), rel=1e-13)


@pytest.mark.parametrize("n", [2, 24, 25, 49, 200, 1599, 1601])
def test_pieces_of_a_short_row_end_with_it(n):
    data, before = ng.arange(1.0, 2 * n + 1)[:n], threads.LIMIT[0]
    threads.LIMIT[0] = 2
    try:
        assert data.sum().item() == n * (n + 1) // 2
        assert data.amax().item() == n
    finally:
        threads.LIMIT[0] = before


def test_float32_sums_are_accumulated_in_float64():
    ones = ng.full((1 << 24,), 0.1, dtype=ng.float32)
    assert ones.sum().item() == pytest.approx(float(np.float32(0.1)) * (1 << 24), rel=1e-6)
    assert ng.full((1 << 20, 3), 0.1, dtype=ng.float32).mean(0).tolist() == pytest.approx([float(np.float32(0.1))] * 3,
                                                                                           rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "argmax", "argmin", "median", "nanmedian", "nansum"])
def test_nan(name, dim, dtype):
    data = rng.standard_normal((6, 1500))
    data[2, 700] = data[3, 3] = data[3, 1400] = np.nan
    got, expected = (getattr(lib, name)(lib.tensor(data.astype(dtype)), dim) for lib in (ng, torch))
    for g, e in zip(got, expected) if isinstance(expected, tuple) else [(got, expected)]:
        # A float32 sum of terms around one that cancel is off by some 1e-7 for each term.
        limit = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=limit, atol=limit if name == "nansum" else 0)


@pytest.mark.parametrize("name", ["max", "min"])
def test_dimension_as_a_tensor(name):
    found = [[t.tolist() for t in getattr(lib, name)(lib.tensor([[1.0, 5.0], [3.0, 2.0]]), lib.tensor(1), True)]
             for lib in (ng, torch)]
    assert found[0] == found[1]
    with pytest.raises(TypeError, match="argument 'dim'"):
        getattr(ng, name)(ng.ones(2, 2), ng.ones(2, 2), True)


@pytest.mark.parametrize("call", [lambda lib, x: lib.max(x, 1), lambda lib, x: x.min(0), lambda lib, x: lib.aminmax(x),
                                  lambda lib, x: x.median(1), lambda lib, x: x.mode(1), lambda lib, x: x.cummax(1)])
def test_printed_results(call):
    data = np.arange(6, dtype=np.float32).reshape(2, 3) % 4
    assert repr(call(ng, ng.tensor(data))) == repr(call(torch, torch.tensor(data)))


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8", "bool"])
@pytest.mark.parametrize("name", ["sum", "prod", "amax", "any", "all", "count_nonzero", "cumsum"])
def test_integer_dtypes(name, dtype):
    data = (rng.integers(0, 5, (3, 4))).astype(dtype)
    got, expected = (getattr(lib, name)(lib.tensor(data), 1) for lib in (ng, torch))
    assert str(got.dtype) == str(expected.dtype)
    assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("call", [
    lambda lib: lib.max(lib.zeros(0)), lambda lib: lib.zeros(0, 3).max(0), lambda lib: lib.zeros(0, 3).amax(0),
    lambda lib: lib.zeros(0, 3).amax(), lambda lib: lib.zeros(0).argmax(), lambda lib: lib.zeros(2, 3).sum(3),
    lambda lib: lib.zeros(2, 3).sum((0, 0)), lambda lib: lib.ones(3, dtype=lib.int32).mean(),
    lambda lib: lib.ones(3, dtype=lib.int64).var(), lambda lib: lib.ones(3, dtype=lib.int64).norm(),
    lambda lib: lib.ones(3, dtype=lib.bool).argmax()])
def test_errors_are_torchs(call):
    with pytest.raises(Exception) as theirs:
        call(torch)
    with pytest.raises(type(theirs.value)) as ours:
        call(ng)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, np.inf, -np.inf])
@pytest.mark.parametrize("dim", [None, 1, (0, 2)])
def test_vector_norm(p, dim):
    grads = []
    for lib in (ng, torch):
        x = lib.tensor(DATA).requires_grad_()
        y = lib.linalg.vector_norm(x, p, dim)
        g = lib.autograd.grad(y.sum(), [x], allow_unused=True)[0]
        grads.append((y.detach().numpy(), np.zeros_like(DATA) if g is None else g.numpy()))
    np.testing.assert_allclose(grads[0][0], grads[1][0], rtol=1e-12)
    np.testing.assert_allclose(grads[0][1], grads[1][1], rtol=1e-11, atol=1e-13)


def test_products_with_zeros():
    data = DATA.copy()
    data[0, 1, 2] = data[1, 0, 0] = data[1, 1, 0] = 0
    for name, args in (("prod", ()), ("prod", (1,)), ("cumprod", (1,))):
        seconds = []
        for lib in (ng, torch):
            x = lib.tensor(data).requires_grad_()
            (g,) = lib.autograd.grad(getattr(lib, name)(x, *args).sum(), [x], create_graph=True)
            (gg,) = lib.autograd.grad((g * g).sum(), [x])
            seconds.append((g.detach().numpy(), gg.numpy()))
        np.testing.assert_allclose(seconds[0][0], seconds[1][0], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(seconds[0][1], seconds[1][1], rtol=1e-9, atol=1e-12)


def test_out_and_dtype_arguments():
    x = ng.tensor(DATA)
    out = ng.empty(0, dtype=ng.float64)
    assert ng.sum(x, 1, out=out) is out and out.shape == (3, 5)
    assert x.sum(dtype=ng.float32).dtype is ng.float32
    assert x.sum(axis=1, keepdims=True).shape == (3, 1, 5)
    assert ng.sum(x, [0, 1]).shape == (5,)


def test_sum_gradient_is_plain_memory_for_leaves_and_small_tensors():
    for shape in ((8, 8), (300, 400)):
        x = ng.ones(shape, requires_grad=True)
        x.sum().backward()
        assert x.grad.is_contiguous() and bool((x.grad == 1).all())
        y = ng.ones(shape, requires_grad=True)
        (y * 2).mean(0).sum().backward()
        assert y.grad.is_contiguous() and bool((y.grad == ng.tensor(2 / shape[0])).all())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape, dim", [((2570,), 0), ((2570, 3), 0), ((4, 2570), 1), ((2, 600, 700), 1)], ids=str)
def test_running_sums_of_half_types_are_not_rounded_on_the_way(dtype, shape, dim):
    x = ng.ones(shape, dtype=getattr(ng, dtype), requires_grad=True)
    y = x.cumsum(dim)
    size = shape[dim]
    counts = ng.arange(1, size + 1, dtype=ng.float32).to(x.dtype)
    assert y.movedim(dim, -1).eq(counts).all()
    y.sum(dim).sum().backward()  # running sums of ones from the end
    assert x.grad.movedim(dim, -1).eq(counts.flip(0)).all()
    factors = x.detach() * 1.01
    assert factors.cumprod(dim).allclose(factors.double().cumprod(dim).to(x.dtype), rtol=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64"])
@pytest.mark.parametrize("n", [1, 25, 8192, 8193, 40000])
def test_extremes_of_blocks_and_of_nan(dtype, n):
    """Long rows are folded by LLVM's own extrema, aminmax by blocks: with NaN anywhere, and of infinities alone."""
    values = np.random.default_rng(n).permutation(n).astype("float64") % 1000 - 500
    for at in (None, 0, n // 2, n - 1):
        x = ng.tensor(values).to(getattr(ng, dtype))
        if at is not None and dtype != "int64":
            x[at] = float("nan")
        want = [float(f(x.double().numpy())) for f in (np.min, np.max)]
        found = [float(t) for t in (*ng.aminmax(x), x.amin(), x.amax(), x.min(), x.max(), *ng.aminmax(x, dim=0))]
        assert np.array_equal(found, want * 4, equal_nan=True)
    if dtype != "int64":
        for sign in (-1, 1):
            x = ng.full((n,), sign * float("inf"), dtype=getattr(ng, dtype))
            assert [float(t) for t in (*ng.aminmax(x), x.amin(), x.amax())] == [sign * float("inf")] * 4
