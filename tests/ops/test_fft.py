"""Fourier transforms against PyTorch: values in every dtype and norm, nodes, words, gradients to second order."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.base import user_code
from numbagrad.ops.fft.short_time import overlapped
from numbagrad.ops.fft.transforms import c2r, r2c

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
TWO = tuple(name + "2" for name in ONE)
MANY = tuple(name + "n" for name in ONE)
REAL = ("rfft", "ihfft", "rfft2", "ihfft2", "rfftn", "ihfftn")  # which take no complex numbers
TIMES = 10  # the last of them by a plan


def draw(shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) * 3
    return (a + 1j * rng.standard_normal(shape) if dtype.startswith("c") else a).astype(dtype)


def said(library, call):
    try:
        y = call(library)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return y.dtype, tuple(y.shape), y.resolve_conj().numpy()


def agree(call, times=1):
    theirs = said(torch, call)
    for _ in range(times):
        ours = said(ng, call)
        if isinstance(theirs, str) or isinstance(ours, str):
            assert ours == theirs
            return
        assert str(ours[0]) == str(theirs[0]) and ours[1] == theirs[1]
        tolerance = 100 * np.finfo(theirs[2].dtype).eps
        most = max(1, np.abs(theirs[2]).max(initial=0))
        np.testing.assert_allclose(ours[2], theirs[2], rtol=tolerance, atol=tolerance * most)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int64", "uint8", "bool", "float16"])
@pytest.mark.parametrize("name", ONE)
def test_one_dimension(name, dtype):
    a = draw((3, 6), dtype)
    for words in ({}, {"n": 4}, {"n": 9}, {"n": 1}, {"dim": 0}, {"dim": -2, "n": 5}, {"norm": "ortho"},
                  {"norm": "forward", "n": 7}, {"norm": "backward"}):
        agree(lambda t, w=words: getattr(t.fft, name)(t.tensor(a), **w), TIMES if words == {} else 1)
    agree(lambda t: getattr(t.fft, name)(t.tensor(a).t()[1:], 5))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int64"])
@pytest.mark.parametrize("name", TWO + MANY)
def test_several_dimensions(name, dtype):
    a = draw((2, 5, 4), dtype)
    for words in ({}, {"s": (3, 6)}, {"s": (-1, 3)}, {"dim": (0, 1)}, {"dim": (2, 0), "s": (3, 3)}, {"norm": "ortho"},
                  {"norm": "forward"}, {"dim": (1,)}, {"s": (7,), "dim": (0,)}):
        if name.endswith("2") and len(words.get("s", ())) == 1:
            continue
        agree(lambda t, w=words: getattr(t.fft, name)(t.tensor(a), **w), TIMES if words == {} else 1)


WORDS = {
    "n 0": lambda t: t.fft.fft(t.ones(3), n=0), "n less": lambda t: t.fft.fft(t.ones(3), n=-1),
    "empty": lambda t: t.fft.fft(t.ones(0)), "norm": lambda t: t.fft.fft(t.ones(3), norm="foo"),
    "0-d": lambda t: t.fft.fft(t.tensor(1.0)), "dim": lambda t: t.fft.fft(t.ones(3), dim=5),
    "irfft of one": lambda t: t.fft.irfft(t.ones(1)), "fft2 of a row": lambda t: t.fft.fft2(t.ones(3)),
    "rfft": lambda t: t.fft.rfft(t.ones(2) + 0j), "ihfft": lambda t: t.fft.ihfft(t.ones(2) + 0j),
    "same dims": lambda t: t.fft.fftn(t.ones(2, 2), dim=(0, 0)), "long s": lambda t: t.fft.fftn(t.ones(2, 2), s=(1, 2, 3)),
    "short s": lambda t: t.fft.fftn(t.ones(2, 2), s=(2,), dim=(0, 1)), "s less": lambda t: t.fft.fftn(t.ones(2, 2), s=(-2, 3)),
    "no dims": lambda t: t.fft.rfftn(t.ones(2, 2), dim=()), "no dims at all": lambda t: t.fft.fftn(t.ones(2, 2), dim=()),
    "s 0": lambda t: t.fft.irfftn(t.ones(2, 2), s=(3, 0)), "half": lambda t: t.fft.fft(t.ones(2).half()),
    "out": lambda t: t.fft.rfft(t.ones(2), out=t.empty(0)),
    "out real": lambda t: t.fft.irfft(t.ones(2), out=t.empty(0, dtype=t.cfloat)),
    "freq": lambda t: t.fft.fftfreq(5, dtype=t.int32),
    "out given": lambda t: t.fft.fft(t.ones(2), out=t.empty(0, dtype=t.cfloat))}


@pytest.mark.parametrize("name", WORDS)
def test_words(name):
    agree(WORDS[name])


def test_frequencies_and_order():
    for name in ("fftfreq", "rfftfreq"):
        for n in (0, 1, 4, 5, 8):
            agree(lambda t, n=n, name=name: getattr(t.fft, name)(n))
            agree(lambda t, n=n, name=name: getattr(t.fft, name)(n, 0.25, dtype=t.float64))
            agree(lambda t, n=n, name=name: getattr(t.fft, name)(n, out=t.empty(0)))
    for name in ("fftshift", "ifftshift"):
        for dim in (None, 0, (0, 1), -1):
            agree(lambda t, name=name, dim=dim: getattr(t.fft, name)(t.arange(15.0).reshape(3, 5), dim))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", ONE + TWO + MANY)
def test_gradients(name, dtype):
    if name in REAL and dtype == "complex128":
        pytest.skip("takes real numbers")
    a = draw((3, 4), dtype)
    own = ({"n": 5}, {"dim": 0}) if name in ONE else ({"s": (2, 5)}, {"dim": (0, 1)})
    for words in ({}, {"norm": "ortho"}, *own):
        found = []
        for t in (ng, torch):
            x = t.tensor(a, requires_grad=True)
            y = getattr(t.fft, name)(x, **words)
            w = t.tensor(draw(tuple(y.shape), "complex128", 1)) if y.is_complex() else t.tensor(draw(tuple(y.shape), seed=1))
            z = ((y * w).real if y.is_complex() else y * w).square().sum()
            (first,) = t.autograd.grad(z, x, create_graph=True)
            (second,) = t.autograd.grad(first.abs().square().sum(), x)
            found.append((type(y.grad_fn).__name__, first.detach().resolve_conj().numpy(), second.resolve_conj().numpy()))
        assert found[0][0] == found[1][0] or name in ("ihfft2", "ihfftn")  # PyTorch transforms the half once more
        for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())
    x = ng.tensor(a, requires_grad=True)
    assert ng.autograd.gradcheck(getattr(ng.fft, name), (x,)) and ng.autograd.gradgradcheck(getattr(ng.fft, name), (x,))


LENGTHS = 1, 2, 3, 5, 7, 8, 9, 11, 12, 13, 15, 16, 22, 26, 37, 74, 96, 121, 210, 251, 509, 1000, 4096, 16390, 18000, 32768


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(n, dtype):
    """Every radix, lines side by side, in a row and scattered, more and fewer than a vector has elements: as near as SciPy."""
    scipy_fft = pytest.importorskip("scipy.fft")
    eps = np.finfo(dtype).eps
    shapes = [((1, n), 1), ((3, n), 1)] if n > 2000 else [
        ((n,), 0), ((17, n), 1), ((n, 5), 0), ((2, n, 35), 1), ((3, n, 7), 1), ((9, n, 2), 1)]
    for shape, d in shapes:
        x = draw(shape, dtype)
        wide = x.astype("complex128")

        def near(name, given, wanted, *size, d=d, shape=shape):
            found = getattr(ng.fft, name)(ng.tensor(given), *size, dim=d).numpy()
            assert found.shape == wanted.shape, name
            assert np.abs(found - wanted).max() <= 4 * eps * math.log2(n + 2) * np.abs(wanted).max(), (name, shape)
        for name in ("fft", "ifft", "rfft", "ihfft"):
            given, exact = (x, wide) if name in ("fft", "ifft") else (x.real.copy(), wide.real)
            near(name, given, getattr(scipy_fft, name)(exact, axis=d))
        for name in ("fft", "ifft"):
            near(name, x.real.copy(), getattr(scipy_fft, name)(wide.real, axis=d))
        for size in {max(1, 2 * n - 2), 2 * n - 1}:
            near("irfft", x, scipy_fft.irfft(wide, size, axis=d), size)
            near("hfft", x, scipy_fft.hfft(wide, size, axis=d), size)


@pytest.mark.parametrize("n", [6, 7, 64, 251, 509, 4096])
def test_real_and_complex_transforms_are_adjoint(n):
    """What stands for its conjugate, too, counts for two or for one, of halves and of whole spectra, either way."""
    rng = np.random.default_rng(0)
    for half in (True, False):
        for forward in (True, False):
            for twice in (True, False) if half else (False,):
                x = ng.tensor(rng.standard_normal((2, n)))
                y = r2c(x, (1,), 0.5, half, forward, twice)
                z = ng.tensor(draw(tuple(y.shape), "complex128", 1))
                back = c2r(z, (1,), 0.5, n, half, not forward, twice)
                ours, theirs = (x * back).sum().item(), (y * z.conj()).real.sum().item()
                assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9 * n)


@pytest.mark.parametrize("shape", [(40, 96), (1, 4096), (300, 251), (64, 509)])
def test_threads(shape):
    """Bundles of lines are divided between threads, with the same bits; with plans, and in a compiled function."""
    x, y = ng.tensor(draw(shape, "float32")), ng.tensor(draw(shape, "complex64"))

    def call(x, y):
        return ng.fft.fft2(y), ng.fft.rfft(x), ng.fft.ifft(x), ng.fft.irfft(y), ng.fft.hfft(y, 2 * shape[1] - 1)
    before, found = ng.get_num_threads(), []
    try:
        for count in (1, 3):
            ng.set_num_threads(count)
            step = ng.compile(call)
            for f in (call, step):
                found += [[t.numpy() for t in f(x, y)] for _ in range(TIMES)]
    finally:
        ng.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_orders_of_many_dimensions():
    a = np.arange(2.0 * 3 * 4 * 2 * 3 * 2).reshape(2, 3, 4, 2, 3, 2)
    for dims in ((0, 1, 2, 3, 4, 5), (1, 1, 4), (5, 0, 3, 2, 4), (2,)):
        shifts = tuple(range(-2, len(dims) - 2))
        np.testing.assert_array_equal(ng.roll(ng.tensor(a), shifts, dims).numpy(), np.roll(a, shifts, dims))
    agree(lambda t: t.fft.fftshift(t.tensor(a).permute(3, 1, 5, 0, 2, 4)[:, 1:]), TIMES)


def test_convolution_by_a_product_and_in_a_script(tmp_path):
    x, k = ng.rand(5), ng.rand(3)
    y = ng.fft.irfft(ng.fft.rfft(x, 7) * ng.fft.rfft(k, 7), 7)
    np.testing.assert_allclose(y.numpy(), np.convolve(x.numpy(), k.numpy()), rtol=1e-5)
    assert ng.fft.fft.__name__ == "fft" and "fft" in dir(ng)


# --- short times ---

def quiet(library, call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return said(library, call)


def near(call):
    ours, theirs = quiet(ng, call), quiet(torch, call)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
    else:
        assert str(ours[0]) == str(theirs[0]) and ours[1] == theirs[1]
        np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-10, atol=1e-10)


SIGNAL = draw((2, 40))
SHORT = ({}, {"hop_length": 3}, {"win_length": 6}, {"center": False}, {"normalized": True}, {"onesided": False},
         {"pad_mode": "constant"}, {"return_complex": False}, {"hop_length": 0}, {"win_length": 9}, {"return_complex": None},
         {"align_to_window": True}, {"center": False, "align_to_window": True, "win_length": 6})


@pytest.mark.parametrize("words", SHORT, ids=str)
def test_stft(words):
    words = {"return_complex": True, **words}
    window = draw(words.get("win_length", 8), seed=3)
    near(lambda t: t.stft(t.tensor(SIGNAL), 8, **words))
    near(lambda t: t.tensor(SIGNAL[0]).stft(8, window=t.tensor(window), **words))
    if "align_to_window" not in words:  # (PyTorch reads past odd differences)
        near(lambda t: t.stft(t.tensor(SIGNAL + 1j), 7, window=t.tensor(draw(words.get("win_length", 7))), **words))
    for bad in ({"n_fft": 0}, {"n_fft": 80}, {"n_fft": 8, "window": 5}):
        near(lambda t, b=bad: t.stft(t.tensor(SIGNAL), **{**words, **b, "window": t.ones(5) if "window" in b else None}))
    near(lambda t: t.stft(t.ones(2, 3, 40), 8, **words))
    near(lambda t: t.stft(t.ones(2, 40).int(), 8, **words))


@pytest.mark.parametrize("words", [
    {}, {"length": 30}, {"length": 50}, {"center": False}, {"normalized": True}, {"win_length": 6}, {"hop_length": 9},
    {"onesided": False}, {"return_complex": True}, {"hop_length": 1}], ids=str)
def test_istft(words):
    frames = draw((2, 5, 12), "complex128")
    for window in (None, np.hanning(words.get("win_length", 8) + 2)[1:-1]):
        near(lambda t, w=window: t.istft(t.tensor(frames), 8, window=None if w is None else t.tensor(w), **words))
        near(lambda t, w=window: t.tensor(frames[0]).istft(8, window=None if w is None else t.tensor(w), **words))
    whole = draw((1, 8, 12), "complex128", 5)
    near(lambda t: t.istft(t.tensor(whole), 8, **words))
    for call in (lambda t: t.istft(t.tensor(frames).real, 8, **words), lambda t: t.istft(t.tensor(frames), 7, **words),
                 lambda t: t.istft(t.tensor(frames), 8, window=t.ones(5), **words)):
        near(call)


def test_there_and_back_with_gradients():
    window = np.hanning(10)[1:-1]
    found = []
    for t in (ng, torch):
        x, w = t.tensor(SIGNAL, requires_grad=True), t.tensor(window, requires_grad=True)
        y = t.stft(x, 8, window=w, return_complex=True)
        back = t.istft(y, 8, window=w)
        loss = (y.abs() ** 3).sum() + (back ** 2 * t.arange(40)).sum()
        first = t.autograd.grad(loss, (x, w), create_graph=True)
        second = t.autograd.grad(sum((g ** 2).sum() for g in first), (x, w))
        found.append([back.detach().numpy(), *[g.detach().numpy() for g in (*first, *second)]])
    np.testing.assert_allclose(found[0][0], SIGNAL, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8 * np.abs(theirs).max())


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8), (1, 1, 3), (2, 40, 7)])
def test_overlapped_frames(shape):
    """Sums of frames at their places: every stretch, gradients, batches and forward mode without a loop."""
    a = draw(shape, "float64")
    for hop in (1, 3, 8, 11):
        want = np.zeros((*shape[:-2], shape[-1] + hop * (shape[-2] - 1)))
        for i in range(shape[-2]):
            want[..., i * hop:i * hop + shape[-1]] += a[..., i, :]
        x = ng.tensor(a, requires_grad=True)
        np.testing.assert_allclose(overlapped(x, hop).detach().numpy(), want, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(overlapped(x * (1 + 2j), hop).detach().numpy(), want * (1 + 2j), rtol=1e-12, atol=1e-12)
        if x.numel() < 100:
            assert ng.autograd.gradcheck(lambda t, hop=hop: overlapped(t, hop), (x,))
            assert ng.autograd.gradgradcheck(lambda t, hop=hop: overlapped(t, hop), (x,))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            many = ng.func.vmap(lambda t, hop=hop: overlapped(t, hop))(ng.stack([x, 2 * x]).detach())
            _, slope = ng.func.jvp(lambda t, hop=hop: overlapped(t, hop), (x.detach(),), (x.detach(),))
        np.testing.assert_allclose(many[1].numpy(), 2 * want, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(slope.numpy(), want, rtol=1e-12, atol=1e-12)


def test_windows_that_are_missing_are_told_once(monkeypatch):
    monkeypatch.setattr(user_code, "_said", set())
    with pytest.warns(UserWarning, match="A window was not provided"):
        ng.stft(ng.ones(20), 4, return_complex=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ng.stft(ng.ones(20), 4, return_complex=True)
