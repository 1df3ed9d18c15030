"""grid_sample and affine_grid beside PyTorch: every mode, padding and alignment, to second order; places that are none."""

import itertools

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
SHAPES = {"image": ((2, 3, 5, 4), (2, 3, 4, 2)), "volume": ((2, 2, 3, 4, 5), (2, 2, 3, 2, 3)),
          "many places": ((1, 2, 3, 3), (1, 20, 17, 2))}
MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
CASES = [c for c in itertools.product(SHAPES, MODES, PADDINGS, (False, True)) if c[:2] != ("volume", "bicubic")]


def derivatives(lib, x, grid, mode, padding, align):
    """The node's name; values, gradients and second gradients by all that they depend on."""
    rng = np.random.default_rng(1)
    x, grid = lib.tensor(x, requires_grad=True), lib.tensor(grid, requires_grad=True)
    y = lib.nn.functional.grid_sample(x, grid, mode, padding, align)
    g = lib.tensor(rng.standard_normal(tuple(y.shape)).astype(str(y.dtype).split(".")[1]), requires_grad=True)
    first = lib.autograd.grad(y, (x, grid), g, create_graph=True)
    total = sum((d * lib.tensor(rng.standard_normal(tuple(d.shape))).to(d.dtype)).sum() for d in first)
    second = lib.autograd.grad(total, (x, grid, g), allow_unused=True)
    return type(y.grad_fn).__name__, [None if t is None else t.detach().numpy() for t in (y, *first, *second)]


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 1e-4)])
@pytest.mark.parametrize("shapes, mode, padding, align", CASES)
def test_modes(shapes, mode, padding, align, dtype, bound):
    rng = np.random.default_rng(0)
    x, grid = (a.astype(dtype) for a in (rng.standard_normal(SHAPES[shapes][0]), rng.uniform(-1.7, 1.7, SHAPES[shapes][1])))
    (node, ours), (theirs_node, theirs) = (derivatives(lib, x, grid, mode, padding, align) for lib in (ng, torch))
    assert node == theirs_node
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype and np.abs(a - b).max() <= bound * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 1e-4)])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels, size, places", [
    (1, (5, 7), (13, 11)), (2, (17, 16), (1, 131)), (3, (6, 2), (9, 40)), (2, (4, 1), (5, 9)), (5, (5, 7), (13, 11)),
    (8, (16, 16), (8, 8)), (11, (17, 16), (1, 131)), (17, (3, 100), (9, 40))])
def test_channels_side_by_side(channels, size, places, padding, dtype, bound):
    """Places of four channels or more are read as vectors of eight, from pixels in memory of their own, of fewer channels two
    pixels of a row at once."""
    rng = np.random.default_rng(2)
    x, grid = rng.standard_normal((2, channels, *size)), rng.uniform(-1.5, 1.5, (2, *places, 2))
    x[0, channels // 2, 2, -1], x[1, channels // 3, 1, 0] = np.nan, np.inf
    grid[0, 0, :4, 0], grid[1, 0, :4, 1] = [np.nan, np.inf, -np.inf, 1e9], [1.0, -1.0, 40.0, np.nan]
    for align in (False, True):
        ours, theirs = (lib.nn.functional.grid_sample(
            *[lib.tensor(a.astype(dtype)) for a in (x, grid)], padding_mode=padding, align_corners=align).numpy()
            for lib in (ng, torch))
        assert np.allclose(ours, theirs, rtol=bound, atol=bound, equal_nan=True)


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels, size, places", [
    (4, (5, 7), (13, 11)), (8, (16, 16), (8, 8)), (11, (17, 16), (1, 131)), (16, (1, 1), (3, 3)), (17, (3, 100), (9, 40))])
