"""Layers for resizing, padding, transposed convolution, pooling in 3-D, distances and margins against PyTorch's."""

import warnings

import numpy as np
import pytest
from layer_cases import MORE_LAYERS, MORE_LOSSES, TARGETS

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]

def build(lib, name, args, kwargs):
    lib.manual_seed(0)
    kwargs = {k: lib.tensor(v) if isinstance(v, list) else v for k, v in kwargs.items()}
    return getattr(lib.nn, name)(*args, **kwargs)


def run(lib, layer, arrays, *more):
    inputs = [lib.tensor(a, requires_grad=True) for a in arrays]
    lib.manual_seed(1)
    out = layer(*inputs, *[lib.tensor(m) for m in more])
    (out * lib.arange(1.0, out.numel() + 1).reshape(out.shape)).sum().backward()
    return [out.detach().numpy(), *[t.grad.numpy() for t in (*inputs, *layer.parameters())]]


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        # float32 sums in another order, weights up to some hundred.
        assert np.allclose(a, b, rtol=2e-5, atol=2e-6 * max(1.0, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("case", MORE_LAYERS, ids=lambda c: f"{c[0]}-{c[1]}-{c[2]}")
def test_layer(case):
    name, args, kwargs, shapes = case
    ours, theirs = (build(lib, name, args, kwargs) for lib in LIBRARIES)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(s).astype("float32") for s in shapes]
    for training in (True, False):
        ours.train(training).zero_grad(), theirs.train(training).zero_grad()
        close(run(ng, ours, arrays), run(torch, theirs, arrays))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", MORE_LOSSES, ids=lambda c: f"{c[0]}-{c[1]}")
def test_loss(case, reduction):
    name, kwargs, count, target = case
    kwargs = {**kwargs, "reduction": reduction}
    ours, theirs = (build(lib, name, (), kwargs) for lib in LIBRARIES)
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal((3, 4)).astype("float32") for _ in range(count)]
    more = [] if target is None else [TARGETS[target].astype("float32") if target != "class" else TARGETS[target]]
    if name == "GaussianNLLLoss":
        more.append(np.full((3, 4), 0.5, "float32"))
    close(run(ng, ours, arrays, *more), run(torch, theirs, arrays, *more))


def test_output_size():
    x = np.random.default_rng(4).standard_normal((1, 2, 4, 4)).astype("float32")
    for size in ([8, 7], [1, 3, 7, 8], (8, 8)):
        results = []
        for lib in LIBRARIES:
            layer = build(lib, "ConvTranspose2d", (2, 3, 3), {"stride": 2, "padding": 1})
            results.append(layer(lib.tensor(x), output_size=size).detach().numpy())
        close(*[[r] for r in results])


BAD = [
    lambda lib: lib.nn.ConvTranspose2d(2, 3, 3, padding_mode="reflect"),
    lambda lib: lib.nn.ConvTranspose2d(2, 3, 3, groups=2),
    lambda lib: lib.nn.ConvTranspose2d(2, 3, 3, stride=2)(lib.zeros(1, 2, 4, 4), output_size=[5, 20]),
    lambda lib: lib.nn.ConvTranspose2d(2, 3, 3, stride=2)(lib.zeros(1, 2, 4, 4), output_size=[9]),
    lambda lib: lib.nn.CircularPad2d(1)(lib.zeros(2, 2)),
    lambda lib: lib.nn.MultiMarginLoss(p=3),
    lambda lib: lib.nn.MultiMarginLoss(weight=lib.zeros(2, 2)),
    lambda lib: lib.nn.TripletMarginLoss(margin=0),
    lambda lib: lib.nn.TripletMarginWithDistanceLoss(margin=-1),
    lambda lib: lib.nn.HingeEmbeddingLoss(1.0, True),
]


@pytest.mark.parametrize("call", BAD, ids=range(len(BAD)))
def test_same_errors(call):
    found = []
    for lib in LIBRARIES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                call(lib)
                text = "fine"
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
        found.append((text, [str(w.message) for w in caught]))
    assert found[0] == found[1]


def test_former_name_of_clip_grad_norm():
    for lib in LIBRARIES:
        p = lib.ones(2, requires_grad=True)
        p.grad = lib.tensor([3.0, 4.0])
        with pytest.warns(FutureWarning, match="`torch.nn.utils.clip_grad_norm` is now deprecated in favor of"):
            assert lib.nn.utils.clip_grad_norm([p], 1.0).item() == 5.0
        assert np.allclose(p.grad.numpy(), [0.6, 0.8])
