"""Unpooling, fractional pools and pools with indices beside PyTorch: values, streams, second derivatives, errors."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
BOTH = (ng, torch)


def graphs(lib, y, x):
    """Values, the gradient and the gradient of that by what arrived."""
    g = lib.tensor(np.linspace(-1, 1, y.numel())).reshape(y.shape).to(y.dtype).requires_grad_()
    d, = lib.autograd.grad(y, x, g, create_graph=True)
    second, = lib.autograd.grad((d ** 2).sum(), g)
    return type(y.grad_fn).__name__, [t.detach().numpy() for t in (y, d, second)]


def equal(ours, theirs):
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("n, shape, window, size", [
    (1, (2, 3, 8), (2, 2, 0), None), (1, (3, 9), (3, 2, 1), (9,)), (2, (2, 2, 6, 5), (2, 2, 0), (2, 2, 6, 5)),
    (2, (2, 7, 6), (3, 2, 1), (7, 6)), (3, (1, 2, 4, 4, 4), (2, 2, 0), None), (3, (2, 5, 4, 4), (3, 1, 1), None)])
def test_unpooling_what_was_pooled(n, shape, window, size):
    def run(lib):
        x = lib.tensor(np.random.default_rng(0).standard_normal(shape))
        y, where = getattr(lib.nn, f"MaxPool{n}d")(*window, return_indices=True)(x)
        y.requires_grad_()
        layer = getattr(lib.nn, f"MaxUnpool{n}d")(*window)
        return repr(layer), graphs(lib, layer(y, where, size), y)
    (ours, a), (theirs, b) = map(run, BOTH)
    assert ours == theirs
    equal(a, b)


def test_where_places_meet_the_last_wins_and_nan_stays():
    def run(lib):
        x = lib.tensor([[1.0, 2.0, float("nan"), 3.0]], requires_grad=True)
        return graphs(lib, lib.nn.functional.max_unpool1d(x, lib.tensor([[5, 5, 0, 2]]), 2), x)
    equal(run(ng), run(torch))


def test_unpooling_strides_and_halves():
    def run(lib):
        x = lib.arange(24.0, dtype=lib.bfloat16).reshape(2, 3, 2, 2).transpose(2, 3)
        where = lib.arange(24).reshape(2, 3, 2, 2).remainder(16).transpose(2, 3)
        return lib.nn.functional.max_unpool2d(x, where, 2).float().numpy()
    assert np.array_equal(run(ng), run(torch))


@pytest.mark.parametrize("n, shape, window, sizes", [
    (2, (2, 3, 9, 8), 2, {"output_size": (4, 5)}), (2, (3, 10, 10), (3, 2), {"output_ratio": (0.5, 0.7)}),
    (2, (1, 2, 5, 5), 2, {"output_size": 1}), (2, (1, 2, 5, 6), 0, {"output_size": 3}),
    (2, (1, 2, 9, 301), (2, 5), {"output_size": (4, 140)}), (2, (2, 1, 9, 30), (3, 1), {"output_size": (4, 12)}),
    (3, (2, 2, 6, 5, 7), 2, {"output_size": (3, 2, 4)}), (3, (1, 6, 6, 6), 2, {"output_ratio": (0.5, 0.6, 0.7)})])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fractional_pools_draw_the_same_windows(n, shape, window, sizes, dtype):
    def run(lib):
        lib.manual_seed(3)
        x = lib.tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype), requires_grad=True)
        y, where = getattr(lib.nn.functional, f"fractional_max_pool{n}d")(x, window, **sizes, return_indices=True)
        found = graphs(lib, y, x) if window else (type(y.grad_fn).__name__, [y.detach().numpy()])
        return found[0], [*found[1], where.numpy(), lib.rand(3).numpy()]
    equal(run(ng), run(torch))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_windows_of_half_types_are_rounded_as_in_torch(dtype):
    def run(lib):
        lib.manual_seed(0)
        x = lib.arange(2 * 37 * 41).reshape(1, 2, 37, 41).remainder(97).to(getattr(lib, dtype))
        y, where = lib.nn.functional.fractional_max_pool2d(x, 3, output_size=(17, 23), return_indices=True)
        return y.float().numpy(), where.numpy()
    for a, b in zip(run(ng), run(torch), strict=True):
        assert np.array_equal(a, b)


def test_fractional_pool_of_nan_and_infinity():
    def run(lib):
        x = lib.rand(1, 1, 6, 6, generator=lib.Generator().manual_seed(0))
        x[0, 0, 2, 2:4], x[0, 0, 4:] = float("nan"), -float("inf")
        samples = lib.tensor([[[0.3, 0.6]]])
        return [t.numpy() for t in lib.nn.functional.fractional_max_pool2d_with_indices(x, 2, (4, 4), _random_samples=samples)]
    for a, b in zip(run(ng), run(torch), strict=True):
        assert np.array_equal(a, b, equal_nan=True)


def test_samples_beyond_one_stay_inside():
    """PyTorch reads before or after the plane."""
    x = ng.rand(1, 1, 6, 6)
    for value in (-7.5, 40.0, float("nan"), float("inf")):
        _, where = ng.nn.functional.fractional_max_pool2d(x, 2, 4, return_indices=True,
                                                          _random_samples=ng.full((1, 1, 2), value))
        assert 0 <= where.min() and where.max() < 36


@pytest.mark.parametrize("name, shape, args", [
    ("max_pool1d", (2, 3, 8), (2,)), ("max_pool2d", (1, 2, 6, 6), (3, 2, 1)), ("max_pool3d", (1, 2, 4, 4, 4), (2,)),
    ("adaptive_max_pool1d", (2, 3, 8), (3,)), ("adaptive_max_pool2d", (1, 2, 6, 6), (2,)),
    ("adaptive_max_pool3d", (1, 2, 4, 4, 4), ((2, 1, 3),))])
def test_pools_with_indices(name, shape, args):
    def run(lib):
        x = lib.tensor(np.random.default_rng(0).standard_normal(shape))
        return [t.numpy() for t in getattr(lib.nn.functional, name + "_with_indices")(x, *args)]
    for a, b in zip(run(ng), run(torch), strict=True):
        assert np.array_equal(a, b)


def said(lib, action):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        action(lib, lib.nn.functional, lib.zeros, lambda *shape: lib.zeros(shape, dtype=lib.int64))
    return caught.type.__name__, str(caught.value)


@pytest.mark.parametrize("action", [
    lambda lib, F, z, i: F.max_unpool2d(z(1, 1, 2, 2), z(1, 1, 2, 2), 2),
    lambda lib, F, z, i: F.max_unpool2d(z(1, 1, 2, 2), i(1, 1, 2, 2) + 16, 2),
    lambda lib, F, z, i: F.max_unpool2d(z(1, 1, 2, 2), i(1, 1, 2, 2) - 3, 2),
    lambda lib, F, z, i: F.max_unpool2d(z(1, 1, 2, 2), i(1, 1, 2, 3), 2),
    lambda lib, F, z, i: F.max_unpool2d(z(2, 2), i(2, 2), 2),
    lambda lib, F, z, i: F.max_unpool2d(z(1, 0, 2, 2), i(1, 0, 2, 2), 2),
    lambda lib, F, z, i: F.max_unpool2d(i(1, 1, 2, 2), i(1, 1, 2, 2), 2),
    lambda lib, F, z, i: F.max_unpool2d(z(1, 1, 2, 2), i(1, 1, 2, 2), 2, output_size=(9, 9)),
    lambda lib, F, z, i: F.max_unpool2d(z(1, 1, 2, 2), i(1, 1, 2, 2), 2, output_size=(9,)),
    lambda lib, F, z, i: F.max_unpool2d(z(1, 1, 2, 2), i(1, 1, 2, 2), 2, padding=3),
    lambda lib, F, z, i: F.max_unpool1d(z(2), i(2), 2),
    lambda lib, F, z, i: F.max_unpool1d(z(1, 2, 2), i(1, 2, 2) + 4, 2),
    lambda lib, F, z, i: F.max_unpool3d(z(2, 2, 2), i(2, 2, 2), 2),
    lambda lib, F, z, i: F.max_unpool3d(z(1, 1, 2, 2, 2), z(1, 1, 2, 2, 2), 2),
    lambda lib, F, z, i: F.max_unpool3d(z(1, 1, 2, 2, 2), i(1, 1, 2, 2, 2) + 64, 2),
    lambda lib, F, z, i: F.max_unpool3d(z(1, 1, 2, 2, 2), i(1, 1, 2, 2, 2), 2, 0),
    lambda lib, F, z, i: F.max_unpool3d(z(1, 1, 2, 0, 2), i(1, 1, 2, 0, 2), 2),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_ratio=(0.5, 0.5, 0.5)),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=(5, 2)),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=(2, 5)),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(5, 5), 2, output_size=3),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(5, 5), 2, output_size=3, _random_samples=z(1, 1, 2)),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 0, 5, 5), 2, output_size=3),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), (2, 2, 2), output_size=3),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=(3, 3, 3)),
    lambda lib, F, z, i: F.fractional_max_pool2d(i(1, 1, 5, 5), 2, output_size=3),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=-1),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=3, _random_samples=z(1, 1, 3)),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=3, _random_samples=z(1, 2, 2)),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(3, 1, 5, 5), 2, output_size=3, _random_samples=z(2, 1, 2)),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=3, _random_samples=z(1, 1, 2).double()),
    lambda lib, F, z, i: F.fractional_max_pool2d(z(1, 1, 5, 5), 2, output_size=3, _random_samples=z(2)),
    lambda lib, F, z, i: F.fractional_max_pool3d(z(1, 5, 5, 5), 2, output_size=(5, 3, 3)),
    lambda lib, F, z, i: F.fractional_max_pool3d(z(1, 5, 5, 5), (2, 2), output_size=3),
    lambda lib, F, z, i: F.fractional_max_pool3d(z(5, 5, 5), 2, output_size=3),
    lambda lib, F, z, i: lib.nn.FractionalMaxPool2d(2),
    lambda lib, F, z, i: lib.nn.FractionalMaxPool2d(2, 3, 0.5),
    lambda lib, F, z, i: lib.nn.FractionalMaxPool2d(2, output_ratio=1.5),
    lambda lib, F, z, i: lib.nn.FractionalMaxPool3d((2, 0, 1), 3),
])
def test_errors(action):
    assert said(ng, action) == said(torch, action)


@pytest.mark.parametrize("name", ["max_pool2d", "max_pool2d_with_indices"])
def test_windows_that_jump_over_the_input_are_refused(name):
    """PyTorch returns -inf and a place outside of the plane."""
    with pytest.raises(RuntimeError, match="dilation 1099511627776 leaves a window without elements"):
        getattr(ng.nn.functional, name)(ng.rand(1, 2, 7, 9), 3, (1 << 63) - 1, 1, 1 << 40, True)
    assert getattr(ng.nn.functional, name)(ng.rand(1, 1, 2, 2), 3, 4, 0, 1, True)[0].shape[-1] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("n, shape, window", [
    (1, (2, 3, 71), (9, 4, 3)), (1, (1, 2, 200), (70, 30, 0)), (2, (2, 2, 23, 40), ((5, 17), (2, 3), (2, 8), (2, 1))),
    (3, (1, 2, 7, 9, 11), ((2, 3, 4), 2, 1, (2, 1, 1), True))])
def test_places_of_maxima_in_wide_windows(n, shape, window, dtype):
    """Ties, zeros of both signs, windows of minus infinity alone and NaN, of which the last one counts."""
    rng = np.random.default_rng(2)
    x = rng.integers(-2, 3, shape) * rng.choice([-0.0, 0.0, 1.0], shape)
    x[rng.random(shape) < 0.02] = np.nan
    x[rng.random(shape) < 0.3] = -np.inf
    x[0, 0] = -np.inf

    def run(lib, name, *given):
        f = getattr(lib.nn.functional, f"{name}{n}d_with_indices")
        return [t.double().numpy() for t in f(lib.tensor(x, dtype=getattr(lib, dtype)), *given)]
    for call in (("max_pool", *window), ("adaptive_max_pool", 3)):
        for a, b in zip(run(ng, *call), run(torch, *call), strict=True):
            assert np.array_equal(a, b, equal_nan=True) and (np.signbit(a) == np.signbit(b))[~np.isnan(b)].all()