def test_gradients_of_channels_side_by_side(channels, size, places, padding, dtype, bound):
    """As vectors of eight channels too: by both, by the images alone and by the places alone."""
    rng = np.random.default_rng(3)
    x, grid, g = (a.astype(dtype) for a in (rng.standard_normal((2, channels, *size)), rng.uniform(-1.5, 1.5, (2, *places, 2)),
                                            rng.standard_normal((2, channels, *places))))
    for align, wanted in itertools.product((False, True), ((True, True), (True, False), (False, True))):
        def run(lib, align=align, wanted=wanted):
            given = [lib.tensor(a, requires_grad=w) for a, w in zip((x, grid), wanted)]
            y = lib.nn.functional.grid_sample(*given, padding_mode=padding, align_corners=align)
            return [t.numpy() for t in lib.autograd.grad(y, [t for t in given if t.requires_grad], lib.tensor(g))]
        for a, b in zip(run(ng), run(torch), strict=True):
            assert np.abs(a - b).max() <= bound * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("place", [float("nan"), float("inf"), -float("inf"), 50.3, -7.0, 1e5])
def test_places_that_are_none(mode, padding, place):
    def values(lib):
        x = lib.arange(1.0, 13.0).reshape(1, 1, 3, 4)
        return lib.nn.functional.grid_sample(x, lib.tensor([[[[place, 0.3]]]]), mode, padding, False).item()
    assert values(ng) == pytest.approx(values(torch), rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype):
    def values(lib):
        x, grid = lib.arange(24.0).reshape(1, 2, 3, 4), lib.linspace(-1.2, 1.2, 12).reshape(1, 2, 3, 2)
        x, grid = (t.to(getattr(lib, dtype)) for t in (x, grid))
        return lib.nn.functional.grid_sample(x, grid, align_corners=True).float().numpy()
    assert np.allclose(values(ng), values(torch), rtol=0.02, atol=0.02)


def test_strides_and_empty_inputs():
    rng = np.random.default_rng(3)
    x, grid = ng.tensor(rng.standard_normal((2, 4, 3, 5))), ng.tensor(rng.uniform(-1, 1, (2, 2, 3, 3)))
    apart = ng.nn.functional.grid_sample(x.transpose(1, 3), grid.transpose(1, 3)[..., :2], align_corners=False)
    close = ng.nn.functional.grid_sample(x.transpose(1, 3).contiguous(), grid.transpose(1, 3)[..., :2].contiguous(),
                                         align_corners=False)
    assert np.array_equal(apart.numpy(), close.numpy())
    for shape, places in (((1, 0, 3, 3), (1, 2, 2, 2)), ((0, 1, 3, 3), (0, 2, 2, 2)), ((1, 1, 3, 3), (1, 0, 2, 2))):
        def run(lib, shape=shape, places=places):
            x, grid = lib.zeros(shape, requires_grad=True), lib.zeros(places, requires_grad=True)
            y = lib.nn.functional.grid_sample(x, grid, align_corners=False)
            y.sum().backward()
            return [t.detach().numpy() for t in (y, x.grad, grid.grad)]
        for a, b in zip(run(ng), run(torch), strict=True):
            assert np.array_equal(a, b)


def said(action, lib):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        action(lib, lib.nn.functional, lib.zeros)
    return caught.type.__name__, str(caught.value).replace("numbagrad.", "torch.")


@pytest.mark.parametrize("action", [
    lambda lib, F, z: F.grid_sample(z(1, 1, 3), z(1, 1, 1, 2), align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3), z(1, 1, 2), align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3), z(2, 1, 1, 2), align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3), z(1, 1, 1, 3), align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 0, 3), z(1, 1, 1, 2), align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3), z(1, 1, 1, 2).double(), align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3).long(), z(1, 1, 1, 2), align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3, 3), z(1, 1, 1, 1, 3), mode="bicubic", align_corners=False),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3), z(1, 1, 1, 2), mode="x"),
    lambda lib, F, z: F.grid_sample(z(1, 1, 3, 3), z(1, 1, 1, 2), padding_mode="x"),
    lambda lib, F, z: lib.grid_sampler(z(1, 1, 3), z(1, 1, 1), 0, 0, False),
    lambda lib, F, z: lib.grid_sampler_2d(z(1, 1, 3, 3, 3), z(1, 1, 1, 1, 3), 0, 0, False),
    lambda lib, F, z: lib.grid_sampler_3d(z(1, 1, 3, 3), z(1, 1, 1, 2), 0, 0, False),
    lambda lib, F, z: F.affine_grid(z(1, 2, 4), (1, 1, 2, 2), False),
    lambda lib, F, z: F.affine_grid(z(1, 2, 3), (1, 1, 2, 2, 2), False),
    lambda lib, F, z: F.affine_grid(z(2, 2, 3), (1, 1, 2, 2), False),
    lambda lib, F, z: F.affine_grid(z(1, 2, 3), (1, 1, 2), False),
    lambda lib, F, z: F.affine_grid(z(1, 2, 3).long(), (1, 1, 2, 2), False),
    lambda lib, F, z: F.affine_grid(z(1, 2, 3).half(), (1, 1, 1, 2), False),
    lambda lib, F, z: lib.affine_grid_generator(z(2, 2, 3).bfloat16(), (1, 1, 2, 1), True),
    lambda lib, F, z: F.affine_grid(z(1, 2, 3), (1, 1, 0, 2), False),
    lambda lib, F, z: F.affine_grid(z(1, 2, 3), (1.5, 1, 2, 2), False),
])
def test_errors(action):
    assert said(action, ng) == said(action, torch)


