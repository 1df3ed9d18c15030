"""interpolate with a filter as wide as the pixels of the output, and of bytes, beside PyTorch."""

import itertools

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
SIZES = [{"size": (3, 5)}, {"size": (20, 9)}, {"scale_factor": 0.37}, {"scale_factor": (1.7, 0.5)}, {"size": (13, 11)},
         {"size": (13, 4)}, {"scale_factor": 0.37, "recompute_scale_factor": True}]
CASES = [(m, aa, al) for m, aa, al in itertools.product(("bilinear", "bicubic", "lanczos"), (False, True), (None, True))
         if m != "lanczos" or aa and not al]


def resized(lib, x, **options):
    return lib.nn.functional.interpolate(x, **options)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("mode, antialias, align", CASES)
def test_values_and_gradients(mode, antialias, align, sizes):
    for dtype, bound in (("float64", 1e-10), ("float32", 1e-4)):
        def run(lib, dtype=dtype):
            rng = np.random.default_rng(0)
            x = lib.tensor(rng.standard_normal((2, 3, 13, 11)).astype(dtype), requires_grad=True)
            y = resized(lib, x, mode=mode, antialias=antialias, align_corners=align, **sizes)
            g = lib.tensor(rng.standard_normal(tuple(y.shape)).astype(dtype), requires_grad=True)
            d, = lib.autograd.grad(y, x, g, create_graph=True)
            second, = lib.autograd.grad((d * d.detach()).sum(), g)
            return type(y.grad_fn).__name__, [t.detach().numpy() for t in (y, d, second)]
        (node, ours), (theirs_node, theirs) = run(ng), run(torch)
        assert node == theirs_node
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype and np.abs(a - b).max() <= bound * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("mode, antialias, align", CASES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_bytes_are_rounded_alike(mode, antialias, align, sizes, channels):
    x = np.random.default_rng(0).integers(0, 256, (2, channels, 13, 11)).astype(np.uint8)
    ours, theirs = (resized(lib, lib.tensor(x), mode=mode, antialias=antialias, align_corners=align, **sizes).numpy()
                    for lib in (ng, torch))
    assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
def test_infinite_pixels_stay_where_they_are(mode):
    def run(lib):
        x = lib.zeros(1, 1, 9, 9)
        x[0, 0, 1, 1], x[0, 0, 7, 7] = float("inf"), float("nan")
        return resized(lib, x, size=(4, 4), mode=mode, antialias=True).numpy()
    assert np.array_equal(run(ng), run(torch), equal_nan=True)


def test_strides_and_layers():
    x = ng.arange(300.0).reshape(1, 10, 10, 3)
    apart, close = (resized(ng, t, size=(4, 6), mode="bilinear", antialias=True)
                    for t in (x.permute(0, 3, 1, 2), x.permute(0, 3, 1, 2).contiguous()))
    assert np.array_equal(apart.numpy(), close.numpy())


@pytest.mark.parametrize("dtype, options", [
    ("float16", {"mode": "bilinear", "antialias": True}), ("int64", {"mode": "bicubic", "antialias": True}),
    ("float32", {"mode": "lanczos"}), ("float32", {"mode": "lanczos", "antialias": True, "align_corners": True}),
    ("float32", {"mode": "nearest", "antialias": True}), ("float32", {"mode": "area", "antialias": True})])
def test_errors(dtype, options):
    def said(lib):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            resized(lib, lib.ones(1, 2, 6, 6).to(getattr(lib, dtype)), size=(3, 3), **options)
        return caught.type.__name__, str(caught.value)
    assert said(ng) == said(torch)


@pytest.mark.parametrize("mode", ["bicubic", "lanczos", "bilinear"])
@pytest.mark.parametrize("shape", [(1, 2, 6), (1, 1, 4, 4, 4)])
def test_modes_of_images_alone(mode, shape):
    def said(lib):
        with pytest.raises(NotImplementedError) as caught:
            resized(lib, lib.ones(shape), scale_factor=2, mode=mode)
        return str(caught.value)
    assert said(ng) == said(torch)