def test_warnings():
    def texts(lib):
        with pytest.warns(UserWarning) as seen:
            grid = lib.nn.functional.affine_grid(lib.ones(1, 2, 3), (1, 1, 2, 2))
            lib.nn.functional.grid_sample(lib.ones(1, 1, 2, 2), grid)
            lib.nn.functional.affine_grid(lib.ones(1, 2, 3), (1, 1, 1, 2), True)
        return [str(w.message) for w in seen], {w.filename for w in seen}
    assert texts(ng) == texts(torch) == (texts(ng)[0], {__file__})


@pytest.mark.parametrize("size", [(2, 1, 4, 5), (1, 1, 1, 3), (2, 3, 2, 3, 4)])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.filterwarnings("ignore:Since version")
def test_affine_grid(size, align):
    def run(lib):
        n = len(size) - 2
        rng = np.random.default_rng(0)
        theta = lib.tensor(rng.standard_normal((size[0], n, n + 1)), requires_grad=True)
        y = lib.nn.functional.affine_grid(theta, size, align_corners=align)
        g = lib.tensor(rng.standard_normal(tuple(y.shape)), requires_grad=True)
        d, = lib.autograd.grad(y, theta, g, create_graph=True)
        second, = lib.autograd.grad((d ** 2).sum(), g)
        return type(y.grad_fn).__name__, [t.detach().numpy() for t in (y, d, second)]
    (node, ours), (theirs_node, theirs) = run(ng), run(torch)
    assert node == theirs_node
    for a, b in zip(ours, theirs, strict=True):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-12)


def fuses():
    return torch.backends.cpu.get_cpu_capability() != "DEFAULT"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(2, 1, 20, 20), (1, 1, 5, 7), (2, 1, 16, 2), (1, 1, 1, 9), (2, 1, 4, 5, 6), (1, 1, 2, 2, 3)])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.filterwarnings("ignore:Since version")
def test_affine_grid_rounds_as_torch(size, align, dtype):
    """To the last bit: the gradient of grid_sample jumps at the centers of pixels, where the identity puts all places."""
    if not fuses():
        pytest.skip("this PyTorch does not contract products with sums")
    n = len(size) - 2
    maps = np.stack([np.eye(n, n + 1), np.random.default_rng(0).standard_normal((n, n + 1))])[:size[0]].astype(dtype)
    ours, theirs = (lib.nn.functional.affine_grid(lib.tensor(maps), size, align_corners=align).numpy() for lib in (ng, torch))
    assert np.array_equal(ours, theirs) and ours.shape == theirs.shape


def test_spatial_transformer_learns_as_in_torch():
    """A few steps of a localisation network, an affine grid and a sampled image."""
    def losses(lib):
        lib.manual_seed(0)
        net = lib.nn.Sequential(lib.nn.Flatten(), lib.nn.Linear(36, 6))
        optimizer = lib.optim.SGD(net.parameters(), lr=0.1)
        images, wanted = lib.rand(4, 1, 6, 6), lib.rand(4, 1, 6, 6)
        found = []
        for _ in range(5):
            grid = lib.nn.functional.affine_grid(net(images).view(-1, 2, 3), images.shape, align_corners=False)
            loss = lib.nn.functional.mse_loss(lib.nn.functional.grid_sample(images, grid, align_corners=False), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found
    assert losses(ng) == pytest.approx(losses(torch), rel=1e-5)
